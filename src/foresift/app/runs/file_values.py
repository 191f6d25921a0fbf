"""What each key of a run file may say, one by one; whether values fit each other is for whoever knows all of them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from typing import Any

from foresift.core.errors import ForesiftError, UnknownNameError, UsageError
from foresift.core.masks import MAX_VALUE
from foresift.core.oracles import CLASSIFICATION, SEGMENTATION
from foresift.oracles.registry import parse as parse_oracle
from foresift.strategies import parse

FIFTH = "fifth"
"""The evaluation set that is taken from the pool itself."""
FIFTH_IN_WORDS = "a stratified fifth"
"""How the default is described where run files are; as a value it means the same."""
NONE = "none"
FOLDERS = "folders"
"""The oracle that knows the truth and answers at once."""
AGENTS = ("pshea", "shared", "fixed")
ARMS = (
    "core-set",
    "diverse-mini-batch",
    "entropy",
    "k-center",
    "least-confidence",
    "margin",
    "random",
    "ratio",
)
"""What ``strategy: auto`` tries: the strategies of Huang et al. 2022, and random choice as the control."""
GUARDS = ("min_distance", "max_per_group", "max_per_class")
PERIOD = re.compile(r"(\d+)\s*(minute|hour|day|week)s?")
DEFAULT = object()
"""Instead of a value that says: as by default."""


def checked(key: str, value: object) -> Any:
    """The value of a key as a run keeps it; ``DEFAULT`` where it says: as by default.

    Raises:
        UsageError: none that the key may have; says which are.
    """
    check, expected = CHECKS[key]
    try:
        found = check(value)
    except ForesiftError as error:
        raise UsageError(f"{key}: {str(error).removeprefix(f'{key}: ')}") from None
    if found is None:
        raise UsageError(f"{key}: expected {expected}, got {value!r}")
    return found


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value.strip() else None


def _strategy(value: object) -> str | None:
    if (spec := _text(value)) is None:
        return None
    if "truth" in parse(spec).needs:
        raise UsageError(f"strategy {spec!r} looks at the labels it is to buy; choose another (foresift strategies)")
    return spec


def _oracle(value: object) -> str | None:
    if (spec := _text(value)) is not None:
        parse_oracle(spec)
    return spec


def _one_of(*choices: str) -> Callable[[object], str | None]:
    return lambda value: value if isinstance(value, str) and value in choices else None


def _whole(least: int) -> Callable[[object], int | None]:
    def check(value: object) -> int | None:
        fits = isinstance(value, int) and not isinstance(value, bool) and least <= value < 2**63
        return value if fits and isinstance(value, int) else None

    return check


def _optional(check: Callable[[object], Any]) -> Callable[[object], Any]:
    """``none`` and an empty value stand for the default."""
    return lambda value: DEFAULT if value is None or value == NONE else check(value)


def _share(value: object) -> float | None:
    """``0.92`` or ``92 %``."""
    if isinstance(value, str) and value.strip().endswith("%"):
        try:
            value = float(value.strip().rstrip("%")) / 100
        except ValueError:
            return None
    fits = isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= 1
    return float(value) if fits and isinstance(value, int | float) else None


def _price(value: object) -> float | None:
    fits = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf
    return float(value) if fits and isinstance(value, int | float) else None


def _evaluation(value: object) -> Any:
    if value is None or (isinstance(value, str) and value.strip().startswith((FIFTH, FIFTH_IN_WORDS))):
        return DEFAULT
    return _text(value)


def _closes(value: object) -> str | None:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="seconds")
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day, tzinfo=UTC).isoformat(timespec="seconds")
    if not isinstance(value, str):
        return None
    if PERIOD.fullmatch(value):
        return value
    try:
        return datetime.fromisoformat(value).astimezone(UTC).isoformat(timespec="seconds")
    except ValueError:
        return None


def _recipe(value: object) -> dict[str, Any] | None:
    """Any fields; which there are depends on what is trained."""
    return {str(key): one for key, one in value.items()} if isinstance(value, dict) else None


def _image_size(value: object) -> int | str | None:
    """A side, or for masks ``WIDTHxHEIGHT`` or a share; which of them fits depends on what is trained."""
    return _text(value) or _whole(1)(value)


def _mask_values(value: object) -> list[int] | None:
    values = [_whole(0)(one) for one in (value if isinstance(value, list) else [value])]
    known = [one for one in values if one is not None and one <= MAX_VALUE]
    return sorted(set(known)) if known and len(known) == len(values) else None


def _aggregate(value: object) -> str | None:
    if (spec := _text(value)) is None:
        return None
    from foresift.app.pixels.strategies import parse_aggregate

    try:
        parse_aggregate(spec)
    except UsageError as error:
        raise UsageError(str(error).removeprefix("--aggregate ")) from None
    return spec


def _guards(value: object) -> dict[str, Any] | None:
    if not isinstance(value, dict):
        return None
    for name in value:
        if name not in GUARDS:
            raise UnknownNameError("guard", str(name), GUARDS)
    from foresift.app.selecting.guarding import Limits

    Limits(**value).guards()
    return dict(value)


def _names(value: object) -> list[str] | None:
    fits = isinstance(value, list) and value and all(isinstance(one, str) and one for one in value)
    return list(value) if fits and isinstance(value, list) and len(set(value)) == len(value) else None


def _strategies(value: object) -> list[str] | None:
    names = _names(value)
    for name in names or ():
        _strategy(name)
    return names


def _flag(value: object) -> bool | None:
    return value if isinstance(value, bool) else None


def _control(value: object) -> bool | None:
    return True if value == "random" else _flag(value)


CHECKS: Mapping[str, tuple[Callable[[object], Any], str]] = {
    "pool": (_text, "a folder, a manifest or a prefix of addresses"),
    "task": (_one_of(CLASSIFICATION, SEGMENTATION), f"{CLASSIFICATION} or {SEGMENTATION}"),
    "split": (_text, "one of the pool's splits, such as train"),
    "oracle": (_oracle, "folders, people, files, or another oracle with its settings"),
    "model": (_text, "an architecture (foresift models) or the folder of a generation"),
    "strategy": (_strategy, "auto, NAME or NAME:key=value,... (foresift strategies)"),
    "rounds": (_whole(1), "a whole number of 1 or more"),
    "budget": (_whole(1), "a whole number of labels a round, 1 or more"),
    "seed": (_whole(0), "a whole number of 0 or more"),
    "evaluation": (
        _evaluation,
        "a folder of labeled images, with masks also a split of the pool, none, or nothing for a fifth of the pool",
    ),
    "initial": (_one_of("random", "auto"), "random or auto"),
    "inherit": (_optional(_text), "a generation, an alias or a run, whose labels the run begins with"),
    "max_labels": (_optional(_whole(1)), "a whole number of labels in the whole run, 1 or more"),
    "target": (_optional(_share), "none, or an accuracy above 0 and at most 1 such as 0.92 or 92 %"),
    "hardware": (_optional(_text), "a device that the models are meant for (foresift hardware)"),
    "recipe": (_recipe, "fields of a training recipe, such as {epochs: 30}"),
    "image_size": (_optional(_image_size), "a side in pixels; with masks WIDTHxHEIGHT, or a share such as 50%"),
    "classes": (_names, "a list of different class names"),
    "ignore_index": (_optional(_mask_values), "a mask value that does not count, such as 255, or a list of them"),
    "aggregate": (_optional(_aggregate), "mean, max or top-patches:patch=64,top=4"),
    "unit": (_one_of("image", "patch"), "image or patch"),
    "patch": (_optional(_whole(1)), "the side of the patches in pixels, a multiple of 16"),
    "engine": (_text, "an engine such as torch or openvino-f32"),
    "label_price": (_optional(_price), "the price of one label, 0 or more"),
    "quota": (_optional(_whole(1)), "the answers at which a round closes, 1 or more"),
    "closes": (_optional(_closes), "a date such as 2030-12-31, or a time after asking such as 7 days"),
    "control": (_optional(_control), "random or none"),
    "converge": (_optional(_whole(1)), "rounds without improvement, 1 or more, or none"),
    "guards": (_guards, f"a mapping with {', '.join(GUARDS)}"),
    "agent": (_one_of(*AGENTS), " or ".join(AGENTS)),
    "guard": (_flag, "true or false"),
    "strategies": (_strategies, "a list of different strategies"),
    "charge": (_one_of("unique", "per_strategy"), "unique or per_strategy"),
}
REQUIRED = ("pool", "oracle", "model", "strategy", "rounds", "budget")
