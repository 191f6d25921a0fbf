"""Members of networks: masks follow from seed, member and layer; nothing else moves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from foresift.core.digests import digest_array
from foresift.core.errors import DataError, ModelError, UsageError
from foresift.core.generations import Transform
from foresift.core.members import Members, merge, state_of
from foresift.core.predictions import Predictions
from foresift.inference.members import (
    DROPOUT,
    batch_logits,
    dropout_members,
    ensemble_logits,
    ensemble_members,
)
from foresift.models import ScoringModule, build

Array = np.ndarray[Any, Any]


class Net(nn.Module):
    """Pixels to logits through one dropout layer, after batch normalisation."""

    def __init__(self, *layers: nn.Module, seed: int = 0, width: int = 6) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.conv, self.norm = nn.Conv2d(3, width, 3), nn.BatchNorm2d(width)
        self.drop = nn.Sequential(*layers)
        self.head = nn.Linear(width, 4)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        features = self.drop(self.norm(self.conv(pixels.permute(0, 3, 1, 2).float() / 255))).mean(dim=(2, 3))
        return self.head(features) * 5, features


def images(b: int = 7) -> Array:
    return np.random.default_rng(0).integers(0, 256, size=(b, 8, 8, 3), dtype=np.uint8)


@pytest.mark.parametrize("kind", DROPOUT)
def test_members_disagree_whatever_the_kind_of_dropout(kind: type[nn.Module]) -> None:
    layer = kind(0.5)  # type: ignore[call-arg]
    batch = images()
    if kind is nn.Dropout1d:
        network: nn.Module = Net(nn.Flatten(2), nn.Dropout1d(0.5), nn.Unflatten(2, (6, 6)))
    elif kind is nn.Dropout3d:
        network = Net(nn.Unflatten(1, (6, 1)), nn.Dropout3d(0.5), nn.Flatten(1, 2))
    else:
        network = Net(layer)
    state = Members(dropout_members(network, e=8)(batch))
    assert (state.variance.max(axis=1) > 0).all()
    assert (state.counts == 8).all()


@pytest.mark.parametrize("kind", DROPOUT)
def test_a_mask_is_the_layers_own(kind: type[nn.Module]) -> None:
    """One image: what the hook gives is what the layer gives in training from the same random numbers."""
    from foresift.inference.members import _affine

    layer = kind(0.4).train()  # type: ignore[call-arg]
    shape = {nn.Dropout1d: (1, 6, 5), nn.Dropout3d: (1, 6, 2, 3, 4)}.get(kind, (1, 6, 5, 4))
    values = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    shift, factor = _affine(layer, shape, seed=5)
    torch.manual_seed(5)
    torch.testing.assert_close(values * factor + shift, layer(values))
    assert (factor == 0).any()


def test_results_depend_neither_on_order_nor_on_batches() -> None:
    members, batch = dropout_members(Net(nn.Dropout(0.5)), e=4), images(9)
    order = np.random.default_rng(1).permutation(9)
    together = np.stack(list(members.logits(batch)))
    np.testing.assert_allclose(np.stack(list(members.logits(batch[order]))), together[:, order], atol=1e-5)
    alone = np.concatenate([np.stack(list(members.logits(batch[i : i + 1]))) for i in range(9)], axis=1)
    np.testing.assert_allclose(alone, together, atol=1e-5)


def test_equal_images_get_equal_members() -> None:
    batch = np.repeat(images(1), 5, axis=0)
    logits = np.stack(list(dropout_members(Net(nn.Dropout(0.5)), e=3).logits(batch)))
    np.testing.assert_allclose(logits, logits[:, :1].repeat(5, axis=1), atol=1e-5)
    assert len(np.unique(logits[:, 0].round(3), axis=0)) == 3


def test_the_seed_decides_and_global_random_numbers_do_not() -> None:
    network, batch = Net(nn.Dropout(0.5)), images()
    states = []
    for noise, seed in ((1, 0), (2, 0), (1, 1)):
        torch.manual_seed(noise)
        before = torch.get_rng_state()
        states.append(digest_array(dropout_members(network, e=3, seed=seed)(batch)))
        assert torch.equal(before, torch.get_rng_state())
    assert states[0] == states[1] != states[2]


def test_members_extend_and_merge() -> None:
    network, batch = Net(nn.Dropout(0.5)), images()
    whole = dropout_members(network, e=6)(batch)
    parts = merge(dropout_members(network, e=2)(batch), dropout_members(network, e=4, first=2)(batch))
    np.testing.assert_allclose(parts["mean"], whole["mean"], atol=1e-6)
    np.testing.assert_array_equal(parts["votes"], whole["votes"])
    rest = dropout_members(network, e=4, first=2).logits(batch)
    extended = state_of(rest, start=dropout_members(network, e=2)(batch))
    assert digest_array(extended) == digest_array(whole)


def test_many_members_average_to_the_linear_network() -> None:
    """Inverted dropout before a linear layer: the mean of the logits is the logits without dropout."""
    network, batch = Net(nn.Dropout(0.3)), images(4)
    logits = np.stack(list(dropout_members(network, e=1500).logits(batch)))
    error = logits.std(axis=0) / np.sqrt(len(logits))
    assert (np.abs(logits.mean(axis=0) - batch_logits(network, batch)) < 5 * error).all()


def test_two_layers_and_two_calls_of_one_have_masks_of_their_own() -> None:
    class Recorder(Net):
        def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
            ones = torch.ones(len(pixels), 64)
            seen = [self.drop[0](ones), self.drop[1](ones), self.drop[0](ones)]
            return torch.cat(seen, dim=1), ones

    first, second, again = np.split(
        next(dropout_members(Recorder(nn.Dropout(), nn.Dropout()), e=1).logits(images())), 3, 1
    )
    assert not (first == second).all()
    assert not (first == again).all()
    assert (first == first[:1]).all()


@pytest.mark.parametrize("training", [True, False])
def test_the_network_stays_as_it_was(training: bool) -> None:
    network = Net(nn.Dropout(0.5)).train(training)
    network.norm.eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    modes = [module.training for module in network.modules()]
    dropout_members(network, e=3)(images())
    assert [module.training for module in network.modules()] == modes
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert not network.drop[0]._forward_hooks


@pytest.mark.parametrize("layers", [(), (nn.Dropout(0.0),), (nn.ReLU(),)])
def test_a_network_without_dropout_is_refused(layers: tuple[nn.Module, ...]) -> None:
    with pytest.raises(ModelError, match="the model has no dropout layer with p > 0, so that all members would agree"):
        dropout_members(Net(*layers), e=3)


def test_images_must_be_the_first_dimension() -> None:
    class Turned(Net):
        def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
            turned = self.drop(pixels.flatten(1).float().T[:5])
            return turned.T, turned

    with pytest.raises(ModelError, match=r"dropout layer drop\.0 sees \(5, 7\)"):
        dropout_members(Turned(nn.Dropout()), e=1)(images(7))


@pytest.mark.parametrize("arguments", [{"e": 0}, {"e": 1, "seed": -1}, {"e": 1, "first": -1}, {"e": 70_000}])
def test_numbers_of_members_are_checked(arguments: dict[str, int]) -> None:
    with pytest.raises(UsageError, match="expected e >= 1"):
        dropout_members(Net(nn.Dropout()), **arguments)


def test_several_networks_are_scored_one_after_the_other() -> None:
    networks, pool = [Net(seed=seed) for seed in range(3)], images(10)
    expected = np.stack([batch_logits(network, pool) for network in networks])
    together = Members(ensemble_members(networks)(pool))
    np.testing.assert_allclose(together.mean, Members(state_of(expected)).mean, atol=1e-6)

    def loaded() -> Iterator[nn.Module]:
        yield from networks

    logits = ensemble_logits(loaded(), lambda: iter(np.split(pool, [4, 8])))
    made = Predictions.from_arrays(np.arange(10), member_logits=logits)
    np.testing.assert_allclose(made.column("members")["mean"], together.mean, atol=1e-6)


def test_batch_normalisation_keeps_its_statistics() -> None:
    network, pool = Net().train(), images(6)
    np.testing.assert_allclose(batch_logits(network, pool)[:1], batch_logits(network, pool[:1]), atol=1e-5)


def test_what_is_not_finite_is_seen_in_the_state() -> None:
    network, pool = Net(), images(3)
    with torch.no_grad():
        network.head.bias[1] = -torch.inf
    assert np.isnan(ensemble_members([network])(pool)["mean"]).all()


def test_empty_ensembles_are_refused() -> None:
    with pytest.raises(UsageError, match="at least one network"):
        ensemble_members([])
    with pytest.raises(DataError, match="no image"):
        list(ensemble_logits([Net()], lambda: iter(())))
    with pytest.raises(UsageError, match="must have logits of shape"):
        ensemble_members([Net(), ScoringModule(build("linear", classes=3, image_size=8), Transform(size=8))])(images())
