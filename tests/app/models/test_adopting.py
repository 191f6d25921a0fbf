"""Networks from elsewhere: how images reach them, and what their logits mean."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import timm

from commands import Answer, command
from foresift.core.generations import IMAGENET_MEAN, Transform
from foresift.models import build, registry, weights
from foresift.stores.generations import read_generation

THOUSAND = ",".join(f"c{n}" for n in range(1000))


@pytest.fixture
def adopt(home: Path, tmp_path: Path) -> Callable[..., Answer]:
    def adopt(*words: object) -> Answer:
        return command("adopt", *words, "--out", tmp_path / "gen", home=home)

    return adopt


@pytest.fixture
def file(tmp_path: Path) -> Path:
    weights.save(build("linear", classes=2, image_size=8, seed=0), tmp_path / "w.safetensors")
    return tmp_path / "w.safetensors"


def test_a_weights_file_comes_with_the_transform_that_is_named(
    adopt: Callable[..., Answer], file: Path, tmp_path: Path
) -> None:
    how = ("--mean", "0.5,0.4,0.3", "--std", "1,.5,0.25", "--resize", "crop", "--crop-share", 0.9)
    line = (file, "--model", "linear", "--classes", "a,b", "--image-size", 8)
    assert adopt(*line, *how, "--interpolation", "bicubic").code == 0
    assert read_generation(tmp_path / "gen").transform == Transform(
        size=8, resize="crop", crop_share=0.9, interpolation="bicubic", mean=(0.5, 0.4, 0.3), std=(1.0, 0.5, 0.25)
    )


def test_a_weights_file_alone_is_taken_for_one_of_imagenet(
    adopt: Callable[..., Answer], file: Path, tmp_path: Path
) -> None:
    answer = adopt(file, "--model", "linear", "--classes", "a,b", "--image-size", 8)
    assert "untrained" not in answer.err
    generation = read_generation(tmp_path / "gen")
    assert generation.transform == Transform(size=8, mean=IMAGENET_MEAN)
    assert generation.recipe == {"start": "weights file w.safetensors", "train": "none"}


@pytest.mark.parametrize(
    ("how", "words"),
    [
        (("--mean", "0.5,0.5"), "--mean 0.5,0.5: expected three numbers"),
        (("--std", "a,b,c"), "--std a,b,c: expected three numbers"),
        (("--mean", "nan,0,0"), "mean must be three finite numbers"),
        (("--std", "0,1,1"), "std must be three numbers above 0"),
        (("--crop-share", 0.9), "--crop-share needs --resize crop"),
        (("--crop-share", 1.5, "--resize", "crop"), "crop share must be above 0 and at most 1"),
        (("--interpolation", "nearest"), "unknown resize 'squash' or interpolation 'nearest'"),
    ],
)
def test_a_transform_that_makes_no_sense(
    how: tuple[object, ...], words: str, adopt: Callable[..., Answer], file: Path, tmp_path: Path
) -> None:
    answer = adopt(file, "--model", "linear", "--classes", "a,b", "--image-size", 8, *how)
    assert answer.code in (1, 2)
    assert words in answer.complaint
    assert not (tmp_path / "gen").exists()


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> None:
    """timm's networks without the download: the weights are random."""
    monkeypatch.setattr(registry, "published", lambda name, **sizes: timm.create_model(name, **sizes))


@pytest.mark.usefixtures("hub")
@pytest.mark.parametrize(
    ("model", "classes", "untrained"),
    [("test_resnet", THOUSAND, False), ("test_resnet", "a,b", True), ("test_resnet+mlp:4", THOUSAND, True)],
)
def test_published_weights_say_whether_their_last_layer_was_kept(
    model: str, classes: str, untrained: bool, adopt: Callable[..., Answer], tmp_path: Path
) -> None:
    answer = adopt("--model", model, "--classes", classes, "--pretrained")
    assert answer.code == 0
    assert ("last layer is untrained: logits mean nothing" in answer.err) is untrained
    generation = read_generation(tmp_path / "gen")
    assert (generation.recipe.get("last_layer") == "untrained") is untrained
    assert generation.transform == registry.pretrained_transform("test_resnet")


def test_our_own_architectures_have_no_published_weights(adopt: Callable[..., Answer]) -> None:
    answer = adopt("--model", "resnet20", "--classes", "a,b", "--pretrained")
    assert answer.code == 1
    assert "resnet20: there are no published weights" in answer.complaint
