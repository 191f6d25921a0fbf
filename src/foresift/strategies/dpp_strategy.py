"""What DPP strategies share: their parameters, and picks from an ensemble."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from foresift.core.arrays import Rows
from foresift.core.errors import UsageError
from foresift.core.queries import Picks, Query
from foresift.kernels.dpp_elementary import check_rank
from foresift.kernels.dpp_ensembles import Ensemble
from foresift.kernels.dpp_exact import sample_beyond_rank
from foresift.kernels.dpp_map import ExplainedFeatures, greedy_map
from foresift.selection.base import Strategy
from foresift.strategies.dpp_similarity import Similarity, SimilarityChoice

CHOICES = {
    "method": ("sample", "map"),
    "kernel": ("rbf", "nystrom", "linear"),
    "metric": ("cosine", "euclidean"),
    "condition": ("labeled", "none"),
}
MAP_APPROX = (
    "greedy maximum of the determinant: the volume is at least 1 / k! of the largest "
    "(Civril and Magdon-Ismail 2009), in practice close to it"
)


@dataclass(frozen=True, kw_only=True)
class DppStrategy(Strategy):
    """Picks whose embeddings span a large volume; a subclass gives the kernel.

    Args:
        method: ``sample`` draws sets with probability prop. to det(L_Y); ``map`` maximises it greedily.
        kernel: ``rbf``: exp(-D / tau), exact for up to 2,000 rows, else by random Fourier features;
            ``nystrom``: the same by landmark rows; ``linear``: inner products, at most d picks.
        metric: D = 1 - cosine, or half the squared ``euclidean`` distance.
        scale: tau over the median distance, above 0; smaller repels at shorter range only.
        features: features of a large pool, at least the budget; 0 = twice the budget, within 1,024 .. 8,192.
        condition: ``labeled`` keeps away from labeled samples too, ``none`` only leaves them out.
        noise: variance that conditioning assumes, above 0: a copy of a labeled sample keeps
            noise / (1 + noise) of its own.
    """

    needs: ClassVar[tuple[str, ...]] = ("embeddings",)
    method: str = "sample"
    kernel: str = "rbf"
    metric: str = "cosine"
    scale: float = 0.5
    features: int = 0
    condition: str = "labeled"
    noise: float = 0.01

    def __post_init__(self) -> None:
        for name, known in CHOICES.items():
            check_choice(self.name, name, getattr(self, name), known)
        for name in ("scale", "noise"):
            check_positive(self.name, name, getattr(self, name))
        if self.features < 0:
            raise UsageError(f"{self.name}: features must be 0 or more, got {self.features}")

    def similarity(self, query: Query, rng: np.random.Generator) -> Similarity:
        """The kernel of the candidates that the parameters name."""
        choice = SimilarityChoice(
            kernel=self.kernel,
            metric=self.metric,
            scale=self.scale,
            features=self.features,
            conditioned=self.condition == "labeled",
            noise=self.noise,
        )
        return choice.of(query, rng)

    def picks(
        self, ensemble: Ensemble, query: Query, rng: np.random.Generator, *, approx: str, details: Mapping[str, Any]
    ) -> Picks:
        """Picks from an ensemble by the method that the parameters name, beyond its rank too."""
        rank, k = len(ensemble.eigenvalues), query.budget
        if self.kernel == "linear":
            check_rank(rank, k)
        found = sampled(ensemble, k, rng) if self.method == "sample" else maximised(ensemble, k)
        approximations = [part for part in (approx, found.approx, beyond_rank(rank, k)) if part]
        return Picks(
            rows=found.rows,
            scores=found.scores,
            solver=found.solver,
            approx="; ".join(approximations),
            details={**details, "rank": rank, **found.details},
        )


def beyond_rank(rank: int, k: int) -> str:
    """What happens to picks beyond the rank of the kernel, where every determinant is 0; empty for none."""
    if k <= rank:
        return ""
    return (
        f"rank {rank} of the kernel is exhausted by copies or a scale too large: the other {k - rank} picks are any of "
        "the rest, as for L + eps I when eps vanishes"
    )


def sampled(ensemble: Ensemble, k: int, rng: np.random.Generator) -> Picks:
    """An exact draw of the k-DPP; beyond the rank, its limit for L + eps I."""
    return Picks(rows=sample_beyond_rank(ensemble, k, rng), solver="exact k-DPP sample by rejection")


def maximised(ensemble: Ensemble, k: int) -> Picks:
    """The greedy maximum, with the residual of each pick; beyond the rank, the lowest rows left, of residual 0."""
    read = ensemble.feature_rows()
    width = read(np.zeros(1, dtype=np.intp)).shape[1]
    found = greedy_map(ensemble.diagonal(), ExplainedFeatures(read, k, width), k, share=ensemble.singular)
    rows, missing = with_rest(found.rows, len(ensemble), k), k - len(found.rows)
    return Picks(
        rows=rows,
        scores=np.concatenate([found.gains, np.zeros(missing)]),
        solver="lazy greedy maximum of det(L_Y)",
        approx=MAP_APPROX,
        details={"residuals_refreshed": found.refreshed, "independent": len(found.rows)},
    )


def with_rest(rows: Rows, n: int, k: int) -> Rows:
    """(k,) ``rows`` and the lowest others: beyond the rank every choice has the same determinant."""
    others = np.setdiff1d(np.arange(n), rows)
    return np.concatenate([rows, others[: k - len(rows)]])


def every_candidate(query: Query) -> Picks:
    """All n rows, in order of id: there is nothing to choose."""
    return Picks(rows=np.arange(len(query)), solver="every candidate")


def check_choice(strategy: str, name: str, value: str, known: tuple[str, ...]) -> None:
    """Raise ``UsageError`` unless ``value`` is one of ``known``."""
    if value not in known:
        raise UsageError(f"{strategy}: {name} must be {' or '.join(known)}, got {value!r}")


def check_positive(strategy: str, name: str, value: float) -> None:
    """Raise ``UsageError`` unless ``value`` is above 0 and finite."""
    if not (value > 0 and math.isfinite(value)):
        raise UsageError(f"{strategy}: {name} must be above 0, got {value}")
