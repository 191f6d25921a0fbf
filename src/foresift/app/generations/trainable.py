"""What can be trained on parts of the labels at hand: a network from its own start, a head on a frozen backbone."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from foresift.app.models.opening import Model
from foresift.app.passes.stored import PassOptions, predict_pool
from foresift.app.training.images import LabeledImages, labeled_images
from foresift.app.training.starting import default_size
from foresift.app.workspace import Workspace
from foresift.core.arrays import Logits, Rows
from foresift.core.errors import MissingExtraError, UsageError
from foresift.core.generations import Transform
from foresift.core.protocols import Progress
from foresift.core.samples import Pool

try:
    from foresift.engines import make_engine
    from foresift.models import ScoringModule, build
    from foresift.models.registry import canonical
    from foresift.training import ArrayImages, Recipe, fit_head
    from foresift.training import train as train_network
except ImportError as error:  # pragma: no cover - only without the extra
    raise MissingExtraError("suitability", "vision") from error

Codes = npt.NDArray[np.int64]
PUBLISHED = "published weights"


class Trainable(Protocol):
    """A model that can be trained on some of the labeled samples."""

    @property
    def name(self) -> str:
        """How it is spoken of."""
        ...

    def logits(self, rows: Rows, *, seed: int) -> Logits:
        """(m, c) of all labeled samples, by a model that learned from ``rows`` of them."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Whole:
    """A network trained from its own start."""

    name: str
    architecture: str
    images: LabeledImages
    classes: int
    recipe: Recipe
    pretrained: bool

    def logits(self, rows: Rows, *, seed: int) -> Logits:
        size = self.images.transform.size
        network = build(self.architecture, classes=self.classes, image_size=size, pretrained=self.pretrained, seed=seed)
        some = ArrayImages(lambda at: self.images.load(int(rows[at])), len(rows), self.images.transform)
        with tempfile.TemporaryDirectory(prefix="foresift-suitability-") as scratch:
            train_network(network, some, self.images.codes[rows], recipe=self.recipe, seed=seed, folder=Path(scratch))
        engine = make_engine("torch", ScoringModule(network, self.images.transform), size=size, batch=64)
        every = range(len(self.images.codes))
        parts = [
            engine(np.stack([self.images.load(row) for row in every[start : start + 64]])).logits
            for start in range(0, len(every), 64)
        ]
        return np.concatenate(parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Head:
    """A head on a frozen backbone, whose embeddings are inferred once."""

    name: str
    embeddings: npt.NDArray[np.float32]
    codes: Codes
    classes: int
    head: str

    def logits(self, rows: Rows, *, seed: int) -> Logits:
        import torch

        fitted = fit_head(self.embeddings[rows], self.codes[rows], classes=self.classes, head=self.head, seed=seed)
        with torch.inference_mode():
            found: Logits = fitted(torch.from_numpy(self.embeddings)).float().numpy()
        return found


def codes_of(pool: Pool, classes: Sequence[str]) -> Codes:
    """(n,) the class of every sample of a pool whose samples are all labeled, as its place in ``classes``."""
    at = {name: code for code, name in enumerate(classes)}
    return np.array([at[pool.classes[code]] for code in pool.codes.tolist()], dtype=np.int64)


def trainable(
    workspace: Workspace,
    spec: str,
    model: Model | None,
    pool: Pool,
    classes: tuple[str, ...],
    *,
    changes: Mapping[str, Any],
    progress: Progress,
) -> Trainable:
    """What can be trained; a generation as its own recipe says, from its architecture's start.

    Args:
        model: the generation; None = ``spec`` is an architecture.
        changes: of the recipe.
    Raises:
        UsageError: a labeled image can't be decoded.
    """
    if model is None:
        transform = Transform(size=default_size(spec, pool))
        return _whole(
            canonical(spec), canonical(spec), transform, Recipe.from_dict(dict(changes)), pool, classes, progress
        )
    record = model.generation
    name = f"{record.architecture} {record.id[:8]}"
    if record.trained_head_only:
        return _head(workspace, name, model, pool, classes, progress)
    recipe = {key: value for key, value in record.recipe.items() if key != "start"}
    recipe |= {"loss_prediction": False, **changes}
    pretrained = record.recipe.get("start") == PUBLISHED
    return _whole(
        name,
        record.architecture,
        record.transform,
        Recipe.from_dict(recipe),
        pool,
        classes,
        progress,
        pretrained=pretrained,
    )


def _whole(
    name: str,
    architecture: str,
    transform: Transform,
    recipe: Recipe,
    pool: Pool,
    classes: tuple[str, ...],
    progress: Progress,
    *,
    pretrained: bool = False,
) -> _Whole:
    images = labeled_images(pool, classes, transform, progress=progress)
    _refuse_broken(images.pool, pool)
    return _Whole(
        name=name,
        architecture=architecture,
        images=images,
        classes=len(classes),
        recipe=recipe,
        pretrained=pretrained,
    )


def _head(
    workspace: Workspace,
    name: str,
    model: Model,
    pool: Pool,
    classes: tuple[str, ...],
    progress: Progress,
) -> _Head:
    frozen = replace(model, backbone_only=True)
    options = PassOptions(engine="torch", progress=progress)
    result = predict_pool(workspace, pool, frozen, columns=("embeddings",), options=options)
    usable = pool.take(pool.rows_of(result.predictions.sample_ids))
    _refuse_broken(usable, pool)
    order = usable.rows_of(pool.ids)
    return _Head(
        name=name,
        embeddings=np.asarray(result.predictions.column("embeddings"), dtype=np.float32)[order],
        codes=codes_of(pool, classes),
        classes=len(classes),
        head=str(model.generation.recipe.get("head", "linear")),
    )


def _refuse_broken(usable: Pool, pool: Pool) -> None:
    """Both models must be judged on the same images."""
    if len(usable) < len(pool):
        missing = np.setdiff1d(pool.ids, usable.ids)
        raise UsageError(
            f"{len(missing)} labeled images can't be decoded, such as {missing[0]}; leave them out of the labels"
        )
