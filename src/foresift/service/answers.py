"""What answers each call of :mod:`foresift.wire.calls`, whichever protocol it came by."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from pydantic import BaseModel

from foresift.service.application import Application
from foresift.wire.calls import Call

Answer: TypeAlias = Callable[[Application, Mapping[str, str], Any], BaseModel]

ANSWERS: dict[str, Answer] = {
    "Pools": lambda app, _, asked: app.pools(asked),
    "Pool": lambda app, at, _: app.pool_view(at["pool"]),
    "Samples": lambda app, at, asked: app.samples(at["pool"], asked),
    "Push": lambda app, at, asked: app.push(at["pool"], asked.uris),
    "Select": lambda app, at, asked: app.query(at["pool"], asked),
    "Selection": lambda app, at, _: app.selection(at["selection"]),
    "Labels": lambda app, at, asked: app.labels(at["pool"], asked),
    "Label": lambda app, at, asked: app.label(at["pool"], asked),
    "Train": lambda app, at, asked: app.train(at["pool"], asked),
    "Generations": lambda app, _, asked: app.generations(asked),
    "Promote": lambda app, at, _: app.promote(at["generation"]),
    "Runs": lambda app, _, asked: app.runs(asked),
    "Run": lambda app, at, _: app.run(at["run"]),
    "Jobs": lambda app, _, asked: app.job_page(asked),
    "Job": lambda app, at, asked: app.wait(at["job"], timeout_s=asked.wait_s),
    "Cancel": lambda app, at, _: app.cancel(at["job"]),
}
"""All but those that come in parts."""


def answer(application: Application, call: Call, places: Mapping[str, str], asked: BaseModel) -> BaseModel:
    """The answer to a call.

    Raises:
        ForesiftError: it is refused (:func:`foresift.service.refusals.status_of`).
    """
    return ANSWERS[call.name](application, places, asked)
