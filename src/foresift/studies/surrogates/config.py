"""A transfer study's configuration: a preset, and what a YAML file changes of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, get_type_hints

from foresift.core.errors import UnknownNameError, UsageError
from foresift.studies.surrogates.names import check_names
from foresift.studies.surrogates.presets import PRESETS
from foresift.studies.surrogates.protocol import Lessons, Protocol


def protocols(preset: str | None, config: Path | None) -> tuple[Protocol, ...]:
    """The tables to make: those of a preset, with the values of a configuration file.

    Raises:
        UsageError: no such preset, an unreadable file, an unknown key (the nearest is named) or a bad value,
            models or strategies that are not known, or not for this learner.
    """
    given = {} if config is None else read_config(config)
    named = given.pop("preset", None)
    if named is not None and preset is not None and named != preset:
        raise UsageError(f"{config} asks for preset {named}, --preset for {preset}; give one of them")
    chosen = str(preset or named or "digits")
    if chosen not in PRESETS:
        raise UnknownNameError("preset", chosen, PRESETS)
    made = tuple(changed(one, given, where=str(config)) for one in PRESETS[chosen])
    for protocol in made:
        check_names(protocol)
    return made


def changed(protocol: Protocol, given: Mapping[str, Any], *, where: str) -> Protocol:
    """A protocol with the values of a file.

    Raises:
        UsageError: an unknown key, or a value of another type.
    """
    known = _types(Protocol)
    values = {name: _value(name, value, known, where=where) for name, value in given.items() if name != "recipe"}
    recipe = given.get("recipe")
    if recipe is not None:
        if not isinstance(recipe, Mapping):
            raise UsageError(f"{where}: recipe must hold names and values, got {recipe!r}")
        allowed = _types(Lessons)
        lessons = {name: _value(name, value, allowed, where=f"{where}, recipe") for name, value in recipe.items()}
        values["recipe"] = replace(protocol.recipe, **lessons)
    return replace(protocol, **values)


def read_config(path: Path) -> dict[str, Any]:
    """The names and values of a YAML file.

    Raises:
        UsageError: unreadable, or not a mapping.
    """
    import yaml

    try:
        plain = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path}: can't be read ({error.strerror})") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: no YAML: {' '.join(str(error).split())}") from None
    if plain is None:
        return {}
    if not isinstance(plain, dict) or not all(isinstance(key, str) for key in plain):
        raise UsageError(f"{path}: expected names and values, such as seeds: 2")
    return plain


def _types(kind: type) -> dict[str, Any]:
    return dict(get_type_hints(kind))


def _value(name: str, value: Any, known: Mapping[str, Any], *, where: str) -> Any:
    if name not in known:
        raise UnknownNameError(f"key in {where}:", name, (*known, "preset"))
    kind = known[name]
    if kind == tuple[str, ...]:
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
            raise UsageError(f"{where}: {name} must be a list of names, got {value!r}")
        return tuple(value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise UsageError(f"{where}: {name} must be {_spoken(kind)}, got {value!r}")
    return value


def _spoken(kind: type) -> str:
    return {int: "a whole number", float: "a number", bool: "true or false", str: "a name"}.get(kind, kind.__name__)
