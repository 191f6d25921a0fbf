"""The training loop of transfer studies: the same weights every time, in either precision."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from foresift.core.errors import UsageError
from foresift.studies.surrogates.lessons import optimise
from foresift.studies.surrogates.protocol import Lessons

IMAGES = torch.randn(32, 3, 8, 8, generator=torch.Generator().manual_seed(1))
CODES = (IMAGES.mean((1, 2, 3)) > 0).long()


def trained(precision: str, seed: int = 0) -> tuple[nn.Module, list[torch.dtype]]:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2))
    seen = []

    def step(rows: Tensor, _done: float, _number: int) -> Tensor:
        logits = network(IMAGES[rows])
        seen.append(logits.dtype)
        return functional.cross_entropy(logits, CODES[rows])

    optimise(network, step, count=32, lessons=Lessons(epochs=40, batch=16, precision=precision), seed=seed)
    return network, seen


@pytest.mark.parametrize(("precision", "kind"), [("32", torch.float32), ("bf16", torch.bfloat16)])
def test_either_precision_learns_and_repeats_itself(precision: str, kind: torch.dtype) -> None:
    network, seen = trained(precision)
    again, _ = trained(precision)
    assert set(seen) == {kind}
    assert all(p.dtype == torch.float32 for p in network.parameters())
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), again.parameters(), strict=True))
    with torch.inference_mode():
        right = (network(IMAGES).argmax(1) == CODES).float().mean()
    assert right > 0.9


def test_another_precision_is_refused() -> None:
    with pytest.raises(UsageError, match=r"recipe\.precision must be one of 32, bf16, got 'half'"):
        Lessons(precision="half")
