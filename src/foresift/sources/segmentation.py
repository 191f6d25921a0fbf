"""Images with class masks: which mask belongs to which image, in the layouts that public sets come in."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import Protocol

from foresift.core.digests import digest_bytes
from foresift.core.errors import DataError, EmptyPoolError, MissingPathError, UnknownNameError, UsageError
from foresift.core.masks import MaskClasses, MaskValues
from foresift.core.samples import Quarantined
from foresift.sources.folder import FolderSource
from foresift.sources.identity import Listing
from foresift.sources.read import fetch, local_path

CLASSES_FILE = "classes.json"
"""In a root of ``images/`` and ``masks/``: what the values in the masks mean."""

DecodeMask = Callable[[bytes], MaskValues]
"""Bytes of a mask file -> (h, w) values; decoding is the caller's to bring."""


class MaskReference(Protocol):
    """Where the mask of one image comes from."""

    @property
    def path(self) -> str:
        """The file that holds it and nothing else; "" where it is drawn from something else."""
        ...

    def read(self, decode: DecodeMask) -> tuple[MaskValues, str]:
        """(h, w) values, and a digest of what they were made from.

        Raises:
            DataError: there is no usable mask; the text is the reason.
        """
        ...


@dataclass(frozen=True, slots=True)
class MaskFile:
    """A mask that lies in a file of its own."""

    path: str

    def read(self, decode: DecodeMask) -> tuple[MaskValues, str]:
        """The values in the file, and the digest of its bytes."""
        data = fetch(self.path)
        try:
            return decode(data), digest_bytes(data)
        except DataError as error:
            raise DataError(f"mask {self.path}: {error}") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskedListing:
    """n images and their masks, in ascending order of path; no file has been opened for its pixels."""

    name: str
    """Canonical address of the root, with the split."""
    images: tuple[str, ...]
    """n absolute plain paths."""
    masks: tuple[MaskReference, ...]
    """n"""
    classes: MaskClasses | None = None
    """What the values mean, where the layout says so."""
    quarantined: tuple[Quarantined, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """One way in which image sets are laid out."""

    name: str
    marks: Callable[[Path], bool]
    """Whether a root looks like it."""
    read: Callable[[Path, str], MaskedListing]
    """(root, split or "") -> the listing."""
    looks: str
    """What a root of this layout holds, for the error that names all of them."""
    images: str = ""
    """The folder below the root that holds its images, beside one that holds masks; "" = masks are no image files."""
    annotations: str = ""
    """The folder of its masks, where other sets keep boxes under the same name: it holds masks if a PNG lies there."""

    def holds_masks(self, root: Path) -> bool:
        """Whether a root looks like it and has masks."""
        return self.marks(root) and (not self.annotations or any((root / self.annotations).rglob("*.png")))


def masked_images(root: str | Path, split: str = "", *, layout: str = "auto") -> MaskedListing:
    """The images of a root, or of one of its splits, with their masks. O(files) stats; reads lists, no images.

    An image without a mask is quarantined.

    Args:
        split: such as ``train``; "" = everything, which a root with several splits refuses.
        layout: ``auto``, or a name in :func:`layouts`.
    Raises:
        MissingPathError: no such folder, or no such split in it.
        DataError: no layout that is known; says what to give.
        EmptyPoolError: not a single image.
    """
    folder = Path(local_path(str(root))).absolute()
    if not folder.is_dir():
        raise MissingPathError(f"{folder}: no such folder; expected one of images and masks ({_expected()})")
    listing = _layout_of(folder, layout).read(folder, split)
    if not listing.images and not listing.quarantined:
        raise EmptyPoolError(f"{listing.name}: holds no image with a mask")
    return listing


def images_beside_masks(root: Path) -> Path | None:
    """The folder of the images alone of a root that holds masks too; None where no mask could be taken for an image.

    Raises:
        UsageError: the images lie in several splits, of which not all may be meant.
    """
    if not root.is_dir():
        return None
    layout = next((one for one in layouts() if one.images and one.marks(root)), None)
    if layout is None:
        return None
    folder = root / layout.images
    splits = _splits(folder)
    if len(splits) > 1:
        given = ", ".join(str(folder / split) for split in splits)
        raise UsageError(f"{root} holds images with masks in {len(splits)} splits; give one of {given}")
    return folder


def holds_masks(root: Path) -> bool:
    """Whether a folder is laid out as one of images with masks, and holds some."""
    return root.is_dir() and any(layout.holds_masks(root) for layout in layouts())


def images_part(root: Path, split: str) -> Path:
    """The folder that holds the images of a split and no masks; ``root`` itself where it holds no mask files.

    Where a split is no folder but a list of names, the images of other splits lie there too.
    """
    layout = next((one for one in layouts() if one.images and one.marks(root)), None)
    if layout is None:
        return root
    folder = root / layout.images
    return folder / split if split and (folder / split).is_dir() else folder


def layouts() -> tuple[Layout, ...]:
    """Every layout, the more particular ones first."""
    from foresift.sources.coco import COCO
    from foresift.sources.segmentation_sets import ADE20K, CITYSCAPES, VOC

    return (CITYSCAPES, VOC, ADE20K, COCO, PAIRS)


def paired(
    name: str,
    images: Sequence[str],
    mask_of: Callable[[str], str],
    *,
    classes: MaskClasses | None = None,
    broken: Sequence[Quarantined] = (),
) -> MaskedListing:
    """The listing of images whose masks lie at known places; those without a mask are quarantined.

    Args:
        mask_of: path of an image -> path of its mask, "" if there is none.
        broken: files that were seen to be no images.
    """
    found = {image: mask_of(image) for image in sorted(images)}
    there = {image: mask for image, mask in found.items() if mask and Path(mask).is_file()}
    missing = [
        Quarantined(uri=image, reason=f"no mask{f' at {mask}' if mask else ' of the same name'}")
        for image, mask in found.items()
        if image not in there
    ]
    return MaskedListing(
        name=name,
        images=tuple(there),
        masks=tuple(map(MaskFile, there.values())),
        classes=classes,
        quarantined=(*broken, *missing),
    )


def part_of(folder: Path, split: str) -> Path:
    """The folder of a split, or ``folder`` itself where there are none.

    Raises:
        MissingPathError: no such split, or several and none was chosen.
    """
    splits = _splits(folder)
    if split:
        if split not in splits:
            raise MissingPathError(f"{folder} has no split {split!r} (has: {', '.join(splits) or 'none'})")
        return folder / split
    loose = any(child.is_file() and not child.name.startswith(".") for child in folder.iterdir())
    if splits and not loose:
        raise MissingPathError(f"{folder} has the splits {', '.join(splits)}; choose one with --split")
    return folder


def _splits(folder: Path) -> list[str]:
    return sorted(child.name for child in folder.iterdir() if child.is_dir() and not child.name.startswith("."))


def files_in(folder: Path) -> Listing:
    """The images below a folder, masks being images too; empty and forbidden files are quarantined."""
    return FolderSource(folder).listing()


def _layout_of(folder: Path, name: str) -> Layout:
    known = {layout.name: layout for layout in layouts()}
    if name != "auto":
        if name not in known:
            raise UnknownNameError("layout", name, ["auto", *known])
        if not known[name].marks(folder):
            raise MissingPathError(f"{folder} is not laid out as {name}: expected {known[name].looks}")
        return known[name]
    for layout in known.values():
        if layout.marks(folder):
            return layout
    raise DataError(f"{folder}: no images with masks; expected a root that holds {_expected()}")


def _expected() -> str:
    return "; or ".join(layout.looks for layout in layouts())


def _pairs(root: Path, split: str) -> MaskedListing:
    """``images/<split>/`` and ``masks/<split>/``, or both without splits; matched by path without the suffix."""
    image_part, mask_part = part_of(root / "images", split), root / "masks" / split
    if not mask_part.is_dir():
        raise MissingPathError(f"{mask_part}: no such folder; the masks of {image_part} belong there")
    images, drawn = files_in(image_part), files_in(mask_part)
    # A broken mask stays the mask of its image: reading it says what is wrong with it.
    paths = [*(one.uri for one in drawn.quarantined), *drawn.uris]
    masks = {_stem(path, mask_part): path for path in paths}
    listing = paired(
        str(image_part),
        images.uris,
        lambda image: masks.get(_stem(image, image_part), ""),
        classes=classes_beside(root),
        broken=images.quarantined,
    )
    if spare := len(masks) - len(listing.images):
        return replace(listing, notes=(f"{spare:,} masks in {mask_part} belong to no image",))
    return listing


def classes_beside(root: Path) -> MaskClasses | None:
    """What ``classes.json`` of a root says of the values in its masks; None without the file.

    Raises:
        DataError: not such a file.
    """
    path = root / CLASSES_FILE
    if not path.is_file():
        return None
    try:
        plain = json.loads(fetch(str(path)))
        parts = {name: tuple(plain[name]) for name in ("classes", "values", "ignored")}
        return MaskClasses(**parts)
    except (ValueError, TypeError, KeyError, UsageError) as error:
        raise DataError(f"{path}: expected the lists classes, values and ignored: {error}") from None


def _stem(path: str, folder: Path) -> str:
    return str(PurePath(path).relative_to(folder).with_suffix(""))


PAIRS = Layout(
    name="folders",
    marks=lambda root: (root / "images").is_dir() and (root / "masks").is_dir(),
    read=_pairs,
    looks="images/<split>/ and masks/<split>/",
    images="images",
)
