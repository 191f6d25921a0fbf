"""The forecaster: its axes, its errors, and how well it forecasts curves that are known."""

from __future__ import annotations

import numpy as np
import pytest

from foresift.core.errors import UsageError
from foresift.cycle.forecast import Forecaster, Point
from learning_curves import exponentials

CURVES, ROUNDS, NOISE = 300, 7, 0.006
SIZE = 5000


def points(accuracies: np.ndarray, *, budget: int = 100) -> list[Point]:
    return [Point(budget * (r + 1), float(a)) for r, a in enumerate(accuracies)]


def next_round_errors(fit: str, *, known: int) -> np.ndarray:
    """Forecast minus truth of round ``known``, curve by curve."""
    seen, true = exponentials(CURVES, ROUNDS, noise=NOISE, seed=3)
    caster = Forecaster(fit=fit)
    forecasts = [caster.next(points(row[:known]), budget=100, evaluation_size=SIZE).value for row in seen]
    return np.array(forecasts) - true[:, known]


def rmse(errors: np.ndarray) -> float:
    return float(np.sqrt((errors**2).mean()))


def linear_errors(*, known: int) -> np.ndarray:
    seen, true = exponentials(CURVES, ROUNDS, noise=NOISE, seed=3)
    return np.clip(2 * seen[:, known - 1] - seen[:, known - 2], 0, 1) - true[:, known]


def test_the_robust_forecast_beats_the_last_value_and_a_line() -> None:
    for known, against_last, against_line in ((2, 0.3, 0.4), (3, 0.35, 0.5), (4, 0.4, 0.6)):
        robust = rmse(next_round_errors("robust", known=known))
        assert robust < against_last * rmse(next_round_errors("last", known=known)), known
        assert robust < against_line * rmse(linear_errors(known=known)), known


def test_the_robust_forecast_beats_the_published_fit_while_points_are_few() -> None:
    assert rmse(next_round_errors("robust", known=3)) < 0.95 * rmse(next_round_errors("autolrs", known=3))


def test_the_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    seen, true = exponentials(200, ROUNDS, noise=NOISE, seed=8)
    held = 0
    for row, truth in zip(seen, true, strict=True):
        forecast = Forecaster(confidence=0.9).next(points(row[:5]), budget=100, evaluation_size=SIZE)
        held += forecast.low <= truth[5] <= forecast.high  # type: ignore[operator]
    assert 0.82 < held / 200 <= 1


def test_a_power_law_is_exact_on_the_axis_of_labels() -> None:
    labels = [100, 250, 900, 1000]
    caster = Forecaster(fit="autolrs", x="labels")
    curve = caster.curve([Point(n, 0.95 - 3 * n**-0.5) for n in labels], budget=500, evaluation_size=SIZE)
    for n in (1500, 10_000):
        assert curve.at(n).value == pytest.approx(0.95 - 3 * n**-0.5, abs=1e-6)


def test_rounds_count_as_one_however_many_labels_they_bought() -> None:
    caster = Forecaster(fit="autolrs")
    accuracies = [0.9 - 0.4 * 0.6**r for r in range(4)]
    uneven = [Point(n, a) for n, a in zip((10, 500, 501, 700), accuracies, strict=True)]
    assert caster.next(uneven, budget=50, evaluation_size=SIZE).value == pytest.approx(0.9 - 0.4 * 0.6**4, abs=1e-6)
    assert caster.curve(uneven, budget=50, evaluation_size=SIZE).at(800).value == pytest.approx(
        0.9 - 0.4 * 0.6**5, abs=1e-6
    )


def test_only_the_robust_fit_gives_an_interval() -> None:
    history = points(np.array([0.5, 0.6, 0.65]))
    assert Forecaster().next(history, budget=100, evaluation_size=SIZE).low is not None
    assert Forecaster(fit="autolrs").next(history, budget=100, evaluation_size=SIZE)[1:] == (None, None)
    assert Forecaster(fit="last").next(history, budget=100, evaluation_size=SIZE) == (0.65, None, None)


@pytest.mark.parametrize(
    ("history", "told"),
    [
        ([], "at least one"),
        ([Point(10, 0.5), Point(10, 0.6)], "must grow"),
        ([Point(10, float("nan"))], "within"),
        ([Point(10, 1.5)], "within"),
    ],
)
def test_histories_that_are_none_are_refused(history: list[Point], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        Forecaster().next(history, budget=100, evaluation_size=SIZE)


def test_settings_are_checked() -> None:
    for wrong in ({"fit": "spline"}, {"x": "time"}, {"confidence": 1.0}):
        with pytest.raises(UsageError):
            Forecaster(**wrong)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="logarithm"):
        Forecaster(x="labels").next([Point(0, 0.5)], budget=100, evaluation_size=SIZE)
