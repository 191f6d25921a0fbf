"""What a training step makes small."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from foresift.training.recipe import Recipe

RANKING_MARGIN = 1.0
CUT_AFTER = 0.6
"""Share of the epochs after which the module no longer changes the backbone: 120 of 200 in the paper."""


class Step(NamedTuple):
    """One training step."""

    logits: Tensor
    """(b, c) float32."""
    loss: Tensor
    """Mean cross-entropy: what is reported."""
    total: Tensor
    """What is made small."""


Objective = Callable[[nn.Module, Tensor, Tensor, float], Step]
"""(network, (b, 3, s, s) images, (b,) codes, share of the epochs done) -> the step."""


class LossPredicting(Protocol):
    """A network with a module that predicts its loss."""

    def observe(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """(b, c) logits and feature maps."""
        ...

    def predicted(self, maps: Sequence[Tensor]) -> Tensor:
        """(b,) predicted losses."""
        ...


def objective_of(recipe: Recipe) -> Objective:
    """The objective that a recipe asks for."""
    smoothing = recipe.label_smoothing

    def cross_entropy(network: nn.Module, images: Tensor, codes: Tensor, _done: float) -> Step:
        logits = network(images).float()
        loss = functional.cross_entropy(logits, codes, label_smoothing=smoothing)
        return Step(logits, loss, loss)

    def with_ranking(network: nn.Module, images: Tensor, codes: Tensor, done: float) -> Step:
        pair = cast(LossPredicting, network)
        raw, maps = pair.observe(images)
        logits = raw.float()
        losses = functional.cross_entropy(logits, codes, label_smoothing=smoothing, reduction="none")
        seen = [values.detach() for values in maps] if done >= CUT_AFTER else maps
        ranking = ranking_loss(pair.predicted(seen).float(), losses.detach())
        return Step(logits, losses.mean(), losses.mean() + recipe.loss_prediction_weight * ranking)

    return with_ranking if recipe.loss_prediction else cross_entropy


def ranking_loss(predicted: Tensor, losses: Tensor, *, margin: float = RANKING_MARGIN) -> Tensor:
    """mean_p max(0, margin - sgn(l_i - l_j) (p_i - p_j)) over the pairs (i, b - 1 - i) of a batch.

    The last of an odd number of rows has no partner and is left out; so are pairs of equal losses,
    which have no order (the authors' code pushes these apart). No pair at all gives 0.

    Args:
        predicted: (b,) with gradients; or (b, ...), of which the pairs are compared element by element.
        losses: of the same shape, without.
    Source: Yoo and Kweon 2019, eq. 2.
    """
    even = len(predicted) // 2 * 2
    half = even // 2
    mine, others = predicted[:half], predicted[half:even].flip(0)
    order = torch.sign(losses[:half] - losses[half:even].flip(0))
    short = functional.relu(margin - order * (mine - others))[order != 0]
    return short.mean() if len(short) else predicted.sum() * 0.0
