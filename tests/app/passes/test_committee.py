"""Ensembles from the command line: several models, kept checkpoints; inferred once, added up, replayed."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from commands import Answer, command
from conftest import copy_digits
from foresift.core.members import state_of
from foresift.scores.ensemble import mutual_information

pytestmark = pytest.mark.timeout(600)


def trained(data: Path, out: Path, *options: object) -> Path:
    answer = command("train", data, "--epochs", 1, "--out", out, *options, home=out.parent / "home")
    assert answer.code == 0, answer.err
    return out


@pytest.fixture(scope="module")
def models(digit_files: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Five small networks of five seeds; not to be changed."""
    folder = tmp_path_factory.mktemp("models")
    given = [(folder / f"gen{seed}", "--seed", seed) for seed in range(5)]
    return [trained(digit_files / "test", out, "--model", "mlp:4", *seed) for out, *seed in given]


@pytest.fixture(scope="module")
def kept(digit_files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network with the weights of its three epochs; not to be changed."""
    out = tmp_path_factory.mktemp("kept") / "gen"
    return trained(digit_files / "test", out, "--model", "mlp:4", "--epochs", 3, "--checkpoints")


@pytest.fixture(scope="module")
def small(digit_files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pool of 40 digits; not to be changed."""
    return copy_digits(digit_files / "train", tmp_path_factory.mktemp("small"), each=4)


def select(
    pool: Path, models: list[Path], *options: object, home: Path, strategy: str = "mutual-information"
) -> Answer:
    given = [word for model in models for word in ("--model", model)]
    return command("select", pool, *given, "--strategy", strategy, "--budget", 6, *options, home=home)


def logits_of(pool: Path, model: Path, home: Path) -> dict[str, np.ndarray]:
    import foresift

    said = foresift.predict(pool, model, home=home)
    return dict(zip(map(str, said.sample_ids), said.column("logits"), strict=True))


def test_what_three_models_disagree_on_is_chosen_as_from_their_arrays(
    small: Path, models: list[Path], home: Path
) -> None:
    answer = select(small, models[:3], "--json", home=home)
    assert answer.code == 0, answer.err
    assert answer.json["inferred"] == 120
    said = [logits_of(small, model, home) for model in models[:3]]
    ids = sorted(said[0])
    values = mutual_information(state_of([np.stack([one[key] for key in ids]) for one in said]))
    order = np.argsort(-values, kind="stable")[:6]
    assert [row["id"] for row in answer.json["selected"]] == [ids[row] for row in order]


def test_two_more_members_infer_only_their_own_and_a_second_run_nothing(
    small: Path, models: list[Path], home: Path
) -> None:
    assert select(small, models[:3], "--json", home=home).json["inferred"] == 120
    assert select(small, models, "--json", home=home).json["inferred"] == 80
    assert select(small, models, "--json", home=home).json["inferred"] == 0


def test_the_receipt_names_every_member_and_replays(
    small: Path, models: list[Path], home: Path, tmp_path: Path
) -> None:
    out = tmp_path / "picked.csv"
    receipt = select(small, models[:3], "--out", out, "--json", home=home).json["receipt"]
    members = receipt["model"]["members"]
    assert [member["folder"] for member in members] == [str(model) for model in models[:3]]
    assert len({member["producer"]["model"] for member in members}) == 3
    assert receipt["producers"]["members"]["stage"] == "ensemble of 3"
    assert command("replay", out, home=home).code == 0


@pytest.mark.parametrize("spelling", ["batch-bald:samples=64", "vote-entropy", "margin:keep=20+k-center", "badge"])
def test_strategies_of_other_columns_run_on_an_ensemble_and_replay(
    spelling: str, small: Path, models: list[Path], home: Path, tmp_path: Path
) -> None:
    out = tmp_path / "picked.csv"
    answer = select(small, models[:2], "--out", out, strategy=spelling, home=home)
    assert answer.code == 0, answer.err
    assert "2 members; logits are the log of the mean probability" in answer.err
    assert command("replay", out, home=home).code == 0


def test_logits_of_several_models_are_their_consensus(small: Path, models: list[Path], home: Path) -> None:
    answer = select(small, models[:2], "--json", strategy="entropy", home=home)
    said = [logits_of(small, model, home) for model in models[:2]]
    ids = sorted(said[0])
    z = np.stack([[one[key] for key in ids] for one in said]).astype(np.float64)
    probabilities = np.exp(z - z.max(axis=2, keepdims=True))
    mean = (probabilities / probabilities.sum(axis=2, keepdims=True)).mean(axis=0)
    entropy = dict(zip(ids, -(mean * np.log(mean)).sum(axis=1), strict=True))
    rows = answer.json["selected"]
    np.testing.assert_allclose([row["score"] for row in rows], [entropy[row["id"]] for row in rows], rtol=1e-4)
    assert [row["id"] for row in rows] == sorted(ids, key=lambda sample: (-entropy[sample], sample))[:6]
    np.testing.assert_allclose([row["score"] for row in rows], sorted(entropy.values())[:-7:-1], rtol=1e-4)


def test_replay_says_which_member_is_missing_and_how_to_bring_it_back(
    small: Path, models: list[Path], home: Path, tmp_path: Path
) -> None:
    import shlex

    out = tmp_path / "picked.csv"
    copies = [shutil.copytree(model, tmp_path / model.name) for model in models[:3]]
    assert select(small, copies, "--out", out, home=home).code == 0
    shutil.rmtree(home / "cache")
    for model in (copies[0], copies[2]):
        assert command("predict", small, "--model", model, home=home).code == 0
    lost = command("replay", out, home=home)
    assert lost.code == 1
    assert f"member 2 of 3, {copies[1]}: 40 of 40 predictions" in lost.complaint
    remedy = shlex.split(lost.complaint.partition("infer them again with: ")[2])
    shutil.move(copies[1], tmp_path / "elsewhere")
    assert f"the model folder {copies[1]} is gone" in command("replay", out, home=home).complaint
    shutil.move(tmp_path / "elsewhere", copies[1])
    assert command(*remedy[1:], home=home).code == 0
    assert command("replay", out, home=home).code == 0


def test_members_with_other_classes_or_twice_the_same_are_refused_before_an_image_is_read(
    digit_files: Path, small: Path, models: list[Path], home: Path, tmp_path: Path, opened_files: list[str]
) -> None:
    few = tmp_path / "few"
    for digit in ("0", "1"):
        shutil.copytree(digit_files / "test" / digit, few / digit)
    other = trained(few, tmp_path / "other", "--model", "mlp:4")
    opened_files.clear()
    answer = select(small, [models[0], other], home=home)
    assert answer.code == 2
    assert f"{other} has 2 classes (0, 1)" in answer.complaint
    assert "need the same classes in the same order" in answer.complaint
    again = select(small, [models[0], models[1], models[0]], home=home)
    assert again.code == 2
    assert "the same model" in again.complaint
    assert not [name for name in opened_files if name.endswith(".png")]


def test_a_column_that_takes_one_model_is_refused(small: Path, models: list[Path], home: Path) -> None:
    answer = select(small, models[:2], strategy="deep-fool", home=home)
    assert answer.code == 2
    assert "flip-distance, which takes one model" in answer.complaint


def test_one_model_without_dropout_says_both_ways_out(small: Path, models: list[Path], home: Path) -> None:
    answer = select(small, models[:1], home=home)
    assert answer.code == 1
    assert "train one with dropout" in answer.complaint
    assert "give several models (--model A --model B, --checkpoints all)" in answer.complaint


def test_kept_checkpoints_are_members_too(small: Path, kept: Path, home: Path, tmp_path: Path) -> None:
    out = tmp_path / "picked.csv"
    first = select(small, [kept], "--checkpoints", "last=2", "--json", home=home)
    assert first.code == 0, first.err
    assert first.json["inferred"] == 80
    names = [member["checkpoint"] for member in first.json["receipt"]["model"]["members"]]
    assert names == ["epoch-0001.safetensors", "epoch-0002.safetensors"]
    assert select(small, [kept], "--checkpoints", "all", "--out", out, "--json", home=home).json["inferred"] == 40
    assert command("replay", out, home=home).code == 0
    shutil.rmtree(home / "cache")
    lost = command("replay", out, home=home).complaint
    assert "member 1 of 3" in lost
    assert "--checkpoints all" in lost


def test_the_last_checkpoint_says_what_the_generation_says(small: Path, kept: Path, home: Path) -> None:
    from foresift.app.passes.ensembles import open_members
    from foresift.app.passes.stored import PassOptions, predict_pool
    from foresift.app.pools import open_pool
    from foresift.app.workspace import Workspace

    workspace = Workspace.open(home)
    pool = open_pool(workspace, small)
    found = [*open_members(workspace, [kept], checkpoints="last=1"), *open_members(workspace, [kept])]
    last, whole = (
        predict_pool(workspace, pool, model, columns=("logits",), options=PassOptions()).predictions.column("logits")
        for model in found
    )
    np.testing.assert_array_equal(last, whole)


@pytest.mark.parametrize(
    ("which", "said"),
    [("last=4", "last=N with N within 1 .. 3"), ("last=0", "within 1 .. 3"), ("best", "expected all, or last=N")],
)
def test_checkpoints_that_are_not_there_are_refused(which: str, said: str, small: Path, kept: Path, home: Path) -> None:
    answer = select(small, [kept], "--checkpoints", which, home=home)
    assert answer.code == 2
    assert said in answer.complaint


def test_a_model_that_kept_no_checkpoints_says_how_to_keep_them(small: Path, models: list[Path], home: Path) -> None:
    answer = select(small, models[:1], "--checkpoints", "all", home=home)
    assert answer.code == 1
    assert "train it with --checkpoints" in answer.complaint
    assert "or --keep-checkpoints N" in answer.complaint


@pytest.fixture(scope="module")
def dropped(digit_files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network with dropout before its last layer; not to be changed."""
    return trained(digit_files / "test", tmp_path_factory.mktemp("dropped") / "gen", "--model", "mlp:8,dropout=0.3")


def test_one_model_with_dropout_is_an_ensemble_of_as_many_draws_as_asked(
    small: Path, dropped: Path, home: Path, tmp_path: Path
) -> None:
    out = tmp_path / "picked.csv"
    first = select(small, [dropped], "--draws", 5, "--out", out, "--json", home=home)
    assert first.code == 0, first.err
    assert first.json["inferred"] == 40
    assert first.json["receipt"]["producers"]["members"]["stage"] == "members:draws=5,dropout_seed=0"
    assert all(row["score"] > 0 for row in first.json["selected"])
    assert select(small, [dropped], "--draws", 5, "--json", home=home).json["inferred"] == 0
    assert select(small, [dropped], "--draws", 6, "--json", home=home).json["inferred"] == 40
    assert command("replay", out, home=home).code == 0


def test_strategies_of_joint_logits_take_dropout_passes_too(
    small: Path, dropped: Path, home: Path, tmp_path: Path
) -> None:
    out, strategy = tmp_path / "picked.csv", "batch-bald:samples=64"
    first = select(small, [dropped], "--draws", 4, "--out", out, "--json", strategy=strategy, home=home)
    assert first.code == 0, first.err
    assert first.json["receipt"]["producers"]["member-logits"]["stage"] == "member-logits:draws=4,dropout_seed=0"
    assert command("replay", out, home=home).code == 0


def test_a_head_that_was_fitted_without_dropout_says_so(
    dropped: Path, digit_files: Path, home: Path, tmp_path: Path
) -> None:
    import foresift

    given = ("--model", dropped, "--train", "head", "--out", tmp_path / "headed", "--json")
    record = command("train", digit_files / "test", *given, home=home).json
    assert record["architecture"] == "mlp:8"
    before, after = (foresift.predict(digit_files / "test", one, home=home) for one in (dropped, tmp_path / "headed"))
    np.testing.assert_array_equal(before.column("embeddings"), after.column("embeddings"))
    answer = command("predict", digit_files / "test", "--model", tmp_path / "headed", "--json", home=home)
    assert answer.json["inferred"] == 0


def test_dropout_passes_that_the_store_lost_come_back_by_the_command_that_replay_names(
    small: Path, dropped: Path, home: Path, tmp_path: Path
) -> None:
    import shlex

    out = tmp_path / "picked.csv"
    assert select(small, [dropped], "--draws", 3, "--out", out, home=home).code == 0
    shutil.rmtree(home / "cache")
    remedy = shlex.split(command("replay", out, home=home).complaint.partition("infer them again with: ")[2])
    assert command(*remedy[1:], home=home).code == 0
    assert command("replay", out, home=home).code == 0


def test_draws_where_there_is_nothing_to_draw_are_refused(
    small: Path, models: list[Path], dropped: Path, home: Path
) -> None:
    for answer, said in (
        (select(small, [dropped], "--draws", 5, strategy="margin", home=home), "margin needs no members"),
        (select(small, models[:2], "--draws", 5, home=home), "give it, or several members, not both"),
    ):
        assert answer.code == 2
        assert said in answer.complaint
