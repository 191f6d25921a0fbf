"""A run killed with -9 at random moments ends like one that nobody disturbed.

``python -m benchmarks.kills --kills 50`` on SQLite; with ``FORESIFT_DATABASE_URL`` on PostgreSQL.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psutil

from foresift.core.digests import digest_bytes
from foresift.sources.digits import write_digits

URL = "FORESIFT_DATABASE_URL"
RUN_FILE = """
pool: {pool}
oracle: folders
model: mlp:16
strategy: margin
rounds: {rounds}
budget: 27
seed: {seed}
recipe: {{epochs: {epochs}, batch_size: 32, optimizer: adamw, lr: 0.01, precision: "32"}}
"""
VICTIMS = ("worker", "worker", "child", "both")
"""Who is killed; the worker twice as often, because its death leaves the most behind."""
KILLS_A_RUN = 10
LIFE = 0.4
"""Of an undisturbed run's time: the longest that a worker lives."""


@dataclass(frozen=True)
class Ended:
    """What must be equal."""

    selected: tuple[tuple[str, ...], ...]
    labels: tuple[tuple[str, str], ...]
    weights: tuple[str, ...]
    """Digest of each round's weights."""


@dataclass(frozen=True)
class Bench:
    """Where runs are tried."""

    folder: Path
    file: Path

    @classmethod
    def at(cls, folder: Path, *, rounds: int = 8, epochs: int = 10, seed: int = 0) -> Bench:
        """The digits and a run file in a folder."""
        pool = write_digits(folder / "digits") / "train"
        file = folder / "run.yaml"
        file.write_text(RUN_FILE.format(pool=pool, rounds=rounds, epochs=epochs, seed=seed))
        return cls(folder, file)

    def start(self, home: Path) -> subprocess.Popen[str]:
        """``foresift run`` in a process of its own."""
        command = [sys.executable, "-m", "foresift.cli", "run", str(self.file), "--home", str(home), "--json"]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL}
        environment = {**os.environ, **({URL: database(home)} if URL in os.environ else {})}
        return subprocess.Popen(command, text=True, env=environment, **pipes)

    def finish(self, home: Path) -> Ended:
        """The run to its end, undisturbed from here on."""
        with self.start(home) as running:
            out, err = running.communicate()
        if running.returncode:
            raise RuntimeError(f"exit code {running.returncode}: {out}{err}")
        return ended(home, json.loads(out))

    def disturb(self, home: Path, lives: Iterator[tuple[float, str]]) -> Counter[str]:
        """Start the run as often as it is killed, each time after a life of its own; what was hit how often."""
        hits: Counter[str] = Counter()
        running = self.start(home)
        for seconds, victim in lives:
            if _ends(running, within_s=seconds):
                return hits  # it was faster
            hits[_kill(running, victim)] += 1
            if victim != "child":
                running.communicate()
                running = self.start(home)
        running.communicate()
        return hits


def _ends(running: subprocess.Popen[str], *, within_s: float) -> bool:
    """Whether a process ends by itself in that time."""
    try:
        running.wait(timeout=within_s)
    except subprocess.TimeoutExpired:
        return False
    return True


def database(home: Path) -> str:
    """The address of a database for a workspace alone, beside the one that the environment names; made if need be."""
    import psycopg

    address, name = os.environ[URL], f"kills_{digest_bytes(str(home).encode())[:12]}"
    with psycopg.connect(address, autocommit=True) as server:
        known = server.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone()
        if known is None:
            server.execute(f"CREATE DATABASE {name}")
    parts = urlsplit(address)
    return urlunsplit(parts._replace(path=f"/{name}"))


def ended(home: Path, told: dict[str, Any]) -> Ended:
    """What a finished run has left behind."""
    assert told["state"] == "finished", told
    folder = home / "runs" / told["run"]
    newest = [_weights(folder, one["generation"]) for one in told["rounds"]]
    return Ended(
        selected=tuple(tuple(one["selected"]) for one in told["rounds"]),
        labels=tuple(sorted(_labels(home, told["run"]))),
        weights=tuple(newest),
    )


def _weights(folder: Path, generation: str) -> str:
    for record in folder.glob("generations/*/generation.json"):
        if json.loads(record.read_text())["id"] == generation:
            return digest_bytes((record.parent / "model.safetensors").read_bytes())
    raise AssertionError(f"no generation {generation} below {folder}")


def _labels(home: Path, run: str) -> list[tuple[str, str]]:
    from foresift.stores.records.opening import open_records

    stored = open_records(home, database(home) if URL in os.environ else "").labels(run=run, current=False)
    assert len({one.sample_id for one in stored}) == len(stored), "a label was bought twice"
    return [(str(one.sample_id), one.value) for one in stored]


def _kill(running: subprocess.Popen[str], victim: str) -> str:
    children = psutil.Process(running.pid).children()
    if victim in ("child", "both"):
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child.pid, signal.SIGKILL)
    if victim != "child":
        running.kill()
    return victim if children or victim == "worker" else "worker"


def main() -> None:
    """Kill runs until there were enough kills; exit code 1 if one ends otherwise."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    asked = parser.parse_args()
    rng = random.Random(asked.seed)
    with tempfile.TemporaryDirectory() as place:
        bench = Bench.at(Path(place), rounds=asked.rounds, epochs=asked.epochs)
        began = time.perf_counter()
        expected = bench.finish(bench.folder / "undisturbed")
        whole = time.perf_counter() - began
        print(f"undisturbed: {whole:.1f} s, {sum(map(len, expected.selected))} labels")
        hits: Counter[str] = Counter()
        number = 0
        while hits.total() < asked.kills:
            number += 1
            home = bench.folder / f"killed-{number}"
            few = min(KILLS_A_RUN, asked.kills - hits.total())
            lives = ((rng.uniform(0.2, LIFE * whole), rng.choice(VICTIMS)) for _ in range(few))
            hits += bench.disturb(home, lives)
            same = bench.finish(home) == expected
            print(f"run {number}: {hits.total()} kills so far {dict(hits)}, {'the same' if same else 'DIFFERENT'}")
            if not same:
                raise SystemExit(1)
            shutil.rmtree(home)


if __name__ == "__main__":
    main()
