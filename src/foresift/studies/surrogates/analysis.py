"""What a transfer study found: gains over random, win counts, spread of scores, and how well suitability ranked it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from statistics import fmean

import numpy as np
import numpy.typing as npt

from foresift.lineage.suitability import Interval, bootstrapped, rank_correlation, top_overlap, variation
from foresift.studies.paired import Paired
from foresift.studies.surrogates.protocol import TRUE_LOSS
from foresift.studies.surrogates.study import Pair, Table

Figures = npt.NDArray[np.floating]
TOP_SHARE = 0.1
SCORE_OF = {"entropy": "entropy", "margin": "margin", "auto": "margin", "entropy-top4": "entropy"}
"""The score whose suitability belongs to a strategy."""
PREDICTORS = ("U", "O", "R", "variation", "pilot")
LEAST_PAIRS = 4
"""Pairs below which no ranking is told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Predicted:
    """What could be known of a pair before a label was chosen, mean over seeds."""

    figures: Mapping[str, float]
    """``U``, ``O``, ``R``, ``variation`` and, where rehearsed, ``pilot``."""
    u_by_seed: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """One strategy: every surrogate against every deployment model, all seeds."""

    strategy: str
    surrogates: tuple[str, ...]
    models: tuple[str, ...]
    cells: Mapping[Pair, Paired]
    """Only pairs that gave a result."""
    fit: Mapping[Pair, float]
    """Mean accuracy of the deployment model on the labels that it inherited."""

    def pairs(self, *, own: bool = False) -> list[Pair]:
        """Pairs of different models, or with ``own`` those of a model with itself."""
        return [pair for pair in self.cells if (pair[0] == pair[1]) is own]

    def gain(self, pair: Pair) -> float:
        """Mean gain over random in percentage points."""
        return 100 * fmean(self.cells[pair].differences)

    def counts(self, *, own: bool = False) -> Counts:
        """How many pairs won, and how many clearly."""
        pairs = self.pairs(own=own)
        return Counts(
            pairs=len(pairs),
            ahead=sum(self.gain(pair) > 0 for pair in pairs),
            clear=sum(self.cells[pair].outcome == "win" for pair in pairs),
            behind_clear=sum(self.cells[pair].outcome == "loss" for pair in pairs),
            mean=fmean(self.gain(pair) for pair in pairs) if pairs else 0.0,
        )

    def by_seed(self) -> tuple[float, ...]:
        """Mean gain over the pairs of different models, in percentage points, seed by seed."""
        pairs = self.pairs()
        if not pairs:
            return ()
        return tuple(100 * fmean(values) for values in zip(*(self.cells[p].differences for p in pairs), strict=True))

    def chance(self) -> float:
        """How often random signs of the seeds' mean gains would give as large a mean: an exact sign-flip test."""
        gains = self.by_seed()
        sums = [sum(s * g for s, g in zip(signs, gains, strict=True)) for signs in product((1, -1), repeat=len(gains))]
        return float(np.mean([total >= sum(gains) - 1e-12 for total in sums])) if gains else 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Of pairs."""

    pairs: int
    ahead: int
    """Mean gain above 0."""
    clear: int
    """Mean gain above two standard errors."""
    behind_clear: int
    """Mean gain below minus two standard errors."""
    mean: float
    """Gain in percentage points."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """The entropy of a model after random labels, over what is left of the pool."""

    model: str
    values: npt.NDArray[np.floating]
    """Of the first seed, for the histogram."""
    mean: float
    std: float
    variation: float
    cut: float
    """Entropy above which the top tenth lies, first seed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranking:
    """How well one predictor ranked the pairs of different models."""

    predictor: str
    correlation: Interval
    """Spearman with the realised gain over all pairs."""
    within: float
    """Mean Spearman over the deployment models: does it order the surrogates for one of them?"""
    regret: float
    """Points lost on average by taking the surrogate that it puts first rather than the best."""


def grid(table: Table, strategy: str) -> Grid:
    """One strategy of a table."""
    protocol = table.protocol
    pairs = [(a, b) for b in protocol.models for a in protocol.choosers]
    found = {pair: [one.inherited[strategy].get(pair) for one in table.seeds] for pair in pairs}
    whole = {pair: [t for t in trainings if t] for pair, trainings in found.items() if all(trainings)}
    return Grid(
        strategy=strategy,
        surrogates=protocol.choosers,
        models=protocol.models,
        cells={
            pair: Paired(
                chosen=tuple(t.quality for t in trainings),
                random=tuple(one.random[pair[1]][-1].quality for one in table.seeds),
            )
            for pair, trainings in whole.items()
        },
        fit={pair: fmean(t.fit for t in trainings) for pair, trainings in whole.items()},
    )


def mean_gains(made: Grid) -> dict[str, float]:
    """Surrogate to its mean gain for the other models, in percentage points."""
    gains = {a: [made.gain(pair) for pair in made.pairs() if pair[0] == a] for a in made.surrogates}
    return {a: fmean(values) for a, values in gains.items() if values}


def ceiling(table: Table) -> Grid | None:
    """The true-loss ceiling, where it was run."""
    return grid(table, TRUE_LOSS) if TRUE_LOSS in table.protocol.strategies else None


def random_scores(table: Table, model: str) -> tuple[float, ...]:
    """Quality of a model on random labels, seed by seed."""
    return tuple(one.random[model][-1].quality for one in table.seeds)


def spreads(table: Table, score: str = "entropy") -> list[Spread]:
    """Entropy after the same random labels, one entry a model; none without probes."""
    if not table.protocol.probes:
        return []
    return [_spread(table, model, score) for model in table.protocol.models]


def predictions(table: Table, score: str) -> dict[Pair, Predicted]:
    """Pair to what suitability says of it from the labels of the probe."""
    pairs = [(a, b) for b in table.protocol.models for a in table.protocol.choosers]
    return {pair: _predicted(table, pair, score) for pair in pairs}


def rankings(table: Table, strategy: str) -> list[Ranking]:
    """How well each predictor ranked the realised gains of the pairs of different models; none without probes."""
    if not table.protocol.probes:
        return []
    made, found = grid(table, strategy), predictions(table, SCORE_OF[strategy])
    pairs = made.pairs()
    gains = np.array([made.gain(pair) for pair in pairs])
    if len(pairs) < LEAST_PAIRS:
        return []
    names = [name for name in PREDICTORS if all(name in found[pair].figures for pair in pairs)]
    return [_ranking(n, pairs, np.array([found[pair].figures[n] for pair in pairs]), gains) for n in names]


def _ranking(name: str, pairs: Sequence[Pair], predicted: Figures, gains: Figures) -> Ranking:
    within, regrets = [], []
    for model in dict.fromkeys(b for _, b in pairs):
        rows = np.array([at for at, (_, b) in enumerate(pairs) if b == model])
        if len(rows) > 1:
            within.append(rank_correlation(predicted[rows], gains[rows]))
            regrets.append(float(gains[rows].max() - gains[rows][predicted[rows].argmax()]))
    return Ranking(
        predictor=name,
        correlation=bootstrapped(rank_correlation, predicted, gains, rng=np.random.default_rng(47)),
        within=fmean(within) if within else 0.0,
        regret=fmean(regrets) if regrets else 0.0,
    )


def _predicted(table: Table, pair: Pair, score: str) -> Predicted:
    a, b = pair
    us, rows = [], []
    for one in table.seeds:
        mine, other = one.probes[a], one.probes[b]
        left = np.setdiff1d(np.arange(table.pool), mine.rows)
        us.append(rank_correlation(mine.fold[score], other.fold["loss"]))
        figures = {
            "O": top_overlap(mine.pool[score][left], other.pool[score][left], table.labels),
            "R": rank_correlation(mine.pool[score][left], mine.again[score][left]),
            "variation": variation(mine.pool[score][left]),
        }
        if rehearsed := one.pilots.get(score, {}).get(pair, ()):
            figures["pilot"] = fmean(pilot.chosen - pilot.random for pilot in rehearsed)
        rows.append(figures)
    means = {name: fmean(row[name] for row in rows) for name in rows[0]}
    return Predicted(figures={"U": fmean(us), **means}, u_by_seed=tuple(us))


def _spread(table: Table, model: str, score: str) -> Spread:
    every = []
    for one in table.seeds:
        probe = one.probes[model]
        left = np.setdiff1d(np.arange(table.pool), probe.rows)
        every.append(probe.pool[score][left])
    means, stds = [float(v.mean()) for v in every], [float(v.std()) for v in every]
    return Spread(
        model=model,
        values=every[0],
        mean=fmean(means),
        std=fmean(stds),
        variation=fmean(s / m if m > 0 else 0.0 for s, m in zip(stds, means, strict=True)),
        cut=float(np.quantile(every[0], 1 - TOP_SHARE)),
    )
