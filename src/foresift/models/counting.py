"""Operations and parameters of a network, counted by running it once."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from foresift.core.errors import ModelError
from foresift.models.registry import parameters


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """What one image costs."""

    operations: int
    """Multiplications and additions of convolutions, matrix products and attention: two a multiply-add.
    Normalisation, activations and pooling are not counted; they are below 2 % of the usual networks."""
    parameters: int


def count(network: nn.Module, *, height: int, width: int) -> Count:
    """Operations of one forward pass over one (3, height, width) image, and the network's parameters.

    The network is left in the mode it had. One forward pass of time and memory.

    Raises:
        ModelError: it can't take such an image.
    """
    training = network.training
    weight = next(network.parameters(), torch.zeros(1))
    image = torch.zeros((1, 3, height, width), dtype=weight.dtype, device=weight.device)
    try:
        # In plain matrix products, attention is counted whichever fused kernel the machine would take.
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            network.eval()(image)
    except (RuntimeError, AssertionError, ValueError) as error:
        line = (str(error).splitlines() or [type(error).__name__])[0][:160]
        raise ModelError(f"the network can't take an image of {width} x {height} pixels: {line}") from None
    finally:
        network.train(training)
    return Count(operations=counter.get_total_flops(), parameters=parameters(network))
