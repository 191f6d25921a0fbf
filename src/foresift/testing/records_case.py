"""What laws of records are tried on, and the few values that they need."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

from foresift.core.labels import LabelRecord
from foresift.core.records import Records
from foresift.core.rounds import Round, Run, SampleId
from foresift.testing.examples import hold

T = TypeVar("T")
_THREADS = 8


@dataclass(frozen=True, kw_only=True)
class StoreCase:
    """An empty store, through two handles; for a store that lives in one process both are the same."""

    first: Records
    second: Records


MakeStore: TypeAlias = Callable[[], StoreCase]
"""Makes an empty store of its own at every call."""


def run_of(name: str = "r", **values: Any) -> Run:
    """A run."""
    return Run(id=name, pool="pool", config={"rounds": 2, "nested": {"list": [1, None, "x"]}}, **values)


def round_of(number: int = 1, **values: Any) -> Round:
    """A round of run ``r``."""
    return Round(run="r", number=number, budget=3, strategy="margin", **values)


def answer(
    sample: SampleId, value: str, *, run: str | None = "r", annotator: str = "ann", **values: Any
) -> LabelRecord:
    """An answer in pool ``pool``."""
    return LabelRecord(sample_id=sample, value=value, pool="pool", run=run, annotator=annotator, **values)


def refused(law: str, kind: type[Exception], call: Callable[[], object]) -> None:
    """Hold that a call raises an error of a kind."""
    try:
        call()
    except kind:
        return
    hold(False, law, f"expected {kind.__name__}, got an answer")


def at_once(call: Callable[[int], T]) -> list[T]:
    """The call's answers to 0, 1, ..., from as many threads."""
    with ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(call, range(_THREADS)))
