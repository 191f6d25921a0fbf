"""YAML of a few lines, read strictly: every key once, plain values only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from foresift.core.errors import UsageError

_MOST_BYTES = 1 << 20


def parse_mapping(path: Path, data: bytes) -> Mapping[str, Any]:
    """Keys and values of a file's bytes.

    Raises:
        UsageError: too long, not YAML, not a mapping, or a key that stands there twice; one line that names the line.
    """
    import yaml

    if len(data) > _MOST_BYTES:
        raise UsageError(f"{path}: expected a file of a few lines, got {len(data):,} bytes")
    try:
        _check_keys_once(path, yaml.compose(data, Loader=yaml.SafeLoader))
        plain = yaml.safe_load(data)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        line = "" if mark is None else f", line {mark.line + 1}"
        raise UsageError(
            f"{path}{line}: not YAML ({getattr(error, 'problem', None) or str(error).splitlines()[0]}); "
            "expected lines of the form key: value"
        ) from None
    if not isinstance(plain, dict):
        came = "nothing" if plain is None else type(plain).__name__
        raise UsageError(f"{path}: expected lines of the form key: value, got {came}")
    return plain


def _check_keys_once(path: Path, root: Any) -> None:
    """YAML takes the last of two equal keys without a word; which one was meant is for people to say.

    Raises:
        UsageError: a key stands twice in one mapping.
    """
    for pairs in _mappings(root):
        lines: dict[str, int] = {}
        for key, _ in pairs:
            name, line = str(key.value), key.start_mark.line + 1
            if name in lines:
                raise UsageError(f"{path}, line {line}: key {name} stands in line {lines[name]} already; keep one")
            lines[name] = line


def _mappings(root: Any) -> Iterator[list[tuple[Any, Any]]]:
    """The pairs of every mapping below a node of YAML, each once however often it is referred to."""
    waiting, seen = [root], set()
    while waiting:
        node = waiting.pop()
        if not isinstance(getattr(node, "value", None), list) or id(node) in seen:
            continue
        seen.add(id(node))
        if node.id == "mapping":
            yield node.value
        waiting += [part for one in node.value for part in (one if isinstance(one, tuple) else (one,))]
