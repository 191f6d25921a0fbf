from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foresift.core.errors import UsageError
from foresift.service.pages import by_name, by_position
from foresift.wire.messages import PageRequest


@given(count=st.integers(0, 30), limit=st.integers(1, 10))
def test_pages_put_together_are_the_list(count: int, limit: int) -> None:
    rows = [f"{number:02d}" for number in range(count)]
    for page in (by_position, lambda rows, asked: by_name(rows, asked, str)):
        found: list[str] = []
        after = None
        while True:
            part, after = page(rows, PageRequest(limit=limit, after=after))
            assert len(part) <= limit
            found += part
            if after is None:
                break
        assert found == rows


def test_a_page_after_a_name_that_is_gone_goes_on_after_it() -> None:
    assert by_name(["a", "c"], PageRequest(after="b"), str) == (["c"], None)


@pytest.mark.parametrize("after", ["x", "-1", "١", "9" * 40, "1.0"])
def test_what_was_never_a_next_is_told(after: str) -> None:
    with pytest.raises(UsageError, match="after"):
        by_position([1], PageRequest(after=after))
