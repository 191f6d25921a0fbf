"""The reference of all strategies as Markdown, from the registry: ``make docs``."""

from __future__ import annotations

from foresift.core.columns import HOW_TO_GET
from foresift.scores.registry import Description

_HEAD = """# Strategies

Written by `make docs` from the registry; `foresift strategies` prints the same. A strategy is spelled `NAME` or
`NAME:key=value,...`, a chain `margin:keep=5000+k-center`. Here n is the number of candidates, m of labeled rows,
d the width of embeddings, c of classes, e of ensemble members, k the budget. Every strategy picks exactly k distinct
unlabeled samples, the same ones for the same seed in whatever order the pool comes, and is held to the laws of
`foresift.testing`.
"""


def markdown() -> str:
    """One table of all strategies, their parameters, and how each column is had."""
    from foresift.strategies import describe

    rows = describe()
    return "\n".join([_HEAD, *_table(rows), "", *_parameters(rows), "", *_columns(rows), ""])


def _table(rows: list[Description]) -> list[str]:
    head = ["| strategy | also | needs | when to use it | cost | source |", "|---|---|---|---|---|---|"]
    return head + [
        f"| `{row.name}` | {_code(row.aliases)} | {', '.join(row.needs)} | {row.when} | {row.cost} | {row.cite} |"
        for row in rows
    ]


def _parameters(rows: list[Description]) -> list[str]:
    told = [f"- `{row.name}`: {row.summary} {_code(row.parameters)}".rstrip() for row in rows]
    return ["## What each does, and its parameters with their defaults", "", *told]


def _columns(rows: list[Description]) -> list[str]:
    used = dict.fromkeys(name for row in rows for name in row.needs)
    told = [f"- `{name}`: {HOW_TO_GET[name]}" for name in used if name in HOW_TO_GET]
    others = ["- `labels`: class codes of the labeled rows", "- `truth`: class codes of the candidates, in studies"]
    return ["## Columns, and how to get them", "", *told, *others]


def _code(names: tuple[str, ...]) -> str:
    return ", ".join(f"`{name}`" for name in names)


if __name__ == "__main__":
    print(markdown())  # noqa: T201
