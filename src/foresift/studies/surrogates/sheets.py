"""The tables of a transfer study as rows of text, which the Markdown page and the HTML page both show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from foresift.lineage.suitability import rank_correlation
from foresift.studies.paired import deviation
from foresift.studies.surrogates.analysis import (
    LEAST_PAIRS,
    SCORE_OF,
    Counts,
    grid,
    mean_gains,
    predictions,
    rankings,
    spreads,
)
from foresift.studies.surrogates.protocol import TRUE_LOSS
from foresift.studies.surrogates.study import Table

NONE = "-"
"""Where there is nothing to tell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """A table of text; names stand between backticks."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Suitability:
    """What was predicted of every pair before a label was chosen, and how well that ranked what came of it."""

    title: str
    basis: str
    """From how many labels and pairs."""
    ranked: Sheet
    """A row for every predictor."""
    pairs: Sheet
    """A row for every pair of different models."""


def counts_sheet(table: Table) -> Sheet:
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
    return Sheet(head=head, rows=[_counted(table, strategy) for strategy in table.protocol.strategies])


def counts_note(table: Table) -> str:
    """How the win counts are to be read."""
    return (
        "Gains are of the deployment model against itself on random labels, in percentage points; ± is the "
        f"standard deviation of the seeds' means. With {table.protocol.seeds} seeds no p can be below "
        f"{0.5**table.protocol.seeds:.3f}."
    )


def refusals(table: Table) -> list[str]:
    """A sentence for every pair of model and strategy without a result."""
    found = {key: why for one in table.seeds for key, why in one.refused.items()}
    return [f"`{strategy}` by {model} gave no result: {why}" for (model, strategy), why in found.items()]


def spread_sheet(table: Table) -> Sheet:
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
            *(f"{worth[one][s.model]:+.2f}" if s.model in worth[one] else NONE for one in choosing),
        ]
        for s in found
    ]
    for name, values in (("mean", "mean"), ("standard deviation", "std"), ("variation", "variation")):
        cells = []
        for strategy in choosing:
            pairs = [(getattr(s, values), worth[strategy][s.model]) for s in found if s.model in worth[strategy]]
            enough = len(pairs) >= LEAST_PAIRS
            cells.append(f"{rank_correlation(*np.array(pairs).T):+.2f}" if enough else NONE)
        rows.append([f"rank correlation with the {name}", "", "", "", *cells])
    return Sheet(head=head, rows=rows)


def suitability(table: Table, strategy: str) -> Suitability | None:
    """What was known of the pairs of a strategy; None without probes or with too few pairs to rank."""
    if strategy not in SCORE_OF or not (ranked := rankings(table, strategy)):
        return None
    made, found = grid(table, strategy), predictions(table, SCORE_OF[strategy])
    rows = [
        [
            one.predictor,
            f"{one.correlation.value:+.2f} ({one.correlation.low:+.2f} to {one.correlation.high:+.2f})",
            f"{one.within:+.2f}",
            f"{one.regret:.2f}",
        ]
        for one in ranked
    ]
    names = list(next(iter(found.values())).figures)
    pairs = [
        [f"{a} for {b}", *(f"{found[a, b].figures[name]:+.2f}" for name in names), f"{made.gain((a, b)):+.2f}"]
        for a, b in made.pairs()
    ]
    return Suitability(
        title=f"Suitability by {SCORE_OF[strategy]} against the gain of {strategy}",
        basis=f"From {table.labels * table.protocol.half} random labels, before anything was chosen; {len(pairs)} "
        "pairs of different models. Intervals by bootstrap over pairs, which share models and are therefore less "
        "certain than that.",
        ranked=Sheet(
            head=["predictor", "rank correlation with the gain (95 %)", "within a deployment model", "regret (pp)"],
            rows=rows,
        ),
        pairs=Sheet(head=["pair", *names, "gain (pp)"], rows=pairs),
    )


def _counted(table: Table, strategy: str) -> list[str]:
    made = grid(table, strategy)
    other, own = made.counts(), made.counts(own=True)
    spread = deviation(made.by_seed())
    gain = f"{other.mean:+.2f}" + ("" if spread is None else f" ± {spread:.2f}")
    clear = [str(other.clear), str(other.behind_clear), gain, f"{made.chance():.3f}"]
    return [
        f"`{strategy}`" + (" (ceiling)" if strategy == TRUE_LOSS else ""),
        _ahead(other),
        *(clear if other.pairs else [NONE] * len(clear)),
        _ahead(own),
        f"{own.mean:+.2f}" if own.pairs else NONE,
    ]


def _ahead(counts: Counts) -> str:
    return f"{counts.ahead} of {counts.pairs}" if counts.pairs else NONE
