"""Two hundred connected clients of one server, each asking something every two seconds, for two minutes.

``python -m benchmarks.load [--clients N] [--seconds S]``

A server process (``foresift serve``) looks at handwritten digits with an untrained ``mlp:8``. Half of the clients speak
HTTP, half gRPC, each over a connection of its own; in turn each asks how far a pool is, pushes five pictures to a pool
that grows, and asks a query whose answer is known. The clients run in this process and are connected before the clock
starts: the times are theirs, from the moment at which a request was due until its answer was read. Limits: no error,
99 % of status and of cached queries within 250 ms, memory flat.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from benchmarks.measure import Figure, at_most

EVERY_S = 2.0
LIMIT_MS = 250.0
GROWTH_MIB = 20.0
FIXED, GROWING = "fixed", "growing"
KINDS = ("Pool", "Push", "Select")
WORDS = {"Pool": "status", "Push": "push", "Select": "cached query"}
Ask = Callable[[str, dict[str, Any]], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Served:
    """A running server."""

    pid: int
    http: str
    grpc: str

    def memory_mib(self) -> float:
        """What is resident now, of the server and of all that it started."""
        own = psutil.Process(self.pid)
        return sum(process.memory_info().rss for process in [own, *own.children(recursive=True)]) / 2**20

    def cpu_s(self) -> tuple[float, float]:
        """Processor time so far of the server, and of all that it started."""
        own = psutil.Process(self.pid)
        spent = [sum(process.cpu_times()[:2]) for process in [own, *own.children(recursive=True)]]
        return spent[0], sum(spent[1:])


@dataclass(slots=True)
class Outcome:
    """What became of the requests."""

    ms: dict[tuple[str, str], list[float]] = field(default_factory=lambda: defaultdict(list))
    """By kind and protocol."""
    errors: list[str] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)
    cpu_s: dict[str, float] = field(default_factory=dict)
    """By who spent it."""


@contextmanager
def served(folder: Path, root: Path) -> Iterator[Served]:
    """A server process on free ports, ended at the end."""
    file = folder / "server.yml"
    file.write_text(
        "name: load\nstrategy: margin\nmodel: {name: 'mlp:8', weights: random, image_size: 8, engine: torch-f32}\n"
        "server: {protocol: grpc, port: 0, http_port: 0}\nlimits: {requests_a_minute: 1000000}\n"
        f"data: {{roots: ['{root}']}}\nstorage: {{home: home}}\n"
    )
    command = [sys.executable, "-m", "foresift.cli", "serve", str(file)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        urls = {url.partition(":")[0]: url for url in re.findall(r"\w+://[\w.:]+", process.stdout.readline())}
        yield Served(process.pid, urls["http"], urls["grpc"])
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)


def prepare(server: Served, files: list[str]) -> None:
    """A pool whose query is known, and one that has something; nothing is imported for the first time afterwards."""
    from foresift.client import Client

    for pool in (FIXED, GROWING):
        with Client(server.http, pool=pool) as client:
            client.push_data(files[:200])
            client.query(budget=20)


@dataclass(frozen=True, slots=True)
class Connected:
    """A client with its connection."""

    protocol: str
    ask: Ask
    end: Callable[[], Awaitable[None]]


async def http_client(server: Served) -> Connected:
    """One client over HTTP."""
    import httpx

    from foresift.wire.calls import BY_NAME

    client = httpx.AsyncClient(base_url=server.http, timeout=60, verify=False)

    async def ask(name: str, plain: dict[str, Any]) -> None:
        call, asked = BY_NAME[name], dict(plain)
        path = call.path.format(pool=asked.pop("pool"))
        answer = await client.request(call.method, path, **({"json": asked} if call.has_body else {}))
        answer.raise_for_status()

    (await client.get("/health")).raise_for_status()
    return Connected("http", ask, client.aclose)


async def grpc_client(server: Served) -> Connected:
    """One client over gRPC."""
    import grpc

    from foresift.wire.protobuf import answer_type, method_path, request_type, to_message

    own = (("grpc.use_local_subchannel_pool", 1),)  # else all clients of a process share one connection
    channel = grpc.aio.insecure_channel(server.grpc.partition("://")[2], options=own)

    async def ask(name: str, plain: dict[str, Any]) -> None:
        method = channel.unary_unary(
            method_path(name),
            request_serializer=request_type(name).SerializeToString,
            response_deserializer=answer_type(name).FromString,
        )
        await method(to_message(request_type(name), plain), timeout=60)

    await channel.channel_ready()
    return Connected("grpc", ask, channel.close)


async def one(number: int, client: Connected, files: list[str], first: float, until: float, told: Outcome) -> None:
    """One client: a request every two seconds from its first moment on."""
    rng, turn = random.Random(number), 0
    while (due := first + EVERY_S * turn) < until:
        kind = KINDS[(number // 2 + turn) % len(KINDS)]
        turn += 1
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        plain: dict[str, Any] = {"pool": GROWING if kind == "Push" else FIXED}
        plain |= {"Pool": {}, "Push": {"uris": rng.sample(files, 5)}, "Select": {"budget": 20}}[kind]
        try:
            await client.ask(kind, plain)
            told.ms[kind, client.protocol].append(1000 * (time.perf_counter() - due))
        except Exception as error:  # noqa: BLE001 - every failure is a figure
            told.errors.append(f"{client.protocol} {kind}: {type(error).__name__} {str(error)[:200]}")
    await client.end()


async def crowd(server: Served, files: list[str], clients: int, seconds: float) -> Outcome:
    """All clients at once, and the server's memory every ten seconds.

    They connect before the clock starts. What this process does meanwhile, it can't read answers in: clients that each
    read a list of authorities first, 30 ms of work, held up the first answers for seconds.
    """
    connected = [await (http_client, grpc_client)[number % 2](server) for number in range(clients)]
    told, began = Outcome(), time.perf_counter() + 1
    before, mine = server.cpu_s(), time.process_time()
    firsts = [began + EVERY_S * number / clients for number in range(clients)]
    asking = [
        asyncio.create_task(one(number, client, files, first, began + seconds, told))
        for number, (client, first) in enumerate(zip(connected, firsts, strict=True))
    ]
    while any(not task.done() for task in asking):
        told.memory.append(server.memory_mib())
        await asyncio.wait(asking, timeout=10)
    told.memory.append(server.memory_mib())
    spent = server.cpu_s()
    told.cpu_s = {
        "the server": spent[0] - before[0],
        "the process beside it": spent[1] - before[1],
        "the clients": time.process_time() - mine,
    }
    for task in asking:
        task.result()
    return told


def figures(told: Outcome) -> Iterator[Figure]:
    """What the limits are held against."""
    yield Figure("requests answered", sum(map(len, told.ms.values())), "")
    yield at_most("errors", len(told.errors), "", 0)
    for kind in KINDS:
        for protocol in ("http", "grpc"):
            ms = told.ms[kind, protocol] or [float("inf")]
            yield Figure(f"{WORDS[kind]}, {protocol}, median", float(np.median(ms)), "ms")
            p99, what = float(np.quantile(ms, 0.99)), f"{WORDS[kind]}, {protocol}, 99 %"
            yield Figure(what, p99, "ms") if kind == "Push" else at_most(what, p99, "ms", LIMIT_MS)
    for who, seconds in told.cpu_s.items():
        yield Figure(f"processor time of {who}", seconds, "s")
    yield Figure("memory at the start", told.memory[0], "MiB")
    yield Figure("memory at the end", told.memory[-1], "MiB")
    half = told.memory[len(told.memory) // 2]
    yield at_most("growth in the second half", told.memory[-1] - half, "MiB", GROWTH_MIB)


def main() -> int:
    """Run it once; exit code 1 if a limit is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=120)
    asked = parser.parse_args()
    from foresift.sources.digits import write_digits

    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} before it began", flush=True)
    with tempfile.TemporaryDirectory() as place:
        root = write_digits(Path(place) / "digits")
        files = sorted(map(str, root.rglob("*.png")))
        with served(Path(place), root) as server:
            prepare(server, files)
            told = asyncio.run(crowd(server, files, asked.clients, asked.seconds))
    for line in sorted(set(told.errors))[:10]:
        print(f"  {line}")
    print("  memory:", json.dumps([round(value) for value in told.memory]))
    missed = 0
    for figure in figures(told):
        print(f"  {figure}", flush=True)
        missed += figure.fine is False
    return 1 if missed else 0


if __name__ == "__main__":
    raise SystemExit(main())
