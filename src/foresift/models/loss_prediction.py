"""A module that predicts a network's loss on an image from its feature maps (LLAL)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from foresift.core.digests import digest_bytes
from foresift.core.errors import ModelError
from foresift.core.generations import LOSS_PREDICTION, Generation
from foresift.models import weights
from foresift.models.embedding import trial_images

PART = LOSS_PREDICTION
HIDDEN = 128
"""Width of each map's own layer, as in the paper."""
MAPS = 4
"""Feature maps that are looked at, as in the paper."""
HOW_TO_GET = "train one with: foresift train DATA --model NAME --loss-prediction --out DIR"


class LossPrediction(nn.Module):
    """Each feature map averaged over its area, a layer of 128 and ReLU; joined, one linear layer to a number.

    Source: Yoo and Kweon 2019, *Learning Loss for Active Learning*, figure 2.
    """

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        self.widths = tuple(widths)
        self.layers = nn.ModuleList(nn.Linear(width, HIDDEN) for width in widths)
        self.last = nn.Linear(HIDDEN * len(widths), 1)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """(b,) predicted losses, of which only the order means something."""
        means = [_mean(values, width) for values, width in zip(maps, self.widths, strict=True)]
        seen = [layer(mean) for layer, mean in zip(self.layers, means, strict=True)]
        predicted: Tensor = self.last(torch.relu(torch.cat(seen, dim=1)))
        return predicted[:, 0]


class LossPredicting(nn.Module):
    """A network and the module that watches it, as training takes them: called, it is the network."""

    def __init__(self, network: nn.Module, module: LossPrediction) -> None:
        super().__init__()
        self.network, self.module = network, module
        self._taps = taps_of(network)

    def forward(self, images: Tensor) -> Tensor:
        """(b, c) logits of the network."""
        logits: Tensor = self.network(images)
        return logits

    def observe(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """(b, c) logits and the feature maps on the way to them."""
        with watched(self.network, self._taps) as maps:
            logits = self.network(images)
        return logits, _in_order(maps, self._taps)

    def predicted(self, maps: Sequence[Tensor]) -> Tensor:
        """(b,) predicted losses."""
        losses: Tensor = self.module(maps)
        return losses


def with_loss_prediction(network: nn.Module, *, size: int, seed: int) -> LossPredicting:
    """``network`` itself with an untrained module beside it.

    Args:
        size: side of the images in pixels.
    Raises:
        ModelError: the network has no feature maps to look at.
    """
    taps = taps_of(network)
    modes = {part: part.training for part in network.modules()}
    with torch.inference_mode(), watched(network.eval(), taps) as maps:
        network(trial_images(size).to(next(network.parameters())))
    for part, mode in modes.items():
        part.training = mode
    known = _timm_widths(network)
    widths = [known.get(tap) or _width(values) for tap, values in zip(taps, _in_order(maps, taps), strict=True)]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LossPredicting(network, LossPrediction(widths))


def load_loss_prediction(folder: Path, generation: Generation) -> LossPrediction | None:
    """The module of a generation, its weights checked against the record; None if it was trained without.

    Raises:
        ModelError: the file is missing or changed.
    """
    digest = generation.parts.get(PART)
    if digest is None:
        return None
    path, tensors = recorded_part(folder, digest)
    count = sum(name.startswith("layers.") and name.endswith(".weight") for name in tensors)
    module = LossPrediction([tensors[f"layers.{place}.weight"].shape[1] for place in range(count)])
    weights.apply(module, tensors, where=path)
    return module.eval()


def recorded_part(folder: Path, digest: str) -> tuple[Path, weights.StateDict]:
    """The file of a generation's module and the tensors in it.

    Args:
        digest: of the file, as the record has it.
    Raises:
        ModelError: the file is missing or changed.
    """
    path = folder / f"{PART}.safetensors"
    blob = path.read_bytes() if path.is_file() else b""
    if digest_bytes(blob) != digest:
        raise ModelError(f"{path}: missing, or not the weights that the record names; copy again, or {HOW_TO_GET}")
    return path, weights.parse(blob, where=path)


def loss_predictor(scoring: nn.Module, network: nn.Module, module: LossPrediction) -> Callable[[Tensor], Tensor]:
    """From what ``scoring`` takes to (b,) predicted losses; ``network`` is the one inside of ``scoring``."""
    taps = taps_of(network)

    def predict(pixels: Tensor) -> Tensor:
        with watched(network, taps) as maps:
            scoring(pixels)
        losses: Tensor = module(_in_order(maps, taps))
        return losses

    return predict


def taps_of(network: nn.Module) -> tuple[str, ...]:
    """Dotted names of the parts whose outputs are looked at: the network's own ``taps``, else timm's features.

    Raises:
        ModelError: the network names none.
    """
    named: Sequence[str] = getattr(network, "taps", ()) or _of_timm(network)
    if not named:
        raise ModelError(
            f"{type(network).__name__} has no feature maps that are known by name; take a ResNet, cnn:W or a timm "
            "network, or give your module an attribute taps, the names of the parts to look at"
        )
    return tuple(named)


@contextmanager
def watched(network: nn.Module, paths: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """What the named parts give while the block runs; hooks are gone after it. One caller at a time."""
    seen: dict[str, Tensor] = {}

    def note(path: str) -> Callable[..., None]:
        return lambda _module, _inputs, output: seen.update({path: output})

    hooks = [network.get_submodule(path).register_forward_hook(note(path)) for path in paths]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def _in_order(maps: Mapping[str, Tensor], taps: Sequence[str]) -> list[Tensor]:
    missing = [tap for tap in taps if not isinstance(maps.get(tap), Tensor)]
    if missing:
        raise ModelError(f"the part {missing[0]!r} gave no tensor while the network ran; name another one in taps")
    return [maps[tap] for tap in taps]


def _of_timm(network: nn.Module) -> list[str]:
    """The last of timm's feature maps, or four of many evenly spaced, the last among them."""
    names = list(_timm_widths(network))
    if len(names) <= MAPS + 1:
        return names[-MAPS:]
    return [names[(place + 1) * len(names) // MAPS - 1] for place in range(MAPS)]


def _timm_widths(network: nn.Module) -> dict[str, int]:
    told: Any = getattr(network, "feature_info", None)
    entries = told if isinstance(told, list) else []
    return {entry["module"]: int(entry["num_chs"]) for entry in entries if entry.get("module")}


def _width(values: Tensor) -> int:
    """Channels: the second of (b, w) and (b, w, h, h), the last of (b, tokens, w)."""
    return values.shape[-1] if values.dim() == 3 else values.shape[1]


def _mean(values: Tensor, width: int) -> Tensor:
    """(b, width) means over the area or the tokens, channels first or last."""
    if values.dim() == 2:
        return values
    return (
        values.flatten(2).mean(2) if values.dim() == 4 and values.shape[1] == width else values.flatten(1, -2).mean(1)
    )
