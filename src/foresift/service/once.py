"""Idempotency keys: what is asked again with the same key is done once, across restarts too."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from foresift.core.digests import digest_value
from foresift.core.errors import ForesiftError, StaleError, UsageError
from foresift.core.jobs import Job
from foresift.core.records import JobRecords
from foresift.core.times import utc_now

KEPT = timedelta(days=1)
"""How long a key is remembered at least."""
_KEY = re.compile(r"[\x21-\x7e]{1,200}")
_BATCH = 500


class BusyError(ForesiftError):
    """The same is being done at this moment."""


class Once:
    """Answers under the keys of their callers."""

    def __init__(self, records: JobRecords, server: str) -> None:
        self._records, self._kind = records, f"once/{server}"
        self._life = uuid.uuid4().hex

    def do(self, caller: str, key: str, asked: Any, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """What ``work`` gives, or gave when it was asked with this key before.

        Args:
            caller: keys of different callers have nothing to do with each other.
            asked: plain values; another request under the same key is a mistake.
        Raises:
            UsageError: no proper key, or it was used for something else.
            BusyError: the first request under it is not answered yet.
            ForesiftError: what ``work`` raises; the key may then be used again.
        """
        if not _KEY.fullmatch(key):
            raise UsageError("Idempotency-Key: expected 1 to 200 printable ASCII characters without spaces")
        mine = self._claimed(caller, key, digest_value(asked))
        if mine.state == "done":
            return dict(mine.answer)
        try:
            answer = work()
        except BaseException:
            self._records.change_job(replace(mine, state="failed"))
            raise
        self._records.change_job(replace(mine, state="done", answer=answer))
        return answer

    def forget_old(self) -> int:
        """Forget keys that nobody will use again. How many went."""
        oldest = (datetime.now(UTC) - KEPT).isoformat()
        gone = 0
        while part := self._records.jobs(kind=self._kind, limit=_BATCH):
            old = [job.id for job in part if job.at < oldest and job.is_over]
            gone += self._records.drop_jobs(old)
            if len(old) < _BATCH:  # they are in the order of their age
                break
        return gone

    def _claimed(self, caller: str, key: str, digest: str) -> Job:
        """The record of a key: done, or ours to do."""
        me = f"{self._life}/{uuid.uuid4().hex}"
        job = Job(
            id=f"once-{digest_value([self._kind, caller, key])}",
            kind=self._kind,
            request={"asked": digest},
            state="running",
            holder=me,
            at=utc_now(),
        )
        try:
            stored = self._records.add_job(job)
            if stored.holder == me or stored.state == "done":
                return stored
            if stored.state == "running" and stored.holder.startswith(f"{self._life}/"):
                raise BusyError("a request with this Idempotency-Key is being answered; ask again in a moment")
            # failed, or the server ended before it was answered
            return self._records.change_job(replace(stored, state="running", holder=me))
        except StaleError:
            raise self._refusal(job) from None

    def _refusal(self, job: Job) -> ForesiftError:
        if self._records.job(job.id).request != job.request:
            return UsageError("this Idempotency-Key was used for another request; take a new one")
        return BusyError("a request with this Idempotency-Key is being answered; ask again in a moment")
