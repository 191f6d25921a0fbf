"""Every law catches the strategy that breaks it, and is the one that is named."""

from __future__ import annotations

import subprocess
import sys
import threading
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest

from foresift.core.errors import BudgetError, UsageError
from foresift.core.predictions import Predictions
from foresift.core.queries import Picks, Query, Selection
from foresift.kernels.topk import top_k
from foresift.scores.ensemble import mutual_information
from foresift.strategies import STRATEGIES, Strategy
from foresift.testing import STRATEGY_LAWS, BrokenLawError, check_strategy


@dataclass(frozen=True, kw_only=True)
class Sound(Strategy):
    """Ranks by the sum of embeddings: breaks no law."""

    name: ClassVar[str] = "sound"
    needs: ClassVar[tuple[str, ...]] = ("embeddings",)

    def pick(self, query: Query, rng: np.random.Generator) -> Picks:
        return Picks(rows=top_k(query.column("embeddings").sum(axis=1), query.budget))


class Twice(Sound):
    def pick(self, query: Query, rng: np.random.Generator) -> Picks:
        return Picks(rows=rng.integers(0, len(query), query.budget))


class TooFew(Sound):
    def pick(self, query: Query, rng: np.random.Generator) -> Picks:
        return Picks(rows=np.arange(max(1, query.budget - 1)))


class OneValueForAll(Sound):
    def values(self, query: Query) -> Any:
        return np.float32(1)


class Overwriting(Sound):
    def pick(self, query: Query, rng: np.random.Generator) -> Picks:
        embeddings = query.column("embeddings")
        if embeddings.base is not None and embeddings.base.flags.writeable:
            embeddings.base[0] = 7
        return super().pick(query, rng)


class Unseeded(Sound):
    def pick(self, query: Query, rng: np.random.Generator) -> Picks:
        return super_random(query, np.random.default_rng())


class ByThread(Sound):
    def pick(self, query: Query, rng: np.random.Generator) -> Picks:
        rows = np.arange(len(query))
        return Picks(
            rows=(rows if threading.current_thread() is threading.main_thread() else rows[::-1])[: query.budget]
        )


class InOrderOfRows(Sound):
    """Looks behind the query, at the order in which rows came."""

    def pick(self, query: Query, rng: np.random.Generator) -> Picks:
        came = getattr(query.columns, "_rows", np.arange(len(query)))
        return Picks(rows=np.argsort(came, kind="stable")[: query.budget])


class Relabeling(Sound):
    pass


class AtLeastOne(Sound):
    pass


class Absolute(Sound):
    pass


class NeverShort(Sound):
    pass


class NeedsTwo(Sound):
    def pick(self, query: Query, rng: np.random.Generator) -> Picks:
        query.ids[1]
        return super().pick(query, rng)


@dataclass(frozen=True, kw_only=True)
class OfLogits(Strategy):
    """Ranks by a formula of the logits that subclasses get wrong."""

    name: ClassVar[str] = "of-logits"
    needs: ClassVar[tuple[str, ...]] = ("logits",)

    def formula(self, logits: np.ndarray[Any, Any]) -> Any:
        return np.ptp(logits, axis=1)

    def values(self, query: Query) -> Any:
        return self.formula(query.column("logits"))

    def pick(self, query: Query, rng: np.random.Generator) -> Picks:
        values = self.values(query)
        STRATEGIES.get("margin")().pick(query, rng) if query.column("logits").shape[1] > 1 else None
        return Picks(rows=top_k(values, query.budget), scores=values[top_k(values, query.budget)])


class PerClass(OfLogits):
    def formula(self, logits: np.ndarray[Any, Any]) -> Any:
        return np.array([1 // (logits.shape[1] - 1)] * len(logits)) + np.ptp(logits, axis=1)


class NaiveEntropy(OfLogits):
    def formula(self, logits: np.ndarray[Any, Any]) -> Any:
        gaps = logits - logits.max(axis=1, keepdims=True)
        probs = np.exp(gaps) / np.exp(gaps).sum(axis=1, keepdims=True)
        return -(probs * np.log(probs)).sum(axis=1)


class NaiveRatio(OfLogits):
    def formula(self, logits: np.ndarray[Any, Any]) -> Any:
        ordered = np.sort(logits, axis=1)
        return 0.0 if logits.shape[1] < 2 else -np.exp(ordered[:, -1] - ordered[:, -2])

    def pick(self, query: Query, rng: np.random.Generator) -> Picks:
        if query.column("logits").shape[1] < 2:
            raise UsageError("two classes")
        return super().pick(query, rng)


class Laundering(OfLogits):
    def pick(self, query: Query, rng: np.random.Generator) -> Picks:
        return Picks(rows=top_k(np.nan_to_num(self.values(query), nan=1e4), query.budget))


class LargestLogit(OfLogits):
    def formula(self, logits: np.ndarray[Any, Any]) -> Any:
        return logits.max(axis=1)


class LastOfTies(OfLogits):
    def pick(self, query: Query, rng: np.random.Generator) -> Picks:
        super().pick(query, rng)
        return Picks(rows=np.argsort(self.values(query), kind="stable")[::-1][: query.budget])


class NoPrefix(Sound):
    prefix: ClassVar[bool] = True

    def pick(self, query: Query, rng: np.random.Generator) -> Picks:
        return Picks(rows=np.roll(np.arange(len(query)), query.budget)[: query.budget])


class UnwritableReceipt(Sound):
    def pick(self, query: Query, rng: np.random.Generator) -> Picks:
        return Picks(rows=np.arange(query.budget), details={"radius": np.ones(1)})


@dataclass(frozen=True, kw_only=True)
class LostParameter(Sound):
    offset: float = 0.5

    def __post_init__(self) -> None:
        object.__setattr__(self, "offset", self.offset + 1)


def super_random(query: Query, rng: np.random.Generator) -> Picks:
    return Picks(rows=rng.permutation(len(query))[: query.budget])


def _override(cls: type[Strategy], select: Any) -> None:
    """``select`` can't be overridden in a class body; who is bent on it can do this."""
    cls.select = select  # type: ignore[method-assign]


sound_select = Strategy.select


def _relabeling(self: Strategy, predictions: Predictions, **rest: Any) -> Selection:
    return sound_select(self, predictions, **{**rest, "labeled": ()})


def _at_least_one(self: Strategy, predictions: Predictions, *, budget: int, **rest: Any) -> Selection:
    return sound_select(self, predictions, budget=budget or 1, **rest)


def _absolute(self: Strategy, predictions: Predictions, *, budget: int, **rest: Any) -> Selection:
    return sound_select(self, predictions, budget=abs(budget), **rest)


def _never_short(self: Strategy, predictions: Predictions, *, budget: int, **rest: Any) -> Selection:
    if budget > len(predictions):
        raise BudgetError("too much")
    return sound_select(self, predictions, budget=budget, **rest)


_override(Relabeling, _relabeling)
_override(AtLeastOne, _at_least_one)
_override(Absolute, _absolute)
_override(NeverShort, _never_short)

BROKEN: list[tuple[Strategy, str]] = [
    (Twice(), "exact-count"),
    (TooFew(), "exact-count"),
    (OneValueForAll(), "values"),
    (Overwriting(), "inputs-unmodified"),
    (Unseeded(), "determinism"),
    (ByThread(), "thread-independence"),
    (InOrderOfRows(), "permutation"),
    (Relabeling(), "never-labeled"),
    (AtLeastOne(), "budget-zero"),
    (Absolute(), "negative-budget"),
    (NeverShort(), "budget-above-pool"),
    (NeedsTwo(), "one-sample"),
    (PerClass(), "one-class"),
    (NaiveEntropy(), "extreme-logits"),
    (NaiveRatio(), "extreme-logits"),
    (Laundering(), "non-finite"),
    (LargestLogit(), "constant-shift"),
    (LastOfTies(), "ties-by-id"),
    (NoPrefix(), "prefix"),
    (UnwritableReceipt(), "replay"),
    (LostParameter(), "replay"),
]


@pytest.mark.parametrize(("broken", "law"), BROKEN, ids=lambda x: x if isinstance(x, str) else type(x).__name__)
def test_a_broken_strategy_is_caught_by_the_law_it_breaks(broken: Strategy, law: str) -> None:
    with pytest.raises(BrokenLawError) as caught:
        check_strategy(broken, laws=[law])
    assert caught.value.law == law
    with pytest.raises(BrokenLawError) as first:
        check_strategy(broken)
    assert first.value.law == law


@dataclass(frozen=True, kw_only=True)
class MendingMembers(Strategy):
    name: ClassVar[str] = "mending-members"
    needs: ClassVar[tuple[str, ...]] = ("members",)

    def values(self, query: Query) -> Any:
        return np.nan_to_num(mutual_information(query.column("members")))

    def pick(self, query: Query, rng: np.random.Generator) -> Picks:
        return Picks(rows=top_k(self.values(query), query.budget))


def test_nan_in_one_field_of_a_structured_column_is_found() -> None:
    with pytest.raises(BrokenLawError) as caught:
        check_strategy(MendingMembers())
    assert caught.value.law == "non-finite"


def test_every_law_has_a_strategy_that_breaks_it() -> None:
    assert {law for _, law in BROKEN} == set(STRATEGY_LAWS)


@pytest.mark.parametrize("strategy", [Sound(), OfLogits()], ids=lambda s: s.name)
def test_a_sound_strategy_breaks_no_law(strategy: Strategy) -> None:
    check_strategy(strategy)


def test_pools_may_have_integer_ids() -> None:
    def make(rng: np.random.Generator, n: int, *, classes: int) -> Predictions:
        return Predictions.from_arrays(rng.permutation(n) + 100, embeddings=rng.normal(size=(n, 3)))

    check_strategy(Sound(), make_predictions=make)


def test_an_unknown_law_is_refused() -> None:
    with pytest.raises(UsageError, match="no law 'gravity'"):
        check_strategy("margin", laws=["gravity"])


def test_the_suite_needs_neither_pytest_nor_hypothesis() -> None:
    code = (
        "import sys, foresift.testing as t; t.check_strategy('margin');"
        "print(sorted({'pytest', 'hypothesis'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
