"""PSHEA against a literal transcription of the paper's Algorithm 1, its ledgers, and what a resume decides."""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foresift.core.errors import ContractError, StoreError, UsageError
from foresift.cycle.forecast import Forecaster, Point
from foresift.cycle.pshea import Pshea
from foresift.cycle.stopping import StopRules
from foresift.cycle.trials import Id, Outcome, Trial, run

A0, START, SIZE = 0.3, 20, 2000
Table = Mapping[tuple[str, int], float]


def algorithm_1(L, table, b_r, b_max, a_t, forecaster):  # type: ignore[no-untyped-def]
    """Huang et al. 2022, Algorithm 1, line by line; what the paper leaves open is marked."""
    d = {arm: [] for arm in L}  # what each buys, round by round
    a = {arm: [A0] for arm in L}
    alive, r, b_total, a_max, maxima, partial = set(L), 0, 0, A0, [A0], False

    def a_star(arm):  # type: ignore[no-untyped-def]
        points = [Point(int(n), y) for n, y in zip(np.cumsum([START, *d[arm]]), a[arm], strict=True)]
        return forecaster.next(points, budget=b_r, evaluation_size=SIZE).value

    def result(reason):  # type: ignore[no-untyped-def]
        return {arm: sum(d[arm]) for arm in L}, alive, reason, b_total, r

    while True:
        if a_t is not None and a_max >= a_t:
            return result("target")
        if b_total >= b_max:
            return result("budget")
        # open: "converge"; here three rounds within .1 pp or a standard error
        p = (a_max * SIZE + 1) / (SIZE + 2)
        if r >= 3 and a_max - maxima[r - 3] <= max(0.001, (p * (1 - p) / SIZE) ** 0.5):
            return result("converged")
        # open: the order within a round, which shows only when money runs out
        for arm in sorted(alive, key=lambda arm: (-a_star(arm), -a[arm][-1], arm)):
            b = min(b_r, b_max - b_total)  # open: the paper overshoots
            partial = partial or b < b_r
            if b > 0:
                d[arm].append(b)
                a[arm].append(table[arm, sum(d[arm])])
                b_total += b
                a_max = max(a_max, a[arm][-1])
        r += 1
        maxima.append(a_max)
        if len(alive) > 1 and not partial:
            alive.remove(min(sorted(alive, reverse=True), key=lambda arm: (a_star(arm), a[arm][-1])))


def names(count: int) -> tuple[str, ...]:
    return tuple(f"s{i}" for i in range(count))


def random_table(strategies: tuple[str, ...], seed: int, most: int = 130) -> dict[tuple[str, int], float]:
    """Noisy rising accuracies, all different."""
    rng = np.random.default_rng(seed)
    table = {}
    for strategy in strategies:
        ceiling, rate = rng.uniform(0.5, 0.95), rng.uniform(0.01, 0.1)
        for n in range(most + 1):
            clean = ceiling - (ceiling - A0) * np.exp(-rate * n)
            table[strategy, n] = float(np.clip(clean + rng.normal(0, 0.02), 0, 1))
    return table


class TableLearner:
    """Accuracy is read from a table; ids are an arm's own, or count up from 0 for all."""

    def __init__(self, table: Table, *, shared_ids: bool = False, pool: int = 10**6) -> None:
        self.table, self.shared_ids, self.pool = table, shared_ids, pool
        self.calls: list[tuple[str, int, int]] = []

    def __call__(self, strategy: str, labels: tuple[Id, ...], budget: int) -> Outcome:
        self.calls.append((strategy, len(labels), budget))
        stop = min(len(labels) + budget, self.pool)
        ids: list[Id] = list(range(len(labels), stop))
        if not self.shared_ids:
            ids = [f"{strategy}-{i}" for i in ids]
        return Outcome(self.table[strategy, stop], tuple(ids))


def begin(agent: Pshea, accuracy: float = A0) -> Trial:
    return agent.start(accuracy=accuracy, labels=START, evaluation_size=SIZE)


def agent_of(count: int, budget: int, max_labels: int, **options: object) -> Pshea:
    target = options.pop("target", None)
    stop = StopRules(max_labels=max_labels, target=target)  # type: ignore[arg-type]
    options.setdefault("charge", "per_strategy")
    return Pshea(strategies=names(count), budget=budget, stop=stop, **options)  # type: ignore[arg-type]


cases = {
    "count": st.integers(1, 5),
    "budget": st.integers(1, 6),
    "max_labels": st.integers(0, 120),
    "target": st.one_of(st.none(), st.floats(0.25, 0.95)),
    "fit": st.sampled_from(["robust", "autolrs", "last"]),
    "seed": st.integers(0, 10**6),
}


@given(**cases)
@settings(max_examples=120, deadline=None)
def test_it_decides_as_algorithm_1(
    count: int, budget: int, max_labels: int, target: float | None, fit: str, seed: int
) -> None:
    table = random_table(names(count), seed)
    forecaster = Forecaster(fit=fit)
    agent = agent_of(count, budget, max_labels, target=target, forecaster=forecaster)
    trial = run(agent, begin(agent), TableLearner(table))
    bought, alive, reason, total, rounds = algorithm_1(names(count), table, budget, max_labels, target, forecaster)
    assert {name: len(trial.bought(name)) for name in names(count)} == bought
    assert (set(trial.alive), trial.stopped, trial.ledgers["per_strategy"], trial.round) == (
        alive,
        reason,
        total,
        rounds,
    )
    assert total <= max_labels


@given(**cases, charge=st.sampled_from(["unique", "per_strategy"]), shared_ids=st.booleans())
@settings(max_examples=80, deadline=None)
def test_laws_of_every_trial(
    count: int, budget: int, max_labels: int, target: float | None, fit: str, seed: int, charge: str, shared_ids: bool
) -> None:
    """Never over budget; one arm leaves each full round; turns times purchases is the ledger; resumes agree."""
    table = random_table(names(count), seed, most=800)
    agent = agent_of(count, budget, max_labels, target=target, forecaster=Forecaster(fit=fit), charge=charge)
    trial, steps = begin(agent), []
    while not trial.stopped:
        trial = agent.advance(trial, TableLearner(table, shared_ids=shared_ids))
        steps.append(trial)
        assert trial.ledgers[charge] <= max_labels
        assert trial.ledgers["unique"] <= trial.ledgers["per_strategy"]
    for before, after in pairwise([begin(agent), *steps]):
        full = after.round > before.round and not after.short
        assert len(before.alive) - len(after.alive) == (1 if full and len(before.alive) > 1 else 0)
        if full:
            assert after.ledgers["per_strategy"] - before.ledgers["per_strategy"] == len(before.alive) * budget
        resumed = Trial.from_dict(json.loads(json.dumps(before.to_dict())))
        assert resumed == before
        assert agent.advance(resumed, TableLearner(table, shared_ids=shared_ids)) == after
    assert agent.advance(trial, TableLearner({})) is trial


@given(seed=st.integers(0, 10**6), order=st.permutations(range(4)))
@settings(max_examples=30, deadline=None)
def test_renamed_strategies_give_renamed_results(seed: int, order: list[int]) -> None:
    table = random_table(names(4), seed)
    new = {f"s{i}": f"s{j}" for i, j in enumerate(order)}
    agent = agent_of(4, 5, 60)
    trial = run(agent, begin(agent), TableLearner(table))
    renamed = run(agent, begin(agent), TableLearner({(new[name], n): a for (name, n), a in table.items()}))
    assert {new[name] for name in trial.alive} == set(renamed.alive)
    assert {new[name]: len(trial.bought(name)) for name in names(4)} == {n: len(renamed.bought(n)) for n in names(4)}
    assert (trial.stopped, trial.best) == (renamed.stopped, renamed.best)
    assert new[agent.answer(trial).strategy] == agent.answer(renamed).strategy


def rising(strategies: tuple[str, ...], step: float = 0.002) -> dict[tuple[str, int], float]:
    """The later the name, the better."""
    return {(s, n): A0 + (0.001 + 0.0002 * i) * n + step for i, s in enumerate(strategies) for n in range(400)}


def test_seven_strategies_take_29_turns_in_eight_rounds_where_brute_force_takes_56() -> None:
    learner = TableLearner(rising(names(7)))
    agent = agent_of(7, 10, 290)
    trial = run(agent, begin(agent), learner)
    assert (len(learner.calls), trial.round, trial.alive, trial.stopped) == (29, 8, ("s6",), "budget")
    everyone = agent_of(7, 10, 560, eliminate="none")
    assert len(run(everyone, begin(everyone), TableLearner(rising(names(7)))).turns) == 56


def test_halving_keeps_the_better_half_rounded_up() -> None:
    agent = agent_of(7, 5, 200, eliminate="halving")
    trial, alive = begin(agent), []
    for _ in range(4):
        trial = agent.advance(trial, TableLearner(rising(names(7))))
        alive.append(trial.alive)
    assert alive == [("s3", "s4", "s5", "s6"), ("s5", "s6"), ("s6",), ("s6",)]


def test_a_partial_round_drops_nobody_and_serves_the_leader_first() -> None:
    agent = agent_of(3, 10, 44)
    trial = run(agent, begin(agent), TableLearner(rising(names(3))))
    assert trial.alive == ("s1", "s2")
    assert [(turn.strategy, len(turn.purchases)) for turn in trial.turns[3:]] == [("s2", 10), ("s1", 4)]
    assert trial.decisions[-2].reason == "a partial round drops nobody"
    assert trial.stopped == "budget"


def test_a_label_that_two_strategies_want_is_paid_once_but_both_totals_are_told() -> None:
    literal, unique = agent_of(3, 10, 60), agent_of(3, 10, 60, charge="unique")
    trial = run(literal, begin(literal), TableLearner(rising(names(3)), shared_ids=True))
    assert trial.ledgers == {"per_strategy": 60, "unique": 30}
    trial = run(unique, begin(unique), TableLearner(rising(names(3)), shared_ids=True))
    assert trial.ledgers == {"per_strategy": 10 * (3 + 2 + 4), "unique": 60}
    assert trial.everything_bought == tuple(range(60))
    assert trial.decisions[-1].values == {"best": trial.best[-1], **trial.ledgers}


def flat(levels: Mapping[str, float]) -> dict[tuple[str, int], float]:
    return {(name, n): level for name, level in levels.items() for n in range(1000)}


def test_ties_of_forecasts_go_to_the_more_accurate_then_the_cheaper_then_the_first_name() -> None:
    same = flat(dict.fromkeys(names(3), 0.5))
    agent = agent_of(3, 5, 1000, costs={"s0": 9.0})
    trial = agent.advance(begin(agent), TableLearner(same))
    assert trial.alive == ("s1", "s2")
    assert agent.advance(trial, TableLearner(same)).alive == ("s1",)
    clipped = agent_of(2, 5, 1000, forecaster=Forecaster(fit="autolrs"))
    steep = {("s0", 5): 1.0, ("s1", 5): 0.9}  # both forecasts are clipped to 1
    assert clipped.advance(begin(clipped), TableLearner(steep)).alive == ("s0",)


def test_the_guard_keeps_an_arm_that_may_still_be_as_good() -> None:
    near, far = flat({"s0": 0.70, "s1": 0.71}), flat({"s0": 0.35, "s1": 0.9})
    for table, left in ((near, 2), (far, 1)):
        agent = agent_of(2, 5, 1000, eliminate="guarded")
        assert len(agent.advance(begin(agent), TableLearner(table)).alive) == left
    with pytest.raises(UsageError, match="intervals"):
        agent_of(2, 5, 1000, eliminate="guarded", forecaster=Forecaster(fit="autolrs"))


def test_nothing_is_bought_when_the_initial_model_is_good_enough() -> None:
    agent = agent_of(3, 5, 100, target=0.3)
    trial = run(agent, begin(agent), TableLearner({}))
    assert (trial.round, trial.turns, trial.stopped) == (0, (), "target")


def test_the_answer_is_the_arm_that_reached_the_target_even_if_it_was_dropped() -> None:
    agent = agent_of(3, 5, 1000, target=0.8, forecaster=Forecaster(fit="autolrs"))
    table = {("s0", 5): 0.78, ("s1", 5): 0.5, ("s2", 5): 0.1, ("s0", 10): 0.8, ("s1", 10): 0.79}
    trial = run(agent, begin(agent), TableLearner(table))
    assert (trial.stopped, trial.alive) == ("target", ("s1",))
    assert (agent.answer(trial).strategy, agent.answer(trial).accuracy) == ("s0", 0.8)


def test_three_rounds_without_improvement_end_it() -> None:
    agent = agent_of(1, 5, 1000)
    trial = run(agent, begin(agent), TableLearner(flat({"s0": 0.6})))
    assert (trial.stopped, trial.round) == ("converged", 4)


def test_an_empty_pool_ends_it() -> None:
    agent = agent_of(1, 6, 1000)
    trial = run(agent, begin(agent), TableLearner(rising(names(1)), pool=9))
    assert (trial.stopped, trial.ledgers["unique"], trial.round) == ("pool", 9, 2)
    exact = run(agent, begin(agent), TableLearner(rising(names(1)), pool=12))
    assert (exact.stopped, exact.ledgers["unique"], exact.round) == ("pool", 12, 3)


def test_none_beats_random_is_an_answer() -> None:
    stop = StopRules(max_labels=1000)
    agent = Pshea(strategies=("margin", "random"), budget=10, stop=stop)
    trial = run(agent, begin(agent), TableLearner(rising(("margin", "random"))))
    assert (trial.stopped, trial.round) == ("control", 1)
    assert agent.answer(trial).strategy == "random"
    assert agent.answer(trial).reason == "none beats random: stop here"


def test_the_answer_holds_the_winner_against_random_at_equal_labels() -> None:
    stop = StopRules(max_labels=100)
    agent = Pshea(strategies=("a", "random", "z"), budget=10, stop=stop)
    table = rising(("a", "random", "z"))
    table |= {("z", n): A0 + 0.01 * n for n in range(60)}
    trial = run(agent, begin(agent), TableLearner(table))
    found = agent.answer(trial, price=2.0)
    assert found.strategy == "z"
    assert found.gain is not None
    assert found.gain.labels == START + 20  # random left after two rounds
    assert found.gain.accuracy == pytest.approx(table["z", 20] - table["random", 20])
    assert found.gain.is_clear
    assert found.reason.startswith("beats random: +")


def test_without_a_control_arm_there_is_no_gain() -> None:
    agent = agent_of(2, 10, 60)
    found = agent.answer(run(agent, begin(agent), TableLearner(rising(names(2)))))
    assert (found.strategy, found.gain) == ("s1", None)


def test_a_learner_that_is_not_ready_leaves_the_trial_as_it_was() -> None:
    class WaitingError(Exception):
        pass

    def labels_are_missing(strategy: str, labels: tuple[Id, ...], budget: int) -> Outcome:
        if strategy == "s0":
            raise WaitingError
        return Outcome(0.5, tuple(range(budget)))

    agent = agent_of(2, 5, 100)
    before = begin(agent)
    with pytest.raises(WaitingError):
        agent.advance(before, labels_are_missing)
    assert before == begin(agent)


@pytest.mark.parametrize(
    ("outcome", "told"),
    [
        (Outcome(0.5, (1, 2, 3, 4, 5, 6)), "at most 5"),
        (Outcome(0.5, (1, 1)), "twice"),
        (Outcome(float("nan"), (1,)), "within"),
        (Outcome(1.2, (1,)), "within"),
    ],
)
def test_a_learner_that_breaks_its_promise_is_named(outcome: Outcome, told: str) -> None:
    agent = agent_of(1, 5, 100)
    with pytest.raises(ContractError, match=f"s0: .*{told}"):
        agent.advance(begin(agent), lambda *_: outcome)


def test_what_is_no_trial_is_refused() -> None:
    plain = begin(agent_of(2, 5, 100)).to_dict()
    for wrong in (plain | {"format": 2}, {}, {k: v for k, v in plain.items() if k != "turns"}, plain | {"more": 1}):
        with pytest.raises(StoreError, match="trial"):
            Trial.from_dict(wrong)


def test_settings_are_checked() -> None:
    for wrong in (
        {"charge": "none"},
        {"eliminate": "all"},
        {"strategies": ("a", "a")},
        {"strategies": ()},
        {"budget": 0},
    ):
        with pytest.raises(UsageError):
            Pshea(**{"strategies": ("a",), "budget": 5, "stop": StopRules(max_labels=10), **wrong})  # type: ignore[arg-type]
    for start in ({"accuracy": 1.5}, {"labels": -1}, {"evaluation_size": 0}):
        with pytest.raises(UsageError):
            agent_of(1, 5, 10).start(**{"accuracy": 0.5, "labels": 5, "evaluation_size": 10, **start})
