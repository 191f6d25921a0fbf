from __future__ import annotations

import numpy as np
import pytest

from foresift.core.errors import DataError, MissingColumnError, NonFiniteError
from foresift.core.predictions import USER, Predictions, Producer

LOGITS = np.arange(6, dtype=np.float32).reshape(3, 2)


def test_arrays_are_taken_as_they_are() -> None:
    made = Predictions.from_arrays(["a", "b", "c"], logits=LOGITS, embeddings=[[1], [2], [3]], uris=["1", "2", "3"])
    assert np.shares_memory(made.column("logits"), LOGITS)
    assert made.column("embeddings").dtype == np.float32
    assert made.columns["logits"].producer is USER
    assert LOGITS.flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        made.column("logits")[0] = 1


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_number_that_is_not_finite_names_the_sample(bad: float) -> None:
    logits = LOGITS.copy()
    logits[1, 0] = bad
    with pytest.raises(NonFiniteError, match="logits of sample '17'"):
        Predictions.from_arrays([5, 17, 6], logits=logits)


def test_shapes_and_ids_are_checked() -> None:
    with pytest.raises(DataError, match="'a' occurs twice"):
        Predictions.from_arrays(["a", "b", "a"], logits=LOGITS)
    with pytest.raises(DataError, match="2 ids but 3 rows of logits"):
        Predictions.from_arrays(["a", "b"], logits=LOGITS)
    with pytest.raises(DataError, match=r"shape \(n, width\)"):
        Predictions.from_arrays(["a"], logits=[1.0])


def test_a_missing_column_says_which_there_are() -> None:
    with pytest.raises(MissingColumnError, match="needs the column embeddings; the predictions have logits; to get it"):
        Predictions.from_arrays(["a", "b", "c"], logits=LOGITS).column("embeddings")


def test_take_gives_rows_in_the_order_asked_for() -> None:
    made = Predictions.from_arrays(["a", "b", "c"], logits=LOGITS, uris=["1", "2", "3"])
    part = made.take(np.array([2, 0]))
    assert part.sample_ids.tolist() == ["c", "a"]
    assert part.column("logits").tolist() == [[4, 5], [0, 1]]
    assert part.uris is not None
    assert part.uris.tolist() == ["3", "1"]
    assert made.take(np.arange(3)) is made


def test_the_digest_sees_values_and_ids_but_not_their_order() -> None:
    made = Predictions.from_arrays(["a", "b", "c"], logits=LOGITS)
    assert made.take(np.array([1, 2, 0])).digest(["logits"]) == made.digest(["logits"])
    others = [
        Predictions.from_arrays(["a", "b", "c"], logits=LOGITS[::-1]),
        Predictions.from_arrays(["a", "b", "d"], logits=LOGITS),
    ]
    assert len({made.digest(["logits"]), made.digest([]), *(other.digest(["logits"]) for other in others)}) == 4


def test_producers_differ_by_everything_that_can_change_values() -> None:
    base = {"model": "m", "transform": "t", "stage": "s", "engine": "e", "precision": "p"}
    digests = {Producer(**{**base, key: "other"}).digest for key in base}
    assert len(digests | {Producer(**base).digest}) == len(base) + 1
