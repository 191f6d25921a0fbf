"""What the server does, whatever protocol asks: push, query, label, train, promote."""

from __future__ import annotations

import re
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from foresift.app.passes.predicting import predict
from foresift.app.passes.stored import PassOptions, PassResult
from foresift.app.runs.leases import Held, TakenError
from foresift.app.selecting.pool_selection import Request, Selected, select_from_pool
from foresift.app.workspace import Workspace
from foresift.core.digests import digest_value
from foresift.core.errors import BudgetError, EmptyPoolError, LabelError, UsageError
from foresift.core.labels import LabelRecord
from foresift.core.records import Records
from foresift.service.access import Access
from foresift.service.allowed import Allowed
from foresift.service.diary import Diary
from foresift.service.jobs import Jobs, Work
from foresift.service.labels import CurrentLabels
from foresift.service.metrics import Metrics
from foresift.service.models import ModelInUse
from foresift.service.once import Once
from foresift.service.pages import by_name, by_position
from foresift.service.pools import Pools
from foresift.service.refusals import NotFoundError, NotReadyError
from foresift.service.samples import Samples
from foresift.service.training import train_in_child
from foresift.service.uploads import Uploads
from foresift.sources.remote import remote
from foresift.stores.files import read_json
from foresift.strategies import parse
from foresift.wire.config import Settings
from foresift.wire.messages import (
    ChosenRow,
    GenerationView,
    JobView,
    LabelPage,
    LabelsRequest,
    LabelsView,
    LabelView,
    PageRequest,
    PoolPage,
    PoolView,
    ReceiptView,
    SelectionRequest,
    SelectionView,
    TrainRequest,
)

LOOK_S = 0.5
"""How soon a drain ends a wait."""
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
        private = settings.data.allow_private
        allowed = Allowed.of(roots, settings.data.hosts, base=started_in or Path.cwd(), allow_private=private)
        self._fence = allowed.fence
        self.uploads = Uploads(
            self.folder / "uploads",
            most_bytes=settings.limits.body_mib << 20,
            most_pixels=settings.limits.image_mpixel * 10**6,
        )
        self.pools = Pools(self.folder, allowed, self.uploads)
        self.model = ModelInUse(self.workspace, settings.model, folder=self.folder, base=base)
        self.records = self.workspace.records()
        self.labels_now = CurrentLabels(self.records)
        self.metrics = Metrics(lambda: self.jobs.counts())
        self.jobs = Jobs(self.records, settings.name, self._carry_out, timed=self.metrics.stage)
        self.once = Once(self.records, settings.name)
        self.access = Access.of(settings, base)
        self.diary = Diary(self.folder / "audit.jsonl", also=self.metrics.seen)
        self.draining = threading.Event()
        self._on_draining: list[Callable[[], None]] = []
        self._on_closing: list[Callable[[], None]] = []
        parse(settings.strategy)
        self._held = _alone(self.records, settings.name, self.workspace.home)
        self._held.enter_context(remote().checking(self._fence))
        self._answers: OrderedDict[str, SelectionView] = OrderedDict()
        self._one_at_a_time = threading.Lock()
        self._guard = threading.Lock()

    # pools

    def pool_page(self, asked: PageRequest) -> PoolPage:
        """Pools that hold samples."""
        names, after = by_name(self.pools.names(), asked, str)
        return PoolPage(items=[self.pool_view(name) for name in names], next=after)

    def pool_view(self, name: str) -> PoolView:
        """What was pushed to a pool."""
        told = self.labels_now.of(self._records_name(name))
        return PoolView(name=name, samples=len(self.pools.get(name)), labeled=told.count, classes=told.classes)

    def push(self, name: str, uris: Sequence[str]) -> JobView:
        """Queue the inference of new samples; those pushed before cost nothing.

        Raises:
            ForbiddenError: an address that the server may not read; nothing was taken.
        """
        if len(uris) > self.settings.limits.samples_a_request:
            most = self.settings.limits.samples_a_request
            raise UsageError(f"{len(uris)} samples in one request, at most {most}; push them in parts")
        self._check_open()
        new = self.pools.push(name, uris)
        return self.jobs.submit("push", {"pool": name, "new": new}).view()

    def _look(self, asked: Mapping[str, Any], work: Work) -> dict[str, Any]:
        pool = self.pools.get(str(asked["pool"]))
        with self._one_at_a_time:
            began = time.perf_counter()
            seen = predict(self.workspace, pool.manifest, self.model.folder(), options=self._options(work)).result
            self._count_pass(seen, time.perf_counter() - began)
        broken = [{"uri": pool.given(one.uri), "reason": one.reason} for one in seen.quarantined]
        usable = len(seen.predictions)
        return {"new": asked["new"], "samples": len(pool), "usable": usable, "quarantined": broken}

    def _count_pass(self, seen: PassResult, seconds: float) -> None:
        inferred, broken = seen.report.inferred, len(seen.quarantined)
        stored = max(0, len(seen.predictions) - inferred)
        self.metrics.passed(inferred=inferred, stored=stored, quarantined=broken, seconds=seconds)

    def _carry_out(self, kind: str, asked: Mapping[str, Any], work: Work) -> dict[str, Any]:
        """A job, begun or begun again."""
        return (self._look if kind == "push" else self._train)(asked, work)

    # selections

    def query(self, name: str, asked: SelectionRequest) -> SelectionView:
        """What to label next.

        Raises:
            ForesiftError: as :func:`foresift.app.selecting.pool_selection.select_from_pool`.
        """
        if self.settings.limits.budget is not None and asked.budget > self.settings.limits.budget:
            raise BudgetError(f"a budget of {asked.budget}, at most {self.settings.limits.budget} (limits.budget)")
        pool = self.pools.get(name) if asked.uris is None else self.pools.among(asked.uris)
        if not len(pool):
            raise EmptyPoolError(f"pool {name} is empty; push samples first")
        strategy = asked.strategy or self.settings.strategy
        seed = self.settings.seed if asked.seed is None else asked.seed
        labels = self._labels_file(name)
        key = digest_value(
            [name, pool.version, strategy, asked.budget, seed, asked.allow_short, labels.name, str(self.model.folder())]
        )
        with self._guard:
            if key in self._answers:
                self._answers.move_to_end(key)
                self.metrics.selected("hit")
                return self._answers[key]
        self._check_open()
        self.metrics.selected("miss")
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
                self.workspace, pool.manifest, request, model=self.model.folder() if needs_model else None
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

    # labels

    def labels(self, name: str, asked: PageRequest) -> LabelPage:
        """Current answers of a pool."""
        pool = self.pools.get(name)
        part, after = by_position(self.labels_now.of(self._records_name(name)).all, asked)
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
        pool = self.pools.get(name)
        uris = [item.uri for item in asked.labels if item.uri is not None]
        places = dict(zip(uris, self.pools.places(uris), strict=True))
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
        self.labels_now.forget(self._records_name(name))
        return LabelsView(new=added.new, repeated=added.repeated, labeled=self.pool_view(name).labeled)

    def _labels_file(self, name: str) -> Path:
        """The labels so far as a file, named by its content; empty without labels."""
        told = self.labels_now.of(self._records_name(name))
        file = self.folder / "labels" / f"{told.digest}.jsonl"
        if not file.exists():
            self.pools.get(name).write_labels(file, told.pairs)
        return file

    def _records_name(self, name: str) -> str:
        return f"service/{self.settings.name}/{name}"

    # generations

    def train(self, name: str, asked: TrainRequest) -> JobView:
        """Queue the training of a new generation on the labels so far."""
        self._check_open()
        labels = self._labels_file(name)
        if not labels.stat().st_size:
            raise LabelError(f"pool {name} has no labels yet; deliver some before training")
        plain = asked.model_dump(mode="json")
        return self.jobs.submit("train", {"pool": name, "labels": labels.name, "asked": plain}).view()

    def _train(self, asked: Mapping[str, Any], work: Work) -> dict[str, Any]:
        pool, request = self.pools.get(str(asked["pool"])), TrainRequest.model_validate(asked["asked"])
        labels = self.folder / "labels" / str(asked["labels"])
        parts = [pool.version, labels.name, request.model, request.recipe, request.seed]
        out = self.workspace.home / "service-generations" / digest_value(parts)[:16]
        with self._one_at_a_time:
            generation = train_in_child(self.workspace, pool.manifest, labels, request, out, work, self._fence)
        return {"generation": generation.id, "metrics": dict(generation.metrics)}

    def promote(self, generation: str) -> GenerationView:
        """Score with a generation from now on; raises as :meth:`ModelInUse.promote`."""
        view = self.model.promote(generation)
        with self._guard:
            self._answers.clear()
        return view

    # jobs

    def job_view(self, job: str) -> JobView:
        """How far a job is.

        Raises:
            NotFoundError: there is none.
        """
        return self.jobs.view(job)

    def wait(self, job: str, *, timeout_s: float) -> JobView:
        """The job, once it is over, the time is, or the server is about to end; raises as :meth:`job_view`."""
        work, until = self.jobs.get(job), time.monotonic() + timeout_s
        while work is not None and (left := until - time.monotonic()) > 0 and not self.draining.is_set():
            if work.over.wait(min(left, LOOK_S)):
                break
        return self.jobs.view(job)

    def resume(self) -> int:
        """Take up the jobs of an earlier server, and forget old keys. How many jobs that are."""
        self.once.forget_old()
        return self.jobs.resume()

    # state

    def check_ready(self) -> None:
        """Raise unless samples can be scored: :class:`NotReadyError`. Answers at once."""
        self._check_open()
        if trouble := self.model.trouble():
            raise NotReadyError(trouble)

    def when_draining(self, then: Callable[[], None]) -> None:
        """Call this when the server is about to end."""
        self._on_draining.append(then)

    def when_closing(self, then: Callable[[], None]) -> None:
        """Call this once the server has ended."""
        self._on_closing.append(then)

    def drain(self) -> None:
        """Take no new work from now on; whoever waits gets an answer."""
        self.draining.set()
        for then in self._on_draining:
            then()

    def _check_open(self) -> None:
        if self.draining.is_set():
            raise NotReadyError("the server is about to end; ask again in a moment, or another one")

    def close(self) -> None:
        """Interrupt jobs, which are kept for the next start, and let go of the workspace."""
        self.jobs.close()
        for then in self._on_closing:
            then()
        self._held.close()
        self.records.close()

    def _options(self, work: Work | None) -> PassOptions:
        engine, batch = self.settings.model.engine, self.settings.model.batch_size
        return (
            PassOptions(engine=engine, batch=batch)
            if work is None
            else PassOptions(engine=engine, batch=batch, progress=work)
        )


def _alone(records: Records, name: str, home: Path) -> ExitStack:
    """The right to be the server of this name here; close it to give it back.

    Raises:
        UsageError: another server has it.
    """
    stack = ExitStack()
    try:
        stack.enter_context(Held(records, f"service/{name}"))
    except TakenError:
        raise UsageError(
            f"another server named {name!r} works in {home}; stop it, or change name: or storage.home"
        ) from None
    return stack
