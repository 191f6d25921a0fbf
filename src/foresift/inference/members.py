"""Members of an ensemble from networks: dropout left on, or several checkpoints; each feeds one mergeable state.

Dropout is consistent: member m is one thinned network, the same for every image. Its masks
follow from the seed, m, the layer's name and which of its calls it is, never from the batch,
so that neither the order of images nor how they are batched changes anything, and so that
members say something about many images jointly. Any member can be made again alone: five
members extend to a hundred by making the other ninety-five.

On are the layers torch knows as modules with p > 0 (``nn.Dropout``, ``Dropout1d`` .. ``Dropout3d``,
``AlphaDropout``, ``FeatureAlphaDropout``). Everything else stays as in evaluation: batch normalisation
keeps its running statistics; dropout that is called as a function and stochastic depth
(timm's ``DropPath``) stay off, the first because it can't be seeded from outside, the second
because it skips whole blocks, which is no dropout of units.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from foresift.core.arrays import Pixels
from foresift.core.errors import DataError, ModelError, UsageError
from foresift.core.members import MOST_MEMBERS, State, state_of

DROPOUT = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)
"""Layers that drop units at random."""
Batches = Callable[[], Iterable[Pixels]]
"""Gives the (b, s, s, 3) uint8 batches of a pool, from the start at every call."""
MemberLogits = npt.NDArray[np.float32]


class DropoutMembers:
    """A network with its dropout on as an ensemble: (b, s, s, 3) uint8 pixels -> the state of its members.

    The network itself stays as it is between calls. One caller at a time.
    """

    def __init__(self, network: nn.Module, *, e: int, seed: int = 0, first: int = 0) -> None:
        if e < 1 or first < 0 or seed < 0 or first + e > MOST_MEMBERS:
            raise UsageError(f"expected e >= 1, seed >= 0, first >= 0, got e={e}, seed={seed}, first={first}")
        self._network = network
        self._layers = dropout_layers(network)
        self._members = range(first, first + e)
        self._seed = seed

    def __call__(self, batch: Pixels) -> State:
        """(b,) the state of all members; their logits are never held together."""
        return state_of(self.logits(batch))

    def logits(self, batch: Pixels) -> Iterator[MemberLogits]:
        """(b, c) of one member after the other."""
        return (self._one(batch, member) for member in self._members)

    def _one(self, batch: Pixels, member: int) -> MemberLogits:
        masks = _Masks(seed=self._seed, member=member, images=len(batch))
        hooks = [
            self._network.get_submodule(path).register_forward_hook(partial(masks.apply, path, layer))
            for path, layer in self._layers.items()
        ]
        try:
            return batch_logits(self._network, batch)
        finally:
            for hook in hooks:
                hook.remove()


def dropout_members(network: nn.Module, *, e: int, seed: int = 0, first: int = 0) -> DropoutMembers:
    """The members ``first`` .. ``first + e - 1`` of a network with dropout.

    Args:
        network: (b, s, s, 3) uint8 pixels -> (logits (b, c), embeddings), such as a scoring module.
        e: forward passes an image.
        seed: 0 or more; another one gives other members.
        first: 0, or how many there are already; states of disjoint members merge.
    Raises:
        ModelError: the network has no layer that drops anything; all members would agree.
    Cost: e forward passes; the state and one member's logits in memory.
    Source: Gal and Ghahramani 2016 (dropout as an approximate posterior); Kirsch, van Amersfoort and
        Gal 2019 (masks that are the same for every image).
    """
    return DropoutMembers(network, e=e, seed=seed, first=first)


def dropout_layers(network: nn.Module) -> dict[str, nn.Module]:
    """Copies, in training mode, of the layers that drop something, by dotted name.

    Raises:
        ModelError: there is none.
    """
    found = {path: layer for path, layer in network.named_modules() if isinstance(layer, DROPOUT) and layer.p > 0}
    if not found:
        raise ModelError(
            "the model has no dropout layer with p > 0, so that all members would agree; train one with dropout "
            "(such as --model cnn:16,dropout=0.3), or give several models (--model A --model B, --checkpoints all)"
        )
    return {path: copy.deepcopy(layer).cpu().train() for path, layer in found.items()}


def ensemble_members(networks: Sequence[nn.Module]) -> Callable[[Pixels], State]:
    """(b, s, s, 3) uint8 pixels -> (b,) the state of several networks, all of them in memory.

    Raises:
        UsageError: no network; when called, networks of different numbers of classes.
    """
    if not networks:
        raise UsageError("an ensemble needs at least one network")
    return lambda batch: state_of(batch_logits(network, batch) for network in networks)


def ensemble_logits(networks: Iterable[nn.Module], batches: Batches) -> Iterator[MemberLogits]:
    """(n, c) logits of one network after the other: what ``Predictions.from_arrays(member_logits=...)`` reads.

    Args:
        networks: of the same classes, such as :func:`dropout_members` takes; an iterator that loads
            checkpoints holds one of them at a time.
        batches: the whole pool, once for each network.
    Raises:
        DataError: no image.
    """
    for network in networks:
        parts = [batch_logits(network, batch) for batch in batches()]
        if not parts:
            raise DataError("no image to score; an ensemble needs at least one")
        del network  # before the next one is loaded
        yield np.concatenate(parts)


def batch_logits(network: nn.Module, batch: Pixels) -> MemberLogits:
    """(b, c) logits of a network in evaluation mode; rows that are not finite become NaN throughout."""
    device = next(network.parameters()).device
    with _evaluating(network), torch.inference_mode(), torch.backends.cudnn.flags(allow_tf32=False):
        logits = network(torch.from_numpy(batch).to(device))[0].float().cpu().numpy()
    bad = ~np.isfinite(logits).all(axis=1)
    if bad.any():  # an infinite logit would be a probability of 0 or 1 and go unnoticed
        logits = np.where(bad[:, None], np.float32(np.nan), logits)
    result: MemberLogits = logits
    return result


class _Masks:
    """The masks of one member during one forward pass."""

    def __init__(self, *, seed: int, member: int, images: int) -> None:
        self._words = [seed, member]
        self._images = images
        self._calls: Counter[str] = Counter()

    def apply(
        self, path: str, layer: nn.Module, _module: nn.Module, inputs: tuple[Any, ...], _output: Tensor
    ) -> Tensor:
        """What the layer gives in training, with the same mask for every image."""
        values: Tensor = inputs[0]
        if len(values) % self._images:
            raise ModelError(f"dropout layer {path} sees {tuple(values.shape)}: its first dimension must be the images")
        self._calls[path] += 1
        words = [*self._words, int.from_bytes(path.encode(), "little"), self._calls[path]]
        seed = int(np.random.SeedSequence(words).generate_state(1, np.uint64)[0] >> 1)
        shift, factor = _affine(layer, (1, *values.shape[1:]), seed)
        return values * factor.to(values) + shift.to(values)


def _affine(layer: nn.Module, shape: tuple[int, ...], seed: int) -> tuple[Tensor, Tensor]:
    """Shift and factor of one mask: with its mask fixed, every kind of dropout is x -> x * factor + shift.

    Drawn on the CPU, so that every device sees the same mask.
    """
    given = []
    with torch.random.fork_rng(devices=[]):
        for value in (0.0, 1.0):
            torch.default_generator.manual_seed(seed)
            given.append(layer.forward(torch.full(shape, value)))
    shift, one = given
    return shift, one - shift


@contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    """Evaluation mode for a while; afterwards every part is in the mode it was in."""
    training = [module for module in network.modules() if module.training]
    network.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True
