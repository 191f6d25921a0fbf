"""The smallest radius at which k rows cover all others, by mixed-integer programming; for small pools."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from foresift.core.arrays import Rows

Distances = npt.NDArray[np.float64]


class Problem(NamedTuple):
    """Which k of n rows to open as centres, so that all rows but ``outliers`` are near one."""

    between: Distances
    """(n, n) distance of each row to each possible centre."""
    base: Distances
    """(n,) distance to the nearest centre that is open already; infinite where there is none."""
    budget: int
    outliers: int = 0
    """How many rows may be far from every centre."""


class Limits(NamedTuple):
    """When to give up on one radius."""

    nodes: int
    time_s: float


class Cover(NamedTuple):
    """At most k rows, the radius at which they cover the others, and what is proven of the best radius."""

    rows: Rows
    radius: float
    lower: float
    """No choice of k rows covers at a smaller radius than this."""
    unproven: int
    """Radii at which the search gave up."""


def smallest_cover(problem: Problem, start: Rows, *, limits: Limits) -> Cover:
    """The best cover, found by bisection over the distances between half the radius of ``start`` and that radius.

    Args:
        start: (k,) rows of the greedy algorithm, whose radius is at most twice the best without outliers.
    Cost: O(n^2) memory; some ten integer programs of n variables and n constraints, each of
        exponential time at worst and cut off at the limits.
    Source: Sener and Savarese 2018, section 4.3. Their assignment variables (row i to centre j)
        are left out: a row is covered if some centre in reach is open, which has the same solutions.
    """
    best, radius = start, radius_of(problem, start)
    radii = np.unique(np.append(problem.between, problem.base))
    low = 0 if problem.outliers else int(np.searchsorted(radii, radius / 2 * (1 - 1e-9)))
    high, proven, unproven = int(np.searchsorted(radii, radius)), low, 0
    while low < high:
        middle = (low + high) // 2
        rows, sure = cover_within(problem, radii[middle], limits=limits)
        if rows is not None:
            best, radius = rows, radius_of(problem, rows)
            high = int(np.searchsorted(radii, radius))
        else:
            low = middle + 1
            proven, unproven = (low, unproven) if sure else (proven, unproven + 1)
    return Cover(best, radius, float(radii[min(proven, high)]), unproven)


def radius_of(problem: Problem, rows: Rows) -> float:
    """The distance of the farthest row to its nearest centre, outliers left out."""
    nearest = np.minimum(problem.base, problem.between[:, rows].min(axis=1, initial=np.inf))
    return float(np.sort(nearest)[len(nearest) - 1 - problem.outliers])


def cover_within(problem: Problem, radius: float, *, limits: Limits) -> tuple[Rows | None, bool]:
    """At most k rows that cover all others within ``radius``, or None; and whether that answer is sure."""
    near = (problem.between <= radius)[problem.base > radius]
    rows = greedy_cover(near, budget=problem.budget, outliers=problem.outliers)
    if rows is not None:
        return rows, True
    rows, sure = _solve(near, problem, limits)
    if rows is not None and radius_of(problem, rows) > radius:  # beyond the solver's tolerance: not a solution
        return None, False
    return rows, sure


def greedy_cover(near: npt.NDArray[np.bool_], *, budget: int, outliers: int) -> Rows | None:
    """Rows picked by how many others they newly cover, the lower of equal ones; None if ``budget`` are too few.

    Args:
        near: (m, n) whether each row that is to be covered is in reach of each possible centre.
    """
    left = near
    picked: list[int] = []
    while len(left) > outliers:
        if len(picked) == budget:
            return None
        picked.append(int(left.sum(axis=0).argmax()))
        left = left[~left[:, picked[-1]]]
    return np.array(picked, dtype=np.intp)


def _solve(near: npt.NDArray[np.bool_], problem: Problem, limits: Limits) -> tuple[Rows | None, bool]:
    """Open k centres such that all rows to be covered but the outliers are in reach of one."""
    from scipy.optimize import Bounds, LinearConstraint, milp
    from scipy.sparse import csr_array, eye_array, hstack

    m, n = near.shape
    reach: Any = hstack([csr_array(near, dtype=np.float64), eye_array(m)], format="csr")
    open_, missed = np.append(np.ones(n), np.zeros(m)), np.append(np.zeros(n), np.ones(m))
    result = milp(
        np.zeros(n + m),
        integrality=np.ones(n + m),
        bounds=Bounds(0, np.append(np.ones(n), np.full(m, float(problem.outliers > 0)))),
        constraints=[
            LinearConstraint(reach, 1, np.inf),
            LinearConstraint(open_, 0, problem.budget),
            LinearConstraint(missed, 0, problem.outliers),
        ],
        options={"node_limit": limits.nodes, "time_limit": limits.time_s},
    )
    if result.x is not None:
        return np.flatnonzero(result.x[:n] > 0.5), True
    return None, result.status == 2  # 2: proven to have no solution
