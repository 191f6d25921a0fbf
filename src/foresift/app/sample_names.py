"""Which sample of a pool an id or an address means, as far as possible without opening the pool."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from foresift.core.records import Records
from foresift.core.regions import split_id
from foresift.core.rounds import SampleId
from foresift.core.samples import Pool
from foresift.sources.labels import pool_addresses


class SampleNames:
    """Looks names up in the workspace's records, and in the pool itself where they hold none of its samples."""

    def __init__(self, records: Records, pool: str, *, open_pool: Callable[[], Pool]) -> None:
        """Take notes; nothing is read yet.

        Args:
            pool: its name.
            open_pool: opens it; called at most once, and only where it is needed.
        """
        self._records = records
        self._pool = pool
        self._open = open_pool
        self._opened: Pool | None = None
        self._remembered = bool(records.samples(pool, limit=1))

    def find(self, named: Sequence[tuple[str, str]]) -> list[SampleId | None]:
        """The sample of each (id as text, address): by id or, where that is empty, by address; None = unknown.

        The id of a region is known where its image is.
        """
        texts = {text for text, _ in named if text}
        ids = self._by_id(texts | {split_id(text)[0] for text in texts})
        uris = self._by_uri({uri for text, uri in named if not text})
        return [_of_id(text, ids) if text else uris.get(uri) for text, uri in named]

    def _by_id(self, texts: Iterable[str]) -> dict[str, SampleId]:
        texts = sorted(texts)
        if self._remembered:
            both: list[SampleId] = [*texts, *(int(text) for text in texts if _is_number(text))]
            return {str(one.id): one.id for one in self._records.samples(self._pool, ids=both)}
        pool = self._whole()
        texts = texts if pool.ids.dtype.kind == "U" else [text for text in texts if _is_number(text)]
        rows = pool.rows_of(np.array(texts, dtype=np.str_))
        return {text: pool.ids[row].item() for text, row in zip(texts, rows.tolist(), strict=True) if row >= 0}

    def _by_uri(self, uris: set[str]) -> dict[str, SampleId]:
        if not uris:
            return {}
        if self._remembered:
            return {one.uri: one.id for one in self._records.samples(self._pool, uris=uris)}
        pool = self._whole()
        return {uri: pool.ids[row].item() for uri, row in pool_addresses(pool) if uri in uris}

    def _whole(self) -> Pool:
        if self._opened is None:
            self._opened = self._open()
        return self._opened


def _of_id(text: str, ids: dict[str, SampleId]) -> SampleId | None:
    image, region = split_id(text)
    return ids.get(text, text if region is not None and image in ids else None)


def _is_number(text: str) -> bool:
    return text.removeprefix("-").isdecimal() and str(int(text)) == text
