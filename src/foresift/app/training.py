"""``foresift train``: a generation from labeled images."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from foresift.app.adopting import UNTRAINED
from foresift.app.images import LabeledImages, common_side, labeled_images
from foresift.app.passes import Model, PassOptions, open_model, predict_pool
from foresift.app.pools import open_pool, relabeled
from foresift.app.workspace import Workspace
from foresift.core.arrays import Embeddings
from foresift.core.errors import (
    LabelError,
    MissingExtraError,
    ModelError,
    QuarantineError,
    UnknownNameError,
    UsageError,
)
from foresift.core.generations import Generation, Transform
from foresift.core.protocols import Progress, Silent
from foresift.core.samples import Pool, Quarantined
from foresift.stores.files import disk_errors
from foresift.stores.generations import is_generation

try:
    from foresift.models import build, canonical, replace_head, require_linear_head, save_generation
    from foresift.models import weights as weight_files
    from foresift.models.registry import ARCHITECTURES, CUSTOM, pretrained_head_is_kept, pretrained_transform
    from foresift.training import ArrayImages, Recipe, evaluate, fit_head
    from foresift.training import train as train_network
except ImportError as error:  # pragma: no cover - only without the extra
    raise MissingExtraError("training", "vision") from error

if TYPE_CHECKING:
    from torch import nn

DEFAULT_SIZE = 224
_OWN_DEFAULT_SIZE = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainRequest:
    """What to train; names follow the command line."""

    model: str
    """An architecture, or a generation to start from; ``custom`` for a module of the user's own."""
    out: Path
    module: nn.Module | None = None
    """The user's own network for ``custom``, its last layer as wide as there are classes; trained in place."""
    labels: Path | None = None
    val: str | None = None
    image_size: int | None = None
    classes: tuple[str, ...] = ()
    """Class names in order; by default the sorted labels."""
    weights: Path | None = None
    """A state dict to start from: ``.safetensors``, or ``.pt`` of plain tensors."""
    pretrained: bool = False
    """Start from timm's published weights."""
    recipe: dict[str, Any] = field(default_factory=dict)
    """Fields of :class:`foresift.training.Recipe` that were asked for; others get defaults."""
    seed: int = 0
    progress: Progress = field(default_factory=Silent)
    strict: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """A new generation and what happened on the way."""

    generation: Generation
    folder: Path
    quarantined: tuple[Quarantined, ...] = ()
    notes: tuple[str, ...] = ()
    resumed_from: int = 0
    """Epochs that an earlier, interrupted call had done."""


@dataclass(frozen=True, slots=True)
class _Start:
    """Where training starts from."""

    architecture: str
    classes: tuple[str, ...]
    transform: Transform
    network: nn.Module
    parent: Model | None


def train(
    workspace: Workspace, data: str | Path, request: TrainRequest, *, stdin: Iterable[str] | None = None
) -> Trained:
    """Train on the labeled samples of a pool and write the generation folder ``request.out``.

    An interrupted call, repeated, continues after its last whole epoch; its working files
    lie beside the folder until the generation is complete.

    Raises:
        UsageError: options that make no sense together; nothing was done.
        LabelError: no labels, fewer than two classes, or labels that the model does not know.
        ModelError: the folder is taken, or the weights do not fit.
    """
    _refuse_taken(request.out)
    asked = Recipe.from_dict(request.recipe)
    parent = _parent(workspace, request)
    pool = relabeled(open_pool(workspace, data, progress=request.progress, stdin=stdin), request.labels)
    classes = _classes(pool, request, parent, head=asked.train == "head")
    start = _start(pool, request, parent, classes)
    if asked.train == "head":
        return _train_head(workspace, pool, request, start, asked)
    return _train_all(workspace, pool, request, start, _with_defaults(request, start))


def _refuse_taken(out: Path) -> None:
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    what = "is a file" if not out.is_dir() else "holds other files"
    if is_generation(out):
        work = _work_folder(out)
        what = "holds a generation already" + (f" ({work} is left over from it)" if work.is_dir() else "")
    raise ModelError(f"{out} {what}; choose a new folder (nothing was overwritten)")


def _work_folder(out: Path) -> Path:
    """Where an unfinished run keeps its checkpoints."""
    return out.with_name(out.name + ".training")


def _train_all(workspace: Workspace, pool: Pool, request: TrainRequest, start: _Start, recipe: Recipe) -> Trained:
    _refuse_broken(request, pool.quarantined)
    images = labeled_images(pool, start.classes, start.transform, progress=request.progress)
    val = _validation(workspace, request, start)
    quarantined = _distinct(
        *pool.quarantined, *images.quarantined, *(() if val is None else (*val.pool.quarantined, *val.quarantined))
    )
    _refuse_broken(request, quarantined)
    work = _work_folder(request.out)
    with disk_errors(work):
        result = train_network(
            start.network,
            _as_training(images),
            images.codes,
            recipe=recipe,
            seed=request.seed,
            folder=work,
            val=None if val is None else (_as_training(val), val.codes),
            progress=request.progress,
        )
    metrics: dict[str, Any] = {"last_epoch": dict(result.metrics)}
    if val is not None:
        metrics["val"] = evaluate(_network_logits(start.network, val), val.codes)
    generation = _save(request, start, images.pool, recipe, metrics, files=_kept_files(work))
    workspace.note_generation(generation, request.out)
    with disk_errors(work):
        shutil.rmtree(work)
    return Trained(
        generation=generation,
        folder=request.out,
        quarantined=quarantined,
        notes=(*_notes(pool, start), *result.notes),
        resumed_from=result.resumed_from,
    )


def _train_head(workspace: Workspace, pool: Pool, request: TrainRequest, start: _Start, recipe: Recipe) -> Trained:
    """A new last layer on stored embeddings of a frozen backbone."""
    require_linear_head(start.network, size=start.transform.size)
    backbone = start.parent or _store_backbone(workspace, start, request)
    frozen = replace(backbone, backbone_only=True)
    options = PassOptions(engine="torch", strict=request.strict, progress=request.progress)
    seen = _embedded(workspace, pool, frozen, start.classes, options)
    head = fit_head(seen.embeddings, seen.codes, classes=len(start.classes), head=recipe.head, seed=request.seed)
    network = replace_head(start.network, head)
    tail = "" if recipe.head == "linear" else f"+{recipe.head}"
    finished = replace(
        start, architecture=start.architecture.partition("+")[0] + tail, network=network, parent=backbone
    )
    metrics: dict[str, Any] = {}
    quarantined = seen.quarantined
    if request.val is not None:
        from foresift.models import head_logits

        held_out = open_pool(workspace, request.val, progress=request.progress)
        val = _embedded(workspace, held_out, frozen, start.classes, options)
        metrics["val"] = evaluate(head_logits(network, val.embeddings), val.codes)
        quarantined = _distinct(*quarantined, *val.quarantined)
    generation = _save(request, finished, seen.pool, recipe, metrics)
    workspace.note_generation(generation, request.out)
    return Trained(
        generation=generation,
        folder=request.out,
        quarantined=quarantined,
        notes=_notes(pool, start),
    )


@dataclass(frozen=True, slots=True)
class _Embedded:
    """The labeled samples of a pool that can be decoded."""

    pool: Pool
    """n rows."""
    embeddings: Embeddings
    codes: npt.NDArray[np.int64]
    """(n,) indices into the classes asked for."""
    quarantined: tuple[Quarantined, ...]


def _embedded(
    workspace: Workspace, pool: Pool, model: Model, classes: tuple[str, ...], options: PassOptions
) -> _Embedded:
    some = pool.take(pool.labeled)
    if not len(some):
        raise LabelError(f"{pool.name} has no labels: give class folders, a manifest with labels, or --labels FILE")
    index = {name: code for code, name in enumerate(classes)}
    if unknown := sorted({name for name in some.classes if name not in index}):
        raise LabelError(f"labels {', '.join(unknown[:5])} are none of the classes {', '.join(classes[:10])}")
    result = predict_pool(workspace, some, model, columns=("embeddings",), options=options)
    usable = some.take(some.rows_of(result.predictions.sample_ids))  # both in ascending order of id
    codes = np.array([index[some.classes[code]] for code in usable.codes.tolist()], dtype=np.int64)
    return _Embedded(usable, result.predictions.column("embeddings"), codes, result.quarantined)


def _parent(workspace: Workspace, request: TrainRequest) -> Model | None:
    """The generation to start from, if ``--model`` names one rather than an architecture."""
    if request.module is not None:
        return None
    if _names_generation(request.model):
        if request.weights or request.pretrained:
            raise UsageError("--weights and --pretrained start from an architecture, not from a generation")
        return open_model(workspace, request.model)
    if request.weights and request.pretrained:
        raise UsageError("--weights and --pretrained exclude each other")
    return None


def _names_generation(model: str) -> bool:
    """Whether ``--model`` is a folder or id; a name of both a folder and an architecture is the architecture's.

    Raises:
        UnknownNameError: neither; told before any image is read.
    """
    if os.sep in model:
        return True
    try:
        canonical(model)
    except UnknownNameError:
        if _looks_like_id(model) or Path(model).is_dir():
            return True
        raise
    return False


def _looks_like_id(text: str) -> bool:
    return len(text) >= 8 and all(c in "0123456789abcdef" for c in text)


def _classes(pool: Pool, request: TrainRequest, parent: Model | None, *, head: bool) -> tuple[str, ...]:
    used = tuple(pool.classes[code] for code in np.unique(pool.codes[pool.labeled]).tolist())
    if parent is not None and not head:
        known = parent.generation.classes
        if request.classes and request.classes != known:
            raise UsageError(
                f"--classes differs from the classes of {request.model}; use --train head for other classes"
            )
        if extra := [name for name in used if name not in known]:
            raise LabelError(
                f"labels {', '.join(extra[:5])} are none of the classes of {request.model} ({', '.join(known[:10])}); "
                "train a new head with --train head, or another model"
            )
        return known
    classes = request.classes or used
    if len(classes) < 2:
        have = f"only {used[0]!r}" if used else "none"
        raise LabelError(f"training needs labels of at least 2 classes, {pool.name} has {have}; give more or --classes")
    return classes


def _start(pool: Pool, request: TrainRequest, parent: Model | None, classes: tuple[str, ...]) -> _Start:
    if parent is not None:
        if request.image_size not in (None, parent.generation.transform.size):
            raise UsageError(
                f"{request.model} was trained at {parent.generation.transform.size} px; leave --image-size out"
            )
        network = parent.network()
        return _Start(parent.generation.architecture, classes, parent.generation.transform, network, parent)
    if request.module is not None:
        transform = Transform(size=request.image_size or common_side(pool) or DEFAULT_SIZE)
        return _Start(CUSTOM, classes, transform, request.module, None)
    transform = _first_transform(pool, request)
    network = build(
        request.model, classes=len(classes), image_size=transform.size, pretrained=request.pretrained, seed=request.seed
    )
    if request.weights is not None:
        weight_files.load(network, request.weights)
    return _Start(canonical(request.model), classes, transform, network, None)


def _first_transform(pool: Pool, request: TrainRequest) -> Transform:
    if not request.pretrained:
        return Transform(size=request.image_size or _default_size(request.model, pool))
    published = pretrained_transform(request.model)
    return replace(published, size=request.image_size or published.size)


def _default_size(model: str, pool: Pool) -> int:
    """Small square images keep their size in our small networks; everything else is 224 px."""
    if canonical(model).partition("+")[0].partition(":")[0] not in ARCHITECTURES:
        return DEFAULT_SIZE
    return common_side(pool) or _OWN_DEFAULT_SIZE


def _with_defaults(request: TrainRequest, start: _Start) -> Recipe:
    """The recipe, its augmentation chosen by image size unless asked for."""
    size = start.transform.size
    augment = "shift" if size <= 16 else "flip-crop" if size <= 96 else "random-resized-crop"
    return Recipe.from_dict({"augment": augment, **request.recipe})


def _validation(workspace: Workspace, request: TrainRequest, start: _Start) -> LabeledImages | None:
    if request.val is None:
        return None
    pool = open_pool(workspace, request.val, progress=request.progress)
    return labeled_images(pool, start.classes, start.transform, progress=request.progress)


def _as_training(images: LabeledImages) -> ArrayImages:
    if images.pixels is not None:
        return ArrayImages.from_array(images.pixels, images.transform, identity=images.pool.version)
    return ArrayImages(images.load, len(images.pool), images.transform, identity=images.pool.version)


def _network_logits(network: nn.Module, images: LabeledImages, *, batch: int = 64) -> Any:
    from foresift.engines import make_engine
    from foresift.models import ScoringModule

    engine = make_engine("torch", ScoringModule(network, images.transform), size=images.transform.size, batch=batch)
    rows = range(len(images.pool))
    parts = [
        engine(np.stack([images.load(row) for row in rows[start : start + batch]])).logits
        for start in range(0, len(rows), batch)
    ]
    return np.concatenate(parts)


def _save(
    request: TrainRequest,
    start: _Start,
    used: Pool,
    recipe: Recipe,
    metrics: dict[str, Any],
    *,
    files: Mapping[str, Path] | None = None,
) -> Generation:
    counts = {start.classes.index(used.classes[c]): n for c, n in zip(*_counts(used), strict=True)}
    with disk_errors(request.out):
        return save_generation(
            request.out,
            start.network,
            architecture=start.architecture,
            classes=start.classes,
            transform=start.transform,
            parent=None if start.parent is None else start.parent.generation.id,
            data={
                "pool": used.name,
                "version": used.version,
                "labeled": len(used),
                "per_class": [counts.get(code, 0) for code in range(len(start.classes))],
            },
            recipe={**recipe.to_dict(), "start": _started_from(request)},
            seed=request.seed,
            metrics=metrics,
            files=files,
        )


def _started_from(request: TrainRequest) -> str:
    if request.weights is not None:
        return f"weights file {request.weights.name}"
    return "published weights" if request.pretrained else request.model


def _counts(pool: Pool) -> tuple[list[int], list[int]]:
    codes, counts = np.unique(pool.codes[pool.labeled], return_counts=True)
    return codes.tolist(), counts.tolist()


def _store_backbone(workspace: Workspace, start: _Start, request: TrainRequest) -> Model:
    """The starting network as a generation of its own, so that its embeddings can be kept."""
    if not request.pretrained and request.weights is None:
        raise UsageError(
            f"--train head needs a trained backbone, and {request.model} is an untrained architecture: "
            "give a generation folder as --model, or --weights FILE, or --pretrained"
        )
    from foresift.models.generations import backbone_digest

    digest = backbone_digest(start.network, architecture=start.architecture)
    name = f"{start.architecture.replace(':', '-')}-{digest[:12]}-{start.transform.digest[:8]}"
    folder = workspace.home / "backbones" / name
    if not is_generation(folder):
        save_generation(
            folder,
            start.network,
            architecture=start.architecture,
            classes=start.classes,
            transform=start.transform,
            recipe=_backbone_recipe(request, start),
        )
    return open_model(workspace, folder)


def _backbone_recipe(request: TrainRequest, start: _Start) -> dict[str, Any]:
    recipe: dict[str, Any] = {"start": _started_from(request), "train": "none"}
    if request.pretrained and not pretrained_head_is_kept(request.model, classes=len(start.classes)):
        recipe |= UNTRAINED
    return recipe


def _kept_files(work: Path) -> dict[str, Path]:
    """The log and any kept checkpoints of a finished run, by where they belong in the generation."""
    kept = {path.name: path for path in work.glob("metrics.csv")}
    return kept | {f"checkpoints/{path.name}": path for path in sorted(work.glob("epoch-*.ckpt"))}


def _notes(pool: Pool, start: _Start) -> tuple[str, ...]:
    parent = start.parent
    begun = () if parent is None else (f"starting from generation {parent.generation.id[:12]} ({parent.folder})",)
    return (*begun, *pool.notes, *map(str, pool.conflicts))


def _distinct(*broken: Quarantined) -> tuple[Quarantined, ...]:
    """Each broken file once, also where training and validation images overlap."""
    return tuple(dict.fromkeys(broken))


def _refuse_broken(request: TrainRequest, broken: tuple[Quarantined, ...]) -> None:
    if request.strict and broken:
        raise QuarantineError(f"--strict: {broken[0].uri}: {broken[0].reason}")
