"""Predictions and what came of them."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import pytest

from foresift.core.errors import UsageError
from foresift.lineage.calibration import Forecast, calibration, latest, open_forecast

ONE = Forecast(
    surrogate="a", deployment="b", score="margin", predicted=0.5, low=0.1, high=0.7, when="2026-01-01T00:00:00+00:00"
)


def known(predicted: float, pilot: float | None, realised: float, when: str, **more: Any) -> Forecast:
    return replace(ONE, predicted=predicted, pilot=pilot, realised=realised, when=when, **more)


def test_an_outcome_takes_the_place_of_its_prediction() -> None:
    done = replace(ONE, realised=0.02)
    assert latest([ONE, done]) == [done]
    assert open_forecast([ONE], surrogate="a", deployment="b", score="margin") == ONE
    with pytest.raises(UsageError, match="waits for its outcome"):
        open_forecast([ONE, done], surrogate="a", deployment="b", score="margin")
    again = replace(ONE, when="2026-02-01T00:00:00+00:00")
    assert open_forecast([ONE, done, again], surrogate="a", deployment="b", score="margin") == again


def test_gains_are_signed_and_measured_against_the_rehearsals_and_ranked_by_both() -> None:
    rows = [
        known(0.1, -0.04, -0.02, "1"),
        known(0.2, -0.03, -0.01, "2"),
        known(0.3, 0.03, 0.01, "3"),
        known(0.4, 0.01, -0.03, "4"),
    ]
    (found,) = calibration([*rows, replace(ONE, when="open")])
    assert (found.score, found.outcomes, found.predictions, found.piloted) == ("margin", 4, 4, 4)
    assert found.usefulness is not None
    assert found.usefulness.value == pytest.approx(-0.2)
    assert found.pilot is not None
    assert found.pilot.value == pytest.approx(0.4)
    assert found.right_sign == 0.75, "of the rehearsals; U, above 0 throughout, has that of one in four"
    assert found.off_by == pytest.approx((0.02 + 0.02 + 0.02 + 0.04) / 4)
    assert "have the right sign in 75% and are 2.5 points off on average" in str(found)
    (turned,) = calibration([replace(row, pilot=row.realised) for row in rows])
    assert turned.pilot is not None
    assert (turned.pilot.value, turned.right_sign, turned.off_by) == (1, 1, 0)
    assert turned.usefulness == found.usefulness


def test_the_rounds_of_one_prediction_count_once() -> None:
    three = [known(float(at), float(at), float(at), str(at)) for at in range(3)]
    many = [known(3.0, 3.0, gain, "3", run="r", round=at) for at, gain in enumerate((9.0, -9.0, 3.0), start=2)]
    (few,) = calibration(many)
    assert (few.outcomes, few.predictions, few.piloted) == (3, 1, 1)
    assert (few.usefulness, few.pilot, few.right_sign, few.off_by) == (None, None, None, None)
    assert str(few) == "margin: 3 known outcomes of 1 prediction, too few to judge predictions by"
    (found,) = calibration([*three, *many])
    assert (found.outcomes, found.predictions) == (6, 4)
    assert found.off_by == 0.5, "their mean stands for them: 2 off, and the others exact"
    assert found.right_sign == 1


def test_scores_are_judged_apart_and_those_without_rehearsals_by_their_order_alone() -> None:
    rows = [known(at / 10, None, at / 100, str(at)) for at in range(1, 5)]
    others = [replace(row, score="entropy", predicted=-row.predicted) for row in rows]
    entropy, margin = calibration([*rows, *others])
    assert entropy.usefulness is not None
    assert margin.usefulness is not None
    assert (entropy.score, entropy.usefulness.value) == ("entropy", -1)
    assert (margin.score, margin.usefulness.value) == ("margin", 1)
    assert (margin.piloted, margin.pilot, margin.right_sign, margin.off_by) == (0, None, None, None)
    assert "too few of the predictions were rehearsed (0)" in str(margin)
    assert calibration([ONE]) == ()


def test_a_row_survives_its_file() -> None:
    assert Forecast.from_dict(asdict(ONE)) == ONE
    with pytest.raises(UsageError, match="not a row"):
        Forecast.from_dict({"surrogate": "a"})
