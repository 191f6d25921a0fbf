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

_WHOLE = "train the whole network (--train all, no +mlp head)"


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


class _PooledEmbedding(EmbeddingModel):
    """timm's own halves of a network, for heads that are more than one linear layer.

    Embeddings are timm's ``pre_logits``: what a 1x1 convolution sees, pooled; of a class and a distillation
    token the mean; of several heads on one vector that vector.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network: Any = network
        self.embedding_width = embedding_width(network)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        features = self.network.forward_features(images)
        embeddings: Tensor = self.network.forward_head(features, pre_logits=True)
        return self.network.forward_head(features), embeddings


class Backbone(nn.Module):
    """A network that ends at its embeddings: (b, 3, s, s) normalised images to (b, d)."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self._embedding = with_embedding(network)

    def forward(self, images: Tensor) -> Tensor:
        """(b, d); the head of a network of ours is not run."""
        if isinstance(self.network, Network):
            return self.network.features(images)
        embeddings: Tensor = self._embedding(images)[1]
        return embeddings


def with_embedding(network: nn.Module) -> EmbeddingModel:
    """``network`` with its embeddings: what its head sees; logits equal ``network(images)``.

    Raises:
        ModelError: there is no layer that could be the head.
    """
    if isinstance(network, Network):
        return _OwnEmbedding(network)
    return _TappedEmbedding(network) if has_linear_head(network) else _PooledEmbedding(network)


def has_linear_head(network: nn.Module) -> bool:
    """Whether the head is one linear layer, or an MLP of ours; else it is timm's, of several parts or a convolution."""
    return (
        not hasattr(network, "get_classifier")
        or bool(_paths(network, MlpHead))
        or isinstance(network.get_classifier(), nn.Linear)  # type: ignore[operator]
    )


def head_paths(network: nn.Module) -> tuple[str, ...]:
    """Dotted names of all parts of the head; what is below none of them is the backbone.

    Raises:
        ModelError: there is no layer that could be the head.
    """
    if has_linear_head(network):
        return (head_path(network),)
    classifier: Any = network.get_classifier()  # type: ignore[operator]
    parts = classifier if isinstance(classifier, tuple) else (classifier,)
    return tuple(str(path) for path, module in network.named_modules() if any(module is part for part in parts))


def logits_width(network: nn.Module) -> int:
    """c, the number of logits."""
    if has_linear_head(network):
        return [part for part in head_of(network).modules() if isinstance(part, nn.Linear)][-1].out_features
    return int(network.num_classes)  # type: ignore[arg-type]


def require_linear_head(network: nn.Module, *, size: int) -> None:
    """Refuse a network whose logits are not its last linear layer's, so that no head can be trained on embeddings.

    Args:
        size: side of the square input in pixels.
    Raises:
        ModelError: another kind of head, or something between the last layer and the logits.
    """
    head = head_of(network)
    parts = {part: part.training for part in network.modules()}
    with torch.inference_mode():
        logits, embeddings = with_embedding(network.eval())(trial_images(size).to(next(network.parameters())))
        again = head(embeddings)
    for part, mode in parts.items():
        part.training = mode
    if again.shape != logits.shape or not torch.allclose(again, logits, atol=1e-4, rtol=1e-4):
        raise ModelError(
            f"the logits of {type(network).__name__} are more than its last layer: {_WHOLE}, or choose another one"
        )


def trial_images(size: int) -> Tensor:
    """(1, 3, size, size) numbers within [-2, 2], as normalised pixels are."""
    return torch.linspace(-2, 2, 3 * size * size).reshape(1, 3, size, size)


def head_path(network: nn.Module) -> str:
    """Dotted name of the one head: ours, timm's classifier, else the last ``nn.Linear`` as registered.

    Raises:
        ModelError: no such layer, or (timm) a classifier of several parts or of another kind.
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
    """d, the width of the embeddings.

    Raises:
        ModelError: timm does not say what its network gives before the logits.
    """
    if has_linear_head(network):
        return _input_width(head_of(network))
    width = getattr(network, "head_hidden_size", None)
    if not isinstance(width, int):
        raise ModelError(f"{type(network).__name__} does not say how wide its embeddings are; choose another one")
    return width


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
            f"{type(network).__name__} ends in {_kind(classifier)}, not in one linear layer that can be replaced: "
            f"{_WHOLE}, or choose another one"
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
