"""The pool of a run whose labels are masks: images, the masks beside them, and what their values stand for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from foresift.app.pixels.blocks import worked_through
from foresift.app.pixels.classes import classes_asked_for
from foresift.app.pixels.request import Dense
from foresift.app.pixels.training_request import SegmentationRequest, names_generation
from foresift.app.pixels.units import sized
from foresift.app.pools import open_pool
from foresift.app.runs.file_values import FIFTH, FOLDERS, NONE
from foresift.app.runs.files import RunFile
from foresift.app.runs.held_out import held_out, left_to_choose
from foresift.app.runs.kept_masks import Truth, keep_mask, mask_complaint, mask_path, png_of
from foresift.app.runs.pool_files import CANDIDATES, EVALUATION, TRUTH, Columns, RunPool
from foresift.app.workspace import Workspace
from foresift.core.digests import digest_bytes
from foresift.core.errors import DataError, LabelError, MissingPathError, UsageError
from foresift.core.masks import MaskClasses
from foresift.core.oracles import SEGMENTATION
from foresift.core.protocols import Progress
from foresift.core.samples import Pool, Quarantined
from foresift.inference.masks import decode_mask
from foresift.sources.segmentation import MaskedListing, MaskReference, holds_masks, images_part, masked_images
from foresift.stores.generations import read_segmentation

_SHOWN = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class _Masked:
    """n images that can be decoded, and their masks."""

    pool: Pool
    sizes: npt.NDArray[np.int32]
    """(n, 2) heights and widths."""
    truth: Sequence[Truth | None]
    """n; None where there is no mask that can be used."""
    broken: tuple[Quarantined, ...]

    @property
    def known(self) -> npt.NDArray[np.bool_]:
        """(n,) whether there is a mask."""
        return np.array([one is not None for one in self.truth], dtype=bool)

    @property
    def missing(self) -> int:
        """How many images have no mask at all."""
        return len(self.pool) + len(self.pool.quarantined) - len(self.broken) - int(self.known.sum())

    def columns(self, rows: npt.NDArray[np.intp]) -> Columns:
        """Images of some rows and their masks."""
        masks = [one for row in rows.tolist() if (one := self.truth[row]) is not None]
        return {
            **_named(self.pool, rows),
            "mask": [one.path for one in masks],
            "digest": [one.digest for one in masks],
        }


def mask_pool(workspace: Workspace, run: RunFile, progress: Progress) -> tuple[RunPool, dict[str, Columns]]:
    """A pool whose labels are masks, and its tables.

    Every image and every mask is read once, so that what can't be used is neither chosen nor measured on.

    Raises:
        UsageError: no such split or folder.
        LabelError: the pool's own masks are to answer, and none can be used; or nobody says what the classes are.
    """
    laid_out, measured = _listing(run), _measured_on(run)
    classes = _classes(workspace, run, [one for one in (laid_out, measured) if one is not None], progress)
    images = _masked(workspace, run.pool, run.split, laid_out, classes, progress)
    other = None if measured is None else _masked(workspace, *_place(run), measured, classes, progress)
    chosen, held, notes = _parts(run, images, other)
    shown = other or images
    found = RunPool(
        name=images.pool.name,
        version=images.pool.version,
        size=_units(run, images, chosen),
        evaluation_size=len(held),
        classes=list(classes.classes),
        notes=[*(laid_out.notes if laid_out else ()), *notes, *_broken(run, images), *_broken_measures(other)],
        task=SEGMENTATION,
        masks={name: list(values) for name, values in asdict(classes).items()},
    )
    tables: dict[str, Columns] = {CANDIDATES: _named(images.pool, chosen)}
    if len(held):
        tables[EVALUATION] = shown.columns(held)
    if run.oracle == FOLDERS:
        tables[TRUTH] = images.columns(chosen)
    return found, tables


def _parts(
    run: RunFile, images: _Masked, other: _Masked | None
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], list[str]]:
    """Rows that may be chosen, rows that are measured on (of ``other`` where there is one), and what to know."""
    notes: list[str] = []
    keep, held = np.ones(len(images.pool), dtype=bool), np.zeros(0, dtype=np.intp)
    if other is not None:
        held = np.flatnonzero(other.known)
        if not len(held):
            raise LabelError(f"evaluation: {run.evaluation} holds no mask that can be used{_first(other)}")
        keep, notes = left_to_choose(images.pool, other.pool.take(held))
    elif run.evaluation == FIFTH and (run.oracle == FOLDERS or not images.missing):
        held = np.array(sorted(held_out(images.pool.ids, np.flatnonzero(images.known))), dtype=np.intp)
        keep[held] = False
    elif run.evaluation == FIFTH:
        notes.append("not every image has a mask to hold out a fifth of: nothing is measured; give evaluation: FOLDER")
    if run.oracle == FOLDERS:
        keep &= images.known
        if not keep.any():
            raise LabelError(f"{run.pool} has no mask that can answer{_first(images)}; use oracle: files")
    return np.flatnonzero(keep), held, notes


def _listing(run: RunFile) -> MaskedListing | None:
    """The images and masks of the pool; None where no masks lie beside its images.

    Raises:
        UsageError: a split is named, and there are none; or there are, and none is named.
    """
    if holds_masks(Path(run.pool)):
        return _listed(run.pool, run.split, "split: NAME")
    if run.split:
        raise UsageError(f"{run.pool} holds no images/ and masks/ with splits; leave split: {run.split} out")
    return None


def _measured_on(run: RunFile) -> MaskedListing | None:
    """The images and masks that the file names to measure on."""
    return None if run.evaluation in (FIFTH, NONE) else _listed(*_place(run), "evaluation: FOLDER/SPLIT")


def _place(run: RunFile) -> tuple[str, str]:
    """Root and split of the evaluation set: a split of the pool, a root, or ROOT/SPLIT."""
    path = Path(run.evaluation)
    if not path.is_absolute():
        return run.pool, run.evaluation
    return (str(path), "") if path.is_dir() else (str(path.parent), path.name)


def _listed(root: str, split: str, key: str) -> MaskedListing:
    try:
        return masked_images(root, split)
    except MissingPathError as error:
        raise MissingPathError(str(error).replace("--split", key)) from None


def _classes(workspace: Workspace, run: RunFile, listings: Sequence[MaskedListing], progress: Progress) -> MaskClasses:
    """What values stand for: to the generation it starts from, as the file says, as laid out, or as they occur.

    Raises:
        LabelError: nobody says it, or what is said contradicts the generation.
    """
    held = read_segmentation(workspace.generation_folder(run.model)) if names_generation(run.model) else None
    ignored = None if run.ignore_index is None else tuple(run.ignore_index)
    if run.classes and held is None:
        return MaskClasses.numbered(run.classes, ignored=ignored or ())
    masks = tuple(mask for one in listings for mask in one.masks)
    laid_out = next((one.classes for one in listings if one.classes is not None), None)
    if not masks and held is None and laid_out is None:
        raise LabelError(f"{run.pool} holds no mask that shows the classes; name them: classes: [background, ...]")
    every = MaskedListing(name=run.pool, images=(), masks=masks, classes=laid_out)
    request = SegmentationRequest(
        model=run.model, out=Path(), classes=",".join(run.classes), ignore_index=ignored, progress=progress
    )
    try:
        return classes_asked_for(every, request, held=held)
    except LabelError as error:
        raise LabelError(str(error).replace("--classes", "classes: [NAME, ...]")) from None


def _masked(
    workspace: Workspace, root: str, split: str, listing: MaskedListing | None, classes: MaskClasses, progress: Progress
) -> _Masked:
    """The images of a split that can be decoded, each with its mask where that can be used."""
    pool = open_pool(workspace, images_part(Path(root), split), progress=progress)
    if listing is not None:
        there = {*listing.images, *(one.uri for one in listing.quarantined)}
        pool = pool.take(np.isin(pool.uris, sorted(there)))
    pool, sizes = sized(pool.without_labels(), progress=progress)
    found: list[Truth | Quarantined | None] = [None] * len(pool)
    if listing is not None:
        reader = _Reader(workspace, dict(zip(listing.images, listing.masks, strict=True)), classes)
        progress.start("reading masks", len(pool))
        images = list(zip([sample.uris for sample in pool], sizes.tolist(), strict=True))
        for row, one in enumerate(worked_through(lambda image: reader(*image), images, name="masks")):
            found[row] = one
            progress.advance(1)
        progress.done()
    broken = tuple(one for one in found if isinstance(one, Quarantined))
    truth = [None if isinstance(one, Quarantined) else one for one in found]
    return _Masked(pool=pool, sizes=sizes, truth=truth, broken=(*pool.quarantined, *broken))


@dataclass(frozen=True, slots=True)
class _Reader:
    """Looks at the masks of one sample."""

    workspace: Workspace
    masks: dict[str, MaskReference]
    """By the path of the image."""
    classes: MaskClasses

    def __call__(self, uris: Sequence[str], size: tuple[int, int]) -> Truth | Quarantined | None:
        """The mask of an image with several addresses, or why it has none; None where none lies there."""
        own = [self.masks[uri] for uri in uris if uri in self.masks]
        try:
            found = {one.digest: one for one in [self._truth(mask, size) for mask in own]}
        except DataError as error:
            return Quarantined(uri=uris[0], reason=str(error))
        if len(found) > 1:
            return Quarantined(uri=uris[0], reason=f"equal bytes, different masks: {', '.join(uris)}")
        return next(iter(found.values()), None)

    def _truth(self, mask: MaskReference, size: tuple[int, int]) -> Truth:
        """Where a mask lies, and its digest; one that is drawn from annotations is kept as a file.

        Raises:
            DataError: it does not fit its image or the classes.
        """
        values, digest = mask.read(decode_mask)
        if reason := mask_complaint(values, *size, self.classes):
            raise DataError(reason)
        if mask.path:
            return Truth(mask.path, digest)
        data = png_of(values)
        return Truth(str(mask_path(self.workspace, keep_mask(self.workspace, data))), digest_bytes(data))


def _units(run: RunFile, images: _Masked, rows: npt.NDArray[np.intp]) -> int:
    """How many samples the images of some rows are: themselves, or their patches.

    Raises:
        UsageError: patches of images whose ids are numbers.
    """
    if run.unit == "image":
        return len(rows)
    if images.pool.ids.dtype.kind != "U":
        raise UsageError(f"unit: patch needs a folder of images, or ids that are text; those of {run.pool} are numbers")
    side = Dense(unit=run.unit, patch=run.patch).side
    return int(np.prod(-(-images.sizes[rows] // side), axis=1).sum())


def _broken(run: RunFile, images: _Masked) -> list[str]:
    """What to know of images that can't be used, or whose masks can't."""
    told = []
    if images.broken:
        what = "left out" if run.oracle == FOLDERS else "that can't be used, or whose masks can't"
        told.append(f"{len(images.broken)} images {what}: {_reasons(images)}")
    if images.missing and run.oracle == FOLDERS:
        told.append(f"{images.missing} images without a mask are left out")
    return told


def _broken_measures(other: _Masked | None) -> list[str]:
    """What to know of images of an evaluation set of its own that can't be used, or whose masks can't."""
    if other is None or not other.broken:
        return []
    return [f"evaluation: {len(other.broken)} images are not measured on: {_reasons(other)}"]


def _first(images: _Masked) -> str:
    return f": {_reasons(images)}" if images.broken else ""


def _reasons(images: _Masked) -> str:
    told = [f"{one.uri}: {one.reason}" for one in images.broken[:_SHOWN]]
    return "; ".join([*told, *(["..."] if len(images.broken) > _SHOWN else [])])


def _named(pool: Pool, rows: npt.NDArray[np.intp]) -> dict[str, Sequence[str]]:
    return {"id": pool.ids[rows].tolist(), "uri": pool.uris[rows].tolist()}
