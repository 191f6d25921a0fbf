"""A plain list of addresses, such as standard input."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from foresift.core.digests import digest_bytes
from foresift.core.errors import DataError
from foresift.core.protocols import Arrivals, DigestMemory, Progress
from foresift.core.samples import Pool
from foresift.sources.identity import identify, list_files
from foresift.sources.read import absolute

STDIN = "stdin"


class UriListSource:
    """One address a line; blank lines and lines that start with ``#`` are skipped.

    Relative addresses start at the working directory. The content digest is the id. A pool from standard input is
    named after its addresses, in any order.
    """

    name: str

    def __init__(
        self,
        lines: Iterable[str],
        name: str = STDIN,
        *,
        progress: Progress | None = None,
        seen: Arrivals | None = None,
    ) -> None:
        self.name = name
        self._lines = tuple(lines)  # an open pipe can be read only once, a pool may be asked for twice
        self._progress = progress
        self._seen = seen

    def pool(self, digests: DigestMemory, *, need_digests: bool) -> Pool:
        """Every sample of the list.

        Raises:
            DataError: a line is an address of an unknown kind; names the line.
        """
        uris = self._addresses()
        listing = list_files(self._named(uris), uris)
        return identify(listing, digests, need_digests=need_digests, progress=self._progress, seen=self._seen)

    def _named(self, uris: list[str]) -> str:
        """What is remembered of one list by its name, such as an engine's verdict, must not stand for another's."""
        if self.name != STDIN:
            return self.name
        return f"{STDIN}-{digest_bytes(os.fsencode(chr(10).join(sorted(uris))))[:12]}"

    def _addresses(self) -> list[str]:
        base = str(Path.cwd())
        uris: list[str] = []
        for number, line in enumerate(self._lines, start=1):
            text = line.rstrip("\r\n")
            if not text.strip() or text.startswith("#"):
                continue
            try:
                uris.append(absolute(text, base=base))
            except DataError as error:
                raise DataError(f"{self.name}, line {number}: {error}") from None
        return uris
