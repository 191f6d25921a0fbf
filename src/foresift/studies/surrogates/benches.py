"""Where models of a transfer study are trained, scored and choose: classifiers on pixels or on embeddings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from foresift.core.arrays import Embeddings, Rows, Values, frozen
from foresift.core.errors import ForesiftError, MissingColumnError, ModelError, NonFiniteError, UsageError
from foresift.core.matrices import RowMatrix
from foresift.core.predictions import Column, Predictions
from foresift.kernels.softmax_head import standard_of
from foresift.scores.registry import SCORES
from foresift.strategies import Strategy, parse
from foresift.strategies.auto import LABELS_A_CLASS, Known, judge
from foresift.studies.image_sets import ImageSet
from foresift.studies.learners import STUDY
from foresift.studies.surrogates.protocol import TRUE_LOSS, Lessons

Array = npt.NDArray[Any]
LABEL_NEEDS = ("labels", "truth")
CHUNK = 512
"""Images of one forward pass, and fewer where they are large."""
CHUNK_PIXELS = 1 << 22
ON_DEVICE = 4 << 30
"""Bytes of labeled pixels up to which they lie where the model is trained; more are copied batch by batch."""
STANDS_FOR = {TRUE_LOSS: "loss", "llal": "loss-prediction", "core-set": "k-center"}
"""Names of the paper and of this study for registered strategies."""
EARLY, LATE = "typiclust", "margin"
"""What ``auto`` takes while labels are few, and later."""


class UnfitError(ForesiftError):
    """A strategy can't work with what this model gives; others can."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Taught:
    """One trained model: how good it is, and columns of the pool made on demand."""

    quality: float
    """Of the bench's measure on the test part, within [0, 1]."""
    fit: float
    """The same measure on the labels it learned from."""
    columns: Mapping[str, Callable[[], Array]]
    """Column name to what makes it, n rows in pool order."""


class Bench(Protocol):
    """A pool, a test part, and the way in which models learn from labeled rows."""

    @property
    def count(self) -> int:
        """n, images of the pool."""
        ...

    @property
    def identity(self) -> str:
        """What tells the images from others under the same name; empty for published sets."""
        ...

    @property
    def measure(self) -> str:
        """What quality is measured by."""
        ...

    @property
    def scores(self) -> tuple[str, ...]:
        """Acquisition functions that :meth:`values` knows; ``loss`` is among them."""
        ...

    def teach(self, model: str, rows: Rows, *, seed: int, needs: Sequence[str] = ()) -> Taught:
        """A model trained from its own start on the given rows of the pool.

        Raises:
            UnfitError: this model can't have the columns that ``needs`` names.
        """
        ...

    def values(self, taught: Taught, score: str) -> Values:
        """(n,) an acquisition function over the whole pool."""
        ...

    def needs(self, strategy: str) -> tuple[str, ...]:
        """Columns of the model that a strategy reads; none if it needs no model at all."""
        ...

    def resolve(self, known: Rows, *, seed: int) -> str:
        """What ``auto`` runs now: typical samples while labels are few, then margin by the surrogate."""
        ...

    def choose(self, strategy: str, taught: Taught | None, known: Rows, *, budget: int, seed: int) -> Rows:
        """``budget`` rows to label next, none of ``known``.

        Raises:
            UnfitError: the strategy can't choose by what this model gives.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class Classifying:
    """What benches of classifiers share: choosing by registered strategies, scoring by registered scores."""

    images: ImageSet
    lessons: Lessons
    look: Callable[[], Embeddings]
    """What makes :attr:`embeddings`."""
    identity: str = ""
    measure: str = "top-1 accuracy"
    scores: tuple[str, ...] = ("entropy", "margin", "loss")

    @property
    def count(self) -> int:
        """n, images of the pool."""
        return len(self.images.codes)

    @cached_property
    def embeddings(self) -> Embeddings:
        """(n, d) that exist without a label; ``auto`` looks at them."""
        return self.look()

    def values(self, taught: Taught, score: str) -> Values:
        """(n,) a score from the logits."""
        entry = SCORES.get(score)
        truth = (self.images.codes,) if "truth" in entry.needs else ()
        return entry(taught.columns["logits"](), *truth)

    def needs(self, strategy: str) -> tuple[str, ...]:
        """Columns that come from the model."""
        if strategy == EARLY:
            return ()
        return tuple(name for name in registered(strategy).needs if name not in LABEL_NEEDS)

    def resolve(self, known: Rows, *, seed: int) -> str:
        """``auto``'s rule: typical samples until a linear head on the embeddings tells the classes apart."""
        learned = Known(
            rows=self.embeddings[known].astype(np.float32),
            codes=np.unique(self.images.codes[known], return_inverse=True)[1].astype(np.intp),
        )
        verdict = judge(learned, self._standard, np.random.default_rng([seed, len(known)]))
        return LATE if verdict.uncertain else EARLY

    def choose(self, strategy: str, taught: Taught | None, known: Rows, *, budget: int, seed: int) -> Rows:
        """By a registered strategy; the true loss sees the hidden classes."""
        chosen = registered(strategy)
        try:
            view = Predictions(sample_ids=np.arange(self.count), columns=self._columns(chosen, taught))
            found = chosen.select(
                view,
                budget=budget,
                labeled=known,
                labels=self.images.codes[known] if "labels" in (*chosen.needs, *chosen.uses) else None,
                truth=self.images.codes if "truth" in chosen.needs else None,
                seed=seed,
            )
        except (UsageError, NonFiniteError) as error:  # such as a model that diverged
            raise UnfitError(str(error)) from error
        return found.sample_ids.astype(np.intp)

    def _columns(self, strategy: Strategy, taught: Taught | None) -> dict[str, Column]:
        wanted = [name for name in strategy.needs if name not in LABEL_NEEDS]
        made: Mapping[str, Callable[[], Array]] = {"embeddings": lambda: self.embeddings}
        if taught is not None:
            made = taught.columns
        if missing := [name for name in wanted if name not in made]:
            raise MissingColumnError(f"this study has no column {missing[0]}, which {strategy.name} needs")
        return {name: Column(values=frozen(made[name]()), producer=STUDY) for name in wanted}

    @cached_property
    def _standard(self) -> Any:
        return standard_of([RowMatrix(array=self.embeddings)])


@dataclass(frozen=True, kw_only=True)
class PixelBench(Classifying):
    """Networks from scratch on the decoded pool, which may lie on disk: rows are read when they are needed."""

    def teach(self, model: str, rows: Rows, *, seed: int, needs: Sequence[str] = ()) -> Taught:
        """A network by its registered name, with LLAL's module beside it where ``predicted-loss`` is needed."""
        from foresift.models import build
        from foresift.models.loss_prediction import loss_predictor, with_loss_prediction

        network = build(
            model,
            classes=len(self.images.classes),
            image_size=self.images.transform.size,
            seed=seed,
            pretrained=self.lessons.pretrained,
        )
        learning: Any = network
        predicts = "predicted-loss" in needs
        if predicts:
            try:
                learning = with_loss_prediction(network, size=self.images.transform.size, seed=seed)
            except ModelError as error:
                raise UnfitError(str(error)) from error
        self._train(learning.to(self._device), rows, seed=seed, predicts=predicts)
        logits = _once(lambda: self._forward(network, "pool"))
        test = self._forward(network, "test").argmax(axis=1)
        fit = (self._forward(network, "pool", rows).argmax(axis=1) == self.images.codes[rows]).mean()
        columns: dict[str, Callable[[], Array]] = {
            "logits": logits,
            "embeddings": _once(lambda: self._forward(_features(network), "pool")),
        }
        if predicts:
            predictor = loss_predictor(network, network, learning.module)
            columns["predicted-loss"] = _once(lambda: self._forward(predictor, "pool"))
        return Taught(quality=float((test == self.images.test_codes).mean()), fit=float(fit), columns=columns)

    def _train(self, learning: Any, rows: Rows, *, seed: int, predicts: bool) -> None:
        import torch
        from torch.nn import functional

        from foresift.studies.surrogates.lessons import optimise
        from foresift.training.objectives import CUT_AFTER, ranking_loss

        codes = torch.from_numpy(self.images.codes[rows]).to(self._device)
        take = self._batches(rows, seed)

        def plain(batch: Any, _done: float, number: int) -> Any:
            return functional.cross_entropy(learning(take(batch, number)), codes[batch])

        def ranked(batch: Any, done: float, number: int) -> Any:
            logits, maps = learning.observe(take(batch, number))
            losses = functional.cross_entropy(logits, codes[batch], reduction="none")
            seen = [values.detach() for values in maps] if done >= CUT_AFTER else maps
            return losses.mean() + ranking_loss(learning.predicted(seen), losses.detach())

        optimise(learning, ranked if predicts else plain, count=len(rows), lessons=self.lessons, seed=seed)

    def _batches(self, rows: Rows, seed: int) -> Callable[[Any, int], Any]:
        """((b,) rows of the labeled set, step) -> (b, 3, s, s) inputs, augmented if the recipe says so."""
        from foresift.training.augment import augment, normalise

        kind, transform = self.lessons.augment, self.images.transform

        def changed(pixels: Any, number: int) -> Any:
            return normalise(augment(pixels, kind=kind, seed=(seed, 0, number)), transform)

        if len(rows) * self.images.pixels[:1].nbytes > ON_DEVICE:
            return lambda batch, number: changed(self._pixels(self.images.pixels, rows[batch.cpu().numpy()]), number)
        held = self._pixels(self.images.pixels, rows)
        if kind == "none":
            ready = normalise(held, transform).contiguous()
            return lambda batch, _number: ready[batch]
        return lambda batch, number: changed(held[batch], number)

    def _forward(self, forward: Callable[[Any], Any], part: str, rows: Rows | None = None) -> npt.NDArray[np.float32]:
        from foresift.studies.surrogates.lessons import in_chunks
        from foresift.training.augment import normalise

        pixels, transform = self.images.pixels if part == "pool" else self.images.test_pixels, self.images.transform
        which = np.arange(len(pixels)) if rows is None else rows
        size = max(1, min(CHUNK, CHUNK_PIXELS // transform.size**2))
        return in_chunks(len(which), size, lambda at: forward(normalise(self._pixels(pixels, which[at]), transform)))

    def _pixels(self, pixels: Array, rows: Rows) -> Any:
        """(b, s, s, 3) of some rows, copied to where models are trained."""
        import torch

        return torch.from_numpy(pixels[rows]).to(self._device)

    @cached_property
    def _device(self) -> Any:
        from foresift.studies.surrogates.lessons import device_of_study

        return device_of_study()


@dataclass(frozen=True, kw_only=True)
class HeadBench(Classifying):
    """Heads on frozen embeddings: ``linear``, or ``mlp:WIDTH``."""

    test_embeddings: Embeddings

    def teach(self, model: str, rows: Rows, *, seed: int, needs: Sequence[str] = ()) -> Taught:  # noqa: ARG002
        """A head; its embeddings are those that it stands on."""
        import torch

        from foresift.training.head import fit_head

        head = fit_head(
            self.embeddings[rows], self.images.codes[rows], classes=len(self.images.classes), head=model, seed=seed
        )

        def logits(values: Embeddings) -> npt.NDArray[np.float32]:
            with torch.inference_mode():
                found: npt.NDArray[np.float32] = head(torch.from_numpy(values)).float().numpy()
            return found

        pool = _once(lambda: logits(self.embeddings))
        return Taught(
            quality=float((logits(self.test_embeddings).argmax(axis=1) == self.images.test_codes).mean()),
            fit=float((pool()[rows].argmax(axis=1) == self.images.codes[rows]).mean()),
            columns={"logits": pool, "embeddings": lambda: self.embeddings},
        )


def registered(strategy: str) -> Strategy:
    """The registered strategy behind a name of this study."""
    return parse(STANDS_FOR.get(strategy, strategy))


def pixels_as_embeddings(pixels: Array) -> Embeddings:
    """(n, d) the pixels themselves, 0 .. 1: good enough where images are tiny and centred."""
    return (np.asarray(pixels).reshape(len(pixels), -1) / np.float32(255)).astype(np.float32)


def few_labels(known: Rows, classes: int) -> bool:
    """Whether so few images are labeled that typical ones come first, where classes can't be counted."""
    return len(known) < LABELS_A_CLASS * classes


def decoded_cache(folder: Path) -> Path:
    """Where decoded images are kept."""
    return folder / "images"


def _features(network: Any) -> Callable[[Any], Any]:
    from foresift.models.embedding import with_embedding

    both = with_embedding(network)
    return lambda images: both(images)[1]


def _once(make: Callable[[], Array]) -> Callable[[], Array]:
    """A column that is made when it is first asked for, and kept."""
    kept: list[Array] = []

    def get() -> Array:
        if not kept:
            kept.append(make())
        return kept[0]

    return get
