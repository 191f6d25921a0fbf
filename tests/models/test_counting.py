"""Operations and parameters against counts that are known, and against sums by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from foresift.core.errors import ModelError
from foresift.models import build
from foresift.models.counting import count


@pytest.mark.parametrize(
    ("name", "gmacs", "parameters"),
    [
        ("timm:resnet18", 1.82, 11_689_512),
        ("timm:resnet50", 4.1, 25_557_032),
        ("timm:mobilenetv3_large_100", 0.219, 5_483_032),
        ("timm:vit_tiny_patch16_224", 1.26, 5_717_416),  # 1.07 without the products inside attention
    ],
)
def test_counts_of_well_known_networks(name: str, gmacs: float, parameters: int) -> None:
    counted = count(build(name, classes=1000, image_size=224, seed=0), height=224, width=224)
    assert counted.parameters == parameters
    assert counted.operations / 2e9 == pytest.approx(gmacs, rel=0.015)


def test_a_convolution_and_a_layer_by_hand() -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 6 * 10, 5))
    counted = count(network, height=6, width=10)
    assert counted.operations == 2 * (8 * 3 * 9 * 60 + 8 * 60 * 5)
    assert counted.parameters == 8 * 27 + 8 + 5 * 480 + 5


def test_twice_the_side_is_four_times_the_operations_of_convolutions() -> None:
    network = nn.Conv2d(3, 4, 3, padding=1)
    small, large = (count(network, height=side, width=side).operations for side in (16, 32))
    assert large == 4 * small


def test_the_network_keeps_its_mode_and_weights() -> None:
    network = build("resnet8", classes=3, image_size=32, seed=0)
    network.train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    count(network, height=32, width=32)
    assert network.training
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


def test_an_image_that_it_cannot_take_is_named() -> None:
    with pytest.raises(ModelError, match="64 x 64"):
        count(build("linear", classes=2, image_size=16, seed=0), height=64, width=64)
