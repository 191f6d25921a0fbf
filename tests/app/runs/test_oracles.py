"""Oracles at work on a real pool: what they say reaches the records, once."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from foresift.app.pools import open_pool
from foresift.app.runs.oracles import check_oracle, gather, inbox, open_oracle
from foresift.app.workspace import Workspace
from foresift.core.errors import UnknownNameError
from foresift.core.labels import CANNOT_TELL
from foresift.core.oracles import Inquiry, Question
from foresift.core.rounds import Run, SampleId
from foresift.core.samples import Pool
from foresift.cycle.labels import Terms


def asked(pool: Pool, rows: range, *, number: int = 1) -> Inquiry:
    questions = tuple(
        Question(sample_id=pool[row].id, uri=pool[row].uris[0], rank=rank) for rank, row in enumerate(rows, start=1)
    )
    return Inquiry(run="run-1", pool=pool.name, round=number, questions=questions, classes=pool.classes)


def truth_of(pool: Pool) -> Callable[[Sequence[SampleId]], list[str]]:
    return lambda samples: [pool[row].label or "" for row in pool.rows_of(samples).tolist()]


def test_the_class_folders_of_a_pool_answer(home: Path, digit_files: Path) -> None:
    workspace = Workspace.open(home)
    pool = open_pool(workspace, digit_files / "test").take(np.arange(0, 450, 30))
    run, records = Run(id="run-1", pool=pool.name), workspace.records()
    records.add_run(run)
    truth = open_oracle(workspace, records, "folders", run=run, open_pool=lambda: pool, truth=truth_of(pool))
    inquiry = asked(pool, range(5))
    terms = Terms(asked={one.sample_id: 1 for one in inquiry.questions})
    truth.send(inquiry)
    first = gather(records, truth, inquiry, terms)
    assert (first.new, first.repeated) == (5, 0)
    stored = {one.sample_id: one.value for one in records.labels(run="run-1", round=1)}
    assert stored == {pool[row].id: pool[row].label for row in range(5)}
    assert gather(records, truth, inquiry, terms, since=first.cursor).new == 0
    assert gather(records, truth, inquiry, terms).repeated == 5


def test_files_in_the_inbox_answer_and_what_is_refused_is_told(home: Path, pool: Path) -> None:
    workspace = Workspace.open(home)
    opened = open_pool(workspace, pool)
    run, records = Run(id="run-1", pool=opened.name), workspace.records()
    records.add_run(run)
    oracle = open_oracle(workspace, records, "files", run=run, open_pool=lambda: opened, truth=truth_of(opened))
    inquiry = asked(opened, range(3))
    oracle.send(inquiry)
    sheet = inbox(workspace, "run-1") / "round-1.csv"
    filled = sheet.read_text().splitlines()
    assert len(filled) == 4
    sheet.write_text("\n".join([filled[0], filled[1] + "3", filled[2] + "cannot tell", filled[3], "9,nobody,,,4", ""]))
    os.utime(sheet, (0, 0))
    done = gather(records, oracle, inquiry, Terms(asked={one.sample_id: 1 for one in inquiry.questions}))
    assert done.new == 2
    assert [one.value for one in records.labels(run="run-1")] == ["3", CANNOT_TELL]
    assert "round-1.csv, line 5" in str(done.refused[0])
    assert oracle.can_answer(inquiry)


def test_a_misspelled_oracle_is_refused_before_anything_begins() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'people'"):
        check_oracle("poeple")
