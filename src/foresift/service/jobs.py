"""Work in the background: queued, in order, with progress and cancel."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from foresift.core.errors import ForesiftError
from foresift.wire.messages import JobProgress, JobState, JobView

OVER = ("done", "failed", "cancelled")


class CancelledJobError(ForesiftError):
    """Somebody asked the job to stop."""


@dataclass(slots=True)
class Work:
    """One job while the server lives; a :class:`~foresift.core.protocols.Progress` for what it runs."""

    id: str
    kind: str
    state: JobState = "queued"
    what: str = ""
    count: int = 0
    total: int = 0
    answer: dict[str, Any] = field(default_factory=dict)
    reason: str = ""
    stop: threading.Event = field(default_factory=threading.Event)
    over: threading.Event = field(default_factory=threading.Event)

    def start(self, what: str, total: int) -> None:
        """A stage begins."""
        self._check()
        self.what, self.count, self.total = what, 0, total

    def advance(self, units: int) -> None:
        """Some of it is done."""
        self._check()
        self.count += units

    def done(self, summary: str = "") -> None:
        """The stage is over."""
        self.what = summary or self.what

    def view(self) -> JobView:
        """What a client may know."""
        progress = JobProgress(what=self.what, done=self.count, total=self.total)
        return JobView(
            id=self.id, kind=self.kind, state=self.state, progress=progress, answer=self.answer, reason=self.reason
        )

    def _check(self) -> None:
        if self.stop.is_set():
            raise CancelledJobError("cancelled")


class Jobs:
    """All jobs of a server; one runs at a time, others wait in order."""

    def __init__(self, *, workers: int = 1) -> None:
        self._threads = ThreadPoolExecutor(max_workers=workers, thread_name_prefix="foresift-job")
        self._work: dict[str, Work] = {}
        self._futures: list[Future[None]] = []

    def submit(self, kind: str, run: Callable[[Work], dict[str, Any]]) -> Work:
        """Queue ``run``, which is given the job to report progress to and returns the answer."""
        work = Work(id=uuid.uuid4().hex, kind=kind)
        self._work[work.id] = work
        self._futures.append(self._threads.submit(self._carry_out, work, run))
        return work

    def get(self, job: str) -> Work | None:
        """The job of an id, if there is one."""
        return self._work.get(job)

    def all(self) -> list[Work]:
        """All jobs, the first one first."""
        return list(self._work.values())

    def cancel(self, work: Work) -> None:
        """Ask a job to stop at its next step."""
        if work.state not in OVER:
            work.stop.set()
            work.state = "cancelling"

    def close(self) -> None:
        """Stop what runs, forget what waits, and wait for the end of both."""
        for work in self._work.values():
            self.cancel(work)
        self._threads.shutdown(wait=True, cancel_futures=True)

    def _carry_out(self, work: Work, run: Callable[[Work], dict[str, Any]]) -> None:
        try:
            if work.stop.is_set():
                raise CancelledJobError("cancelled before it began")
            work.state = "running"
            work.answer = run(work)
            work.state = "done"
        except CancelledJobError as error:
            work.state, work.reason = "cancelled", str(error)
        except ForesiftError as error:
            work.state, work.reason = "failed", str(error)
        except Exception as error:  # noqa: BLE001 - a job must end in a state, whatever happened
            work.state, work.reason = "failed", f"{type(error).__name__}: {error}"[:300]
        finally:
            work.over.set()
