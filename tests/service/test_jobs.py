"""Jobs and idempotency keys outlive their server."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from foresift.app.workspace import Workspace
from foresift.core.errors import ForesiftError, LabelError, UsageError
from foresift.core.jobs import Job
from foresift.core.records import Records
from foresift.service.jobs import STOPPED, Jobs, Work
from foresift.service.once import BusyError, Once
from foresift.service.refusals import NotFoundError
from foresift.wire.messages import PageRequest

WAIT_S = 30


@pytest.fixture
def records(tmp_path: Path) -> Iterator[Records]:
    opened = Workspace.open(tmp_path).records()
    yield opened
    opened.close()


class Runner:
    """Carries out ``ok``, ``bad``, ``worse`` and ``long`` jobs."""

    def __init__(self) -> None:
        self.did: list[str] = []
        self.going, self.go = threading.Event(), threading.Event()

    def __call__(self, kind: str, asked: Mapping[str, Any], work: Work) -> dict[str, Any]:
        self.did.append(kind)
        work.start(kind, 2)
        if kind == "bad":
            raise LabelError("no labels")
        if kind == "worse":
            raise ZeroDivisionError
        if kind == "long":
            self.going.set()
            while not self.go.wait(0.01):
                work.advance(0)
        work.advance(2)
        work.done()
        return {"number": asked.get("number", 0)}


def over(jobs: Jobs, work: Work) -> str:
    assert work.over.wait(WAIT_S)
    return jobs.view(work.id).state


def test_jobs_end_in_a_state_with_a_reason_and_are_kept(records: Records) -> None:
    jobs = Jobs(records, "s", Runner())
    made = [jobs.submit(kind, {"number": 3}) for kind in ("ok", "bad", "worse")]
    assert [over(jobs, work) for work in made] == ["done", "failed", "failed"]
    jobs.close()
    later = Jobs(records, "s", Runner())
    assert later.view(made[0].id).answer == {"number": 3}
    assert later.view(made[1].id).reason == "no labels"
    assert "ZeroDivisionError" in later.view(made[2].id).reason
    assert later.resume() == 0
    later.close()


def test_what_ran_and_what_waited_goes_on_after_a_stop(records: Records) -> None:
    first = Runner()
    jobs = Jobs(records, "s", first)
    running, waiting = jobs.submit("long", {}), jobs.submit("ok", {"number": 7})
    assert first.going.wait(WAIT_S)
    jobs.close()
    assert records.job(running.id).state == "queued"
    assert records.job(running.id).reason == STOPPED
    second = Runner()
    second.go.set()
    later = Jobs(records, "s", second)
    assert later.resume() == 2
    for old in (running, waiting):
        work = later.get(old.id)
        assert work is not None
        assert over(later, work) == "done"
    assert later.view(waiting.id).answer == {"number": 7}
    assert sorted(second.did) == ["long", "ok"]
    later.close()


def test_a_job_that_ran_when_the_server_was_killed_runs_again(records: Records) -> None:
    records.add_job(Job(id="dead", kind="service/s", request={"what": "ok"}, state="running"))
    records.add_job(Job(id="told", kind="service/s", request={"what": "ok"}, state="cancelling"))
    records.add_job(Job(id="other", kind="service/t", request={"what": "ok"}, state="running"))
    runner = Runner()
    jobs = Jobs(records, "s", runner)
    assert jobs.resume() == 1
    work = jobs.get("dead")
    assert work is not None
    assert over(jobs, work) == "done"
    assert jobs.view("told").state == "cancelled"
    with pytest.raises(NotFoundError):
        jobs.view("other")
    jobs.close()


def test_a_cancelled_job_ends_and_one_that_waits_never_begins(records: Records) -> None:
    runner = Runner()
    jobs = Jobs(records, "s", runner)
    running, waiting = jobs.submit("long", {}), jobs.submit("ok", {})
    assert runner.going.wait(WAIT_S)
    jobs.cancel(waiting.id)
    jobs.cancel(running.id)
    assert over(jobs, running) == over(jobs, waiting) == "cancelled"
    assert runner.did == ["long"]
    assert records.job(running.id).state == "cancelled"
    assert jobs.cancel(running.id).state == "cancelled"
    jobs.close()


def test_pages_hold_every_job_once(records: Records) -> None:
    jobs = Jobs(records, "s", Runner())
    made = [jobs.submit("ok", {"number": number}).id for number in range(7)]
    found, after = [], None
    while True:
        page = jobs.page(PageRequest(limit=3, after=after))
        found += [view.id for view in page.items]
        after = page.next
        if after is None:
            break
    assert found == made
    with pytest.raises(NotFoundError):
        jobs.page(PageRequest(after="none"))
    jobs.close()


def test_the_same_key_is_done_once_also_after_a_restart(records: Records) -> None:
    done = []

    def work() -> dict[str, Any]:
        done.append(1)
        return {"job": len(done)}

    assert Once(records, "s").do("me", "k", {"a": 1}, work) == {"job": 1}
    assert Once(records, "s").do("me", "k", {"a": 1}, work) == {"job": 1}
    assert Once(records, "s").do("you", "k", {"a": 1}, work) == {"job": 2}
    with pytest.raises(UsageError, match="another request"):
        Once(records, "s").do("me", "k", {"a": 2}, work)


def test_what_failed_may_be_tried_again_with_its_key(records: Records) -> None:
    once = Once(records, "s")

    def fail() -> dict[str, Any]:
        raise ForesiftError("no")

    with pytest.raises(ForesiftError):
        once.do("me", "k", 1, fail)
    assert once.do("me", "k", 1, lambda: {"a": 1}) == {"a": 1}


def test_a_key_in_use_is_busy_but_not_once_its_server_died(records: Records) -> None:
    once = Once(records, "s")

    def again() -> dict[str, Any]:
        with pytest.raises(BusyError):
            once.do("me", "k", 1, lambda: {"a": 2})
        assert Once(records, "s").do("me", "other", 1, lambda: {"a": 3}) == {"a": 3}
        return {"a": 1}

    assert once.do("me", "k", 1, again) == {"a": 1}
    stored = records.jobs(kind="once/s")[0]
    records.change_job(replace(stored, state="running", answer={}))
    assert Once(records, "s").do("me", "k", 1, lambda: {"a": 4}) == {"a": 4}


@pytest.mark.parametrize("key", [" ", "a b", "x" * 201, "ä", "a\n"])
def test_a_key_is_a_plain_word(key: str, records: Records) -> None:
    with pytest.raises(UsageError, match="Idempotency-Key"):
        Once(records, "s").do("me", key, 1, dict)


def test_old_keys_are_forgotten(records: Records) -> None:
    once = Once(records, "s")
    records.add_job(Job(id="once-old", kind="once/s", request={}, state="done", at="2020-01-01T00:00:00.000Z"))
    once.do("me", "k", 1, dict)
    assert once.forget_old() == 1
    assert len(records.jobs(kind="once/s")) == 1
