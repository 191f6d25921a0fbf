"""Lists of members wherever several models are taken; states that grow, resume and merge; agreement."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import foresift
from commands import command
from foresift.core.errors import UsageError
from foresift.stores.ensembles import read_spoken

pytestmark = pytest.mark.timeout(600)


def flags(models: list[Path]) -> list[object]:
    return [word for model in models for word in ("--model", model)]


def test_the_last_epochs_are_kept_as_safetensors_and_recorded(runs: list[Path]) -> None:
    record = json.loads((runs[0] / "generation.json").read_text())
    names = [f"epoch-000{epoch}.safetensors" for epoch in (1, 2, 3)]
    assert sorted(path.name for path in (runs[0] / "checkpoints").iterdir()) == names
    assert sorted(record["checkpoints"]) == names
    assert record["checkpoints"][names[-1]] == record["weights"]


def test_a_list_of_members_is_taken_by_select_predict_and_evaluate(
    runs: list[Path], small: Path, digit_files: Path, home: Path, tmp_path: Path
) -> None:
    out = tmp_path / "six"
    made = command("ensemble", "make", out, *flags(runs), "--checkpoints", "last=3", "--json", home=home)
    assert made.code == 0, made.err
    assert len(made.json["members"]) == 6
    asked = ("select", small, "--strategy", "bald", "--budget", 5, "--json")
    by_list = command(*asked, "--model", out, home=home).json["selected"]
    by_flags = command(*asked, *flags(runs), "--checkpoints", "last=3", home=home).json["selected"]
    assert [row["id"] for row in by_list] == [row["id"] for row in by_flags]
    assert command("predict", small, "--model", out, "--out", tmp_path / "p.parquet", home=home).code == 0
    said = foresift.predict(small, out, home=home)
    assert set(said.columns) == {"members", "logits", "embeddings"}
    assert set(said.column("members")["count"].tolist()) == {6}
    metrics = command("evaluate", digit_files / "test", "--model", out, "--json", home=home).json
    assert metrics["top1"] == foresift.evaluate(digit_files / "test", runs, checkpoints="last=3", home=home)["top1"]


def test_what_is_evaluated_is_the_mean_probability(runs: list[Path], digit_files: Path, home: Path) -> None:
    test = digit_files / "test"
    logits = [foresift.predict(test, run, home=home) for run in runs]
    z = np.stack([one.column("logits") for one in logits]).astype(np.float64)
    weights = np.exp(z - z.max(axis=2, keepdims=True))
    mean = (weights / weights.sum(axis=2, keepdims=True)).mean(axis=0)
    truth = [int(Path(uri).parent.name) for uri in logits[0].uris]  # type: ignore[union-attr]
    assert foresift.evaluate(test, runs, home=home)["top1"] == pytest.approx((mean.argmax(axis=1) == truth).mean())


def test_a_list_moves_with_its_members_and_finds_them_by_id(runs: list[Path], home: Path, tmp_path: Path) -> None:
    from foresift.app.passes.ensembles import listed_members, make_ensemble
    from foresift.app.workspace import Workspace

    workspace = Workspace.open(home)
    copies = [shutil.copytree(run, tmp_path / "here" / run.name) for run in runs]
    make_ensemble(workspace, copies, out=tmp_path / "here" / "list", checkpoints="last=1")
    shutil.move(tmp_path / "here", tmp_path / "there")
    found = listed_members(workspace, tmp_path / "there" / "list" / "ensemble.json")
    assert [model.folder.resolve() for model in found] == [tmp_path / "there" / run.name for run in runs]


@pytest.mark.parametrize("damage", ["weights", "missing", "list"])
def test_damaged_members_are_refused_by_name_before_an_image_is_read(
    damage: str, runs: list[Path], small: Path, home: Path, tmp_path: Path, opened_files: list[str]
) -> None:
    copies = [shutil.copytree(run, tmp_path / run.name) for run in runs]
    assert command("ensemble", "make", tmp_path / "list", *flags(copies), "--checkpoints", "all", home=home).code == 0
    file = copies[1] / "checkpoints" / "epoch-0002.safetensors"
    if damage == "weights":
        file.write_bytes(file.read_bytes()[:-1] + b"\x01")
    elif damage == "missing":
        file.unlink()
    else:
        plain = json.loads((tmp_path / "list" / "ensemble.json").read_text())
        plain["members"].pop()
        (tmp_path / "list" / "ensemble.json").write_text(json.dumps(plain))
    opened_files.clear()
    answer = command("select", small, "--model", tmp_path / "list", "--strategy", "bald", "--budget", 5, home=home)
    assert answer.code == 1
    assert ("list" if damage == "list" else "run1 epoch-0002.safetensors") in answer.complaint
    assert not [name for name in opened_files if name.endswith(".png")]


def test_members_of_another_transform_are_refused(
    runs: list[Path], small: Path, digit_files: Path, home: Path, tmp_path: Path
) -> None:
    given = ("--model", "mlp:4", "--epochs", 1, "--image-size", 12)
    assert command("train", digit_files / "test", *given, "--out", tmp_path / "big", home=home).code == 0
    answer = command("ensemble", "make", tmp_path / "list", *flags([runs[0], tmp_path / "big"]), home=home)
    assert answer.code == 2
    assert "the same transform" in answer.complaint
    assert "12 px" in answer.complaint


def test_a_state_grows_member_by_member_and_parts_of_it_merge(
    runs: list[Path], small: Path, home: Path, tmp_path: Path
) -> None:
    whole, first, second = (tmp_path / f"{name}.npz" for name in ("whole", "first", "second"))

    def state(out: Path, models: list[Path], which: str) -> dict[str, int]:
        given = (*flags(models), "--checkpoints", which, "--out", out, "--json")
        answer = command("ensemble", "state", small, *given, home=home)
        assert answer.code == 0, answer.err
        return dict(answer.json)

    assert state(whole, runs, "last=1") == {"members": 2, "new": 2, "samples": 40, "out": str(whole)}
    assert state(whole, runs, "all")["new"] == 4
    assert state(whole, runs, "all")["new"] == 0
    state(first, runs[:1], "all")
    state(second, runs[1:], "all")
    merged = tmp_path / "merged.npz"
    assert command("ensemble", "merge", second, first, "--out", merged, "--json", home=home).json["members"] == 6
    one, other = read_spoken(whole), read_spoken(merged)
    assert one.members == other.members
    np.testing.assert_allclose(one.state["mean"], other.state["mean"], atol=1e-6)
    np.testing.assert_array_equal(one.state["votes"], other.state["votes"])
    twice = command("ensemble", "merge", whole, first, "--out", merged, home=home)
    assert "speaks in both parts" in twice.complaint
    first.write_bytes(first.read_bytes()[:50])
    assert "not a whole file" in command("ensemble", "merge", first, second, "--out", merged, home=home).complaint


def test_agreement_of_checkpoints_and_how_many_are_enough(runs: list[Path], small: Path, home: Path) -> None:
    given = (*flags(runs), "--checkpoints", "all", "--budget", 5)
    found = command("ensemble", "analyse", small, *given, "--json", home=home).json
    assert found["members"] == 6
    assert found["joint"][0] == found["samples"] == 40
    assert found["joint"] == sorted(found["joint"], reverse=True)
    assert len(found["pairs"]) == 5
    assert 2 <= found["enough"] <= 6
    assert 0 <= found["overlap"] <= 1
    assert "settle the 5 largest" in command("ensemble", "analyse", small, *given, home=home).out
    refused = command("ensemble", "analyse", small, *given, "--score", "error-count", home=home)
    assert "a score of members alone" in refused.complaint


@pytest.mark.parametrize(
    "spec", ["mutual-information", "variation-ratios", "vote-entropy", "mean-std", "bald:keep=4+random"]
)
def test_a_single_member_is_refused_where_members_are_told_apart(spec: str) -> None:
    one = foresift.Predictions.from_arrays(np.arange(9), member_logits=np.zeros((1, 9, 3), dtype=np.float32))
    with pytest.raises(UsageError, match="one member agrees with itself"):
        foresift.select(one, spec, budget=2)
    if "+" not in spec:
        with pytest.raises(UsageError, match="one member agrees with itself"):
            foresift.score(one, spec)
    assert len(foresift.select(one, "predictive-entropy", budget=2)) == 2


def test_error_count_of_an_unlabeled_pool_is_refused_with_what_is_legal(
    runs: list[Path], small: Path, home: Path
) -> None:
    asked = ("select", small, *flags(runs), "--strategy", "error-count", "--budget", 5)
    answer = command(*asked, home=home)
    assert answer.code == 2
    assert "true class of every candidate" in answer.complaint
    assert "mutual-information" in answer.complaint
