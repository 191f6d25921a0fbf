"""Stopping rules, labels that a target will take, and gains over a control arm."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foresift.core.errors import UsageError
from foresift.cycle.forecast import Point
from foresift.cycle.stopping import LabelsNeeded, StopRules, gain_over_control, labels_needed

SIZE = 4000


def power_law(labels: list[int], *, scale: float = 3.0) -> list[Point]:
    return [Point(n, 0.97 - scale * n**-0.5) for n in labels]


def test_reasons_come_in_the_order_of_the_algorithm() -> None:
    rules = StopRules(max_labels=100, target=0.8)
    flat = [0.7] * 4
    assert rules.reason([0.7, 0.8], charged=100, evaluation_size=SIZE) == "target"
    assert rules.reason(flat, charged=100, evaluation_size=SIZE) == "budget"
    assert rules.reason(flat, charged=99, evaluation_size=SIZE) == "converged"
    assert rules.reason(flat[:3], charged=99, evaluation_size=SIZE) == ""
    assert StopRules(max_labels=100).reason([0.9, 1.0], charged=0, evaluation_size=SIZE) == ""


@pytest.mark.parametrize(
    ("rise", "size", "converged"), [(0.0009, 10**9, True), (0.0011, 10**9, False), (0.0011, 4000, True)]
)
def test_an_improvement_counts_if_it_exceeds_epsilon_and_the_noise_of_an_evaluation(
    rise: float, size: int, converged: bool
) -> None:
    best = [0.5, 0.8, 0.8 + rise / 3, 0.8 + 2 * rise / 3, 0.8 + rise]
    assert StopRules(max_labels=1).converged(best, evaluation_size=size) is converged


def test_labels_needed_finds_where_a_power_law_reaches_the_target() -> None:
    points = power_law([200, 400, 600, 800, 1000, 1200])
    for target in (0.9, 0.92):
        truth = (3.0 / (0.97 - target)) ** 2 - 1200
        found = labels_needed(points, target, budget=200, evaluation_size=10**7)
        assert found.labels == pytest.approx(truth, rel=0.15)
        assert found.low <= found.labels <= found.high  # type: ignore[operator]


def test_the_interval_holds_the_truth_under_noise() -> None:
    rng = np.random.default_rng(5)
    held, truth = 0, (3.0 / (0.97 - 0.9)) ** 2 - 1200
    for _ in range(60):
        noisy = [Point(n, y + rng.normal(0, 0.005)) for n, y in power_law([200, 400, 600, 800, 1000, 1200])]
        found = labels_needed(noisy, 0.9, budget=200, evaluation_size=SIZE)
        held += (found.low or 10**9) <= truth <= (found.high or 10**9)
    assert held >= 48


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6), st.floats(0.01, 1.0), st.floats(0.01, 1.0))
@settings(max_examples=25, deadline=None)
def test_a_higher_target_never_takes_fewer_labels(accuracies: list[float], one: float, other: float) -> None:
    points = [Point(50 * (i + 1), a) for i, a in enumerate(accuracies)]
    low, high = (labels_needed(points, t, budget=50, evaluation_size=500).labels for t in sorted((one, other)))
    assert high is None or (low is not None and low <= high)


def test_it_reads_as_a_sentence() -> None:
    assert str(LabelsNeeded(0.92, 913, 704, 1388)) == "about 910 more labels for 92 % (700 to 1,400)"
    assert str(LabelsNeeded(0.92, 913, 704, None)) == "about 910 more labels for 92 % (700 to no end in sight)"
    assert str(LabelsNeeded(0.92, None, 704, None)) == "92 % is hardly in sight: at least 700 more labels"
    assert str(LabelsNeeded(0.92, None, None, None)) == "92 % is not in sight"
    assert str(LabelsNeeded(0.92, 0, 0, 0)) == "92 % is reached"


def test_a_target_that_is_met_takes_none_and_a_flat_curve_never_gets_there() -> None:
    assert labels_needed(power_law([100, 400]), 0.8, budget=100, evaluation_size=SIZE).labels == 0
    flat = [Point(100 * r, 0.6) for r in range(1, 9)]
    assert labels_needed(flat, 0.95, budget=100, evaluation_size=10**6).labels is None
    one = labels_needed([Point(0, 0.1)], 0.12, budget=10, evaluation_size=SIZE, x="round")
    assert one.labels is not None
    assert 0 < one.labels < 50


def test_a_gain_at_equal_labels_saves_what_the_control_would_still_need() -> None:
    sizes = [100, 200, 400, 800, 1600]
    chosen, control = power_law(sizes[:4], scale=2.0), power_law(sizes)
    gain = gain_over_control(chosen, control, budget=100, evaluation_size=SIZE, price=0.5)
    assert (gain.labels, gain.forecast) == (800, True)
    assert gain.accuracy == pytest.approx(1.0 * 800**-0.5)
    assert gain.is_clear
    assert gain.labels_saved == pytest.approx(800 * 1.5**2 - 800, rel=0.2)
    assert gain.money == pytest.approx(0.5 * gain.labels_saved)
    early = gain_over_control(chosen[:2], control, budget=100, evaluation_size=SIZE)
    assert (early.labels, early.forecast, early.money) == (200, False, None)
    assert early.labels_saved == pytest.approx(200 * 1.5**2 - 200, rel=0.1)


def test_a_loss_is_told_as_a_loss() -> None:
    chosen, control = power_law([100, 200, 400], scale=3.0), power_law([100, 200, 400], scale=2.5)
    gain = gain_over_control(chosen, control, budget=100, evaluation_size=SIZE)
    assert gain.accuracy < 0
    assert gain.labels_saved < 0  # type: ignore[operator]
    assert not gain.is_clear
    assert str(gain).startswith("-2.5 ±")


def test_a_control_that_dips_has_reached_what_it_reached_first() -> None:
    control = [Point(100, 0.5), Point(200, 0.7), Point(300, 0.6), Point(400, 0.8)]
    gain = gain_over_control([Point(100, 0.5), Point(400, 0.7)], control, budget=100, evaluation_size=SIZE)
    assert gain.labels_saved == 200 - 400


def test_a_run_below_all_of_the_control_is_worth_its_first_labels() -> None:
    control = [Point(100, 0.5), Point(200, 0.7)]
    gain = gain_over_control([Point(100, 0.5), Point(200, 0.4)], control, budget=100, evaluation_size=SIZE)
    assert (gain.labels_saved, gain.forecast) == (100 - 200, False)


def test_equal_curves_save_nothing() -> None:
    curve = power_law([100, 200, 400])
    gain = gain_over_control(curve, curve, budget=100, evaluation_size=SIZE, price=3.0)
    assert (gain.accuracy, gain.labels_saved, gain.money) == (0, 0, 0)


def test_sizes_that_differ_are_interpolated() -> None:
    gain = gain_over_control(
        [Point(100, 0.5), Point(300, 0.7)], [Point(50, 0.4), Point(400, 0.7)], budget=50, evaluation_size=SIZE
    )
    share = np.log(301 / 51) / np.log(401 / 51)
    assert (gain.labels, gain.accuracy) == (300, pytest.approx(0.7 - (0.4 + 0.3 * share)))


def test_sides_without_common_labels_are_refused() -> None:
    for chosen, control in (([], power_law([10])), (power_law([10, 20]), power_law([30, 40]))):
        with pytest.raises(UsageError):
            gain_over_control(chosen, control, budget=5, evaluation_size=SIZE)


def test_settings_are_checked() -> None:
    for wrong in ({"max_labels": -1}, {"patience": 0}, {"epsilon": -0.1}, {"target": 0.0}, {"target": 1.1}):
        with pytest.raises(UsageError):
            StopRules(**{"max_labels": 10, **wrong})  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="target"):
        labels_needed(power_law([10]), 92.0, budget=5, evaluation_size=SIZE)
