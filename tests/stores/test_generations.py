"""Generation records as they are read back: whole, unchanged, or refused in one line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from foresift.core.errors import ModelError
from foresift.stores.generations import RECORD, read_generation


@pytest.fixture
def own(generation: Path, tmp_path: Path) -> Path:
    """A generation folder of the test's own."""
    return Path(shutil.copytree(generation, tmp_path / "own"))


def rewrite(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    path = folder / RECORD
    plain = json.loads(path.read_text())
    changed = change(plain)
    path.write_text(json.dumps(plain if changed is None else changed))


def test_a_record_may_be_written_in_another_order_and_layout(own: Path) -> None:
    before = read_generation(own)
    rewrite(own, lambda plain: dict(reversed(plain.items())))
    assert read_generation(own) == before


@pytest.mark.parametrize(
    "change",
    [
        lambda plain: plain["classes"].reverse(),
        lambda plain: plain["transform"].update(size=9),
        lambda plain: plain["data"].update(labeled=1_000_000),
        lambda plain: plain.update(seed=7),
        lambda plain: plain.update(id="0" * 40),
        lambda plain: plain.pop("id"),
        lambda plain: plain.update(probe=[0.5]),
    ],
)
def test_a_record_that_was_changed_is_refused(change: Callable[[Any], Any], own: Path) -> None:
    rewrite(own, lambda plain: (change(plain), None)[1])
    with pytest.raises(ModelError, match="was changed since it was written") as told:
        read_generation(own)
    assert str(own / RECORD) in str(told.value)


WRONG: list[dict[str, Any]] = [
    {"architecture": 3},
    {"classes": "cat"},
    {"classes": ["cat", 3]},
    {"classes": None},
    {"transform": "x"},
    {"transform": []},
    {"transform": {"size": "x"}},
    {"transform": {"size": True}},
    {"transform": {"size": 8, "mean": 3}},
    {"transform": {"size": 8, "mean": ["a", "b", "c"]}},
    {"transform": {"size": 8, "std": [1, 0, 1]}},
    {"transform": {"size": 8, "crop_share": None}},
    {"transform": {"size": 8, "resize": []}},
    {"transform": {"size": 8, "colour": "red"}},
    {"transform": {}},
    {"weights": None},
    {"embedding_width": "64"},
    {"parent": 4},
    {"data": []},
    {"recipe": "all"},
    {"metrics": 1},
    {"metrics": {"top1": float("nan")}},
    {"seed": 1.5},
    {"data": {"pool": "\ud800"}},
    {"probe": ["a"]},
    {"format": 2},
    {"format": None},
]


@pytest.mark.parametrize("wrong", WRONG, ids=str)
def test_a_value_of_another_kind_is_one_line(wrong: dict[str, Any], own: Path) -> None:
    rewrite(own, lambda plain: plain.update(wrong))
    with pytest.raises(ModelError) as told:
        read_generation(own)
    assert str(own / RECORD) in str(told.value)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("whole", [[], "x", 3, None, {}])
def test_a_record_that_is_none_is_one_line(whole: Any, own: Path) -> None:
    (own / RECORD).write_text(json.dumps(whole))
    with pytest.raises(ModelError, match=RECORD):
        read_generation(own)


@pytest.mark.parametrize("name", ["architecture", "classes", "transform", "weights", "backbone", "embedding_width"])
def test_a_missing_field_is_one_line(name: str, own: Path) -> None:
    rewrite(own, lambda plain: (plain.pop(name), None)[1])
    with pytest.raises(ModelError, match=name):
        read_generation(own)
