"""Members of an ensemble that need not be asked, because the order of the first k no longer changes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from foresift.app.models.opening import Model
from foresift.app.passes.committee import Committee
from foresift.app.passes.stored import PassOptions
from foresift.app.workspace import Workspace
from foresift.core.arrays import Values
from foresift.core.errors import UnknownNameError, UsageError
from foresift.core.predictions import Predictions
from foresift.core.registry import build, parse_spec, spell
from foresift.core.samples import Pool
from foresift.inference.pipeline import PassReport
from foresift.kernels.stability import Settled
from foresift.selection.candidates import model_columns
from foresift.strategies import Strategy

WATCHED = ("members", "logits")
"""Columns whose values can be followed member by member."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StableOrder:
    """The rule: for so many members in a row, nearly the same k samples came first in nearly the same order.

    See :class:`foresift.kernels.stability.Settled`; no guarantee goes with it.
    """

    name: ClassVar[str] = "stable"
    overlap: float = 0.95
    """Least share of the k largest values that stay the k largest, within (0, 1]."""
    correlation: float = 0.95
    """Least rank correlation of the values of all samples that were among them before or after, within (0, 1]."""
    patience: int = 2
    """Members in a row."""

    def __post_init__(self) -> None:
        self.watch(1)

    def watch(self, k: int) -> Settled:
        """A fresh look at the first k."""
        return Settled(k, **asdict(self))

    def spelled(self) -> str:
        """The rule with every parameter, as it was or could have been typed."""
        return spell(self.name, self)


def parse_rule(text: str) -> StableOrder:
    """``stable``, or ``stable:overlap=0.95,correlation=0.95,patience=2``.

    Raises:
        UsageError: another rule, or parameters out of range.
    """
    name, parameters = parse_spec(text)
    if name != StableOrder.name:
        raise UnknownNameError("rule of an early stop", name, (StableOrder.name,))
    return build(StableOrder, parameters, spec=text)


def check_rule(text: str, strategy: Strategy, *, members: bool) -> StableOrder | None:
    """The rule that was asked for, None where none was; told before any work.

    Args:
        members: whether there are several.
    Raises:
        UsageError: no such rule, one model, or a strategy that does not rank by what members say.
    """
    if not text:
        return None
    rule = parse_rule(text)
    if not members:
        raise UsageError("an early stop leaves out members of an ensemble; give several models or --checkpoints")
    ranks = type(strategy).values is not Strategy.values
    if not ranks or not model_columns(strategy.needs) or set(model_columns(strategy.needs)) - set(WATCHED):
        raise UsageError(
            f"an early stop follows one value a sample, and {strategy.name} does not rank by one that members give; "
            "leave the early stop out, or take a score such as mutual-information"
        )
    return rule


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """The members that were asked until the order was stable, and what the rule saw."""

    models: tuple[Model, ...]
    """In the order of the list that they come from."""
    of: int
    """Members on that list."""
    k: int
    """Largest values whose order was followed."""
    rule: StableOrder
    figures: tuple[tuple[float, float], ...]
    """Overlap and rank correlation after each member with those before it, from the third one on."""
    report: PassReport
    """What was inferred."""

    @property
    def approx(self) -> str:
        """What an answer by these members alone leaves out; empty where all were heard."""
        if len(self.models) == self.of:
            return ""
        overlap, correlation = (min(column) for column in zip(*self.figures[-self.rule.patience :], strict=True))
        return (
            f"early stop after {len(self.models)} of {self.of} members: {self.rule.patience} in a row left the "
            f"{self.k} largest values nearly as they were (overlap {overlap:.3f}, rank correlation {correlation:.3f} "
            "or more); a rule of thumb, what the others would have said is not known"
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a receipt or a manifest."""
        overlaps, correlations = zip(*self.figures, strict=True) if self.figures else ((), ())
        return {
            "rule": self.rule.spelled(),
            "k": self.k,
            "members": len(self.models),
            "of": self.of,
            "overlap": list(overlaps),
            "correlation": list(correlations),
        }


def hear_until_stable(
    workspace: Workspace,
    pool: Pool,
    models: Sequence[Model],
    strategy: Strategy,
    rule: StableOrder,
    *,
    k: int,
    known: Callable[[Predictions], Mapping[str, Any]],
    options: PassOptions,
) -> Heard:
    """Ask members one by one until the rule holds; those after that are not inferred.

    What was said is in the store: a call that was killed goes on with the member it was at, and asking these members
    again costs no inference.

    Args:
        models: two or more; heard as :func:`in_turn` has them.
        strategy: that ranks by what members say (:func:`check_rule`).
        k: how many of the largest values are of interest.
        known: labeled ids and whatever else the strategy's query takes, for the samples of some predictions.
    Raises:
        ForesiftError: as :func:`foresift.app.passes.stored.predict_pool`.
    Cost: a forward pass a member heard; the state and one member's logits in memory.
    """
    settled = rule.watch(k)
    committee = Committee(workspace, pool, names=model_columns(strategy.needs), options=options)
    heard: list[Model] = []
    for model in in_turn(models):
        committee.hear(model)
        heard.append(model)
        if len(heard) > 1 and settled.add(_values(strategy, committee, k, known)):  # one member disagrees with nobody
            break
    return Heard(
        models=tuple(model for model in models if model in heard),
        of=len(models),
        k=k,
        rule=rule,
        figures=settled.figures,
        report=committee.report,
    )


def in_turn(models: Sequence[Model]) -> list[Model]:
    """The members in the order in which they are heard: one of each run, then the next one of each.

    Checkpoints of one run agree with each other long before they speak for the runs that nobody has heard.
    """
    runs: dict[Path, list[Model]] = {}
    for model in models:
        runs.setdefault(model.folder, []).append(model)
    return [model for turn in zip_longest(*runs.values()) for model in turn if model is not None]


def _values(
    strategy: Strategy, committee: Committee, k: int, known: Callable[[Predictions], Mapping[str, Any]]
) -> Values:
    predictions = committee.result().predictions
    values = strategy.values(strategy.query(predictions, budget=k, **known(predictions)))
    assert values is not None  # noqa: S101 - check_rule refuses strategies that rank by none
    return np.asarray(values)
