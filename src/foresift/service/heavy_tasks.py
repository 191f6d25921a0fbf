"""The inside of the process that does a server's heavy work: plain values go in, plain values come out."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from foresift.app.generations.judging import Contender, EvaluationSet, judge
from foresift.app.passes.crews import crew_of
from foresift.app.passes.kept import producer_of
from foresift.app.passes.predicting import predict
from foresift.app.passes.stored import PassOptions
from foresift.app.selecting.pool_selection import select_from_pool
from foresift.app.selecting.request import Request
from foresift.app.workspace import Workspace
from foresift.core.errors import UsageError
from foresift.core.predictions import Predictions
from foresift.core.protocols import Progress
from foresift.executors import Crew, Task, serve
from foresift.service.allowed import Allowed, ForbiddenError
from foresift.service.training import evaluated
from foresift.sources import listed_addresses
from foresift.sources.fence import Fence
from foresift.stores.generations import read_generation

Plain = Mapping[str, Any]


class HeavyTasks:
    """What takes long: a model's first weights, looks at pools, selections and measurements; one at a time."""

    def __init__(self, workspace: Workspace, *, replicas: int, ray: str | None) -> None:
        self._workspace, self._replicas, self._ray = workspace, replicas, ray
        self._held = ExitStack()
        self._crews: list[Crew | None] = []

    @property
    def by_name(self) -> Mapping[str, Task]:
        """All of them."""
        return {
            task.__name__: task
            for task in (self.join, self.leave, self.prepare, self.look, self.choose, self.measure, self.compare)
        }

    def join(self, values: Plain, progress: Progress) -> dict[str, Any]:  # noqa: ARG002 - as tasks are
        """Find whoever shares the work; raises as :func:`foresift.app.passes.crews.crew_of`."""
        self._crew()
        return {}

    def leave(self, values: Plain, progress: Progress) -> dict[str, Any]:  # noqa: ARG002
        """Let go of them."""
        self._crews = []
        self._held.close()
        return {}

    def prepare(self, values: Plain, progress: Progress) -> dict[str, Any]:  # noqa: ARG002
        """The folder of the model that a configuration names; raises as ``served_model``."""
        from foresift.app.models.served_model import served_model

        folder = served_model(
            self._workspace,
            values["name"],
            values["weights"],
            base=Path(values["base"]),
            image_size=values["image_size"],
            classes=values["classes"],
        )
        return {"folder": str(folder)}

    def look(self, values: Plain, progress: Progress) -> dict[str, Any]:
        """What became of each sample of a pool; raises as :func:`foresift.app.passes.predicting.predict`."""
        options = self._options(values, progress)
        seen = predict(self._workspace, values["pool"], values["model"], options=options).result
        return {
            "usable": len(seen.predictions),
            "inferred": seen.report.inferred,
            "quarantined": [[one.uri, one.reason] for one in seen.quarantined],
            "made": _made(seen.predictions),
        }

    def choose(self, values: Plain, progress: Progress) -> dict[str, Any]:
        """What to label next; raises as :func:`foresift.app.selecting.pool_selection.select_from_pool`."""
        request = Request(
            strategy=values["strategy"],
            budget=values["budget"],
            seed=values["seed"],
            allow_short=values["allow_short"],
            labeled=None if values["labeled"] is None else Path(values["labeled"]),
            options=self._options(values, progress),
        )
        found = select_from_pool(self._workspace, values["pool"], request, model=values["model"])
        receipt = found.selection.receipt
        record = dict(receipt.model or {})
        return {
            "receipt": receipt.id,
            "strategy": receipt.strategy,
            "model": record.get("id"),
            "untrained": bool(record.get("untrained")),
            "rows": found.selection.rows(),
            "quarantined": len(found.quarantined),
            "notes": list(found.notes),
            "made": None if found.result is None else _made(found.result.predictions),
        }

    def measure(self, values: Plain, progress: Progress) -> dict[str, Any]:
        """What a generation is worth; raises as :func:`foresift.service.training.evaluated`."""
        options = PassOptions(engine="torch", batch=values["batch"], progress=progress)
        pool, model, labels = (Path(values[name]) for name in ("pool", "model", "labels"))
        return evaluated(self._workspace, pool, model, labels, options)

    def compare(self, values: Plain, progress: Progress) -> dict[str, Any]:
        """What labeled images say of two generations; raises why the new one should not be promoted, unless forced."""
        _check_allowed(values["on"], values["allowed"])
        options = PassOptions(engine="torch", batch=values["batch"], progress=progress)
        new, holder = (
            Contender(generation=read_generation(folder).id, folder=folder)
            for folder in (Path(values["new"]), Path(values["holder"]))
        )
        on = EvaluationSet(data=values["on"], name=values["name"])
        told, problem = judge(self._workspace, new, holder, on, options=options)
        if problem is not None and not values["force"]:
            raise problem
        return {"evaluation": told, "problem": None if problem is None else str(problem)}

    def _options(self, values: Plain, progress: Progress) -> PassOptions:
        return PassOptions(engine=values["engine"], batch=values["batch"], progress=progress, crew=self._crew())

    def _crew(self) -> Crew | None:
        """Whoever shares the work, from the first time on; None = this process does it alone."""
        if not self._crews:
            fence = Fence.inherited()
            environment = None if fence is None else fence.environment
            self._crews = [self._held.enter_context(crew_of(self._replicas, self._ray, environment=environment))]
        return self._crews[0]


def _check_allowed(data: str, values: Plain) -> None:
    """Raise if an image of a table or a link of a folder leads to where the server may not read; opens none."""
    roots, hosts = map(Path, values["roots"]), values["hosts"]
    allowed = Allowed(roots=tuple(roots), hosts=tuple(hosts), allow_private=values["allow_private"])
    try:
        allowed.places(listed_addresses(data))
    except ForbiddenError as error:
        raise UsageError(str(error)) from None


def _made(predictions: Predictions) -> dict[str, Any] | None:
    producer = producer_of(predictions)
    return None if producer is None else asdict(producer)


def main() -> None:
    """Serve until the server is gone."""
    place = json.loads(sys.argv[1])
    workspace = Workspace.open(place["home"], store=place["store"])
    serve(HeavyTasks(workspace, replicas=place["replicas"], ray=place["ray"]).by_name)


if __name__ == "__main__":
    main()
