"""A scoring network as an ONNX graph that takes pixels of any size: resize, crop and normalisation included.

ONNX's own Resize has no fractional crop box, so Pillow's resampling is written out: two products
with matrices of filter weights, one a side, that the graph makes from the size of what it is given.
Pillow rounds to whole levels after each side, and so does the graph.
"""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from foresift.core.errors import MissingExtraError, ModelError
from foresift.core.generations import Transform

OPSET = 18
_FIXED = 2.0**22
"""Pillow's weights are whole numbers of this part: sums of their products with levels are exact in float64."""
_EXAMPLE = (2, 40, 56, 3)
"""Pixels that the graph is traced with: sides that differ, and more than one image."""


class DeviceGraph(nn.Module):
    """(b, h, w, 3) uint8 pixels to ((b, c) logits, (b, d) embeddings)."""

    def __init__(self, scoring: nn.Module, transform: Transform) -> None:
        """Put the resampling before a network.

        Args:
            scoring: (b, s, s, 3) uint8 pixels to logits and embeddings, normalisation included.
        """
        super().__init__()
        self.scoring = scoring
        self.transform = transform

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """((b, c) logits, (b, d) embeddings)."""
        logits, embeddings = self.scoring(resampled(pixels, self.transform))
        return logits, embeddings


def resampled(pixels: Tensor, transform: Transform) -> Tensor:
    """(b, s, s, 3) float32 whole levels from (b, h, w, 3) uint8: what Pillow gives for this transform.

    O(h w s) multiply-adds a channel, as a dense product; Pillow's sparse one is faster for large images.

    Source: Pillow's Resample.c (weights in float64, sides one after the other, rounded to levels in between).
    """
    across, down = _positions(pixels.shape[2]), _positions(pixels.shape[1])
    width, height = across[-1] + 1, down[-1] + 1
    if transform.resize == "squash":
        left, top = torch.zeros_like(width), torch.zeros_like(height)
        right, bottom = width, height
    else:
        side = torch.minimum(width, height) * transform.crop_share
        left, top = (width - side) / 2, (height - side) / 2
        right, bottom = left + side, top + side
    by_column = _weights(across, left, right, width, transform)
    by_row = _weights(down, top, bottom, height, transform)
    images = pixels.permute(0, 3, 1, 2).to(torch.float64)
    images = _levels(images @ by_column.transpose(0, 1))
    images = _levels(by_row @ images)
    return images.to(torch.float32).permute(0, 2, 3, 1)


def export_onnx(scoring: nn.Module, transform: Transform, path: Path) -> None:
    """Write the graph to one file, its weights inside.

    Args:
        scoring: (b, s, s, 3) uint8 pixels to logits and embeddings, normalisation included.
    Raises:
        ModelError: the network holds what ONNX has no operator for.
        MissingExtraError: onnx or onnxscript is not installed.
    """
    size = {0: torch.export.Dim("b"), 1: torch.export.Dim("h", min=2), 2: torch.export.Dim("w", min=2)}
    _export(lambda own: DeviceGraph(own, transform).eval(), scoring, _EXAMPLE, path, dynamic_shapes={"pixels": size})


def export_scoring(scoring: nn.Module, *, size: int, batch: int | None, path: Path) -> None:
    """Write a graph for images that are resampled already.

    Args:
        scoring: (b, size, size, 3) uint8 pixels to logits and embeddings, normalisation included.
        batch: images a call; None = any number.
    Raises:
        ModelError: the network holds what ONNX has no operator for.
        MissingExtraError: onnx or onnxscript is not installed.
    """
    any_number = {"pixels": {0: torch.export.Dim("b")}} if batch is None else None
    _export(lambda own: own, scoring, (batch or 2, size, size, 3), path, dynamic_shapes=any_number)


def _export(
    graph: Callable[[nn.Module], nn.Module],
    scoring: nn.Module,
    example: tuple[int, ...],
    path: Path,
    *,
    dynamic_shapes: dict[str, Any] | None,
) -> None:
    """One file of a float32 copy of a network, put into a graph."""
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError:
        raise MissingExtraError("exporting to ONNX", "onnx") from None
    own = copy.deepcopy(scoring).eval().requires_grad_(False).to(device="cpu", dtype=torch.float32)
    # The exporter tells every step on standard output and warns of its own internals.
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                graph(own),
                (torch.zeros(example, dtype=torch.uint8),),
                str(path),
                input_names=["pixels"],
                output_names=["logits", "embeddings"],
                dynamic_shapes=dynamic_shapes,
                opset_version=OPSET,
                dynamo=True,
                external_data=False,
                verbose=False,
            )
    except Exception as error:  # the exporter's errors share no base class
        line = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise ModelError(f"this network can't be written as ONNX: {line}") from error


def _positions(length: int) -> Tensor:
    """0, 1, ... in float64: the sides stay unknown in the graph, so all else is made from these."""
    return torch.arange(length, dtype=torch.float64)


def _levels(values: Tensor) -> Tensor:
    """Whole levels within 0 .. 255, halves up."""
    return torch.clamp(torch.floor(values + 0.5), 0, 255)


def _weights(at: Tensor, first: Tensor, last: Tensor, length: Tensor, transform: Transform) -> Tensor:
    """(s, n) float64 weights of n source pixels in each of s results: multiples of 2^-22, as Pillow has them."""
    # Pillow takes the box in float32.
    begin, end = first.to(torch.float32), last.to(torch.float32)
    scale = (end - begin).to(torch.float64) / transform.size
    stretch = torch.clamp(scale, min=1.0)
    radius = 1.0 if transform.interpolation == "bilinear" else 2.0
    centre = begin.to(torch.float64) + (torch.arange(transform.size, dtype=torch.float64) + 0.5) * scale
    low = torch.floor(torch.clamp(centre - radius * stretch + 0.5, min=0.0)).unsqueeze(1)
    high = torch.floor(torch.minimum(centre + radius * stretch + 0.5, length)).unsqueeze(1)
    distance = torch.abs((at.unsqueeze(0) - centre.unsqueeze(1) + 0.5) / stretch)
    kernel = _triangle(distance) if transform.interpolation == "bilinear" else _cubic(distance)
    inside = (at.unsqueeze(0) >= low) & (at.unsqueeze(0) < high)
    weights = torch.where(inside, kernel, torch.zeros_like(kernel))
    shares = weights / weights.sum(dim=1, keepdim=True)
    return torch.sign(shares) * torch.floor(torch.abs(shares) * _FIXED + 0.5) / _FIXED


def _triangle(distance: Tensor) -> Tensor:
    return torch.clamp(1.0 - distance, min=0.0)


def _cubic(distance: Tensor) -> Tensor:
    """Keys' cubic with a = -1/2, as Pillow has it."""
    near = ((1.5 * distance - 2.5) * distance) * distance + 1.0
    far = (((distance - 5.0) * distance + 8.0) * distance - 4.0) * -0.5
    inner = torch.where(distance < 1.0, near, far)
    return torch.where(distance < 2.0, inner, torch.zeros_like(inner))
