"""The graph of generations: ancestors, how old a line is, and that nothing descends from itself."""

from __future__ import annotations

from collections.abc import Mapping

from foresift.core.errors import ModelError
from foresift.core.lineage import Descent


def ancestors(generation: str, known: Mapping[str, Descent]) -> tuple[str, ...]:
    """Ids of everything that a generation comes from, nearer ones first, itself left out.

    Breadth first; each once. Ids that nobody knows are named too, and end their line.
    Cost: one visit an edge.
    """
    found: dict[str, None] = {}
    level = [generation]
    while level:
        above = [one for child in level if child in known for one in known[child].ancestors]
        level = [one for one in dict.fromkeys(above) if one not in found and one != generation]
        found.update(dict.fromkeys(level))
    return tuple(found)


def refuse_cycle(new: Descent, known: Mapping[str, Descent]) -> None:
    """Raise unless a generation can be added without descending from itself.

    Raises:
        ModelError: names the way back to it.
    """
    graph = {**known, new.generation: new}
    for first in new.ancestors:
        path = _path(first, new.generation, graph)
        if path:
            way = " -> ".join(one[:12] for one in (new.generation, *path))
            raise ModelError(
                f"generation {new.generation[:12]} would descend from itself ({way}); its labels or its parent come "
                "from a model that it has made itself: nothing was recorded"
            )


def ages(known: Mapping[str, Descent]) -> dict[str, int]:
    """The number of each generation in its line: 1 without ancestors, else one more than the oldest line above it.

    Raises:
        ModelError: something descends from itself.
    """
    done: dict[str, int] = {}
    for one in known:
        refuse_cycle(known[one], {})  # its own parent
        _age(one, known, done)
    return done


def _age(generation: str, known: Mapping[str, Descent], done: dict[str, int]) -> None:
    """Fill in the ages of a generation and everything above it, without recursion."""
    stack, waiting = [generation], set[str]()
    while stack:
        now = stack[-1]
        above = [one for one in (known[now].ancestors if now in known else ()) if one not in done]
        if not above:
            of = known[now].ancestors if now in known else ()
            done[stack.pop()] = 1 + max((done[one] for one in of), default=0)
            continue
        if now in waiting:
            raise ModelError(f"the lineage of generation {now[:12]} leads back to itself; restore a backup")
        waiting.add(now)
        stack.extend(above)


def _path(start: str, end: str, known: Mapping[str, Descent]) -> tuple[str, ...]:
    """The shortest way from ``start`` up to ``end``, both included; () without one."""
    came: dict[str, str] = {start: ""}
    level = [start]
    while level and end not in came:
        below = level
        level = []
        for child in below:
            for one in known[child].ancestors if child in known else ():
                if one not in came:
                    came[one] = child
                    level.append(one)
    path, at = [], end if end in came else ""
    while at:
        path.append(at)
        at = came[at]
    return tuple(reversed(path))
