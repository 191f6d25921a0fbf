"""What the server does, whatever protocol asks: push, query, label, train, promote."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from foresift.app.workspace import Workspace, place_below
from foresift.core.digests import digest_value
from foresift.core.errors import BudgetError, EmptyPoolError, UsageError
from foresift.service.access import Access
from foresift.service.allowed import Allowed
from foresift.service.alone import alone
from foresift.service.diary import Diary
from foresift.service.discretion import Discretion
from foresift.service.heavy import Asked, HeavyWork
from foresift.service.jobs import Jobs, Work
from foresift.service.labels import PoolLabels
from foresift.service.looks import Looks
from foresift.service.metrics import Metrics
from foresift.service.models import ModelInUse
from foresift.service.once import Once
from foresift.service.opened import OpenedPools
from foresift.service.pages import by_name
from foresift.service.pools import Pools
from foresift.service.predictions import PoolPredictions
from foresift.service.promotions import Promotions
from foresift.service.refusals import NotFoundError, NotReadyError
from foresift.service.remembered import Remembered
from foresift.service.samples import Samples
from foresift.service.selections import SelectionLog, summary_of, view_of
from foresift.service.training import train_in_child
from foresift.service.uploads import Uploads
from foresift.sources.remote import remote
from foresift.stores.files import read_json
from foresift.strategies import parse
from foresift.wire.config import Settings
from foresift.wire.messages import (
    EvaluateRequest,
    JobView,
    PageRequest,
    PoolPage,
    PoolView,
    PredictionPage,
    PredictionsRequest,
    PredictRequest,
    PromoteRequest,
    PromotionView,
    ReceiptView,
    SelectionPage,
    SelectionRequest,
    SelectionView,
    TrainRequest,
)

LOOK_S = 0.5
"""How soon a drain ends a wait."""
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
        store = place_below(base, settings.storage.store)
        self.workspace = Workspace.open(None if home is None else base / Path(home).expanduser(), store=store)
        self.folder = self.workspace.home / "service" / settings.name.replace("/", "_")
        roots = [str(base / Path(root).expanduser()) for root in settings.data.roots]
        private = settings.data.allow_private
        allowed = Allowed.of(roots, settings.data.hosts, base=started_in or Path.cwd(), allow_private=private)
        self._fence = allowed.fence
        self.discretion = Discretion(roots=allowed.roots, own=(self.workspace.home, base))
        self.uploads = Uploads(
            self.folder / "uploads",
            most_bytes=settings.limits.body_mib << 20,
            most_pixels=settings.limits.image_mpixel * 10**6,
        )
        self.pools = Pools(self.folder, allowed, self.uploads)
        self.heavy = HeavyWork(self.workspace, settings, self._fence)
        self.model = ModelInUse(self.workspace, lambda: self.heavy.prepare(settings.model, base), folder=self.folder)
        self.promotions = Promotions(self.model, self.heavy, allowed)
        self.records = self.workspace.records()
        self.opened = OpenedPools(self.workspace)
        self.labels = PoolLabels(
            self.records, self.pools, self.opened, server=settings.name, folder=self.folder / "labels"
        )
        self.said = PoolPredictions(self.workspace, self.opened, self.folder / "predictions")
        self.selections = SelectionLog(self.folder / "selections")
        self.metrics = Metrics(lambda: self.jobs.counts())
        self.jobs = Jobs(self.records, settings.name, self._carry_out, timed=self.metrics.stage)
        self.once = Once(self.records, settings.name)
        self.access = Access.of(settings, base)
        self.diary = Diary(self.folder / "audit.jsonl", also=self.metrics.seen)
        self.draining = threading.Event()
        self._on_draining: list[Callable[[], None]] = []
        self._on_closing: list[Callable[[], None]] = []
        parse(settings.strategy)
        self._held = alone(self.records, settings.name, self.workspace.home)
        self._held.enter_context(remote().checking(self._fence))
        self._held.callback(self.heavy.close)
        self._answers = Remembered()
        self._looks = Looks()
        if settings.ray is not None:
            self._join()

    # pools

    def pool_page(self, asked: PageRequest) -> PoolPage:
        """Pools that hold samples."""
        names, after = by_name(self.pools.names(), asked, str)
        return PoolPage(items=[self.pool_view(name) for name in names], next=after)

    def pool_view(self, name: str) -> PoolView:
        """What was pushed to a pool."""
        told = self.labels.of(name)
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
        model = Path(str(asked["model"])) if "model" in asked else self.model.folder_of(asked.get("generation"))
        told = self._looks.since(work.created, pool.name, model) or self._look_now(pool, model, work)
        return {"new": asked["new"], **told} if "new" in asked else told

    def _look_now(self, pool: Samples, model: Path, work: Work) -> dict[str, Any]:
        seen = self.heavy.look(pool.manifest, model, work)
        broken = [{"uri": pool.given(uri), "reason": reason} for uri, reason in seen.quarantined]
        stored = max(0, seen.usable - seen.inferred)
        self.metrics.passed(inferred=seen.inferred, stored=stored, quarantined=len(broken), seconds=seen.seconds)
        self.opened.forget(pool.name)
        self.said.note(pool.name, model, seen.made)
        told = {"samples": len(pool), "usable": seen.usable, "quarantined": broken}
        self._looks.keep(seen.began, pool.name, model, told)
        return told

    def _carry_out(self, kind: str, asked: Mapping[str, Any], work: Work) -> dict[str, Any]:
        """A job, begun or begun again."""
        kinds = {"push": self._look, "predict": self._look, "train": self._train, "evaluate": self._evaluate}
        return kinds[kind](asked, work)

    # predictions

    def predict(self, name: str, asked: PredictRequest) -> JobView:
        """Queue a look at a whole pool.

        Raises:
            EmptyPoolError: nothing was pushed.
            ModelError: no such generation.
        """
        self._check_open()
        self._filled(name)
        model = self.model.folder_of(asked.generation)
        return self.jobs.submit("predict", {"pool": name, "model": str(model)}).view()

    def predictions(self, name: str, asked: PredictionsRequest) -> PredictionPage:
        """What was said of samples already; raises as :meth:`PoolPredictions.page`."""
        return self.said.page(self.pools.get(name), self.model.folder_of(asked.generation), asked)

    def _filled(self, name: str) -> Samples:
        pool = self.pools.get(name)
        if not len(pool):
            raise EmptyPoolError(f"pool {name} is empty; push samples first")
        return pool

    # selections

    def query(self, name: str, asked: SelectionRequest) -> SelectionView:
        """What to label next.

        Raises:
            ForesiftError: as :func:`foresift.app.selecting.pool_selection.select_from_pool`.
        """
        if self.settings.limits.budget is not None and asked.budget > self.settings.limits.budget:
            raise BudgetError(f"a budget of {asked.budget}, at most {self.settings.limits.budget} (limits.budget)")
        pool = self._filled(name) if asked.uris is None else self.pools.among(asked.uris)
        strategy = asked.strategy or self.settings.strategy
        seed = self.settings.seed if asked.seed is None else asked.seed
        labels = self.labels.file(name)
        key = digest_value(
            [name, pool.version, strategy, asked.budget, seed, asked.allow_short, labels.name, str(self.model.folder())]
        )
        if (known := self._answers.get(key)) is not None:
            self.metrics.selected("hit")
            return known
        self._check_open()
        self.metrics.selected("miss")
        model = self.model.folder() if parse(strategy).needs else None
        chosen = self.heavy.choose(
            Asked(
                pool=pool.manifest,
                strategy=strategy,
                budget=asked.budget,
                seed=seed,
                allow_short=asked.allow_short,
                labeled=labels if labels.stat().st_size else None,
                model=model,
            )
        )
        self.selections.add(name, summary_of(chosen, budget=asked.budget, seed=seed))
        if model is not None and asked.uris is None:
            self.said.note(name, model, chosen.made)
        view = view_of(chosen, pool=name, strategy=strategy, seed=seed, given=pool.given)
        self._answers.keep(key, view)
        return view

    def selection_page(self, name: str, asked: PageRequest) -> SelectionPage:
        """What was chosen from a pool so far."""
        return self.selections.page(self.pools.get(name).name, asked)

    def selection(self, receipt: str) -> ReceiptView:
        """The receipt of a selection.

        Raises:
            NotFoundError: there is none of that id.
        """
        path = self.workspace.receipts / f"{receipt}.json"
        if not _ID.fullmatch(receipt) or not path.is_file():
            raise NotFoundError(f"no selection {receipt[:64]!r}")
        return ReceiptView(id=receipt, receipt=dict(read_json(path)))

    # generations

    def train(self, name: str, asked: TrainRequest) -> JobView:
        """Queue the training of a new generation on the labels so far."""
        self._check_open()
        labels = self.labels.given(name)
        plain = asked.model_dump(mode="json")
        return self.jobs.submit("train", {"pool": name, "labels": labels.name, "asked": plain}).view()

    def _train(self, asked: Mapping[str, Any], work: Work) -> dict[str, Any]:
        pool, request = self.pools.get(str(asked["pool"])), TrainRequest.model_validate(asked["asked"])
        labels = self.labels.kept(str(asked["labels"]))
        parts = [pool.version, labels.name, request.model, request.recipe, request.seed]
        out = self.workspace.home / "service-generations" / digest_value(parts)[:16]
        generation = train_in_child(self.workspace, pool.manifest, labels, request, out, work, self._fence)
        return {"generation": generation.id, "metrics": dict(generation.metrics)}

    def evaluate(self, name: str, asked: EvaluateRequest) -> JobView:
        """Queue the measurement of a generation on the labels so far.

        Raises:
            LabelError: there are none.
            ModelError: no such generation.
        """
        self._check_open()
        labels = self.labels.given(name)
        model = self.model.folder_of(asked.generation)
        return self.jobs.submit("evaluate", {"pool": name, "labels": labels.name, "model": str(model)}).view()

    def _evaluate(self, asked: Mapping[str, Any], work: Work) -> dict[str, Any]:
        pool, labels = self.pools.get(str(asked["pool"])), self.labels.kept(str(asked["labels"]))
        return self.heavy.measure(pool.manifest, Path(str(asked["model"])), labels, work)

    def promote(self, generation: str, asked: PromoteRequest) -> PromotionView:
        """Score with a generation from now on; raises as :meth:`Promotions.promote`."""
        if asked.on is not None:
            self._check_open()
        view = self.promotions.promote(generation, asked)
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

    def _join(self) -> None:
        """Say at once what is wrong with the cluster."""
        try:
            self.heavy.join()
        except BaseException:
            self.close()
            raise
