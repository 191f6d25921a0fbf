"""Pool versions on disk, so that a receipt can be replayed after the folder has changed."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from foresift.core.arrays import Ids, as_ids
from foresift.core.digests import digest_array, digest_ids, digest_value
from foresift.core.errors import StoreError
from foresift.core.samples import Quarantined
from foresift.stores.files import disk_errors, write_atomically

_QUARANTINED = b"foresift.quarantined"


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The samples that one selection saw, in ascending order of id."""

    ids: Ids
    """(n,)"""
    digests: npt.NDArray[np.str_]
    """(n,) content digests; empty where none was needed."""
    uris: npt.NDArray[np.str_]
    labeled: npt.NDArray[np.bool_]
    """(n,) which of them were labeled already."""
    quarantined: tuple[Quarantined, ...] = ()
    """The pool's broken files, which could not be chosen."""
    codes: npt.NDArray[np.int64] | None = None
    """(n,) class codes: the label of a labeled sample, the truth of a candidate, -1 where nobody read it."""
    groups: npt.NDArray[np.str_] | None = None
    """(n,) group of each, where groups were read."""
    refused: npt.NDArray[np.bool_] | None = None
    """(n,) which of them were found in a validation set, where one was given."""

    @property
    def key(self) -> str:
        """Content digest of everything but the samples' addresses."""
        always = [digest_ids(self.ids), digest_ids(self.digests), digest_array(self.labeled)]
        sometimes = {
            "codes": None if self.codes is None else digest_array(self.codes),
            "groups": None if self.groups is None else digest_ids(self.groups),
            "refused": None if self.refused is None else digest_array(self.refused),
        }
        given = {name: digest for name, digest in sometimes.items() if digest is not None}
        broken = [[_plain(self.quarantined)]] if self.quarantined else []
        return digest_value([*always, *broken, *([given] if given else [])])


def write_snapshot(folder: Path, snapshot: Snapshot) -> str:
    """Keep a snapshot under its key, unless it is there already; returns the key."""
    key = snapshot.key
    path = folder / f"{key}.parquet"
    if not path.is_file():
        table = pa.table(
            {
                "id": pa.array(snapshot.ids.tolist()),
                "digest": pa.array(snapshot.digests.tolist()),
                "uri": pa.array(snapshot.uris.tolist()),
                "labeled": pa.array(snapshot.labeled),
                **{name: pa.array(values) for name, values in _given(snapshot).items()},
            },
            metadata={_QUARANTINED: json.dumps(_plain(snapshot.quarantined))},
        )
        write_atomically(path, lambda target: pq.write_table(table, target, compression="zstd"))
    return key


def read_snapshot(folder: Path, key: str) -> Snapshot | None:
    """A snapshot by key, or None if it is not there.

    Raises:
        StoreError: the file is damaged.
    """
    path = folder / f"{key}.parquet"
    if not path.is_file():
        return None
    try:
        with disk_errors(path):
            table = pq.read_table(path)
    except pa.ArrowInvalid as error:
        raise StoreError(f"the pool version {path} is damaged: {str(error).splitlines()[0]}") from None
    return Snapshot(
        ids=as_ids(table["id"].to_pylist()),
        digests=np.asarray(table["digest"].to_pylist(), dtype=np.str_),
        uris=np.asarray(table["uri"].to_pylist(), dtype=np.str_),
        labeled=table["labeled"].to_numpy(),
        quarantined=tuple(
            Quarantined(**one) for one in json.loads((table.schema.metadata or {}).get(_QUARANTINED, "[]"))
        ),
        codes=table["codes"].to_numpy() if "codes" in table.column_names else None,
        groups=np.asarray(table["groups"].to_pylist(), dtype=np.str_) if "groups" in table.column_names else None,
        refused=table["refused"].to_numpy() if "refused" in table.column_names else None,
    )


def _given(snapshot: Snapshot) -> dict[str, npt.NDArray[Any]]:
    """The columns that not every snapshot has."""
    columns = {"codes": snapshot.codes, "groups": snapshot.groups, "refused": snapshot.refused}
    return {name: values for name, values in columns.items() if values is not None}


def _plain(quarantined: tuple[Quarantined, ...]) -> list[dict[str, str]]:
    return [{"uri": one.uri, "reason": one.reason} for one in quarantined]
