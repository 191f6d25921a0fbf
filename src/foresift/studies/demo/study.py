"""The whole idea on the digits: a small generation chooses the data that a larger one inherits.

Paired: in every seed both arms start from the same random labels, grow to the same sizes, and
train the same models from the same initial weights. Test images serve evaluation only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from foresift.app.models.opening import Model, open_model
from foresift.app.passes.stored import PassOptions
from foresift.app.pools import open_pool
from foresift.app.selecting.arrays import select
from foresift.app.selecting.pool_selection import select_from_pool
from foresift.app.selecting.request import Request
from foresift.app.training.images import LabeledImages, labeled_images
from foresift.app.training.request import TrainRequest
from foresift.app.training.train import train
from foresift.app.workspace import Workspace
from foresift.core.about import foresift_version
from foresift.core.digests import digest_value
from foresift.core.errors import BudgetError, UsageError
from foresift.core.generations import Transform
from foresift.core.predictions import Predictions
from foresift.core.protocols import Progress, Silent
from foresift.core.queries import Selection
from foresift.engines import make_engine
from foresift.models import ScoringModule, build, canonical
from foresift.models.registry import parameters
from foresift.selection.base import spelling
from foresift.sources.digits import write_digits
from foresift.stores.files import write_json
from foresift.stores.generations import is_generation
from foresift.stores.tables import write_rows
from foresift.strategies import Strategy, parse
from foresift.studies.demo.gallery import Gallery, gallery_of, ranking
from foresift.studies.paired import Paired
from foresift.studies.threads import one_thread
from foresift.training.metrics import evaluate

SIDE = 8
"""Pixels of a digit."""
RECIPE: Mapping[str, Any] = {"epochs": 60, "batch_size": 32, "optimizer": "adamw", "lr": 0.01, "precision": "32"}
"""By the training loss of both models at 27, 108, 162 and 216 random labels, never by a test image: the default
SGD at 0.05 is unstable for ``mlp:16`` where the last batch is small (162 labels), at 0.01 it leaves 27 labels
unlearned. 32 bits keep the figures from depending on what a processor supports.
"""
ENGINE, BATCH = "torch-f32", 256
CHOSEN, RANDOM = "chosen", "random"
ROLES = ("generation 1", "generation 2")


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """What is compared. No choice was tuned on the results: the small model is the cheapest network with a hidden
    layer, the large one is of another family and more than ten times larger. Margin is the default because it had
    done well with small models in earlier runs on the same digits.
    """

    strategy: str = "margin"
    seeds: int = 3
    rounds: int = 8
    """Batches of labels; the first is random in both arms."""
    budget: int = 27
    """Labels a round."""
    first: str = "mlp:16"
    second: str = "cnn:24"
    recipe: Mapping[str, Any] = field(default_factory=lambda: dict(RECIPE))
    """How every model is trained, in both arms; fields of :class:`foresift.training.Recipe`."""

    @property
    def sizes(self) -> tuple[int, ...]:
        """Numbers of labels at which models are compared: the shared start, every other round, the end."""
        rounds = sorted({1, *range(2, self.rounds, 2), self.rounds})
        return tuple(self.budget * number for number in rounds)

    def checked(self) -> Strategy:
        """The strategy, once every part of the protocol was found to make sense.

        Raises:
            UsageError: no such strategy or model, or numbers out of range.
        """
        for name, least in (("seeds", 1), ("rounds", 2), ("budget", 1)):
            if getattr(self, name) < least:
                raise UsageError(f"--{name} must be {least} or more, got {getattr(self, name)}")
        for model in (self.first, self.second):
            canonical(model)
        return parse(self.strategy)


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One selection: which generation chose, and from how many labels it had learned."""

    round: int
    labels: int
    generation: str
    receipt: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedRun:
    """Both arms of one seed."""

    seed: int
    path: str
    """``store``: selected as ``foresift select`` does, through files, store and receipts. ``memory``: by the
    same strategies from the same pixels, held in memory."""
    ids: Mapping[str, Sequence[str]]
    """Labeled ids of each arm in the order in which they were bought; the first round is shared."""
    turns: Sequence[Turn]
    accuracy: Mapping[str, Mapping[str, Sequence[float]]]
    """Test accuracy by role and arm, one value a size."""
    inherited: str
    """Id of generation 2 at the end, trained on the chosen labels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """Everything that the table, the pictures and the page are made of."""

    strategy: str
    protocol: Protocol
    sizes: tuple[int, ...]
    models: Mapping[str, Mapping[str, Any]]
    pool: int
    """Images that may be chosen."""
    test: int
    """Images that are only ever evaluated on."""
    runs: tuple[SeedRun, ...]
    gallery: Gallery
    foresift: str = field(default_factory=foresift_version)

    def paired(self, role: str, size: int) -> Paired:
        """Both arms of one model at one size, seed by seed."""
        at = self.sizes.index(size)
        chosen, random = (tuple(run.accuracy[role][arm][at] for run in self.runs) for arm in (CHOSEN, RANDOM))
        return Paired(chosen=chosen, random=random)


def run(protocol: Protocol, folder: Path, *, home: Path | None = None, progress: Progress | None = None) -> Results:
    """Both arms over all seeds, written to ``folder/results.json``.

    Everything lies below ``folder``. Generations that an earlier call finished are used again, so an interrupted
    call goes on where it stopped and a repeated one gives the same numbers at once.

    Raises:
        UsageError: a protocol that makes no sense; before any work.
    """
    strategy = protocol.checked()
    with one_thread():
        bench = Bench.open(protocol, strategy, folder, home=home, progress=progress or Silent())
        bench.progress.start("training", protocol.seeds * (protocol.rounds - 1 + 4 * len(protocol.sizes)))
        runs = tuple(bench.compare(seed) for seed in range(protocol.seeds))
        bench.progress.done()
        results = bench.results(runs)
    write_json(folder / "results.json", asdict(results))
    return results


@dataclass(frozen=True, slots=True)
class Bench:
    """The digits as files and as pixels, and where things are kept."""

    protocol: Protocol
    strategy: Strategy
    folder: Path
    workspace: Workspace
    pool: LabeledImages
    test: LabeledImages
    progress: Progress

    @classmethod
    def open(
        cls, protocol: Protocol, strategy: Strategy, folder: Path, *, home: Path | None, progress: Progress
    ) -> Bench:
        """The bench in ``folder``; writes the digits there unless they are there already.

        Raises:
            BudgetError: more labels than the pool has images.
        """
        digits = write_digits(folder / "digits")
        workspace = Workspace.open(home or folder / "home")
        pool, test = (_decoded(workspace, digits / part) for part in ("train", "test"))
        if (wanted := protocol.rounds * protocol.budget) > len(pool.pool):
            raise BudgetError(f"{protocol.rounds} rounds of {protocol.budget} are {wanted} labels, of {len(pool.pool)}")
        return cls(protocol, strategy, folder, workspace, pool, test, progress)

    @property
    def pool_folder(self) -> Path:
        """Where the images lie that may be chosen."""
        return self.folder / "digits" / "train"

    def compare(self, seed: int) -> SeedRun:
        """Both arms of one seed."""
        random = self.random_ids(seed)
        chosen, turns = self.choose(seed, random[: self.protocol.budget])
        ids = {CHOSEN: chosen, RANDOM: random}
        models = dict(zip(ROLES, (self.protocol.first, self.protocol.second), strict=True))
        accuracy = {
            role: {
                arm: [self.accuracy(model, ids[arm][:size], arm, seed) for size in self.protocol.sizes] for arm in ids
            }
            for role, model in models.items()
        }
        heir = open_model(self.workspace, self.generation_folder(self.protocol.second, chosen, CHOSEN, seed))
        path = "store" if seed == 0 else "memory"
        return SeedRun(seed=seed, path=path, ids=ids, turns=turns, accuracy=accuracy, inherited=heir.generation.id)

    def random_ids(self, seed: int) -> list[str]:
        """Random ids for all rounds; a smaller set is the beginning of a larger one."""
        request = Request(strategy="random", budget=self.protocol.rounds * self.protocol.budget, seed=seed)
        return _ids(select_from_pool(self.workspace, self.pool_folder, request).selection)

    def choose(self, seed: int, start: list[str]) -> tuple[list[str], list[Turn]]:
        """The ids that generation 1 chooses round by round, trained from scratch on all before them."""
        ids, turns = list(start), []
        for number in range(2, self.protocol.rounds + 1):
            model = open_model(self.workspace, self.train(self.protocol.first, ids, CHOSEN, seed))
            # Seed 0 goes all the way a user would go. For every new generation that way measures batch sizes
            # for 1.7 s, which would triple the time of the demo.
            choose = self._select_through_store if seed == 0 else self._select_in_memory
            selection = choose(model, ids, seed=seed, number=number)
            turns.append(
                Turn(round=number, labels=len(ids), generation=model.generation.id, receipt=selection.receipt.id)
            )
            ids += _ids(selection)
        return ids, turns

    def accuracy(self, architecture: str, ids: Sequence[str], arm: str, seed: int) -> float:
        """Share of the test images that a model trained on these labels gets right."""
        model = open_model(self.workspace, self.train(architecture, ids, arm, seed))
        top1: float = evaluate(predictions(model, self.test).column("logits"), self.test.codes)["top1"]
        return top1

    def train(self, architecture: str, ids: Sequence[str], arm: str, seed: int) -> Path:
        """The folder of a generation trained from scratch on the labels of these ids."""
        out = self.generation_folder(architecture, ids, arm, seed)
        if not is_generation(out):
            request = TrainRequest(
                model=architecture,
                out=out,
                labels=self.labels_file(ids, arm, seed),
                classes=self.pool.pool.classes,
                image_size=SIDE,
                recipe=dict(self.protocol.recipe),
                seed=seed,
            )
            train(self.workspace, self.pool_folder, request)
        self.progress.advance(1)
        return out

    def generation_folder(self, architecture: str, ids: Sequence[str], arm: str, seed: int) -> Path:
        """Named by all that decides the weights, so that a folder found there is the one to train."""
        key = digest_value(
            [canonical(architecture), sorted(ids), dict(self.protocol.recipe), seed, foresift_version()]
        )[:8]
        return self.folder / "generations" / f"{self._stem(ids, arm, seed)}-{architecture.replace(':', '-')}-{key}"

    def labels_file(self, ids: Sequence[str], arm: str, seed: int) -> Path:
        """A labels file as people would have filled it in; the folders' names are the truth."""
        path = self.folder / "labels" / f"{self._stem(ids, arm, seed)}.csv"
        samples = [self.pool.pool[row] for row in self.pool.pool.rows_of(ids).tolist()]
        write_rows(path, [{"id": s.id, "uri": s.uris[0], "label": s.label} for s in samples], ("id", "uri", "label"))
        return path

    def results(self, runs: tuple[SeedRun, ...]) -> Results:
        """The runs together with what they were made of."""
        models = {
            role: {
                "architecture": canonical(name),
                "parameters": _parameters(name, classes=len(self.pool.pool.classes)),
            }
            for role, name in zip(ROLES, (self.protocol.first, self.protocol.second), strict=True)
        }
        return Results(
            strategy=spelling(self.strategy),
            protocol=self.protocol,
            sizes=self.protocol.sizes,
            models=models,
            pool=len(self.pool.pool),
            test=len(self.test.pool),
            runs=runs,
            gallery=self.gallery(runs[0]),
        )

    def gallery(self, run: SeedRun) -> Gallery:
        """The extremes of what was unlabeled when the last batch was chosen."""
        known = run.ids[CHOSEN][: -self.protocol.budget]
        model = open_model(self.workspace, self.generation_folder(self.protocol.first, known, CHOSEN, run.seed))
        view = predictions(model, self.pool)
        left = view.take(np.flatnonzero(~np.isin(view.sample_ids, known)))
        return gallery_of(left, self.pool.pool, model.generation.classes, name=ranking(self.strategy))

    def _select_through_store(self, model: Model, ids: list[str], *, seed: int, number: int) -> Selection:
        """As ``foresift select`` does it: a pass over the files, kept predictions, a receipt on disk."""
        request = Request(
            strategy=self.protocol.strategy,
            budget=self.protocol.budget,
            labeled=self.labels_file(ids, CHOSEN, seed),
            seed=self._selection_seed(seed, number),
            out=self.folder / "selections" / f"seed-{seed}-round-{number}.csv",
            options=PassOptions(engine=ENGINE, batch=BATCH),
        )
        return select_from_pool(self.workspace, self.pool_folder, request, model=model.folder).selection

    def _select_in_memory(self, model: Model, ids: list[str], *, seed: int, number: int) -> Selection:
        """The same strategy on the same pixels, decoded once; no store, the receipt is not kept on disk."""
        return select(
            predictions(model, self.pool),
            self.strategy,
            budget=self.protocol.budget,
            labeled=ids,
            seed=self._selection_seed(seed, number),
            labels=self.pool.codes[self.pool.pool.rows_of(ids)],
            truth=self.pool.codes,
        )

    def _selection_seed(self, seed: int, number: int) -> int:
        """Another one in each round, for strategies that draw."""
        return 1000 * seed + number

    def _stem(self, ids: Sequence[str], arm: str, seed: int) -> str:
        shared = "start" if len(ids) == self.protocol.budget else arm
        return f"seed-{seed}-{shared}-{len(ids):03d}"


def predictions(model: Model, images: LabeledImages) -> Predictions:
    """Logits and embeddings of images in memory, by the engine that passes use."""
    assert images.pixels is not None  # noqa: S101 - the digits always fit
    engine = make_engine(ENGINE, ScoringModule(model.network(), images.transform), size=SIDE, batch=BATCH)
    parts = [engine(images.pixels[start : start + BATCH]) for start in range(0, len(images.pool), BATCH)]
    return Predictions.from_arrays(
        images.pool.ids,
        logits=np.concatenate([part.logits for part in parts]),
        embeddings=np.concatenate([part.embeddings for part in parts]),
        uris=images.pool.uris.tolist(),
    )


def _decoded(workspace: Workspace, folder: Path) -> LabeledImages:
    pool = open_pool(workspace, folder)
    return labeled_images(pool, pool.classes, Transform(size=SIDE), progress=Silent())


def _ids(selection: Selection) -> list[str]:
    return [str(sample) for sample in selection.sample_ids.tolist()]


def _parameters(architecture: str, *, classes: int) -> int:
    return parameters(build(architecture, classes=classes, image_size=SIDE, seed=0))
