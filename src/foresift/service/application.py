"""What the server does, whatever protocol asks: push, query, label, train, promote."""

from __future__ import annotations

import re
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
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
from foresift.core.rounds import Run
from foresift.service.access import Access
from foresift.service.allowed import Allowed
from foresift.service.diary import Diary
from foresift.service.jobs import Jobs, Work
from foresift.service.pages import by_name, by_position
from foresift.service.refusals import DrainingError, NotFoundError
from foresift.service.samples import Samples
from foresift.service.training import train_in_child
from foresift.service.uploads import SCHEME, Uploads
from foresift.stores.files import read_json, write_json
from foresift.stores.generations import read_generation
from foresift.strategies import parse
from foresift.wire.config import Settings
from foresift.wire.messages import (
    ChosenRow,
    GenerationPage,
    GenerationView,
    JobPage,
    JobView,
    LabelPage,
    LabelsRequest,
    LabelsView,
    LabelView,
    PageRequest,
    PoolPage,
    PoolView,
    ReceiptView,
    RunPage,
    RunView,
    SamplePage,
    SampleView,
    SelectionRequest,
    SelectionView,
    TrainRequest,
)

LOOK_S = 0.5
"""How soon a drain ends a wait."""
MOST_EMPTY = 1000
"""Pools without a sample that are kept in mind: anybody may ask for any name."""
REMEMBERED = 256
"""Answers of queries that are kept: the same question about the same pool costs nothing."""


_ID = re.compile(r"[0-9a-f]{8,64}")


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
        self.uploads = Uploads(
            self.folder / "uploads",
            most_bytes=settings.limits.body_mib << 20,
            most_pixels=settings.limits.image_mpixel * 10**6,
        )
        self.records = self.workspace.records()
        self.jobs = Jobs()
        self.access = Access.of(settings, base)
        self.diary = Diary(self.folder / "audit.jsonl", also=lambda _: None)
        self.draining = threading.Event()
        self._on_draining: list[Callable[[], None]] = []
        parse(settings.strategy)
        self._pools: dict[str, Samples] = {}
        self._answers: OrderedDict[str, SelectionView] = OrderedDict()
        self._one_at_a_time = threading.Lock()
        self._guard = threading.Lock()
        self._model: Path | None = None

    # pools

    def pool(self, name: str) -> Samples:
        """The samples of a pool; a new name is a new, empty pool, which is remembered once it holds something."""
        with self._guard:
            pool = self._pools.get(name) or self._pools.setdefault(name, Samples(self.folder / "pools", name))
            empty = [other for other, one in self._pools.items() if not len(one)]
            if len(empty) > MOST_EMPTY:
                self._pools.pop(empty[0])
            return pool

    def pools(self, asked: PageRequest) -> PoolPage:
        """Pools that hold samples."""
        names, after = by_name(Samples.names(self.folder / "pools"), asked, str)
        return PoolPage(items=[self.pool_view(name) for name in names], next=after)

    def samples(self, name: str, asked: PageRequest) -> SamplePage:
        """What was pushed to a pool, in order."""
        given, after = by_position(self.pool(name).all_given(), asked)
        return SamplePage(items=[SampleView(uri=uri) for uri in given], next=after)

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
        places = self._places(uris)
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

    def selection(self, receipt: str) -> ReceiptView:
        """The receipt of a selection.

        Raises:
            NotFoundError: there is none of that id.
        """
        path = self.workspace.receipts / f"{receipt}.json"
        if not _ID.fullmatch(receipt) or not path.is_file():
            raise NotFoundError(f"no selection {receipt[:64]!r}")
        return ReceiptView(id=receipt, receipt=dict(read_json(path)))

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
        places = self._places(uris)
        pool = Samples(self.folder / "queries", digest_value(sorted(places))[:32])
        pool.add(list(zip(places, uris, strict=True)))
        return pool

    def _places(self, uris: Sequence[str]) -> list[str]:
        """Where each address is read from; raises as :meth:`Allowed.places`."""
        return [str(self.uploads.path(uri)) if uri.startswith(SCHEME) else self.allowed.place(uri) for uri in uris]

    # labels

    def labels(self, name: str, asked: PageRequest) -> LabelPage:
        """Current answers of a pool."""
        pool = self.pool(name)
        part, after = by_position(self.records.labels(pool=self._records_name(name)), asked)
        items = [
            LabelView(id=pool.given(str(one.sample_id)), label=one.value, annotator=one.annotator, at=one.at)
            for one in part
        ]
        return LabelPage(items=items, next=after)

    def label(self, name: str, asked: LabelsRequest) -> LabelsView:
        """Keep answers; all of them, or none.

        Raises:
            LabelError: a sample that was never pushed.
        """
        pool = self.pool(name)
        uris = [item.uri for item in asked.labels if item.uri is not None]
        places = dict(zip(uris, self._places(uris), strict=True))
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

    def generations(self, asked: PageRequest) -> GenerationPage:
        """Generations that the workspace knows, the one in use marked."""
        files = sorted((self.workspace.home / "generations").glob("*.json"))
        part, after = by_name(files, asked, lambda file: file.stem)
        found = []
        for file in part:
            try:
                found.append(self._generation_view(Path(read_json(file)["folder"])))
            except ForesiftError:  # its folder is gone, or it is no classifier
                continue
        return GenerationPage(items=found, next=after)

    def promote(self, generation: str) -> GenerationView:
        """Score with a generation from now on.

        Raises:
            NotFoundError: no generation of that id; a path is none.
        """
        if not _ID.fullmatch(generation):
            raise NotFoundError(f"no generation {generation[:64]!r}: expected 8 or more characters of an id")
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

    # runs

    def runs(self, asked: PageRequest) -> RunPage:
        """Runs of the workspace."""
        found = self.records.runs(limit=asked.limit + 1, after=asked.after)
        part = found[: asked.limit]
        return RunPage(
            items=[self._run_view(one) for one in part], next=part[-1].id if len(found) > len(part) else None
        )

    def run(self, run: str) -> RunView:
        """One run.

        Raises:
            UnknownRecordError: there is none of that id.
        """
        return self._run_view(self.records.run(run))

    def _run_view(self, run: Run) -> RunView:
        return RunView(id=run.id, state=run.state, rounds=len(self.records.rounds(run.id)), reason=run.reason)

    # jobs

    def job_page(self, asked: PageRequest) -> JobPage:
        """Jobs in the order in which they were asked for."""
        part, after = by_position(self.jobs.all(), asked)
        return JobPage(items=[work.view() for work in part], next=after)

    def cancel(self, job: str) -> JobView:
        """Stop a job; raises as :meth:`job`."""
        work = self.job(job)
        self.jobs.cancel(work)
        return work.view()

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
        """The job, once it is over, the time is, or the server is about to end."""
        work, until = self.job(job), time.monotonic() + timeout_s
        while (left := until - time.monotonic()) > 0 and not self.draining.is_set():
            if work.over.wait(min(left, LOOK_S)):
                break
        return work.view()

    def job_view(self, job: str) -> JobView:
        """How far a job is; raises as :meth:`job`."""
        return self.job(job).view()

    # state

    def check_ready(self) -> None:
        """Raise unless samples can be scored: :class:`DrainingError`."""
        try:
            self._check_open()
            self.model()
        except ForesiftError as error:
            raise DrainingError(str(error)) from None

    def when_draining(self, then: Callable[[], None]) -> None:
        """Call this when the server is about to end."""
        self._on_draining.append(then)

    def drain(self) -> None:
        """Take no new work from now on; whoever waits gets an answer."""
        self.draining.set()
        for then in self._on_draining:
            then()

    def _check_open(self) -> None:
        if self.draining.is_set():
            raise DrainingError("the server is about to end; ask again in a moment, or another one")

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
