"""What is known of a few digests, among very many that are stored."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from foresift.app.passes.kept import _among

WORDS = st.lists(st.text("abc", max_size=3), max_size=12)


@given(asked=WORDS, stored=WORDS)
def test_whether_each_is_stored_is_what_numpy_says(asked: list[str], stored: list[str]) -> None:
    digests, ascending = np.array(asked, dtype="<U40"), np.unique(np.array(stored, dtype="<U40"))
    np.testing.assert_array_equal(_among(digests, ascending), np.isin(digests, ascending))
