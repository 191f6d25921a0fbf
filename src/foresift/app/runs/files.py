"""The run file: what a run does from its first label to its last, in a few lines of YAML."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from foresift.app.strict_yaml import parse_mapping
from foresift.core.digests import digest_value
from foresift.core.errors import ForesiftError, StoreError, UnknownNameError, UsageError
from foresift.oracles.registry import parse as parse_oracle
from foresift.stores.files import disk_errors
from foresift.strategies import parse
from foresift.training import Recipe

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
_PERIOD = re.compile(r"(\d+)\s*(minute|hour|day|week)s?")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFile:
    """A run as it was asked for; every field is a plain value."""

    pool: str
    """A folder, a manifest or a prefix of addresses."""
    oracle: str
    """``folders``: class folders are the truth; ``people``; ``files``; any other, as it is spelled."""
    model: str
    """An architecture, or a generation to start from."""
    strategy: str
    """As spelled, or ``auto``."""
    rounds: int
    budget: int
    """Labels of a round."""
    seed: int = 0
    evaluation: str = FIFTH
    """``fifth`` of the pool, a folder or manifest of labeled images, or ``none``."""
    initial: str = "random"
    """How the first labels are chosen, before there is a model: ``random`` or ``auto``."""
    inherit: str = ""
    """A generation, alias or run whose labels the run begins with, and whose model chooses its first ones."""
    max_labels: int | None = None
    """Of the whole run; None = rounds times budget."""
    target: float | None = None
    """Stop at this accuracy."""
    recipe: dict[str, Any] = field(default_factory=dict)
    """Fields of :class:`foresift.training.Recipe`."""
    image_size: int | None = None
    classes: list[str] = field(default_factory=list)
    """Class names in the order of the logits; empty = those of the pool and the evaluation set."""
    engine: str = "torch"
    label_price: float | None = None
    quota: int | None = None
    """Answers at which a round stops waiting."""
    closes: str | None = None
    """A date, or a time after asking such as ``7 days``, at which a round stops waiting."""
    control: bool = False
    """Whether random labels are bought beside the chosen ones, to see what choosing brings."""
    converge: int | None = None
    """Stop after so many rounds without improvement; None = only an agent does, after three."""
    guards: dict[str, Any] = field(default_factory=dict)
    agent: str = "pshea"
    """For ``strategy: auto``."""
    guard: bool = False
    """Whether an agent keeps strategies that may still turn out best."""
    strategies: list[str] = field(default_factory=lambda: list(ARMS))
    """What an agent tries."""
    charge: str = "unique"
    """What ``max_labels`` limits in a trial: ``unique`` labels, or ``per_strategy``."""

    @property
    def tries(self) -> bool:
        """Whether several strategies buy labels in this run."""
        return (self.strategy == "auto" and self.agent != "fixed" and self.evaluation != NONE) or self.control

    @property
    def most_labels(self) -> int:
        """Labels of the whole run, the default filled in."""
        if self.max_labels is not None:
            return self.max_labels
        return self.budget * (2 * self.rounds - 1 if self.control else self.rounds)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> RunFile:
        """Inverse of :meth:`to_dict`; what it lacks gets its default, what it has too much is left out.

        Raises:
            StoreError: not a run.
        """
        known = {f.name for f in fields(cls)}
        try:
            return cls(**{key: value for key, value in plain.items() if key in known})
        except TypeError as error:
            raise StoreError(f"not the configuration of a run: {error}") from None

    def identity(self, pool: str) -> str:
        """Digest of the pool's name and of everything that is not as by default.

        A default that a later version adds does not make another run of it.
        """
        given = {f.name: value for f in fields(self) if (value := getattr(self, f.name)) != _default(f)}
        return digest_value({**given, "pool": pool})[:16]

    def closing_time(self, asked: datetime) -> str | None:
        """When a round that is asked now stops waiting, as ISO 8601 in UTC; None = never."""
        if self.closes is None:
            return None
        period = _PERIOD.fullmatch(self.closes)
        if period is None:
            return datetime.fromisoformat(self.closes).astimezone(UTC).isoformat(timespec="seconds")
        return (asked + timedelta(**{f"{period[2]}s": int(period[1])})).isoformat(timespec="seconds")


def read_run_file(path: str | Path) -> RunFile:
    """The run of a YAML file; relative addresses start at its folder.

    Raises:
        UsageError: not YAML, a key that is missing or unknown, or a value out of range; one line, with what to do.
    """
    where = Path(path)
    if not where.is_file():
        what = "is a folder" if where.is_dir() else "does not exist"
        raise UsageError(f"run file {where} {what}; expected a YAML file with pool, oracle, model, strategy, ...")
    with disk_errors(where):
        data = where.read_bytes()
    plain = parse_mapping(where, data)
    try:
        return run_of(plain, base=where.parent)
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from None


def run_of(plain: Mapping[str, Any], *, base: Path) -> RunFile:
    """The run of keys and values.

    Args:
        base: folder that relative addresses start at.
    Raises:
        UsageError: a key that is missing or unknown, or a value out of range.
    """
    for key in plain:
        if key not in _CHECKS:
            raise UnknownNameError("key", str(key), _CHECKS)
    if missing := [key for key in REQUIRED if plain.get(key) is None]:
        raise UsageError(f"key {missing[0]} is missing; expected {missing[0]}: {_CHECKS[missing[0]][1]}")
    values = {key: _checked(key, value) for key, value in plain.items()}
    found = RunFile(**{key: value for key, value in values.items() if value is not _DEFAULT})
    _refuse_contradictions(found)
    _refuse_idle_keys(found)
    if found.max_labels == replace(found, max_labels=None).most_labels:
        found = replace(found, max_labels=None)
    return _with_addresses(found, base)


_DEFAULT = object()
"""Instead of a value that says: as by default."""


def _checked(key: str, value: object) -> Any:
    check, expected = _CHECKS[key]
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
    return lambda value: _DEFAULT if value is None or value == NONE else check(value)


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
        return _DEFAULT
    return _text(value)


def _closes(value: object) -> str | None:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="seconds")
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day, tzinfo=UTC).isoformat(timespec="seconds")
    if not isinstance(value, str):
        return None
    if _PERIOD.fullmatch(value):
        return value
    try:
        return datetime.fromisoformat(value).astimezone(UTC).isoformat(timespec="seconds")
    except ValueError:
        return None


def _recipe(value: object) -> dict[str, Any] | None:
    if not isinstance(value, dict):
        return None
    plain = {str(key): one for key, one in value.items()}
    known = {f.name for f in fields(Recipe)}
    for name in plain:
        if name not in known:
            raise UnknownNameError("field", name, known)
    Recipe.from_dict(plain)
    return plain


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


_CHECKS: Mapping[str, tuple[Callable[[object], Any], str]] = {
    "pool": (_text, "a folder, a manifest or a prefix of addresses"),
    "oracle": (_oracle, "folders, people, files, or another oracle with its settings"),
    "model": (_text, "an architecture (foresift models) or the folder of a generation"),
    "strategy": (_strategy, "auto, NAME or NAME:key=value,... (foresift strategies)"),
    "rounds": (_whole(1), "a whole number of 1 or more"),
    "budget": (_whole(1), "a whole number of labels a round, 1 or more"),
    "seed": (_whole(0), "a whole number of 0 or more"),
    "evaluation": (_evaluation, "a folder of labeled images, none, or nothing for a fifth of the pool"),
    "initial": (_one_of("random", "auto"), "random or auto"),
    "inherit": (_optional(_text), "a generation, an alias or a run, whose labels the run begins with"),
    "max_labels": (_optional(_whole(1)), "a whole number of labels in the whole run, 1 or more"),
    "target": (_optional(_share), "none, or an accuracy above 0 and at most 1 such as 0.92 or 92 %"),
    "recipe": (_recipe, "fields of a training recipe, such as {epochs: 30}"),
    "image_size": (_optional(_whole(1)), "a side in pixels"),
    "classes": (_names, "a list of different class names"),
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
KEYS = tuple(_CHECKS)
"""What a run file may say."""
REQUIRED = ("pool", "oracle", "model", "strategy", "rounds", "budget")


def _refuse_contradictions(run: RunFile) -> None:
    """Raise :class:`UsageError` for keys that make no sense together."""
    if run.quota is not None and run.quota > run.budget:
        raise UsageError(f"quota {run.quota} is above the budget of {run.budget} labels a round; lower it")
    if run.target is not None and run.evaluation == NONE:
        raise UsageError("target needs an evaluation set; give evaluation: FOLDER, or leave target out")
    if run.inherit and run.tries:
        raise UsageError("a run that inherits has one strategy; leave out strategy: auto and control, or inherit")
    if run.control and run.evaluation == NONE:
        raise UsageError("control needs an evaluation set to compare on; give evaluation: FOLDER, or leave it out")
    if run.control and run.strategy in ("auto", "random"):
        raise UsageError(f"control: random compares one strategy with random choice; leave it out with {run.strategy}")
    if run.oracle == FOLDERS and (run.quota is not None or run.closes is not None):
        raise UsageError("quota and closes are for rounds that wait; with oracle: folders leave them out")


def _refuse_idle_keys(run: RunFile) -> None:
    """Raise :class:`UsageError` for what only an agent reads, where there is none: it would be passed over."""
    idle = {
        "strategies": run.strategies != list(ARMS),
        "guard": run.guard,
        "agent": run.agent == "shared" or (run.agent == "fixed" and run.strategy != "auto"),
        "charge": run.charge != "unique" and not run.control,
    }
    if not run.tries or run.control:
        for key in (key for key, said in idle.items() if said):
            raise UsageError(
                f"{key} is for runs that try several strategies (strategy: auto, with an evaluation set), and would do "
                "nothing here; leave it out"
            )


def _with_addresses(run: RunFile, base: Path) -> RunFile:
    """Places made independent of the folder that the command was called in."""
    changed: dict[str, Any] = {"pool": _address(run.pool, base)}
    if run.evaluation not in (FIFTH, NONE):
        changed["evaluation"] = _address(run.evaluation, base)
    for key in ("model", "inherit"):
        if os.sep in getattr(run, key):
            changed[key] = _address(getattr(run, key), base)
    return replace(run, **changed)


def _address(place: str, base: Path) -> str:
    if "://" in place:
        return place
    return os.path.normpath(base.absolute() / Path(place).expanduser())


def _default(f: Any) -> Any:
    """The default of a field; something that nothing equals where there is none."""
    if f.default is not MISSING:
        return f.default
    return f.default_factory() if f.default_factory is not MISSING else _DEFAULT
