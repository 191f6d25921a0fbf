"""A study in parts: together they are the whole, whoever makes them."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foresift.executors import LocalCrew
from foresift.studies.agents import study as agents
from foresift.studies.parts import NOTHING, WHOLE, Part, share_parts
from foresift.studies.workers import STUDIES

WORKER = "from foresift.executors import serve; from foresift.studies.workers import TASKS; serve(TASKS)"


@given(pieces=st.integers(0, 20), parts=st.integers(1, 8))
def test_parts_are_disjoint_and_together_the_whole(pieces: int, parts: int) -> None:
    every = [Part(number, parts).among(range(pieces)) for number in range(parts)]
    assert sorted(piece for part in every for piece in part) == list(range(pieces))
    assert WHOLE.among(range(pieces)) == list(range(pieces))
    assert NOTHING.among(range(pieces)) == []


def test_every_study_of_the_command_line_can_be_shared() -> None:
    assert set(STUDIES) == {"strategies", "ensembles", "agent", "patches", "defects", "surrogates"}


@pytest.mark.timeout(280)
def test_two_workers_make_the_cells_of_one_process(tmp_path: Path) -> None:
    alone = agents.run(tmp_path / "alone", preset="smoke")
    shared = tmp_path / "shared"
    with LocalCrew([sys.executable, "-c", WORKER], 2) as crew:
        share_parts(crew, "agent", shared, {"preset": "smoke", "data": None, "only": []})
    cells = sorted(path.relative_to(shared) for path in shared.rglob("cells/**/*.json"))
    assert cells == sorted(path.relative_to(tmp_path / "alone") for path in tmp_path.rglob("alone/cells/**/*.json"))
    made = {cell: (shared / cell).stat().st_mtime_ns for cell in cells}
    found = agents.run(shared, preset="smoke")
    assert {cell: (shared / cell).stat().st_mtime_ns for cell in cells} == made
    assert replace(found, seconds=0.0) == replace(alone, seconds=0.0)
