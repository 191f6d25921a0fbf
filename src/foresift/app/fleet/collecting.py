"""``foresift fleet collect``: hits of devices become a pool of the workspace, each once, whole or not at all."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from foresift.app.workspace import Workspace
from foresift.core.errors import DataError, StoreError
from foresift.core.hits import Hit
from foresift.stores.files import disk_errors, locked, write_atomically, write_text
from foresift.stores.spool import arrived, read_frame, read_hit
from foresift.stores.tables import rows_to_csv

RECEIPTS, MANIFEST, FRAMES = "receipts.jsonl", "manifest.csv", "frames"
COLUMNS = ("uri", "id", "group", "day", "number", "score", "score_name", "generation", "receipt")


@dataclass(slots=True, kw_only=True)
class Collected:
    """What became of the hits in a folder."""

    taken: int = 0
    already: int = 0
    """Receipts that were taken in before: nothing is recorded twice."""
    refused: list[tuple[str, str]] = field(default_factory=list)
    """(receipt, reason)."""
    by_device: dict[str, int] = field(default_factory=dict)
    pools: list[str] = field(default_factory=list)
    """Manifests that the hits are in now."""


def collect(workspace: Workspace, folder: Path) -> Collected:
    """Take in every hit of a spool, or of a folder that devices upload to; may be repeated at any time.

    A hit is recorded when its frame lies in the workspace; killed in between, the same call goes on.
    Frames are stored once, by content. Nothing in ``folder`` is changed.

    Raises:
        DataError: no such folder.
        StoreError: the workspace can't be written, or its records are damaged.
    """
    done = Collected()
    with locked(workspace.home / "fleets" / "collect.lock"):
        pools: dict[str, _FleetPool] = {}
        for receipt in arrived(folder):
            try:
                hit = read_hit(receipt)
                pool = pools.setdefault(hit.fleet, _FleetPool(workspace.home / "fleets" / hit.fleet[:12]))
                if pool.holds(hit):
                    done.already += 1
                    continue
                pool.take(hit, read_frame(receipt, hit))
            except DataError as error:
                done.refused.append((str(receipt), str(error)))
                continue
            done.taken += 1
            done.by_device[hit.device] = done.by_device.get(hit.device, 0) + 1
        for pool in pools.values():
            pool.write()
        done.pools = [str(pool.manifest) for pool in pools.values() if pool.manifest.is_file()]
    return done


class _FleetPool:
    """What was taken in of one exported folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.manifest = folder / MANIFEST
        self._hits = _recorded(folder / RECEIPTS)
        self._known = {hit.id for hit in self._hits}
        self._places = {hit.place: hit for hit in self._hits}
        self._digests = {(hit.device, hit.digest): hit for hit in self._hits}
        self._changed = not self.manifest.is_file()

    def holds(self, hit: Hit) -> bool:
        """Whether this very receipt was taken in before."""
        return hit.id in self._known

    def take(self, hit: Hit, data: bytes) -> None:
        """Keep a frame, and its receipt for :meth:`write`.

        Raises:
            DataError: the device has sent another hit under that number, or this frame before.
        """
        if hit.place in self._places:
            raise DataError(f"replayed: {hit.device} has sent another frame as number {hit.number} of {hit.day}")
        if (before := self._digests.get((hit.device, hit.digest))) is not None:
            raise DataError(
                f"replayed: the same frame came from {hit.device} as number {before.number} of {before.day}"
            )
        path = self._frame(hit)
        if not path.is_file():
            write_atomically(path, partial(_fill, data=data))
        self._hits.append(hit)
        self._known.add(hit.id)
        self._places[hit.place] = self._digests[hit.device, hit.digest] = hit
        self._changed = True

    def write(self) -> None:
        """Record the receipts, then the manifest that follows from them."""
        if not self._changed or not self._hits:
            return
        ordered = sorted(self._hits, key=lambda hit: hit.place)
        write_text(self._folder / RECEIPTS, "".join(json.dumps(hit.to_dict()) + "\n" for hit in ordered))
        distinct = {hit.digest: hit for hit in reversed(ordered)}
        rows = [self._row(hit) for hit in sorted(distinct.values(), key=lambda hit: hit.place)]
        write_text(self.manifest, rows_to_csv(rows, COLUMNS))

    def _frame(self, hit: Hit) -> Path:
        return self._folder / FRAMES / hit.digest[:2] / f"{hit.digest}{hit.suffix}"

    def _row(self, hit: Hit) -> dict[str, object]:
        return {
            "uri": self._frame(hit).relative_to(self._folder),
            "id": hit.digest,
            "group": hit.device,
            "day": hit.day,
            "number": hit.number,
            "score": hit.score,
            "score_name": hit.score_name,
            "generation": hit.generation,
            "receipt": hit.id,
        }


def _recorded(path: Path) -> list[Hit]:
    if not path.is_file():
        return []
    with disk_errors(path):
        lines = path.read_text(encoding="utf-8").splitlines()
    try:
        return [Hit.from_dict(json.loads(line)) for line in lines]
    except (ValueError, DataError) as error:
        raise StoreError(f"{path}: a record of uploads is damaged ({error}); restore it") from None


def _fill(path: Path, data: bytes) -> None:
    path.write_bytes(data)
