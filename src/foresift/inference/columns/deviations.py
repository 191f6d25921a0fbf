"""How far the network's answer moves when its weights are shaken."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import numpy.typing as npt

from foresift.core.arrays import Pixels
from foresift.core.ranges import check_at_least, check_one_of, check_within
from foresift.inference.columns.base import ColumnPass, PixelsToValues, Subject, column_pass

if TYPE_CHECKING:
    from torch import Tensor, nn

Weights = dict[str, "Tensor"]
OF = ("logits", "embeddings")
SCALES = ("absolute", "relative")
KEPT_BYTES = 1 << 29
"""Up to so much, all noisy weights are held; beyond it they are drawn again for every batch."""


@column_pass
@dataclass(frozen=True, kw_only=True)
class Deviations(ColumnPass):
    """f(theta_k, x) - f(theta, x) of K draws of noisy weights, one after the other: K times c (or d) numbers.

    theta_k = theta + xi ||theta|| g_k / ||g_k|| for each tensor of weights on its own, g_k standard
    normal, the same for every image; running statistics of batch norm stay as they are. The network's
    own weights are never written to. ``relative`` divides by ||f(theta, x)||, as the authors' code does.

    Cost: K + 1 forward passes and K draws of all weights a batch; memory K copies of the weights, or
    one where they exceed 512 MiB. Source: Li et al. 2024, *Deep Active Learning with Noise Stability*
    (arXiv 2205.13340), eq. 2 and algorithm 1: deviations of the logits. Deviation: all parameters are
    shaken, biases included, where the authors' code shakes those called ``weight``.
    """

    name: ClassVar[str] = "deviations"
    cite: ClassVar[str] = "Li et al. 2024, Deep Active Learning with Noise Stability"

    draws: int = 10
    xi: float = 0.001
    of: str = "logits"
    scale: str = "absolute"
    noise_seed: int = 0

    def __post_init__(self) -> None:
        check_at_least(1, draws=self.draws)
        check_at_least(0, noise_seed=self.noise_seed)
        check_within(0, 1, xi=self.xi)
        check_one_of(OF, of=self.of)
        check_one_of(SCALES, scale=self.scale)

    def make(self, subject: Subject) -> PixelsToValues:
        """The deviations of a batch, (b, K c) or (b, K d)."""
        import torch
        from torch.func import functional_call

        network, output = subject.network, OF.index(self.of)
        device = next(network.parameters()).device
        noisy = _Kept(network, self) if _size_bytes(network) * self.draws <= KEPT_BYTES else _Drawn(network, self)

        def deviations(batch: Pixels) -> npt.NDArray[np.float32]:
            pixels = torch.from_numpy(batch).to(device)
            with torch.inference_mode():
                calm = network(pixels)[output]
                moved = [functional_call(network, weights, (pixels,))[output] - calm for weights in noisy]
                values = torch.cat(moved, dim=1)
                if self.scale == "relative":
                    values = values / calm.norm(dim=1, keepdim=True).clamp(min=torch.finfo(calm.dtype).tiny)
            found: npt.NDArray[np.float32] = values.cpu().numpy()
            return found

        return deviations


def noisy_weights(network: nn.Module, *, draw: int, xi: float, seed: int) -> Weights:
    """One draw: every parameter moved by ``xi`` times its own norm in a random direction."""
    import torch

    generator = torch.Generator().manual_seed(int(np.random.SeedSequence([seed, draw]).generate_state(1)[0]))
    noisy = {}
    for name, weight in network.named_parameters():
        # Drawn on the CPU, whose numbers are the same on every machine.
        direction = torch.randn(weight.shape, generator=generator).to(weight)
        share = xi * weight.norm() / direction.norm().clamp(min=torch.finfo(weight.dtype).tiny)
        noisy[name] = (weight + share * direction).detach()
    return noisy


class _Drawn:
    """The draws one at a time, the same at every look."""

    def __init__(self, network: nn.Module, parameters: Deviations) -> None:
        self._network, self._parameters = network, parameters

    def __iter__(self) -> Iterator[Weights]:
        mine = self._parameters
        for draw in range(mine.draws):
            yield noisy_weights(self._network, draw=draw, xi=mine.xi, seed=mine.noise_seed)


class _Kept(_Drawn):
    """All draws at once."""

    def __init__(self, network: nn.Module, parameters: Deviations) -> None:
        super().__init__(network, parameters)
        self._held = list(super().__iter__())

    def __iter__(self) -> Iterator[Weights]:
        return iter(self._held)


def _size_bytes(network: nn.Module) -> int:
    return sum(weight.numel() * weight.element_size() for weight in network.parameters())
