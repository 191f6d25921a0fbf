"""States of dropout members on their way through the store."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from foresift.core.errors import ModelError, UsageError
from foresift.core.members import state_of
from foresift.inference.columns import Subject
from foresift.inference.columns.members import DropoutStates, states_of, words_of
from foresift.inference.members import dropout_members


class Dropping(nn.Module):
    def __init__(self, p: float) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(48, 9), nn.ReLU(), nn.Dropout(p), nn.Linear(9, 4))

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        flat = pixels.float() / 255
        return self.body(flat), flat.flatten(1)


@pytest.mark.parametrize("classes", [1, 2, 10])
def test_a_state_comes_back_to_the_last_bit(classes: int) -> None:
    logits = np.random.default_rng(0).normal(scale=30, size=(7, 5, classes)).astype(np.float32)
    state = state_of(iter(logits))
    assert words_of(state).shape == (5, 5 * classes + 3)
    assert np.isfinite(words_of(state)).all()
    assert states_of(words_of(state)).tobytes() == state.tobytes()


def test_the_column_is_what_the_members_say() -> None:
    torch.manual_seed(0)
    network = Dropping(0.5).eval().requires_grad_(False)
    images = np.random.default_rng(0).integers(0, 256, size=(6, 4, 4, 3), dtype=np.uint8)
    made_by = DropoutStates(draws=7, dropout_seed=2)
    column = made_by.column(made_by.make(Subject(network=network))(images))
    expected = dropout_members(network, e=7, seed=2)(images)
    assert column.dtype == expected.dtype
    assert column.tobytes() == expected.tobytes()
    assert (column["count"] == 7).all()


def test_no_rows_are_no_states() -> None:
    assert len(states_of(np.empty((0, 13), dtype=np.float32))) == 0


def test_a_network_without_dropout_is_refused() -> None:
    with pytest.raises(ModelError, match="no dropout layer"):
        DropoutStates().make(Subject(network=Dropping(0.0)))


@pytest.mark.parametrize("draws", [0, 1001])
def test_draws_out_of_range_are_refused(draws: int) -> None:
    with pytest.raises(UsageError, match="draws"):
        DropoutStates(draws=draws)
