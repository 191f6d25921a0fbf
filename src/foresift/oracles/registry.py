"""Names to oracles, and the one spelling of an oracle with its settings."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from foresift.core.oracles import OracleSettings
from foresift.core.registry import Registry, build, parse_spec

S = TypeVar("S", bound=type[OracleSettings])

ORACLES: Registry[type[OracleSettings]] = Registry("oracle", group="foresift.oracles", package="foresift.oracles")
"""The settings of every oracle by name: a frozen dataclass of plain values with ``open``."""


def oracle(name: str, *, aliases: tuple[str, ...] = ()) -> Callable[[S], S]:
    """Class decorator that registers an oracle's settings."""

    def register(cls: S) -> S:
        ORACLES.add(name, cls, aliases=aliases)
        return cls

    return register


def parse(spec: str) -> OracleSettings:
    """The settings that ``NAME`` or ``NAME:key=value,...`` spells.

    Raises:
        UnknownNameError: no oracle of that name; suggests the nearest.
        UsageError: an unknown setting, or a value that does not fit.
    """
    name, parameters = parse_spec(spec)
    return build(ORACLES.get(name), parameters, spec=spec)
