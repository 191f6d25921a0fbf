"""Two readings of the uncertainty-aware paper's Eq. 3, for one query: as a distance, and as printed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from foresift.core.arrays import Rows, Values
from foresift.core.errors import UsageError
from foresift.core.queries import Picks, Query
from foresift.kernels.dpp_chain import ChainEnd, up_down_chain
from foresift.kernels.dpp_ensembles import Ensemble, conditioned_kernel, primal_ensemble
from foresift.kernels.dpp_features import MEDIAN_ROWS, Array, Geometry, points_of, typical_distance
from foresift.kernels.dpp_map import ExplainedKernel, Greedy, greedy_map
from foresift.kernels.dpp_uncertain import Clipped, DistanceKernel, UncertainDistance, clipped, literal_kernel
from foresift.strategies import dpp_similarity
from foresift.strategies.dpp_strategy import MAP_APPROX

CHAIN_ROWS = 50_000
"""More candidates than these would take a Markov chain hours to visit."""
CHAIN_BYTES = 2 << 30
"""Most memory of the start of a chain, and of conditioning it."""
CHAIN_WORK = 3e10
"""Multiplications of a chain whose number of steps was left open: a minute or two."""
EQUATION_ROWS = 4000
"""Eq. 3 as printed needs all eigenvalues of an n x n matrix."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Equation:
    """Points and uncertainty of the candidates, followed by those of the labeled rows that condition them."""

    points: Array
    """(n + m, d) rows of length 1"""
    uncertainty: Values
    """(n + m,) within 0 .. 1"""
    n: int
    a: float
    b: float
    noise: float

    @property
    def candidates(self) -> Rows:
        """(n,)"""
        return np.arange(self.n)

    @property
    def labeled(self) -> Rows:
        """(m,)"""
        return np.arange(self.n, len(self.points))

    def as_distance(self, scale: float, rng: np.random.Generator) -> DistanceKernel:
        """exp(-D / tau) of candidates, given the labeled; tau is ``scale`` times the median D of drawn candidates."""
        distance = UncertainDistance(self.points, self.uncertainty, self.a, self.b)
        drawn = np.sort(rng.permutation(self.n)[:MEDIAN_ROWS])
        pairs = distance(drawn, drawn)[np.triu_indices(len(drawn), 1)]
        kernel = DistanceKernel(distance, scale * typical_distance(pairs))
        return kernel.given(self.labeled, noise=self.noise) if len(self.labeled) else kernel

    def as_printed(self) -> tuple[Ensemble, Clipped]:
        """Eq. 3 without its negative eigenvalues, given the labeled; and what was removed."""
        found = clipped(literal_kernel(self.points, self.uncertainty, a=self.a, b=self.b))
        whole, n = found.matrix, self.n
        kernel = conditioned_kernel(whole[:n, :n], whole[:n, n:], whole[n:, n:], noise=self.noise)
        return primal_ensemble(kernel, floor=dpp_similarity.ROUNDING * n * float(whole.max())), found


def equation_of(
    query: Query, uncertainty: Values, of_labeled: Values, *, a: float, b: float, noise: float, most: int
) -> Equation:
    """The query's candidates and labeled rows for Eq. 3.

    Args:
        uncertainty: (n,) of the candidates.
        of_labeled: (m,) of the labeled rows; empty where they don't condition.
        most: rows that are feasible.
    Raises:
        NonFiniteError: an embedding holds NaN or infinity.
        UsageError: more rows than ``most``.
    """
    matrix, geometry = dpp_similarity.finite_embeddings(query), Geometry()
    if len(matrix) + len(of_labeled) > most:
        raise UsageError(
            f"this form of ua-dpp holds at most {most} rows, got {len(matrix)} candidates and {len(of_labeled)} "
            "labeled; take form=quality, which has no such limit"
        )
    points = points_of(matrix, geometry)
    if len(of_labeled):
        points = np.concatenate([points, points_of(query.labeled_matrix("embeddings"), geometry)])
    return Equation(
        points=points, uncertainty=np.concatenate([uncertainty, of_labeled]), n=len(matrix), a=a, b=b, noise=noise
    )


def distance_ensemble(equation: Equation, kernel: DistanceKernel) -> Ensemble:
    """The kernel of all candidates as a matrix; O(n^3)."""
    rows = equation.candidates
    return primal_ensemble(kernel(rows, rows), floor=dpp_similarity.ROUNDING * equation.n)


def printed_ensemble(equation: Equation, k: int, psd: str) -> tuple[Ensemble, str, dict[str, Any]]:
    """Eq. 3 as printed, what was approximated about it, and the figures.

    Raises:
        UsageError: k above its rank; or negative eigenvalues and psd is ``raise``.
    """
    ensemble, found = equation.as_printed()
    if psd == "raise" and found.negative:
        raise UsageError(
            f"Eq. 3 as printed has {found.negative} negative eigenvalues, so it defines no DPP; "
            "take psd=clip, form=distance or form=quality"
        )
    if k > len(ensemble.eigenvalues):
        raise UsageError(
            f"Eq. 3 as printed has {found.positive} positive eigenvalues (at most d + 1 = "
            f"{equation.points.shape[1] + 1}, since max(u_i, u_j) adds one), so no more picks than that, got {k}; "
            "take form=distance or form=quality"
        )
    share = f"{100 * found.removed:.3g} % of the spectrum's mass"
    approx = f"Eq. 3: {found.negative} negative eigenvalues, {share}, were set to 0" if found.negative else ""
    return ensemble, approx, {"negative_eigenvalues": found.negative, "removed_negative_mass": found.removed}


def chain_picks(
    equation: Equation, kernel: DistanceKernel, k: int, rng: np.random.Generator, *, steps: int, method: str
) -> Picks:
    """The greedy maximum, or the end of a Markov chain that starts from it.

    Raises:
        UsageError: too little memory for k picks, or copies without uncertainty leave fewer than k.
    """
    start = _greedy_start(equation, kernel, k)
    if method == "map":
        return Picks(rows=start.rows, scores=start.gains, solver="lazy greedy maximum of det(L_Y)", approx=MAP_APPROX)
    count = steps or automatic_steps(equation.n, k, equation.points.shape[1])
    end = up_down_chain(kernel, start.rows, n=equation.n, steps=count, rng=rng)
    approx = (
        f"MCMC: {count} steps of the up-down chain from the greedy maximum, {count / equation.n:.2g} for each "
        "candidate; its law approaches the k-DPP as steps grow, without a bound at this number"
    )
    return Picks(rows=end.rows, solver="up-down Markov chain", approx=approx, details=_diagnostics(end, count))


def automatic_steps(n: int, k: int, d: int) -> int:
    """n log k steps, which propose every candidate a few times, or as many as ``CHAIN_WORK`` allows."""
    return max(1, min(math.ceil(n * math.log(k + 1)), int(CHAIN_WORK / (k * (k + d)))))


def _greedy_start(equation: Equation, kernel: DistanceKernel, k: int) -> Greedy:
    if 8 * equation.n * (k + len(equation.labeled)) > CHAIN_BYTES:
        raise UsageError(
            f"form=distance for {k} of {equation.n} candidates given {len(equation.labeled)} labeled takes more than "
            f"{CHAIN_BYTES >> 30} GiB; take form=quality, condition=none or a smaller budget"
        )
    diagonal = np.ones(equation.n)
    if kernel.explained is not None:
        rows = kernel.explained[: equation.n]
        diagonal -= np.einsum("ij,ij->i", rows, rows)
    found = greedy_map(diagonal, ExplainedKernel(kernel, equation.n, k), k)
    if len(found.rows) < k:
        raise UsageError(
            f"the kernel of form=distance has rank {len(found.rows)} (copies whose uncertainty is 0), "
            f"below the budget of {k}; remove copies, or take form=quality"
        )
    return found


def _diagnostics(end: ChainEnd, steps: int) -> dict[str, Any]:
    """What speaks for or against the chain having forgotten its start."""
    half = len(end.log_det) // 2
    return {
        "steps": steps,
        "acceptance": end.acceptance,
        "log_det_start": float(end.log_det[0]),
        "log_det_end": float(end.log_det[-1]),
        "log_det_first_half": float(end.log_det[: half + 1].mean()),
        "log_det_second_half": float(end.log_det[half:].mean()),
    }
