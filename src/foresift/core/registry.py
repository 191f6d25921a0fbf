"""Names to objects, through one door for built-ins and plug-ins alike."""

from __future__ import annotations

import importlib
import pkgutil
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, fields, is_dataclass
from importlib.metadata import entry_points
from typing import Any, Generic, TypeVar

from foresift.core.errors import UnknownNameError, UsageError

T = TypeVar("T")


class Registry(Generic[T]):
    """A mapping of names to ``T``; third parties add to it through an entry-point group.

    Names are lower-case words joined by hyphens; an alias is another name for an entry.
    Built-ins are the modules of ``package``; they and the entry points are imported at
    the first look-up, in whichever thread that happens.
    """

    def __init__(self, kind: str, *, group: str, package: str = "") -> None:
        self.kind = kind
        self._group = group
        self._package = package
        self._lock = threading.RLock()
        self._entries: dict[str, T] = {}
        self._aliases: dict[str, str] = {}
        self._plugins_loaded = False

    def add(self, name: str, entry: T, *, aliases: tuple[str, ...] = ()) -> T:
        """Register ``entry``.

        Raises:
            UsageError: the name or an alias is taken.
        """
        for taken in (name, *aliases):
            if taken in self._entries or taken in self._aliases:
                raise UsageError(f"{self.kind} {taken!r} is registered twice")
        self._entries[name] = entry
        self._aliases.update(dict.fromkeys(aliases, name))
        return entry

    def register(self, name: str, *, aliases: tuple[str, ...] = ()) -> Callable[[T], T]:
        """Decorator form of :meth:`add`."""
        return lambda entry: self.add(name, entry, aliases=aliases)

    def canonical(self, name: str) -> str:
        """The registered name behind a name or alias.

        Raises:
            UnknownNameError: nothing of that name; suggests the nearest.
        """
        self._load_plugins()
        if name in self._entries:
            return name
        if name in self._aliases:
            return self._aliases[name]
        raise UnknownNameError(self.kind, name, [*self._entries, *self._aliases])

    def get(self, name: str) -> T:
        """The entry of a name or alias; raises :class:`UnknownNameError`."""
        return self._entries[self.canonical(name)]

    def names(self) -> list[str]:
        """Registered names, sorted; aliases left out."""
        self._load_plugins()
        return sorted(self._entries)

    def aliases_of(self, name: str) -> list[str]:
        """Other names of an entry, sorted."""
        return sorted(alias for alias, target in self._aliases.items() if target == name)

    def __contains__(self, name: str) -> bool:
        self._load_plugins()
        return name in self._entries or name in self._aliases

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def _load_plugins(self) -> None:
        with self._lock:  # another thread waits until everything is there
            if self._plugins_loaded:
                return
            self._plugins_loaded = True  # a plug-in may look up others while it is imported
            try:
                self._load()
            except BaseException:
                self._plugins_loaded = False
                raise

    def _load(self) -> None:
        if self._package:
            package = importlib.import_module(self._package)
            for module in pkgutil.iter_modules(package.__path__):
                importlib.import_module(f"{self._package}.{module.name}")
        for point in entry_points(group=self._group):
            entry = point.load()  # may register itself with a decorator
            if point.name not in self._entries:
                self.add(point.name, entry)


def parse_spec(spec: str) -> tuple[str, dict[str, str]]:
    """``NAME`` or ``NAME:key=value,...`` as a name and text parameters.

    Raises:
        UsageError: the part after the colon is not a list of key=value.
    """
    name, _, rest = spec.strip().partition(":")
    parameters: dict[str, str] = {}
    for part in filter(None, (piece.strip() for piece in rest.split(","))):
        key, equals, value = part.partition("=")
        if not equals or not key or not value:
            raise UsageError(f"{spec!r}: expected NAME or NAME:key=value,..., got {part!r}")
        parameters[key.strip().replace("-", "_")] = value.strip()
    return name, parameters


def spell(name: str, parameters: Any) -> str:
    """``NAME:key=value,...``, the inverse of :func:`parse_spec` and :func:`build`.

    Defaults are written out too, so that a record keeps its meaning when a default changes.

    Args:
        parameters: a dataclass of plain values.
    """
    pairs = [f"{f.name}={spelled(getattr(parameters, f.name))}" for f in fields(parameters) if f.init]
    return f"{name}:{','.join(pairs)}" if pairs else name


def spelled(value: Any) -> str:
    """A plain value as it is written after the equals sign."""
    return str(value).lower() if isinstance(value, bool | None) else str(value)


def build(entry: type[T], parameters: Mapping[str, str], *, spec: str) -> T:
    """An instance of a dataclass from text parameters, converted to its fields' types.

    Raises:
        UsageError: unknown parameter, or a value that does not convert.
    """
    if not is_dataclass(entry):
        raise UsageError(f"{spec!r}: {entry!r} is not a dataclass")
    known = {f.name: f for f in fields(entry) if f.init}
    values: dict[str, Any] = {}
    for key, text in parameters.items():
        if key not in known:
            takes = ", ".join(sorted(known)) or "no parameters"
            raise UsageError(f"{spec!r}: unknown parameter {key!r} (takes: {takes})")
        values[key] = _convert(text, str(known[key].type), spec=spec, key=key)
    required = [n for n, f in known.items() if f.default is MISSING and f.default_factory is MISSING]
    if missing := [n for n in required if n not in values]:
        raise UsageError(f"{spec!r}: parameter {missing[0]!r} is required")
    return entry(**values)


def _convert(text: str, annotation: str, *, spec: str, key: str) -> Any:
    if text.lower() == "none" and "None" in annotation:
        return None
    kind = re.split(r"\s*\|\s*", annotation)[0].removeprefix("<class '").removesuffix("'>")
    try:
        if kind == "bool":
            return {"true": True, "false": False, "1": True, "0": False}[text.lower()]
        return {"int": int, "float": float}.get(kind, str)(text)
    except (ValueError, KeyError):
        raise UsageError(f"{spec!r}: {key} must be {kind}, got {text!r}") from None
