"""One forward pass that gives logits and embeddings, of any network."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from foresift.core.arrays import Embeddings
from foresift.core.errors import ModelError
from foresift.models.network import Network


class MlpHead(nn.Sequential):
    """A head of several layers; the type marks where the backbone ends."""


class EmbeddingModel(nn.Module):
    """Gives ``(logits, embeddings)`` of shapes (b, c) and (b, d) for (b, 3, s, s) normalised images."""

    embedding_width: int


class _OwnEmbedding(EmbeddingModel):
    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network
        self.embedding_width = embedding_width(network)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        embeddings = self.network.features(images)
        return self.network.head(embeddings), embeddings


class _TappedEmbedding(EmbeddingModel):
    """Watches what enters the head: the logits are the network's own, whatever it does around them.

    The hook lives for one call, so nothing stays behind on a user's module. One caller at a time.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.embedding_width = embedding_width(network)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        seen: list[Tensor] = []
        tap = head_of(self.network).register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        try:
            logits = self.network(images)
        finally:
            tap.remove()
        return logits, _single(seen, self.network)


def with_embedding(network: nn.Module) -> EmbeddingModel:
    """``network`` with its embeddings: the input of its head; logits equal ``network(images)``.

    Raises:
        ModelError: there is no linear layer that could be the head.
    """
    return _OwnEmbedding(network) if isinstance(network, Network) else _TappedEmbedding(network)


def head_path(network: nn.Module) -> str:
    """Dotted name of the head: ours, timm's classifier, else the last ``nn.Linear`` as registered.

    Raises:
        ModelError: no such layer, or (timm) a classifier of several parts.
    """
    if isinstance(network, Network):
        return "head"
    mlp = _paths(network, MlpHead)
    if mlp:
        return mlp[0]
    if hasattr(network, "get_classifier"):
        return _timm_path(network)
    linear = _paths(network, nn.Linear)
    if not linear or not linear[-1]:
        raise ModelError(
            f"{type(network).__name__} has no nn.Linear inside; embeddings are the input of the last one, "
            "so end the network with nn.Linear(width, classes)"
        )
    return linear[-1]


def head_of(network: nn.Module) -> nn.Module:
    """The module that maps (b, d) embeddings to (b, c) logits."""
    return network.get_submodule(head_path(network))


def replace_head(network: nn.Module, head: nn.Module) -> nn.Module:
    """A copy of ``network`` that ends in ``head``: an ``nn.Linear``, or an ``nn.Sequential`` for an MLP.

    Raises:
        ModelError: the head takes embeddings of another width.
    """
    expected, given = embedding_width(network), _input_width(head)
    if expected != given:
        raise ModelError(f"the head takes {given} numbers, but the network's embeddings have {expected}")
    changed = copy.deepcopy(network)
    new = MlpHead(*copy.deepcopy(head).children()) if isinstance(head, nn.Sequential) else copy.deepcopy(head)
    changed.set_submodule(head_path(changed), new.train(network.training))
    return changed


def embedding_width(network: nn.Module) -> int:
    """d, the width of the embeddings."""
    return _input_width(head_of(network))


def head_logits(network: nn.Module, embeddings: Embeddings) -> npt.NDArray[np.float32]:
    """(n, c) logits of stored (n, d) embeddings, without a forward pass through the backbone.

    Raises:
        ModelError: the embeddings have another width than the network's.
    """
    width = embedding_width(network)
    if embeddings.ndim != 2 or embeddings.shape[1] != width:
        raise ModelError(f"embeddings must have shape (n, {width}), got {embeddings.shape}")
    head = head_of(network)
    weight = next(head.parameters())
    was_training = head.training
    with torch.inference_mode():
        # One call over all rows: blocks of other sizes could round otherwise.
        rows = torch.tensor(embeddings).to(device=weight.device, dtype=weight.dtype)
        logits = head.eval()(rows).float().cpu().numpy()
    head.train(was_training)
    result: npt.NDArray[np.float32] = logits
    return result


def mlp_head(width: int, *, inputs: int, classes: int) -> MlpHead:
    """An untrained head with one hidden layer of ``width`` ReLU units."""
    return MlpHead(nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, classes))


def _timm_path(network: Any) -> str:
    classifier = network.get_classifier()
    if not isinstance(classifier, nn.Linear):
        raise ModelError(
            f"{type(network).__name__} ends in {_kind(classifier)}, not in one linear layer: "
            "its logits do not follow from one embedding; choose another architecture"
        )
    paths: dict[nn.Module, str] = {module: path for path, module in network.named_modules()}
    return paths[classifier]


def _paths(network: nn.Module, kind: type[nn.Module]) -> list[str]:
    return [str(path) for path, module in network.named_modules() if isinstance(module, kind)]


def _kind(classifier: Any) -> str:
    return f"{len(classifier)} classifiers" if isinstance(classifier, tuple) else type(classifier).__name__


def _input_width(head: nn.Module) -> int:
    first = head if isinstance(head, nn.Linear) else next(iter(head.children()), None)
    if not isinstance(first, nn.Linear):
        raise ModelError(f"a head must begin with nn.Linear, got {type(first or head).__name__}")
    return first.in_features


def _single(seen: list[Tensor], network: nn.Module) -> Tensor:
    if not seen or seen[-1].dim() != 2:
        came = f"shape {tuple(seen[-1].shape)}" if seen else "nothing: the layer was not used"
        raise ModelError(f"expected (batch, width) at the last linear layer of {type(network).__name__}, got {came}")
    return seen[-1]
