"""The study of agents at its smallest: curves, replays on them, the page; taken up where it was."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from foresift.core.errors import UnknownNameError
from foresift.cycle.trials import Id, Outcome
from foresift.studies.agents import arms as agent_arms
from foresift.studies.agents import replay as agent_replay
from foresift.studies.agents import study as agent
from foresift.studies.agents.arms import RANDOM, SHARED, Arm, Ground, Setting, ground
from foresift.studies.agents.replay import RULES, Rule, forecast_errors, overall_rmse, replay, replayed, shared
from foresift.studies.agents.report import verdicts, write
from foresift.studies.agents.study import PRESETS, ImagesResults, Study, run
from foresift.studies.intervals import mean_of
from foresift.studies.surrogates.bench_of import bench_of
from foresift.studies.surrogates.benches import PixelBench

pytestmark = pytest.mark.timeout(600)
PSHEA = RULES[1]


@pytest.fixture(scope="module")
def studied(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Study]:
    """The smoke preset, and where it lies."""
    folder = tmp_path_factory.mktemp("study")
    return folder, run(folder, preset="smoke")


@pytest.fixture(scope="module")
def here() -> Ground:
    """The first seed of the smoke preset."""
    setting = PRESETS["smoke"][0]
    bench = bench_of(agent._protocol(setting), Path(), None)
    assert isinstance(bench, PixelBench)
    return ground(bench, setting, 0)


def test_every_arm_starts_from_the_same_labels_and_never_buys_what_evaluates(
    studied: tuple[Path, Study], here: Ground
) -> None:
    results = studied[1].sets[0]
    setting = results.setting
    assert {(arm.strategy, arm.seed) for arm in results.arms} == {
        (name, seed) for name in (*setting.strategies, SHARED) for seed in range(setting.seeds)
    }
    for arm in (arm for arm in results.arms if arm.seed == 0):
        bought = [row for batch in arm.purchases for row in batch]
        assert [len(batch) for batch in arm.purchases] == [setting.budget] * setting.rounds
        assert len({*bought, *here.start.tolist()}) == len(bought) + len(here.start)
        assert not set(bought) & set(here.evaluation.tolist())
        assert arm.points[0] == results.arm(RANDOM, 0).points[0]
        assert [point.labels for point in arm.points] == [10, 20, 30, 40]
    assert len(results.arm(SHARED, 0).drawn) == setting.rounds


def test_the_evaluation_set_is_a_fifth_of_every_class(here: Ground) -> None:
    codes = here.bench.images.codes
    share = np.bincount(codes[here.evaluation]) / np.bincount(codes)
    assert np.all(np.abs(share - 0.2) < 0.01)
    assert len(here.pool) + len(here.evaluation) == len(codes)


def test_a_replay_decides_what_the_trial_itself_would(studied: tuple[Path, Study], here: Ground) -> None:
    results = studied[1].sets[0]
    trial = replay(results, PSHEA, 0, results.setting.strategies)

    def live(strategy: str, labels: tuple[Id, ...], budget: int) -> Outcome:
        known = np.concatenate([here.start, np.array(labels, dtype=np.intp)])
        number = 1 + len(labels) // budget
        picked = here.picked(strategy, here.model(known).taught, known, budget=budget, number=number)
        return Outcome(here.model(np.concatenate([known, picked])).seen, tuple(picked.tolist()))

    again = {(turn.strategy, turn.round): turn for turn in trial.turns}
    for strategy, number in again:
        labels = tuple(i for at in range(1, number) for i in again[strategy, at].purchases)
        outcome = live(strategy, labels, here.setting.budget)
        assert (outcome.accuracy, outcome.purchases) == (
            again[strategy, number].accuracy,
            again[strategy, number].purchases,
        )


def test_finished_cells_are_not_made_again(studied: tuple[Path, Study], monkeypatch: pytest.MonkeyPatch) -> None:
    folder, study = studied
    monkeypatch.setattr(agent_arms.Ground, "model", None)
    assert run(folder, preset="smoke").sets == study.sets
    more = replace(PRESETS["smoke"][0], seeds=1)
    monkeypatch.setitem(PRESETS, "smoke", (more,))
    assert run(folder, preset="smoke", only=["digits"]).sets[0].arms == study.sets[0].arms[:4]


def test_the_page_holds_the_verdicts_and_shows_the_picture(studied: tuple[Path, Study], tmp_path: Path) -> None:
    page, picture = write(studied[1], tmp_path)
    text = page.read_text()
    assert len(verdicts(studied[1])) == 6
    assert all(sentence in text for sentence in verdicts(studied[1]))
    assert "nan" not in text
    assert "`foresift study agent --preset smoke`" in text
    assert picture.stat().st_size > 10_000


def test_unknown_presets_and_sets_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="unknown preset 'tiny'"):
        run(tmp_path, preset="tiny")
    with pytest.raises(UnknownNameError, match="unknown image set of this preset 'mnist'"):
        run(tmp_path, preset="smoke", only=["mnist"])


SEVEN = tuple("abcdefg")


def _results(curves: dict[str, list[float]], true: dict[str, list[float]] | None = None) -> ImagesResults:
    """Given curves as seen and as they are, in one seed; arm by arm the same rows are bought."""
    rounds = len(next(iter(curves.values()))) - 1
    setting = Setting(
        images="made", learner="heads", model="none", budget=5, rounds=rounds, seeds=1, strategies=tuple(curves)
    )
    arms = [
        Arm(
            images="made",
            strategy=name,
            seed=0,
            seen=tuple(seen),
            true=tuple((true or curves)[name]),
            purchases=tuple(tuple(range(100 + 5 * at, 105 + 5 * at)) for at in range(rounds)),
            start=5,
            evaluation_size=1_000,
        )
        for name, seen in curves.items()
    ]
    return ImagesResults(setting=setting, arms=tuple(arms))


def _rising(ceiling: float) -> list[float]:
    return [ceiling - 0.4 * 0.7**at for at in range(9)]


def test_seven_arms_buy_29_of_56_strategy_rounds_and_equal_purchases_are_paid_once() -> None:
    results = _results({name: [0.4, *_rising(0.7 + 0.02 * at)[1:]] for at, name in enumerate(SEVEN)})
    turns = {rule.name: replayed(results, rule, control=False)[0] for rule in RULES}
    assert turns["pshea"].turns == 29
    assert turns["brute-force"].turns == 56
    assert turns["halving"].turns == 7 + 4 + 2 + 5
    assert (turns["pshea"].per_strategy, turns["pshea"].unique) == (5 * 29, 5 * 8)
    assert turns["pshea"].kept == turns["brute-force"].kept == "g"


def test_regret_is_judged_on_the_test_part_alone() -> None:
    seen = {"a": _rising(0.9), "b": _rising(0.8)}
    true = {"a": _rising(0.75), "b": _rising(0.85)}
    ended = replayed(_results(seen, true), Rule("brute-force", "none", "robust"), control=False)[0]
    assert ended.kept == "a"
    assert ended.regret == pytest.approx(0.1)
    assert ended.behind == pytest.approx(0.1)


def test_forecast_errors_are_those_of_the_next_evaluation() -> None:
    curves = {"a": [0.5, 0.6, 0.64, 0.7], "b": [0.5, 0.52, 0.6, 0.61]}
    results = _results(curves)
    assert forecast_errors(results, "last", 2).rmse[0] == pytest.approx(np.sqrt((0.04**2 + 0.08**2) / 2))
    assert forecast_errors(results, "last", 2).inside == ()
    assert len(forecast_errors(results, "robust", 2).inside) == 1
    steps = [0.04, 0.06, 0.08, 0.01]
    assert overall_rmse(results, "last", least=2)[0] == pytest.approx(np.sqrt(np.mean(np.square(steps))))


def test_an_interval_holds_the_next_evaluation_where_the_curve_goes_on_and_not_where_it_breaks() -> None:
    smooth, broken = _rising(0.9), _rising(0.9)
    broken[5] = 0.1
    assert agent_replay.forecast_errors(_results({"a": smooth}), "robust", 5).inside == (1.0,)
    assert agent_replay.forecast_errors(_results({"a": broken}), "robust", 5).inside == (0.0,)


def test_a_shared_run_may_beat_every_arm() -> None:
    results = _results({"a": _rising(0.8), RANDOM: _rising(0.7)})
    run_of = replace(results.arms[0], strategy=SHARED, true=tuple(_rising(0.85)))
    ended = shared(replace(results, arms=(*results.arms, run_of)))[0]
    assert ended.regret == pytest.approx(-0.05)
    assert ended.turns == 8


def test_means_have_students_interval() -> None:
    found = mean_of([1.0, 2.0, 3.0])
    assert found.value == 2.0
    assert found.reach == pytest.approx(4.302653 / np.sqrt(3), rel=1e-6)
    assert found.text() == "2.00 (-0.48 to 4.48)"
    assert mean_of([1.5]).text(sign="+") == "+1.50"
