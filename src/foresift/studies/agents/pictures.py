"""The picture of the study of agents: curves of all arms, forecast errors, regret against what it cost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from foresift.stores.files import write_atomically
from foresift.studies.agents.arms import RANDOM
from foresift.studies.agents.replay import (
    FITS,
    RULES,
    Ended,
    best_on_average,
    evaluation_noise,
    fixed,
    forecast_errors,
    replayed,
    seeds,
    shared,
)
from foresift.studies.agents.study import ImagesResults, Study
from foresift.studies.intervals import mean_of

COLOURS = ("#0072B2", "#009E73", "#D55E00", "#CC79A7", "#E69F00", "#56B4E9", "#882255")
TICKS = (0.2, 0.5, 1, 2, 5, 10, 20)
FIT_STYLES = {"last": ("s:", "#888888"), "autolrs": ("^--", "#C15700"), "robust": ("o-", "#0072B2")}


def picture(study: Study, path: Path) -> None:
    """Write one row of three panels for each image set."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 3.9 * len(study.sets)), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    for panels, results in zip(figure.subplots(len(study.sets), 3, squeeze=False), study.sets, strict=True):
        _draw_curves(panels[0], results)
        _draw_errors(panels[1], results)
        _draw_regret(panels[2], results)
    write_atomically(path, lambda target: figure.savefig(target, format="png", metadata={"Software": None}))


def _draw_curves(panel: Any, results: ImagesResults) -> None:
    """Gain over random, so that curves which all rise can be told apart."""
    setting = results.setting
    labels = [point.labels for point in results.arms[0].points]
    baseline = np.array([results.arm(RANDOM, seed).true for seed in seeds(results)])
    others = [name for name in setting.strategies if name != RANDOM]
    for colour, name in zip(COLOURS, others, strict=False):
        gains = 100 * (np.array([results.arm(name, seed).true for seed in seeds(results)]) - baseline)
        panel.plot(labels, gains.mean(axis=0), "o-", color=colour, label=name, markersize=3, linewidth=1.2)
    panel.axhline(0, color="#1c1c1c", linewidth=0.8)
    panel.set_xlabel("labels", fontsize=9)
    panel.set_ylabel("test accuracy over random (pp)", fontsize=9)
    panel.set_title(f"{setting.images}: arms, mean of {setting.seeds} seeds", fontsize=10)
    panel.legend(fontsize=7, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.14), ncol=3)


def _draw_errors(panel: Any, results: ImagesResults) -> None:
    known = range(1, results.setting.rounds + 1)
    for shift, fit in enumerate(FITS):
        means = [mean_of([100 * v for v in forecast_errors(results, fit, at).rmse]) for at in known]
        style, colour = FIT_STYLES[fit]
        panel.errorbar(
            [at + 0.08 * (shift - 1) for at in known], [one.value for one in means],
            yerr=[one.reach or 0.0 for one in means], fmt=style, color=colour, label=fit,
            markersize=4, linewidth=1, capsize=2,
        )  # fmt: skip
    noise = 100 * evaluation_noise(results)
    panel.axhline(noise, color="#1c1c1c", linewidth=0.8, linestyle=":", label="binomial s.e. of an evaluation")
    panel.set_yscale("log")
    shown = panel.get_ylim()
    panel.set_yticks(TICKS, [f"{tick:g}" for tick in TICKS])
    panel.set_ylim(shown)
    panel.minorticks_off()
    panel.set_xticks(list(known))
    panel.set_xlabel("points known", fontsize=9)
    panel.set_ylabel("RMSE of the next round (pp)", fontsize=9)
    panel.set_title(f"{results.setting.images}: forecasts", fontsize=10)
    panel.legend(fontsize=7, frameon=False)


def _draw_regret(panel: Any, results: ImagesResults) -> None:
    rules = [rule for rule in RULES if rule.fit == "robust"]
    agents = [replayed(results, rule, control=False) for rule in rules]
    agents += [shared(results), fixed(results, best_on_average(results)), fixed(results, RANDOM)]
    names = [_short(ended) for ended in agents][::-1]
    for height, ended in enumerate(agents[::-1]):
        regret = mean_of([100 * one.regret for one in ended])
        panel.errorbar(
            regret.value, height, xerr=regret.reach or 0.0, fmt="o", color="#0072B2", markersize=4, linewidth=1
        )
    panel.axvline(0, color="#1c1c1c", linewidth=0.8)
    panel.set_yticks(range(len(names)), names, fontsize=8)
    panel.set_xlabel("regret (pp), 95 % interval", fontsize=9)
    panel.set_title(f"{results.setting.images}: regret, strategy-rounds bought", fontsize=10)


def _short(ended: list[Ended]) -> str:
    """``pshea: 29``."""
    turns = sum(one.turns for one in ended) / len(ended)
    return f"{ended[0].agent.replace('`', '')}: {turns:.3g}"
