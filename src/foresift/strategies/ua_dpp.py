"""Batches that are diverse and uncertain at once: uncertainty-aware k-DPPs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from foresift.core.arrays import Rows, Values
from foresift.core.errors import UsageError
from foresift.core.matrices import RowMatrix
from foresift.core.queries import Picks, Query
from foresift.kernels.dpp_features import geometry_of
from foresift.kernels.dpp_uncertain import Bounded, bounded_gamma, quality
from foresift.kernels.kmeans import kmeans
from foresift.scores.registry import SCORES
from foresift.selection.base import check_finite
from foresift.selection.registry import strategy
from foresift.strategies import dpp_similarity
from foresift.strategies.dpp_equation import (
    CHAIN_ROWS,
    EQUATION_ROWS,
    Equation,
    chain_picks,
    distance_ensemble,
    equation_of,
    printed_ensemble,
)
from foresift.strategies.dpp_similarity import Similarity
from foresift.strategies.dpp_strategy import DppStrategy, check_choice, check_positive, every_candidate

STRATA_ROWS = 10_000
"""Candidates on which expectations of strata are computed, drawn at random where there are more."""
MANY_PICKS = 1_500
"""Above this budget fewer candidates are drawn, and of these no more picks than their share: else a sample is
exhausted where the pool is not, and no stratum seems to starve."""
FEWER_STRATA_ROWS = 3_000
"""Candidates then: no more than there are features, so that their kernel is a matrix."""
LEAST_SHARE = 10
"""One in so many of the candidates drawn is picked at least: expectations of less say little."""
MOST_STRATA = 64
PICKS_A_STRATUM = 5
LARGEST_GAMMA = 10.0


@strategy
@dataclass(frozen=True, kw_only=True)
class UaDpp(DppStrategy):
    """Uncertainty-aware k-DPP: diverse picks, more of them where the model is unsure, none of the pool starved.

    ``quality``: L = diag(q) K diag(q) with q^2 = exp(gamma u), u the score within 0 .. 1; a pick's
    probability rises with its u. gamma is lowered until every k-means stratum from which the plain
    k-DPP expects 3 picks or more still expects 1 (below 10 picks there are no two strata, gamma stays as
    asked, and the details say ``gamma_bounded: False``). ``distance``: the paper's prose, exp(-D / tau) with
    D = a max(u_i, u_j) + b (1 - cosine); up to 50,000 candidates. ``paper``: Eq. 3 as printed,
    a max(u_i, u_j) + b cosine, which is not positive semi-definite and holds at most d + 1 picks.

    Args:
        form: ``quality``, ``distance`` or ``paper``.
        score: a score of logits with values within 0 .. 1; entropy is divided by log c.
        gamma: log of the largest weight of ``quality``, within 0 .. 10.
        a, b: weights of uncertainty and similarity in the other two forms.
        psd: ``clip`` drops the negative eigenvalues of ``paper`` and reports their share; ``raise`` refuses.
        steps: exchanges of the Markov chain that ``distance`` takes beyond 2,000 rows; 0 = by size.
    Cost: that of k-dpp, and up to seven more eigendecompositions while gamma is bounded; ``distance``
        O(steps k (k + d)).
    Source: Neven and Goedemé 2022, Eq. 3 and Fig. 2; only ``form=paper,condition=none`` follows it to the letter.
    """

    name: ClassVar[str] = "ua-dpp"
    aliases: ClassVar[tuple[str, ...]] = ("UncertaintyAwareDPP",)
    cite: ClassVar[str] = "Neven and Goedemé 2022, Eq. 3; Kulesza and Taskar 2012, section 3.1"
    cost: ClassVar[str] = "O(n D^2 + D^3 + k^3 log k) time, O(D^2) memory, D = 2 k"
    when: ClassVar[str] = "uncertain samples wanted, without near copies and without losing rare regions"
    needs: ClassVar[tuple[str, ...]] = ("logits", "embeddings")
    form: str = "quality"
    score: str = "entropy"
    gamma: float = 2.0
    a: float = 0.4
    b: float = 0.6
    psd: str = "clip"
    steps: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice(self.name, "form", self.form, ("quality", "distance", "paper"))
        check_choice(self.name, "psd", self.psd, ("clip", "raise"))
        for name in ("a", "b"):
            check_positive(self.name, name, getattr(self, name))
        if not 0 <= self.gamma <= LARGEST_GAMMA:
            raise UsageError(f"{self.name}: gamma must be within 0 .. {LARGEST_GAMMA:g}, got {self.gamma}")
        if self.steps < 0:
            raise UsageError(f"{self.name}: steps must be 0 or more, got {self.steps}")
        if SCORES.get(self.score).needs != ("logits",):
            raise UsageError(f"{self.name}: score must need logits only, got {self.score!r}")
        if self.form != "quality" and (self.kernel, self.metric) != ("rbf", "cosine"):
            raise UsageError(f"{self.name}: form={self.form} takes the cosine; leave kernel and metric as they are")

    def pick(self, query: Query, rng: np.random.Generator) -> Picks:
        """A draw of the k-DPP of the chosen form, or its greedy maximum."""
        uncertainty = self._uncertainty(query)
        if query.budget == len(query):
            return every_candidate(query)
        by_form = {"quality": self._by_quality, "distance": self._by_distance, "paper": self._as_printed}
        return by_form[self.form](query, uncertainty, rng)

    def _by_quality(self, query: Query, uncertainty: Values, rng: np.random.Generator) -> Picks:
        similarity = self.similarity(query, rng)
        most = STRATA_ROWS if query.budget <= MANY_PICKS else FEWER_STRATA_ROWS
        rows = np.sort(rng.permutation(len(query))[:most])
        bounded = self._bounded(similarity, query, uncertainty, rows, rng)
        ensemble = similarity.ensemble(quality(uncertainty, bounded.gamma))
        details = {**similarity.details, "form": self.form, **gamma_details(self.gamma, bounded)}
        sampled = ""
        if len(rows) < len(query):
            k = picks_of_sample(query.budget, len(rows), len(query))
            sampled = f"gamma was bounded on {len(rows)} candidates drawn at random, of which {k} would be picked"
        approx = "; ".join(part for part in (similarity.approx, sampled) if part)
        return self.picks(ensemble, query, rng, approx=approx, details=details)

    def _by_distance(self, query: Query, uncertainty: Values, rng: np.random.Generator) -> Picks:
        equation = self._equation(query, uncertainty, most=CHAIN_ROWS)
        kernel = equation.as_distance(self.scale, rng)
        details = {"form": self.form, "tau": kernel.tau, "conditioned_on": len(equation.labeled)}
        if len(equation.points) <= dpp_similarity.EXACT_ROWS:
            return self.picks(distance_ensemble(equation, kernel), query, rng, approx="", details=details)
        picks = chain_picks(equation, kernel, query.budget, rng, steps=self.steps, method=self.method)
        return replace(picks, details={**details, **picks.details})

    def _as_printed(self, query: Query, uncertainty: Values, rng: np.random.Generator) -> Picks:
        equation = self._equation(query, uncertainty, most=EQUATION_ROWS)
        ensemble, approx, figures = printed_ensemble(equation, query.budget, self.psd)
        details = {"form": self.form, "conditioned_on": len(equation.labeled), **figures}
        return self.picks(ensemble, query, rng, approx=approx, details=details)

    def _equation(self, query: Query, uncertainty: Values, *, most: int) -> Equation:
        labeled = self._of_labeled(query)
        return equation_of(query, uncertainty, labeled, a=self.a, b=self.b, noise=self.noise, most=most)

    def _bounded(
        self, similarity: Similarity, query: Query, uncertainty: Values, rows: Rows, rng: np.random.Generator
    ) -> Bounded:
        """gamma, lowered so that no stratum of ``rows`` starves."""
        count = min(MOST_STRATA, query.budget // PICKS_A_STRATUM)
        if self.gamma == 0 or count < 2 or np.ptp(uncertainty) == 0:
            return Bounded(self.gamma, np.inf)
        part, own = similarity.subset(rows), uncertainty[rows]
        k = picks_of_sample(query.budget, len(rows), len(query))
        matrix = query.matrix("embeddings")
        points = geometry_of(matrix, self.metric).place(matrix.take(rows))
        strata = kmeans(RowMatrix(array=points), count, rng).assignment
        of_all = k / query.budget if query.budget > MANY_PICKS else 1.0
        return bounded_gamma(lambda gamma: part.ensemble(quality(own, gamma)), strata, k, self.gamma, scale=of_all)

    def _uncertainty(self, query: Query) -> Values:
        """(n,) the score of every candidate within 0 .. 1."""
        values = check_finite(SCORES.get(self.score).over(len(query), query.block), query, name=self.score)
        return self._within_one(values, query.block("logits", 0, 1).shape[1])

    def _of_labeled(self, query: Query) -> Values:
        """(m,) that of the labeled rows that have predictions; none where they don't condition."""
        if self.condition == "none" or "logits" not in query.labeled_columns:
            return np.empty(0)
        logits = query.labeled_columns["logits"]
        return self._within_one(SCORES.get(self.score)(logits), logits.shape[1]) if len(logits) else np.empty(0)

    def _within_one(self, values: Values, classes: int) -> Values:
        scaled = values.astype(np.float64)
        if SCORES.get(self.score) is SCORES.get("entropy"):
            scaled /= max(np.log(classes), np.finfo(np.float64).tiny)
        if scaled.min(initial=0.0) < -1e-5 or scaled.max(initial=0.0) > 1 + 1e-5:
            raise UsageError(f"{self.name}: score must lie within 0 .. 1, {self.score} reaches {scaled.max():.4g}")
        return np.asarray(np.clip(scaled, 0.0, 1.0))


def picks_of_sample(budget: int, rows: int, n: int) -> int:
    """Picks that a sample of the pool is asked for in place of the pool."""
    if budget <= MANY_PICKS:
        return min(budget, rows)
    return min(budget, max(round(budget * rows / n), rows // LEAST_SHARE))


def gamma_details(asked: float, bounded: Bounded) -> dict[str, Any]:
    """What became of gamma, for the receipt."""
    details: dict[str, Any] = {"gamma": bounded.gamma, "gamma_asked": asked}
    if np.isinf(bounded.fewest):
        return {**details, "gamma_bounded": False}
    return {**details, "fewest_expected_of_a_stratum": bounded.fewest}
