"""The fits against their definitions: a slow minimiser, exact curves, and every odd history."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import lsq_linear

from foresift.core.errors import UsageError
from foresift.cycle.curves import RATES, ExponentialFamily, evaluation_error, fit_autolrs, fit_robust

histories = st.lists(st.floats(0, 1), min_size=1, max_size=8)


def robust(y: list[float], *, evaluation_size: int = 1000) -> ExponentialFamily:
    return fit_robust(np.arange(len(y)) * 1.0, np.array(y), next_x=float(len(y)), evaluation_size=evaluation_size)


def log_posterior(a: float, c: float, rate: float, y: np.ndarray, size: int) -> float:
    """The definition in the docstring, term by term; c as itself."""
    x = np.arange(len(y))
    model = a * np.exp(-rate * x) + c
    gain = a * (np.exp(-rate * len(y)) - np.exp(-rate * x[-1]))
    p = (y * size + 1) / (size + 2)
    data = (((y - model) ** 2) / (p * (1 - p) / size)).sum()
    priors = ((gain - 0.04) / 0.06) ** 2 + ((c - y[-1] - 0.04) / 0.25) ** 2 + (np.log(rate / 0.35) / 0.7) ** 2
    return -0.5 * float(data + priors)


def slow_maximum(rate: float, y: np.ndarray, size: int) -> tuple[float, float]:
    """(a, c) by a general bounded least-squares solver on one row a term."""
    x = np.arange(len(y))
    p = (y * size + 1) / (size + 2)
    sd = np.sqrt(p * (1 - p) / size)
    gain = np.exp(-rate * len(y)) - np.exp(-rate * x[-1])
    rows = [[np.exp(-rate * x[i]) / sd[i], 1 / sd[i]] for i in x]
    right = [*(y / sd), 0.04 / 0.06, (y[-1] + 0.04) / 0.25]
    found = lsq_linear([*rows, [gain / 0.06, 0], [0, 1 / 0.25]], right, bounds=([-np.inf, -np.inf], [0, 1]), tol=1e-14)
    return float(found.x[0]), float(found.x[1])


@pytest.mark.parametrize("y", [[0.5], [0.5, 0.6], [0.5, 0.62, 0.68], [0.7, 0.6, 0.5], [0.97, 0.99, 1.0], [0.6] * 4])
def test_the_robust_fit_is_the_bounded_maximum_of_its_posterior_at_every_rate(y: list[float]) -> None:
    fitted = robust(y)
    history = np.array(y)
    ours, slow = [], []
    for i in range(0, 60, 13):
        assert fitted.drops[i] <= 0
        assert fitted.ceilings[i] <= 1
        ours.append(log_posterior(fitted.drops[i], fitted.ceilings[i], RATES[i], history, 1000))
        slow.append(log_posterior(*slow_maximum(RATES[i], history, 1000), RATES[i], history, 1000))
    np.testing.assert_allclose(ours, slow, atol=1e-6, rtol=1e-8)
    np.testing.assert_allclose(np.diff(fitted.misfits[:60:13]), -np.diff(ours), atol=1e-6)


@given(histories)
@settings(max_examples=60, deadline=None)
def test_any_history_gives_ordered_finite_shares_that_never_fall_with_the_horizon(y: list[float]) -> None:
    fitted = robust(y)
    forecasts = [fitted.at(x) for x in np.linspace(len(y) - 1, len(y) + 20, 9)]
    for forecast in forecasts:
        assert 0 <= forecast.low <= forecast.value <= forecast.high <= 1  # type: ignore[operator]
    values = [forecast.value for forecast in forecasts]
    assert all(after >= before - 1e-12 for before, after in pairwise(values))


@given(histories)
@settings(max_examples=60, deadline=None)
def test_the_published_fit_is_finite_for_any_history(y: list[float]) -> None:
    assert 0 <= fit_autolrs(np.arange(len(y)) * 1.0, np.array(y)).at(len(y)).value <= 1


@pytest.mark.parametrize(("a", "rate", "c"), [(-0.4, 0.3, 0.9), (-0.2, 1.7, 0.8), (0.3, 0.6, 0.5), (-0.5, 0.05, 0.95)])
def test_the_published_fit_recovers_an_exact_exponential_from_four_points(a: float, rate: float, c: float) -> None:
    x = np.arange(4.0)
    fitted = fit_autolrs(x, a * np.exp(-rate * x) + c)
    for horizon in (4, 6, 12):
        assert fitted.at(horizon).value == pytest.approx(a * np.exp(-rate * horizon) + c, abs=1e-6)


def test_the_published_fit_recovers_a_curve_that_starts_anywhere() -> None:
    x = np.log([120.0, 240.0, 480.0, 600.0])
    fitted = fit_autolrs(x, 0.9 - 2.0 * np.exp(-0.5 * x))
    assert fitted.at(np.log(2000.0)).value == pytest.approx(0.9 - 2.0 * 2000**-0.5, abs=1e-6)


@pytest.mark.parametrize("points", [1, 2, 3, 7])
@pytest.mark.parametrize("level", [0.0, 0.63, 1.0])
def test_a_constant_history_stays_constant_in_the_published_fit(points: int, level: float) -> None:
    assert fit_autolrs(np.arange(points) * 1.0, np.full(points, level)).at(points + 3).value == pytest.approx(level)


def test_the_interval_is_that_of_all_curves_that_fit_nearly_as_well() -> None:
    """Brute force over a, c and the rate; far from the bounds on a and c, which only narrow it."""
    y = np.array([0.4, 0.52, 0.6, 0.66])
    drops, ceilings = np.meshgrid(np.linspace(-0.9, 0, 401), np.linspace(0.3, 1.3, 401))
    x, sd = np.arange(4), evaluation_error(y, 1000)
    misfits, values = [], []
    for rate in RATES:
        decay = np.exp(-rate * np.arange(5))
        data = sum(((y[i] - drops * decay[i] - ceilings) / sd[i]) ** 2 for i in x)
        gain = (drops * (decay[4] - decay[3]) - 0.04) / 0.06
        misfits.append(0.5 * (data + gain**2 + ((ceilings - 0.70) / 0.25) ** 2 + (np.log(rate / 0.35) / 0.7) ** 2))
        values.append(drops * decay[4] + ceilings)
    near = np.array(misfits) <= np.min(misfits) + 1.645**2 / 2
    forecast = robust(list(y)).at(4)
    assert forecast.low == pytest.approx(np.array(values)[near].min(), abs=2e-3)
    assert forecast.high == pytest.approx(np.array(values)[near].max(), abs=2e-3)


def test_one_point_rises_by_about_the_prior_gain() -> None:
    assert 0.02 < robust([0.5]).at(1).value - 0.5 < 0.05
    assert robust([1.0]).at(1).value <= 1


def test_more_evaluated_samples_and_more_points_narrow_the_interval() -> None:
    def width(y: list[float], size: int) -> float:
        forecast = robust(y, evaluation_size=size).at(len(y))
        return forecast.high - forecast.low  # type: ignore[operator]

    curve = [0.9 - 0.4 * 0.7**r for r in range(7)]
    assert width(curve[:4], 10_000) < width(curve[:4], 300)
    assert width(curve, 1000) < width(curve[:3], 1000) < width(curve[:2], 1000)


def test_an_evaluation_error_is_binomial_and_never_zero() -> None:
    assert evaluation_error(0.8, 10_000) == pytest.approx(0.004, rel=1e-3)
    assert (evaluation_error(np.array([0.0, 1.0]), 50) > 0).all()
    with pytest.raises(UsageError, match="evaluation_size"):
        evaluation_error(0.5, 0)
