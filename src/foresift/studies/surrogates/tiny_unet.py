"""A U-Net so small that two cores train it in minutes: three scales, a third of a GFLOP at width 12 and 240 x 180."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from foresift.core.errors import UsageError

NAME = "tiny-unet"


class TinyUnet(nn.Module):
    """Half, quarter and eighth of the image's size, w, 2w and 4w channels; logits at the image's own size.

    Source: after Ronneberger et al. 2015, *U-Net*; batch norm, one scale fewer than there, no crop.
    """

    def __init__(self, *, classes: int, width: int) -> None:
        super().__init__()
        w = width
        self.fine = nn.Sequential(_block(3, w, stride=2), _block(w, w))
        self.middle = nn.Sequential(_block(w, 2 * w, stride=2), _block(2 * w, 2 * w))
        self.coarse = nn.Sequential(_block(2 * w, 4 * w, stride=2), _block(4 * w, 4 * w))
        self.up_middle = _block(6 * w, 2 * w)
        self.up_fine = _block(3 * w, w)
        self.head = nn.Conv2d(w, classes, 1)

    def forward(self, images: Tensor) -> Tensor:
        """(b, c, h, w) logits of (b, 3, h, w) normalised images of any size."""
        fine = self.fine(images)
        middle = self.middle(fine)
        coarse = self.coarse(middle)
        joined = self.up_middle(torch.cat([_to(coarse, middle), middle], dim=1))
        joined = self.up_fine(torch.cat([_to(joined, fine), fine], dim=1))
        return _to(self.head(joined), images)


def tiny_unet(name: str, *, classes: int, seed: int) -> TinyUnet:
    """A network of the name ``tiny-unet:WIDTH``.

    Raises:
        UsageError: no width of 1 .. 1024.
    """
    width = width_of(name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return TinyUnet(classes=classes, width=width)


def width_of(name: str) -> int:
    """The width of ``tiny-unet:WIDTH``.

    Raises:
        UsageError: no width of 1 .. 1024.
    """
    text = name.partition(":")[2]
    if not text.isdecimal() or not 1 <= int(text) <= 1024:
        raise UsageError(f"{name!r}: expected a width of 1 .. 1024 after the colon, such as {NAME}:16")
    return int(text)


def _block(inputs: int, outputs: int, *, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


def _to(values: Tensor, like: Tensor) -> Tensor:
    return functional.interpolate(values, size=like.shape[-2:], mode="bilinear", align_corners=False)
