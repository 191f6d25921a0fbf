"""A graph network over the pool that learns what is labeled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from foresift.core.errors import UsageError
from foresift.core.ranges import check_at_least
from foresift.training.columns.base import FitInputs, FittedPass, check_both_parts, fitted_pass

if TYPE_CHECKING:
    from torch import Tensor, nn

UNLABELED_WEIGHT = 1.2
"""Of the unlabeled samples' loss, as in the paper."""


@fitted_pass
@dataclass(frozen=True, kw_only=True)
class GcnEmbeddings(FittedPass):
    """Hidden features of a two-layer graph network that tells labeled from unlabeled samples, (n, hidden).

    The graph joins every pair of samples by the cosine of their embeddings: A = D^-1 (S - I) + I with
    S = H H^T of unit rows H and D the row sums of S - I. A is never formed: A X = D^-1 (H (H^T X) - X) + X.

    Cost: O(n d hidden) time an epoch and O(n (d + hidden)) memory.
    Source: Caramalau, Bhattarai, Kim 2021, *Sequential Graph Convolutional Network for Active Learning*,
    sections 3.2 and 3.3. Deviations: embeddings are clipped at 0 before they are normalised, so that no
    cosine and no row sum is negative (those of ReLU networks are already); all rows take part, where the
    authors draw 10,000; a sample without neighbours keeps its own row.
    """

    name: ClassVar[str] = "gcn-embeddings"
    cite: ClassVar[str] = "Caramalau et al. 2021, Sequential Graph Convolutional Network for Active Learning"
    needs: ClassVar[tuple[str, ...]] = ("embeddings",)

    hidden: int = 128
    epochs: int = 200
    fit_seed: int = 0

    def __post_init__(self) -> None:
        check_at_least(1, hidden=self.hidden, epochs=self.epochs)
        check_at_least(0, fit_seed=self.fit_seed)

    def fit(self, inputs: FitInputs) -> npt.NDArray[np.float32]:
        """(n, hidden) features after the first layer."""
        import torch

        check_both_parts(inputs.labeled, what="a graph network")
        device = "cuda" if torch.cuda.is_available() else "cpu"
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.fit_seed)
            graph = Graph(torch.from_numpy(np.array(inputs.columns["embeddings"], dtype=np.float32)).to(device))
            layers = _layers(graph.rows.shape[1], self.hidden).to(device)
            _fit(graph, layers, torch.from_numpy(inputs.labeled).to(device), epochs=self.epochs)
        with torch.inference_mode():
            features: npt.NDArray[np.float32] = _hidden(graph, layers).cpu().numpy()
        return features


class Graph:
    """Samples joined by the cosines of their non-negative embeddings."""

    def __init__(self, embeddings: Tensor) -> None:
        clipped = embeddings.clamp(min=0)
        self.rows = clipped / clipped.norm(dim=1, keepdim=True).clamp(min=1e-12)
        self._own = self.rows.square().sum(1, keepdim=True)
        sums = self.rows @ self.rows.sum(0)[:, None] - self._own
        self._inverse = (sums > 1e-6).float() / sums.clamp(min=1e-6)

    def spread(self, values: Tensor) -> Tensor:
        """(n, w) A X."""
        among = self.rows @ (self.rows.T @ values) - self._own * values
        spread: Tensor = self._inverse * among + values
        return spread


def _layers(width: int, hidden: int) -> nn.ModuleList:
    from torch import nn

    return nn.ModuleList([nn.Linear(width, hidden), nn.Linear(hidden, 1)])


def _convolved(graph: Graph, layer: Any, values: Tensor) -> Tensor:
    """(n, w) A X W + b."""
    spread: Tensor = graph.spread(values @ layer.weight.T) + layer.bias
    return spread


def _hidden(graph: Graph, layers: nn.ModuleList) -> Tensor:
    return _convolved(graph, layers[0], graph.rows).relu()


def _fit(graph: Graph, layers: nn.ModuleList, labeled: Tensor, *, epochs: int) -> None:
    """Full-batch Adam on the binary cross-entropy of labeled against unlabeled, each part a mean."""
    import torch
    from torch.nn import functional

    optimizer = torch.optim.Adam(layers.parameters(), lr=1e-3, weight_decay=5e-4)
    for _ in range(epochs):
        optimizer.zero_grad()
        dropped = functional.dropout(_hidden(graph, layers), p=0.3)
        logits = _convolved(graph, layers[1], dropped)[:, 0]
        loss = functional.softplus(-logits[labeled]).mean()
        loss = loss + UNLABELED_WEIGHT * functional.softplus(logits[~labeled]).mean()
        torch.autograd.backward(loss)
        optimizer.step()
    if not torch.isfinite(loss):
        raise UsageError("the graph network's loss is not finite; are the embeddings?")
