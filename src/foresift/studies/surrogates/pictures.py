"""Pictures of a transfer study: tables coloured by row, histograms of the entropy, learning curves."""

from __future__ import annotations

from collections.abc import Callable
from io import StringIO
from itertools import cycle
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from foresift.stores.files import write_atomically
from foresift.studies.paired import deviation
from foresift.studies.surrogates.analysis import Grid, grid, spreads
from foresift.studies.surrogates.protocol import RANDOM, TRUE_LOSS
from foresift.studies.surrogates.study import Table

COLOURS = ("#0072B2", "#C15700", "#009E73", "#882255", "#56B4E9", "#E69F00", "#555555")
"""Of the colour-blind-safe palettes of Okabe and Ito, and Tol."""
_ABOVE, _BELOW = (0, 114, 178), (193, 87, 0)
_STRONGEST = 0.55
_BINS = 24
_LETTERS = 20
"""Of all names below a table, until they need a tilt."""


def shade(made: Grid, pair: tuple[str, str]) -> tuple[float, float, float]:
    """Red, green and blue within [0, 1]: blue above random, orange below, the strongest of a row the darkest."""
    row = [abs(made.gain(other)) for other in made.cells if other[1] == pair[1]]
    gain, largest = made.gain(pair), max(row, default=0.0)
    weight = _STRONGEST * abs(gain) / largest if largest > 0 else 0.0
    colour = _ABOVE if gain > 0 else _BELOW
    red, green, blue = (1 - weight + weight * part / 255 for part in colour)
    return red, green, blue


def write_picture(table: Table, path: Path) -> None:
    """Write everything of one table as a PNG file."""
    figure = _new(13, 3.2 * len(panels_of(table)))
    _draw(figure, table)
    write_atomically(path, lambda target: figure.savefig(target, format="png", metadata={"Software": None}))


def panels_of(table: Table) -> dict[str, Callable[[Any, Table], None]]:
    """Rows of panels: gains, histograms if there are probes, learning curves if random labels were followed."""
    panels: dict[str, Callable[[Any, Table], None]] = {"gains": tables_panel}
    if table.protocol.probes:
        panels["spread of the entropy"] = histogram_panel
    if table.protocol.curves:
        panels["learning curves"] = curves_panel
    return panels


def caption(table: Table) -> str:
    """What a picture shows: ``gains, spread of the entropy and learning curves``, or fewer of them."""
    *others, last = panels_of(table)
    return f"{', '.join(others)} and {last}" if others else last


def svg(draw: Callable[[Any, Table], None], table: Table, *, width: float, height: float) -> str:
    """One drawing as an SVG element without a prologue, its text as paths: it needs no font and no network."""
    figure = _new(width, height)
    draw(figure, table)
    stream = StringIO()
    figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    text = stream.getvalue()
    return text[text.index("<svg") :]


def tables_panel(figure: Any, table: Table) -> None:
    """One coloured table a strategy: gain over random in percentage points."""
    strategies = [name for name in table.protocol.strategies if name != TRUE_LOSS]
    panels = figure.subplots(1, len(strategies), squeeze=False)[0]
    for panel, strategy in zip(panels, strategies, strict=True):
        _grid_panel(panel, grid(table, strategy))


def histogram_panel(figure: Any, table: Table) -> None:
    """Entropy of every model after the same random labels, its top tenth marked; first seed."""
    found = spreads(table)
    panels = figure.subplots(1, len(found), squeeze=False)[0]
    for panel, spread in zip(panels, found, strict=True):
        edges = np.linspace(0, max(float(s.values.max()) for s in found) or 1.0, _BINS + 1)
        panel.hist(spread.values, bins=edges, color="#bbbbbb")
        panel.hist(spread.values[spread.values >= spread.cut], bins=edges, color=COLOURS[0])
        panel.set_yscale("log")
        panel.set_title(f"{spread.model}: mean {spread.mean:.2f}, s.d. {spread.std:.2f}", fontsize=9)
        panel.set_xlabel("entropy (nats)", fontsize=9)
        panel.tick_params(labelsize=8)
    panels[0].set_ylabel("images", fontsize=9)


def curves_panel(figure: Any, table: Table) -> None:
    """Quality of each model after every cycle, on labels that it chose for itself and on random ones."""
    models = table.protocol.choosers
    panels = figure.subplots(1, len(models), squeeze=False)[0]
    labels = [table.labels * (at + 1) for at in range(table.protocol.cycles)]
    colours = dict(zip((RANDOM, *table.protocol.strategies), cycle(COLOURS), strict=False))
    drawn: dict[str, Any] = {}
    for panel, model in zip(panels, models, strict=True):
        lines = {RANDOM: [[t.quality for t in one.random[model]] for one in table.seeds]}
        for strategy in table.protocol.strategies:
            if found := [list(one.curves[strategy][model]) for one in table.seeds if model in one.curves[strategy]]:
                lines[strategy] = found
        for name, seeds in lines.items():
            means = [100 * fmean(values) for values in zip(*seeds, strict=True)]
            style = "--" if name == RANDOM else ":" if name == TRUE_LOSS else "-"
            (drawn[name],) = panel.plot(labels, means, style, color=colours[name], linewidth=1.3, label=name)
        panel.set_title(f"{model}, own choices", fontsize=9)
        panel.set_xlabel("labels", fontsize=9)
        panel.tick_params(labelsize=8)
    panels[0].set_ylabel(f"{table.measure} (%)", fontsize=9)
    panels[-1].legend(handles=list(drawn.values()), fontsize=7, frameon=False, loc="lower right")


def _draw(figure: Any, table: Table) -> None:
    drawings = list(panels_of(table).values())
    for part, draw in zip(figure.subfigures(len(drawings), 1, squeeze=False)[:, 0], drawings, strict=True):
        draw(part, table)


def _grid_panel(panel: Any, made: Grid) -> None:
    panel.set_xlim(0, len(made.surrogates))
    panel.set_ylim(len(made.models), 0)
    for (a, b), pair in made.cells.items():
        x, y = made.surrogates.index(a), made.models.index(b)
        panel.add_patch(_square(x, y, shade(made, (a, b))))
        spread = deviation(pair.differences)
        text = f"{made.gain((a, b)):+.1f}" + ("" if spread is None else f"\n± {100 * spread:.1f}")
        panel.text(x + 0.5, y + 0.5, text, ha="center", va="center", fontsize=7.5)
    tilted = 30 if sum(map(len, made.surrogates)) > _LETTERS else 0
    panel.set_xticks([at + 0.5 for at in range(len(made.surrogates))], made.surrogates, fontsize=8, rotation=tilted)
    panel.set_yticks([at + 0.5 for at in range(len(made.models))], made.models, fontsize=8)
    panel.tick_params(length=0)
    panel.set_title(f"{made.strategy}: gain over random (pp)", fontsize=9)
    panel.set_xlabel("chosen by", fontsize=9)


def _square(x: int, y: int, colour: tuple[float, float, float]) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((x, y), 1, 1, facecolor=colour, edgecolor="white")


def _new(width: float, height: float) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    return figure
