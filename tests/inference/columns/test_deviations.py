"""Noise on weights: its size, what it leaves alone, how the deviations follow from it."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn

from foresift.core.digests import digest_bytes
from foresift.core.errors import UsageError
from foresift.inference.columns import Subject, deviations
from foresift.inference.columns.deviations import Deviations, noisy_weights

SIDE, CLASSES = 6, 3


class Small(nn.Module):
    """A convolution with batch norm and a head, as a pass sees it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.head = nn.Linear(4, CLASSES)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        images = pixels.permute(0, 3, 1, 2).float() / 255
        embeddings = torch.tanh(self.norm(self.conv(images))).mean((2, 3))
        return self.head(embeddings), embeddings


@pytest.fixture
def network() -> Small:
    torch.manual_seed(0)
    made = Small()
    made(torch.rand(16, SIDE, SIDE, 3) * 255)  # running statistics that are worth keeping
    return made.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def images() -> npt.NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, size=(7, SIDE, SIDE, 3), dtype=np.uint8)


def values(network: nn.Module, images: npt.NDArray[np.uint8], **parameters: Any) -> npt.NDArray[np.float32]:
    return Deviations(**parameters).make(Subject(network=network))(images)


def checksum(network: nn.Module) -> str:
    return digest_bytes(b"".join(value.numpy().tobytes() for value in network.state_dict().values()))


def slow(network: Small, images: npt.NDArray[np.uint8], *, draws: int, xi: float) -> npt.NDArray[np.float64]:
    """Weights written over, one draw after the other, and put back; all of it in float64."""
    own = {name: value.clone() for name, value in network.state_dict().items()}
    shaken = [noisy_weights(network, draw=k, xi=xi, seed=0) for k in range(draws)]
    network.double()
    pixels = torch.from_numpy(images)

    def logits(weights: dict[str, Tensor]) -> Tensor:
        network.load_state_dict({**own, **weights})
        found: Tensor = network.head(
            torch.tanh(network.norm(network.conv(pixels.permute(0, 3, 1, 2).double() / 255))).mean((2, 3))
        )
        return found

    calm = logits(own)
    moved = torch.cat([logits(weights) - calm for weights in shaken], dim=1)
    network.float().load_state_dict(own)
    result: npt.NDArray[np.float64] = moved.numpy()
    return result


def test_the_deviations_are_those_of_a_network_whose_weights_were_written_over(
    network: Small, images: npt.NDArray[np.uint8]
) -> None:
    found = values(network, images, draws=3, xi=0.05)
    assert found.dtype == np.float32
    assert found.shape == (7, 3 * CLASSES)
    np.testing.assert_allclose(found, slow(network, images, draws=3, xi=0.05), atol=1e-6)


def test_every_tensor_moves_by_xi_times_its_own_norm(network: Small) -> None:
    noisy = noisy_weights(network, draw=0, xi=0.01, seed=0)
    assert list(noisy) == [name for name, _ in network.named_parameters()]
    for name, weight in network.named_parameters():
        moved = float((noisy[name] - weight).norm())
        assert moved == pytest.approx(0.01 * float(weight.norm()), rel=1e-4)


def test_the_network_is_left_as_it_is_to_the_last_bit(network: Small, images: npt.NDArray[np.uint8]) -> None:
    before = checksum(network)
    values(network, images, draws=4, xi=0.5)
    assert checksum(network) == before


def test_small_noise_gives_scores_that_grow_with_its_square(network: Small, images: npt.NDArray[np.uint8]) -> None:
    def score(xi: float) -> npt.NDArray[np.float64]:
        squares: npt.NDArray[np.float64] = np.square(values(network, images, xi=xi).astype(np.float64)).sum(axis=1)
        return squares

    np.testing.assert_allclose(score(0.02) / score(0.01), 4, rtol=0.05)


def test_a_constant_network_does_not_deviate(images: npt.NDArray[np.uint8]) -> None:
    made = Small().eval().requires_grad_(False)
    for weight in made.parameters():
        weight.zero_()
    assert not values(made, images).any()


def test_seeds_differ_and_repeat(network: Small, images: npt.NDArray[np.uint8]) -> None:
    assert np.array_equal(values(network, images, noise_seed=1), values(network, images, noise_seed=1))
    assert not np.allclose(values(network, images, noise_seed=1), values(network, images, noise_seed=2))


def test_draws_differ_from_each_other(network: Small, images: npt.NDArray[np.uint8]) -> None:
    first, second = np.split(values(network, images, draws=2, xi=0.1), 2, axis=1)
    assert not np.allclose(first, second)


def test_noise_that_is_drawn_again_for_every_batch_is_the_same(
    network: Small, images: npt.NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = values(network, images)
    monkeypatch.setattr(deviations, "KEPT_BYTES", 0)
    drawn = Deviations().make(Subject(network=network))
    assert np.array_equal(drawn(images), kept)
    assert np.array_equal(drawn(images), kept)


def test_an_image_gets_the_same_in_any_company(network: Small, images: npt.NDArray[np.uint8]) -> None:
    np.testing.assert_allclose(values(network, images)[2:3], values(network, images[2:3]), atol=1e-7)


def test_relative_deviations_are_divided_by_the_norm_of_the_answer(
    network: Small, images: npt.NDArray[np.uint8]
) -> None:
    norms = network(torch.from_numpy(images))[0].norm(dim=1, keepdim=True).numpy()
    absolute, relative = (values(network, images, scale=scale) for scale in ("absolute", "relative"))
    np.testing.assert_allclose(relative * norms, absolute, rtol=1e-5)


def test_embeddings_deviate_too(network: Small, images: npt.NDArray[np.uint8]) -> None:
    assert values(network, images, draws=5, of="embeddings").shape == (7, 5 * 4)


@pytest.mark.parametrize("bad", [{"draws": 0}, {"xi": 0.0}, {"xi": 2.0}, {"of": "probs"}, {"scale": "half"}])
def test_parameters_out_of_range_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(bad))):
        Deviations(**bad)
