from pathlib import Path

from foresift.core.labels import CANNOT_TELL
from foresift.oracles.truth import Truth
from oracle_desks import desk, inquiry


def test_the_pool_answers_at_once_and_says_where_it_knows_nothing(tmp_path: Path) -> None:
    found = Truth(desk=desk(tmp_path)).collect(inquiry())
    assert {one.sample_id: one.value for one in found.labels} == {"a": "cat", "b": "dog", "c": CANNOT_TELL}
    assert {one.round for one in found.labels} == {1}


def test_each_round_is_answered_once_and_the_same_each_time(tmp_path: Path) -> None:
    truth = Truth(desk=desk(tmp_path))
    first = truth.collect(inquiry("ab"))
    assert truth.collect(inquiry("ab"), since=first.cursor).labels == ()
    assert [one.sample_id for one in truth.collect(inquiry("c", number=2), since=first.cursor).labels] == ["c"]
    assert [one.id for one in truth.collect(inquiry("ab")).labels] == [one.id for one in first.labels]


def test_waiting_for_the_truth_is_no_use(tmp_path: Path) -> None:
    assert not Truth(desk=desk(tmp_path)).can_answer(inquiry())
