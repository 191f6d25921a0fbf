"""Two workers of a Ray cluster against one, on a pool whose downloads take longest.

``python -m benchmarks.ray [IMAGES] [AT_ONCE]`` (1,500 CIFAR-10 files, 2 under way for each worker).

The server of ``benchmarks.remote`` waits 20 ms before each file. Each worker downloads, decodes and infers its pieces
(ResNet-8 at 32 px). Actors are started and the network is loaded beforehand, on another pool; how long that takes is
printed beside. Two must be at least 1.8 times as fast as one.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from benchmarks.data import cifar10
from benchmarks.measure import Figure, at_least, timed
from benchmarks.remote import DELAY_S, _manifest, delaying_server

TIMES = 1.8
IMAGES, AT_ONCE = 1_500, 2
WARM = 300


def measure(images: int, work: Path) -> Iterator[Figure]:
    """Seconds of one and of two workers, and their ratio."""
    root = Path(os.environ["FORESIFT_CIFAR10"]) if "FORESIFT_CIFAR10" in os.environ else cifar10(work)
    files = [str(file) for file in islice(sorted((root / "train").rglob("*.jpg")), images + WARM)]
    seconds = {}
    with delaying_server(files) as url:
        uris = [f"{url}/{row}.jpg" for row in range(len(files))]
        pools = _manifest(work / "pool.jsonl", uris[:images]), _manifest(work / "warm.jsonl", uris[images:])
        for workers in (1, 2):
            seconds[workers], start = _with(workers, pools, work / f"home-{workers}", images=images)
            head = f"{images:,} files, {DELAY_S * 1000:g} ms a file, {workers} worker{'s' * (workers > 1)}"
            yield Figure(f"{head}: starting", start, "s")
            yield Figure(head, seconds[workers], "s")
    yield at_least("two workers against one", seconds[1] / seconds[2], "times", TIMES)


def _with(workers: int, pools: tuple[Path, Path], home: Path, *, images: int) -> tuple[float, float]:
    """Seconds for the pool, and for what comes before it."""
    from foresift.app.models.served_model import served_model
    from foresift.app.passes.predicting import predict
    from foresift.app.passes.stored import PassOptions
    from foresift.app.passes.workers import MODULE
    from foresift.app.workspace import Workspace
    from foresift.executors.ray import RayCrew

    workspace = Workspace.open(home)
    model = served_model(workspace, "resnet8", "random", base=home, image_size=32, classes=tuple("abcdefghij"))
    began = time.perf_counter()
    with RayCrew("local", tasks=MODULE, workers=workers) as crew:
        options = PassOptions(engine="torch-f32", crew=crew)
        predict(workspace, pools[1], model, options=options)
        start = time.perf_counter() - began
        found, seconds = timed(lambda: predict(workspace, pools[0], model, options=options))
    assert found.result.report.inferred == len(found.result.predictions) == images
    return seconds, start


def main() -> int:
    """Print the figures; 1 if a limit is missed."""
    given = [int(word) for word in sys.argv[1:3]]
    images, at_once = (given + [IMAGES, AT_ONCE][len(given) :])[:2]
    os.environ["FORESIFT_DOWNLOADS_PER_HOST"] = str(at_once)
    with tempfile.TemporaryDirectory() as folder:
        figures = []
        for figure in measure(images, Path(folder)):
            print(figure, flush=True)
            figures.append(figure)
    return int(any(figure.fine is False for figure in figures))


if __name__ == "__main__":
    sys.exit(main())
