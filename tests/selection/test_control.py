"""The control arm is a simple random sample, and what is estimated from it is unbiased."""

from __future__ import annotations

from collections import Counter
from math import comb

import numpy as np
import pytest

from foresift.core.errors import UsageError
from foresift.core.predictions import Predictions
from foresift.selection.control import control_estimates, control_size
from foresift.selection.guards import Guards
from foresift.strategies import STRATEGIES, parse
from foresift.testing import make_predictions
from foresift.testing.examples import class_codes_of

NAMES = [*STRATEGIES.names(), "margin:keep=5000+random"]


@pytest.mark.parametrize(
    ("budget", "share", "size"),
    [
        (100, 0.1, 10),
        (15, 0.1, 2),
        (14, 0.1, 1),
        (1, 0.1, 1),
        (3, 0.001, 1),
        (10, 0, 0),
        (0, 0.5, 0),
        (7, 1, 7),
        (100, 0.145, 15),
        (5, 0.3, 2),
    ],
)
def test_the_arm_is_rounded_half_up_and_never_empty(budget: int, share: float, size: int) -> None:
    assert control_size(budget, share) == size


@pytest.mark.parametrize("share", [-0.1, 1.01, float("nan"), "0.1", True])
def test_a_share_outside_0_and_1_is_refused(share: float) -> None:
    data = make_predictions(np.random.default_rng(0), 5, classes=3)
    with pytest.raises(UsageError, match="within 0"):
        parse("margin").select(data, budget=2, control=share)


@pytest.mark.parametrize("name", NAMES)
def test_both_arms_fill_the_budget(name: str) -> None:
    data, strategy = make_predictions(np.random.default_rng(0), 60, classes=4), parse(name)
    labeled = sorted(data.sample_ids.tolist())[::10]
    wanted = (*strategy.needs, *strategy.uses)
    got = strategy.select(
        data,
        budget=20,
        labeled=labeled,
        control=0.25,
        seed=3,
        labels=class_codes_of(np.array(labeled), classes=4) if "labels" in wanted else None,
        truth=class_codes_of(data.sample_ids, classes=4) if "truth" in wanted else None,
    )
    assert len(set(got.sample_ids.tolist())) == len(got) == 20
    assert not set(got.sample_ids.tolist()) & set(labeled)
    assert [row["arm"] for row in got.rows()] == ["control"] * 5 + ["strategy"] * 15
    assert got.receipt.control == {"share": 0.25, "size": 5, "population": 54, "inclusion_probability": 5 / 54}


def test_the_strategy_picks_the_best_of_what_the_control_arm_left() -> None:
    data = make_predictions(np.random.default_rng(0), 40, classes=4)
    got = parse("margin").select(data, budget=10, control=0.4, seed=1)
    control, chosen = got.sample_ids[:4].tolist(), got.sample_ids[4:].tolist()
    order = parse("margin").select(data, budget=40).sample_ids.tolist()
    assert chosen == [sample for sample in order if sample not in control][:6]
    assert got.scores is not None
    other = parse("margin").select(data, budget=10, control=0.4, seed=2)
    assert other.sample_ids[:4].tolist() != control


def test_every_candidate_is_as_likely_as_the_receipt_says() -> None:
    data = make_predictions(np.random.default_rng(0), 12, classes=3)
    labeled, held_out = ["s0000"], np.array(["s0011"])
    counts: Counter[str] = Counter()
    rounds = 3000
    for seed in range(rounds):
        got = parse("margin").select(
            data, budget=6, labeled=labeled, control=0.5, seed=seed, guards=Guards(refused=held_out)
        )
        counts.update(got.sample_ids[:3].tolist())
    assert got.receipt.control["population"] == 10
    expected = rounds * got.receipt.control["inclusion_probability"]
    assert len(counts) == 10
    chi2 = sum((count - expected) ** 2 / expected for count in counts.values())
    assert chi2 < 30  # 9 degrees of freedom: one run in two thousand lies above


def test_estimates_are_unbiased_where_the_strategy_alone_is_not() -> None:
    """Over many seeds the mean estimate is the truth; the mix among all picks is far from it."""
    rng = np.random.default_rng(0)
    truth = np.where(rng.random(200) < 0.2, "rare", "common")
    logits = np.where(truth == "rare", 0.1, 3.0)[:, None] * [1, 0] + rng.normal(scale=0.5, size=(200, 2))
    data = Predictions.from_arrays(range(200), logits=logits)
    shares, totals, mixed, covered = [], [], [], 0
    for seed in range(400):
        got = parse("margin").select(data, budget=50, control=0.4, seed=seed)
        labels = truth[got.sample_ids[: got.n_control]].tolist()
        found = {e.label: e for e in control_estimates(labels, population=got.receipt.control["population"])}
        rare = found.get("rare")
        shares.append(rare.share if rare else 0.0)
        totals.append(rare.total if rare else 0.0)
        covered += bool(rare and rare.low <= (truth == "rare").mean() <= rare.high)
        mixed.append((truth[got.sample_ids] == "rare").mean())
    share = (truth == "rare").mean()
    error = np.std(shares) / np.sqrt(400)
    assert abs(np.mean(shares) - share) < 4 * error
    assert abs(np.mean(totals) - 200 * share) < 4 * 200 * error
    assert abs(np.mean(mixed) - share) > 20 * error
    assert covered / 400 > 0.9


def test_the_mean_over_every_possible_arm_is_the_truth_exactly() -> None:
    from itertools import combinations

    population = ["a", "a", "b", "c", "c", "c"]
    sums: Counter[str] = Counter()
    for arm in combinations(population, 3):
        for estimate in control_estimates(arm, population=6):
            sums[estimate.label] += estimate.total  # type: ignore[assignment]
            assert 0 <= estimate.low <= estimate.share <= estimate.high <= 1
    for label, count in Counter(population).items():
        assert sums[label] / comb(6, 3) == pytest.approx(count)


def test_intervals_shrink_to_a_point_when_all_is_labeled() -> None:
    (a, b) = control_estimates(["x", "y", "y", "y"], population=4)
    assert (a.low, a.share, a.high, a.total) == (0.25, 0.25, 0.25, 1)
    assert (b.label, b.share) == ("y", 0.75)
    wide, narrow = (control_estimates(["x", "y"] * 20, population=n)[0] for n in (10**9, 50))
    assert narrow.high - narrow.low < wide.high - wide.low
    n, p, z = 40, 0.5, 1.959964
    half = z / (1 + z * z / n) * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))  # Wilson 1927
    assert (wide.low, wide.high) == pytest.approx((0.5 - half, 0.5 + half), abs=1e-6)


@pytest.mark.parametrize(
    ("labels", "population"), [([], 5), (["a", "b"], 1), (["a", ""], 5)], ids=["none", "too many", "empty"]
)
def test_estimates_refuse_what_would_mislead(labels: list[str], population: int) -> None:
    with pytest.raises(UsageError):
        control_estimates(labels, population=population)
