"""Agents on finished learning curves: what each would have bought, dropped and kept, and how its forecasts came out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import NamedTuple

import numpy as np

from foresift.cycle.curves import evaluation_error
from foresift.cycle.forecast import Forecaster, Point
from foresift.cycle.pshea import Pshea
from foresift.cycle.stopping import StopRules
from foresift.cycle.trials import Id, Outcome, Trial
from foresift.studies.agents.arms import RANDOM, SHARED, Arm
from foresift.studies.agents.study import ImagesResults

FITS = ("last", "autolrs", "robust")


class Rule(NamedTuple):
    """An agent with an arm for each strategy."""

    name: str
    eliminate: str
    fit: str


RULES = (
    Rule("brute-force", "none", "robust"),
    Rule("pshea", "paper", "robust"),
    Rule("pshea, published fit", "paper", "autolrs"),
    Rule("pshea, last value", "paper", "last"),
    Rule("pshea-guarded", "guarded", "robust"),
    Rule("halving", "halving", "robust"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How one agent ended in one seed."""

    agent: str
    kept: str
    """The strategy it recommends."""
    turns: int
    """Strategy-rounds: a strategy that bought, and a model that was trained."""
    per_strategy: int
    """Labels bought, the first ones apart; an image that two arms bought counts twice."""
    unique: int
    """The same, each image once."""
    regret: float
    """Test accuracy of the best arm after the last round, with hindsight, minus that of the kept one; a share."""
    behind: float
    """The same against the strategy that is best on average over the seeds; negative where the agent did better."""


def replayed(results: ImagesResults, rule: Rule, *, control: bool) -> list[Ended]:
    """An agent on the curves of every seed; ``control`` puts random among its arms."""
    names = strategies(results, control=control)
    return [_ended(results, rule.name, replay(results, rule, seed, names), seed) for seed in seeds(results)]


def fixed(results: ImagesResults, strategy: str) -> list[Ended]:
    """No trial: one strategy in every seed."""
    return [_alone(results, f"`{strategy}`, no trial", results.arm(strategy, seed)) for seed in seeds(results)]


def shared(results: ImagesResults) -> list[Ended]:
    """The runs on one shared labeled set."""
    return [_alone(results, SHARED, results.arm(SHARED, seed)) for seed in seeds(results)]


def replay(results: ImagesResults, rule: Rule, seed: int, names: Sequence[str]) -> Trial:
    """The trial of one seed, all rounds, charged as in the paper; it stops early only if the control is left alone."""
    setting = results.setting
    arms = {name: results.arm(name, seed) for name in names}
    agent = Pshea(
        strategies=tuple(names),
        budget=setting.budget,
        stop=StopRules(max_labels=len(names) * setting.rounds * setting.budget, patience=setting.rounds + 1),
        charge="per_strategy",
        eliminate=rule.eliminate,
        forecaster=Forecaster(fit=rule.fit),
    )

    def learner(strategy: str, labels: tuple[Id, ...], budget: int) -> Outcome:
        at = len(labels) // budget
        return Outcome(arms[strategy].seen[at + 1], arms[strategy].purchases[at])

    first = arms[names[0]]
    trial = agent.start(accuracy=first.seen[0], labels=first.start, evaluation_size=first.evaluation_size)
    while trial.round < setting.rounds and not trial.stopped:
        trial = agent.advance(trial, learner)
    kept = agent.answer(trial).strategy
    return trial.decided("keep", kept, reason="the answer")


def strategies(results: ImagesResults, *, control: bool) -> tuple[str, ...]:
    """Those of the trial, with or without random."""
    return tuple(name for name in results.setting.strategies if control or name != RANDOM)


def seeds(results: ImagesResults) -> range:
    """All that ran."""
    return range(results.setting.seeds)


def best_on_average(results: ImagesResults) -> str:
    """The strategy with the highest mean test accuracy after the last round."""
    return max(results.setting.strategies, key=lambda name: fmean(_last(results, name)))


def _last(results: ImagesResults, strategy: str) -> list[float]:
    return [results.arm(strategy, seed).true[-1] for seed in seeds(results)]


def _ended(results: ImagesResults, agent: str, trial: Trial, seed: int) -> Ended:
    kept = trial.decisions[-1].strategy
    return _judged(results, agent, seed, kept, results.arm(kept, seed).true[-1], len(trial.turns), **trial.ledgers)


def _alone(results: ImagesResults, agent: str, arm: Arm) -> Ended:
    """One labeled set: every label is bought once."""
    labels = sum(len(bought) for bought in arm.purchases)
    turns = len(arm.purchases)
    return _judged(results, agent, arm.seed, arm.strategy, arm.true[-1], turns, per_strategy=labels, unique=labels)


def _judged(
    results: ImagesResults, agent: str, seed: int, kept: str, true: float, turns: int, *, per_strategy: int, unique: int
) -> Ended:
    best = max(results.arm(name, seed).true[-1] for name in results.setting.strategies)
    return Ended(
        agent=agent,
        kept=kept,
        turns=turns,
        per_strategy=per_strategy,
        unique=unique,
        regret=best - true,
        behind=results.arm(best_on_average(results), seed).true[-1] - true,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Errors:
    """Forecasts of the next evaluation from so many points, arms pooled within each seed."""

    fit: str
    known: int
    """Points known; 1 = the initial model alone."""
    rmse: tuple[float, ...]
    """Of each seed, as a share."""
    inside: tuple[float, ...]
    """Share of the next evaluations within the 90 % interval, widened by the evaluation's own noise; empty where the
    fit has no interval."""


def forecast_errors(results: ImagesResults, fit: str, known: int) -> Errors:
    """How far forecasts lay from what was evaluated next, random's arm among the others."""
    rows = [_forecasts(results, fit, known, seed) for seed in seeds(results)]
    return Errors(
        fit=fit,
        known=known,
        rmse=tuple(float(np.sqrt(np.mean([off**2 for off, _ in row]))) for row in rows),
        inside=tuple(fmean(hit for _, hit in row if hit is not None) for row in rows if row[0][1] is not None),
    )


def overall_rmse(results: ImagesResults, fit: str, *, least: int) -> tuple[float, ...]:
    """(seeds,) of all forecasts from at least so many points."""
    every = [
        [off for known in range(least, results.setting.rounds + 1) for off, _ in _forecasts(results, fit, known, seed)]
        for seed in seeds(results)
    ]
    return tuple(float(np.sqrt(np.mean(np.square(offs)))) for offs in every)


def evaluation_noise(results: ImagesResults) -> float:
    """Root mean square of the binomial standard error of the evaluations that were forecast, as a scale.

    No floor: the same images evaluate every round, so that much of their noise is in the points known already.
    """
    arms = [arm for arm in results.arms if arm.strategy != SHARED]
    return float(np.sqrt(np.mean([evaluation_error(np.array(arm.seen[2:]), arm.evaluation_size) ** 2 for arm in arms])))


def _forecasts(results: ImagesResults, fit: str, known: int, seed: int) -> list[tuple[float, bool | None]]:
    """(forecast minus evaluation, whether the interval held it) of every arm."""
    arms = [results.arm(name, seed) for name in results.setting.strategies]
    return [_forecast(arm, fit, known, results.setting.budget) for arm in arms]


def _forecast(arm: Arm, fit: str, known: int, budget: int) -> tuple[float, bool | None]:
    points: Sequence[Point] = arm.points[:known]
    found = Forecaster(fit=fit).next(points, budget=budget, evaluation_size=arm.evaluation_size)
    off = found.value - arm.seen[known]
    if found.low is None or found.high is None:
        return off, None
    noise = 1.645 * float(evaluation_error(arm.seen[known], arm.evaluation_size))
    below, above = np.hypot(found.value - found.low, noise), np.hypot(found.high - found.value, noise)
    return off, bool(-above <= off <= below)
