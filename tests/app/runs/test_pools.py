"""What a run may choose from and what it is measured on are apart from each other, and fixed."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from hashlib import sha256
from pathlib import Path

import pytest

from foresift.app.runs.files import RunFile, read_run_file
from foresift.app.runs.pool_files import CANDIDATES, EVALUATION, TRUTH, RunPool, table_rows
from foresift.app.runs.pools import fifth, run_pool
from foresift.app.workspace import Workspace
from foresift.core.errors import BudgetError, LabelError, UsageError
from foresift.core.samples import Pool
from run_files import write_run


def pool_of(labels: list[str], *, ids: list[str]) -> Pool:
    return Pool.from_columns("pool", ids, uris=ids, labels=labels)


def opened(folder: Path, home: Path, file: Path) -> tuple[RunPool, RunFile]:
    run = read_run_file(file)
    return run_pool(Workspace.open(home), folder, run), run


def ids_in(path: Path) -> list[str]:
    return [row["id"] for row in table_rows(path)]


def test_a_fifth_of_each_class_is_held_out_whatever_the_order_and_the_other_classes() -> None:
    ids = [f"s{number}" for number in range(100)]
    labels = ["a" if number % 4 else "b" for number in range(100)]
    pool = pool_of(labels, ids=ids)
    chosen = set(pool.ids[fifth(pool)].tolist())
    assert Counter(labels[ids.index(one)] for one in chosen) == {"a": 15, "b": 5}
    of_a = [one for one, label in zip(ids, labels, strict=True) if label == "a"]
    expected = sorted(of_a, key=lambda one: sha256(f"foresift evaluation\n{one}".encode()).hexdigest())[:15]
    assert {one for one in chosen if one in of_a} == set(expected)
    turned = pool_of(labels[::-1], ids=ids[::-1])
    assert set(turned.ids[fifth(turned)].tolist()) == chosen
    alone = pool_of(["a"] * len(of_a), ids=of_a)
    assert set(alone.ids[fifth(alone)].tolist()) == set(expected)


def test_nothing_is_both_chosen_and_measured_on(digit_files: Path, tmp_path: Path, home: Path) -> None:
    pool, _ = opened(tmp_path / "run", home, write_run(tmp_path, digit_files / "test"))
    candidates, evaluation = (set(ids_in(tmp_path / "run" / name)) for name in (CANDIDATES, EVALUATION))
    assert (len(candidates), len(evaluation)) == (pool.size, pool.evaluation_size) == (360, 90)
    assert not candidates & evaluation
    assert "label" not in table_rows(tmp_path / "run" / CANDIDATES)[0]
    assert ids_in(tmp_path / "run" / TRUTH) == ids_in(tmp_path / "run" / CANDIDATES)


def test_images_that_are_also_in_the_evaluation_folder_are_never_chosen(
    digit_files: Path, tmp_path: Path, home: Path
) -> None:
    for digit in ("3", "4"):
        shutil.copytree(digit_files / "test" / digit, tmp_path / "held-out" / digit)
    file = write_run(tmp_path, digit_files / "test", evaluation="held-out")
    pool, _ = opened(tmp_path / "run", home, file)
    assert not set(ids_in(tmp_path / "run" / CANDIDATES)) & set(ids_in(tmp_path / "run" / EVALUATION))
    assert any("never chosen" in note for note in pool.notes)


def test_people_label_a_pool_that_says_nothing_of_its_classes(pool: Path, tmp_path: Path, home: Path) -> None:
    found, _ = opened(tmp_path / "run", home, write_run(tmp_path, pool, oracle="people"))
    assert (found.size, found.evaluation_size, found.classes) == (60, 0, [])
    assert any("nothing is measured" in note for note in found.notes)
    assert not (tmp_path / "run" / TRUTH).exists()


def test_a_control_arm_without_anything_to_compare_it_on_is_refused(pool: Path, tmp_path: Path, home: Path) -> None:
    with pytest.raises(UsageError, match="none to hold out; give evaluation: FOLDER"):
        opened(tmp_path / "run", home, write_run(tmp_path, pool, oracle="people", control="random", rounds=2))
    assert not (tmp_path / "run").exists()


def test_the_pool_stays_as_the_run_first_saw_it(pool: Path, tmp_path: Path, home: Path) -> None:
    file = write_run(tmp_path, pool, oracle="people")
    before, _ = opened(tmp_path / "run", home, file)
    next(iter(pool.iterdir())).unlink()
    assert opened(tmp_path / "run", home, file)[0] == before


def test_what_a_newer_version_adds_to_the_pool_of_a_run_is_passed_over(pool: Path, tmp_path: Path, home: Path) -> None:
    file = write_run(tmp_path, pool, oracle="people")
    before, _ = opened(tmp_path / "run", home, file)
    record = tmp_path / "run" / "pool.json"
    record.write_text(json.dumps({**json.loads(record.read_text()), "from_the_future": [1]}))
    assert opened(tmp_path / "run", home, file)[0] == before


def test_truth_without_class_folders_and_budgets_beyond_the_pool_are_refused(
    pool: Path, tmp_path: Path, home: Path
) -> None:
    with pytest.raises(LabelError, match="use oracle: people or oracle: files"):
        opened(tmp_path / "run", home, write_run(tmp_path, pool))
    with pytest.raises(BudgetError, match="budget 61 is more than the 60 samples"):
        opened(tmp_path / "run", home, write_run(tmp_path, pool, oracle="people", budget=61))
    with pytest.raises(BudgetError, match="70 labels in 7 rounds"):
        opened(tmp_path / "run", home, write_run(tmp_path, pool, oracle="people", rounds=7))
    assert not (tmp_path / "run" / CANDIDATES).exists()
