"""A pool behind a server that takes 20 ms for each file: downloads, inference, and both at once.

``python -m benchmarks.remote [IMAGES] [SIDE] [ENGINE]`` (2,000 CIFAR-10 files, ResNet-18 at 224 px, ``torch-f32``).
At 32 px and with ``FORESIFT_DOWNLOADS_PER_HOST=8``, downloads and inference take about as long as each other.

The server is a process of its own. Downloads alone are the opening of the pool, inference alone is the pass over the
same files on the disk; both at once must take at most 1.15 times the longer of them. Then the pool is opened again,
which must download nothing.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Any

from benchmarks.data import cifar10
from benchmarks.measure import Figure, at_most, timed

DELAY_S = 0.02
TIMES = 1.15


def measure(images: int, side: int, engine: str, work: Path) -> Iterator[Figure]:
    """The three times, their ratio, and what a second look costs."""
    from foresift.app.models.served_model import served_model
    from foresift.app.passes.predicting import predict
    from foresift.app.passes.stored import PassOptions
    from foresift.app.pools import open_pool
    from foresift.app.workspace import Workspace

    root = Path(os.environ["FORESIFT_CIFAR10"]) if "FORESIFT_CIFAR10" in os.environ else cifar10(work)
    files = [str(file) for file in islice(sorted((root / "test").rglob("*.jpg")), images)]
    options = PassOptions(engine=engine)

    def fresh(name: str) -> tuple[Workspace, Path]:
        workspace = Workspace.open(work / name)
        return workspace, served_model(
            workspace, "resnet18", "random", base=work, image_size=side, classes=tuple("abcdefghij")
        )

    with delaying_server(files) as url:
        far = _manifest(work / "far.jsonl", [f"{url}/{row}.jpg" for row in range(len(files))])
        near = _manifest(work / "near.jsonl", files)
        predict(*_ordered(fresh("warm"), _manifest(work / "warm.jsonl", files[:64])), options=options)

        down = timed(lambda: open_pool(fresh("down")[0], far))[1]
        workspace, model = fresh("near")
        open_pool(workspace, near)
        infer = timed(lambda: predict(workspace, near, model, options=options))[1]
        workspace, model = fresh("far")
        found, both = timed(lambda: predict(workspace, far, model, options=options))
        again = timed(lambda: predict(workspace, far, model, options=options))[1]
        assert len(found.result.predictions) == len(set(files))
    head = f"{len(files):,} files, {side} px, {engine}"
    yield Figure(f"{head}: downloads alone ({DELAY_S * 1000:g} ms a file)", down, "s")
    yield Figure(f"{head}: inference alone", infer, "s")
    yield Figure(f"{head}: one after the other", down + infer, "s")
    yield Figure(f"{head}: both at once", both, "s")
    yield at_most(f"{head}: both over the longer one", both / max(down, infer), "times", TIMES)
    yield Figure(f"{head}: a second look, nothing downloaded", again, "s")


def _ordered(opened: tuple[Any, Path], pool: Path) -> tuple[Any, Path, Path]:
    return opened[0], pool, opened[1]


def _manifest(path: Path, uris: list[str]) -> Path:
    path.write_text("".join(json.dumps({"uri": uri}) + "\n" for uri in uris))
    return path


@contextmanager
def delaying_server(files: list[str]) -> Iterator[str]:
    """A server process for ``/0.jpg`` and so on that waits before each answer; its address."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(files, theirs), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{ours.recv()}"
    finally:
        process.kill()
        process.join()


async def _request(reader: asyncio.StreamReader) -> bytes:
    """The head of the next request; empty once the client is gone."""
    with suppress(asyncio.IncompleteReadError, ConnectionError):
        return await reader.readuntil(b"\r\n\r\n")
    return b""


def _serve(files: list[str], pipe: Any) -> None:
    contents = [Path(file).read_bytes() for file in files]

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while request := await _request(reader):
            await asyncio.sleep(DELAY_S)
            method, path, *_ = request.decode("ascii").split(" ", 2)
            data = contents[int(path[1:].partition(".")[0])]
            head = f'HTTP/1.1 200 OK\r\nContent-Length: {len(data)}\r\nETag: "{path}"\r\n\r\n'
            writer.write(head.encode() + (data if method == "GET" else b""))
            await writer.drain()

    async def forever() -> None:
        server = await asyncio.start_server(connected, "127.0.0.1", 0)
        pipe.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(forever())


def main() -> int:
    """Print the figures; 1 if a limit is missed."""
    given = sys.argv[1:]
    images, side = (int(word) for word in (given[:2] + ["2000", "224"][len(given[:2]) :]))
    engine = given[2] if len(given) > 2 else "torch-f32"
    with tempfile.TemporaryDirectory() as folder:
        figures = list(measure(images, side, engine, Path(folder)))
    print("\n".join(map(str, figures)))
    return int(any(figure.fine is False for figure in figures))


if __name__ == "__main__":
    sys.exit(main())
