"""A transfer study in words and tables: the Markdown page and the CSV file."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict
from statistics import fmean
from typing import Any

import numpy as np

from foresift.lineage.suitability import rank_correlation
from foresift.studies.paired import deviation
from foresift.studies.surrogates.analysis import (
    LEAST_PAIRS,
    SCORE_OF,
    Grid,
    ceiling,
    grid,
    mean_gains,
    predictions,
    random_scores,
    rankings,
    spreads,
)
from foresift.studies.surrogates.paper import CITE, EXPLANATION, FIGURES
from foresift.studies.surrogates.protocol import AUTO, TRUE_LOSS
from foresift.studies.surrogates.study import Pair, Study, Table

CSV_COLUMNS = (
    "table",
    "strategy",
    "surrogate",
    "deployment",
    "seed",
    "labels",
    "quality",
    "random",
    "gain",
    "fit",
)
COMMAND = "foresift study surrogates {name}"


def page(study: Study, *, pictures: Sequence[str]) -> str:
    """The whole page in Markdown; a picture for each table."""
    parts = [
        "# Surrogates: who chose the labels, and who learns from them",
        f"Made by `{COMMAND.format(name=study.name)}` in {study.seconds:,.0f} s"
        + (f" ({trained:,} trainings)." if (trained := sum(t.trained for t in study.tables)) else "."),
        "Every model chooses labels with every strategy, cycle by cycle, from the same random start; every model is "
        "then trained from its own start on what each of them chose, and on as many random labels that hold the same "
        "start. Same seeds, same training, random labels drawn without replacement. The part that judges is looked at "
        "for the figures below and for nothing else.",
        *(section(table, name) for table, name in zip(study.tables, pictures, strict=True)),
        paper_section(),
    ]
    return "\n\n".join(parts) + "\n"


def section(table: Table, picture: str) -> str:
    """One protocol."""
    protocol = table.protocol
    lines = [
        f"## {protocol.title or protocol.images}",
        f"Pool of {table.pool:,}, {table.labels} labels in each of {protocol.cycles} cycles "
        f"({table.labels * protocol.cycles / table.pool:.0%} in the end), seeds {protocol.every_seed.start} to "
        f"{protocol.every_seed.stop - 1}. Measure: {table.measure} on {protocol.judges}, in percent, "
        "mean ± standard deviation over seeds (n - 1); in brackets what the true loss of the same surrogate reaches, "
        "which no strategy may see. "
        f"Training: {_lessons(table)}.",
    ]
    lines += ["What differs from the paper's protocol:\n\n" + "\n".join(f"- {one}." for one in protocol.cut)]
    lines += [f"![gains, spread of the entropy and learning curves]({picture})"]
    lines += ["### Win counts", counts_table(table), *(sentence for sentence in refusals(table))]
    for strategy in protocol.strategies:
        if strategy != TRUE_LOSS:
            lines += [f"### Chosen by {strategy}", matrix(table, strategy)]
    if protocol.probes:
        lines += ["### Entropy after the same random labels", spread_table(table)]
    lines += [text for strategy in protocol.strategies if (text := ranking_section(table, strategy))]
    return "\n\n".join(lines)


def matrix(table: Table, strategy: str) -> str:
    """Deployment models down, surrogates across; then the mean gains, ``auto``'s beside them."""
    made, top = grid(table, strategy), ceiling(table)
    head = ["trained \\ chosen by", "random", *made.surrogates]
    rows = [
        [f"**{model}**", _mean(random_scores(table, model)), *(_cell(made, top, (a, model)) for a in made.surrogates)]
        for model in made.models
    ]
    rows.append(["mean gain, other models", "", *(_gain_of(made, a) for a in made.surrogates)])
    if AUTO in table.protocol.strategies and strategy != AUTO:
        auto = grid(table, AUTO)
        rows.append(["the same with `auto`", "", *(_gain_of(auto, a) for a in made.surrogates)])
    return markdown_table(head, rows)


def counts_table(table: Table) -> str:
    """A row for every strategy: pairs of different models, and models that choose for themselves."""
    head = [
        "strategy",
        "pairs ahead",
        "by more than 2 s.e.",
        "behind by more than 2 s.e.",
        "mean gain (pp)",
        "p (sign flips)",
        "own choice ahead",
        "own choice, mean gain (pp)",
    ]
    rows = []
    for strategy in table.protocol.strategies:
        made = grid(table, strategy)
        other, own = made.counts(), made.counts(own=True)
        by_seed = made.by_seed()
        spread = deviation(by_seed)
        gain = f"{other.mean:+.2f}" + ("" if spread is None else f" ± {spread:.2f}")
        rows.append(
            [
                f"`{strategy}`" + (" (ceiling)" if strategy == TRUE_LOSS else ""),
                f"{other.ahead} of {other.pairs}",
                str(other.clear),
                str(other.behind_clear),
                gain,
                f"{made.chance():.3f}",
                f"{own.ahead} of {own.pairs}",
                f"{own.mean:+.2f}",
            ]
        )
    return (
        markdown_table(head, rows)
        + "\n\nGains are of the deployment model against itself on random labels, in percentage points; ± is the "
        f"standard deviation of the seeds' means. With {table.protocol.seeds} seeds no p can be below "
        f"{0.5**table.protocol.seeds:.3f}."
    )


def spread_table(table: Table) -> str:
    """Mean, spread and variation of the entropy, what each model was worth as a surrogate, how these go together."""
    found = spreads(table)
    choosing = [strategy for strategy in table.protocol.strategies if strategy != TRUE_LOSS]
    worth = {strategy: mean_gains(grid(table, strategy)) for strategy in choosing}
    head = ["model", "mean entropy (nats)", "standard deviation", "variation", *(f"gain by {s} (pp)" for s in choosing)]
    rows = [
        [
            f"`{s.model}`",
            f"{s.mean:.3f}",
            f"{s.std:.3f}",
            f"{s.variation:.2f}",
            *(f"{worth[one][s.model]:+.2f}" if s.model in worth[one] else "-" for one in choosing),
        ]
        for s in found
    ]
    for name, values in (("mean", "mean"), ("standard deviation", "std"), ("variation", "variation")):
        cells = []
        for strategy in choosing:
            pairs = [(getattr(s, values), worth[strategy][s.model]) for s in found if s.model in worth[strategy]]
            enough = len(pairs) >= LEAST_PAIRS
            cells.append(f"{rank_correlation(*np.array(pairs).T):+.2f}" if enough else "-")
        rows.append([f"rank correlation with the {name}", "", "", "", *cells])
    return markdown_table(head, rows)


def ranking_section(table: Table, strategy: str) -> str:
    """What suitability said before a label was chosen, and how well it ranked what came of it; empty if not known."""
    if strategy not in SCORE_OF or not (ranked := rankings(table, strategy)):
        return ""
    made, found = grid(table, strategy), predictions(table, SCORE_OF[strategy])
    labels = table.labels * table.protocol.half
    rows = [
        [
            one.predictor,
            f"{one.correlation.value:+.2f} ({one.correlation.low:+.2f} to {one.correlation.high:+.2f})",
            f"{one.within:+.2f}",
            f"{one.regret:.2f}",
        ]
        for one in ranked
    ]
    head = ["predictor", "rank correlation with the gain (95 %)", "within a deployment model", "regret (pp)"]
    names = list(next(iter(found.values())).figures)
    pairs = [
        [f"{a} for {b}", *(f"{found[a, b].figures[name]:+.2f}" for name in names), f"{made.gain((a, b)):+.2f}"]
        for a, b in made.pairs()
    ]
    return "\n\n".join(
        [
            f"### Suitability by {SCORE_OF[strategy]} against the gain of {strategy}",
            f"From {labels} random labels, before anything was chosen; {len(pairs)} pairs of different models. "
            "Intervals by bootstrap over pairs, which share models and are therefore less certain than that.",
            markdown_table(head, rows),
            "<details><summary>every pair</summary>\n\n"
            + markdown_table(["pair", *names, "gain (pp)"], pairs)
            + "\n\n</details>",
        ]
    )


def refusals(table: Table) -> list[str]:
    """Pairs of model and strategy without a result."""
    found = {key: why for one in table.seeds for key, why in one.refused.items()}
    return [f"- `{strategy}` by {model} gave no result: {why}" for (model, strategy), why in found.items()]


def paper_section() -> str:
    """The paper's figures beside ours."""
    rows = [[one.what, one.figure] for one in FIGURES]
    return "\n\n".join(
        ["## What the paper reports", markdown_table(["what", "figure"], rows), f"{CITE}. {EXPLANATION}"]
    )


def verdicts(study: Study) -> list[str]:
    """One sentence for every strategy of every table."""
    told = []
    for table in study.tables:
        for strategy in table.protocol.strategies:
            found = grid(table, strategy).counts()
            told.append(
                f"{table.protocol.title or table.protocol.images}, {strategy}: ahead of random in {found.ahead} of "
                f"{found.pairs} pairs of different models ({found.clear} by more than two standard errors, "
                f"{found.behind_clear} behind by as much), mean gain {found.mean:+.2f} points."
            )
    return told


def summaries(study: Study) -> list[dict[str, Any]]:
    """Plain values of every table: counts by strategy, gains by pair."""
    return [
        {
            "title": table.protocol.title,
            "pool": table.pool,
            "labels": table.labels * table.protocol.cycles,
            "measure": table.measure,
            "judged_on": table.protocol.judged_on,
            "trainings": table.trained,
            "strategies": {name: _summary(grid(table, name)) for name in table.protocol.strategies},
        }
        for table in study.tables
    ]


def _summary(made: Grid) -> dict[str, Any]:
    gains = [{"surrogate": a, "deployment": b, "gain_pp": made.gain((a, b))} for a, b in made.cells]
    return {**asdict(made.counts()), "p": made.chance(), "gains": gains}


def csv_text(study: Study) -> str:
    """One line for every table, strategy, pair and seed."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for table in study.tables:
        for strategy in table.protocol.strategies:
            for one in table.seeds:
                for (a, b), training in one.inherited[strategy].items():
                    floor = one.random[b][-1].quality
                    writer.writerow(
                        [
                            table.protocol.title or table.protocol.images,
                            strategy,
                            a,
                            b,
                            one.seed,
                            table.labels * table.protocol.cycles,
                            f"{training.quality:.6f}",
                            f"{floor:.6f}",
                            f"{training.quality - floor:.6f}",
                            f"{training.fit:.6f}",
                        ]
                    )
    return stream.getvalue()


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table with a line for every row."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _cell(made: Grid, top: Grid | None, pair: Pair) -> str:
    if pair not in made.cells:
        return "-"
    text = _mean(made.cells[pair].chosen)
    if top is not None and pair in top.cells:
        text += f" ({100 * fmean(top.cells[pair].chosen):.1f})"
    return f"**{text}**" if made.gain(pair) > 0 else text


def _gain_of(made: Grid, surrogate: str) -> str:
    gains = mean_gains(made)
    return f"{gains[surrogate]:+.2f}" if surrogate in gains else "-"


def _mean(values: Sequence[float]) -> str:
    spread = deviation(tuple(values))
    return f"{100 * fmean(values):.1f}" + ("" if spread is None else f" ± {100 * spread:.1f}")


def _lessons(table: Table) -> str:
    recipe = table.protocol.recipe
    if table.protocol.learner == "heads":
        return "heads fitted to convergence on frozen embeddings"
    return (
        f"{recipe.epochs} epochs, batches of {recipe.batch}, {recipe.optimizer} at {recipe.lr:g}, "
        f"augmentation {recipe.augment}"
    )
