"""A transfer study as one HTML file that asks no network for anything: tables, drawings, the paper's figures."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Sequence
from html import escape
from statistics import fmean
from typing import Any

from foresift.studies.paired import deviation
from foresift.studies.surrogates.analysis import Grid, ceiling, grid, mean_gains, random_scores
from foresift.studies.surrogates.paper import CITE, EXPLANATION, FIGURES
from foresift.studies.surrogates.pictures import curves_panel, histogram_panel, shade, svg
from foresift.studies.surrogates.protocol import AUTO, TRUE_LOSS
from foresift.studies.surrogates.sheets import Sheet, counts_note, counts_sheet, refusals, spread_sheet, suitability
from foresift.studies.surrogates.study import Study, Table
from foresift.studies.surrogates.text import csv_text, verdicts

_STYLE = """
body{font:15px/1.45 system-ui,sans-serif;color:#1c1c1c;max-width:1200px;margin:2em auto;padding:0 1em}
table{border-collapse:collapse;margin:.6em 0 1.4em}td,th{padding:.3em .6em;text-align:right;border:1px solid #e4e4e4}
th{background:#f5f5f5;font-weight:600}td:first-child,th:first-child{text-align:left}small{color:#555}
svg{max-width:100%;height:auto}.own{outline:1px dashed #777;outline-offset:-3px}
"""


def html(study: Study) -> str:
    """The whole page; everything that is shown lies inside of it."""
    body = [
        f"<h1>Surrogates: {escape(study.name)}</h1>",
        "<ul>" + "".join(f"<li>{_inline(sentence)}</li>" for sentence in verdicts(study)) + "</ul>",
        *(_table_section(table) for table in study.tables),
        _paper(),
        _download(csv_text(study)),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>Foresift: surrogates</title>'
        f"<style>{_STYLE}</style></head><body>\n" + "\n".join(body) + "\n</body></html>\n"
    )


def _table_section(table: Table) -> str:
    protocol = table.protocol
    parts = [
        f"<h2>{escape(protocol.title or protocol.images)}</h2>",
        f"<p>Pool of {table.pool:,}; {table.labels} labels in each of {protocol.cycles} cycles; {protocol.seeds} "
        f"seeds; {escape(table.measure)} in percent, mean &plusmn; standard deviation over seeds. In brackets: "
        "chosen by the surrogate's true loss. Blue: above random, orange: below; the darkest of a row is its largest "
        "difference. Dashed: a model that chooses for itself.</p>",
        "<ul>" + "".join(f"<li>Not as in the paper: {escape(one)}.</li>" for one in protocol.cut) + "</ul>",
    ]
    parts += ["<h3>Win counts</h3>", _sheet(counts_sheet(table)), f"<p>{_inline(counts_note(table))}</p>"]
    if refused := refusals(table):
        parts += ["<ul>" + "".join(f"<li>{_inline(sentence)}</li>" for sentence in refused) + "</ul>"]
    for strategy in protocol.strategies:
        if strategy != TRUE_LOSS:
            parts += [f"<h3>Chosen by {escape(strategy)}</h3>", _matrix(table, strategy)]
    if protocol.probes:
        parts += [
            "<h3>Entropy after the same random labels, its top tenth in blue</h3>",
            _drawn(histogram_panel, table),
            _sheet(spread_sheet(table)),
        ]
    if protocol.curves:
        parts += ["<h3>Learning curves</h3>", _drawn(curves_panel, table)]
    for known in (suitability(table, strategy) for strategy in protocol.strategies):
        if known is not None:
            parts += [f"<h3>{_inline(known.title)}</h3>", f"<p>{_inline(known.basis)}</p>", _sheet(known.ranked)]
            parts += [f"<details><summary>every pair</summary>{_sheet(known.pairs)}</details>"]
    return "\n".join(parts)


def _matrix(table: Table, strategy: str) -> str:
    made, top = grid(table, strategy), ceiling(table)
    head = "".join(f"<th>{escape(name)}</th>" for name in ("trained \\ chosen by", "random", *made.surrogates))
    rows = [
        f"<tr><th>{escape(model)}</th><td>{_mean(random_scores(table, model))}</td>"
        + "".join(_cell(made, top, (a, model)) for a in made.surrogates)
        + "</tr>"
        for model in made.models
    ]
    rows.append(_gains("mean gain, other models", made))
    if AUTO in table.protocol.strategies and strategy != AUTO:
        rows.append(_gains("the same with auto", grid(table, AUTO)))
    return f"<table><tr>{head}</tr>{''.join(rows)}</table>"


def _cell(made: Grid, top: Grid | None, pair: tuple[str, str]) -> str:
    if pair not in made.cells:
        return "<td>-</td>"
    red, green, blue = (round(255 * part) for part in shade(made, pair))
    own = ' class="own"' if pair[0] == pair[1] else ""
    text = _mean(made.cells[pair].chosen)
    if top is not None and pair in top.cells:
        text += f" <small>({100 * fmean(top.cells[pair].chosen):.1f})</small>"
    return f'<td{own} style="background:rgb({red},{green},{blue})" title="{made.gain(pair):+.2f} points">{text}</td>'


def _gains(name: str, made: Grid) -> str:
    gains = mean_gains(made)
    cells = [f"<td>{gains[a]:+.2f}</td>" if a in gains else "<td>-</td>" for a in made.surrogates]
    return f"<tr><th>{escape(name)}</th><td></td>{''.join(cells)}</tr>"


def _sheet(sheet: Sheet) -> str:
    head = "".join(f"<th>{_inline(name)}</th>" for name in sheet.head)
    rows = ("".join(f"<td>{_inline(cell)}</td>" for cell in row) for row in sheet.rows)
    return f"<table><tr>{head}</tr>{''.join(f'<tr>{row}</tr>' for row in rows)}</table>"


def _inline(text: str) -> str:
    """Escaped, with names between backticks as code."""
    return re.sub("`([^`]+)`", r"<code>\1</code>", escape(text))


def _paper() -> str:
    rows = "".join(f"<tr><td>{escape(one.what)}</td><td>{escape(one.figure)}</td></tr>" for one in FIGURES)
    return f"<h2>What the paper reports</h2><table>{rows}</table><p>{escape(CITE)}. {escape(EXPLANATION)}</p>"


def _download(text: str) -> str:
    data = base64.b64encode(text.encode()).decode()
    return f'<p><a download="surrogates.csv" href="data:text/csv;base64,{data}">All cells as CSV</a></p>'


def _drawn(draw: Callable[[Any, Table], None], table: Table) -> str:
    return svg(draw, table, width=13, height=3.2)


def _mean(values: Sequence[float]) -> str:
    spread = deviation(tuple(values))
    return f"{100 * fmean(values):.1f}" + ("" if spread is None else f" &plusmn; {100 * spread:.1f}")
