"""What answers each call of :mod:`foresift.wire.calls`, whichever protocol it came by."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from pydantic import BaseModel

from foresift.service.application import Application
from foresift.service.runs import run_page, run_view
from foresift.wire.calls import Call

Answer: TypeAlias = Callable[[Application, Mapping[str, str], Any], BaseModel]

ANSWERS: dict[str, Answer] = {
    "Pools": lambda app, _, asked: app.pool_page(asked),
    "Pool": lambda app, at, _: app.pool_view(at["pool"]),
    "Samples": lambda app, at, asked: app.pools.page(at["pool"], asked),
    "Push": lambda app, at, asked: app.push(at["pool"], asked.uris),
    "Predict": lambda app, at, asked: app.predict(at["pool"], asked),
    "Predictions": lambda app, at, asked: app.predictions(at["pool"], asked),
    "Select": lambda app, at, asked: app.query(at["pool"], asked),
    "Selections": lambda app, at, asked: app.selection_page(at["pool"], asked),
    "Selection": lambda app, at, _: app.selection(at["selection"]),
    "Labels": lambda app, at, asked: app.labels.page(at["pool"], asked),
    "Label": lambda app, at, asked: app.labels.add(at["pool"], asked),
    "Train": lambda app, at, asked: app.train(at["pool"], asked),
    "Evaluate": lambda app, at, asked: app.evaluate(at["pool"], asked),
    "Generations": lambda app, _, asked: app.model.page(asked),
    "Promote": lambda app, at, asked: app.promote(at["generation"], asked),
    "Runs": lambda app, _, asked: run_page(app.records, asked),
    "Run": lambda app, at, _: run_view(app.records, at["run"]),
    "Jobs": lambda app, _, asked: app.jobs.page(asked),
    "Job": lambda app, at, asked: app.wait(at["job"], timeout_s=asked.wait_s),
    "Cancel": lambda app, at, _: app.jobs.cancel(at["job"]),
}
"""All but those that come in parts."""


def answer(
    application: Application,
    call: Call,
    places: Mapping[str, str],
    asked: BaseModel,
    *,
    caller: str = "",
    key: str = "",
) -> BaseModel:
    """The answer to a call.

    Args:
        caller: whose ``key`` it is.
        key: an idempotency key; "" = none. Calls that change nothing need none.
    Raises:
        ForesiftError: it is refused (:func:`foresift.service.refusals.status_of`).
    """
    if not key or call.method != "POST":
        return ANSWERS[call.name](application, places, asked)

    def work() -> dict[str, Any]:
        return ANSWERS[call.name](application, places, asked).model_dump(mode="json")

    request = [call.name, dict(places), asked.model_dump(mode="json")]
    return call.answer.model_validate(application.once.do(caller, key, request, work))
