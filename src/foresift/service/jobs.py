"""Work in the background: queued, in order, with progress and cancel; kept, so that a restart takes it up again."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from foresift.core.errors import ForesiftError, StoreError, UsageError
from foresift.core.jobs import Job
from foresift.core.records import JobRecords
from foresift.core.times import utc_now
from foresift.service.diary import log_event
from foresift.service.refusals import NotFoundError
from foresift.wire.messages import JobPage, JobProgress, JobState, JobView, PageRequest

OVER = ("done", "failed", "cancelled")
MOST_IN_MIND = 200
"""Jobs that are over and answered without a look at the records."""
_BATCH = 500
NICENESS = 5
"""How far processes that carry out jobs step back for the one that answers requests."""
STOPPED = "the server was stopped; it goes on when the server starts again"


class CancelledJobError(ForesiftError):
    """Somebody asked the job to stop."""


@dataclass(slots=True)
class Work:
    """One job while the server lives; a :class:`~foresift.core.protocols.Progress` for what it runs."""

    record: Job
    timed: Callable[[str, float], None] = lambda _stage, _seconds: None
    """Told how long each stage took."""
    created: float = field(default_factory=time.monotonic)
    """By this process's clock."""
    state: JobState = "queued"
    what: str = ""
    count: int = 0
    total: int = 0
    answer: dict[str, Any] = field(default_factory=dict)
    reason: str = ""
    stop: threading.Event = field(default_factory=threading.Event)
    over: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)
    future: Future[None] | None = None
    _began: float = 0.0

    @property
    def id(self) -> str:
        """By which clients ask for it."""
        return self.record.id

    def start(self, what: str, total: int) -> None:
        """A stage begins."""
        self._check()
        self.what, self.count, self.total, self._began = what, 0, total, time.perf_counter()

    def advance(self, units: int) -> None:
        """Some of it is done."""
        self._check()
        self.count += units

    def done(self, summary: str = "") -> None:
        """The stage is over."""
        self.timed(self.what, time.perf_counter() - self._began)
        self.what = summary or self.what

    def view(self) -> JobView:
        """What a client may know."""
        progress = JobProgress(what=self.what, done=self.count, total=self.total)
        return JobView(
            id=self.id,
            kind=kind_of(self.record),
            state=self.state,
            progress=progress,
            answer=self.answer,
            reason=self.reason,
        )

    def _check(self) -> None:
        if self.stop.is_set():
            raise CancelledJobError("cancelled")


Runner: TypeAlias = Callable[[str, Mapping[str, Any], Work], dict[str, Any]]
"""Carries out a kind of job with what was asked, and gives the answer."""


class Jobs:
    """All jobs of a server; one runs at a time, others wait in order.

    A job is in the records before anybody hears of it. What was queued or running when the server ended, however it
    ended, runs again from the beginning when it starts: jobs must be such that this does no harm.
    """

    def __init__(
        self,
        records: JobRecords,
        server: str,
        run: Runner,
        *,
        timed: Callable[[str, float], None] = lambda _stage, _seconds: None,
    ) -> None:
        """Nothing runs before :meth:`resume` or :meth:`submit`."""
        self._records, self._kind, self._run, self._timed = records, f"service/{server}", run, timed
        self._threads = ThreadPoolExecutor(max_workers=1, thread_name_prefix="foresift-job")
        self._lock = threading.Lock()
        self._work: OrderedDict[str, Work] = OrderedDict()
        self._ending = threading.Event()

    def submit(self, kind: str, asked: Mapping[str, Any]) -> Work:
        """Keep a job and queue it.

        Raises:
            StoreError: it can't be kept; nothing was queued.
        """
        request = {"what": kind, **asked}
        job = Job(id=uuid.uuid4().hex, kind=self._kind, request=request, at=utc_now())
        return self._queue(self._records.add_job(job))

    def resume(self) -> int:
        """Take up what an earlier server did not end. How many jobs that are."""
        cancelled = self._pages("cancelling")
        for job in cancelled:
            self._records.change_job(replace(job, state="cancelled", reason="cancelled"))
        unfinished = [*self._pages("running"), *self._pages("queued")]
        for job in unfinished:
            self._queue(job)
        return len(unfinished)

    def get(self, job: str) -> Work | None:
        """The job of an id, if this server had it."""
        return self._work.get(job)

    def view(self, job: str) -> JobView:
        """How far a job is.

        Raises:
            NotFoundError: there is none of that id.
        """
        work = self._work.get(job)
        if work is not None:
            return work.view()
        try:
            record = self._records.job(job)
        except UsageError:
            raise NotFoundError(f"no job {job[:64]!r}") from None
        if record.kind != self._kind:
            raise NotFoundError(f"no job {job[:64]!r}")
        return view_of(record)

    def page(self, asked: PageRequest) -> JobPage:
        """Jobs in the order in which they were asked for.

        Raises:
            NotFoundError: ``after`` is no job.
        """
        if asked.after is not None:
            self.view(asked.after)
        found = self._records.jobs(kind=self._kind, limit=asked.limit + 1, after=asked.after)
        part = found[: asked.limit]
        items = [work.view() if (work := self._work.get(one.id)) is not None else view_of(one) for one in part]
        return JobPage(items=items, next=part[-1].id if len(found) > len(part) else None)

    def counts(self) -> dict[str, int]:
        """How many jobs that this server has in mind are in each state."""
        with self._lock:
            states: list[str] = [work.state for work in self._work.values()]
        return {state: states.count(state) for state in ("queued", "running", "cancelling", *OVER)}

    def cancel(self, job: str) -> JobView:
        """Stop a job at its next step; one that waits is over at once. Raises as :meth:`view`."""
        work = self._work.get(job)
        if work is None:
            return self.view(job)
        with work.lock:
            if work.state not in OVER:
                work.stop.set()
                work.state = "cancelling"
                self._keep(work)
        if work.future is not None and work.future.cancel():
            self._end(work, "cancelled", reason="cancelled before it began")
        return work.view()

    def close(self) -> None:
        """Interrupt what runs; that and what waits is kept for the next start."""
        self._ending.set()
        with self._lock:
            waiting = list(self._work.values())
        for work in waiting:
            work.stop.set()
        self._threads.shutdown(wait=True, cancel_futures=True)

    def _queue(self, record: Job) -> Work:
        work = Work(record=record, timed=self._timed)
        with self._lock:
            self._work[work.id] = work
            over = [name for name, one in self._work.items() if one.state in OVER]
            for name in over[: max(0, len(over) - MOST_IN_MIND)]:
                del self._work[name]
        work.future = self._threads.submit(self._carry_out, work)
        return work

    def _carry_out(self, work: Work) -> None:
        """From queued to an end, or back to queued where the server ends first."""
        try:
            with work.lock:
                work._check()
                work.state = "running"
                self._keep(work)
            answer = self._run(kind_of(work.record), work.record.request, work)
            self._end(work, "done", answer=answer)
        except CancelledJobError as error:
            if self._ending.is_set() and work.state != "cancelling":
                self._end(work, "queued", reason=STOPPED)
            else:
                self._end(work, "cancelled", reason=str(error))
        except ForesiftError as error:
            self._fail(work, str(error))
        except Exception as error:  # noqa: BLE001 - a job must end in a state, whatever happened
            self._fail(work, f"{type(error).__name__}: {error}"[:300])

    def _fail(self, work: Work, reason: str) -> None:
        """End it, and write down why: clients may read less of that (:mod:`foresift.service.discretion`)."""
        log_event("job-failed", level=logging.WARNING, job=work.id, kind=kind_of(work.record), reason=reason)
        self._end(work, "failed", reason=reason)

    def _end(self, work: Work, state: JobState, *, reason: str = "", answer: dict[str, Any] | None = None) -> None:
        with work.lock:
            work.state, work.reason, work.answer = state, reason, answer or {}
            self._keep(work)
        work.over.set()

    def _keep(self, work: Work) -> None:
        """Write the state down. Where that fails the job goes on: a restart would only do it again."""
        progress = {"what": work.what, "done": work.count, "total": work.total}
        changed = replace(work.record, state=work.state, progress=progress, answer=work.answer, reason=work.reason)
        try:
            work.record = self._records.change_job(changed)
        except StoreError as error:
            work.reason = work.reason or f"could not be written down: {error}"

    def _pages(self, state: str) -> list[Job]:
        found: list[Job] = []
        while part := self._records.jobs(
            kind=self._kind, state=state, limit=_BATCH, after=found[-1].id if found else None
        ):
            found += part
        return found


def kind_of(record: Job) -> str:
    """``push``, ``predict``, ``train`` or ``evaluate``."""
    return str(record.request.get("what", ""))


def view_of(record: Job) -> JobView:
    """A job as the records have it."""
    state: Any = record.state
    return JobView(
        id=record.id,
        kind=kind_of(record),
        state=state,
        progress=JobProgress.model_validate(dict(record.progress)),
        answer=dict(record.answer),
        reason=record.reason,
    )
