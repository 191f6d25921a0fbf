"""The control arm: a part of the budget that is drawn at random, and what it lets one estimate."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from statistics import NormalDist

import numpy as np

from foresift.core.arrays import Rows
from foresift.core.errors import UsageError
from foresift.kernels.topk import top_k


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassShare:
    """How common a class is in the population, estimated from the control arm."""

    label: str
    share: float
    """Unbiased: the share among the labels of the control arm."""
    low: float
    high: float
    total: float
    """Samples of the class in the population, by weighting each label with 1 / its probability."""


def checked_share(share: float) -> float:
    """``share`` itself; raises ``UsageError`` unless it is within [0, 1]."""
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 1:
        raise UsageError(f"control must be a share of the budget within 0 .. 1, got {share!r}")
    return float(share)


def control_size(budget: int, share: float) -> int:
    """Labels of the control arm: half up, and at least one if there is a share and a budget."""
    if not share or not budget:
        return 0
    rounded = (Decimal(repr(share)) * budget).to_integral_value(ROUND_HALF_UP)
    return min(budget, max(1, int(rounded)))


def draw_control(population: Rows, size: int, rng: np.random.Generator) -> Rows:
    """``size`` of the population's rows, every subset equally likely, in the order of the draw."""
    keys = rng.bit_generator.random_raw(len(population))
    return population[top_k(~keys, min(size, len(population)))]


def control_estimates(labels: Sequence[str], *, population: int, confidence: float = 0.95) -> list[ClassShare]:
    """The class mix of a population from the labels of its control arm, with intervals.

    A sample of the control arm stands for ``population / len(labels)`` samples (Horvitz and Thompson
    1952, which is the plain mean for a simple random sample). Intervals are Wilson's, narrowed for a
    population of finite size by counting each label as ``(population - 1) / (population - m)`` labels;
    when all are labeled they shrink to a point. Labels of the strategy's own picks must not be among
    them: those were chosen for being unusual.

    Args:
        labels: m classes, one for each sample of the control arm.
        population: ``receipt.control["population"]``, the candidates that it was drawn from.
        confidence: within (0, 1).
    Returns:
        one estimate a class, in order of name.
    Raises:
        UsageError: no labels, more than the population holds, or empty ones.
    """
    m = len(labels)
    if not 1 <= m <= population:
        raise UsageError(f"expected labels of 1 .. {population} samples of the control arm, got {m}")
    if not all(labels):
        raise UsageError("a label of the control arm is empty; label all of it, or the estimate is biased")
    if not 0 < confidence < 1:
        raise UsageError(f"confidence must be within (0, 1), got {confidence!r}")
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    return [_estimate(label, count, m, population, z) for label, count in sorted(Counter(labels).items())]


def _estimate(label: str, count: int, m: int, population: int, z: float) -> ClassShare:
    share = count / m
    if m == population:
        return ClassShare(label=label, share=share, low=share, high=share, total=float(count))
    worth = m * (population - 1) / (population - m)
    centre = (share + z * z / (2 * worth)) / (1 + z * z / worth)
    half = z / (1 + z * z / worth) * math.sqrt(share * (1 - share) / worth + (z / (2 * worth)) ** 2)
    return ClassShare(
        label=label,
        share=share,
        low=max(0.0, centre - half),
        high=min(1.0, centre + half),
        total=share * population,
    )
