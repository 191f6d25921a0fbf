"""Pools as the workspace knows them: samples with ids and contents, by address."""

from __future__ import annotations

import threading
from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from foresift.app.pools import open_pool
from foresift.app.workspace import Workspace
from foresift.core.samples import Pool
from foresift.service.samples import Samples
from foresift.sources.labels import pool_addresses
from foresift.sources.read import printable

KEPT = 4
"""Pools that are held in memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A pool, and where its samples are in it."""

    pool: Pool
    rows: Mapping[str, int]
    """By address, those of equal bytes included."""
    broken: Mapping[str, str]
    """Why an address gives no image."""

    def place(self, sample: str) -> str | None:
        """The address of the sample of this id; O(log n)."""
        row = int(self.pool.rows_of([sample])[0])
        return None if row < 0 else str(self.pool.uris[row])

    def digests(self, places: Iterable[str]) -> npt.NDArray[np.str_]:
        """Contents of those addresses that give an image."""
        rows = [self.rows[place] for place in places if place in self.rows]
        return np.unique(self.pool.digests[rows])

    def reason(self, place: str) -> str:
        """Why an address gives no image; "" = it does."""
        return self.broken.get(printable(place), "")


class OpenedPools:
    """Each pool is opened once, and again when something was pushed to it or somebody looked at all of it."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._guard = threading.Lock()
        self._opening: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._opened: OrderedDict[str, tuple[str, Opened]] = OrderedDict()
        """By name, with the version that it was opened at."""

    def of(self, samples: Samples) -> Opened:
        """The samples with their ids; reads what nobody looked at yet.

        Raises:
            EmptyPoolError: not one image.
            UnreachableError: a host gives nothing at all.
        """
        with self._alone(samples.name):
            version = samples.version
            found = self._kept(samples.name, version)
            if found is None:
                pool = open_pool(self._workspace, samples.manifest)
                broken = {one.uri: one.reason for one in pool.quarantined}
                found = Opened(pool=pool, rows=dict(pool_addresses(pool)), broken=broken)
                self._keep(samples.name, version, found)
            return found

    def forget(self, name: str) -> None:
        """Its files were looked at afresh."""
        with self._alone(name), self._guard:
            self._opened.pop(name, None)

    def _alone(self, name: str) -> threading.Lock:
        """Held by whoever opens this pool; others go on meanwhile."""
        with self._guard:
            return self._opening[name]

    def _kept(self, name: str, version: str) -> Opened | None:
        with self._guard:
            at, opened = self._opened.get(name, ("", None))
            if opened is None or at != version:
                return None
            self._opened.move_to_end(name)
            return opened

    def _keep(self, name: str, version: str, opened: Opened) -> None:
        with self._guard:
            self._opened[name] = version, opened
            self._opened.move_to_end(name)
            while len(self._opened) > KEPT:
                self._opened.popitem(last=False)
