"""A day's quota: never exceeded, always filled, spent on nearly the best frames, whatever the scores do."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foresift.core.errors import DataError, NonFiniteError, UsageError
from foresift.lineage.uploads import WINDOW, Quota, UploadController

CALIBRATION = np.random.default_rng(7).random(3000)
SHAPES = {
    "stationary": lambda n, rng: rng.random(n),
    "constant": lambda n, rng: np.full(n, 0.5),
    "rising": lambda n, rng: np.linspace(0, 1, n),
    "falling": lambda n, rng: np.linspace(1, 0, n),
    "all above the calibration": lambda n, rng: 5 + rng.random(n),
    "all below the calibration": lambda n, rng: rng.random(n) - 5,
    "best last": lambda n, rng: np.concatenate([rng.random(n - n // 20), 2 + rng.random(n // 20)]),
    "best first": lambda n, rng: np.concatenate([2 + rng.random(n // 20), rng.random(n - n // 20)]),
    "two levels": lambda n, rng: (rng.random(n) < 0.5).astype(float),
    "drifting": lambda n, rng: rng.random(n) + np.sin(np.linspace(0, 6, n)),
}


def a_day(controller: UploadController, scores: np.ndarray, day: str = "d") -> list[int]:
    """Frames of one day that were sent, by index; checks at every frame what must hold at every frame."""
    sent: list[int] = []
    held: set[str] = set()
    for at, score in enumerate(scores.tolist()):
        verdict = controller.offer(f"{at}", score)
        held -= set(verdict.released)
        if verdict.action == "send":
            sent.append(at)
        elif verdict.action == "hold":
            held |= {f"{at}"} - set(verdict.released)
        assert len(sent) + len(held) <= controller.quota.per_day
        assert held == set(controller.held)
        assert controller.sent == len(sent)
    last = controller.close_day()
    assert set(last) == held
    assert controller.sent == controller.seen == len(controller.held) == 0
    return sent + [int(key) for key in last]


def controller(quota: int, expected: float | None) -> UploadController:
    return UploadController.calibrated(Quota(per_day=quota), CALIBRATION, expected=expected)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("expected", [None, 500, 2000, 9000], ids=lambda e: f"expected {e}")
def test_the_quota_is_met_exactly_whatever_the_scores_and_the_day_are(shape: str, expected: float | None) -> None:
    rng = np.random.default_rng(0)
    device = controller(60, expected)
    for n in (2000, 700, 40, 3000, 61, 60, 59):
        sent = a_day(device, SHAPES[shape](n, rng))
        assert len(sent) == len(set(sent)) == min(60, n)


@settings(max_examples=60, deadline=None)
@given(
    scores=st.lists(st.floats(-1e6, 1e6), max_size=300),
    quota=st.integers(1, 40),
    expected=st.one_of(st.none(), st.floats(1, 1000)),
    held_back=st.floats(0, 1),
    burst=st.floats(0, 1),
)
def test_the_quota_holds_at_every_moment(
    scores: list[float], quota: int, expected: float | None, held_back: float, burst: float
) -> None:
    device = UploadController.calibrated(
        Quota(per_day=quota, held_back=held_back, burst=burst), CALIBRATION, expected=expected
    )
    assert len(a_day(device, np.array(scores))) == min(quota, len(scores))
    assert len(a_day(device, np.array(scores))) == min(quota, len(scores))


@given(
    scores=st.lists(st.floats(-1e6, 1e6) | st.sampled_from([0.0, 0.5]), min_size=1, max_size=60),
    quota=st.integers(2, 40),
    expected=st.floats(1, 1000),
)
def test_the_threshold_is_the_quantile_that_lets_an_even_share_through(
    scores: list[float], quota: int, expected: float
) -> None:
    device = UploadController.calibrated(Quota(per_day=quota), np.array(scores), expected=expected)
    share = min(1.0, Quota(per_day=quota).at_once / expected)
    assert device.threshold == np.quantile(scores, 1 - share, method="higher")


def test_an_adversary_that_knows_the_threshold_cannot_break_the_quota() -> None:
    device = controller(50, 1000)
    taken = []
    for at in range(5000):
        verdict = device.offer(str(at), min(device.threshold, 1e9) + 1e-9)
        taken += [at] * (verdict.action == "send")
    assert len(taken) + len(device.held) == 50
    assert len(taken) <= Quota(per_day=50).at_once


def test_without_an_expectation_the_day_waits_and_ends_with_the_very_best() -> None:
    scores = np.random.default_rng(1).random(1000)
    sent = a_day(controller(30, None), scores)
    assert sent == np.argsort(-scores, kind="stable")[:30].tolist()


@pytest.mark.parametrize("seed", range(5))
def test_in_a_stationary_stream_little_is_lost_against_hindsight(seed: int) -> None:
    """Regret: below 3 % of the gap between hindsight and random, and most hits go at once."""
    rng = np.random.default_rng(seed)
    device = controller(200, 5000)
    scores = rng.random(4000 + 500 * seed)
    at_once = 0
    best = np.sort(scores)[-200:].sum()
    sent: list[int] = []
    for at, score in enumerate(scores.tolist()):
        verdict = device.offer(str(at), score)
        if verdict.action == "send":
            sent.append(at)
    at_once = len(sent)
    sent += [int(key) for key in device.close_day()]
    assert at_once >= 0.5 * 200
    gap = best - 200 * scores.mean()
    assert best - scores[sent].sum() <= 0.03 * gap


def test_what_is_sent_at_once_keeps_an_even_pace() -> None:
    device = controller(100, 1000)
    sent = [device.offer(str(at), 9.0).action == "send" for at in range(1000)]
    done = np.cumsum(sent)
    assert np.all(done <= np.arange(1, 1001) / 1000 * 75 + 5 + 1)
    assert done[-1] == 75


def test_ties_stay_with_the_earlier_frame() -> None:
    device = controller(3, None)
    for at in range(10):
        device.offer(str(at), 0.5)
    assert device.close_day() == ("0", "1", "2")


def test_what_the_device_forgets_when_it_restarts_is_nothing() -> None:
    rng = np.random.default_rng(3)
    days = [rng.random(n) for n in (900, 1100)]
    plain = controller(40, 1000)
    through = [a_day(plain, scores) for scores in days]
    device = controller(40, 1000)
    for scores, expected in zip(days, through, strict=True):
        sent = []
        for at, score in enumerate(scores.tolist()):
            if at % 97 == 0:
                device = UploadController.from_dict(device.quota, json.loads(json.dumps(device.to_dict())))
                device._look()
            if device.offer(str(at), score).action == "send":
                sent.append(at)
        sent += [int(key) for key in device.close_day()]
        assert len(sent) == 40
        assert scores[sent].mean() == pytest.approx(scores[expected].mean(), abs=0.01)


def test_a_smaller_quota_after_a_restart_is_kept_as_well() -> None:
    device = controller(50, None)
    for at in range(200):
        device.offer(str(at), float(at))
    smaller = UploadController.from_dict(Quota(per_day=10), device.to_dict())
    assert len(smaller.close_day()) == 10


def test_memory_does_not_grow() -> None:
    device = controller(20, 5000)
    for at in range(20_000):
        device.offer(str(at), math.sin(at))
    assert len(device.window) <= WINDOW
    assert len(device.held) <= 20


def test_a_score_that_is_no_number_is_an_error_that_names_the_frame() -> None:
    device = controller(5, None)
    with pytest.raises(NonFiniteError, match="frame x"):
        device.offer("x", math.nan)
    with pytest.raises(NonFiniteError):
        UploadController.calibrated(Quota(per_day=5), np.array([1.0, math.inf]))
    assert device.seen == 0


@pytest.mark.parametrize("bad", [{"per_day": 0}, {"per_day": True}, {"per_day": 3, "held_back": 1.2}])
def test_quotas_are_checked(bad: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        Quota(**bad)


def test_a_broken_state_is_refused() -> None:
    with pytest.raises(DataError, match="state"):
        UploadController.from_dict(Quota(per_day=3), {"window": []})
