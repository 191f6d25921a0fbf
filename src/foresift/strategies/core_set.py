"""Cover the pool at the smallest radius: greedy k-center, refined by integer programming where the pool is small."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from foresift.core.arrays import Rows
from foresift.core.errors import UsageError
from foresift.core.matrices import RowMatrix
from foresift.core.queries import Picks, Query
from foresift.kernels.cover import Cover, Limits, Problem, radius_of, smallest_cover
from foresift.kernels.k_center import central_row, k_center
from foresift.kernels.topk import top_k
from foresift.selection.base import Strategy
from foresift.selection.registry import strategy
from foresift.strategies.k_center import METRICS, check_choice, finite_scores, measured_in


@strategy
@dataclass(frozen=True, kw_only=True)
class CoreSet(Strategy):
    """The k candidates that, with all labeled samples, cover the pool at the smallest radius, outliers left out.

    Up to ``max_exact`` samples the radius of greedy k-center is lowered by bisection, each step an
    integer program, until it is proven the best or a limit stops it; ``approx`` says if one did.
    Above that it is greedy k-center that passes over the farthest candidates, the outliers.
    Picks are in farthest-first order; the score of each is its distance when it was picked.

    Args:
        metric: ``euclidean`` or ``cosine``, as for ``k-center``.
        outliers: share of the candidates that need not be covered; 1e-4 is the paper's.
        max_exact: candidates and labeled samples up to which integer programs run.
        nodes, time_limit_s: limits of each of some ten programs. The nodes decide first in most
            pools, which keeps results the same on every machine.
    Cost: seconds for hundreds of samples in a few dimensions, where minutes are possible; beyond
        ``max_exact`` that of ``k-center``.
    Source: Sener and Savarese 2018, section 4.3; HiGHS solves the programs in place of Gurobi.
    """

    name: ClassVar[str] = "core-set"
    aliases: ClassVar[tuple[str, ...]] = ("CoreSet",)
    cite: ClassVar[str] = "Sener and Savarese 2018"
    cost: ClassVar[str] = "integer programs up to max_exact samples, at worst exponential; above, that of k-center"
    when: ClassVar[str] = "to cover a small pool at the smallest radius, or a large one without its outliers"
    needs: ClassVar[tuple[str, ...]] = ("embeddings",)

    metric: str = "euclidean"
    outliers: float = 1e-4
    max_exact: int = 300
    nodes: int = 1000
    time_limit_s: float = 60.0

    def __post_init__(self) -> None:
        check_choice("metric", self.metric, METRICS)
        if not 0 <= self.outliers < 1:
            raise UsageError(f"outliers must be a share within 0 .. 1, 1 left out, got {self.outliers!r}")
        if self.max_exact < 0 or self.nodes < 1 or not self.time_limit_s > 0:
            raise UsageError(
                "max_exact must be 0 or more, nodes 1 or more and time_limit_s above 0, "
                f"got {self.max_exact!r}, {self.nodes!r} and {self.time_limit_s!r}"
            )

    def pick(self, query: Query, rng: np.random.Generator) -> Picks:  # noqa: ARG002 - nothing is random
        """k rows in farthest-first order; ``details`` say the radius, and that of the greedy start."""
        matrix, centres = measured_in(self.metric, query.matrix("embeddings"), query.labeled_matrix("embeddings"))
        spare = max(0, len(query) - query.budget - 1)
        ignored = min(int(self.outliers * len(query)), spare)
        if len(matrix) + len(centres) <= self.max_exact:
            return self._refined(matrix, centres, query.budget, ignored)
        return _greedy(matrix, centres, query.budget, ignored)

    def _refined(self, matrix: RowMatrix, centres: RowMatrix, budget: int, ignored: int) -> Picks:
        start = k_center(matrix, budget, centres=centres, first=_first(matrix, centres)).rows
        problem = _problem(matrix, centres, budget, ignored)
        cover = smallest_cover(problem, start, limits=Limits(self.nodes, self.time_limit_s))
        rows, distances = _in_order(problem, cover.rows)
        return Picks(
            rows=rows,
            scores=finite_scores(distances),
            solver="milp",
            approx=_what_is_unproven(cover),
            details={
                "radius": cover.radius,
                "radius_before": radius_of(problem, start),
                "radius_at_least": cover.lower,
                "outliers": ignored,
            },
        )


def _first(matrix: RowMatrix, centres: RowMatrix) -> int | None:
    return None if len(centres) else central_row(matrix)


def _greedy(matrix: RowMatrix, centres: RowMatrix, budget: int, ignored: int) -> Picks:
    beyond = min(budget + 1, len(matrix))  # the pick after the last is as far as the radius is wide
    found = k_center(matrix, beyond, centres=centres, first=_first(matrix, centres), ignored=ignored)
    radius = float(found.distances[budget]) if beyond > budget else 0.0
    return Picks(
        rows=found.rows[:budget],
        scores=finite_scores(found.distances)[:budget],
        solver="greedy, outliers ignored" if ignored else "greedy",
        approx=f"greedy that passes over the {ignored} farthest candidates; no bound on its radius"
        if ignored
        else "greedy; its radius is at most twice the smallest",
        details={"radius": radius, "outliers": ignored},
    )


def _problem(matrix: RowMatrix, centres: RowMatrix, budget: int, ignored: int) -> Problem:
    from scipy.spatial.distance import cdist

    rows, known = matrix.whole().astype(np.float64), centres.whole().astype(np.float64)
    return Problem(cdist(rows, rows), cdist(rows, known).min(axis=1, initial=np.inf), budget, ignored)


def _in_order(problem: Problem, chosen: Rows) -> tuple[Rows, npt.NDArray[np.float64]]:
    """The chosen rows by farthest first, then others until there are k, outliers passed over; ties to the lower row."""
    nearest = problem.base.copy()
    left, order, distances = np.sort(chosen), list[int](), list[float]()
    while len(order) < problem.budget:
        filling = len(order) >= len(chosen)
        if filling:
            left = np.setdiff1d(np.arange(len(nearest)), order)
        at = top_k(nearest[left], problem.outliers + 1)[-1] if filling else np.argmax(nearest[left])
        row = int(left[at])
        order.append(row)
        distances.append(nearest[row])
        nearest, left = np.minimum(nearest, problem.between[:, row]), np.delete(left, at)
    return np.array(order, dtype=np.intp), np.array(distances)


def _what_is_unproven(cover: Cover) -> str:
    if not cover.unproven:
        return ""
    return (
        f"limits ended {cover.unproven} of the integer programs: "
        f"the radius is {cover.radius:.6g}, the smallest possible at least {cover.lower:.6g}"
    )
