"""Selection from pools of real images by a small trained model."""

from __future__ import annotations

import csv
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import foresift
from conftest import copy_digits
from foresift.app.models.opening import open_model
from foresift.app.passes.predicting import predict
from foresift.app.passes.stored import PassOptions
from foresift.app.selecting.pool_selection import select_from_pool, select_from_predictions
from foresift.app.selecting.receipts import replay
from foresift.app.selecting.request import Request, Selected
from foresift.app.training.evaluating import evaluate
from foresift.app.training.request import TrainRequest
from foresift.app.training.train import train
from foresift.app.workspace import Workspace
from foresift.core.errors import BudgetError, EmptyPoolError, LabelError, ModelError, ReplayError, UsageError
from foresift.stores.tables import read_predictions, write_rows
from images import png

pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def workspace(home: Path) -> Workspace:
    return Workspace.open(home)


def ids(selected: Selected) -> list[object]:
    return selected.selection.sample_ids.tolist()


def manifest(path: Path, rows: list[dict[str, object]]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Rows of a table by other means than our own."""
    if path.suffix == ".csv":
        with path.open(newline="") as file:
            return list(csv.DictReader(file))
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text().splitlines()]
    rows: list[dict[str, Any]] = pq.read_table(path).to_pylist()
    return rows


# ---- what is chosen ------------------------------------------------------------------------


def test_a_pool_gives_what_its_predictions_file_gives(
    workspace: Workspace, pool: Path, generation: Path, tmp_path: Path
) -> None:
    out = tmp_path / "predictions.parquet"
    predict(workspace, pool, generation, out=out)
    for strategy in ("margin", "entropy", "ratio", "least-confidence", "random"):
        request = Request(strategy=strategy, budget=7, seed=3)
        from_pool = select_from_pool(workspace, pool, request, model=generation)
        from_file = select_from_predictions(workspace, out, request)
        in_python = foresift.select(read_predictions(out), strategy, budget=7, seed=3)
        assert ids(from_pool) == ids(from_file) == in_python.sample_ids.tolist()


@pytest.mark.parametrize(
    ("alias", "name"),
    [
        ("LeastConfidence", "least-confidence"),
        ("MarginConfidence", "margin"),
        ("RatioConfidence", "ratio"),
        ("EntropySampling", "entropy"),
        ("RandomSampling", "random"),
    ],
)
def test_names_of_other_tools_are_accepted(
    alias: str, name: str, workspace: Workspace, pool: Path, generation: Path
) -> None:
    first, second = (
        select_from_pool(workspace, pool, Request(strategy=spelling, budget=5), model=generation)
        for spelling in (alias, name)
    )
    assert ids(first) == ids(second)
    assert first.selection.receipt.strategy == name


def test_a_second_selection_infers_and_decodes_nothing(
    workspace: Workspace, pool: Path, generation: Path, opened_files: list[str]
) -> None:
    first = select_from_pool(workspace, pool, Request(strategy="margin", budget=5), model=generation)
    opened_files.clear()
    second = select_from_pool(workspace, pool, Request(strategy="entropy", budget=9), model=generation)
    assert first.result is not None
    assert second.result is not None
    assert (first.result.report.inferred, second.result.report.inferred) == (60, 0)
    assert not [name for name in opened_files if name.endswith(".png")]


def test_a_new_image_costs_one_image_and_a_renamed_one_none(workspace: Workspace, pool: Path, generation: Path) -> None:
    request = Request(strategy="margin", budget=5)
    select_from_pool(workspace, pool, request, model=generation)
    (pool / "new.png").write_bytes(png(seed=1))
    next(pool.glob("3-*")).rename(pool / "renamed.png")
    again = select_from_pool(workspace, pool, request, model=generation)
    assert again.result is not None
    assert again.result.report.inferred == 1


def test_own_ids_stay_what_they_are(workspace: Workspace, pool: Path, generation: Path, tmp_path: Path) -> None:
    files = sorted(pool.iterdir())
    rows = [{"id": f"frame {n}", "uri": f"pool/{file.name}"} for n, file in enumerate(files)]
    own = select_from_pool(
        workspace, manifest(tmp_path / "own.csv", rows), Request(strategy="margin", budget=60), model=generation
    )
    digests = select_from_pool(workspace, pool, Request(strategy="margin", budget=60), model=generation)
    by_uri = {row["uri"]: row["id"] for row in own.selection.rows()}
    assert sorted(by_uri.values()) == sorted(row["id"] for row in rows)
    assert {row["uri"] for row in digests.selection.rows()} == set(by_uri) == {str(file) for file in files}
    assert [row["score"] for row in own.selection.rows()] == [row["score"] for row in digests.selection.rows()]


def test_equal_bytes_under_two_ids_are_two_samples_and_one_inference(
    workspace: Workspace, pool: Path, generation: Path, tmp_path: Path
) -> None:
    file = next(pool.iterdir())
    path = manifest(tmp_path / "twins.csv", [{"id": name, "uri": str(file)} for name in "ab"])
    chosen = select_from_pool(workspace, path, Request(strategy="margin", budget=2), model=generation)
    assert ids(chosen) == ["a", "b"]
    assert chosen.result is not None
    assert chosen.result.report.inferred == 1


def test_random_opens_no_image_of_a_pool_with_own_ids(
    workspace: Workspace, tmp_path: Path, opened_files: list[str]
) -> None:
    rows = []
    for n in range(20):
        (tmp_path / f"{n}.png").write_text("no image at all, and nobody looks")
        rows.append({"id": n, "uri": f"{n}.png"})
    path = manifest(tmp_path / "pool.csv", rows)
    opened_files.clear()
    chosen = select_from_pool(workspace, path, Request(strategy="random", budget=5))
    assert str(path) in opened_files
    assert len(set(ids(chosen))) == 5
    assert not [name for name in opened_files if name.endswith(".png")]


# ---- what is labeled already ---------------------------------------------------------------


def test_labeled_samples_are_never_chosen(workspace: Workspace, pool: Path, generation: Path, tmp_path: Path) -> None:
    first = select_from_pool(
        workspace, pool, Request(strategy="margin", budget=20, out=tmp_path / "a.csv"), model=generation
    )
    request = Request(strategy="margin", budget=40, labeled=tmp_path / "a.csv")
    second = select_from_pool(workspace, pool, request, model=generation)
    assert not set(ids(first)) & set(ids(second))
    assert second.selection.receipt.n_labeled == 20
    with pytest.raises(BudgetError, match=r"41 must be within 1 \.\. 40"):
        select_from_pool(
            workspace, pool, Request(strategy="margin", budget=41, labeled=tmp_path / "a.csv"), model=generation
        )


@pytest.mark.parametrize("strategy", ["margin", "random"])
def test_rows_that_a_manifest_labels_are_not_bought_again(
    strategy: str, workspace: Workspace, pool: Path, generation: Path, tmp_path: Path
) -> None:
    files = sorted(pool.iterdir())
    rows = [{"id": n, "uri": str(file), "label": file.name[0] if n % 2 else ""} for n, file in enumerate(files)]
    path = manifest(tmp_path / "half.csv", rows)
    chosen = select_from_pool(workspace, path, Request(strategy=strategy, budget=30), model=generation)
    assert sorted(map(int, ids(chosen))) == list(range(0, 60, 2))
    with pytest.raises(BudgetError):
        select_from_pool(workspace, path, Request(strategy=strategy, budget=31), model=generation)


def test_class_folders_are_candidates_all_of_them(workspace: Workspace, digit_files: Path, generation: Path) -> None:
    chosen = select_from_pool(workspace, digit_files / "test", Request(strategy="margin", budget=450), model=generation)
    assert len(chosen.selection) == 450


def test_one_conflict_among_class_folders_does_not_make_the_others_labeled(
    workspace: Workspace, digit_files: Path, generation: Path, tmp_path: Path
) -> None:
    for digit in "012":
        (tmp_path / "tree" / digit).mkdir(parents=True)
        for file in sorted((digit_files / "train" / digit).iterdir())[:5]:
            shutil.copy(file, tmp_path / "tree" / digit)
    twin = next((tmp_path / "tree" / "0").iterdir())
    shutil.copy(twin, tmp_path / "tree" / "1" / "twin.png")
    chosen = select_from_pool(workspace, tmp_path / "tree", Request(strategy="margin", budget=15), model=generation)
    assert len(chosen.selection) == 15
    assert any("different labels" in note for note in chosen.notes)


def test_labeled_ids_of_no_sample_are_refused(
    workspace: Workspace, pool: Path, generation: Path, tmp_path: Path
) -> None:
    (tmp_path / "labeled.txt").write_text("no-such-id\n")
    request = Request(strategy="margin", budget=1, labeled=tmp_path / "labeled.txt")
    with pytest.raises(LabelError, match="no-such-id"):
        select_from_pool(workspace, pool, request, model=generation)


# ---- budgets -------------------------------------------------------------------------------


@pytest.mark.parametrize("budget", [0, -1])
def test_a_budget_below_one_is_refused_before_any_work(budget: int, workspace: Workspace, tmp_path: Path) -> None:
    with pytest.raises(BudgetError, match="at least 1") as refused:
        select_from_pool(workspace, tmp_path / "nowhere", Request(strategy="random", budget=budget))
    assert "1 .. 1" not in str(refused.value)


def test_allow_short_takes_what_there_is(workspace: Workspace, pool: Path, generation: Path) -> None:
    all_of_it = select_from_pool(
        workspace, pool, Request(strategy="margin", budget=1000, allow_short=True), model=generation
    )
    assert len(all_of_it.selection) == 60
    assert all_of_it.selection.receipt.short
    none = select_from_pool(workspace, pool, Request(strategy="margin", budget=0, allow_short=True), model=generation)
    assert len(none.selection) == 0
    with pytest.raises(BudgetError):
        select_from_pool(workspace, pool, Request(strategy="margin", budget=-1, allow_short=True), model=generation)


def test_broken_images_are_no_candidates_and_no_budget(workspace: Workspace, pool: Path, generation: Path) -> None:
    for n in range(3):
        (pool / f"broken{n}.png").write_bytes(b"no image %d" % n)
    with pytest.raises(BudgetError, match=r"61 must be within 1 \.\. 60"):
        select_from_pool(workspace, pool, Request(strategy="margin", budget=61), model=generation)
    chosen = select_from_pool(workspace, pool, Request(strategy="margin", budget=60), model=generation)
    assert {Path(one.uri).name for one in chosen.quarantined} == {"broken0.png", "broken1.png", "broken2.png"}
    assert chosen.selection.receipt.pool["quarantined"] == 3


# ---- files ---------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_a_filled_in_selection_is_a_labels_file(
    suffix: str, workspace: Workspace, pool: Path, generation: Path, tmp_path: Path
) -> None:
    out = tmp_path / f"chosen.{suffix}"
    select_from_pool(workspace, pool, Request(strategy="random", budget=40, seed=1, out=out))
    rows = read_rows(out)
    assert list(rows[0]) == ["rank", "id", "uri", "score", "arm", "label"]
    assert [int(row["rank"]) for row in rows] == list(range(1, 41))
    write_rows(out, [{**row, "label": Path(row["uri"]).name[0]} for row in rows], list(rows[0]))
    request = TrainRequest(model="linear", out=tmp_path / "gen2", labels=out, recipe={"epochs": 1})
    trained = train(workspace, pool, request)
    assert trained.generation.data["labeled"] == 40
    assert evaluate(workspace, pool, tmp_path / "gen2", labels=out).metrics["n"] == 40


@pytest.mark.parametrize("kind", [int, str])
def test_a_users_predictions_keep_the_kind_of_their_ids(kind: type, workspace: Workspace, tmp_path: Path) -> None:
    own = [kind(n) for n in (11, 7, 101, 3)]
    logits = [[0.0, 9.0], [1.0, 1.0], [0.0, 1.0], [0.0, 5.0]]
    pq.write_table(pa.table({"id": own, "logits": logits}), tmp_path / "p.parquet")
    (tmp_path / "labeled.csv").write_text("id\n7\n")
    request = Request(strategy="margin", budget=2, labeled=tmp_path / "labeled.csv", out=tmp_path / "chosen.jsonl")
    assert ids(select_from_predictions(workspace, tmp_path / "p.parquet", request)) == [kind(101), kind(3)]
    assert [row["id"] for row in read_rows(tmp_path / "chosen.jsonl")] == [kind(101), kind(3)]


def test_an_unknown_suffix_is_refused_before_any_work(workspace: Workspace, tmp_path: Path) -> None:
    request = Request(strategy="random", budget=1, out=tmp_path / "out.xlsx")
    with pytest.raises(UsageError, match=r"\.csv, \.jsonl, \.parquet"):
        select_from_pool(workspace, tmp_path / "nowhere", request)
    with pytest.raises(UsageError, match=r"\.parquet"):
        predict(workspace, tmp_path / "nowhere", tmp_path / "nothing", out=tmp_path / "out.csv")


# ---- models --------------------------------------------------------------------------------


def test_a_generation_is_named_by_folder_or_id(workspace: Workspace, pool: Path, tmp_path: Path) -> None:
    files = sorted(pool.iterdir())
    labels = manifest(tmp_path / "labels.csv", [{"uri": str(file), "label": file.name[0]} for file in files])
    request = TrainRequest(model="linear", out=tmp_path / "gen", labels=labels, recipe={"epochs": 1})
    made = train(workspace, pool, request).generation
    for spec in (tmp_path / "gen", made.id, made.id[:8]):
        assert open_model(workspace, spec).generation == made
    with pytest.raises(ModelError, match="no generation"):
        open_model(workspace, "0123456789")


def test_changed_weights_are_refused_even_when_everything_is_stored(
    workspace: Workspace, pool: Path, generation: Path, tmp_path: Path
) -> None:
    own = Path(shutil.copytree(generation, tmp_path / "own"))
    select_from_pool(workspace, pool, Request(strategy="margin", budget=1), model=own)
    weights = own / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(ModelError, match="not the file that the generation was recorded with"):
        select_from_pool(workspace, pool, Request(strategy="margin", budget=1), model=own)


def test_labels_of_other_classes_are_refused(
    workspace: Workspace, pool: Path, generation: Path, tmp_path: Path
) -> None:
    files = sorted(pool.iterdir())
    labels = manifest(tmp_path / "cats.csv", [{"uri": str(file), "label": "cat"} for file in files])
    with pytest.raises(LabelError, match=r"cat .*none of the 10 classes"):
        evaluate(workspace, pool, generation, labels=labels)
    request = TrainRequest(model=str(generation), out=tmp_path / "gen", labels=labels, recipe={"epochs": 1})
    with pytest.raises(LabelError, match="cat"):
        train(workspace, pool, request)
    assert not (tmp_path / "gen").exists()
    rows = [{"id": n, "uri": str(file), "label": "cat"} for n, file in enumerate(files)]
    with pytest.raises(UsageError, match="no classes of the model"):
        select_from_pool(
            workspace, manifest(tmp_path / "m.csv", rows), Request(strategy="loss", budget=1), model=generation
        )


def test_true_loss_ranks_a_labeled_pool(workspace: Workspace, digit_files: Path, generation: Path) -> None:
    worst = select_from_pool(workspace, digit_files / "test", Request(strategy="loss", budget=450), model=generation)
    scores = worst.selection.scores
    assert scores is not None
    measured = evaluate(workspace, digit_files / "test", generation)
    assert float(np.mean(scores)) == pytest.approx(measured.metrics["cross_entropy"], rel=1e-5)


# ---- pools ---------------------------------------------------------------------------------


def test_addresses_may_come_on_standard_input(workspace: Workspace, pool: Path, generation: Path) -> None:
    lines = [f"{file}\n" for file in sorted(pool.iterdir())[:10]]
    request = Request(strategy="margin", budget=3)
    chosen = select_from_pool(workspace, "-", request, model=generation, stdin=lines)
    assert chosen.selection.receipt.n_candidates == 10
    shutil.rmtree(workspace.cache)
    with pytest.raises(ReplayError, match=r"foresift predict - --model"):
        replay(workspace, chosen.selection.receipt.id)


def test_a_pool_without_a_usable_image_is_an_error(workspace: Workspace, generation: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "a.png").write_bytes(b"no image")
    (tmp_path / "zero").mkdir()
    (tmp_path / "zero" / "a.png").touch()
    for folder, why in [("empty", "no images"), ("broken", "not an image"), ("zero", "zero bytes long")]:
        with pytest.raises(EmptyPoolError, match=why):
            select_from_pool(workspace, tmp_path / folder, Request(strategy="margin", budget=1), model=generation)


def test_an_image_that_vanishes_between_listing_and_reading_is_quarantined(
    workspace: Workspace, pool: Path, generation: Path
) -> None:
    select_from_pool(workspace, pool, Request(strategy="random", budget=1))  # digests are remembered now
    victim = next(pool.glob("7-*"))
    size, times = victim.stat().st_size, victim.stat()
    victim.write_bytes(bytes(size))  # other bytes, same size and time: the listing can't know
    os.utime(victim, ns=(times.st_atime_ns, times.st_mtime_ns))
    chosen = select_from_pool(workspace, pool, Request(strategy="margin", budget=59), model=generation)
    assert [one.uri for one in chosen.quarantined] == [str(victim)]
    assert "changed while" in chosen.quarantined[0].reason


def test_engine_and_batch_may_be_named(workspace: Workspace, pool: Path, generation: Path) -> None:
    options = PassOptions(engine="openvino", batch=7)
    chosen = select_from_pool(workspace, pool, Request(strategy="margin", budget=3, options=options), model=generation)
    assert chosen.selection.receipt.engine["engine"] == "openvino-f32"
    assert chosen.selection.receipt.engine["batch"] == 7
    assert chosen.selection.receipt.producers["logits"].engine.startswith("openvino")


def test_every_part_of_a_pool_may_be_inferred_before_the_whole(
    workspace: Workspace, digit_files: Path, generation: Path, tmp_path: Path
) -> None:
    """Growing pools and other folders share rows: bytes are identified by content."""
    first = copy_digits(digit_files / "train", tmp_path / "first", each=3)
    select_from_pool(workspace, first, Request(strategy="margin", budget=1), model=generation)
    both = copy_digits(digit_files / "train", tmp_path / "both", each=5)
    chosen = select_from_pool(workspace, both, Request(strategy="margin", budget=1), model=generation)
    assert chosen.result is not None
    assert chosen.result.report.inferred == 20


# ---- damage on the disk --------------------------------------------------------------------


def test_a_flipped_bit_in_the_store_costs_one_image_and_changes_nothing(
    workspace: Workspace, pool: Path, generation: Path
) -> None:
    request = Request(strategy="margin", budget=9, options=PassOptions(engine="torch"))
    before = select_from_pool(workspace, pool, request, model=generation)
    assert before.result is not None
    row = before.result.predictions.column("logits")[11].tobytes()
    (file,) = (workspace.cache / "predictions").glob("*.lance/data/*.lance")
    data = bytearray(file.read_bytes())
    data[data.index(row) + 3] ^= 1 << 6
    file.write_bytes(data)
    after = select_from_pool(workspace, pool, request, model=generation)
    assert after.result is not None
    assert after.result.report.inferred == 1
    assert after.notes[-1].startswith("1 stored predictions in ")
    assert after.notes[-1].endswith("were damaged on the disk and have been dropped; they were inferred again")
    assert after.selection.receipt == before.selection.receipt
    assert select_from_pool(workspace, pool, request, model=generation).notes == before.notes
