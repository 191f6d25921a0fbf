"""What a segmentation model learned from, sample by sample: images, or regions of them, by the ids of their choice."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from foresift.app.pixels.images import UsableImages
from foresift.core.errors import DataError
from foresift.core.regions import region_id
from foresift.core.samples import Pool
from foresift.sources.labels import read_labels
from foresift.sources.read import absolute, local_path
from foresift.sources.tables import read_table
from foresift.stores.files import disk_errors
from foresift.stores.tables import write_rows

RECEIPTS_FILE = "receipts.csv"
"""In a root of ``images/`` and ``masks/``: which selection every mask was drawn for."""
_COLUMNS = ("id", "uri", "receipt")
_HEADER_CHARACTERS = 4096

Units = Mapping[str, Sequence[str]]
"""Ids of what was chosen, by the path of its image: the image itself, or regions of it."""


def learned_from(images: UsableImages, units: Units | None = None) -> Pool:
    """The pool of what is labeled: whole images, or the labeled regions of them; a label is the digest of its mask.

    Args:
        units: images that it does not name have the id of their content.
    """
    rows: dict[str, tuple[str, str, str]] = {}
    for uri, (content, mask) in zip(images.images, images.digests, strict=True):
        regions = () if images.regions is None else images.regions[uri]
        own = (units or {}).get(uri) or [region_id(content, one) for one in regions] or [content]
        rows |= dict.fromkeys(own, (uri, content, mask))
    uris, digests, labels = zip(*rows.values(), strict=True)
    return Pool.from_columns(images.name, list(rows), uris=uris, digests=digests, labels=labels)


def receipts_beside(root: str | Path) -> Path | None:
    """The file that says of a root which selection every mask was drawn for; None without one, or where it is another.

    Raises:
        StoreError: it can't be opened.
    """
    path = Path(local_path(str(root))) / RECEIPTS_FILE
    return path if path.is_file() and _says_receipts(path) else None


def refuse_other_receipts(root: Path) -> None:
    """Raise :class:`DataError` where another file has the name of the one that :func:`keep_receipts` writes."""
    path = root / RECEIPTS_FILE
    if path.is_file() and not _says_receipts(path):
        raise DataError(f"{path} has not the columns {', '.join(_COLUMNS)}; rename it, or choose a new --out")


def _says_receipts(path: Path) -> bool:
    """Whether the header of a file of that name is the one that is written; data sets may have such a file, too."""
    with disk_errors(path), path.open(encoding="utf-8-sig", errors="replace") as file:
        header = file.readline(_HEADER_CHARACTERS)
    return {cell.strip(' \t\r\n"') for cell in re.split("[,;]", header)} >= set(_COLUMNS)


def units_of(receipts: Path) -> Units:
    """What of each image was chosen, as the file beside the masks says.

    Raises:
        DataError: not such a file.
    """
    table = read_labels(receipts)
    found: dict[str, list[str]] = defaultdict(list)
    for sample, uri in zip(table.ids, table.uris, strict=True):
        if sample and uri:
            found[uri].append(sample)
    return found


def keep_receipts(root: Path, picks: Mapping[str, str], receipt: str) -> None:
    """Add to a root which selection its masks were drawn for; who was drawn for anew has the new receipt.

    Args:
        picks: the path of the image below ``root``, by the id of what was chosen.
        receipt: "" = unknown.
    Raises:
        DataError: the file there is no such file.
    """
    refuse_other_receipts(root)
    path = root / RECEIPTS_FILE
    rows: dict[str, dict[str, Any]] = {}
    if path.is_file():
        table = read_table(absolute(str(path), base="."), wanted=_COLUMNS)
        columns = [table.texts(name) or [""] * len(table) for name in _COLUMNS]
        rows = {one[0]: dict(zip(_COLUMNS, one, strict=True)) for one in zip(*columns, strict=True)}
    rows |= {sample: {"id": sample, "uri": uri, "receipt": receipt} for sample, uri in picks.items()}
    write_rows(path, [rows[sample] for sample in sorted(rows)], _COLUMNS)
