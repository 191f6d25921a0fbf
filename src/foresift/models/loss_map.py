"""A module that predicts where a segmentation network errs, from its feature maps (LLAL with 1 x 1 convolutions)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from foresift.core.errors import ModelError
from foresift.core.segmentation import SegmentationGeneration
from foresift.models import weights
from foresift.models.loss_prediction import HIDDEN, recorded_part
from foresift.models.segmentation import CONTEXTS, PROBE_SIDES, Segmenter, canonical_segmenter

MAP_STRIDE = 4
"""Side of a cell of the predicted map in pixels: that of the low-level features."""


class LossMap(nn.Module):
    """Each feature map through a 1 x 1 convolution to 128 and ReLU, resized to the first; then one for all of them.

    Source: Frickenstein et al. 2024, eq. 2, after Yoo and Kweon 2019: convolutions in place of the layers behind
    an average, so that there is a loss for every place.
    """

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        self.widths = tuple(widths)
        self.layers = nn.ModuleList(nn.Conv2d(width, HIDDEN, 1) for width in widths)
        self.last = nn.Conv2d(HIDDEN * len(widths), 1, 1)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """(b, h', w') predicted losses of the cells of the first map, of which only the order means something.

        Bilinear resizing and the last convolution are linear and act on other axes, so each map's share of the
        last layer is taken before it is resized: the same sum, and one channel to resize in place of 128.
        """
        size = maps[0].shape[2:]
        parts = torch.split(self.last.weight, HIDDEN, dim=1)
        assert self.last.bias is not None  # noqa: S101 - it was made with one
        total = self.last.bias.view(1, 1, 1, 1).expand(len(maps[0]), 1, *size)
        for values, layer, part in zip(maps, self.layers, parts, strict=True):
            share = functional.conv2d(torch.relu(layer(values)), part)
            total = total + functional.interpolate(share, size=size, mode="bilinear")
        return total[:, 0]


class LossPredictingSegmenter(nn.Module):
    """A network and the module that watches it, as training takes them: called, it is the network."""

    def __init__(self, network: Segmenter, module: LossMap) -> None:
        super().__init__()
        self.network, self.module = network, module
        self.cell = MAP_STRIDE

    def forward(self, images: Tensor) -> Tensor:
        """(b, c, h, w) logits of the network."""
        logits: Tensor = self.network(images)
        return logits

    def observe(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """(b, c, h, w) logits and the feature maps on the way to them."""
        return self.network.observe(images)

    def predicted(self, maps: Sequence[Tensor]) -> Tensor:
        """(b, h', w') predicted losses of cells of ``MAP_STRIDE`` pixels."""
        losses: Tensor = self.module(maps)
        return losses


def check_watchable(name: str) -> None:
    """Refuse a network whose head has no feature map between encoder and decoder to look at.

    Args:
        name: HEAD:ENCODER.
    Raises:
        ModelError: names the heads that have one.
    """
    head = canonical_segmenter(name).partition(":")[0]
    if head not in CONTEXTS:
        raise ModelError(
            f"{name}: loss prediction looks at what is gathered between encoder and decoder, which {head} does not do;"
            f" take one of {', '.join(CONTEXTS)}"
        )


def with_loss_map(network: Segmenter, *, seed: int) -> LossPredictingSegmenter:
    """``network`` itself with an untrained module beside it.

    Raises:
        ModelError: the network has no such feature maps.
    """
    modes = {part: part.training for part in network.modules()}
    with torch.inference_mode():
        _, maps = network.eval().observe(torch.zeros(1, 3, *PROBE_SIDES))
    for part, mode in modes.items():
        part.training = mode
    cells = tuple(-(-side // network.stride) * network.stride // MAP_STRIDE for side in PROBE_SIDES)
    if tuple(maps[0].shape[2:]) != cells:
        raise ModelError(
            f"loss prediction needs an encoder with features at a quarter of the image's sides; this one's are "
            f"{tuple(maps[0].shape[2:])} where {cells} were expected"
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LossPredictingSegmenter(network, LossMap([values.shape[1] for values in maps]))


def load_loss_map(folder: Path, generation: SegmentationGeneration) -> LossMap:
    """The module of a generation in evaluation mode, its weights checked against the record.

    Raises:
        ModelError: trained without one, or the file is missing or changed.
    """
    path, tensors = recorded_part(folder, generation.loss_prediction())
    count = sum(name.startswith("layers.") and name.endswith(".weight") for name in tensors)
    with torch.random.fork_rng(devices=[]):  # the passing initial weights
        module = LossMap([tensors[f"layers.{place}.weight"].shape[1] for place in range(count)])
    weights.apply(module, tensors, where=path)
    return module.eval()


def loss_map_of(network: Segmenter, module: LossMap) -> Callable[[Tensor], Tensor]:
    """From (b, 3, h, w) normalised images to (b, h', w') predicted losses of cells, those of the padding included."""

    def predict(images: Tensor) -> Tensor:
        losses: Tensor = module(network.observe(images)[1])
        return losses

    return predict
