"""Columns that cost gradients, noise or a training, end to end: made once, replayed to the same ids."""

from __future__ import annotations

from pathlib import Path

import pytest

from commands import command
from conftest import copy_digits

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def small(digit_files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pool of 40 digits; not to be changed."""
    return copy_digits(digit_files / "train", tmp_path_factory.mktemp("small"), each=4)


@pytest.fixture(scope="module")
def watched_generation(digit_files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network with a loss-prediction module; not to be changed."""
    folder = tmp_path_factory.mktemp("watched")
    arguments = ("--model", "cnn:2", "--epochs", 1, "--loss-prediction", "--out", folder / "gen")
    answer = command("train", digit_files / "test", *arguments, home=folder / "home")
    assert answer.code == 0, answer.err
    return folder / "gen"


IMAGE_STRATEGIES = [
    "deep-fool:steps=5,competitors=3",
    "noise-stability:draws=2",
    "entropy:keep=20+deep-fool:steps=4",
]


@pytest.mark.parametrize("spelling", IMAGE_STRATEGIES)
def test_a_second_selection_infers_nothing_and_a_replay_gives_the_same_ids(
    spelling: str, small: Path, generation: Path, home: Path, tmp_path: Path
) -> None:
    out = tmp_path / "picked.csv"
    arguments = ("select", small, "--model", generation, "--strategy", spelling, "--budget", 6)
    first = command(*arguments, "--out", out, "--json", home=home)
    assert first.code == 0, first.err
    assert first.json["inferred"] == (80 if "+" in spelling else 40)
    second = command(*arguments, "--json", home=home)
    assert second.json["inferred"] == 0
    assert first.json["selected"] == second.json["selected"]
    assert command("replay", out, home=home).code == 0


@pytest.mark.parametrize("spelling", IMAGE_STRATEGIES)
def test_after_the_cache_is_lost_the_command_that_replay_names_brings_the_column_back(
    spelling: str, small: Path, generation: Path, home: Path, tmp_path: Path
) -> None:
    import shlex
    import shutil

    out = tmp_path / "picked.csv"
    arguments = ("select", small, "--model", generation, "--strategy", spelling, "--budget", 6)
    assert command(*arguments, "--out", out, home=home).code == 0
    shutil.rmtree(home / "cache")
    for _ in range(1 + spelling.count("+")):  # one command for each column
        lost = command("replay", out, home=home)
        assert lost.code != 0
        remedy = shlex.split(lost.complaint.partition("infer them again with: ")[2])
        assert command(*remedy[1:], home=home).code == 0
    assert command("replay", out, home=home).code == 0


def test_other_parameters_of_the_pass_are_another_column(small: Path, generation: Path, home: Path) -> None:
    arguments = ("select", small, "--model", generation, "--budget", 2, "--json", "--strategy")
    assert command(*arguments, "deep-fool:steps=2", home=home).json["inferred"] == 40
    assert command(*arguments, "deep-fool:steps=3", home=home).json["inferred"] == 40
    assert command(*arguments, "deep-fool:steps=2", home=home).json["inferred"] == 0


def test_another_engine_than_torch_is_refused(small: Path, generation: Path, home: Path) -> None:
    answer = command(
        *("select", small, "--model", generation, "--budget", 2, "--strategy", "deep-fool", "--engine", "torch-bf16"),
        home=home,
    )
    assert answer.code == 2
    assert "flip-distance is made by torch in float32" in answer.complaint


def test_a_parameter_out_of_range_is_refused_before_an_image_is_read(
    generation: Path, small: Path, home: Path, opened_files: list[str]
) -> None:
    arguments = ("select", small, "--model", generation, "--budget", 2)
    answer = command(*arguments, "--strategy", "deep-fool:steps=0", home=home)
    assert answer.code == 2
    assert "steps" in answer.complaint
    assert not [name for name in opened_files if name.endswith(".png")]


def test_stages_of_a_chain_may_not_ask_for_two_kinds_of_one_column(small: Path, generation: Path, home: Path) -> None:
    chain = "deep-fool:keep=20,steps=3+deep-fool:steps=4"
    answer = command("select", small, "--model", generation, "--budget", 2, "--strategy", chain, home=home)
    assert answer.code == 2
    assert "need flip-distance with another steps" in answer.complaint


def test_a_loss_is_predicted_once_and_replayed(
    small: Path, watched_generation: Path, home: Path, tmp_path: Path
) -> None:
    out = tmp_path / "picked.csv"
    arguments = ("select", small, "--model", watched_generation, "--strategy", "loss-prediction", "--budget", 6)
    assert command(*arguments, "--out", out, "--json", home=home).json["inferred"] == 40
    assert command(*arguments, "--json", home=home).json["inferred"] == 0
    assert command("replay", out, home=home).code == 0


def test_a_generation_without_the_module_says_how_to_get_one(small: Path, generation: Path, home: Path) -> None:
    answer = command("select", small, "--model", generation, "--strategy", "loss-prediction", "--budget", 6, home=home)
    assert answer.code == 1
    assert "foresift train DATA --model NAME --loss-prediction" in answer.complaint


@pytest.fixture
def labeled(small: Path, tmp_path: Path) -> Path:
    """Eight of the pool's images as a file of labeled uris."""
    file = tmp_path / "labeled.csv"
    file.write_text("uri\n" + "".join(f"{image}\n" for image in sorted(small.iterdir())[::5]))
    return file


FITTED_STRATEGIES = ["core-gcn:epochs=3,hidden=8", "vaal:steps=2,batch=4,latent=2,side=8"]


@pytest.mark.parametrize("spelling", FITTED_STRATEGIES)
def test_a_column_that_is_fitted_to_the_pool_is_fitted_once_and_replayed(
    spelling: str, small: Path, generation: Path, labeled: Path, home: Path, tmp_path: Path
) -> None:
    out = tmp_path / "picked.csv"
    arguments = ("select", small, "--model", generation, "--strategy", spelling, "--budget", 6, "--labeled", labeled)
    first = command(*arguments, "--out", out, "--json", home=home)
    assert first.code == 0, first.err
    (kept,) = (home / "columns").iterdir()
    written = kept.stat().st_mtime_ns
    second = command(*arguments, "--json", home=home)
    assert second.json["inferred"] == 0
    assert second.json["selected"] == first.json["selected"]
    assert kept.stat().st_mtime_ns == written
    assert command("replay", out, home=home).code == 0
    kept.unlink()
    lost = command("replay", out, home=home)
    assert lost.code != 0
    assert "select again with the same --labeled file" in lost.complaint
    assert command(*arguments, home=home).code == 0
    assert command("replay", out, home=home).code == 0


def test_a_column_that_is_fitted_to_a_predictions_file_is_replayed(
    small: Path, generation: Path, home: Path, tmp_path: Path
) -> None:
    file, ids, out = tmp_path / "predictions.parquet", tmp_path / "ids.csv", tmp_path / "picked.csv"
    assert command("predict", small, "--model", generation, "--out", file, home=home).code == 0
    from foresift.stores.tables import read_predictions

    some = read_predictions(file).sample_ids[::5].tolist()
    ids.write_text("id\n" + "".join(f"{sample}\n" for sample in some))
    arguments = ("--strategy", "core-gcn:epochs=3,hidden=8", "--budget", 6, "--labeled", ids, "--out", out)
    answer = command("select", "--predictions", file, *arguments, home=home)
    assert answer.code == 0, answer.err
    assert command("replay", out, home=home).code == 0


def test_without_labeled_samples_nothing_can_be_told_apart(small: Path, generation: Path, home: Path) -> None:
    answer = command("select", small, "--model", generation, "--strategy", "core-gcn", "--budget", 6, home=home)
    assert answer.code == 2
    assert "none is labeled" in answer.complaint


@pytest.mark.parametrize("spelling", FITTED_STRATEGIES)
def test_other_labeled_samples_are_another_column(
    spelling: str, small: Path, generation: Path, labeled: Path, home: Path
) -> None:
    arguments = ("select", small, "--model", generation, "--strategy", spelling, "--budget", 2, "--labeled", labeled)
    assert command(*arguments, home=home).code == 0
    labeled.write_text("\n".join(labeled.read_text().splitlines()[:-1]) + "\n")
    assert command(*arguments, home=home).code == 0
    assert len(list((home / "columns").iterdir())) == 2
