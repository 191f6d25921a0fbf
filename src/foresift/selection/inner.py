"""The strategy inside of another one: how it is spelled, and how it picks among a kind of candidates."""

from __future__ import annotations

import numpy as np

from foresift.core.arrays import Rows, Values
from foresift.core.errors import UsageError
from foresift.core.queries import Picks, Query
from foresift.selection.base import Strategy
from foresift.selection.contract import check_picks
from foresift.selection.registry import parse


def inner_strategy(of: str) -> Strategy:
    """The strategy behind ``of=NAME`` or ``of=NAME/key=value/key=value``.

    Slashes stand for the colon and the commas, which belong to the strategy around it.

    Raises:
        UsageError: no such strategy or parameter, or one that itself has parameters within parameters.
    """
    inner = parse(of.replace("/", ":", 1).replace("/", ","))
    if "/" in inner.spelled() or "+" in inner.name:
        raise UsageError(f"of={of}: a chain or a strategy around one with parameters can't be inside of another")
    return inner


def spelled_within(inner: Strategy) -> str:
    """Inverse of :func:`inner_strategy`."""
    return inner.spelled().replace(":", "/", 1).replace(",", "/")


def picks_of_each_kind(
    inner: Strategy, query: Query, kinds: Rows, turns: Rows, word: int
) -> tuple[Rows, Values | None, list[Picks]]:
    """Picks in the order of ``turns``, each the next best of its kind by the inner strategy.

    Args:
        kinds: (n,) the kind of each candidate; negative ones are of none.
        turns: (k,) the kind of each pick.
        word: seeds the generator of each kind.
    Returns:
        (k,) rows; (k,) scores where the inner strategy gave any; its answers.
    """
    seen = query.seen_by(inner.needs, inner.uses)
    by_kind = np.argsort(kinds, kind="stable").astype(np.intp)
    wanted, counts = np.unique(turns, return_counts=True)
    ends = np.searchsorted(kinds[by_kind], [wanted, wanted + 1])
    rows, scores, answers = np.empty(len(turns), dtype=np.intp), np.full(len(turns), np.nan), []
    for kind, count, start, stop in zip(wanted.tolist(), counts.tolist(), *ends.tolist(), strict=True):
        own = by_kind[start:stop]
        part = seen.among(own, budget=count)
        seeds = np.random.SeedSequence([word, kind, int.from_bytes(inner.name.encode(), "little")])
        picks = inner.pick(part, np.random.Generator(np.random.PCG64(seeds)))
        check_picks(picks, part, name=inner.name)
        rows[turns == kind] = own[picks.rows]
        if picks.scores is not None:
            scores[turns == kind] = picks.scores
        answers.append(picks)
    return rows, None if np.isnan(scores).any() else scores, answers


def approximations(answers: list[Picks]) -> str:
    """What the answers say of approximations, each once."""
    return "; ".join(dict.fromkeys(picks.approx for picks in answers if picks.approx))
