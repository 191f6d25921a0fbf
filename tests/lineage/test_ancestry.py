"""The graph of generations: ancestors, ages, and no way back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foresift.core.errors import ModelError
from foresift.core.lineage import Brought, Descent
from foresift.lineage.ancestry import ages, ancestors, refuse_cycle


def one(name: str, *choosers: str, parent: str = "", heir_of: str = "") -> Descent:
    record = {"parent": parent or None, "architecture": "mlp"}
    parts = (Brought(receipt="r", surrogates=choosers, labels=1),) if choosers else ()
    return Descent(generation=name, folder="", heir_of=heir_of, brought=parts, record=record)


def graph(*descents: Descent) -> dict[str, Descent]:
    return {descent.generation: descent for descent in descents}


def test_ancestors_are_parents_surrogates_and_who_labels_came_from() -> None:
    known = graph(one("a"), one("b", "a"), one("c", parent="b"), one("d", "x", heir_of="c"))
    assert ancestors("d", known) == ("c", "x", "b", "a")
    assert ages(known) == {"a": 1, "b": 2, "c": 3, "x": 1, "d": 4}


@pytest.mark.parametrize("last", [one("a", "c"), one("a", parent="c"), one("a", heir_of="c"), one("a", "a")])
def test_nothing_descends_from_itself(last: Descent) -> None:
    with pytest.raises(ModelError, match="would descend from itself"):
        refuse_cycle(last, graph(one("b", "a"), one("c", "b")))


def test_a_cycle_that_is_there_already_is_told() -> None:
    with pytest.raises(ModelError, match="leads back to itself"):
        ages(graph(one("a", "b"), one("b", "a")))


edges = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=14)


@given(edges)
def test_a_generation_is_refused_exactly_if_it_is_reached_again(pairs: list[tuple[int, int]]) -> None:
    above: dict[str, list[str]] = {}
    for child, parent in pairs:
        above.setdefault(str(child), []).append(str(parent))
    new = one("0", *above.pop("0", []))
    known = {name: one(name, *parents) for name, parents in above.items()}
    reached: set[str] = set()
    todo = list(new.ancestors)
    while todo:
        now = todo.pop()
        if now not in reached:
            reached.add(now)
            todo += [] if now == "0" else above.get(now, [])
    if "0" in reached:
        with pytest.raises(ModelError):
            refuse_cycle(new, known)
    else:
        refuse_cycle(new, known)
        assert set(ancestors("0", {**known, "0": new})) == reached
