"""The pools of a server by name, and where their samples may be read."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

from foresift.core.digests import digest_value
from foresift.service.allowed import Allowed
from foresift.service.pages import by_position
from foresift.service.samples import Samples
from foresift.service.uploads import SCHEME, Uploads
from foresift.wire.messages import PageRequest, SamplePage, SampleView

MOST_EMPTY = 1000
"""Pools without a sample that are kept in mind: anybody may ask for any name."""


class Pools:
    """Samples under names; may be asked by any thread."""

    def __init__(self, folder: Path, allowed: Allowed, uploads: Uploads) -> None:
        self._named, self._unnamed = folder / "pools", folder / "queries"
        self._allowed, self._uploads = allowed, uploads
        self._lock = threading.Lock()
        self._open: dict[str, Samples] = {}

    def names(self) -> list[str]:
        """Pools that hold samples."""
        return Samples.names(self._named)

    def get(self, name: str) -> Samples:
        """The samples of a pool; a new name is a new, empty pool, which is remembered once it holds something.

        Raises:
            UsageError: no name of a pool.
        """
        with self._lock:
            pool = self._open.get(name)
            if pool is not None:
                return pool
            pool = self._open[name] = Samples(self._named, name)
            empty = [other for other, one in self._open.items() if not len(one) and other != name]
            for other in empty[: max(0, len(empty) - MOST_EMPTY)]:
                del self._open[other]
            return pool

    def push(self, name: str, uris: Sequence[str]) -> int:
        """Add addresses to a pool; how many are new. Raises as :meth:`places`, and then nothing was added."""
        places = self.places(uris)
        return self.get(name).add(list(zip(places, uris, strict=True)))

    def among(self, uris: Sequence[str]) -> Samples:
        """A pool of its own for these addresses; the same ones are the same pool. Raises as :meth:`places`."""
        places = self.places(uris)
        pool = Samples(self._unnamed, digest_value(sorted(places))[:32])
        pool.add(list(zip(places, uris, strict=True)))
        return pool

    def places(self, uris: Sequence[str]) -> list[str]:
        """Where each address is read from; all or none.

        Raises:
            ForbiddenError: one of them may not be read.
            NotFoundError: one was never uploaded.
        """
        return [str(self._uploads.path(uri)) if uri.startswith(SCHEME) else self._allowed.place(uri) for uri in uris]

    def page(self, name: str, asked: PageRequest) -> SamplePage:
        """What was pushed to a pool, in order."""
        given, after = by_position(self.get(name).all_given(), asked)
        return SamplePage(items=[SampleView(uri=uri) for uri in given], next=after)
