"""From stored rows of images to columns of pool units: whole images, or patches of them.

A column depends on its producer, the units' ids and the images' digests alone, so that a receipt brings it back.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from foresift.app.passes.stored import nothing_usable
from foresift.app.pixels.blocks import worked_through
from foresift.app.pools import LabeledPart
from foresift.core.arrays import Ids, frozen
from foresift.core.errors import DataError, EmptyPoolError, LabelError
from foresift.core.predictions import Producer
from foresift.core.protocols import GridStore, Progress
from foresift.core.regions import Region, region_id, regions_of, split_id
from foresift.core.registry import parse_spec
from foresift.core.samples import Pool, Quarantined
from foresift.inference.crop_embeddings import CropEmbeddings
from foresift.inference.decode import decode
from foresift.inference.dense_columns import LowLevelEmbeddings, PatchEmbeddings, PatchGrid
from foresift.inference.loss_maps import PredictedLossMap
from foresift.kernels.patch_grid import CELL, LEAST_VALID, grid_shape
from foresift.kernels.patch_rows import HEAD, row_width
from foresift.scores.dense import PIXEL_SCORES
from foresift.sources.labels import read_labels
from foresift.sources.read import fetch

Floats = npt.NDArray[np.float32]
_STORED = tuple(one.name for one in (PatchGrid, PatchEmbeddings, LowLevelEmbeddings, CropEmbeddings, PredictedLossMap))


def of_score(producer: Producer, score: str) -> Producer:
    """The producer of the column that holds one score of stored grids."""
    return replace(producer, stage=f"{producer.stage},score={score}")


def stored_producer(producer: Producer) -> Producer | None:
    """The producer of the stored rows behind a column; None if they are no rows of images in their own size."""
    name = parse_spec(producer.stage)[0]
    if name not in _STORED:
        return None
    return replace(producer, stage=producer.stage.partition(",score=")[0])


def unit_values(store: GridStore, producer: Producer, ids: Ids, digests: npt.NDArray[np.str_]) -> Floats:
    """(n, width) a column of n units; (n,) where it is one value of a whole image.

    Args:
        producer: of the column.
        ids: of images, or of regions on the grid of 16 px where the column has something to say of them.
        digests: (n,) content of the image of each.
    Raises:
        KeyError: the store lacks an image.
        DataError: a region that the image has not.
    Cost: one read of the images' rows, and the column twice in memory while it is put together.
    """
    name, parameters = parse_spec(producer.stage)
    rows: list[Floats | None] = [None] * len(ids)
    for at, size, values in _stored(store, producer, digests):
        region = split_id(ids[at])[1]
        if name == PatchGrid.name:
            rows[at] = _grid_row(values, *size, region or _whole(size), PIXEL_SCORES.index(parameters["score"]))
        elif name == PredictedLossMap.name:
            rows[at] = _of_image(values, region)
        else:
            rows[at] = _embedding(values, *size, region, int(parameters["patch"]))
    assembled = _assembled(rows)
    return frozen(assembled[:, 0]) if name == PredictedLossMap.name else assembled


def patches(
    store: GridStore, producer: Producer, pool: Pool, sizes: npt.NDArray[np.int32], side: int
) -> tuple[Pool, int]:
    """The pool of all patches of a pool's images, and how many were dropped.

    Args:
        producer: of the stored grids.
        sizes: (n, 2) height and width of the images.
        side: of the patches in pixels, a multiple of 16.
    """
    invalid = _invalid(store, producer, pool, side)
    return patch_pool(pool, sizes, side, without=invalid), sum(map(len, invalid.values()))


def patch_pool(
    pool: Pool, sizes: npt.NDArray[np.int32], side: int, *, without: Mapping[int, set[int]] | None = None
) -> Pool:
    """The pool of all patches of a pool's images, but for those that ``without`` numbers by row of the image.

    Args:
        sizes: (n, 2) height and width of the images.
    """
    ids: list[str] = []
    rows: list[int] = []
    for row, (height, width) in enumerate(sizes.tolist()):
        bad = (without or {}).get(row, set())
        kept = [region for at, region in enumerate(regions_of(height, width, side)) if at not in bad]
        ids += [region_id(pool.ids[row], region) for region in kept]
        rows += [row] * len(kept)
    at = np.array(rows, dtype=np.intp)
    return Pool.from_columns(
        pool.name,
        ids,
        uris=pool.uris[at],
        digests=pool.digests[at],
        groups=None if pool.groups is None else pool.groups[at].tolist(),
        quarantined=pool.quarantined,
        conflicts=pool.conflicts,
        notes=pool.notes,
    )


def sized(pool: Pool, *, progress: Progress) -> tuple[Pool, npt.NDArray[np.int32]]:
    """The images that can be decoded, the others quarantined, and (n, 2) their heights and widths.

    Raises:
        EmptyPoolError: not one.
    """
    sizes = np.zeros((len(pool), 2), dtype=np.int32)
    broken: list[Quarantined] = []
    progress.start("measuring", len(pool))
    for row, found in enumerate(worked_through(_size, pool.uris.tolist(), name="decode")):
        if isinstance(found, Quarantined):
            broken.append(found)
        else:
            sizes[row] = found
        progress.advance(1)
    progress.done()
    good = sizes[:, 0] > 0
    quarantined = (*pool.quarantined, *broken)
    if not good.any():
        raise EmptyPoolError(nothing_usable(pool, quarantined))
    return replace(pool.take(good), quarantined=quarantined), sizes[good]


def _size(uri: str) -> tuple[int, int] | Quarantined:
    try:
        height, width = decode(fetch(uri)).shape[:2]
    except DataError as error:
        return Quarantined(uri=uri, reason=str(error))
    return height, width


def pixels_of(ids: Ids) -> npt.NDArray[np.int64]:
    """(n,) own pixels of each region.

    Raises:
        DataError: an id that names no region.
    """
    return np.array([_region(sample).pixels for sample in ids.tolist()], dtype=np.int64)


def labeled_units(units: Pool, file: Path) -> LabeledPart:
    """The units that a file names, or whose image it names.

    Raises:
        LabelError: it names none.
    """
    table = read_labels(file)
    images = np.array([split_id(sample)[0] for sample in units.ids.tolist()], dtype=np.str_)
    ids = np.array([table.ids[row] for row in table.finished if table.ids[row]], dtype=np.str_)
    uris = np.array([table.uris[row] for row in table.finished if not table.ids[row]], dtype=np.str_)
    named = np.isin(units.ids.astype(np.str_), ids) | np.isin(images, ids) | np.isin(units.uris, uris)
    if not named.any():
        raise LabelError(f"{file}: not one of its {len(table):,} rows names a sample of pool {units.name}")
    known = np.concatenate([units.ids.astype(np.str_), images])
    skipped = int((~np.isin(ids, known)).sum() + (~np.isin(uris, units.uris)).sum())
    notes = (f"{skipped} rows of {file} skipped: they name nothing among the units of this pool",) if skipped else ()
    found = units.ids[named]
    return LabeledPart(found, np.zeros(len(found), dtype="<U1"), notes)


def _region(sample: str) -> Region:
    region = split_id(sample)[1]
    if region is None:
        raise DataError(f"{sample} names no region; expected SAMPLE#x,y,width,height")
    return region


def _invalid(store: GridStore, producer: Producer, pool: Pool, side: int) -> dict[int, set[int]]:
    """Patches by number, of which too few pixels are valid, by row of the pool; images without any are left out."""
    found: dict[int, set[int]] = {}
    for row, (height, width), values in _stored(store, producer, pool.digests):
        cells = values[: np.prod(grid_shape(height, width))].reshape(grid_shape(height, width))
        if cells.sum() == height * width:
            continue
        regions = list(regions_of(height, width, side))
        counts = [cells[_cells(region)].sum() for region in regions]
        areas = np.array([region.pixels for region in regions])
        found[row] = set(np.flatnonzero(np.array(counts) < LEAST_VALID * areas).tolist())
    return found


def _stored(
    store: GridStore, producer: Producer, digests: npt.NDArray[np.str_]
) -> Iterator[tuple[int, tuple[int, int], Floats]]:
    """Each place of ``digests`` with the size and the row of its image; every image is read once."""
    source = stored_producer(producer)
    assert source is not None  # noqa: S101 - columns of this module only
    distinct, which = np.unique(digests, return_inverse=True)
    order = np.argsort(which, kind="stable")
    ends = np.searchsorted(which[order], np.arange(len(distinct) + 1))
    for at, part in store.read(source, distinct):
        for image, size, values in zip(at.tolist(), part.sizes.tolist(), part.values, strict=True):
            for place in order[ends[image] : ends[image + 1]].tolist():
                yield place, (size[0], size[1]), values


def _whole(size: tuple[int, int]) -> Region:
    return Region(0, 0, size[1], size[0])


def _cells(region: Region) -> tuple[slice, slice]:
    left, top, right, lower = region.box
    return slice(top // CELL, -(-lower // CELL)), slice(left // CELL, -(-right // CELL))


def _grid_row(values: Floats, height: int, width: int, region: Region, score: int) -> Floats:
    """A unit's own row of the column ``patch-grid``, as short as it may be."""
    shape = grid_shape(height, width)
    _check_inside(region, height, width)
    parts = values.reshape(-1, *shape)[[0, 1 + 2 * score, 2 + 2 * score]]
    row = np.empty(row_width(region.height, region.width), dtype=np.float32)
    row[:HEAD] = region.height, region.width
    row[HEAD:] = parts[:, *_cells(region)].reshape(-1)
    return row


def _embedding(values: Floats, height: int, width: int, region: Region | None, patch: int) -> Floats:
    if region is None or not patch:
        return values
    rows, columns = grid_shape(height, width, patch)
    _check_inside(region, height, width)
    by_patch = values.reshape(rows, columns, -1)
    return np.asarray(by_patch[region.top // patch, region.left // patch])


def _of_image(values: Floats, region: Region | None) -> Floats:
    if region is not None:
        raise DataError(f"the predicted loss is one of whole images, not of region {region}")
    return values


def _check_inside(region: Region, height: int, width: int) -> None:
    _, _, right, lower = region.box
    if right > width or lower > height or region.left % CELL or region.top % CELL:
        raise DataError(f"region {region} does not lie on the grid of {CELL} px of an image of {width} x {height}")


def _assembled(rows: list[Floats | None]) -> Floats:
    """(n, width) of rows of several lengths, zeros behind the shorter ones; the list is emptied on the way."""
    width = max((len(row) for row in rows if row is not None), default=HEAD)
    values = np.zeros((len(rows), width), dtype=np.float32)
    for at, row in enumerate(rows):
        assert row is not None  # noqa: S101 - the store gave every digest
        values[at, : len(row)] = row
        rows[at] = None
    return frozen(values)
