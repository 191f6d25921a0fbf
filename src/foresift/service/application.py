"""What the server does, whatever protocol asks: push, query, label, train, promote."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from foresift.app.passes import PassOptions
from foresift.app.pool_selection import Request, Selected, select_from_pool
from foresift.app.predicting import predict
from foresift.app.workspace import Workspace
from foresift.core.digests import digest_value
from foresift.core.errors import BudgetError, EmptyPoolError, ForesiftError, LabelError, UsageError
from foresift.core.labels import LabelRecord
from foresift.service.allowed import Allowed
from foresift.service.jobs import Jobs, Work
from foresift.service.samples import Samples
from foresift.service.training import train_in_child
from foresift.stores.files import read_json, write_json
from foresift.stores.generations import read_generation
from foresift.strategies import parse
from foresift.wire.config import Settings
from foresift.wire.messages import (
    ChosenRow,
    GenerationView,
    JobView,
    LabelsRequest,
    LabelsView,
    PoolView,
    SelectionRequest,
    SelectionView,
    TrainRequest,
)

REMEMBERED = 256
"""Answers of queries that are kept: the same question about the same pool costs nothing."""


class NotFoundError(UsageError):
    """Nothing of that name or id."""


class Application:
    """One served pool family: names of pools, one model in use, one configuration.

    Every method may be called by any thread. Answers of :meth:`query` are remembered until samples,
    labels or the model change.
    """

    def __init__(self, settings: Settings, *, base: Path, started_in: Path | None = None) -> None:
        """Open the workspace; reads no image and loads no network.

        Args:
            base: relative paths of the configuration start here.
            started_in: the default root.
        """
        self.settings = settings
        self.base = base
        home = settings.storage.home
        self.workspace = Workspace.open(None if home is None else base / Path(home).expanduser())
        self.folder = self.workspace.home / "service" / settings.name.replace("/", "_")
        roots = [str(base / Path(root).expanduser()) for root in settings.data.roots]
        self.allowed = Allowed.of(roots, settings.data.hosts, base=started_in or Path.cwd())
        self.records = self.workspace.records()
        self.jobs = Jobs()
        parse(settings.strategy)
        self._pools: dict[str, Samples] = {}
        self._answers: OrderedDict[str, SelectionView] = OrderedDict()
        self._one_at_a_time = threading.Lock()
        self._guard = threading.Lock()
        self._model: Path | None = None

    # pools

    def pool(self, name: str) -> Samples:
        """The samples of a pool; a new name is a new, empty pool."""
        with self._guard:
            if name not in self._pools:
                self._pools[name] = Samples(self.folder / "pools", name)
            return self._pools[name]

    def pools(self) -> list[PoolView]:
        """All pools that hold samples."""
        return [self.pool_view(name) for name in Samples.names(self.folder / "pools")]

    def pool_view(self, name: str) -> PoolView:
        """What was pushed to a pool."""
        labels = self.records.labels(pool=self._records_name(name))
        told = {label.sample_id for label in labels if label.tells}
        classes = sorted({label.value for label in labels if label.tells})
        return PoolView(name=name, samples=len(self.pool(name)), labeled=len(told), classes=classes)

    def push(self, name: str, uris: Sequence[str]) -> JobView:
        """Queue the inference of new samples; those pushed before cost nothing.

        Raises:
            ForbiddenError: an address that the server may not read; nothing was taken.
        """
        if len(uris) > self.settings.limits.samples_a_request:
            most = self.settings.limits.samples_a_request
            raise UsageError(f"{len(uris)} samples in one request, at most {most}; push them in parts")
        places = self.allowed.places(uris)
        pool = self.pool(name)
        new = pool.add(list(zip(places, uris, strict=True)))
        return self.jobs.submit("push", lambda work: self._look(pool, new, work)).view()

    def _look(self, pool: Samples, new: int, work: Work) -> dict[str, Any]:
        with self._one_at_a_time:
            seen = predict(self.workspace, pool.manifest, self.model(), options=self._options(work))
        broken = [{"uri": pool.given(one.uri), "reason": one.reason} for one in seen.result.quarantined]
        return {"new": new, "samples": len(pool), "usable": len(seen.result.predictions), "quarantined": broken}

    # selections

    def query(self, name: str, asked: SelectionRequest) -> SelectionView:
        """What to label next.

        Raises:
            ForesiftError: as :func:`foresift.app.pool_selection.select_from_pool`.
        """
        if self.settings.limits.budget is not None and asked.budget > self.settings.limits.budget:
            raise BudgetError(f"a budget of {asked.budget}, at most {self.settings.limits.budget} (limits.budget)")
        pool = self.pool(name) if asked.uris is None else self._among(asked.uris)
        if not len(pool):
            raise EmptyPoolError(f"pool {name} is empty; push samples first")
        strategy = asked.strategy or self.settings.strategy
        seed = self.settings.seed if asked.seed is None else asked.seed
        labels = self._labels_file(name)
        key = digest_value(
            [name, pool.version, strategy, asked.budget, seed, asked.allow_short, labels.name, str(self.model())]
        )
        with self._guard:
            if key in self._answers:
                self._answers.move_to_end(key)
                return self._answers[key]
        view = self._select(
            name,
            pool,
            replace(
                Request(strategy=strategy, budget=asked.budget, seed=seed, allow_short=asked.allow_short),
                labeled=labels if labels.stat().st_size else None,
            ),
        )
        with self._guard:
            self._answers[key] = view
            while len(self._answers) > REMEMBERED:
                self._answers.popitem(last=False)
        return view

    def selection(self, receipt: str) -> dict[str, Any]:
        """The receipt of a selection.

        Raises:
            NotFoundError: there is none of that id.
        """
        path = self.workspace.receipts / f"{receipt}.json"
        if not receipt.isalnum() or not path.is_file():
            raise NotFoundError(f"no selection {receipt[:64]!r}")
        return dict(read_json(path))

    def _select(self, name: str, pool: Samples, request: Request) -> SelectionView:
        needs_model = bool(parse(request.strategy).needs)
        with self._one_at_a_time:
            request = replace(request, options=self._options(None))
            found: Selected = select_from_pool(
                self.workspace, pool.manifest, request, model=self.model() if needs_model else None
            )
        chosen = found.selection
        rows = [
            ChosenRow(
                rank=row["rank"],
                id=str(row["id"]),
                uri=pool.given(row["uri"]),
                score=row["score"],
                arm=row.get("arm") or None,
            )
            for row in chosen.rows()
        ]
        record = dict(chosen.receipt.model or {})
        return SelectionView(
            id=chosen.receipt.id,
            pool=name,
            strategy=request.strategy,
            seed=request.seed,
            model=record.get("id"),
            untrained=bool(record.get("untrained")),
            rows=rows,
            quarantined=len(found.quarantined),
            notes=[
                *found.notes,
                *(["the model's weights are random: the scores mean nothing"] if record.get("untrained") else []),
            ],
        )

    def _among(self, uris: Sequence[str]) -> Samples:
        """A pool of its own for these addresses; the same ones are the same pool."""
        places = self.allowed.places(uris)
        pool = Samples(self.folder / "queries", digest_value(sorted(places))[:32])
        pool.add(list(zip(places, uris, strict=True)))
        return pool

    # labels

    def label(self, name: str, asked: LabelsRequest) -> LabelsView:
        """Keep answers; all of them, or none.

        Raises:
            LabelError: a sample that was never pushed.
        """
        pool = self.pool(name)
        uris = [item.uri for item in asked.labels if item.uri is not None]
        places = dict(zip(uris, self.allowed.places(uris), strict=True))
        records = []
        for item in asked.labels:
            sample = item.id if item.id is not None else places[str(item.uri)]
            if item.uri is not None and not pool.has(sample):
                raise LabelError(f"{item.uri!r} was never pushed to pool {name}; nothing was kept")
            records.append(
                LabelRecord(
                    sample_id=str(sample),
                    value=item.label,
                    pool=self._records_name(name),
                    annotator=asked.annotator,
                    source="service",
                )
            )
        added = self.records.add_labels(records)
        return LabelsView(new=added.new, repeated=added.repeated, labeled=self.pool_view(name).labeled)

    def _labels_file(self, name: str) -> Path:
        """The labels so far as a file, named by its content; empty without labels."""
        current = self.records.labels(pool=self._records_name(name))
        told = [(label.sample_id, label.value) for label in current if label.tells]
        file = self.folder / "labels" / f"{digest_value([name, told])[:32]}.jsonl"
        if not file.exists():
            self.pool(name).write_labels(file, told)
        return file

    def _records_name(self, name: str) -> str:
        return f"service/{self.settings.name}/{name}"

    # generations

    def train(self, name: str, asked: TrainRequest) -> JobView:
        """Queue the training of a new generation on the labels so far."""
        labels = self._labels_file(name)
        if not labels.stat().st_size:
            raise LabelError(f"pool {name} has no labels yet; deliver some before training")
        pool = self.pool(name)
        stem = digest_value([pool.version, labels.name, asked.model, asked.recipe, asked.seed])[:16]
        out = self.workspace.home / "service-generations" / stem

        def run(work: Work) -> dict[str, Any]:
            with self._one_at_a_time:
                generation = train_in_child(self.workspace, pool.manifest, labels, asked, out, work)
            return {"generation": generation.id, "metrics": dict(generation.metrics)}

        return self.jobs.submit("train", run).view()

    def generations(self) -> list[GenerationView]:
        """Generations that the workspace knows, the one in use marked."""
        found = []
        for file in sorted((self.workspace.home / "generations").glob("*.json")):
            try:
                found.append(self._generation_view(Path(read_json(file)["folder"])))
            except ForesiftError:  # its folder is gone, or it is no classifier
                continue
        return found

    def promote(self, generation: str) -> GenerationView:
        """Score with a generation from now on."""
        folder = self.workspace.generation_folder(generation)
        view = self._generation_view(folder)
        write_json(self.folder / "in-use.json", {"folder": str(folder)})
        with self._guard:
            self._model = folder
            self._answers.clear()
        return view.model_copy(update={"in_use": True})

    def model(self) -> Path:
        """The generation folder in use: the one promoted last, else what the configuration names.

        Raises:
            ModelError: there are no weights to be had; says how to mend it.
        """
        if self._model is None:
            promoted = self.folder / "in-use.json"
            self._model = Path(read_json(promoted)["folder"]) if promoted.is_file() else self._configured()
        return self._model

    def _configured(self) -> Path:
        from foresift.app.served_model import served_model

        model = self.settings.model
        return served_model(
            self.workspace,
            model.name,
            model.weights,
            base=self.base,
            image_size=model.image_size,
            classes=model.classes,
        )

    def _generation_view(self, folder: Path) -> GenerationView:
        record = read_generation(folder)
        return GenerationView(
            id=record.id,
            architecture=record.architecture,
            classes=list(record.classes),
            parent=record.parent,
            metrics=dict(record.metrics),
            in_use=self._model is not None and folder == self._model,
        )

    # jobs

    def job(self, job: str) -> Work:
        """The job of an id.

        Raises:
            NotFoundError: there is none.
        """
        found = self.jobs.get(job)
        if found is None:
            raise NotFoundError(f"no job {job[:64]!r}")
        return found

    def wait(self, job: str, *, timeout_s: float) -> JobView:
        """The job, once it is over or the time is."""
        work = self.job(job)
        work.over.wait(timeout_s)
        return work.view()

    def close(self) -> None:
        """Stop jobs and let go of the workspace."""
        self.jobs.close()
        self.records.close()

    def _options(self, work: Work | None) -> PassOptions:
        engine, batch = self.settings.model.engine, self.settings.model.batch_size
        return (
            PassOptions(engine=engine, batch=batch)
            if work is None
            else PassOptions(engine=engine, batch=batch, progress=work)
        )
