"""A transfer study in words and tables: the Markdown page and the CSV file."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict
from statistics import fmean
from typing import Any

from foresift.studies.paired import deviation
from foresift.studies.surrogates.analysis import Grid, ceiling, grid, mean_gains, random_scores
from foresift.studies.surrogates.paper import CITE, EXPLANATION, FIGURES
from foresift.studies.surrogates.pictures import caption
from foresift.studies.surrogates.protocol import AUTO, TRUE_LOSS
from foresift.studies.surrogates.sheets import Sheet, counts_note, counts_sheet, refusals, spread_sheet, suitability
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
        "start. Same seeds, same training, random labels drawn without replacement. The test part is looked at for the "
        "figures below and for nothing else.",
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
        f"{protocol.every_seed.stop - 1}. Measure: {table.measure} in percent, mean ± standard deviation over seeds "
        "(n - 1); in brackets what the true loss of the same surrogate reaches, which no strategy may see. "
        f"Training: {_lessons(table)}.",
    ]
    lines += ["What differs from the paper's protocol:\n\n" + "\n".join(f"- {one}." for one in protocol.cut)]
    lines += [f"![{caption(table)}]({picture})"]
    lines += ["### Win counts", markdown(counts_sheet(table)), counts_note(table)]
    if refused := refusals(table):
        lines += ["\n".join(f"- {sentence}" for sentence in refused)]
    for strategy in protocol.strategies:
        if strategy != TRUE_LOSS:
            lines += [f"### Chosen by {strategy}", matrix(table, strategy)]
    if protocol.probes:
        lines += ["### Entropy after the same random labels", markdown(spread_sheet(table))]
    for known in (suitability(table, strategy) for strategy in protocol.strategies):
        if known is not None:
            lines += [f"### {known.title}", known.basis, markdown(known.ranked)]
            lines += ["<details><summary>every pair</summary>", markdown(known.pairs), "</details>"]
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
    return markdown(Sheet(head=head, rows=rows))


def paper_section() -> str:
    """The paper's figures beside ours."""
    rows = [[one.what, one.figure] for one in FIGURES]
    return "\n\n".join(
        ["## What the paper reports", markdown(Sheet(head=["what", "figure"], rows=rows)), f"{CITE}. {EXPLANATION}"]
    )


def verdicts(study: Study) -> list[str]:
    """One sentence for every strategy of every table, and one for every model that gave it no result."""
    told = []
    for table in study.tables:
        title = table.protocol.title or table.protocol.images
        told += [f"{title}, {strategy}: {_verdict(grid(table, strategy))}" for strategy in table.protocol.strategies]
        told += [f"{title}, {sentence}" for sentence in refusals(table)]
    return told


def _verdict(made: Grid) -> str:
    found, own = made.counts(), made.counts(own=True)
    if found.pairs:
        return (
            f"ahead of random in {found.ahead} of {found.pairs} pairs of different models ({found.clear} by more than "
            f"two standard errors, {found.behind_clear} behind by as much), mean gain {found.mean:+.2f} points."
        )
    if own.pairs:
        return (
            "no pair of different models to judge by; models that chose for themselves are ahead of random in "
            f"{own.ahead} of {own.pairs}, mean gain {own.mean:+.2f} points."
        )
    return "no result."


def summaries(study: Study) -> list[dict[str, Any]]:
    """Plain values of every table: counts by strategy, gains by pair, who gave no result."""
    return [
        {
            "title": table.protocol.title,
            "pool": table.pool,
            "labels": table.labels * table.protocol.cycles,
            "measure": table.measure,
            "trainings": table.trained,
            "strategies": {name: _summary(grid(table, name)) for name in table.protocol.strategies},
            "refused": refusals(table),
        }
        for table in study.tables
    ]


def _summary(made: Grid) -> dict[str, Any]:
    gains = [{"surrogate": a, "deployment": b, "gain_pp": made.gain((a, b))} for a, b in made.cells]
    found = {**asdict(made.counts()), "p": made.chance()}
    nothing = {} if made.pairs() else {"mean": None, "p": None}
    return {**found, **nothing, "gains": gains}


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


def markdown(sheet: Sheet) -> str:
    """A table with a line for every row."""
    lines = [sheet.head, ["---"] * len(sheet.head), *sheet.rows]
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
