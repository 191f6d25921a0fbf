"""The ranking loss against a slow loop over pairs, and what each part of a step may change."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from foresift.core.errors import UsageError
from foresift.models import build, with_loss_prediction
from foresift.training import Recipe, train
from foresift.training.objectives import objective_of, ranking_loss

BATCHES = st.lists(
    st.tuples(st.floats(-4, 4, width=32), st.integers(0, 3)), min_size=2, max_size=9
)  # predictions, and losses with ties


def slow(predicted: list[float], losses: list[int], margin: float = 1.0) -> float:
    even = len(predicted) // 2 * 2
    terms = []
    for i in range(even // 2):
        j = even - 1 - i
        if losses[i] != losses[j]:
            sign = 1 if losses[i] > losses[j] else -1
            terms.append(max(0.0, margin - sign * (predicted[i] - predicted[j])))
    return sum(terms) / len(terms) if terms else 0.0


def fast(predicted: list[float], losses: list[int]) -> float:
    return float(ranking_loss(torch.tensor(predicted), torch.tensor(losses, dtype=torch.float32)))


@given(BATCHES)
def test_it_is_the_mean_over_ordered_pairs(rows: list[tuple[float, int]]) -> None:
    predicted, losses = [p for p, _ in rows], [loss for _, loss in rows]
    assert fast(predicted, losses) == pytest.approx(slow(predicted, losses), abs=1e-5)


@given(BATCHES, st.floats(-2, 2, width=16))
def test_a_constant_added_to_all_predictions_changes_nothing(rows: list[tuple[float, int]], constant: float) -> None:
    predicted, losses = [p for p, _ in rows], [loss for _, loss in rows]
    assert fast([p + constant for p in predicted], losses) == pytest.approx(fast(predicted, losses), abs=1e-4)


def test_an_order_that_is_right_by_the_margin_costs_nothing() -> None:
    assert fast([0, 2, 4, 6], [0, 1, 2, 3]) == 0
    assert fast([6, 4, 2, 0], [0, 1, 2, 3]) == pytest.approx(1 + (6 + 2) / 2)


def test_pairs_of_equal_losses_teach_nothing() -> None:
    predicted = torch.tensor([1.0, 5.0, -3.0, 2.0], requires_grad=True)
    ranking_loss(predicted, torch.ones(4)).backward()
    assert predicted.grad is not None
    assert not predicted.grad.any()


@pytest.fixture
def batch() -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    return torch.randn(6, 3, 8, 8), torch.tensor([0, 1, 2, 0, 1, 2])


def gradients(done: float, batch: tuple[Tensor, Tensor], weight: float) -> dict[str, Tensor]:
    network = build("cnn:2", classes=3, image_size=8, seed=1).eval()
    watched = with_loss_prediction(network, size=8, seed=1).eval()
    step = objective_of(Recipe(loss_prediction=True, loss_prediction_weight=weight))(watched, *batch, done)
    step.total.backward()
    return {name: p.grad.clone() for name, p in watched.named_parameters() if p.grad is not None}


def test_the_module_stops_changing_the_backbone_after_60_percent(batch: tuple[Tensor, Tensor]) -> None:
    def backbone(done: float, weight: float) -> Tensor:
        return gradients(done, batch, weight)["network.blocks.0.0.weight"]

    assert torch.equal(backbone(0.6, 1.0), backbone(0.6, 9.0))
    assert not torch.allclose(backbone(0.59, 1.0), backbone(0.59, 9.0))
    assert gradients(0.9, batch, 1.0)["module.last.weight"].any()


def test_the_reported_loss_and_logits_are_those_of_a_run_without(batch: tuple[Tensor, Tensor]) -> None:
    network = build("cnn:2", classes=3, image_size=8, seed=1).eval()
    plain = objective_of(Recipe())(network, *batch, 0.0)
    watched = objective_of(Recipe(loss_prediction=True))(with_loss_prediction(network, size=8, seed=1), *batch, 0.0)
    assert torch.equal(plain.logits, watched.logits)
    assert plain.loss.item() == pytest.approx(watched.loss.item())
    assert plain.total is plain.loss
    assert watched.total.item() > watched.loss.item()


@pytest.mark.parametrize(
    "bad", [{"train": "head"}, {"batch_size": 1}, {"checkpoint_every_epoch": True}, {"loss_prediction_weight": 0.0}]
)
def test_recipes_that_make_no_sense_are_refused(bad: dict[str, object]) -> None:
    with pytest.raises(UsageError, match=next(iter(bad))):
        Recipe(loss_prediction=True, **bad)  # type: ignore[arg-type]


def test_on_held_out_digits_larger_losses_are_predicted_larger(digits: object, tmp_path: Path) -> None:
    """Spearman above 0.3 (algorithms.md, 1.2)."""
    from scipy.stats import spearmanr

    images = digits.images(slice(0, 400))  # type: ignore[attr-defined]
    network = build("cnn:4", classes=10, image_size=8, seed=0)
    watched = with_loss_prediction(network, size=8, seed=0)
    recipe = Recipe(epochs=12, loss_prediction=True, precision="32")
    train(watched, images, digits.codes[:400], recipe=recipe, seed=0, folder=tmp_path)  # type: ignore[attr-defined]
    pixels = digits.pixels[1347:].transpose(0, 3, 1, 2) / 255  # type: ignore[attr-defined]
    held_out = torch.from_numpy(((pixels - 0.5) / 0.5).astype(np.float32))
    codes = torch.from_numpy(digits.codes[1347:])  # type: ignore[attr-defined]
    with torch.inference_mode():
        logits, maps = watched.observe(held_out)
        losses = functional.cross_entropy(logits, codes.long(), reduction="none")
        assert spearmanr(watched.predicted(maps), losses).statistic > 0.3


def test_a_module_beside_a_network_is_trained_too(digits: object, tmp_path: Path) -> None:
    network = build("cnn:2", classes=10, image_size=8, seed=0)
    watched = with_loss_prediction(network, size=8, seed=0)
    before = {name: value.clone() for name, value in watched.module.state_dict().items()}
    images = digits.images(slice(0, 65))  # type: ignore[attr-defined]
    recipe = Recipe(epochs=2, batch_size=16, loss_prediction=True)
    train(watched, images, digits.codes[:65], recipe=recipe, seed=0, folder=tmp_path)  # type: ignore[attr-defined]
    moved = [name for name, value in watched.module.state_dict().items() if not torch.equal(before[name], value)]
    assert len(moved) == len(before)
