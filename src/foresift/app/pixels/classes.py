"""Which classes a segmentation model tells apart, and which pixels are labeled."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePath

from foresift.app.pixels.images import Regions, values_present
from foresift.app.pixels.training_request import SegmentationRequest
from foresift.core.errors import DataError, LabelError, UsageError
from foresift.core.masks import MAX_CLASSES, MaskClasses
from foresift.core.regions import Region
from foresift.core.segmentation import SegmentationGeneration
from foresift.sources.read import fetch
from foresift.sources.segmentation import MaskedListing
from foresift.sources.tables import Table, read_table

_SIDES = ("left", "top", "width", "height")


def classes_asked_for(
    listing: MaskedListing, request: SegmentationRequest, *, held: SegmentationGeneration | None
) -> MaskClasses:
    """The classes of a request: those of the generation it starts from, as asked, as the layout says, as they occur.

    Raises:
        UsageError: options that contradict the generation or the layout.
        LabelError: fewer than two classes occur.
    """
    if held is not None:
        return _of_parent(held.mask_classes, listing.classes, request)
    if not request.classes and listing.classes is not None:
        return _as_laid_out(listing.classes, request.ignore_index)
    ignored = request.ignore_index or ()
    if not request.classes:
        return MaskClasses.present(values_present(listing, progress=request.progress), ignored=ignored)
    return MaskClasses.numbered(class_list(request.classes), ignored=ignored)


def refuse_other_classes(there: MaskClasses | None, known: MaskClasses, model: str) -> None:
    """A value that both the data and a model give a name must stand for the same class.

    Raises:
        LabelError: names the value and both classes.
    """
    if there is None:
        return
    named = dict(zip(known.values, known.classes, strict=True))
    for value, name in zip(there.values, there.classes, strict=True):
        if named.get(value, name) != name:
            raise LabelError(f"the value {value} is {name!r} in the data, and {named[value]!r} to {model}")


def _of_parent(known: MaskClasses, there: MaskClasses | None, request: SegmentationRequest) -> MaskClasses:
    """The classes of a parent; values that mean nothing to it may be ignored beside its own."""
    if request.classes or (request.ignore_index == () and known.ignored):
        raise UsageError(f"{request.model} brings its classes and what it ignores; leave these options out")
    refuse_other_classes(there, known, request.model)
    asked = request.ignore_index or ()
    if taken := [value for value in asked if value in known.values]:
        name = known.classes[known.values.index(taken[0])]
        raise UsageError(f"--ignore-index {taken[0]} is the class {name!r} of {request.model}")
    laid_out = () if there is None else (value for value in there.ignored if value not in known.values)
    return replace(known, ignored=tuple(sorted({*known.ignored, *asked, *laid_out})))


def labeled_regions(path: Path, images: Sequence[str]) -> Regions:
    """What is labeled, by a table with ``uri`` and, for parts of images, ``left``, ``top``, ``width`` and ``height``.

    Images are named by their path, by an end of it, or by the file's name with or without its suffix.
    A row without numbers labels the whole image; an image that no row names is not used.

    Raises:
        DataError, UsageError: not such a file, or a row that names no image, or several.
    """
    table = read_table(str(path), wanted=("uri", *_SIDES))
    uris = table.texts("uri")
    if uris is None:
        raise DataError(f"{path}: no column uri (has: {', '.join(table.headers)})")
    by_end = _by_end(images)
    regions: dict[str, list[Region]] = defaultdict(list)
    whole: set[str] = set()
    for row, uri in enumerate(uris):
        found = by_end.get(uri, [])
        if len(found) != 1:
            raise UsageError(f"{table.place(row)}: {uri!r} names {'no image' if not found else 'several images'}")
        region = _region(table, row)
        if region is None:
            whole.add(found[0])
        regions[found[0]] += [region] if region is not None else []
    if not regions:
        raise LabelError(f"{path}: not a single row")
    return {uri: () if uri in whole else tuple(of) for uri, of in regions.items()}


def _region(table: Table, row: int) -> Region | None:
    """The rectangle of a row, None without numbers."""
    sides = [(table.texts(name) or [""] * len(table))[row] for name in _SIDES]
    if not any(sides):
        return None
    try:
        return Region(*map(int, sides))
    except ValueError:
        raise DataError(f"{table.place(row)}: expected {', '.join(_SIDES)} in pixels, got {', '.join(sides)}") from None


def _by_end(images: Sequence[str]) -> dict[str, list[str]]:
    """Images by every name that may stand for one."""
    named: dict[str, list[str]] = defaultdict(list)
    for image in images:
        parts = PurePath(image).parts
        ends = {"/".join(parts[start:]) for start in range(1, len(parts))} | {image, PurePath(image).stem}
        for end in ends:
            named[end].append(image)
    return named


def class_list(text: str) -> list[str]:
    """The class names of ``--classes``: a file with one a line, a number of classes, or names with commas.

    Raises:
        UsageError: nothing of the kind.
    """
    if text.isdecimal():
        return [str(code) for code in range(min(int(text), MAX_CLASSES + 1))]
    if Path(text).is_file():
        try:
            lines = fetch(text).decode("utf-8-sig").splitlines()
        except UnicodeDecodeError:
            raise DataError(f"--classes {text}: not a text file with one class name a line") from None
        return [line.strip() for line in lines if line.strip()]
    if "," not in text:
        raise UsageError(f"--classes {text}: no such file; expected a file of names, a number, or names with commas")
    return [name.strip() for name in text.split(",") if name.strip()]


def _as_laid_out(classes: MaskClasses, ignored: tuple[int, ...] | None) -> MaskClasses:
    """The classes of a layout, without those that are to be ignored beside."""
    if ignored is None:
        return classes
    kept = [(name, value) for name, value in zip(classes.classes, classes.values, strict=True) if value not in ignored]
    return MaskClasses(
        classes=tuple(name for name, _ in kept),
        values=tuple(value for _, value in kept),
        ignored=tuple(sorted({*classes.ignored, *ignored})),
    )
