"""The ranking loss over images with masks against a slow loop, and what may not move it."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from foresift.core.errors import UsageError
from foresift.core.masks import IGNORED
from foresift.core.segmentation import DenseTransform
from foresift.models.loss_map import LossMap
from foresift.training.masked_images import MaskedImages, Pair
from foresift.training.segmentation import train_segmenter
from foresift.training.segmentation_objectives import (
    RANKINGS,
    CellLosses,
    cell_losses,
    ranking_of_cells,
    ranking_of_images,
    segmentation_objective,
)
from foresift.training.segmentation_recipe import SegmentationRecipe

RECIPE = SegmentationRecipe(loss_prediction=True, batch_size=4, epochs=3, lr=0.05, precision="32")
WEIGHTS = torch.ones(3)


class Tiny(nn.Module):
    """A network whose maps are known, and the module beside it."""

    cell = 4

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(3)
            self.body = nn.Conv2d(3, 8, 3, padding=1)
            self.head = nn.Conv2d(8, 3, 3, padding=1)
            self.module = LossMap([8])

    def observe(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        found = torch.relu(self.body(images))
        return self.head(found), [functional.avg_pool2d(found, 4, ceil_mode=True)]

    def forward(self, images: Tensor) -> Tensor:
        return self.observe(images)[0]

    def predicted(self, maps: Sequence[Tensor]) -> Tensor:
        losses: Tensor = self.module(maps)
        return losses


def batch(b: int, height: int, width: int, *, seed: int = 0, void: float = 0.3) -> tuple[Tensor, Tensor]:
    """(b, 3, h, w) logits and (b, h, w) codes, a share of them without a label."""
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(b, 3, height, width, generator=generator, dtype=torch.float64)
    codes = torch.randint(0, 3, (b, height, width), generator=generator)
    return logits, torch.where(torch.rand(b, height, width, generator=generator) < void, IGNORED, codes)


def grid_of(height: int, width: int) -> tuple[int, int]:
    return -(-height // 4) + 1, -(-width // 4)  # one row of cells in the padding


def slow_image(predicted: Tensor, logits: Tensor, codes: Tensor, row: int) -> tuple[float, float] | None:
    """Predicted and true loss of an image, one labeled pixel after the other."""
    said, true = [], []
    for y, x in np.ndindex(*codes.shape[1:]):
        code = int(codes[row, y, x])
        if code != IGNORED:
            at = logits[row, :, y, x]
            true.append(float(torch.logsumexp(at, 0) - at[code]))
            said.append(float(predicted[row, y // 4, x // 4]))
    return (float(np.mean(said)), float(np.mean(true))) if true else None


def slow(predicted: Tensor, logits: Tensor, codes: Tensor) -> float:
    b = len(codes) // 2 * 2
    images = [slow_image(predicted, logits, codes, row) for row in range(b)]
    terms = []
    for i in range(b // 2):
        one, other = images[i], images[b - 1 - i]
        if one is not None and other is not None and one[1] != other[1]:
            sign = 1 if one[1] > other[1] else -1
            terms.append(max(0.0, 1 - sign * (one[0] - other[0])))
    return float(np.mean(terms)) if terms else 0.0


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 5), st.integers(1, 9), st.integers(1, 9), st.integers(0, 99), st.sampled_from([0.0, 0.4, 0.97]))
def test_it_is_the_mean_over_pairs_of_images_by_the_means_of_their_labeled_pixels(
    b: int, height: int, width: int, seed: int, void: float
) -> None:
    logits, codes = batch(b, height, width, seed=seed, void=void)
    predicted = torch.randn(b, *grid_of(height, width), generator=torch.Generator().manual_seed(seed)).double()
    truth = cell_losses(logits, codes, grid=predicted.shape[1:], side=4)
    assert float(ranking_of_images(predicted, truth)) == pytest.approx(slow(predicted, logits, codes), abs=1e-6)


def test_sums_of_cells_lose_no_pixel_and_take_none_of_the_padding() -> None:
    logits, codes = batch(2, 7, 10)
    sums, counts = cell_losses(logits, codes, grid=(4, 4), side=4)
    labeled = codes != IGNORED
    losses = functional.cross_entropy(logits, codes, ignore_index=IGNORED, reduction="none")
    assert int(counts.sum()) == int(labeled.sum())
    assert float(sums.sum()) == pytest.approx(float(losses.sum()))
    assert float(sums[1, 1, 2]) == pytest.approx(float(losses[1, 4:7, 8:10].sum()))
    assert not counts[:, 2:].any()
    assert not counts[:, :, 3].any()


@pytest.mark.parametrize("pair", RANKINGS)
def test_nothing_under_a_void_pixel_moves_it(pair: str) -> None:
    logits, codes = batch(4, 12, 16)
    codes[:, :4, :8] = IGNORED  # whole cells without a label
    predicted = torch.randn(4, 3, 4, dtype=torch.float64, requires_grad=True)

    def loss(logits: Tensor, predicted: Tensor) -> Tensor:
        return RANKINGS[pair](predicted, cell_losses(logits, codes, grid=(3, 4), side=4))

    (gradient,) = torch.autograd.grad(loss(logits, predicted), predicted)
    assert not gradient[:, :1, :2].any()
    assert gradient[:, 1:].any()
    other = torch.where((codes == IGNORED)[:, None], 100 * torch.randn_like(logits), logits)
    elsewhere = predicted.detach().clone()
    elsewhere[:, :1, :2] = 50
    assert torch.equal(loss(other, elsewhere), loss(logits, predicted))


def test_an_image_without_a_label_leaves_the_other_pairs_as_they_are() -> None:
    logits, codes = batch(6, 8, 8)
    predicted = torch.randn(6, 2, 2, dtype=torch.float64)
    codes[1] = IGNORED  # of the pair (1, 4)
    rest = [0, 2, 3, 5]
    all_of_them = ranking_of_images(predicted, cell_losses(logits, codes, grid=(2, 2), side=4))
    without = ranking_of_images(predicted[rest], cell_losses(logits[rest], codes[rest], grid=(2, 2), side=4))
    assert float(all_of_them) == pytest.approx(float(without))
    nothing = ranking_of_images(predicted, cell_losses(logits, torch.full_like(codes, IGNORED), grid=(2, 2), side=4))
    assert float(nothing) == 0


@pytest.mark.parametrize("pair", RANKINGS)
def test_its_gradient_is_that_of_the_formula(pair: str) -> None:
    logits, codes = batch(4, 12, 16)
    truth = cell_losses(logits, codes, grid=(3, 4), side=4)
    predicted = torch.randn(4, 3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda said: RANKINGS[pair](said, truth), (predicted,))


def test_a_pair_that_is_wrong_is_drawn_apart_by_the_share_of_labeled_pixels() -> None:
    predicted = torch.zeros(2, 1, 2, requires_grad=True)
    truth = CellLosses(torch.tensor([[[3.0, 1.0]], [[8.0, 8.0]]]), torch.tensor([[[3.0, 1.0]], [[2.0, 2.0]]]))
    ranking_of_images(predicted, truth).backward()
    assert predicted.grad is not None
    assert predicted.grad.tolist() == [[[0.75, 0.25]], [[-0.5, -0.5]]]


@pytest.mark.parametrize("pair", RANKINGS)
def test_a_constant_added_changes_nothing_and_a_right_order_costs_nothing(pair: str) -> None:
    logits, codes = batch(4, 12, 16, void=0.0)
    truth = cell_losses(logits, codes, grid=(3, 4), side=4)
    predicted = torch.randn(4, 3, 4, dtype=torch.float64)
    ranking = RANKINGS[pair]
    assert float(ranking(predicted + 7, truth)) == pytest.approx(float(ranking(predicted, truth)))
    assert float(ranking(1e6 * truth.sums / truth.counts, truth)) == 0
    assert float(ranking(-1e6 * truth.sums / truth.counts, truth)) > 1


def test_cells_are_compared_at_the_same_place_where_both_have_a_label() -> None:
    sums = torch.tensor([[[1.0, 9.0, 5.0]], [[2.0, 4.0, 0.0]]])
    counts = torch.tensor([[[1.0, 1.0, 1.0]], [[1.0, 4.0, 0.0]]])  # 1 < 2, 9 > 1, nothing
    predicted = torch.tensor([[[0.0, 0.0, 9.0]], [[0.5, 0.25, 0.0]]])
    assert float(ranking_of_cells(predicted, CellLosses(sums, counts))) == pytest.approx((0.5 + 1.25) / 2)


def step(network: nn.Module, recipe: SegmentationRecipe, done: float = 0.0) -> Any:
    images = torch.randn(4, 3, 10, 14, generator=torch.Generator().manual_seed(1))
    return segmentation_objective(recipe)(network, images, batch(4, 10, 14)[1], WEIGHTS, done)


def test_the_module_stops_changing_the_network_after_60_percent() -> None:
    def gradients(done: float, weight: float) -> dict[str, Tensor]:
        network = Tiny()
        step(network, SegmentationRecipe(loss_prediction=True, loss_prediction_weight=weight), done).total.backward()
        return {name: value.grad for name, value in network.named_parameters() if value.grad is not None}

    assert torch.equal(gradients(0.6, 1.0)["body.weight"], gradients(0.6, 9.0)["body.weight"])
    assert not torch.allclose(gradients(0.59, 1.0)["body.weight"], gradients(0.59, 9.0)["body.weight"])
    assert gradients(0.9, 1.0)["module.last.weight"].any()
    assert torch.equal(gradients(0.0, 1.0)["head.weight"], gradients(0.0, 9.0)["head.weight"])  # the target is given


def test_the_reported_loss_and_logits_are_those_of_a_run_without() -> None:
    plain, watched = step(Tiny(), SegmentationRecipe()), step(Tiny(), SegmentationRecipe(loss_prediction=True))
    assert torch.equal(plain.logits, watched.logits)
    assert torch.equal(plain.loss, watched.loss)
    assert plain.total is plain.loss
    assert watched.total.item() > watched.loss.item()


@pytest.mark.parametrize(
    "bad",
    [
        {"batch_size": 1},
        {"loss_prediction_weight": 0.0},
        {"loss_prediction_pair": "pixel"},
        {"loss_prediction": "yes"},
    ],
)
def test_recipes_that_make_no_sense_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(bad))):
        SegmentationRecipe(**{"loss_prediction": True, **bad})


def test_recipes_without_it_are_spelled_as_before() -> None:
    assert not [name for name in SegmentationRecipe().to_dict() if name.startswith("loss_prediction")]
    assert SegmentationRecipe.from_dict(RECIPE.to_dict()) == RECIPE


def noisy(count: int, *, seed: int) -> list[Pair]:
    """Two colours under noise: of none in the first image to one that hides them in the last; void on the right."""
    rng = np.random.default_rng(seed)
    pairs = []
    for row in range(count):
        mask = rng.integers(0, 2, size=(4, 4)).repeat(4, axis=0).repeat(4, axis=1).astype(np.int16)
        noise = rng.normal(0, 200 * row / count, size=(16, 16, 3))
        pixels = np.clip(90 + 70 * mask[..., None] + noise, 0, 255).astype(np.uint8)
        mask[:, 12:] = IGNORED
        pairs.append((pixels, mask))
    return [pairs[row] for row in rng.permutation(count)]


def trained(folder: Path, *, epochs: int, seed: int = 0, pair: str = "image") -> Tiny:
    pairs, network = noisy(24, seed=5), Tiny()
    images = MaskedImages(lambda row: pairs[row], len(pairs), DenseTransform(mean=(0.5,) * 3, std=(0.25,) * 3))
    recipe = SegmentationRecipe(
        loss_prediction=True, loss_prediction_pair=pair, epochs=epochs, batch_size=8, lr=0.02, precision="32"
    )
    train_segmenter(network, images, pixels=(9, 9, 9), recipe=recipe, seed=seed, folder=folder)
    return network


@pytest.mark.parametrize("pair", RANKINGS)
def test_on_held_out_images_larger_losses_are_predicted_larger(pair: str, tmp_path: Path) -> None:
    """Spearman above 0.3 (algorithms.md, 1.2)."""
    from scipy.stats import spearmanr

    network, said, true = trained(tmp_path, epochs=25, pair=pair), [], []
    for pixels, mask in noisy(40, seed=6):
        image = (torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255 - 0.5) / 0.25
        with torch.inference_mode():
            logits, maps = network.observe(image)
            losses = functional.cross_entropy(logits, torch.from_numpy(mask)[None].long(), ignore_index=IGNORED)
            said.append(float(network.predicted(maps).mean()))
        true.append(float(losses))
    assert spearmanr(said, true).statistic > 0.3


def test_the_same_seed_gives_the_same_module_and_all_of_it_is_trained(tmp_path: Path) -> None:
    before = copy.deepcopy(Tiny().state_dict())
    first, again, other = (
        trained(tmp_path / name, epochs=2, seed=seed).state_dict() for name, seed in (("a", 0), ("b", 0), ("c", 1))
    )
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not any(torch.equal(first[name], before[name]) for name in first if name != "module.last.bias")
    assert not torch.equal(first["module.last.weight"], other["module.last.weight"])
