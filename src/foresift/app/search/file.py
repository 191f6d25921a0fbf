"""What a search file may say, read and checked before any work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from foresift.app.passes.early_stop import StableOrder, check_rule
from foresift.app.strict_yaml import parse_mapping
from foresift.core.digests import digest_value
from foresift.core.errors import UnknownNameError, UsageError
from foresift.cycle.search import Scheme, doubled, scheme_of
from foresift.stores.files import disk_errors
from foresift.strategies import Strategy, parse
from foresift.strategies import spelling as spelled
from foresift.training.recipe import Recipe

REQUIRED = ("data", "scheme", "members", "score", "model")
OPTIONAL = (
    "sizes",
    "growth",
    "seed",
    "labels",
    "evaluation",
    "start",
    "outliers",
    "recipe",
    "fine-tune",
    "transfer",
    "early-stop",
)
FINE_TUNE: Mapping[str, Any] = {"epochs": 10, "lr": 1e-3}
"""How ``pretrain`` goes on learning: the rate is the source's."""
TRANSFER_SEEDS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchRequest:
    """One search, all of it checked that can be checked without reading an image."""

    data: str
    scheme: str
    sizes: tuple[float, ...]
    """Shares or counts of the samples that are not held out, in ascending order."""
    seeds: int
    """Runs of each ensemble."""
    epochs: int
    """Last epochs of each run that are members."""
    score: str
    """A strategy and its parameters, spelled out."""
    model: str
    seed: int = 0
    labels: str | None = None
    evaluation: str | None = None
    start: float | None = None
    outliers: float = 0.0
    recipe: Mapping[str, Any] = field(default_factory=dict)
    fine_tune: Mapping[str, Any] = field(default_factory=lambda: dict(FINE_TUNE))
    transfer: tuple[str, ...] = ()
    """Architectures to train on random, found and all samples."""
    transfer_seeds: int = TRANSFER_SEEDS
    early_stop: str = ""
    """The rule by which further members are left out of a ranking; empty = all rank."""

    def __post_init__(self) -> None:
        self.check_members()
        self.rule  # noqa: B018 - refuses what makes no sense
        Recipe.from_dict({**self.recipe, "keep_checkpoints": self.epochs})
        Recipe.from_dict({**self.recipe, **self.fine_tune, "keep_checkpoints": self.kept_of_fine_tune})

    @property
    def how(self) -> Scheme:
        """The scheme itself."""
        return scheme_of(self.scheme)

    @property
    def strategy(self) -> Strategy:
        """What ranks."""
        return parse(self.score)

    @property
    def rule(self) -> StableOrder | None:
        """When the members that rank are enough; None = never."""
        return check_rule(self.early_stop, self.strategy, members=self.seeds * self.epochs > 1)

    @property
    def kept_of_fine_tune(self) -> int:
        """Last epochs of a model that went on learning that are members."""
        return min(self.epochs, int(self.fine_tune.get("epochs", FINE_TUNE["epochs"])))

    @property
    def digest(self) -> str:
        """Of everything that decides the result, the contents of the data aside."""
        said = asdict(self)
        if not self.early_stop:  # folders of searches that began before there was one keep their names
            del said["early_stop"]
        return digest_value(said)

    def check_members(self) -> None:
        """Refuse a strategy of several members where there is one.

        Raises:
            UsageError: ``seeds`` times ``epochs`` is 1.
        """
        if "members" in self.strategy.needs and self.seeds * self.epochs < 2:
            raise UsageError(f"{self.score} needs two members at the least; raise seeds or epochs under members")


def read_search(path: Path) -> SearchRequest:
    """The search of a YAML file; its paths are seen from the current folder, else from the file's.

    Raises:
        UsageError: no YAML mapping, keys that are unknown or missing, or values out of range.
    """
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise UsageError(f"search file {path} {what}; expected a YAML file with {', '.join(REQUIRED)} and sizes")
    with disk_errors(path):
        data = path.read_bytes()
    plain = parse_mapping(path, data)
    try:
        return _request(plain, beside=path.parent)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from None


def _request(plain: Mapping[Any, Any], *, beside: Path) -> SearchRequest:
    _check_keys("key", plain, (*REQUIRED, *OPTIONAL))
    if missing := [key for key in REQUIRED if plain.get(key) is None]:
        raise UsageError(
            f"{missing[0]} is missing; the smallest file has data, scheme, sizes, members, score and model"
        )
    members = _mapping(plain, "members", ("seeds", "epochs"))
    transfer = _mapping(plain, "transfer", ("models", "seeds"))
    recipe = _mapping(plain, "recipe", Recipe.__dataclass_fields__)
    tuned = _mapping(plain, "fine-tune", Recipe.__dataclass_fields__)
    scheme = scheme_of(str(plain["scheme"]))
    if plain.get("start") is not None and not scheme.grows:
        raise UsageError(f"start is the random start of build-up; {scheme.name} begins from nothing, leave it out")
    return SearchRequest(
        data=_place(plain["data"], beside),
        scheme=scheme.name,
        sizes=_sizes(plain),
        seeds=_whole("members: seeds", members.get("seeds", 1), least=1),
        epochs=_whole("members: epochs", members.get("epochs", 1), least=1),
        score=spelled(parse(str(plain["score"]))),
        model=str(plain["model"]),
        seed=_whole("seed", plain.get("seed", 0), least=0),
        labels=None if plain.get("labels") is None else _place(plain["labels"], beside),
        evaluation=None if plain.get("evaluation") is None else _place(plain["evaluation"], beside),
        start=None if plain.get("start") is None else _number("start", plain["start"]),
        outliers=_number("outliers", plain.get("outliers", 0.0)),
        recipe=recipe,
        fine_tune={**FINE_TUNE, **tuned},
        transfer=tuple(map(str, _listed("transfer: models", transfer.get("models", [])))),
        early_stop="" if plain.get("early-stop") is None else str(plain["early-stop"]),
        transfer_seeds=_whole("transfer: seeds", transfer.get("seeds", TRANSFER_SEEDS), least=1),
    )


def _sizes(plain: Mapping[str, Any]) -> tuple[float, ...]:
    if (plain.get("sizes") is None) == (plain.get("growth") is None):
        raise UsageError("give either sizes, such as [0.125, 0.25, 0.5], or growth: {first: 0.125, last: 0.5}")
    if plain.get("sizes") is not None:
        return tuple(_number("sizes", size) for size in _listed("sizes", plain["sizes"]))
    growth = _mapping(plain, "growth", ("first", "last"))
    return doubled(_number("growth: first", growth.get("first")), _number("growth: last", growth.get("last")))


def _mapping(plain: Mapping[str, Any], key: str, known: Any) -> dict[str, Any]:
    value = plain.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise UsageError(f"{key} takes keys and values ({', '.join(known)}), got {value!r}")
    _check_keys(f"key of {key}", value, known)
    return value


def _check_keys(kind: str, given: Mapping[Any, Any], known: Any) -> None:
    for key in given:
        if key not in known:
            raise UnknownNameError(kind, str(key), known)


def _listed(key: str, value: Any) -> Sequence[Any]:
    if not isinstance(value, list):
        raise UsageError(f"{key} must be a list, got {value!r}")
    return value


def _whole(key: str, value: Any, *, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise UsageError(f"{key} must be a whole number of at least {least}, got {value!r}")
    return value


def _number(key: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UsageError(f"{key} must be a number, got {value!r}")
    return value


def _place(value: Any, beside: Path) -> str:
    """A path as every command takes it; one that lies beside the file alone is found there."""
    text = str(value)
    here, there = Path(text).expanduser(), beside / text
    return str(there) if not here.exists() and there.exists() else str(here)
