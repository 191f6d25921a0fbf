from __future__ import annotations

import pytest

from foresift.scores import SCORES, describe
from foresift.testing import SCORE_LAWS, check_score


@pytest.mark.parametrize("law", SCORE_LAWS)
@pytest.mark.parametrize("name", SCORES.names())
def test_every_score_obeys_every_law(name: str, law: str) -> None:
    check_score(name, laws=[law])


def test_every_score_is_described_and_cited() -> None:
    rows = describe()
    assert [row.name for row in rows] == SCORES.names()
    assert all(row.summary and row.cite and row.needs for row in rows)
