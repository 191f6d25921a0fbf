"""What choosing a strategy by trial costs and loses, on simulated curves: ``python -m benchmarks.trials [trials]``.

Seven strategies, eight rounds. Curves are exponentials whose ceilings and rates differ a little
between strategies, seen through the noise of an evaluation on so many samples. Regret is the
best strategy's true accuracy after eight rounds minus that of the one that was kept.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from foresift.cycle.forecast import Forecaster, Point
from foresift.cycle.pshea import Pshea
from foresift.cycle.stopping import StopRules
from foresift.cycle.trials import Id, Outcome

ARMS, ROUNDS, BUDGET, SIZE = 7, 8, 100, 5000
NAMES = tuple(f"s{i}" for i in range(ARMS))


class World(NamedTuple):
    """The truth of one trial."""

    true: npt.NDArray[np.float64]
    """(arms, rounds + 1) accuracies."""
    seen: npt.NDArray[np.float64]
    """The same, evaluated once."""

    def learner(self, strategy: str, labels: tuple[Id, ...], budget: int) -> Outcome:
        """The next evaluation of an arm's curve."""
        done = len(labels) // BUDGET + 1
        return Outcome(float(self.seen[NAMES.index(strategy), done]), tuple(range(len(labels), len(labels) + budget)))


class Found(NamedTuple):
    """How one trial ended."""

    regret: float
    kept_best: bool
    turns: int


def worlds(count: int) -> Iterator[World]:
    """So many truths, the same in every call."""
    rng = np.random.default_rng(0)
    for _ in range(count):
        start = rng.uniform(0.3, 0.6)
        ceiling = np.clip(rng.uniform(0.7, 0.95) + rng.normal(0, 0.01, ARMS), 0, 1)
        rate = rng.uniform(0.15, 0.8) * np.exp(rng.normal(0, 0.15, ARMS))
        decay = np.exp(-rate[:, None] * np.arange(ROUNDS + 1))
        true = ceiling[:, None] - (ceiling - start)[:, None] * decay
        yield World(true, rng.binomial(SIZE, true) / SIZE)


def trial(world: World, *, fit: str, eliminate: str) -> Found:
    """One trial, charged as in the paper, for as many rounds as every rule gets."""
    stop = StopRules(max_labels=ARMS * ROUNDS * BUDGET, patience=ROUNDS + 1)
    agent = Pshea(
        strategies=NAMES,
        budget=BUDGET,
        stop=stop,
        charge="per_strategy",
        eliminate=eliminate,
        forecaster=Forecaster(fit=fit),
    )
    state = agent.start(accuracy=float(world.seen[0, 0]), labels=BUDGET, evaluation_size=SIZE)
    while state.round < ROUNDS:
        state = agent.advance(state, world.learner)
    kept = NAMES.index(agent.answer(state).strategy)
    last = world.true[:, -1]
    return Found(float(last.max() - last[kept]), kept == int(last.argmax()), len(state.turns))


def regrets(count: int) -> None:
    """Print a line a rule."""
    print(f"{count} trials, {ARMS} strategies, {ROUNDS} rounds, evaluation on {SIZE:,} samples")
    print(f"{'eliminate':<10}{'forecast':<10}{'regret pp':>14}{'best kept':>11}{'turns':>7}")
    for eliminate, fit in (
        ("paper", "last"),
        ("paper", "autolrs"),
        ("paper", "robust"),
        ("guarded", "robust"),
        ("halving", "robust"),
        ("none", "robust"),
    ):
        found = [trial(world, fit=fit, eliminate=eliminate) for world in worlds(count)]
        regret = 100 * np.array([one.regret for one in found])
        error = regret.std(ddof=1) / np.sqrt(count)
        kept, turns = np.mean([one.kept_best for one in found]), np.mean([one.turns for one in found])
        print(f"{eliminate:<10}{fit:<10}{regret.mean():>8.3f} ±{error:.3f}{kept:>11.2f}{turns:>7.1f}", flush=True)


def errors(count: int) -> None:
    """Print the error of forecasts of the next round, by points known."""
    print(f"\nRMSE of the next round's true accuracy in pp, {count * ARMS} curves")
    print(f"{'points':<8}" + "".join(f"{fit:>10}" for fit in ("last", "autolrs", "robust")))
    for known in (1, 2, 3, 4, 6):
        line = [_rmse(count, known, fit) for fit in ("last", "autolrs", "robust")]
        print(f"{known:<8}" + "".join(f"{100 * value:>10.2f}" for value in line), flush=True)


def _rmse(count: int, known: int, fit: str) -> float:
    off = []
    for world in worlds(count):
        for seen, true in zip(world.seen, world.true, strict=True):
            points = [Point(BUDGET * (r + 1), float(seen[r])) for r in range(known)]
            forecast = Forecaster(fit=fit).next(points, budget=BUDGET, evaluation_size=SIZE)
            off.append(forecast.value - true[known])
    return float(np.sqrt(np.mean(np.square(off))))


def main(arguments: list[str]) -> int:
    """Regret and errors; no limit, so never a failure."""
    count = int(arguments[0]) if arguments else 200
    regrets(count)
    errors(count // 4 or 1)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
