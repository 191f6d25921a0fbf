"""What a training step of a segmentation network makes small."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from foresift.core.masks import IGNORED
from foresift.training.objectives import CUT_AFTER, Step, ranking_loss
from foresift.training.segmentation_recipe import SegmentationRecipe

SegmentationObjective = Callable[[nn.Module, Tensor, Tensor, Tensor, float], Step]
"""(network, (b, 3, h, w) images, (b, h, w) codes, (c,) weights of classes, share of the epochs done) -> the step."""


class LossPredicting(Protocol):
    """A network with a module that predicts where it errs."""

    @property
    def cell(self) -> int:
        """Side of a cell in pixels."""
        ...

    def observe(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """(b, c, h, w) logits and feature maps."""
        ...

    def predicted(self, maps: Sequence[Tensor]) -> Tensor:
        """(b, h', w') predicted losses of cells."""
        ...


def segmentation_objective(recipe: SegmentationRecipe) -> SegmentationObjective:
    """The objective that a recipe asks for."""

    def cross_entropy(network: nn.Module, images: Tensor, codes: Tensor, weights: Tensor, _done: float) -> Step:
        logits = network(images).float()
        loss = segmentation_loss(logits, codes, weights)
        return Step(logits, loss, loss)

    def with_ranking(network: nn.Module, images: Tensor, codes: Tensor, weights: Tensor, done: float) -> Step:
        pair = cast(LossPredicting, network)
        raw, maps = pair.observe(images)
        logits = raw.float()
        loss = segmentation_loss(logits, codes, weights)
        seen = [values.detach() for values in maps] if done >= CUT_AFTER else maps
        predicted = pair.predicted(seen).float()
        truth = cell_losses(logits.detach(), codes, grid=predicted.shape[1:], side=pair.cell)
        ranking = RANKINGS[recipe.loss_prediction_pair](predicted, truth)
        return Step(logits, loss, loss + recipe.loss_prediction_weight * ranking)

    return with_ranking if recipe.loss_prediction else cross_entropy


def segmentation_loss(logits: Tensor, codes: Tensor, weights: Tensor) -> Tensor:
    """Mean cross-entropy in nats over the labeled pixels, each weighing as its class; 0 if there are none.

    Args:
        logits: (b, c, h, w)
        codes: (b, h, w) int64, ``IGNORED`` where nothing is learned.
        weights: (c,)
    """
    total = functional.cross_entropy(logits, codes, weight=weights, ignore_index=IGNORED, reduction="sum")
    mass = weights[codes[codes != IGNORED]].sum()
    # No labeled pixel at all: 0 / tiny, without asking the device whether it is so.
    return total / mass.clamp_min(torch.finfo(mass.dtype).tiny)


class CellLosses(NamedTuple):
    """Cross-entropy on a coarse grid, summed over labeled pixels, and how many each cell has."""

    sums: Tensor
    """(b, h', w') in nats."""
    counts: Tensor
    """(b, h', w') labeled pixels."""


def cell_losses(logits: Tensor, codes: Tensor, *, grid: Sequence[int], side: int) -> CellLosses:
    """The cross-entropy of the labeled pixels of each cell of a grid; class weights play no part.

    Args:
        logits: (b, c, h, w)
        codes: (b, h, w) int64, ``IGNORED`` where there is no label.
        grid: h' and w', at least as much as covers the image; the rest is padding.
        side: of a cell in pixels.
    """
    losses = functional.cross_entropy(logits, codes, ignore_index=IGNORED, reduction="none")
    return CellLosses(*(_cells(values, grid, side) for values in (losses, (codes != IGNORED).float())))


def ranking_of_images(predicted: Tensor, truth: CellLosses) -> Tensor:
    """:func:`foresift.training.objectives.ranking_loss` of the images of a batch by the means of their labeled pixels.

    A cell weighs as many labeled pixels as it has, in the mean of the predicted and of the true losses alike.
    A pair of which one image has no labeled pixel is left out.

    Args:
        predicted: (b, h', w') with gradients.
        truth: without.
    """
    labeled = truth.counts.sum(dim=(1, 2))
    areas = labeled.clamp_min(1)
    means = (predicted * truth.counts).sum(dim=(1, 2)) / areas
    return _ranking(means, truth.sums.sum(dim=(1, 2)) / areas, labeled > 0)


def ranking_of_cells(predicted: Tensor, truth: CellLosses) -> Tensor:
    """The same of cells at the same place of two images, where both have a labeled pixel there."""
    return _ranking(predicted, truth.sums / truth.counts.clamp_min(1), truth.counts > 0)


RANKINGS = {"image": ranking_of_images, "cell": ranking_of_cells}
"""By what is compared."""


def _ranking(predicted: Tensor, losses: Tensor, known: Tensor) -> Tensor:
    """The loss over pairs of rows (i, b - 1 - i), element by element; what is not known of both is made a tie.

    Ties are left out.
    """
    even = len(predicted) // 2 * 2
    both = known[:even] & known[:even].flip(0)
    return ranking_loss(predicted[:even], torch.where(both, losses[:even], 0))


def _cells(values: Tensor, grid: Sequence[int], side: int) -> Tensor:
    """(b, h', w') sums of (b, h, w) values over squares."""
    below, beside = (cells * side - own for cells, own in zip(grid, values.shape[1:], strict=True))
    padded = functional.pad(values, (0, beside, 0, below))
    return functional.avg_pool2d(padded[:, None], side)[:, 0] * side**2
