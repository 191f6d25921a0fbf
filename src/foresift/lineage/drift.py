"""Whether a pool still looks like the one a model was trained from: two-sample tests, with no assumption on the shape.

Every p-value comes from shuffling which sample a row belongs to, so that equal distributions are flagged at the
stated rate and no oftener. Effect sizes stand beside it: with enough rows any difference is significant.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from foresift.core.arrays import Embeddings, Values
from foresift.core.errors import NonFiniteError, UsageError

SHUFFLES = 499
MOST_ROWS = 500
"""Rows of each side that a test looks at, drawn at random: the tests cost their square."""
LEAST_ROWS = 10
PSI_BINS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class TwoSamples:
    """One comparison of two samples."""

    statistic: float
    p: float
    """Share of shuffles, the observed one counted among them, that lie at least as far apart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupDrift:
    """One source of a pool against the reference."""

    group: str
    n: int
    mean_score: float
    psi: float
    """Population stability index of the scores; usual reading: below 0.1 stable, above 0.25 shifted."""
    scores: TwoSamples
    """Kolmogorov and Smirnov's largest distance of the distribution functions."""
    embeddings: TwoSamples
    """Squared maximum mean discrepancy under a Gaussian kernel."""
    flagged: tuple[str, ...] = ()
    """``scores``, ``embeddings``: which of the tests hold after correction for all tests made."""


def ks_permutation(first: Values, second: Values, *, rng: np.random.Generator, shuffles: int = SHUFFLES) -> TwoSamples:
    """Kolmogorov and Smirnov's test of two samples, its p-value by shuffling; exact at any size, with ties.

    Args:
        first, second: (m,) and (n,) finite values.
    O(s (m + n)) time and memory for s shuffles.
    Source: Smirnov 1939; Phipson and Smyth 2010 for the observed statistic among the shuffled ones.
    """
    together = np.concatenate([first, second]).astype(np.float64)
    order = np.argsort(together, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(together[order])), len(together) - 1)
    signs = _signs(len(first), len(second), rng, shuffles)[:, order]
    apart = np.abs(np.cumsum(signs, axis=1)[:, ends]).max(axis=1)
    return _judged(apart)


def mmd_permutation(
    first: Embeddings, second: Embeddings, *, rng: np.random.Generator, shuffles: int = SHUFFLES
) -> TwoSamples:
    """Squared maximum mean discrepancy (biased), its p-value by shuffling.

    The kernel is exp(-d^2 / m), with m the median squared distance between different rows.

    Args:
        first, second: (m, d) and (n, d) finite rows.
    O((m + n)^2 (d + s)) time, (m + n)^2 numbers of memory.
    Source: Gretton et al. 2012, A Kernel Two-Sample Test, eq. 5.
    """
    rows = np.concatenate([first, second]).astype(np.float64)
    rows -= rows.mean(axis=0)
    squares = np.einsum("nd,nd->n", rows, rows)
    distances = np.maximum(squares[:, None] + squares[None, :] - 2 * rows @ rows.T, 0)
    positive = distances[np.triu_indices(len(rows), 1)]
    positive = positive[positive > 0]
    kernel = np.exp(-distances / (np.median(positive) if len(positive) else 1.0))
    signs = _signs(len(first), len(second), rng, shuffles)
    return _judged(np.einsum("sn,sn->s", signs @ kernel, signs))


def stability_index(reference: Values, values: Values) -> float:
    """Population stability index over tenths of the reference; 0 for equal shares.

    Each share counts as at least half a row, so that an empty bin gives no infinity.
    """
    edges = np.unique(np.quantile(reference, np.linspace(0, 1, PSI_BINS + 1)[1:-1]))
    shares = []
    for sample in (reference, values):
        counts = np.bincount(np.searchsorted(edges, sample, side="right"), minlength=len(edges) + 1)
        shares.append(np.maximum(counts, 0.5) / len(sample))
    expected, came = shares
    return float(((came - expected) * np.log(came / expected)).sum())


def holm(p_values: Sequence[float], *, alpha: float) -> list[bool]:
    """Which hypotheses are rejected, so that any false rejection among all has probability at most ``alpha``.

    Source: Holm 1979.
    """
    order = np.argsort(p_values, kind="stable")
    rejected = [False] * len(p_values)
    for done, at in enumerate(order.tolist()):
        if p_values[at] > alpha / (len(p_values) - done):
            break
        rejected[at] = True
    return rejected


def group_drift(
    scores: tuple[Values, Values],
    embeddings: tuple[Embeddings, Embeddings],
    groups: npt.NDArray[np.str_],
    *,
    rng: np.random.Generator,
    alpha: float = 0.01,
) -> list[GroupDrift]:
    """Each group of a pool against the reference, the most shifted first.

    Args:
        scores: (m,) of the reference and (n,) of the pool.
        embeddings: (m, d) and (n, d) likewise.
        groups: (n,) the source of each row of the pool; those below ``LEAST_ROWS`` rows are left out.
        alpha: rate of any false alarm among all groups and both tests.
    Raises:
        UsageError: too few rows, or an ``alpha`` that the shuffles can't resolve for so many groups.
        NonFiniteError: values that are not finite.
    """
    for pair in (scores, embeddings):
        if not all(np.isfinite(values).all() for values in pair):
            raise NonFiniteError("scores and embeddings must be finite")
    names, counts = np.unique(groups, return_counts=True)
    names = names[counts >= LEAST_ROWS]
    if len(scores[0]) < LEAST_ROWS or not len(names):
        raise UsageError(f"a comparison needs at least {LEAST_ROWS} rows on either side")
    shuffles = max(SHUFFLES, math.ceil(2 * 2 * len(names) / alpha))
    found = [_one(name, scores, embeddings, groups == name, rng, shuffles) for name in names.tolist()]
    rejected = holm([test.p for one in found for test in (one.scores, one.embeddings)], alpha=alpha)
    flagged = [_with_flags(one, rejected[2 * at : 2 * at + 2]) for at, one in enumerate(found)]
    return sorted(flagged, key=lambda one: (-len(one.flagged), min(one.scores.p, one.embeddings.p), one.group))


def _one(
    name: str,
    scores: tuple[Values, Values],
    embeddings: tuple[Embeddings, Embeddings],
    rows: npt.NDArray[np.bool_],
    rng: np.random.Generator,
    shuffles: int,
) -> GroupDrift:
    mine = np.flatnonzero(rows)
    some, few = _some(np.arange(len(scores[0])), rng), _some(mine, rng)
    return GroupDrift(
        group=name,
        n=len(mine),
        mean_score=float(scores[1][mine].mean()),
        psi=stability_index(scores[0], scores[1][mine]),
        scores=ks_permutation(scores[0][some], scores[1][few], rng=rng, shuffles=shuffles),
        embeddings=mmd_permutation(embeddings[0][some], embeddings[1][few], rng=rng, shuffles=shuffles),
    )


def _with_flags(one: GroupDrift, rejected: Sequence[bool]) -> GroupDrift:
    names = tuple(name for name, holds in zip(("scores", "embeddings"), rejected, strict=True) if holds)
    return replace(one, flagged=names)


def _some(rows: npt.NDArray[np.intp], rng: np.random.Generator) -> npt.NDArray[np.intp]:
    return rows if len(rows) <= MOST_ROWS else rng.choice(rows, MOST_ROWS, replace=False)


def _signs(m: int, n: int, rng: np.random.Generator, shuffles: int) -> npt.NDArray[np.float64]:
    """(s + 1, m + n): 1/m for rows of the first sample, -1/n for the second; as observed, then shuffled."""
    observed = np.concatenate([np.full(m, 1 / m), np.full(n, -1 / n)])
    return np.concatenate([observed[None], rng.permuted(np.tile(observed, (shuffles, 1)), axis=1)])


def _judged(statistics: Values) -> TwoSamples:
    """The first is the observed one; equal to the last bits counts as equal."""
    observed = float(statistics[0])
    reached = np.count_nonzero(statistics >= observed - 1e-12 * max(1.0, abs(observed)))
    return TwoSamples(statistic=observed, p=reached / len(statistics))
