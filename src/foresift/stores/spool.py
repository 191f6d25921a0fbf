"""The spool of a device: hits wait in ``outbox`` until they are fetched or forwarded, candidates in ``held``.

A hit is two files, the frame and, written last, its receipt: a frame without a receipt is not yet there.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from foresift.core.digests import digest_bytes
from foresift.core.errors import DataError, StoreError
from foresift.core.hits import Hit
from foresift.stores.files import disk_errors, read_json, write_atomically, write_json

OUTBOX, HELD, STATE = "outbox", "held", "state.json"


@dataclass(frozen=True, slots=True)
class Spool:
    """One device's folder; one process at a time writes to it."""

    folder: Path

    def state(self) -> dict[str, Any]:
        """What the device last knew of itself; empty at first.

        Raises:
            StoreError: unreadable.
        """
        path = self.folder / STATE
        plain = read_json(path) if path.is_file() else {}
        if not isinstance(plain, dict):
            raise StoreError(f"{path} is not the state of a device; remove it to begin again")
        return plain

    def remember(self, state: dict[str, Any]) -> None:
        """Write the state, whole or not at all."""
        write_json(self.folder / STATE, state)

    def send(self, hit: Hit, data: bytes) -> None:
        """Put a hit into the outbox: the frame first, then the receipt that makes it one."""
        box = self.folder / OUTBOX
        _write(box / f"{hit.name}{hit.suffix}", data)
        write_json(box / f"{hit.name}.json", hit.to_dict())

    def waiting(self) -> list[Path]:
        """Receipts in the outbox, oldest first."""
        return receipts_in(self.folder / OUTBOX)

    def hits(self) -> tuple[list[Hit], list[str]]:
        """What waits in the outbox, oldest first, and a line for each receipt there that is of no use."""
        usable, reasons = [], []
        for receipt in self.waiting():
            try:
                usable.append(_sendable(receipt))
            except DataError as error:
                reasons.append(f"{receipt}: {error}")
        return usable, reasons

    def last_number(self, device: str, day: str) -> int:
        """Of a day's hits in the outbox, 0 without one; by their names, so that no receipt is written over."""
        start = f"{device}_{day}_"
        ends = [path.stem.removeprefix(start) for path in self.waiting() if path.stem.startswith(start)]
        return max((int(end) for end in ends if end.isdecimal()), default=0)

    def hold(self, name: str, data: bytes) -> None:
        """Keep a candidate's bytes; lost at a crash they are not missed, so nothing waits for the disk."""
        path = self.folder / HELD / name
        with disk_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)

    def held(self, name: str, digest: str) -> bytes | None:
        """A candidate's bytes; None if they are gone or torn."""
        path = self.folder / HELD / name
        if not path.is_file():
            return None
        with disk_errors(path):
            data = path.read_bytes()
        return data if digest_bytes(data) == digest else None

    def release(self, names: Iterable[str]) -> None:
        """Let go of candidates."""
        for name in names:
            (self.folder / HELD / name).unlink(missing_ok=True)

    def release_others(self, names: Iterable[str]) -> None:
        """Let go of every candidate but these."""
        kept = set(names)
        if (self.folder / HELD).is_dir():
            self.release(path.name for path in (self.folder / HELD).iterdir() if path.name not in kept)

    def forward(self, target: Path) -> int:
        """Move the outbox to a folder that may be absent, such as a share that is not always mounted; how many moved.

        A hit is removed here only when it lies there whole; one that was moved half is moved again. A receipt that is
        of no use stays, see :meth:`hits`.
        """
        if not target.is_dir():
            return 0
        moved = 0
        for receipt in self.waiting():
            try:
                frame = _frame_of(receipt, _sendable(receipt))
            except DataError:
                continue
            for file in (frame, receipt):
                write_atomically(target / file.name, partial(shutil.copyfile, file))
            receipt.unlink()
            frame.unlink(missing_ok=True)
            moved += 1
        return moved


def receipts_in(folder: Path) -> list[Path]:
    """Receipts in one folder, by name."""
    return sorted(path for path in folder.glob("*.json") if not path.name.startswith(".") and path.name != STATE)


def arrived(folder: Path) -> Iterator[Path]:
    """Receipts in a folder that devices upload to, or in spools below it."""
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; expected a spool, or a folder that devices upload to")
    for path in sorted(folder.rglob("*.json")):
        if not path.name.startswith(".") and path.name != STATE and path.parent.name != HELD:
            yield path


def read_hit(receipt: Path) -> Hit:
    """The receipt of a hit.

    Raises:
        DataError: torn, changed, or something else.
    """
    try:
        return Hit.from_dict(read_json(receipt))
    except StoreError as error:
        raise DataError(str(error)) from None


def read_frame(receipt: Path, hit: Hit) -> bytes:
    """The bytes of a hit's frame, as they were sent.

    Raises:
        DataError: missing, truncated or changed; says which.
    """
    frame = _frame_of(receipt, hit)
    if not frame.is_file():
        raise DataError("its frame is missing")
    with disk_errors(frame):
        data = frame.read_bytes()
    if len(data) < hit.size_bytes:
        raise DataError(f"truncated: {len(data):,} of {hit.size_bytes:,} bytes of its frame arrived")
    if len(data) != hit.size_bytes or digest_bytes(data) != hit.digest:
        raise DataError("its frame holds other bytes than the device sent")
    return data


def _sendable(receipt: Path) -> Hit:
    """The receipt of a hit whose frame is there."""
    hit = read_hit(receipt)
    if not _frame_of(receipt, hit).is_file():
        raise DataError("its frame is missing")
    return hit


def _frame_of(receipt: Path, hit: Hit) -> Path:
    return receipt.with_name(f"{hit.name}{hit.suffix}")


def _write(path: Path, data: bytes) -> None:
    write_atomically(path, lambda target: _fill(target, data))


def _fill(path: Path, data: bytes) -> None:
    path.write_bytes(data)
