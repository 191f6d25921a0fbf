"""Passes over images in their own size: what is stored of each, and under which name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from foresift.core.arrays import Pixels
from foresift.core.errors import ModelError, NonFiniteError
from foresift.core.registry import spell
from foresift.inference.dense import DenseScorer, normalised
from foresift.inference.dense_pass import Made, Scorer
from foresift.inference.tiles import Span, check_tiles, windows
from foresift.kernels.patch_grid import check_patch, grid_shape

if TYPE_CHECKING:
    from torch import Tensor, nn

LOW_LEVEL_STRIDE = 4.0
WITHOUT_FEATURES = (
    "this model's network has no features() that gives a feature map, so patches have no embeddings; "
    "choose them by a score of pixels: --strategy entropy, margin, least-confidence or ratio"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DenseSubject:
    """The segmentation model that a pass looks at."""

    network: nn.Module
    """(b, 3, h, w) normalised images of any size -> (b, c, h, w) logits. For embeddings it also has ``features``,
    (b, 3, h, w) -> (b, d, h', w'), and a ``stride``, by which the sides of that map are smaller."""
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    resize: Callable[[Pixels], Pixels] = field(default=lambda pixels: pixels)
    """To the size in which the network looks at an image; gives back what has it already."""


@dataclass(frozen=True, kw_only=True)
class PatchGrid:
    """Sums and maxima of four scores of pixels in cells of 16 px: every aggregate of them follows without inference."""

    name: ClassVar[str] = "patch-grid"
    tile: int = 1024
    overlap: int = 256

    def __post_init__(self) -> None:
        check_tiles(self.tile, self.overlap)

    @property
    def spelling(self) -> str:
        """``NAME:key=value,...`` with every parameter."""
        return spell(self.name, self)

    def scorer(self, subject: DenseSubject) -> Scorer:
        """What makes the row of an image."""
        dense = dense_scorer(subject, self)

        def made(pixels: Pixels) -> Made:
            cells = dense.cells(pixels)
            return Made(cells.height, cells.width, cells.flat)

        return made


@dataclass(frozen=True, kw_only=True)
class PatchEmbeddings:
    """The mean of the backbone's last feature map over each patch, patch by patch; patch=0 is the whole image.

    A feature belongs to the patch in which its middle lies. A patch at the border that is too small for the middle
    of any takes the features of the patch beside it.
    """

    name: ClassVar[str] = "patch-embeddings"
    patch: int = 256
    tile: int = 1024
    overlap: int = 256

    def __post_init__(self) -> None:
        check_tiles(self.tile, self.overlap)
        if self.patch:
            check_patch(self.patch)

    @property
    def spelling(self) -> str:
        """``NAME:key=value,...`` with every parameter."""
        return spell(self.name, self)

    def scorer(self, subject: DenseSubject) -> Scorer:
        """What makes the row of an image.

        Raises:
            ModelError: the network gives no feature map.
        """
        if not hasattr(subject.network, "features"):
            raise ModelError(WITHOUT_FEATURES)

        def made(pixels: Pixels) -> Made:
            height, width = pixels.shape[:2]
            return Made(height, width, self._means(subject, pixels))

        return made

    def _map(self, network: Any) -> tuple[Callable[[Tensor], Tensor], float]:
        """Which feature map is averaged, and by what its sides are smaller than the image's."""
        return network.features, float(network.stride)

    def _means(self, subject: DenseSubject, pixels: Pixels) -> npt.NDArray[np.float32]:
        """(i j d,) of the i by j patches of an image."""
        seen = subject.resize(pixels)
        rows, columns = (
            _Patches(own=own, seen=there, side=self.patch or own)
            for own, there in zip(pixels.shape[:2], seen.shape[:2], strict=True)
        )
        sums: npt.NDArray[np.float32] | None = None
        counts = np.zeros((rows.count, columns.count), dtype=np.float32)
        for down, across, features in self._features(subject, seen):
            by_row, by_column = rows.members(down), columns.members(across)
            part = np.einsum("ih,dhw,jw->ijd", by_row, features, by_column, optimize=True)
            sums = part if sums is None else sums + part
            counts += np.outer(by_row.sum(axis=1), by_column.sum(axis=1))
        assert sums is not None  # noqa: S101 - an image has at least one window
        return _filled(sums, counts).reshape(-1)

    def _features(
        self, subject: DenseSubject, pixels: Pixels
    ) -> Iterator[tuple[_Middles, _Middles, npt.NDArray[np.float32]]]:
        """Middles of the features of each window, NaN where they are another window's, and the (d, h', w') features."""
        import torch

        features_of, stride = self._map(subject.network)
        for window in windows(*pixels.shape[:2], tile=self.tile, overlap=self.overlap):
            part = pixels[window.rows.start : window.rows.stop, window.columns.start : window.columns.stop]
            with torch.inference_mode():
                found: Tensor = features_of(normalised(part, subject))[0].float()
            if not bool(found.isfinite().all()):
                raise NonFiniteError("the model gave features that are not finite; its weights are broken: train again")
            features: npt.NDArray[np.float32] = found.cpu().numpy()
            yield (
                _middles(window.rows, features.shape[1], stride),
                _middles(window.columns, features.shape[2], stride),
                features,
            )


@dataclass(frozen=True, kw_only=True)
class LowLevelEmbeddings(PatchEmbeddings):
    """The mean of the backbone's feature map at a quarter of the image's sides over each patch: edges and textures.

    Source: Frickenstein et al. 2024, who give Core-Set the low-level features of a segmentation network.
    """

    name: ClassVar[str] = "low-level-embeddings"

    def _map(self, network: Any) -> tuple[Callable[[Tensor], Tensor], float]:
        return network.low_level, LOW_LEVEL_STRIDE


def dense_scorer(subject: DenseSubject, grid: PatchGrid) -> DenseScorer:
    """The cells and maps of images, as the pass makes them."""
    return DenseScorer(
        network=subject.network,
        mean=subject.mean,
        std=subject.std,
        resize=subject.resize,
        tile=grid.tile,
        overlap=grid.overlap,
    )


_Middles = npt.NDArray[np.float64]
"""(m,) positions of features along a side, in pixels as the network sees them."""


def _middles(span: Span, count: int, stride: float) -> _Middles:
    middles = span.start + (np.arange(count) + 0.5) * stride
    return np.where((middles >= span.keep_from) & (middles < span.keep_to), middles, np.nan)


@dataclass(frozen=True, slots=True)
class _Patches:
    """Patches along one side of an image."""

    own: int
    """Its pixels."""
    seen: int
    """Pixels as the network sees it."""
    side: int

    @property
    def count(self) -> int:
        return grid_shape(self.own, 1, self.side)[0]

    def members(self, middles: _Middles) -> npt.NDArray[np.float32]:
        """(patches, m) 1 where a feature belongs to a patch."""
        of = np.floor(middles * (self.own / self.seen) / self.side)
        return np.equal(of, np.arange(self.count)[:, None]).astype(np.float32)


def _filled(sums: npt.NDArray[np.float32], counts: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """(i, j, d) means; patches without a feature take those of the patch above or to the left."""
    for i in range(1, len(counts)):
        if not counts[i].any():
            sums[i], counts[i] = sums[i - 1], counts[i - 1]
    for j in range(1, counts.shape[1]):
        if not counts[:, j].any():
            sums[:, j], counts[:, j] = sums[:, j - 1], counts[:, j - 1]
    return np.asarray(sums / np.maximum(counts, 1)[:, :, None], dtype=np.float32)
