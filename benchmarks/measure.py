"""Running things and reading what the operating system says of them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
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


def command(arguments: Sequence[str], *, home: Path) -> Process:
    """Run ``foresift`` with these arguments in a process of its own."""
    environment = {**os.environ, "FORESIFT_HOME": str(home)}
    start = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, "-m", "foresift.cli", *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as child:
        assert child.stdout is not None
        output = child.stdout.read()
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"foresift {' '.join(arguments)} failed with exit code {child.returncode}")
    return Process(time.perf_counter() - start, usage.ru_maxrss * 1024, output)
