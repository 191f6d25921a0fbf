"""An answer's key says what was answered, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foresift.core.errors import LabelError
from foresift.core.labels import CANNOT_TELL, LabelRecord
from foresift.core.regions import Region

ANSWER = LabelRecord(sample_id=7, value="cat", pool="p", run="r", annotator="ann", at="2026-01-01T00:00:00Z")


@pytest.mark.parametrize(
    "change",
    [
        {"sample_id": "7"},
        {"value": "dog"},
        {"pool": "q"},
        {"run": None},
        {"annotator": ""},
        {"at": ""},
        {"region": Region(0, 0, 1, 1)},
        {"supersedes": "x"},
    ],
)
def test_another_answer_has_another_key(change: dict[str, Any]) -> None:
    assert replace(ANSWER, **change, id="").id != ANSWER.id


@pytest.mark.parametrize("change", [{"cost": 3.0}, {"source": "again.csv"}, {"round": 2}])
def test_how_it_came_makes_no_other_answer(change: dict[str, Any]) -> None:
    assert replace(ANSWER, **change, id="").id == ANSWER.id


@given(st.tuples(st.text(), st.text(), st.text()), st.tuples(st.text(), st.text(), st.text()))
def test_keys_of_different_texts_differ(one: tuple[str, str, str], other: tuple[str, str, str]) -> None:
    keys = [LabelRecord(sample_id=a, value="x", pool=b or "p", annotator=c).id for a, b, c in (one, other)]
    alike = (one[0], one[1] or "p", one[2]) == (other[0], other[1] or "p", other[2])
    assert (keys[0] == keys[1]) == alike


def test_names_need_not_be_unicode() -> None:
    assert len(LabelRecord(sample_id="\udcff.png", value="cat", pool="/data/\udcfe").id) == 40


@pytest.mark.parametrize(
    "change",
    [{"sample_id": None}, {"sample_id": True}, {"sample_id": 1.5}, {"value": ""}, {"value": None}, {"cost": -1.0}],
)
def test_what_is_no_answer_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(LabelError):
        replace(ANSWER, **change)


@pytest.mark.parametrize("cost", [float("nan"), float("inf")])
def test_a_cost_is_a_number(cost: float) -> None:
    with pytest.raises(LabelError, match="a cost is 0 or more"):
        replace(ANSWER, cost=cost)


def test_only_classes_and_masks_tell() -> None:
    assert ANSWER.tells
    assert not replace(ANSWER, value=CANNOT_TELL).tells
