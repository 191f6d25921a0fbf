"""Exponential learning curves y = a exp(-rate x) + c, fitted to a handful of evaluations."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from foresift.core.ranges import check_at_least

Array = npt.NDArray[np.float64]

RATES = np.geomspace(0.05, 2.5, 60)
"""(60,) the grid of the robust fit."""
_RATE_MEDIAN, _RATE_SIGMA = 0.35, 0.7
_GAIN_MEAN, _GAIN_SD = 0.04, 0.06
_CEILING_RISE, _CEILING_SD = 0.04, 0.25
_SEARCH = (math.log(1e-3), math.log(20.0))
_SEARCH_POINTS = 61
_SEARCH_ZOOMS = 8


class Forecast(NamedTuple):
    """An accuracy that is expected, within [0, 1]."""

    value: float
    low: float | None = None
    """Ends of the interval of the curve itself, the noise of one evaluation aside; None where a fit gives none."""
    high: float | None = None


class Curve(Protocol):
    """A fitted curve."""

    def at(self, x: float) -> Forecast:
        """The accuracy at a place of the x axis that was fitted on."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Exponential:
    """One curve, without an interval; ``drop = 0`` makes it a constant."""

    drop: float
    """a: how far the start lies from the ceiling; negative when accuracy rises."""
    rate: float
    ceiling: float
    """c: where it leads."""

    def at(self, x: float) -> Forecast:
        """The curve, clipped to [0, 1]."""
        return Forecast(value=_share(self.drop * math.exp(-self.rate * x) + self.ceiling))


@dataclass(frozen=True, slots=True, kw_only=True)
class ExponentialFamily:
    """The best curve of every rate with how well each fits: the posterior that an interval is read from."""

    origin: float
    drops: Array
    """(g,) a of each rate, at most 0."""
    ceilings: Array
    """(g,) c of each rate, at most 1."""
    misfits: Array
    """(g,) negative log posterior, up to a constant."""
    precisions: Array
    """(g, 3) second derivatives of the misfit by aa, ac, cc."""
    z: float
    """Half width of the interval in standard deviations of a normal distribution."""

    def at(self, x: float) -> Forecast:
        """The likeliest curve and its profile interval; the value never falls as x grows.

        The interval holds every accuracy that some curve reaches at ``x`` whose misfit is within
        z^2 / 2 of the best: exact for the quadratic misfit at each rate, apart from the bounds on
        a and c, which only narrow it.
        """
        decay = np.exp(-RATES * (x - self.origin))
        values = self.drops * decay + self.ceilings
        room = self.z**2 - 2.0 * (self.misfits - self.misfits.min())
        inside = room >= 0
        reach = np.sqrt(np.where(inside, room, 0.0) * self._variances(decay))
        return Forecast(
            value=_share(values[self.misfits.argmin()]),
            low=_share((values - reach)[inside].min()),
            high=_share((values + reach)[inside].max()),
        )

    def _variances(self, decay: Array) -> Array:
        """(g,) of a decay + c at each rate, by the inverse of the 2 x 2 precision."""
        aa, ac, cc = self.precisions.T
        return np.asarray((decay**2 * cc - 2 * decay * ac + aa) / (aa * cc - ac**2))


def fit_robust(
    x: Array, y: Array, *, next_x: float, evaluation_size: int, confidence: float = 0.9
) -> ExponentialFamily:
    """The likeliest rising curve under weak priors; works from a single point on.

    Minus log posterior of y_i ~ N(a exp(-rate x_i) + c, s_i^2) with s_i the binomial standard error
    of an evaluation, a <= 0, c <= 1, log rate ~ N(log .35, .7^2), the gain to ``next_x``
    ~ N(.04, .06^2) and c ~ N(y_last + .04, .25^2), minimised exactly over (a, c) at each of 60 rates.

    Args:
        x: (m,) ascending places, such as rounds.
        y: (m,) accuracies within [0, 1].
        next_x: where the next evaluation will be; the prior of the gain is about that step.
        evaluation_size: samples that each accuracy was counted over.
        confidence: of the interval, within (0, 1).
    Cost: O(60 m).
    Source: the exponential of AutoLRS (Jin et al. 2021) as PSHEA uses it (Huang et al. 2022, Alg. 1),
    with bounds and priors, because two points can't determine its three unknowns.
    """
    decay = np.exp(-RATES[:, None] * (x - x[0]))
    gain = np.exp(-RATES * (next_x - x[0])) - decay[:, -1]
    weights = evaluation_error(y, evaluation_size) ** -2.0
    rise = y - y[-1]
    aa = (weights * decay**2).sum(axis=1) + (gain / _GAIN_SD) ** 2
    ac = (weights * decay).sum(axis=1)
    cc = np.full_like(aa, weights.sum() + _CEILING_SD**-2.0)
    va = (weights * decay * rise).sum(axis=1) + _GAIN_MEAN * gain / _GAIN_SD**2
    vc = np.full_like(aa, (weights * rise).sum() + _CEILING_RISE / _CEILING_SD**2)
    drops, ceilings, misfits = _bounded_minimum(aa, ac, cc, va, vc, most=1.0 - y[-1])
    return ExponentialFamily(
        origin=float(x[0]),
        drops=drops,
        ceilings=y[-1] + ceilings,
        misfits=misfits + 0.5 * (np.log(RATES / _RATE_MEDIAN) / _RATE_SIGMA) ** 2,
        precisions=np.stack([aa, ac, cc], axis=1),
        z=NormalDist().inv_cdf((1 + confidence) / 2),
    )


def _bounded_minimum(
    aa: Array, ac: Array, cc: Array, va: Array, vc: Array, *, most: float
) -> tuple[Array, Array, Array]:
    """(a, c, q) of the least q = (aa a^2 + 2 ac a c + cc c^2) / 2 - va a - vc c with a <= 0, c <= most.

    q is convex: its free minimum where that is within bounds, else the better one of the two edges.
    """

    def q(a: Array, c: Array) -> Array:
        return 0.5 * (aa * a**2 + 2 * ac * a * c + cc * c**2) - va * a - vc * c

    determinant = aa * cc - ac**2
    free = (va * cc - vc * ac) / determinant, (vc * aa - va * ac) / determinant
    level = np.zeros_like(aa), np.minimum(vc / cc, most)
    capped = np.minimum((va - ac * most) / aa, 0.0), np.full_like(aa, most)
    use_capped = q(*capped) < q(*level)
    edge = np.where(use_capped, capped[0], level[0]), np.where(use_capped, capped[1], level[1])
    within = (free[0] <= 0) & (free[1] <= most)
    a, c = np.where(within, free[0], edge[0]), np.where(within, free[1], edge[1])
    return a, c, q(a, c)


def fit_autolrs(x: Array, y: Array) -> Exponential:
    """The published least-squares exponential, free in sign and without an interval.

    y = a exp(b x) + c with b = -exp(beta): a search over beta, (a, c) by least squares. One point
    gives a constant. Two points fit every beta exactly, so beta stays at 0, where the published search starts.

    Args:
        x: (m,) ascending; y: (m,) accuracies.
    Cost: O(500 m).
    Source: Jin et al. 2021 (AutoLRS), section 4; no spline before the fit, which would need three points and many
    more to mean anything, and nested grids over beta in place of Nelder-Mead.
    """
    if len(x) < 2:
        return Exponential(drop=0.0, rate=1.0, ceiling=float(y[-1]))
    rate = 1.0 if len(x) == 2 else _best_rate(x - x[0], y)
    drop, ceiling, _ = _least_squares(np.array([rate]), x - x[0], y)
    return Exponential(drop=float(drop[0]) * math.exp(rate * x[0]), rate=rate, ceiling=float(ceiling[0]))


def _best_rate(x: Array, y: Array) -> float:
    """The rate of least squared error, to about nine digits: a grid, then a finer one about its best point."""
    low, high = _SEARCH
    for _ in range(_SEARCH_ZOOMS):
        grid = np.linspace(low, high, _SEARCH_POINTS)
        best = int(_least_squares(np.exp(grid), x, y)[2].argmin())
        low, high = grid[max(best - 1, 0)], grid[min(best + 1, _SEARCH_POINTS - 1)]
    return float(np.exp(grid[best]))


def _least_squares(rates: Array, x: Array, y: Array) -> tuple[Array, Array, Array]:
    """(g,) a, c and squared error of the line in exp(-rate x) at each rate."""
    decay = np.exp(-rates[:, None] * x)
    mean = decay.mean(axis=1, keepdims=True)
    centred, rise = decay - mean, y - y.mean()
    drop = centred @ rise / (centred**2).sum(axis=1)
    errors = ((rise - drop[:, None] * centred) ** 2).sum(axis=1)
    return drop, y.mean() - drop * mean[:, 0], errors


def last_value(y: Array) -> Exponential:
    """What was seen last, forever: the forecast that every other has to beat."""
    return Exponential(drop=0.0, rate=1.0, ceiling=float(y[-1]))


def evaluation_error(accuracy: float | Array, evaluation_size: int) -> Array:
    """Binomial standard error of an accuracy counted over so many samples; above 0 even at 0 % and 100 %.

    Raises:
        UsageError: fewer than one sample.
    """
    check_at_least(1, evaluation_size=evaluation_size)
    smoothed = (np.asarray(accuracy, dtype=np.float64) * evaluation_size + 1.0) / (evaluation_size + 2.0)
    return np.asarray(np.sqrt(smoothed * (1.0 - smoothed) / evaluation_size))


def _share(value: float) -> float:
    return float(min(1.0, max(0.0, value)))
