"""Empty stores of each kind."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

from foresift.stores.records.memory import MemoryRecords
from foresift.stores.records.opening import open_records
from foresift.testing import MakeStore, StoreCase

_COUNT = count()


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def make_store(request: pytest.FixtureRequest, tmp_path: Path) -> MakeStore:
    """Makes an empty store of a kind, with two handles."""
    makers: dict[str, Callable[[], StoreCase]] = {
        "memory": _in_memory,
        "sqlite": lambda: _opened_twice(tmp_path / str(next(_COUNT)), ""),
        "postgres": lambda: _opened_twice(tmp_path, request.getfixturevalue("postgres").new_database()),
    }
    return makers[request.param]


def _in_memory() -> StoreCase:
    store = MemoryRecords()
    return StoreCase(first=store, second=store)


def _opened_twice(home: Path, url: str) -> StoreCase:
    return StoreCase(first=open_records(home, url), second=open_records(home, url))
