"""The base of our own networks: features, then a head."""

from __future__ import annotations

from torch import Tensor, nn


class Network(nn.Module):
    """A network whose logits are ``head(features(images))``, so that embeddings cost no second pass.

    A subclass sets ``head`` (one ``nn.Linear``) and implements :meth:`features`.
    """

    head: nn.Module
    taps: tuple[str, ...] = ()
    """Dotted names of the parts whose outputs are feature maps, shallow to deep."""

    def features(self, images: Tensor) -> Tensor:
        """(b, d) embeddings of (b, 3, s, s) normalised images."""
        raise NotImplementedError

    def forward(self, images: Tensor) -> Tensor:
        """(b, c) logits of (b, 3, s, s) normalised images."""
        logits: Tensor = self.head(self.features(images))
        return logits
