"""Every k-subset of a small DPP with its probability: the slow definition that samplers are held to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import chi2

Array = npt.NDArray[np.floating[Any]]


def law(kernel: Array, k: int) -> dict[tuple[int, ...], float]:
    """P(Y) = det(L_Y) / sum of det over all k-subsets."""
    sets = list(combinations(range(len(kernel)), k))
    weights = np.array([max(0.0, np.linalg.det(kernel[np.ix_(s, s)])) for s in sets])
    return dict(zip(sets, weights / weights.sum(), strict=True))


def marginals_of(probabilities: dict[tuple[int, ...], float], n: int) -> Array:
    """P(i in Y)."""
    return np.array([sum(p for s, p in probabilities.items() if i in s) for i in range(n)])


def draw(sample: Callable[[np.random.Generator], Iterable[int]], times: int, seed: int) -> Counter[tuple[int, ...]]:
    """How often each set came, in ``times`` draws of one generator."""
    rng = np.random.default_rng(seed)
    return Counter(tuple(sorted(int(row) for row in sample(rng))) for _ in range(times))


def assert_law(counts: Counter[tuple[int, ...]], probabilities: dict[tuple[int, ...], float]) -> None:
    """Chi-squared (rare sets pooled) below its 99.99 % quantile, and a total variation that sampling explains."""
    times = sum(counts.values())
    impossible = [s for s in counts if probabilities.get(s, 0.0) < 1e-12]
    assert not impossible, f"sets of probability 0 were drawn: {impossible[:3]}"
    expected = np.array([times * p for p in probabilities.values()])
    seen = np.array([counts[s] for s in probabilities], dtype=np.float64)
    common = expected >= 5
    cells = [(expected[common], seen[common]), (expected[~common].sum(keepdims=True), seen[~common].sum(keepdims=True))]
    statistic = sum(float(((o - e) ** 2 / e).sum()) for e, o in cells if e.sum() > 0)
    assert statistic < chi2.ppf(0.9999, max(1, int(common.sum()))), f"chi2 {statistic} of {common.sum()} cells"
    spread = np.sqrt(2 / np.pi * expected * (1 - expected / times)).sum() / 2 / times
    assert np.abs(seen - expected).sum() / 2 / times < 1.5 * spread + 3 / np.sqrt(times)
