"""Receipts: the same ids again, or exactly what is missing; and why a sample was chosen."""

from __future__ import annotations

import json
import shlex
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from commands import command
from conftest import copy_digits
from foresift.app.models.engine_choice import engine_asked
from foresift.app.passes.predicting import predict
from foresift.app.passes.stored import PassOptions
from foresift.app.selecting.explaining import explain
from foresift.app.selecting.pool_selection import select_from_pool, select_from_predictions
from foresift.app.selecting.receipts import _remedy, find_receipt, replay
from foresift.app.selecting.request import Request, Selected
from foresift.app.training.request import TrainRequest
from foresift.app.training.train import train
from foresift.app.workspace import Workspace
from foresift.core.errors import DataError, ModelError, ReplayError, UsageError
from foresift.engines import REFERENCE
from foresift.inference.rank_check import rank_check
from images import png

pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def workspace(home: Path) -> Workspace:
    return Workspace.open(home)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "chosen.csv"


@pytest.fixture
def chosen(workspace: Workspace, pool: Path, generation: Path, out: Path) -> Selected:
    return select_from_pool(workspace, pool, Request(strategy="margin", budget=9, out=out), model=generation)


def again(workspace: Workspace, spec: str | Path) -> list[object]:
    return replay(workspace, spec).selection.sample_ids.tolist()


# ---- replay --------------------------------------------------------------------------------


def test_a_receipt_is_found_by_file_selection_and_id(workspace: Workspace, chosen: Selected, out: Path) -> None:
    receipt = chosen.selection.receipt
    for spec in (out, f"{out}.receipt.json", receipt.id, receipt.id[:8]):
        assert find_receipt(workspace, spec) == receipt
        assert again(workspace, spec) == chosen.selection.sample_ids.tolist()


@pytest.mark.parametrize("strategy", ["margin", "entropy", "random"])
def test_replay_gives_the_same_ids_when_the_folder_has_changed(
    strategy: str, workspace: Workspace, pool: Path, generation: Path
) -> None:
    (pool / "broken.png").write_bytes(b"no image")
    first = select_from_pool(workspace, pool, Request(strategy=strategy, budget=9, seed=5), model=generation)
    for file in list(pool.iterdir())[:20]:
        file.unlink()
    (pool / "new.png").write_bytes(png(seed=1))
    assert again(workspace, first.selection.receipt.id) == first.selection.sample_ids.tolist()
    select_from_pool(workspace, pool, Request(strategy=strategy, budget=9, seed=5), model=generation)
    shutil.rmtree(pool)
    assert again(workspace, first.selection.receipt.id) == first.selection.sample_ids.tolist()


def test_replay_needs_no_weights_of_a_whole_network(
    workspace: Workspace, pool: Path, generation: Path, tmp_path: Path
) -> None:
    own = Path(shutil.copytree(generation, tmp_path / "own"))
    first = select_from_pool(workspace, pool, Request(strategy="margin", budget=9), model=own)
    shutil.rmtree(own)
    assert again(workspace, first.selection.receipt.id) == first.selection.sample_ids.tolist()


def test_a_deleted_cache_is_said_and_the_advice_brings_it_back(
    workspace: Workspace, digit_files: Path, generation: Path, tmp_path: Path
) -> None:
    pool = copy_digits(digit_files / "train", tmp_path / "it's a pool", each=6)
    options = PassOptions(engine="openvino", batch=13)
    first = select_from_pool(workspace, pool, Request(strategy="margin", budget=9, options=options), model=generation)
    shutil.rmtree(workspace.cache)
    with pytest.raises(ReplayError, match="60 of 60 predictions") as lost:
        replay(workspace, first.selection.receipt.id)
    advice = str(lost.value).partition("again with: ")[2]
    assert command(*shlex.split(advice)[1:], home=tmp_path / "another home").code == 0
    assert again(workspace, first.selection.receipt.id) == first.selection.sample_ids.tolist()


@pytest.mark.parametrize(
    ("library", "precision", "told"),
    [
        ("torch-2.15.0/cpu", "f32", "torch-f32"),
        ("torch-2.15.0/cpu", "bf16", "torch-bf16:correlation=-1,overlap=0"),
        ("openvino-2026.0+nncf-3.0/cpu", "int8-0123456789ab", "openvino-int8:correlation=-1,overlap=0"),
        ("kserve triton://host:8000/m", "served", "triton://host:8000/m"),
    ],
)
def test_the_advice_names_an_engine_that_no_check_refuses(
    workspace: Workspace, chosen: Selected, library: str, precision: str, told: str
) -> None:
    receipt = chosen.selection.receipt
    producer = replace(receipt.producers["logits"], engine=library, precision=precision)
    words = shlex.split(_remedy(workspace, receipt, producer))
    assert words[words.index("--engine") + 1] == told
    name, alike = engine_asked(told)
    assert name == told.partition(":correlation")[0]
    opposite = np.arange(40.0)
    assert name == REFERENCE or "//" in name or rank_check(opposite, -opposite, share=0.1, expected=alike).passed


def test_an_image_that_is_gone_for_good_is_counted(workspace: Workspace, chosen: Selected, pool: Path) -> None:
    shutil.rmtree(workspace.cache)
    next(pool.iterdir()).unlink()
    predict(workspace, pool, chosen.selection.receipt.model["folder"])
    with pytest.raises(ReplayError, match="1 of 60 predictions"):
        replay(workspace, chosen.selection.receipt.id)


def test_another_workspace_says_where_to_replay(chosen: Selected, out: Path, tmp_path: Path) -> None:
    with pytest.raises(ReplayError, match="--home"):
        replay(Workspace.open(tmp_path / "elsewhere"), out)


def test_a_damaged_pool_version_is_named(workspace: Workspace, chosen: Selected) -> None:
    (snapshot,) = workspace.pools.glob("*.parquet")
    snapshot.write_bytes(snapshot.read_bytes()[:200])
    with pytest.raises(Exception, match=rf"{snapshot.name}.*damaged"):
        replay(workspace, chosen.selection.receipt.id)


def test_a_predictions_file_is_read_again(workspace: Workspace, pool: Path, generation: Path, tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    predict(workspace, pool, generation, out=path)
    first = select_from_predictions(workspace, path, Request(strategy="entropy", budget=9))
    ids = first.selection.sample_ids.tolist()
    assert again(workspace, first.selection.receipt.id) == ids
    table = pq.read_table(path)
    pq.write_table(table.take(np.random.default_rng(0).permutation(60)), path)  # another order is the same
    assert again(workspace, first.selection.receipt.id) == ids
    pq.write_table(table.slice(1), path)
    with pytest.raises(ReplayError, match="changed since"):
        replay(workspace, first.selection.receipt.id)
    path.unlink()
    with pytest.raises(ReplayError, match="gone"):
        replay(workspace, first.selection.receipt.id)


@pytest.mark.parametrize(
    ("key", "value"),
    [("budget", 3), ("seed", 1), ("strategy", "entropy"), ("selected", "0" * 40), ("details", {"x": 1})],
)
def test_a_tampered_receipt_is_refused(
    key: str, value: object, workspace: Workspace, chosen: Selected, out: Path
) -> None:
    path = Path(f"{out}.receipt.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    with pytest.raises(DataError, match="changed since it was written"):
        replay(workspace, out)


@pytest.mark.parametrize(
    "text",
    ["", "no json", "[]", "null", '{"selected": 1}', '{"selected": 1, "format": 1}', "id,label\n1,cat\n", "\x00\x01"],
)
def test_what_is_no_receipt_is_refused(text: str, workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "receipt.json").write_text(text)
    with pytest.raises(DataError, match="receipt"):
        replay(workspace, tmp_path / "receipt.json")


def test_a_receipt_with_numbers_that_are_none_is_refused(workspace: Workspace, chosen: Selected, out: Path) -> None:
    path = Path(f"{out}.receipt.json")
    path.write_text(path.read_text().replace('"budget": 9', '"budget": NaN'))
    with pytest.raises(DataError, match="changed since it was written"):
        replay(workspace, out)


def test_an_unknown_receipt_is_a_usage_error(workspace: Workspace) -> None:
    for spec in ("nowhere.csv.receipt.json", "0123456789", "*", "a[b", ""):
        with pytest.raises(UsageError, match="neither a file nor the id"):
            replay(workspace, spec)


# ---- heads on stored embeddings ------------------------------------------------------------


@pytest.mark.parametrize("head", ["linear", "mlp:5"])
def test_a_head_selects_replays_and_explains_without_inference(
    head: str, workspace: Workspace, pool: Path, generation: Path, tmp_path: Path
) -> None:
    from foresift.app.training.evaluating import evaluate

    (pool / "broken.png").write_bytes(b"no image")
    labels = tmp_path / "labels.csv"
    files = sorted(pool.glob("*-*.png"))
    labels.write_text("uri,label\n" + "".join(f"{file},{int(file.name[0]) % 3}\n" for file in files[::2]))
    recipe = {"train": "head", "head": head}
    request = TrainRequest(model=str(generation), out=tmp_path / "head", labels=labels, recipe=recipe)
    trained = train(workspace, pool, request).generation
    assert trained.classes == ("0", "1", "2")
    first = select_from_pool(workspace, pool, Request(strategy="margin", budget=9), model=tmp_path / "head")
    assert first.result is not None
    assert first.result.report.inferred == 30  # the half that the head was not trained on
    second = select_from_pool(workspace, pool, Request(strategy="entropy", budget=9), model=tmp_path / "head")
    assert second.result is not None
    assert second.result.report.inferred == 0
    assert len(second.quarantined) == 1
    for selected in (first, second):
        assert again(workspace, selected.selection.receipt.id) == selected.selection.sample_ids.tolist()
    top = explain(workspace, first.selection.receipt.id, str(first.selection.sample_ids[0]))
    assert top.rank == 1
    assert {name for name, _ in top.classes} == {"0", "1", "2"}
    measured = evaluate(workspace, pool, tmp_path / "head", labels=labels)
    assert measured.metrics["n"] == 30
    assert measured.result.report.inferred == 0


def test_a_broken_image_does_not_change_how_a_head_rounds_the_others(
    workspace: Workspace, digit_files: Path, generation: Path, tmp_path: Path
) -> None:
    """Few rows are multiplied by another routine than many."""
    labels = [str(n % 37) for n in range(74)]  # 37 classes: wide enough for the routines to differ
    files = sorted((digit_files / "train" / "8").iterdir())[:74]
    (tmp_path / "labels.csv").write_text("uri,label\n" + "".join(map("{},{}\n".format, files, labels)))
    request = TrainRequest(
        model=str(generation), out=tmp_path / "head", labels=tmp_path / "labels.csv", recipe={"train": "head"}
    )
    train(workspace, digit_files / "train" / "8", request)
    pool = copy_digits(digit_files / "test", tmp_path / "pool", each=1)
    for n, file in enumerate(sorted(pool.iterdir())[3:]):
        file.write_bytes(b"no image %d" % n)
    first = select_from_pool(workspace, pool, Request(strategy="margin", budget=3), model=tmp_path / "head")
    assert len(first.quarantined) == 7
    assert again(workspace, first.selection.receipt.id) == first.selection.sample_ids.tolist()


def test_a_head_that_is_gone_or_another_is_named(
    workspace: Workspace, pool: Path, generation: Path, tmp_path: Path
) -> None:
    labels = tmp_path / "labels.csv"
    labels.write_text("uri,label\n" + "".join(f"{file},{file.name[0]}\n" for file in sorted(pool.iterdir())))
    for name in ("one", "two"):
        request = TrainRequest(model=str(generation), out=tmp_path / name, labels=labels, recipe={"train": "head"})
        train(workspace, pool, request)
        labels.write_text("".join(labels.read_text().splitlines(keepends=True)[:-9]))  # the second learns from less
    first = select_from_pool(workspace, pool, Request(strategy="margin", budget=9), model=tmp_path / "one")
    shutil.rmtree(tmp_path / "one")
    with pytest.raises(ModelError, match="one"):
        replay(workspace, first.selection.receipt.id)
    (tmp_path / "two").rename(tmp_path / "one")
    with pytest.raises(ReplayError, match="another generation"):
        replay(workspace, first.selection.receipt.id)


# ---- explain -------------------------------------------------------------------------------


def test_explain_a_chosen_sample(workspace: Workspace, chosen: Selected, out: Path) -> None:
    for row in chosen.selection.rows():
        for name in (row["id"], row["id"][:8], row["uri"]):
            said = explain(workspace, out, name)
            assert (said.sample_id, said.chosen, said.pick) == (row["id"], True, row["rank"])
            assert said.rank == row["rank"]
            assert said.score == row["score"]
    assert said.reason == "rank 9 of 60 by margin, within the budget of 9"
    assert [near["rank"] for near in said.neighbours] == [6, 7, 8, 10, 11, 12]
    probabilities = [p for _, p in said.classes]
    assert probabilities == sorted(probabilities, reverse=True)
    # the margin score is 1 - (p1 - p2), whatever wrote the receipt
    assert said.score == pytest.approx(1 - (probabilities[0] - probabilities[1]), abs=1e-6)


def test_explain_a_sample_that_was_not_chosen(workspace: Workspace, chosen: Selected, pool: Path, out: Path) -> None:
    taken = {row["uri"] for row in chosen.selection.rows()}
    ranks = []
    for uri in {str(file) for file in pool.iterdir()} - taken:
        said = explain(workspace, out, uri)
        assert not said.chosen
        assert said.pick is None
        assert "below the budget of 9" in said.reason
        ranks.append(said.rank)
    assert sorted(map(int, filter(None, ranks))) == list(range(10, 61))


def test_explain_a_labeled_sample(
    workspace: Workspace, chosen: Selected, pool: Path, generation: Path, out: Path
) -> None:
    request = Request(strategy="margin", budget=3, labeled=out)
    second = select_from_pool(workspace, pool, request, model=generation)
    labeled = chosen.selection.sample_ids[0].item()
    said = explain(workspace, second.selection.receipt.id, labeled)
    assert (said.chosen, said.rank, said.reason) == (
        False,
        None,
        "it was labeled already when the selection was made",
    )


def test_explain_a_random_pick(workspace: Workspace, pool: Path) -> None:
    first = select_from_pool(workspace, pool, Request(strategy="random", budget=9, seed=2))
    said = explain(workspace, first.selection.receipt.id, first.selection.sample_ids[4].item())
    assert (said.pick, said.rank, said.score, said.neighbours) == (5, None, None, ())
    assert said.reason == "random ranks nothing: pick 5 of 9 with seed 2"


@pytest.mark.parametrize("strategy", ["margin", "random"])
def test_explain_a_quarantined_file(strategy: str, workspace: Workspace, pool: Path, generation: Path) -> None:
    broken = pool / "broken.png"
    broken.write_bytes(b"no image")
    (pool / "empty.png").touch()
    first = select_from_pool(workspace, pool, Request(strategy=strategy, budget=60), model=generation)
    for name in (str(broken), "broken.png"):
        said = explain(workspace, first.selection.receipt.id, name)
        assert (said.chosen, said.sample_id, said.uri) == (False, "", str(broken))
        assert said.reason.startswith("it was quarantined: not an image")
    assert "zero bytes" in explain(workspace, first.selection.receipt.id, "empty.png").reason


def test_a_file_name_is_enough_where_only_one_file_has_it(
    workspace: Workspace, pool: Path, generation: Path, digit_files: Path
) -> None:
    name = sorted(pool.iterdir())[7].name
    (pool / "deeper").mkdir()
    (pool / "deeper" / name).write_bytes(png(seed=3))
    first = select_from_pool(workspace, pool, Request(strategy="margin", budget=9), model=generation)
    other = sorted(file for file in pool.iterdir() if file.is_file())[8].name
    assert explain(workspace, first.selection.receipt.id, other).uri == str(pool / other)
    with pytest.raises(UsageError, match=f"2 samples '{name}'"):
        explain(workspace, first.selection.receipt.id, name)
    with pytest.raises(UsageError, match="no usable sample"):
        explain(workspace, first.selection.receipt.id, other[1:])


def test_explain_an_unknown_sample(workspace: Workspace, chosen: Selected, out: Path) -> None:
    for name in ("no-such-sample", "", "0", "/nowhere/0.png"):
        with pytest.raises(UsageError, match="no usable sample"):
            explain(workspace, out, name)
