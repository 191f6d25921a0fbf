"""What a device pays: how soon it is ready, what the choice adds to the model's own time, whether memory grows."""

from __future__ import annotations

import itertools
import shutil
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar
from unittest import mock

from benchmarks.measure import Figure, Process, at_most, command, process

T = TypeVar("T")
FEW, MANY = 10_000, 100_000
DAY, QUOTA = 50_000, 100
"""Frames of a day, of which so many are uploaded."""


def fleet(pool: Path, model: Path, work: Path) -> list[Figure]:
    """All figures of an exported folder, on the frames of a pool repeated as often as needed."""
    folder = work / "fleet"
    shutil.rmtree(folder, ignore_errors=True)
    arguments = ["fleet", "export", "--model", str(model), "--calibrate", str(pool), "--out", str(folder)]
    command([*arguments, "--quota-per-day", str(QUOTA), "--engine", "torch-f32"], home=work / "home-fleet")
    images = sorted(map(str, pool.rglob("*.jpg")), key=lambda path: path[::-1])  # classes mixed
    day = images[:DAY]
    files = overhead(folder, day, work / "spool-files", batch=0)
    live = overhead(folder, day, work / "spool-live", batch=1)
    return [ready(folder), *files, *live, *memory(folder, images, work)]


def ready(folder: Path) -> Figure:
    """Seconds until the device's own command answers: the median of seven."""
    times = [_device(folder, ["--help"]).wall_s for _ in range(7)]
    return at_most("device package: answers --help", sorted(times)[3], "s", 1.0)


def overhead(folder: Path, images: list[str], spool: Path, *, batch: int) -> list[Figure]:
    """Everything that is neither decoding nor the model, as a share of the model's time.

    Args:
        batch: frames a call; 0 as of a folder, 1 as of a live stream, where every frame is decided when it comes.
    """
    from foresift.app.fleet import device as fleet_device
    from foresift.app.fleet.device_run import DeviceRun
    from foresift.engines.onnx import OnnxEngine

    shutil.rmtree(spool, ignore_errors=True)
    decoding, inferring = _Timer(), _Timer()
    job = DeviceRun(folder=folder, spool=spool, device="bench", day="one", threads=1, batch=batch)
    with (
        mock.patch.object(fleet_device, "fetch", decoding(fleet_device.fetch)),
        mock.patch.object(fleet_device, "decode_with_pillow", decoding(fleet_device.decode_with_pillow)),
        mock.patch.object(OnnxEngine, "__call__", inferring(OnnxEngine.__call__)),
    ):
        start = time.perf_counter()
        report = fleet_device.run_device(job, "-", stdin=images)
        total = time.perf_counter() - start
    rest = total - decoding.seconds - inferring.seconds
    each, way = 1e6 / report.frames, "a live stream" if batch == 1 else "files"
    return [
        Figure(f"{way}: bare ONNX Runtime, one thread", inferring.seconds * each, "us a frame"),
        Figure(f"{way}: decoding", decoding.seconds * each, "us a frame"),
        Figure(f"{way}: score, threshold, candidates, spool", rest * each, "us a frame"),
        at_most(f"{way}: the choice beside bare ONNX Runtime", 100 * rest / inferring.seconds, "%", 10),
    ]


def memory(folder: Path, images: list[str], work: Path) -> list[Figure]:
    """Peak memory of a device after 10,000 and after 100,000 frames."""
    peaks = []
    for frames in (FEW, MANY):
        spool = work / f"spool-{frames}"
        shutil.rmtree(spool, ignore_errors=True)
        arguments = ["-", "--spool", str(spool), "--day", "one", "--batch", "64"]
        stream = itertools.islice(itertools.cycle(images), frames)
        peaks.append(_device(folder, arguments, lines=stream).peak_bytes / 2**20)
    return [
        Figure("device: peak memory, 10,000 frames", peaks[0], "MiB"),
        Figure("device: peak memory, 100,000 frames", peaks[1], "MiB"),
        at_most("device: growth of peak memory", peaks[1] - peaks[0], "MiB", 10),
    ]


class _Timer:
    """Adds up the time that calls take."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self, call: Callable[..., T]) -> Callable[..., T]:
        def timed(*args: Any, **kwargs: Any) -> T:
            start = time.perf_counter()
            try:
                return call(*args, **kwargs)
            finally:
                self.seconds += time.perf_counter() - start

        return timed


def _device(folder: Path, arguments: list[str], *, lines: Iterable[str] = ()) -> Process:
    """Run the exported command."""
    run = [sys.executable, "-P", str(folder / "run.py"), *arguments]
    return process(run, variables={"PYTHONPATH": ""}, lines=lines)
