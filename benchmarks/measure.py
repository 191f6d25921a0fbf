"""Running things and reading what the operating system says of them."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the result: what, how much, against which limit."""

    what: str
    value: float
    unit: str
    limit: str = ""
    fine: bool | None = None

    def __str__(self) -> str:
        verdict = "" if self.fine is None else "  ok" if self.fine else "  FELL SHORT"
        limit = f"  (limit {self.limit})" if self.limit else ""
        return f"{self.what:<72} {self.value:>10,.4g} {self.unit}{limit}{verdict}"


def at_least(what: str, value: float, unit: str, limit: float) -> Figure:
    """A figure that must not be below ``limit``."""
    return Figure(what, value, unit, f"at least {limit:g}", value >= limit)


def at_most(what: str, value: float, unit: str, limit: float) -> Figure:
    """A figure that must not be above ``limit``."""
    return Figure(what, value, unit, f"at most {limit:g}", value <= limit)


def timed(work: Callable[[], T]) -> tuple[T, float]:
    """Result and wall seconds."""
    start = time.perf_counter()
    result = work()
    return result, time.perf_counter() - start


@dataclass(frozen=True, slots=True)
class Process:
    """A finished command."""

    wall_s: float
    peak_bytes: int
    output: str


_LAUNCHER = """
import os, subprocess, sys, time
start = time.perf_counter()
child = subprocess.Popen(sys.argv[2:])
_, status, usage = os.wait4(child.pid, 0)
open(sys.argv[1], "w").write(f"{usage.ru_maxrss} {time.perf_counter() - start}")
sys.exit(os.waitstatus_to_exitcode(status))
"""
"""A small parent: a process's peak memory, as Linux keeps it, begins with that of whoever started it."""


def command(arguments: Sequence[str], *, home: Path) -> Process:
    """Run ``foresift`` with these arguments in a process of its own."""
    return process([sys.executable, "-m", "foresift.cli", *arguments], variables={"FORESIFT_HOME": str(home)})


def process(arguments: Sequence[str], *, variables: Mapping[str, str], lines: Iterable[str] = ()) -> Process:
    """Run a program to its end.

    Args:
        variables: of its environment, beside ours.
        lines: for its standard input, given as it reads them.
    """
    with tempfile.NamedTemporaryFile("r", prefix="peak-") as figures, tempfile.TemporaryFile("w+") as errors:
        with subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _LAUNCHER, figures.name, *arguments],
            env={**os.environ, **variables},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as child:
            assert child.stdin is not None
            assert child.stdout is not None
            with child.stdin as stdin:
                stdin.writelines(f"{line}\n" for line in lines)
            output = child.stdout.read()
        if child.returncode:
            errors.seek(0)
            said = errors.read()[-2_000:]
            raise SystemExit(f"{' '.join(arguments[:6])} failed with exit code {child.returncode}: {said}")
        peak_kib, wall = figures.read().split()
        return Process(float(wall), int(peak_kib) * 1024, output)
