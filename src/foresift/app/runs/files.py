"""The run file: what a run does from its first label to its last, in a few lines of YAML."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from foresift.app.runs.file_tasks import refuse_for_task, task_of
from foresift.app.runs.file_values import ARMS, CHECKS, DEFAULT, FIFTH, FOLDERS, NONE, PERIOD, REQUIRED, checked
from foresift.app.strict_yaml import parse_mapping
from foresift.core.digests import digest_value
from foresift.core.errors import StoreError, UnknownNameError, UsageError
from foresift.core.oracles import CLASSIFICATION, SEGMENTATION
from foresift.stores.files import disk_errors

KEYS = tuple(CHECKS)
"""What a run file may say."""


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
    """``fifth`` of the pool, a folder or manifest of labeled images, with masks also a split's name; or ``none``."""
    initial: str = "random"
    """How the first labels are chosen, before there is a model: ``random`` or ``auto``."""
    inherit: str = ""
    """A generation, alias or run whose labels the run begins with, and whose model chooses its first ones."""
    max_labels: int | None = None
    """Of the whole run; None = rounds times budget."""
    target: float | None = None
    """Stop at this accuracy."""
    hardware: str = ""
    """Name of the device that its generations are meant for."""
    recipe: dict[str, Any] = field(default_factory=dict)
    """Fields of :class:`foresift.training.Recipe`, with masks of its sibling ``SegmentationRecipe``."""
    image_size: int | str | None = None
    """A side in pixels; with masks ``WIDTHxHEIGHT`` or a share."""
    classes: list[str] = field(default_factory=list)
    """Class names in the order of the logits; empty = those of the pool and the evaluation set."""
    task: str = CLASSIFICATION
    """What a label is: a class, or with ``segmentation`` a mask; as the pool is laid out unless the file says it."""
    split: str = ""
    """Of a pool of images and masks: what may be chosen."""
    ignore_index: list[int] | None = None
    """Mask values that do not count; None = as the pool says."""
    aggregate: str | None = None
    """How scores of pixels become one of an image."""
    unit: str = "image"
    """What is labeled: an ``image``, or a ``patch`` of one."""
    patch: int | None = None
    """Side of the patches in pixels; None = 256."""
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
        bought = self.budget * self.rounds
        return 2 * bought - self.first_labels if self.control else bought

    @property
    def first_labels(self) -> int:
        """Labels that are bought before a trial: none where all arms begin with inherited ones."""
        return 0 if self.inherit else min(self.budget, self.max_labels or self.budget)

    @property
    def has_masks(self) -> bool:
        """Whether its labels are masks."""
        return self.task == SEGMENTATION

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
        period = PERIOD.fullmatch(self.closes)
        if period is None:
            return datetime.fromisoformat(self.closes).astimezone(UTC).isoformat(timespec="seconds")
        return (asked + timedelta(**{f"{period[2]}s": int(period[1])})).isoformat(timespec="seconds")


def read_run_file(path: str | Path) -> RunFile:
    """The run of a YAML file; relative addresses start at its folder.

    Raises:
        UsageError: not YAML, a key that is missing or unknown, or a value out of range; one line, with what to do.
    """
    where = Path(path)
    plain = _plain(where)
    try:
        return run_of(plain, base=where.parent)
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from None


def read_as_classes(path: str | Path) -> RunFile | None:
    """What versions that knew no masks made of a file that means masks now without saying it; None for other files.

    Raises:
        UsageError: not YAML, or no file.
    """
    where = Path(path)
    plain = _plain(where)
    if "task" in plain:
        return None
    try:
        found = run_of({**plain, "task": CLASSIFICATION}, base=where.parent)
    except UsageError:  # it was refused, and began nothing
        return None
    return found if task_of(found) == SEGMENTATION else None


def _plain(where: Path) -> Mapping[str, Any]:
    if not where.is_file():
        what = "is a folder" if where.is_dir() else "does not exist"
        raise UsageError(f"run file {where} {what}; expected a YAML file with pool, oracle, model, strategy, ...")
    with disk_errors(where):
        data = where.read_bytes()
    return parse_mapping(where, data)


def run_of(plain: Mapping[str, Any], *, base: Path) -> RunFile:
    """The run of keys and values.

    Args:
        base: folder that relative addresses start at.
    Raises:
        UsageError: a key that is missing or unknown, or a value out of range.
    """
    for key in plain:
        if key not in CHECKS:
            raise UnknownNameError("key", str(key), CHECKS)
    if missing := [key for key in REQUIRED if plain.get(key) is None]:
        raise UsageError(f"key {missing[0]} is missing; expected {missing[0]}: {CHECKS[missing[0]][1]}")
    values = {key: checked(key, value) for key, value in plain.items()}
    found = RunFile(**{key: value for key, value in values.items() if value is not DEFAULT})
    found = replace(found, pool=_address(found.pool, base))
    if "task" not in plain:
        found = replace(found, task=task_of(found))
    refuse_for_task(found)
    _refuse_contradictions(found)
    _refuse_idle_keys(found)
    if found.max_labels == replace(found, max_labels=None).most_labels:
        found = replace(found, max_labels=None)
    return _with_addresses(found, base)


def _refuse_contradictions(run: RunFile) -> None:
    """Raise :class:`UsageError` for keys that make no sense together."""
    if run.quota is not None and run.quota > run.budget:
        raise UsageError(f"quota {run.quota} is above the budget of {run.budget} labels a round; lower it")
    if run.target is not None and run.evaluation == NONE:
        raise UsageError("target needs an evaluation set; give evaluation: FOLDER, or leave target out")
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
    changed: dict[str, Any] = {}
    split = run.has_masks and os.sep not in run.evaluation
    if run.evaluation not in (FIFTH, NONE) and not split:
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
    return f.default_factory() if f.default_factory is not MISSING else DEFAULT
