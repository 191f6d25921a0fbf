from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest

from foresift.core.errors import UnknownNameError, UsageError
from foresift.core.queries import Picks, Query
from foresift.scores import SCORES, score
from foresift.selection.registry import StrategyRegistry
from foresift.selection.top_k import TopK
from foresift.strategies import STRATEGIES, Strategy, describe, parse, spelling, strategy


@dataclass(frozen=True, kw_only=True)
class Tuned(Strategy):
    """A strategy with parameters."""

    name: ClassVar[str] = "tuned"
    keep: int
    beta: float = 0.1
    first: str = "mean"
    exact: bool = True
    radius: float | None = None

    def pick(self, query: Query, rng: np.random.Generator) -> Picks:
        return Picks(rows=np.arange(query.budget))


@pytest.fixture
def tuned() -> Iterator[None]:
    strategy(Tuned)
    yield
    STRATEGIES._entries.pop("tuned")


@pytest.mark.parametrize(
    ("spec", "canonical"),
    [
        ("margin", "margin"),
        (" MarginConfidence ", "margin"),
        ("tuned:keep=5", "tuned:keep=5,beta=0.1,first=mean,exact=true,radius=none"),
        ("tuned:radius=0.3,exact=false,keep=7,first=b", "tuned:keep=7,beta=0.1,first=b,exact=false,radius=0.3"),
        ("tuned:keep=5,beta=1e-20", "tuned:keep=5,beta=1e-20,first=mean,exact=true,radius=none"),
    ],
)
@pytest.mark.usefixtures("tuned")
def test_a_spelling_becomes_canonical_and_stays_so(spec: str, canonical: str) -> None:
    parsed = parse(spec)
    assert spelling(parsed) == canonical
    assert parse(canonical) == parsed
    assert spelling(parse(canonical)) == canonical


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ("margn", "did you mean 'margin'"),
        ("margin:beta=1", "unknown parameter 'beta'"),
        ("tuned", "'keep' is required"),
        ("tuned:keep=many", "keep must be int"),
        ("tuned:keep", "expected NAME"),
        ("tuned:keep=1,exact=maybe", "exact must be bool"),
    ],
)
@pytest.mark.usefixtures("tuned")
def test_a_wrong_spelling_says_what_is_wrong(spec: str, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        parse(spec)


@pytest.mark.parametrize(
    ("alias", "name"),
    [
        ("LeastConfidence", "least-confidence"),
        ("MarginConfidence", "margin"),
        ("RatioConfidence", "ratio"),
        ("EntropySampling", "entropy"),
        ("RandomSampling", "random"),
    ],
)
def test_the_names_that_alaas_uses_work(alias: str, name: str) -> None:
    assert STRATEGIES.canonical(alias) == name


def test_every_score_is_a_strategy() -> None:
    assert set(SCORES.names()) <= set(STRATEGIES.names())
    for name in SCORES:
        made = STRATEGIES.get(name)
        if issubclass(made, TopK):
            assert made.score is SCORES.get(name)
        else:  # a strategy of its own takes the place of the one made for the score
            assert made.__module__ == f"foresift.strategies.{name.replace('-', '_')}"


def test_a_score_registered_later_is_a_strategy_too() -> None:
    @score("first-logit", aliases=("FirstLogit",))
    def first_logit(logits: Any) -> Any:
        """The first logit."""
        return logits[:, 0]

    try:
        assert parse("FirstLogit").needs == ("logits",)
        assert [row.summary for row in describe() if row.name == "first-logit"] == ["The first logit."]
    finally:
        for registry in (SCORES, STRATEGIES):
            registry._entries.pop("first-logit")  # type: ignore[attr-defined]
            registry._aliases.pop("FirstLogit")  # type: ignore[attr-defined]


def test_descriptions_hold_what_the_listing_shows() -> None:
    rows = {row.name: row for row in describe()}
    assert list(rows) == STRATEGIES.names()
    assert all(row.summary and row.cite for row in rows.values())
    assert rows["margin"].aliases == ("MarginConfidence",)
    assert rows["loss"].needs == ("logits", "truth")


@pytest.mark.usefixtures("tuned")
def test_descriptions_show_parameters_and_defaults() -> None:
    row = next(row for row in describe() if row.name == "tuned")
    assert row.parameters == ("keep", "beta=0.1", "first=mean", "exact=true", "radius=none")
    assert row.summary == "A strategy with parameters."


def test_registration_refuses_what_is_no_strategy_or_has_another_name() -> None:
    registry = StrategyRegistry("strategy", group="none.such")
    with pytest.raises(UsageError, match="subclass of Strategy"):
        registry.add("x", int)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="another name than its own"):
        registry.add("x", Tuned)
    with pytest.raises(UnknownNameError):
        registry.get("x")


def test_a_plug_in_overrides_the_strategy_made_for_a_score() -> None:
    registry = StrategyRegistry("strategy", group="none.such")
    own = type("Own", (Tuned,), {"name": "entropy"})
    registry.add("entropy", own)
    assert registry.get("entropy") is own
    assert issubclass(registry.get("margin"), TopK)
