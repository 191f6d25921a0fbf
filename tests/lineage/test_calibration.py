"""Predictions and what came of them."""

from __future__ import annotations

from dataclasses import asdict, replace

import pytest

from foresift.core.errors import UsageError
from foresift.lineage.calibration import Forecast, calibration, latest, open_forecast

ONE = Forecast(
    surrogate="a", deployment="b", score="margin", predicted=0.5, low=0.1, high=0.7, when="2026-01-01T00:00:00+00:00"
)


def known(predicted: float, realised: float, when: str) -> Forecast:
    return replace(ONE, predicted=predicted, realised=realised, when=when)


def test_an_outcome_takes_the_place_of_its_prediction() -> None:
    done = replace(ONE, realised=0.02)
    assert latest([ONE, done]) == [done]
    assert open_forecast([ONE], surrogate="a", deployment="b", score="margin") == ONE
    with pytest.raises(UsageError, match="waits for its outcome"):
        open_forecast([ONE, done], surrogate="a", deployment="b", score="margin")
    again = replace(ONE, when="2026-02-01T00:00:00+00:00")
    assert open_forecast([ONE, done, again], surrogate="a", deployment="b", score="margin") == again


def test_calibration_ranks_and_signs_what_is_known() -> None:
    rows = [known(p, r, str(at)) for at, (p, r) in enumerate([(0.1, -0.01), (0.2, 0.01), (0.3, 0.02), (0.4, 0.05)])]
    found = calibration([*rows, replace(ONE, when="open")])
    assert found.rows == 4
    assert found.right_sign == 0.75
    assert found.correlation is not None
    assert found.correlation.value == 1
    few = calibration(rows[:3])
    assert (few.rows, few.correlation) == (3, None)
    assert calibration([ONE]).rows == 0


def test_a_row_survives_its_file() -> None:
    assert Forecast.from_dict(asdict(ONE)) == ONE
    with pytest.raises(UsageError, match="not a row"):
        Forecast.from_dict({"surrogate": "a"})
