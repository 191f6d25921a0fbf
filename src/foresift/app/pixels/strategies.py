"""Strategies over pixels: from what a person types to what ranks images and patches, and back."""

from __future__ import annotations

from foresift.core.errors import UsageError
from foresift.core.registry import parse_spec
from foresift.scores.dense import PIXEL_SCORES
from foresift.scores.registry import SCORES
from foresift.selection.registry import STRATEGIES, split_stages
from foresift.strategies import Strategy, parse
from foresift.strategies.aggregate import AGGREGATES, Aggregate
from foresift.strategies.ua_dpp import UaDpp
from foresift.strategies.ua_dpp_pixels import UaDppPixels

_OWN = (Aggregate.name, UaDppPixels.name)
"""Names that stand for what a person typed otherwise."""


def by_pixels(spec: str, aggregate: str | None, *, classes: int = 0) -> str:
    """The strategy with everything in it that reads logits replaced by what reads the scores of pixels.

    A score becomes an aggregate of that score; ``ua-dpp`` takes its uncertainty from one.

    Args:
        aggregate: how scores of pixels become one of a unit; None = ``mean``.
        classes: of the model; 0 = not known.
    Raises:
        UsageError: ``aggregate`` is given and there is nothing to aggregate.
    """
    stages = [_stage_by_pixels(stage, aggregate or "mean", classes) for stage in split_stages(spec)]
    if aggregate is not None and stages == split_stages(spec):
        raise UsageError(f"--aggregate goes with a score of pixels ({', '.join(PIXEL_SCORES)}), not with {spec}")
    return "+".join(stages)


def reads_pixels(spec: str) -> bool:
    """Whether anything in a strategy reads scores of pixels, which an aggregate is for."""
    return "+".join(_stage_by_pixels(stage, "mean", 0) for stage in split_stages(spec)) != spec


def _stage_by_pixels(stage: str, aggregate: str, classes: int) -> str:
    name, _, pairs = stage.partition(":")
    rest = f",{pairs}" if pairs else ""
    if name in SCORES and SCORES.canonical(name) in PIXEL_SCORES:
        return f"{Aggregate.name}:score={SCORES.canonical(name)},{_spelled(aggregate)}{rest}"
    if name in STRATEGIES and STRATEGIES.canonical(name) == UaDpp.name:
        return f"{UaDppPixels.name}:{_spelled(aggregate)},classes={classes}{rest}"
    return stage


def _spelled(aggregate: str) -> str:
    chosen = parse_aggregate(aggregate)
    return f"by={chosen.by},patch={chosen.patch},top={chosen.top}"


def parse_aggregate(text: str) -> Aggregate:
    """``mean``, ``max`` or ``top-patches:patch=64,top=4`` as the strategy that ranks by it.

    Raises:
        UsageError: nothing of the kind.
    """
    by, parameters = parse_spec(text)
    if by not in AGGREGATES or (parameters and by != "top-patches") or set(parameters) - {"patch", "top"}:
        raise UsageError(f"--aggregate must be mean, max or top-patches:patch=64,top=4, got {text!r}")
    pairs = "".join(f",{key}={value}" for key, value in parameters.items())
    try:
        parsed = parse(f"{Aggregate.name}:by={by}{pairs}")
    except UsageError as error:
        raise UsageError(f"--aggregate {text}: {str(error).rpartition(': ')[2]}") from None
    assert isinstance(parsed, Aggregate)  # noqa: S101 - it is spelled so
    return parsed


def as_typed(strategy: Strategy) -> str:
    """A strategy as a person typed it, for messages: scores of pixels under their own names."""
    if not set(_OWN) & set(strategy.name.split("+")):
        return strategy.name
    found = [_stage_as_typed(stage) for stage in split_stages(strategy.spelled())]
    options = dict.fromkeys(option for _, option in found if option)
    return " ".join(["+".join(stage for stage, _ in found), *(f"--aggregate {option}" for option in options)])


def _stage_as_typed(stage: str) -> tuple[str, str]:
    """The stage by its own name, and the aggregate where it is not the default."""
    name, parameters = parse_spec(stage)
    keep = f":keep={parameters['keep']}" if "keep" in parameters else ""
    if name not in _OWN:
        return name + keep, ""
    by = parameters["by"]
    patches = f":patch={parameters['patch']},top={parameters['top']}" if by == "top-patches" else ""
    typed = parameters["score"] if name == Aggregate.name else UaDpp.name
    return typed + keep, "" if by == "mean" else by + patches
