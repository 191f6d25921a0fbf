"""Runs, rounds, jobs and leases refuse what makes no sense."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from foresift.core.errors import UsageError
from foresift.core.jobs import Event, Job
from foresift.core.records import Entry
from foresift.core.rounds import RUN_STATES, Round, Run
from foresift.core.times import utc_now

RUN = Run(id="r", pool="p")
ROUND = Round(run="r", number=1, budget=2, strategy="margin")


@pytest.mark.parametrize(
    ("value", "change", "said"),
    [
        (RUN, {"id": ""}, "run id: expected text, got ''"),
        (RUN, {"pool": None}, "pool of a run: expected text"),
        (RUN, {"state": "asleep"}, "expected one of running, waiting, finished, cancelled, failed, got 'asleep'"),
        (ROUND, {"number": 0}, "numbered from 1, got 0"),
        (ROUND, {"state": "over"}, "expected one of selecting, labeling, training, done"),
        (ROUND, {"selected": (1, 2, 1)}, "selected twice"),
        (Job(id="j", kind="k"), {"state": "stuck"}, "job state: expected one of queued"),
        (Event(run="r", kind="k"), {"run": ""}, "run of an event"),
        (Entry(kind="pool", id="p"), {"kind": "poem"}, "expected one of pool, generation, receipt"),
    ],
)
def test_what_makes_no_sense_is_refused(value: Any, change: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        replace(value, **change)


def test_the_last_states_are_ends() -> None:
    assert [state for state in RUN_STATES if replace(RUN, state=state).is_over] == ["finished", "cancelled", "failed"]
    over = [state for state in ("queued", "cancelling", "done", "failed") if Job(id="j", kind="k", state=state).is_over]
    assert over == ["done", "failed"]


def test_an_id_as_a_number_and_as_text_are_two() -> None:
    assert replace(ROUND, selected=(7, "7")).selected == (7, "7")


def test_records_are_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        RUN.state = "failed"  # type: ignore[misc]


def test_now_is_readable_utc() -> None:
    read = datetime.fromisoformat(utc_now())
    assert read.tzinfo is not None
    assert abs(datetime.now(UTC) - read) < timedelta(minutes=1)
