"""Predicted losses of a segmentation model, from training to selection and back, as a person would type it."""

from __future__ import annotations

import json
import shlex
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from commands import Answer, command
from dense_pool import write_model, write_pool
from foresift.app.pixels.models import DenseModel
from foresift.app.pixels.predicted_loss import LossMapModel
from foresift.app.runs.files import read_run_file
from foresift.core.errors import UsageError
from foresift.inference.decode import decode
from foresift.models.loss_map import load_loss_map
from foresift.models.segmentation_generations import load_segmenter
from foresift.stores.generations import read_segmentation
from segmentation_files import write_squares

pytestmark = pytest.mark.timeout(600)
MODEL = "deeplabv3plus:mobilenetv3_small_050"
SIZES = [(24, 32), (40, 30), (33, 50)]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Squares, a model trained on them, a pool, and a workspace with every predicted loss; not to be changed."""
    folder = tmp_path_factory.mktemp("world")
    write_squares(folder / "squares", count=4)
    write_pool(folder / "pool", SIZES)
    told = training(folder, folder / "gen")
    assert told.code == 0, told.err
    assert select(folder, folder / "home", "--budget", 1).json["inferred"] == len(SIZES)
    return folder


def training(folder: Path, out: Path, *options: object, model: object = MODEL) -> Answer:
    words = ("--task", "segmentation", "--split", "train", "--ignore-index", 9, "--epochs", 1, "--batch-size", 2)
    arguments = ("--loss-prediction", *words, "--model", model, *options, "--out", out)
    return command("train", folder / "squares", *arguments, home=folder / "home")


def select(folder: Path, home: Path, *options: object, strategy: str = "loss-prediction") -> Answer:
    words = (folder / "pool", "--model", folder / "gen", "--strategy", strategy)
    answer = command("select", *words, *options, "--json", home=home)
    assert answer.code == 0, answer.err
    return answer


def directly(folder: Path) -> dict[str, float]:
    """The mean of the predicted map of every image that needs no padding, straight from the network."""
    record = read_segmentation(folder / "gen")
    network, module = load_segmenter(folder / "gen", record), load_loss_map(folder / "gen", record)
    mean, std = (np.array(part) for part in (record.transform.mean, record.transform.std))
    found = {}
    for path in sorted((folder / "pool").iterdir()):
        pixels = (decode(path.read_bytes()) / 255 - mean) / std
        image = torch.from_numpy(pixels.transpose(2, 0, 1)[None]).float()
        with torch.inference_mode():
            losses = module(network.observe(image)[1])[0].double().numpy()
        height, width = pixels.shape[:2]
        every = losses.repeat(4, axis=0).repeat(4, axis=1)[:height, :width]
        found[str(path)] = float(every.mean())
    return found


def test_the_module_lies_beside_the_network_and_the_record_names_it(world: Path) -> None:
    plain = json.loads((world / "gen" / "generation.json").read_text())
    assert list(plain["parts"]) == ["loss-prediction"]
    assert plain["recipe"]["loss_prediction"] is True
    assert (world / "gen" / "loss-prediction.safetensors").is_file()
    again = training(world, world / "gen")
    assert "nothing was trained" in again.err


def test_images_are_chosen_by_the_mean_of_their_predicted_losses(world: Path) -> None:
    answer = select(world, world / "home", "--budget", len(SIZES))
    assert answer.json["inferred"] == 0
    expected = directly(world)
    picked = {row["uri"]: row["score"] for row in answer.json["selected"]}
    assert list(picked) == sorted(expected, key=lambda uri: -expected[uri])
    np.testing.assert_allclose(list(picked.values()), [expected[uri] for uri in picked], rtol=1e-4, atol=1e-5)
    producers = answer.json["receipt"]["producers"]
    assert producers["predicted-loss"]["stage"].startswith("predicted-loss-map:")


@pytest.mark.parametrize("strategy", ["loss-prediction", "loss-prediction:keep=2+k-center", "entropy:keep=2+LLAL"])
def test_receipts_replay_and_say_how_to_bring_rows_back(world: Path, strategy: str, home: Path, tmp_path: Path) -> None:
    out = tmp_path / "picked.csv"
    select(world, home, "--budget", 2, "--out", out, strategy=strategy)
    assert command("replay", out, home=home).code == 0
    shutil.rmtree(home / "cache")
    lost = command("replay", out, home=home)
    assert lost.code != 0
    while lost.code != 0:
        remedy = shlex.split(lost.complaint.partition("infer them again with: ")[2])
        assert command(*remedy[1:], home=home).code == 0
        lost = command("replay", out, home=home)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--unit", "patch", "--patch", 32), "losses are predicted of whole images; leave --unit patch out"),
        (("--aggregate", "mean"), "goes with a score of pixels"),
    ],
)
def test_what_losses_are_not_predicted_for_is_refused(world: Path, options: tuple[object, ...], said: str) -> None:
    words = (world / "pool", "--model", world / "gen", "--strategy", "loss-prediction", "--budget", 1)
    answer = command("select", *words, *options, home=world / "home")
    assert answer.code == 2
    assert said in answer.complaint


def test_a_model_without_the_module_says_how_to_get_one(world: Path, home: Path, tmp_path: Path) -> None:
    plain = write_model(tmp_path / "plain")
    words = (world / "pool", "--model", plain, "--strategy", "loss-prediction", "--budget", 1)
    answer = command("select", *words, home=home)
    assert "has no loss-prediction module; train one that has: foresift train DATA --task segmentation" in (
        answer.complaint
    )


def test_a_head_that_can_t_be_watched_is_refused_before_an_image_is_read(world: Path, tmp_path: Path) -> None:
    answer = training(world, tmp_path / "gen", model="unet:resnet18")
    assert "which unet does not do; take one of deeplabv3, deeplabv3plus" in answer.complaint
    assert not (tmp_path / "gen").exists()


def test_one_image_alone_teaches_the_module_nothing_and_that_is_said(world: Path, tmp_path: Path) -> None:
    write_squares(tmp_path / "squares", count=1, size=(32, 32))
    answer = training(tmp_path, tmp_path / "gen")
    assert answer.code == 0, answer.err
    assert "it ranks pairs of images, and there is one" in answer.err


def test_another_module_beside_the_same_network_has_rows_of_its_own(world: Path) -> None:
    model = DenseModel(folder=world / "gen", generation=read_segmentation(world / "gen"))
    other = replace(model, generation=replace(model.generation, parts={"loss-prediction": "0" * 40}))
    assert LossMapModel(model=model).key != LossMapModel(model=other).key
    assert model.key == other.key
    assert LossMapModel(model=model).transform_key == model.transform_key


RUN = """pool: {pool}
split: train
task: segmentation
oracle: folders
evaluation: none
model: unet:resnet18
strategy: loss-prediction
budget: 2
rounds: 2
"""


@pytest.mark.usefixtures("in_process")
def test_a_run_trains_the_module_and_chooses_by_it(world: Path, tmp_path: Path) -> None:
    recipe = "recipe: {epochs: 1, batch_size: 2, loss_prediction: true}\nignore_index: 9\n"
    file = tmp_path / "run.yaml"
    file.write_text(RUN.format(pool=world / "squares").replace("budget: 2", "budget: 1") + recipe)
    vain = command("run", file, home=tmp_path / "home")
    assert "which unet does not do" in vain.complaint
    file.write_text(file.read_text().replace("unet:resnet18", MODEL))
    answer = command("run", file, "--json", home=tmp_path / "home")
    assert answer.code == 0, answer.err
    assert [one["strategy"] for one in answer.json["rounds"]] == ["random", "loss-prediction"]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("", "strategy loss-prediction needs models that predict their loss; add loss_prediction: true to recipe"),
        ("unit: patch\nrecipe: {loss_prediction: true}\n", "of whole images; leave unit: patch out"),
    ],
)
def test_a_run_says_at_once_what_it_lacks(world: Path, tmp_path: Path, more: str, said: str) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(RUN.format(pool=world / "squares") + more)
    with pytest.raises(UsageError, match=said):
        read_run_file(file)
    file.write_text(RUN.format(pool=world / "squares") + "recipe: {loss_prediction: true}\n")
    assert read_run_file(file).recipe == {"loss_prediction": True}
