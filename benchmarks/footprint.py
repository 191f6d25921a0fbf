"""Peak memory against the size of the pool, and how long the command line takes to answer."""

from __future__ import annotations

from pathlib import Path

from benchmarks.measure import Figure, at_most, command


def memory(small: Path, large: Path, model: Path, work: Path) -> list[Figure]:
    """Peak resident memory of ``foresift select`` on 5,000 and on 50,000 images."""
    peaks = []
    for pool in (small, large):
        arguments = ["select", str(pool), "--model", str(model), "--budget", "1000", "--engine", "torch-f32"]
        done = command([*arguments, "--out", str(work / "memory.csv")], home=work / f"home-memory-{pool.name}")
        peaks.append(done.peak_bytes / 2**20)
    return [
        Figure("peak memory, 5,000 images", peaks[0], "MiB"),
        Figure("peak memory, 50,000 images", peaks[1], "MiB"),
        at_most("growth of peak memory", peaks[1] - peaks[0], "MiB", 300),
    ]


def start_up(work: Path) -> list[Figure]:
    """Wall time of ``foresift --help``: the median of seven."""
    times = sorted(command(["--help"], home=work).wall_s for _ in range(7))
    return [at_most("foresift --help", times[3], "s", 0.5)]
