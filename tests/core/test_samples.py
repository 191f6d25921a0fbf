from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foresift.core.arrays import as_ids
from foresift.core.errors import DataError, LabelError
from foresift.core.samples import Conflict, Label, Pool, cast_ids, encode_labels

IDS = ["c", "a", "b"]


def pool(**more: Any) -> Pool:
    columns: dict[str, Any] = {"uris": ["3.png", "1.png", "2.png"], "labels": ["dog", None, "cat"], **more}
    return Pool.from_columns("p", IDS, **columns)


def test_rows_are_in_order_of_id() -> None:
    made = pool(groups=["g3", "g1", "g2"], other_uris={"c": ("3b.png",)}, digests=["d3", "d1", "d2"])
    assert made.ids.tolist() == ["a", "b", "c"]
    assert made.classes == ("cat", "dog")
    assert made.codes.tolist() == [-1, 0, 1]
    assert made.labeled.tolist() == [False, True, True]
    last = made[2]
    assert (last.id, last.digest, last.uris, last.label, last.group) == ("c", "d3", ("3.png", "3b.png"), "dog", "g3")
    assert [sample.label for sample in made] == [None, "cat", "dog"]


def test_the_order_of_rows_does_not_change_the_version() -> None:
    other = Pool.from_columns("q", IDS[::-1], uris=["2.png", "1.png", "3.png"], labels=["cat", None, "dog"])
    assert other.version == pool().version


@pytest.mark.parametrize(
    "change",
    [{"labels": ["dog", None, "dog"]}, {"uris": ["x.png", "1.png", "2.png"]}, {"digests": ["d", "", ""]}],
)
def test_what_is_in_a_pool_makes_its_version(change: dict[str, Any]) -> None:
    assert pool(**change).version != pool().version


def test_an_address_does_not_count_where_the_content_is_known() -> None:
    digests = ["d3", "d1", "d2"]
    assert pool(digests=digests).version == pool(digests=digests, uris=["moved", "1.png", "2.png"]).version


def test_ids_are_distinct_and_columns_equally_long() -> None:
    with pytest.raises(DataError, match="'a' stands for two"):
        Pool.from_columns("p", ["a", "a"], uris=["1", "2"])
    with pytest.raises(DataError, match="3 ids but 2 uris"):
        pool(uris=["1", "2"])


def test_columns_cannot_be_written() -> None:
    for column in (pool().ids, pool().codes, pool().uris, pool().digests):
        with pytest.raises(ValueError, match="read-only"):
            column[0] = column[1]


def test_rows_of_finds_rows_and_says_what_is_missing() -> None:
    assert pool().rows_of(["b", "zebra", "", "a"]).tolist() == [1, -1, -1, 0]
    numbers = Pool.from_columns("n", [10, 2], uris=["", ""])
    assert numbers.rows_of(["2", "10", "7"]).tolist() == [0, 1, -1]
    assert numbers.rows_of([]).tolist() == []
    with pytest.raises(DataError, match="integers"):
        numbers.rows_of(["two"])


def test_take_keeps_the_order_of_ids_and_further_addresses() -> None:
    made = pool(other_uris={"c": ("3b.png",)})
    for rows in (np.array([2, 0]), np.array([True, False, True])):
        part = made.take(rows)
        assert part.ids.tolist() == ["a", "c"]
        assert part[1].uris == ("3.png", "3b.png")
    assert part.version == made.take(np.array([0, 2])).version != made.version


def test_labels_make_a_new_version_that_shares_the_columns() -> None:
    before = pool()
    after = before.with_labels([Label(sample_id="a", value="ape"), Label(sample_id="c", value="cat")])
    assert [sample.label for sample in after] == ["ape", "cat", "cat"]
    assert [sample.label for sample in before] == [None, "cat", "dog"]
    assert after.classes == ("ape", "cat", "dog")
    assert after.ids is before.ids
    assert after.uris is before.uris
    assert len({before.version, after.version, after.without_labels().version}) == 3


def test_the_order_of_labels_does_not_change_the_version() -> None:
    labels = [Label(sample_id="a", value="ape"), Label(sample_id="b", value="bee")]
    assert pool().with_labels(labels).version == pool().with_labels(labels[::-1]).version


def test_labels_name_samples_of_the_pool_and_agree() -> None:
    with pytest.raises(LabelError, match="no sample 'zebra'"):
        pool().with_labels([Label(sample_id="zebra", value="x")])
    with pytest.raises(LabelError, match="'a' is labeled 'x' and 'y'"):
        pool().with_labels([Label(sample_id="a", value="x"), Label(sample_id="a", value="y")])


def test_forgotten_labels_are_gone() -> None:
    bare = pool().without_labels()
    assert not bare.labeled.any()
    assert bare.classes == ()


@given(st.lists(st.sampled_from(["", "cat", "dog", None, "é"]), max_size=10))
def test_codes_lead_back_to_labels(labels: list[str | None]) -> None:
    classes, codes = encode_labels(labels)
    assert [classes[code] if code >= 0 else None for code in codes] == [value or None for value in labels]
    assert list(classes) == sorted(set(classes))


def test_ids_are_cast_to_the_kind_of_the_pool() -> None:
    assert cast_ids(as_ids([7]), like=as_ids(["a"])).tolist() == ["7"]
    assert cast_ids(as_ids(["7"]), like=as_ids([1])).tolist() == [7]
    with pytest.raises(DataError, match="64-bit"):
        cast_ids(as_ids([2**63]), like=as_ids([1]))


def test_a_conflict_reads_as_a_sentence() -> None:
    conflict = Conflict(digest="d", uris=("a.png", "b.png"), labels=("cat", "dog"))
    assert str(conflict) == "equal bytes, different labels: a.png = cat, b.png = dog"
