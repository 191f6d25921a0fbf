"""Which selections labels are the answer to, where nothing but the labels says it."""

from __future__ import annotations

import csv
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from commands import command
from foresift.app.generations.descent import known
from foresift.app.pools import open_pool
from foresift.app.runs.inheriting import InheritRequest, inherit
from foresift.app.training.request import Trained, TrainRequest
from foresift.app.training.train import train
from foresift.app.workspace import Workspace
from foresift.core.subsets import Subset, hash_of
from foresift.stores.subsets import write_subset

HOUR_S = 3600
DIGITS = tuple("0123456789")  # a few labels may leave one out


def ids_of(home: Path, pool: Path) -> list[str]:
    return [str(one) for one in open_pool(Workspace.open(home), pool).ids.tolist()]


def select(home: Path, pool: Path, *more: object, budget: int) -> list[str]:
    """What was chosen; the receipt lies in the workspace alone."""
    out = home.with_name("selection.csv")
    answer = command("select", pool, *more, "--budget", budget, "--out", out, home=home)
    assert answer.code == 0, answer.err
    out.with_name(out.name + ".receipt.json").unlink()
    return [row["id"] for row in csv.DictReader(out.read_text().splitlines())]


def answered(home: Path, pool: Path, ids: Sequence[str], *, untold: Sequence[str] = ()) -> Path:
    """A labels file with nothing but ``id`` and ``label``; of some samples it says that nobody could tell."""
    seen = open_pool(Workspace.open(home), pool)
    digits = {str(one): Path(uri).name.partition("-")[0] for one, uri in zip(seen.ids, seen.uris, strict=True)}
    lines = [*(f"{one},{digits[one]}" for one in ids), *(f"{one},cannot-tell" for one in untold)]
    file = home.with_name("labels.csv")
    file.write_text("\n".join(["id,label", *lines]) + "\n")
    return file


def age(file: Path) -> Path:
    """As if it was written an hour ago."""
    written = file.stat().st_mtime - HOUR_S
    os.utime(file, (written, written))
    return file


def learn(home: Path, pool: Path, labels: Path, *, name: str = "gen1", model: str = "mlp:4", **more: object) -> Trained:
    request = TrainRequest(
        model=model,
        out=home.with_name(name),
        labels=labels,
        recipe={"epochs": 1, "augment": "none"},
        classes=DIGITS,
        **more,  # type: ignore[arg-type]
    )
    return train(Workspace.open(home), pool, request)


def brought(home: Path, trained: Trained) -> list[tuple[str, int]]:
    """Who chose how many labels: the strategy, "" of those that were given."""
    parts = known(Workspace.open(home))[trained.generation.id].brought
    return [(part.strategy.partition(":")[0], part.labels) for part in parts]


@pytest.mark.parametrize(
    ("told", "untold", "expected"),
    [(18, 0, [("random", 18)]), (17, 0, [("", 17)]), (15, 3, [("random", 15)])],
    ids=["nine tenths", "fewer", "some that nobody could tell"],
)
def test_labels_answer_a_selection_nearly_all_of_whose_picks_they_say(
    told: int, untold: int, expected: list[tuple[str, int]], home: Path, pool: Path
) -> None:
    picks = select(home, pool, "--strategy", "random", budget=20)
    labels = answered(home, pool, picks[:told], untold=picks[told : told + untold])
    assert brought(home, learn(home, pool, labels)) == expected


def test_a_selection_that_nobody_answered_chose_nothing(home: Path, pool: Path) -> None:
    picks = select(home, pool, "--strategy", "random", budget=20)
    first = learn(home, pool, answered(home, pool, picks))
    explored = select(home, pool, "--strategy", "margin", "--model", first.folder, budget=40)
    elsewhere = [one for one in ids_of(home, pool) if one not in picks][::2]
    assert {*explored} & {*elsewhere}
    second = learn(home, pool, answered(home, pool, [*picks, *elsewhere]), name="gen2")
    assert brought(home, second) == [("random", 20), ("", len(elsewhere))]


def test_labels_that_were_there_before_a_selection_are_no_answer_to_it(home: Path, pool: Path) -> None:
    labels = age(answered(home, pool, ids_of(home, pool)))
    select(home, pool, "--strategy", "random", budget=10)
    assert brought(home, learn(home, pool, labels)) == [("", 60)]
    labels.touch()
    later = learn(home, pool, labels, name="gen2", seed=1)
    assert brought(home, later) == [("random", 10), ("", 50)], "these may be"


def test_a_selection_that_is_made_again_was_made_the_first_time(home: Path, pool: Path) -> None:
    select(home, pool, "--strategy", "random", budget=10)
    (kept,) = (home / "receipts" / "picks").iterdir()
    before = kept.read_bytes()
    select(home, pool, "--strategy", "random", budget=10)
    assert kept.read_bytes() == before


def test_a_training_that_is_repeated_after_its_generation_chose_does_nothing(home: Path, pool: Path) -> None:
    labels = answered(home, pool, ids_of(home, pool))
    first = learn(home, pool, labels)
    select(home, pool, "--model", first.folder, budget=30)
    before = known(Workspace.open(home))
    again = learn(home, pool, labels)
    assert again.generation == first.generation
    assert known(Workspace.open(home)) == before
    shutil.copytree(first.folder, home.with_name("copy"))
    learn(home, pool, labels, name="copy")
    assert Workspace.open(home).generation_folder(first.generation.id) == home.with_name("copy"), "it lies there now"
    assert brought(home, first) == [("", 60)]


def test_a_generation_and_its_heirs_chose_none_of_its_own_labels(home: Path, pool: Path) -> None:
    labels = answered(home, pool, ids_of(home, pool))
    first = learn(home, pool, labels)
    second = learn(home, pool, labels, name="gen2", model=str(first.folder))
    for one in (first, second):
        select(home, pool, "--model", one.folder, budget=30)
    (home / "generations" / f"{first.generation.id}.json").unlink()
    labels.touch()
    learn(home, pool, labels)
    assert brought(home, first) == [("", 60)]


def test_what_was_given_to_an_ancestor_is_given_to_its_heir(home: Path, pool: Path) -> None:
    first = learn(home, pool, answered(home, pool, ids_of(home, pool)))
    select(home, pool, "--model", first.folder, budget=30)
    training = TrainRequest(model="mlp:5", out=home.with_name("heir"), recipe={"epochs": 1})
    _, heir = inherit(Workspace.open(home), InheritRequest(ancestor=first.generation.id, training=training))
    assert brought(home, heir) == [("", 60)]


def test_a_subset_keeps_who_chose_its_labels(home: Path, pool: Path) -> None:
    picks = select(home, pool, "--strategy", "random", budget=20)
    labels = answered(home, pool, picks)
    seen = open_pool(Workspace.open(home), pool)
    some = seen.take(seen.rows_of(sorted(picks)[:5]))
    file = home.with_name("subset.json")
    about = {"name": seen.name, "version": seen.version}
    kept = Subset(ids=tuple(some.ids.tolist()), hash=hash_of(some.ids, some.digests), data=about, of=20, scheme="s")
    write_subset(file, kept)
    assert brought(home, learn(home, pool, labels, subset=file)) == [("random", 5)]
