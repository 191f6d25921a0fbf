"""From uint8 pixels to logits and embeddings: what an engine runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from foresift.core.generations import Transform
from foresift.models.embedding import with_embedding


class ScoringModule(nn.Module):
    """Takes (b, s, s, 3) uint8 RGB, gives float32 logits (b, c) and embeddings (b, d).

    Normalisation happens in float32 whatever the weights' precision, then pixels are cast to it.
    Traceable by ``torch.jit.trace``; permuting NHWC pixels gives a channels-last tensor without a copy.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, network: nn.Module, transform: Transform) -> None:
        super().__init__()
        self.transform = transform
        self.model = with_embedding(network)
        self.embedding_width = self.model.embedding_width
        self._set_normalisation(next(network.parameters()).device)
        self.eval()

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """((b, c) logits, (b, d) embeddings), both float32."""
        images = pixels.permute(0, 3, 1, 2).to(torch.float32) * self.scale + self.shift
        logits, embeddings = self.model(images.to(self.precision))
        return logits.to(torch.float32), embeddings.to(torch.float32)

    @property
    def precision(self) -> torch.dtype:
        """The weights' dtype."""
        return next(self.model.parameters()).dtype

    def _set_normalisation(self, device: torch.device) -> None:
        """x / 255, minus mean, over std, as one multiplication and one addition."""
        mean = torch.tensor(self.transform.mean, dtype=torch.float64).view(1, 3, 1, 1)
        std = torch.tensor(self.transform.std, dtype=torch.float64).view(1, 3, 1, 1)
        scale, shift = (1 / (255 * std)).float().to(device), (-mean / std).float().to(device)
        self.register_buffer("scale", scale, persistent=False)
        self.register_buffer("shift", shift, persistent=False)

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> Any:
        # .to(bfloat16) would round the mean and std too: a systematic shift of every image.
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self._set_normalisation(self.scale.device)
        return self
