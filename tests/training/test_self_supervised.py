"""SimCLR: what it learns, that labels stay out of it, and that it goes on after an interruption."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from foresift.core.errors import UsageError
from foresift.core.generations import Transform
from foresift.training.data import ArrayImages
from foresift.training.self_supervised import SimClr, embed, neighbour_accuracy, train_simclr

QUICK = SimClr(epochs=4, batch_size=32, lr=3e-3, precision="f32")
TRANSFORM = Transform(size=16)


class Small(nn.Module):
    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.body = nn.Sequential(nn.Conv2d(3, 16, 3, stride=2), nn.ReLU(), nn.Conv2d(16, 32, 3), nn.ReLU())

    def forward(self, images: Tensor) -> Tensor:
        return self.body(images).mean(dim=(2, 3))


def digits(n: int = 128) -> tuple[ArrayImages, np.ndarray]:
    """Handwritten digits, 8 x 8 drawn as 16 x 16."""
    data = load_digits()
    grey = (data.images[:n].repeat(2, axis=1).repeat(2, axis=2) * 15.9).astype(np.uint8)
    pixels = np.repeat(grey[..., None], 3, axis=3)
    return ArrayImages.from_array(pixels, TRANSFORM, identity="digits"), data.target[:n]


def test_views_of_an_image_find_each_other_and_neighbours_share_a_class(tmp_path: Path) -> None:
    images, codes = digits(256)
    network = Small()
    before = neighbour_accuracy(embed(network, images), codes)
    recipe = SimClr(epochs=12, batch_size=64, lr=3e-3, precision="f32")
    done = train_simclr(network, images, recipe=recipe, seed=1, folder=tmp_path, labels=codes)
    assert done.history[-1]["loss"] < done.history[0]["loss"] - 0.5
    assert done.history[-1]["agreement"] > 2 / 64  # chance is 1/64
    assert done.history[-1]["neighbours"] > before + 0.03
    assert not network.training


def test_labels_are_watched_and_never_learned_from(tmp_path: Path) -> None:
    images, codes = digits(64)
    weights = []
    for name, labels in (("none", None), ("some", codes), ("wrong", codes[::-1].copy())):
        network = Small()
        train_simclr(network, images, recipe=QUICK, seed=1, folder=tmp_path / name, labels=labels)
        weights.append([p.detach().numpy().copy() for p in network.parameters()])
    for other in weights[1:]:
        for a, b in zip(weights[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


def test_an_interrupted_run_ends_with_the_same_weights(tmp_path: Path) -> None:
    images, _ = digits(64)
    whole, stopped = Small(), Small()
    train_simclr(whole, images, recipe=QUICK, seed=1, folder=tmp_path / "whole")

    class Stop:
        def start(self, task: str, total: int) -> None:
            self.left = 2

        def advance(self, units: int) -> None:
            self.left -= units
            if self.left < 0:
                raise RuntimeError("the power went")

        def done(self, summary: str = "") -> None: ...

    with pytest.raises(RuntimeError, match="power"):
        train_simclr(stopped, images, recipe=QUICK, seed=1, folder=tmp_path / "cut", progress=Stop())
    again = Small()
    done = train_simclr(again, images, recipe=QUICK, seed=1, folder=tmp_path / "cut")
    assert done.resumed_from >= 2
    for a, b in zip(whole.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)


def test_it_stops_when_the_monitor_stalls(tmp_path: Path) -> None:
    images, codes = digits(32)
    frozen = SimClr(epochs=10, batch_size=32, lr=1e-12, patience=2, precision="f32")
    done = train_simclr(Small(), images, recipe=frozen, seed=1, folder=tmp_path, labels=codes)
    assert done.stopped_early
    assert len(done.history) < 10


@pytest.mark.parametrize("wrong", [{"views": "sepia"}, {"epochs": 0}, {"batch_size": 1}, {"lr": 0.0}])
def test_bad_recipes_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        SimClr(**wrong)  # type: ignore[arg-type]


def test_one_image_has_nothing_to_be_compared_with(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="at least 2"):
        train_simclr(Small(), digits(1)[0], recipe=QUICK, seed=0, folder=tmp_path)
