"""The study of agents as a page: forecast error, strategy-rounds saved, regret, each with its interval over seeds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from foresift.stores.files import write_text
from foresift.studies.agents.arms import RANDOM
from foresift.studies.agents.pictures import picture
from foresift.studies.agents.replay import (
    FITS,
    RULES,
    Ended,
    best_on_average,
    evaluation_noise,
    fixed,
    forecast_errors,
    overall_rmse,
    replayed,
    seeds,
    shared,
    strategies,
)
from foresift.studies.agents.study import PRESETS, ImagesResults, Study
from foresift.studies.intervals import Mean, mean_of

PAGE, PICTURE = "agent.md", "agent.png"
SMALL = 0.01
"""A regret up to one percentage point counts as small."""
LEAST = 2
"""Points from which forecasts are compared: a single one has no curve."""
_BRUTE, _PSHEA = RULES[0], RULES[1]


def verdicts(study: Study) -> list[str]:
    """What came of each claim on each image set, a defeat as plainly as a win."""
    return [sentence for results in study.sets for sentence in _verdicts(results)]


def page(study: Study) -> str:
    """The whole page in Markdown."""
    parts = [
        "# Choosing a strategy by trial, on real learning curves",
        f"Made by `{_command(study)}`: Huang et al. 2022 (ALaaS), Algorithm 1, with the "
        "paper's seven strategies and a random arm. Every arm is run to the end once, on labels of its own, from "
        "the same first labels; agents are then replayed on these curves, which is exact because arms do not know "
        "of each other. `shared` has runs of its own, random among its strategies. **Agents see an evaluation set "
        "only, a fifth of each class, which no arm may buy; what they chose is judged on the test part.** Each seed "
        "draws its own evaluation set, first labels and weights. Figures are means with 95 % intervals, Student's "
        "over seeds; pp is percentage points of accuracy.",
        f"![curves of all arms, forecast error, regret against labels]({PICTURE})",
        "## Verdicts",
        "\n".join("- " + sentence for sentence in verdicts(study)),
    ]
    for results in study.sets:
        parts += _section(results)
    return "\n\n".join(parts) + "\n"


def _command(study: Study) -> str:
    """What made the study; image sets are named where some of the preset's are left out."""
    names = [results.setting.images for results in study.sets]
    only = "" if len(names) == len(PRESETS[study.preset]) else "".join(f" --only {name}" for name in names)
    return f"foresift study agent --preset {study.preset}{only}"


def write(study: Study, folder: Path) -> list[Path]:
    """Write the page and the picture; gives their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / PAGE, page(study))
    picture(study, folder / PICTURE)
    return [folder / PAGE, folder / PICTURE]


def _verdicts(results: ImagesResults) -> list[str]:
    images = results.setting.images
    rmse = {fit: overall_rmse(results, fit, least=LEAST) for fit in FITS}
    brute, pshea = (replayed(results, rule, control=False) for rule in (_BRUTE, _PSHEA))
    cheap = shared(results)
    return [
        f"{images}, forecast: the next round's evaluation is missed by {_pp(rmse['robust'])} pp (RMSE from {LEAST} "
        f"points on) with `robust`, {_pp(rmse['autolrs'])} with the published fit, {_pp(rmse['last'])} with the last "
        f"value; robust minus published {_difference(rmse['robust'], rmse['autolrs'])} pp. For scale: the "
        f"binomial standard error of one evaluation is {100 * evaluation_noise(results):.2f} pp.",
        f"{images}, rounds saved: PSHEA buys {pshea[0].turns} strategy-rounds of {brute[0].turns}: "
        f"{brute[0].turns - pshea[0].turns} saved in every seed; as images, each paid once, "
        f"{mean_of([one.unique for one in pshea]).text(digits=0)} labels of "
        f"{mean_of([one.unique for one in brute]).text(digits=0)}.",
        f"{images}, regret against the best arm with hindsight: PSHEA {_pp([one.regret for one in pshea])} pp, at most "
        f"{100 * SMALL:.0f} pp in {_small(pshea)} of {len(pshea)} seeds; all arms to the end "
        f"{_pp([one.regret for one in brute])}; PSHEA minus all arms "
        f"{_difference([one.regret for one in pshea], [one.regret for one in brute])} pp.",
        f"{images}, one shared labeled set: regret {_pp([one.regret for one in cheap])} pp for {cheap[0].turns} "
        f"strategy-rounds; minus PSHEA's {_difference([one.regret for one in cheap], [one.regret for one in pshea])} "
        f"pp.",
        _fixed_verdict(results, pshea),
        _winners_verdict(results),
    ]


def _fixed_verdict(results: ImagesResults, pshea: Sequence[Ended]) -> str:
    names = results.setting.strategies
    guesses = {name: fmean(one.regret for one in fixed(results, name)) for name in names}
    lowest = min(guesses, key=guesses.__getitem__)
    against = [one.behind for one in pshea]
    worse = sum(value > fmean(one.regret for one in pshea) for value in guesses.values())
    return (
        f"{results.setting.images}, without a trial: always `{lowest}`, the best guess in hindsight, has a regret of "
        f"{_pp([one.regret for one in fixed(results, lowest)])} pp for {results.setting.rounds} strategy-rounds; "
        f"PSHEA lies {mean_of([100 * v for v in against]).text(sign='+')} pp behind it. Of {len(names)} fixed "
        f"strategies {worse} do worse than PSHEA on average."
    )


def _winners_verdict(results: ImagesResults) -> str:
    last = results.setting.rounds
    rounds = sorted({1, (last + 1) // 2, last})
    told = ", ".join(f"`{_best_at(results, at)}` after round {at}" for at in rounds)
    names = results.setting.strategies
    firsts = [max(names, key=lambda name: results.arm(name, seed).true[-1]) for seed in seeds(results)]
    count = max(firsts.count(name) for name in names)
    return (
        f"{results.setting.images}, best on average: {told}; no strategy is the best at the end in more than {count} "
        f"of {len(firsts)} seeds."
    )


def _section(results: ImagesResults) -> list[str]:
    setting = results.setting
    arm = results.arms[0]
    return [
        f"## {setting.images}",
        f"{setting.model} ({'a head on frozen embeddings' if setting.learner == 'heads' else 'from scratch'}), "
        f"{arm.start} first labels and {setting.budget} a round for {setting.rounds} rounds; evaluation on "
        f"{arm.evaluation_size:,} images; {setting.seeds} seeds.",
        "Agents on the paper's strategies. *Labels*: bought after the first ones, each image once, and as the paper "
        "charges, once for each arm. *Regret*: against the best arm with hindsight, random among them. *Behind*: "
        f"against the strategy that is best on average over the seeds (`{best_on_average(results)}`), which "
        "nobody knows beforehand.",
        _table(_AGENT_HEAD, [_agent_row(results, ended) for ended in _agents(results)]),
        "With random among the arms, so that the answer may be *none beats random*:",
        _table(
            [*_AGENT_HEAD, "random kept"],
            [_control_row(results, replayed(results, rule, control=True)) for rule in RULES],
        ),
        f"Error of the forecast of the next round's evaluation, RMSE in pp; arms pooled, {len(setting.strategies)} "
        "curves a seed. *Inside*: share of these evaluations within the 90 % interval of `robust`, widened by the "
        "evaluation's own noise.",
        _table(["points known", *FITS, "inside"], _forecast_rows(results)),
        "Test accuracy of each arm in percent, mean over seeds; the best in bold. *Gain*: over random after the last "
        "round, paired, in pp.",
        _table(
            ["strategy", *(f"{at * setting.budget + arm.start:,}" for at in _shown(results)), "gain"],
            [_arm_row(results, name) for name in setting.strategies],
        ),
    ]


_AGENT_HEAD = [
    "agent",
    "strategy-rounds",
    "labels",
    "as charged",
    "regret (pp)",
    "at most 1 pp",
    "behind (pp)",
]


def _agents(results: ImagesResults) -> list[list[Ended]]:
    trials = [replayed(results, rule, control=False) for rule in RULES]
    return [*trials, shared(results), *(fixed(results, name) for name in results.setting.strategies)]


def _agent_row(results: ImagesResults, ended: Sequence[Ended]) -> list[str]:
    turns = mean_of([one.turns for one in ended])
    return [
        ended[0].agent,
        f"{turns.value:.0f}" if not turns.reach else turns.text(digits=1),
        f"{fmean(one.unique for one in ended):,.0f}",
        f"{fmean(one.per_strategy for one in ended):,.0f}",
        _pp([one.regret for one in ended]),
        f"{_small(ended)} of {results.setting.seeds}",
        mean_of([100 * one.behind for one in ended]).text(sign="+"),
    ]


def _control_row(results: ImagesResults, ended: Sequence[Ended]) -> list[str]:
    kept = sum(one.kept == RANDOM for one in ended)
    return [*_agent_row(results, ended), f"{kept} of {len(ended)}"]


def _forecast_rows(results: ImagesResults) -> list[list[str]]:
    rows = []
    for known in range(1, results.setting.rounds + 1):
        by = [forecast_errors(results, fit, known) for fit in FITS]
        inside = f"{100 * fmean(by[-1].inside):.0f} %"
        rows.append([str(known), *(_pp(errors.rmse) for errors in by), inside])
    all_of = [_pp(overall_rmse(results, fit, least=LEAST)) for fit in FITS]
    return [*rows, [f"{LEAST} and more", *all_of, ""]]


def _shown(results: ImagesResults) -> list[int]:
    last = results.setting.rounds
    return sorted({0, 1, 2, (last + 1) // 2, last})


def _arm_row(results: ImagesResults, name: str) -> list[str]:
    cells = []
    for at in _shown(results):
        value = f"{100 * _mean_at(results, name, at):.1f}"
        cells.append(f"**{value}**" if at and name == _best_at(results, at) else value)
    gains = [results.arm(name, seed).true[-1] - results.arm(RANDOM, seed).true[-1] for seed in seeds(results)]
    gain = "" if name == RANDOM else mean_of([100 * value for value in gains]).text(sign="+")
    return [f"`{name}`", *cells, gain]


def _mean_at(results: ImagesResults, name: str, at: int) -> float:
    return fmean(results.arm(name, seed).true[at] for seed in seeds(results))


def _best_at(results: ImagesResults, at: int) -> str:
    return max(strategies(results, control=True), key=lambda name: _mean_at(results, name, at))


def _small(ended: Sequence[Ended]) -> int:
    return sum(one.regret <= SMALL for one in ended)


def _pp(shares: Sequence[float]) -> str:
    return _points(shares).text()


def _points(shares: Sequence[float]) -> Mean:
    return mean_of([100 * share for share in shares])


def _difference(first: Sequence[float], second: Sequence[float]) -> str:
    """Paired, seed by seed."""
    return mean_of([100 * (a - b) for a, b in zip(first, second, strict=True)]).text(sign="+")


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])
