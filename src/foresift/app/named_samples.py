"""Which sample of a pool version a person means: by id, the beginning of one, address or file name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from foresift.core.errors import UsageError
from foresift.core.regions import split_id
from foresift.core.samples import Quarantined
from foresift.stores.pools import Snapshot

_LEAST_CHARS = 6
"""Of the beginning of an id."""


def find_sample(snapshot: Snapshot, sample: str) -> int | Quarantined:
    """The row that ``sample`` names, or the quarantined file.

    The first of these that names anything decides: an id or address, the beginning of an id, a file name; of a
    region its image's file name and the rectangle, ``street.jpg#0,64,32,32``. Quotes that a CSV file puts around an id
    with commas are no part of it. O(n).

    Raises:
        UsageError: nothing of that name, or several.
    """
    name = sample.removeprefix('"').removesuffix('"')
    for way in (_by_id_or_address, _by_beginning, _by_file_name, _by_region):
        found = way(snapshot, name)
        if len(found) == 1:
            return found[0]
        if found:
            raise UsageError(
                f"the pool of this receipt has {len(found)} samples {sample!r}; "
                "give an id or uri from the selection file"
            )
    raise UsageError(
        f"the pool of this receipt has no usable sample {sample!r}; give an id or uri from the selection file"
    )


def _by_id_or_address(snapshot: Snapshot, sample: str) -> list[int | Quarantined]:
    address = str(Path(sample).absolute())
    rows = np.flatnonzero((snapshot.ids.astype(np.str_) == sample) | (snapshot.uris == address))
    return [*rows.tolist(), *_broken(snapshot, lambda uri: uri in (sample, address))]


def _by_beginning(snapshot: Snapshot, sample: str) -> list[int | Quarantined]:
    if len(sample) < _LEAST_CHARS:
        return []
    starts = np.char.startswith(snapshot.ids.astype(np.str_), sample)
    rows: list[int] = np.flatnonzero(starts).tolist()
    return [*rows]


def _by_file_name(snapshot: Snapshot, sample: str) -> list[int | Quarantined]:
    if not sample or "/" in sample:
        return []
    rows = np.flatnonzero(np.char.endswith(snapshot.uris, f"/{sample}"))
    return [*rows.tolist(), *_broken(snapshot, lambda uri: uri.endswith(f"/{sample}"))]


def _by_region(snapshot: Snapshot, sample: str) -> list[int | Quarantined]:
    image, region = split_id(sample)
    if region is None:
        return []
    places = np.char.endswith(snapshot.ids.astype(np.str_), f"#{region}")
    address = str(Path(image).absolute())
    named = (snapshot.uris == address) | np.char.endswith(snapshot.uris, f"/{image}")
    rows: list[int] = np.flatnonzero(places & named).tolist()
    return [*rows]


def _broken(snapshot: Snapshot, named: Callable[[str], bool]) -> list[Quarantined]:
    return [one for one in snapshot.quarantined if named(one.uri)]
