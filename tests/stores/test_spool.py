"""The spool: what can't be read in the outbox is stepped over, told, and never lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from foresift.stores.spool import OUTBOX, Spool
from receipts import hit


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    """Three hits, the second with a torn receipt."""
    made = Spool(tmp_path / "spool")
    for number in (1, 2, 3):
        data = b"frame %d" % number
        made.send(hit(data, number=number), data)
    torn = made.waiting()[1]
    torn.write_text(torn.read_text()[:-9])
    return made


def test_a_torn_receipt_is_told_beside_the_hits_that_are_whole(spool: Spool) -> None:
    hits, reasons = spool.hits()
    assert [one.number for one in hits] == [1, 3]
    (reason,) = reasons
    assert reason.startswith(str(spool.waiting()[1]))
    assert "not JSON" in reason


def test_forwarding_leaves_what_is_of_no_use_where_it_is(spool: Spool, tmp_path: Path) -> None:
    target = tmp_path / "share"
    target.mkdir()
    (spool.folder / OUTBOX / "cam-1_day-1_000003.png").unlink()
    left = sorted(path for path in (spool.folder / OUTBOX).iterdir() if "000001" not in path.name)
    before = [path.read_bytes() for path in left]
    assert spool.forward(target) == 1
    assert sorted(path.name for path in target.iterdir()) == ["cam-1_day-1_000001.json", "cam-1_day-1_000001.png"]
    assert sorted((spool.folder / OUTBOX).iterdir()) == left
    assert [path.read_bytes() for path in left] == before


def test_the_last_number_counts_receipts_that_cannot_be_read(spool: Spool) -> None:
    for path in spool.waiting():
        path.write_text("")
    assert spool.last_number("cam-1", "day-1") == 3
    assert spool.last_number("cam-1", "day-2") == spool.last_number("cam", "1_day-1") == 0
