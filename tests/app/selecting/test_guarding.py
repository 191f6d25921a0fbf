"""Guards, a control arm, labels and groups, from files to a receipt that replays."""

from __future__ import annotations

import shutil
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from commands import command
from foresift.app.passes.predicting import predict
from foresift.app.selecting.explaining import explain
from foresift.app.selecting.guarding import Limits
from foresift.app.selecting.pool_selection import select_from_pool, select_from_predictions
from foresift.app.selecting.receipts import replay
from foresift.app.selecting.request import Request, Selected
from foresift.app.workspace import Workspace
from foresift.core.errors import BudgetError, MissingColumnError, UsageError
from foresift.core.queries import Picks, Query
from foresift.selection.control import control_estimates
from foresift.stores.tables import read_predictions, write_rows
from foresift.strategies import STRATEGIES, Strategy, strategy

pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def workspace(home: Path) -> Workspace:
    return Workspace.open(home)


def again(workspace: Workspace, selected: Selected) -> None:
    """The receipt leads to the same ids, and each of them is explained as chosen."""
    receipt = selected.selection.receipt
    assert replay(workspace, receipt.id).selection.sample_ids.tolist() == selected.selection.sample_ids.tolist()
    for rank, sample in enumerate(selected.selection.sample_ids.tolist(), start=1):
        assert explain(workspace, receipt.id, str(sample)).pick == rank


@pytest.fixture
def manifest(pool: Path, tmp_path: Path) -> Path:
    """The 60 digits, in groups by digit; the zeros are in no group."""
    rows = [
        {"id": f"frame{n:02}", "uri": str(file), "group": "" if file.name[0] == "0" else f"site {file.name[0]}"}
        for n, file in enumerate(sorted(pool.iterdir()))
    ]
    write_rows(tmp_path / "pool.csv", rows, ["id", "uri", "group"])
    return tmp_path / "pool.csv"


# ---- groups and classes --------------------------------------------------------------------


@pytest.mark.parametrize("name", ["margin", "random"])
def test_no_more_than_so_many_of_a_group(name: str, workspace: Workspace, manifest: Path, generation: Path) -> None:
    request = Request(strategy=name, budget=20, limits=Limits(max_per_group=2))
    chosen = select_from_pool(workspace, manifest, request, model=generation)
    groups = Counter(Path(row["uri"]).name[0] for row in chosen.selection.rows())
    assert max(count for digit, count in groups.items() if digit != "0") <= 2
    again(workspace, chosen)
    with pytest.raises(BudgetError, match=r"leave 24 of a budget of 30 .*group-full.*--allow-short"):
        select_from_pool(workspace, manifest, replace(request, budget=30), model=generation)
    short = select_from_pool(workspace, manifest, replace(request, budget=30, allow_short=True), model=generation)
    assert (len(short.selection), short.selection.receipt.short) == (24, True)


def test_a_pool_without_groups_says_so_before_any_work(workspace: Workspace, pool: Path, tmp_path: Path) -> None:
    request = Request(strategy="random", budget=2, limits=Limits(max_per_group=1))
    with pytest.raises(MissingColumnError, match="names no groups; give a manifest with a column group"):
        select_from_pool(workspace, pool, request)


def test_classes_of_a_random_choice_need_a_model(workspace: Workspace, pool: Path, generation: Path) -> None:
    request = Request(strategy="random", budget=10, limits=Limits(max_per_class=3))
    with pytest.raises(UsageError, match="this guard needs logits: give the model"):
        select_from_pool(workspace, pool, request)
    chosen = select_from_pool(workspace, pool, request, model=generation)
    assert len(chosen.selection) == 10
    again(workspace, chosen)


def test_groups_of_a_predictions_file(workspace: Workspace, tmp_path: Path) -> None:
    table = {"id": [1, 2, 3, 4], "logits": [[0.0, 0], [0, 0.1], [0, 0.2], [0, 0.3]], "group": ["a", "a", None, "b"]}
    pq.write_table(pa.table(table), tmp_path / "p.parquet")
    request = Request(strategy="margin", budget=3, limits=Limits(max_per_group=1))
    chosen = select_from_predictions(workspace, tmp_path / "p.parquet", request)
    assert chosen.selection.sample_ids.tolist() == [1, 3, 4]
    again(workspace, chosen)
    said = explain(workspace, chosen.selection.receipt.id, "2")
    assert said.reason.startswith("barred by the guard group-full: its group has as many picks")
    assert said.rank == 2


# ---- copies and leaks ----------------------------------------------------------------------


def test_copies_of_labeled_samples_and_of_picks_are_passed_over(
    workspace: Workspace, manifest: Path, generation: Path, tmp_path: Path
) -> None:
    text = manifest.read_text().splitlines()
    copies = [line.replace("frame", "copy") for line in text[1:]]
    both = tmp_path / "twice.csv"
    both.write_text("\n".join([*text, *copies]) + "\n")
    labeled = tmp_path / "labeled.txt"
    labeled.write_text("".join(f"frame{n:02}\n" for n in range(10)))
    limits = Limits(min_distance=1e-6)
    request = Request(strategy="margin", budget=40, labeled=labeled, limits=limits)
    chosen = select_from_pool(workspace, both, request, model=generation)
    numbers = [str(sample)[-2:] for sample in chosen.selection.sample_ids.tolist()]
    assert len(set(numbers)) == 40
    assert not set(numbers) & {f"{n:02}" for n in range(10)}
    assert chosen.selection.receipt.guards["removed"]["near-labeled"] >= 10
    again(workspace, chosen)
    said = explain(workspace, chosen.selection.receipt.id, "copy03")
    assert said.reason.startswith("barred by the guard near-labeled: it is too near to a labeled sample (min_distance=")


@pytest.mark.parametrize("distance", [None, 1e-6])
def test_the_content_of_a_validation_pool_is_never_picked(
    distance: float | None, workspace: Workspace, manifest: Path, pool: Path, generation: Path, tmp_path: Path
) -> None:
    held_out = tmp_path / "held out"
    held_out.mkdir()
    for file in sorted(pool.iterdir())[:7]:
        shutil.copy(file, held_out / f"other name {file.name}")
    limits = Limits(validation=str(held_out), min_distance=distance)
    for name in ("margin", "random"):
        request = Request(strategy=name, budget=50, limits=limits)
        chosen = select_from_pool(workspace, manifest, request, model=generation)
        assert not {f"frame{n:02}" for n in range(7)} & set(chosen.selection.sample_ids.tolist())
        assert chosen.selection.receipt.pool["validation"]["size"] == 7
        shutil.move(held_out, tmp_path / "gone")  # a replay does not need it
        again(workspace, chosen)
        shutil.move(tmp_path / "gone", held_out)
        said = explain(workspace, chosen.selection.receipt.id, "frame02")
        assert said.reason.startswith("barred by the guard validation: it is in the validation set")


def test_a_validation_file_bars_ids_and_neighbours(
    workspace: Workspace, manifest: Path, generation: Path, tmp_path: Path
) -> None:
    out = tmp_path / "all.parquet"
    predict(workspace, manifest, generation, out=out)
    known = read_predictions(out)
    rows = np.array([3, 4])
    table = {"id": ["frame09", "elsewhere"], "embedding": known.column("embeddings")[rows].tolist()}
    pq.write_table(pa.table(table), tmp_path / "val.parquet")
    limits = Limits(validation=str(tmp_path / "val.parquet"), min_distance=1e-6)
    request = Request(strategy="margin", budget=50, limits=limits)
    expected = {"frame03", "frame04", "frame09"}
    for chosen in (
        select_from_pool(workspace, manifest, request, model=generation),
        select_from_predictions(workspace, out, request),
    ):
        assert expected <= set(chosen.selection.barred["validation"].tolist())
        again(workspace, chosen)
    with pytest.raises(UsageError, match="beside --predictions, --validation is a predictions file"):
        select_from_predictions(workspace, out, replace(request, limits=Limits(validation=str(manifest))))


# ---- the control arm -----------------------------------------------------------------------


def test_a_control_arm_from_the_command_to_an_estimate(
    workspace: Workspace, manifest: Path, generation: Path, home: Path, tmp_path: Path
) -> None:
    out = tmp_path / "chosen.csv"
    line = ["select", manifest, "--model", generation, "--budget", 20, "--control", 0.3, "--seed", 4, "--out", out]
    answer = command(*line, "--max-per-class", 5, home=home)
    assert answer.code == 0, answer.err
    assert "control arm: 6 drawn at random from 60" in answer.err
    assert "guards removed" in answer.err
    rows = [line.split(",") for line in out.read_text().splitlines()]
    assert rows[0] == ["rank", "id", "uri", "score", "arm", "label"]
    assert [row[4] for row in rows[1:]] == ["control"] * 6 + ["strategy"] * 14
    first, last = rows[1], rows[-1]
    assert command("explain", out, first[1], home=home).out.count("control arm: one of 6 drawn at random from 60") == 1
    assert "rank" in command("explain", out, last[1], home=home).out
    assert command("replay", out, home=home).code == 0
    out.write_text("\n".join([",".join(rows[0]), *(",".join([*row[:5], Path(row[2]).name[0]]) for row in rows[1:])]))
    again = select_from_pool(workspace, manifest, Request(strategy="random", budget=40, labeled=out))
    assert again.selection.receipt.n_labeled == 20
    estimates = control_estimates([Path(row[2]).name[0] for row in rows[1:7]], population=60)
    assert sum(estimate.total for estimate in estimates) == pytest.approx(60)


@pytest.mark.parametrize("wrong", [["--control", "1.5"], ["--min-distance", "-1"], ["--max-per-class", "0"]])
def test_wrong_limits_are_usage_errors(wrong: list[str], pool: Path, home: Path) -> None:
    assert command("select", pool, "--strategy", "random", "--budget", 2, *wrong, home=home).code == 2


# ---- labels --------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class FewestLabels(Strategy):
    """Remembers the labels that it was given, and picks by them."""

    name: ClassVar[str] = "fewest-labels"
    needs: ClassVar[tuple[str, ...]] = ("logits", "labels")

    def pick(self, query: Query, rng: np.random.Generator) -> Picks:
        assert query.labels is not None
        first = int(query.labels @ np.arange(1, len(query.labels) + 1)) % (len(query) - query.budget + 1)
        return Picks(rows=first + np.arange(query.budget), details={"labels": query.labels.tolist()})


@pytest.fixture
def _fewest_labels() -> Any:
    strategy(FewestLabels)
    yield
    STRATEGIES._entries.pop("fewest-labels")


@pytest.mark.usefixtures("_fewest_labels")
def test_labels_of_a_file_reach_the_strategy_in_the_order_of_the_model(
    workspace: Workspace, manifest: Path, generation: Path, tmp_path: Path
) -> None:
    labeled = tmp_path / "labeled.csv"
    labeled.write_text("id,label\nframe30,7\nframe05,2\nframe41,\n")
    request = Request(strategy="fewest-labels", budget=3, labeled=labeled)
    chosen = select_from_pool(workspace, manifest, request, model=generation)
    assert chosen.selection.receipt.details["labels"] == [2, 7]
    again(workspace, chosen)
    labeled.write_text("id,label\nframe30,cat\n")
    with pytest.raises(UsageError, match=r"'cat'.* are no classes of the model .*--labeled file"):
        select_from_pool(workspace, manifest, request, model=generation)
    labeled.write_text("id\nframe30\n")
    with pytest.raises(UsageError, match="1 of 1 labeled samples have none"):
        select_from_pool(workspace, manifest, request, model=generation)


@pytest.mark.usefixtures("_fewest_labels")
def test_labels_of_the_pool_itself_reach_the_strategy(
    workspace: Workspace, digit_files: Path, generation: Path, tmp_path: Path
) -> None:
    tree = tmp_path / "tree"
    for digit in ("3", "1"):
        (tree / digit).mkdir(parents=True)
        for file in sorted((digit_files / "train" / digit).iterdir())[:5]:
            shutil.copy(file, tree / digit)
    labeled = tmp_path / "labeled.csv"
    names = ["3", "1", "3"]
    files = [sorted((tree / name).iterdir())[n] for n, name in enumerate(names)]
    labeled.write_text("uri\n" + "".join(f"{file}\n" for file in files))
    request = Request(strategy="fewest-labels", budget=3, labeled=labeled)
    chosen = select_from_pool(workspace, tree, request, model=generation)
    assert sorted(chosen.selection.receipt.details["labels"]) == [1, 3, 3]
    again(workspace, chosen)


@pytest.mark.usefixtures("_fewest_labels")
def test_labels_beside_a_predictions_file(workspace: Workspace, tmp_path: Path) -> None:
    table = {"id": list(range(1, 31)), "logits": [[0.0, 0, 1]] * 30}
    pq.write_table(pa.table(table), tmp_path / "p.parquet")
    labeled = tmp_path / "labeled.csv"
    request = Request(strategy="fewest-labels", budget=1, labeled=labeled)

    def seen() -> list[int]:
        chosen = select_from_predictions(workspace, tmp_path / "p.parquet", request)
        again(workspace, chosen)
        return list(chosen.selection.receipt.details["labels"])

    labeled.write_text("id,label\n4,dog\n1,cat\n2,eel\n")
    assert seen() == [0, 2, 1]
    labeled.write_text("id,label\n4,2\n1,0\n")
    assert seen() == [0, 2]
    labeled.write_text("id,label\n4,dog\n1,cat\n")
    with pytest.raises(UsageError, match="name 2 classes and the logits have 3 columns"):
        seen()
    labeled.write_text("id,label\n4,3\n")
    with pytest.raises(UsageError, match="no classes of the model"):
        seen()


def test_labels_that_nobody_gave_are_not_made_up_by_a_replay(
    workspace: Workspace, pool: Path, generation: Path, tmp_path: Path
) -> None:
    files = sorted(pool.iterdir())
    rows = [{"id": n, "uri": str(file), "label": file.name[0]} for n, file in enumerate(files)]
    write_rows(tmp_path / "pool.csv", [{**rows[0], "label": ""}, *rows[1:]], ["id", "uri", "label"])
    (tmp_path / "labeled.txt").write_text("0\n1\n")
    request = Request(strategy="class-balanced:of=loss", budget=9, labeled=tmp_path / "labeled.txt")
    chosen = select_from_pool(workspace, tmp_path / "pool.csv", request, model=generation)
    assert not chosen.selection.receipt.details["labels_counted"]
    again(workspace, chosen)
    replayed = replay(workspace, chosen.selection.receipt.id).selection
    assert not replayed.receipt.details["labels_counted"]


def test_a_strategy_that_read_the_truth_replays(workspace: Workspace, digit_files: Path, generation: Path) -> None:
    request = Request(strategy="loss", budget=5)
    again(workspace, select_from_pool(workspace, digit_files / "test", request, model=generation))


def test_a_chain_replays(workspace: Workspace, pool: Path, generation: Path) -> None:
    request = Request(strategy="margin:keep=20+random", budget=5, seed=9)
    chosen = select_from_pool(workspace, pool, request, model=generation)
    again(workspace, chosen)
    assert [stage["kept"] for stage in chosen.selection.receipt.details["stages"]] == [20, 5]
    best = select_from_pool(workspace, pool, Request(strategy="margin", budget=21), model=generation)
    ids = best.selection.sample_ids.tolist()
    said = [explain(workspace, chosen.selection.receipt.id, sample) for sample in ids]
    assert said[-1].reason == "stage 1 of margin+random, margin, kept 20 candidates and this is none of them"
    assert sum(one.chosen for one in said[:-1]) == 5
    assert all("margin+random ranks nothing" in one.reason for one in said[:-1])
    with pytest.raises(UsageError, match="keeps 20 candidates, fewer than the budget of 21"):
        select_from_pool(workspace, pool / "nowhere", replace(request, budget=21), model=generation)
