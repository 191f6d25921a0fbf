"""Per-pixel predictions, reduced on the device: from logits to four scores, from scores to cells.

Nothing of the size of (images, h, w, c) is ever held: one window's logits live while its scores are computed,
some rows of pixels at a time, and its scores while they are summed up in cells of 16 px.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from foresift.core.arrays import Pixels
from foresift.core.errors import ModelError, NonFiniteError, UsageError
from foresift.inference.tiles import Window, check_tiles, windows
from foresift.kernels.patch_grid import CELL, grid_shape
from foresift.scores.dense import PIXEL_SCORES

if TYPE_CHECKING:
    from torch import Tensor, nn

BLOCK_ELEMENTS = 1 << 24
"""Logits that are worked on at once: 64 MiB in float32."""
Floats = npt.NDArray[np.float32]


class DenseCells(NamedTuple):
    """The cells of one image under every pixel score."""

    height: int
    width: int
    counts: Floats
    """(r, q) valid pixels."""
    sums: Floats
    """(s, r, q) in the order of ``PIXEL_SCORES``."""
    tops: Floats
    """(s, r, q)"""

    @property
    def flat(self) -> Floats:
        """What is stored: the counts, then sums and maxima of one score after the other."""
        parts = np.stack([self.sums, self.tops], axis=1).reshape(-1, *self.counts.shape)
        return np.concatenate([self.counts[None], parts]).reshape(-1)


def score_maps(logits: Tensor) -> Tensor:
    """(b, 4, h, w) float32 scores of (b, c, h, w) logits, in the order of ``PIXEL_SCORES``.

    The formulas of :mod:`foresift.scores.uncertainty`, which parity tests hold it to.

    Raises:
        UsageError: fewer than two classes.
    Cost: O(b c h w) time; ``BLOCK_ELEMENTS`` a few times over in memory beside the result.
    """
    import torch

    if logits.ndim != 4 or logits.shape[1] < 2:
        raise UsageError(f"dense logits must have shape (b, c, h, w) with 2 classes or more, got {tuple(logits.shape)}")
    step = max(1, BLOCK_ELEMENTS // max(1, logits[:, :, :1].numel()))
    blocks = [_scores(block.float()) for block in torch.split(logits, step, dim=2)]
    return torch.cat(blocks, dim=2)


def others_by_plane(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Gaps to the largest logit and their exponentials, (b, c - 1, h, w) each: of all classes but the most probable.

    Class by class: what does not win against the largest so far remains. No index is computed, so that a CPU takes a
    fifth of the time of :func:`others_by_index`.
    """
    import torch

    planes = logits.contiguous().unbind(1)
    top, gaps = planes[0], torch.empty_like(logits[:, 1:], memory_format=torch.contiguous_format)
    for plane, loser in zip(planes[1:], gaps.unbind(1), strict=True):
        torch.minimum(top, plane, out=loser)
        top = torch.maximum(top, plane)
    gaps.sub_(top[:, None]).clamp_(min=torch.finfo(logits.dtype).min)
    gaps[:, 0] += top - top  # where the largest is infinite, no score may be a number
    return gaps, gaps.exp()


def others_by_index(logits: Tensor) -> tuple[Tensor, Tensor]:
    """The same as (b, c, h, w), with weight 0 for the most probable class: few calls, for a GPU."""
    import torch

    top, best = logits.max(dim=1, keepdim=True)
    gaps = (logits - top).clamp(min=torch.finfo(logits.dtype).min)
    return gaps, gaps.exp().scatter(1, best, 0)


def _scores(logits: Tensor) -> Tensor:
    import torch

    gaps, weights = (others_by_plane if logits.device.type == "cpu" else others_by_index)(logits)
    rest = weights.sum(dim=1)
    entropy = rest.log1p() - gaps.mul_(weights).sum(dim=1) / (1 + rest)
    ratio = weights.amax(dim=1)
    return torch.stack([entropy, rest / (1 + rest), (rest + ratio) / (1 + rest), ratio], dim=1)


def cell_sums(maps: Tensor, valid: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """Sums and maxima (b, s, r, q) of (b, s, h, w) maps in cells, and (b, r, q) how many pixels counted.

    Args:
        maps: 0 or more.
        valid: (b, h, w); None = every pixel.
    """
    import torch

    b, _, height, width = maps.shape
    mask = torch.ones((b, height, width), dtype=torch.bool, device=maps.device) if valid is None else valid
    rows, columns = grid_shape(height, width)
    pad = (0, columns * CELL - width, 0, rows * CELL - height)
    squares = torch.nn.functional.pad(torch.where(mask[:, None], maps, 0), pad)
    squares = squares.reshape(*maps.shape[:2], rows, CELL, columns, CELL)
    counts = torch.nn.functional.pad(mask.float(), pad).reshape(b, rows, CELL, columns, CELL)
    return squares.sum(dim=(3, 5)), squares.amax(dim=(3, 5)), counts.sum(dim=(2, 4))


@dataclass(frozen=True, slots=True, kw_only=True)
class DenseScorer:
    """Cells and maps of single images of any size, by a network that gives logits for every pixel.

    An image of up to twice the pixels of a tile goes through whole, a larger one in windows; what is kept of a
    window lies at least half the overlap from its inner edges.
    """

    network: nn.Module
    """(b, 3, h, w) normalised images of any size -> (b, c, h, w) logits."""
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    tile: int = 1024
    overlap: int = 256
    resize: Callable[[Pixels], Pixels] = lambda pixels: pixels
    """To the size in which the network looks at an image; gives back what has it already."""

    def __post_init__(self) -> None:
        check_tiles(self.tile, self.overlap)

    def cells(self, pixels: Pixels) -> DenseCells:
        """The cells of one (h, w, 3) image, in its own pixels.

        Raises:
            ModelError: the network gives something else than logits for every pixel.
            NonFiniteError: NaN or infinite logits.
        """
        import torch

        height, width = pixels.shape[:2]
        if self.resize(pixels) is not pixels:
            maps = torch.from_numpy(self.maps(pixels))[None]
            found = [part[0].numpy() for part in cell_sums(maps)]
            return DenseCells(height, width, found[2], found[0], found[1])
        rows, columns = grid_shape(height, width)
        counts = np.zeros((rows, columns), dtype=np.float32)
        sums, tops = (np.zeros((len(PIXEL_SCORES), rows, columns), dtype=np.float32) for _ in range(2))
        for window, maps in self._maps(pixels):
            found = [part[0].cpu().numpy() for part in cell_sums(maps)]
            at = _box(window.rows.keep_from, window.columns.keep_from, found[2].shape)
            sums[:, *at], tops[:, *at], counts[at] = found
        return DenseCells(height, width, counts, sums, tops)

    def maps(self, pixels: Pixels) -> Floats:
        """(4, h, w) scores of every pixel of one (h, w, 3) image; as :meth:`cells`.

        Where the model looks at the image in another size, its scores are brought back by bilinear interpolation.
        """
        seen = self.resize(pixels)
        found = np.zeros((len(PIXEL_SCORES), *seen.shape[:2]), dtype=np.float32)
        for window, maps in self._maps(seen):
            upper, left = window.rows.keep_from, window.columns.keep_from
            found[:, upper : upper + maps.shape[2], left : left + maps.shape[3]] = maps[0].cpu().numpy()
        return found if seen is pixels else _stretched(found, *pixels.shape[:2])

    def _maps(self, pixels: Pixels) -> Iterator[tuple[Window, Tensor]]:
        """(1, 4, h', w') scores of what is kept of each window."""
        import torch

        for window in windows(*pixels.shape[:2], tile=self.tile, overlap=self.overlap):
            rows, columns = window.rows, window.columns
            with torch.inference_mode():
                logits = self._logits(pixels[rows.start : rows.stop, columns.start : columns.stop])
                yield window, _finite(score_maps(logits[:, :, rows.kept, columns.kept]))

    def _logits(self, pixels: Pixels) -> Tensor:
        """(1, c, h, w) of one (h, w, 3) window."""
        import torch

        image = normalised(pixels, self)
        logits: Any = self.network(image)
        if not isinstance(logits, torch.Tensor) or logits.ndim != 4 or logits.shape[2:] != image.shape[2:]:
            came = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
            raise ModelError(
                f"scores of pixels need a segmentation model, (b, c, h, w) logits at the size of the image; got {came}"
            )
        return logits


class Normalisation(Protocol):
    """What a network wants its pixels to be."""

    @property
    def network(self) -> nn.Module:
        """Its weights say on which device, and in which precision."""
        ...

    @property
    def mean(self) -> tuple[float, float, float]:
        """Of each channel, within 0 .. 1."""
        ...

    @property
    def std(self) -> tuple[float, float, float]:
        """Of each channel."""
        ...


def normalised(pixels: Pixels, to: Normalisation) -> Tensor:
    """(1, 3, h, w) network input of (h, w, 3) pixels."""
    import torch

    weight = next(to.network.parameters())
    image = torch.from_numpy(np.ascontiguousarray(pixels)).to(weight.device).permute(2, 0, 1)[None].float() / 255
    mean, std = (torch.tensor(part, device=weight.device).view(1, 3, 1, 1) for part in (to.mean, to.std))
    return ((image - mean) / std).to(weight.dtype)


def _stretched(maps: Floats, height: int, width: int) -> Floats:
    import torch

    images = torch.from_numpy(maps)[None]
    found: Floats = torch.nn.functional.interpolate(images, (height, width), mode="bilinear")[0].numpy()
    return found


def _finite(maps: Tensor) -> Tensor:
    if not bool(maps.isfinite().all()):
        raise NonFiniteError("the model gave logits that are not finite; its weights are broken: train again")
    return maps


def _box(upper: int, left: int, shape: tuple[int, ...]) -> tuple[slice, slice]:
    rows, columns = upper // CELL, left // CELL
    return slice(rows, rows + shape[0]), slice(columns, columns + shape[1])
