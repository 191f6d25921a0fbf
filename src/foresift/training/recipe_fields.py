"""Numbers among the fields of a recipe, as files spell them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import Field, fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def numbers_read(plain: Mapping[str, Any], kind: type[DataclassInstance]) -> dict[str, Any]:
    """The same values, with numbers for texts such as ``1e-3``: YAML 1.1 reads no number there for want of a point."""
    fractions = {one.name for one in fields(kind) if _is_fraction(one)}
    return {name: _number(value) if name in fractions else value for name, value in plain.items()}


def not_numbers(recipe: DataclassInstance) -> Iterator[str]:
    """Names of the fields that need a number and hold something else."""
    for one in fields(recipe):
        value = getattr(recipe, one.name)
        fits = (isinstance(value, int | float) and not isinstance(value, bool)) or (
            value is None and one.default is None
        )
        if _is_fraction(one) and not fits:
            yield one.name


def _is_fraction(one: Field[Any]) -> bool:
    return str(one.type).startswith("float")


def _number(value: object) -> object:
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value
