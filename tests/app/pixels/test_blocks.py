"""Files worked through in blocks: each once, in order, and no more than a block ahead."""

from __future__ import annotations

import pytest

from foresift.app.pixels import blocks


def test_every_item_comes_once_in_order_and_no_more_than_a_block_is_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "BLOCK", 3)
    begun: list[int] = []

    def work(item: int) -> int:
        begun.append(item)
        return item * item

    found = blocks.worked_through(work, range(8), name="test")
    assert next(found) == 0
    assert len(begun) <= 3
    assert [0, *found] == [item * item for item in range(8)]
    assert sorted(begun) == list(range(8))
