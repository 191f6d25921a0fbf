"""Progress on standard error: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from typing import Any

from foresift.core.protocols import Progress, Silent

_LINE_EVERY_S = 10.0


def progress(*, quiet: bool) -> Progress:
    """What suits standard error; nothing when ``quiet``."""
    if quiet:
        return Silent()
    return BarProgress() if sys.stderr.isatty() else LineProgress()


class LineProgress:
    """A line every ten seconds: done, total, rate, time left. Short tasks print nothing."""

    def __init__(self) -> None:
        self._task, self._total, self._units = "", 0, 0
        self._started = self._printed = time.monotonic()

    def start(self, task: str, total: int) -> None:
        """A task of ``total`` units begins."""
        self._task, self._total, self._units = task, total, 0
        self._started = self._printed = time.monotonic()

    def advance(self, units: int) -> None:
        """``units`` more are done."""
        self._units += units
        now = time.monotonic()
        if now - self._printed < _LINE_EVERY_S:
            return
        self._printed = now
        rate = self._units / (now - self._started)
        left = (self._total - self._units) / rate if rate else 0
        print(  # noqa: T201
            f"{self._task}: {self._units:,} of {self._total:,}, {rate:,.1f}/s, {left:,.0f} s left",
            file=sys.stderr,
            flush=True,
        )

    def done(self, summary: str = "") -> None:
        """The task is over."""


class BarProgress:
    """A rich progress bar with rate and time left."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._task: Any = None

    def start(self, task: str, total: int) -> None:
        """A task of ``total`` units begins."""
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self.done()
        if not total:
            return
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._bar.start()
        self._task = self._bar.add_task(task, total=total, rate="")

    def advance(self, units: int) -> None:
        """``units`` more are done."""
        if self._bar is None:
            return
        self._bar.advance(self._task, units)
        speed = self._bar.tasks[0].speed
        self._bar.update(self._task, rate=f"{speed:,.1f}/s" if speed else "")

    def done(self, summary: str = "") -> None:  # noqa: ARG002 - the command prints its own
        """The task is over; the bar goes away."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
