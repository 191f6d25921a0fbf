"""The samples of a served pool: addresses as they were given and as they are read, appended and never lost."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Sequence
from pathlib import Path

from foresift.core.errors import UsageError
from foresift.sources.addresses import link, public
from foresift.stores.files import disk_errors, write_atomically

_ALLOWED = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")


class Samples:
    """An append-only manifest: one line a sample, ``uri`` (where it is read) and ``given`` (what the client wrote)."""

    def __init__(self, folder: Path, name: str) -> None:
        if not name or name.startswith(".") or set(name) - _ALLOWED or len(name) > 100:
            raise UsageError(f"a pool's name is letters, digits, '-', '_' and '.', got {name[:60]!r}")
        self.name = name
        self.manifest = folder / f"{name}.jsonl"
        self._lock = threading.Lock()
        self._given: dict[str, str] = {}
        self._links: dict[str, str] = {}
        """Where samples are read, as far as that is not their name: a signed link holds more."""
        self._signings = 0
        self._read()

    @staticmethod
    def names(folder: Path) -> list[str]:
        """Pools that lie in a folder."""
        return sorted(file.stem for file in folder.glob("*.jsonl"))

    def __len__(self) -> int:
        return len(self._given)

    @property
    def version(self) -> str:
        """Changes with every sample that is added, and with links that were signed anew."""
        return f"{self.name}-{len(self._given)}" + (f"-{self._signings}" if self._signings else "")

    def has(self, place: str) -> bool:
        """Whether an address was pushed."""
        return place in self._given

    def given(self, place: str) -> str:
        """An address as the client wrote it."""
        return self._given.get(place, place)

    def all_given(self) -> list[str]:
        """Addresses as the client wrote them, in the order in which they came."""
        with self._lock:
            return list(self._given.values())

    def all_places(self) -> list[str]:
        """Where they are read, in the same order."""
        with self._lock:
            return list(self._given)

    def by_given(self) -> dict[str, str]:
        """Where each address is read, by how the client wrote it."""
        with self._lock:
            return {given: place for place, given in self._given.items()}

    def add(self, pairs: Sequence[tuple[str, str]]) -> int:
        """Append (read, given) addresses that are new; they are on the disk when this returns. How many are new.

        A link that was signed anew takes the place of the one before.
        """
        with self._lock:
            if any(link(place) != self._links.get(place, place) for place, _ in pairs if place in self._given):
                self._sign_anew(dict(pairs))
            new = {place: given for place, given in pairs if place not in self._given}
            if new:
                lines = "".join(self._line(place, given) for place, given in new.items())
                with disk_errors(self.manifest):
                    self.manifest.parent.mkdir(parents=True, exist_ok=True)
                    with self.manifest.open("a", encoding="utf-8") as file:
                        file.write(lines)
                        file.flush()
                        os.fsync(file.fileno())
                self._given |= new
            return len(new)

    def _line(self, place: str, given: str) -> str:
        whole = link(place)
        if whole != place:
            self._links[place] = whole
        return json.dumps({"uri": whole, "given": given}) + "\n"

    def _sign_anew(self, pairs: dict[str, str]) -> None:
        self._signings += 1
        self._given |= {place: given for place, given in pairs.items() if place in self._given}
        text = "".join(self._line(place, given) for place, given in self._given.items())
        write_atomically(self.manifest, lambda target: _write(target, text))

    def write_labels(self, file: Path, labels: Sequence[tuple[str | int, str]]) -> None:
        """A labels file: by ``uri`` where the sample is an address of this pool, else by ``id``."""
        by_uri = [{"uri": str(sample), "label": value} for sample, value in labels if str(sample) in self._given]
        by_id = [{"id": str(sample), "label": value} for sample, value in labels if str(sample) not in self._given]
        text = "".join(json.dumps(row) + "\n" for row in [*by_uri, *by_id])
        write_atomically(file, lambda target: _write(target, text))

    def _read(self) -> None:
        """Whole lines of the file; a line that a crash cut off is cut away."""
        if not self.manifest.exists():
            return
        with disk_errors(self.manifest):
            data = self.manifest.read_bytes()
            if data and not data.endswith(b"\n"):
                data = data[: data.rfind(b"\n") + 1]
                write_atomically(self.manifest, lambda target: _write(target, data.decode()))
        for line in data.decode().splitlines():
            row = json.loads(line)
            place = public(row["uri"])
            self._given[place] = row["given"]
            if place != row["uri"]:
                self._links[place] = row["uri"]


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
