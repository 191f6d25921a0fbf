"""Every store of records obeys every law."""

from __future__ import annotations

import pytest

from foresift.testing import RECORD_LAWS, MakeStore, check_records


@pytest.mark.parametrize("law", RECORD_LAWS)
def test_every_store_obeys_every_law(make_store: MakeStore, law: str) -> None:
    check_records(make_store, laws=[law])
