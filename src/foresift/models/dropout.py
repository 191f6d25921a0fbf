"""Dropout before the last layer, for any network that ends in one linear layer."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from foresift.core.errors import ModelError
from foresift.models.embedding import has_linear_head, head_of


class DropoutLinear(nn.Linear):
    """A linear layer whose inputs are dropped at random in training; its weights are a linear layer's own."""

    def __init__(self, plain: nn.Linear, *, p: float) -> None:
        super().__init__(plain.in_features, plain.out_features, bias=plain.bias is not None, device="meta")
        self.weight, self.bias = plain.weight, plain.bias
        self.drop = nn.Dropout(p)

    def forward(self, inputs: Tensor) -> Tensor:
        """(b, c) of (b, d)."""
        return functional.linear(self.drop(inputs), self.weight, self.bias)


def with_dropout(network: nn.Module, p: float) -> nn.Module:
    """``network`` with dropout before its last layer, of an MLP head before the head's last one; changed in place.

    Names and shapes of weights stay as they are, and so do logits outside of training.

    Args:
        p: share of units to drop, above 0 and below 1.
    Raises:
        ModelError: it does not end in one linear layer.
    Source: Gal and Ghahramani 2016, with dropout before the last weight layer only.
    """
    if not has_linear_head(network):
        raise ModelError(
            f"{type(network).__name__} does not end in one linear layer, before which units could be dropped"
        )
    head = head_of(network)
    last = [part for part in head.modules() if isinstance(part, nn.Linear)][-1]
    (path,) = (path for path, part in network.named_modules() if part is last)
    network.set_submodule(path, DropoutLinear(last, p=p))
    return network
