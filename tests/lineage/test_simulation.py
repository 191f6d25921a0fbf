"""The fleet on paper: every frame once, equal bandwidth, random below fleet below hindsight."""

from __future__ import annotations

import numpy as np
import pytest

from foresift.core.errors import UsageError
from foresift.lineage.simulation import drifting_streams, simulate
from foresift.lineage.uploads import Quota

RNG = np.random.default_rng(0)
CODES = RNG.integers(0, 10, 50_000)


def test_every_frame_is_seen_once_and_classes_drift() -> None:
    streams = drifting_streams(CODES, devices=5, days=4, rng=np.random.default_rng(1))
    seen = np.concatenate([rows for days in streams for rows in days])
    assert np.array_equal(np.sort(seen), np.arange(len(CODES)))
    lengths = [len(rows) for days in streams for rows in days]
    assert min(lengths) < 0.95 * max(lengths)
    first, last = streams[0][0], streams[0][-1]
    apart = np.abs(
        np.bincount(CODES[first], minlength=10) / len(first) - np.bincount(CODES[last], minlength=10) / len(last)
    )
    assert apart.sum() / 2 > 0.4  # in total variation


@pytest.mark.parametrize("seed", range(3))
def test_the_fleet_meets_its_budget_and_lies_close_to_hindsight(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores = np.clip(0.05 * CODES + 0.3 * rng.random(len(CODES)), 0, 1)  # classes differ in score: order matters
    streams = drifting_streams(CODES, devices=5, days=5, rng=rng)
    outcomes = simulate(scores, streams, Quota(per_day=100), rng=rng)
    assert len(outcomes) == 25
    for day in outcomes:
        assert len(day.fleet) == len(set(day.fleet.tolist())) == len(day.random) == len(day.hindsight) == 100
        assert np.isin(day.fleet, streams[day.device][day.day]).all()
    mean = {
        way: np.mean([scores[getattr(day, way)].mean() for day in outcomes]) for way in ("random", "fleet", "hindsight")
    }
    assert mean["random"] < mean["fleet"] <= mean["hindsight"]
    assert mean["fleet"] - mean["random"] > 0.8 * (mean["hindsight"] - mean["random"])
    assert sum(day.at_once for day in outcomes) > 0


def test_a_day_shorter_than_its_quota_sends_everything() -> None:
    streams = drifting_streams(CODES[:20], devices=2, days=2, rng=np.random.default_rng(0))
    for day in simulate(RNG.random(20), streams, Quota(per_day=100), rng=RNG):
        assert len(day.fleet) == day.frames


def test_too_few_frames_are_refused() -> None:
    with pytest.raises(UsageError, match="too few"):
        drifting_streams(CODES[:5], devices=2, days=3, rng=RNG)
