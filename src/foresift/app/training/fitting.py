"""Training itself: the whole network or its head, and the generation folder that comes of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from foresift.app.generations.descent import other_target, register
from foresift.app.models.adopting import UNTRAINED
from foresift.app.models.opening import Model, open_model
from foresift.app.passes.stored import PassOptions, predict_pool
from foresift.app.pools import open_pool, relabeled
from foresift.app.training.images import LabeledImages, labeled_images
from foresift.app.training.keeping import held, save
from foresift.app.training.request import Trained, TrainRequest, started_from, work_folder
from foresift.app.training.starting import Start, start_of, with_defaults
from foresift.app.workspace import Workspace
from foresift.core.arrays import Embeddings
from foresift.core.errors import LabelError, MissingExtraError, QuarantineError, UsageError
from foresift.core.generations import CHECKPOINTS
from foresift.core.samples import Pool, Quarantined
from foresift.stores.files import disk_errors
from foresift.stores.generations import is_generation
from foresift.stores.subsets import read_subset

try:
    from foresift.models import head_logits, replace_head, require_linear_head, save_generation, with_loss_prediction
    from foresift.models.loss_prediction import PART as LOSS_PREDICTION
    from foresift.models.registry import pretrained_head_is_kept, split_dropout
    from foresift.training import ArrayImages, Recipe, evaluate, fit_head
    from foresift.training import train as train_network
    from foresift.training.checkpoints import kept_epochs
except ImportError as error:  # pragma: no cover - only without the extra
    raise MissingExtraError("training", "vision") from error

if TYPE_CHECKING:
    from torch import nn

COMPLETE = "this very generation was complete already; nothing was trained"


def fit(workspace: Workspace, data: str | Path, request: TrainRequest, *, stdin: Iterable[str] | None) -> Trained:
    """The generation of a request that makes sense; see :func:`foresift.app.training.train.train`."""
    asked = Recipe.from_dict(request.recipe)
    whole = relabeled(open_pool(workspace, data, progress=request.progress, stdin=stdin), request.labels)
    pool = whole if request.subset is None else read_subset(request.subset).within(whole)
    start = start_of(workspace, pool, request, head=asked.train == "head")
    if asked.train == "head":
        trained = _train_head(workspace, pool, request, start, asked)
    else:
        trained = _train_all(workspace, pool, request, start, with_defaults(request, start))
    kept = register(workspace, trained, pool, request, parent=start.parent, whole=whole)
    return replace(trained, notes=(*trained.notes, *other_target(kept, request.heritage)))


def _train_all(workspace: Workspace, pool: Pool, request: TrainRequest, start: Start, recipe: Recipe) -> Trained:
    _refuse_broken(request, pool.quarantined)
    trainee, parts = _trainee(request, start, recipe)
    images = labeled_images(pool, start.classes, start.transform, progress=request.progress)
    val = _validation(workspace, request, start)
    held_out = () if val is None else (*val.pool.quarantined, *val.quarantined)
    quarantined = _distinct(*pool.quarantined, *images.quarantined, *held_out)
    _refuse_broken(request, quarantined)
    notes = _notes(pool, start)
    record = _record(request, start, images.pool, recipe, val=None if val is None else val.pool)
    if (known := held(workspace, request.out, record)) is not None:
        return Trained(generation=known, folder=request.out, quarantined=quarantined, notes=(*notes, COMPLETE))
    work = work_folder(request.out)
    with disk_errors(work):
        result = train_network(
            trainee,
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
    return Trained(
        generation=save(workspace, request.out, start.network, record, metrics, files=_kept_files(work), parts=parts),
        folder=request.out,
        quarantined=quarantined,
        notes=(*notes, *result.notes),
        resumed_from=result.resumed_from,
    )


def _trainee(request: TrainRequest, start: Start, recipe: Recipe) -> tuple[nn.Module, dict[str, nn.Module]]:
    """What is trained, and the parts of it that are kept beside the network."""
    if not recipe.loss_prediction:
        return start.network, {}
    watched = with_loss_prediction(start.network, size=start.transform.size, seed=request.seed)
    return watched, {LOSS_PREDICTION: watched.module}


def _train_head(workspace: Workspace, pool: Pool, request: TrainRequest, start: Start, recipe: Recipe) -> Trained:
    """A new last layer on stored embeddings of a frozen backbone."""
    require_linear_head(start.network, size=start.transform.size)
    backbone = start.parent or _store_backbone(workspace, start, request)
    frozen = replace(backbone, backbone_only=True)
    options = PassOptions(engine="torch", strict=request.strict, progress=request.progress)
    seen = _embedded(workspace, pool, frozen, start.classes, options)
    val = None
    if request.val is not None:
        held_out = open_pool(workspace, request.val, progress=request.progress)
        val = _embedded(workspace, held_out, frozen, start.classes, options)
    quarantined = _distinct(*seen.quarantined, *(() if val is None else val.quarantined))
    notes = _notes(pool, start)
    bare, _ = split_dropout(start.architecture.partition("+")[0])  # a head is fitted whole, nothing of it is dropped
    architecture = bare + ("" if recipe.head == "linear" else f"+{recipe.head}")
    headed = replace(start, architecture=architecture, parent=backbone)
    record = _record(request, headed, seen.pool, recipe, val=None if val is None else val.pool)
    if (known := held(workspace, request.out, record)) is not None:
        return Trained(generation=known, folder=request.out, quarantined=quarantined, notes=(*notes, COMPLETE))
    head = fit_head(seen.embeddings, seen.codes, classes=len(start.classes), head=recipe.head, seed=request.seed)
    network = replace_head(start.network, head)
    metrics = {} if val is None else {"val": evaluate(head_logits(network, val.embeddings), val.codes)}
    generation = save(workspace, request.out, network, record, metrics)
    return Trained(generation=generation, folder=request.out, quarantined=quarantined, notes=notes)


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


def _validation(workspace: Workspace, request: TrainRequest, start: Start) -> LabeledImages | None:
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


def _record(request: TrainRequest, start: Start, used: Pool, recipe: Recipe, *, val: Pool | None) -> dict[str, Any]:
    """What decides the weights, and is known before there are any."""
    counts = {start.classes.index(used.classes[c]): n for c, n in zip(*_counts(used), strict=True)}
    data = {
        "pool": used.name,
        "version": used.version,
        "labeled": len(used),
        "per_class": [counts.get(code, 0) for code in range(len(start.classes))],
    }
    if request.subset is not None:
        data["subset"] = read_subset(request.subset).hash
    if val is not None:
        data["val"] = {"pool": val.name, "version": val.version, "labeled": len(val)}
    return {
        "architecture": start.architecture,
        "classes": start.classes,
        "transform": start.transform,
        "parent": None if start.parent is None else start.parent.generation.id,
        "data": data,
        "recipe": {**recipe.to_dict(), "start": started_from(request)},
        "seed": request.seed,
    }


def _counts(pool: Pool) -> tuple[list[int], list[int]]:
    codes, counts = np.unique(pool.codes[pool.labeled], return_counts=True)
    return codes.tolist(), counts.tolist()


def _store_backbone(workspace: Workspace, start: Start, request: TrainRequest) -> Model:
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


def _backbone_recipe(request: TrainRequest, start: Start) -> dict[str, Any]:
    recipe: dict[str, Any] = {"start": started_from(request), "train": "none"}
    if request.pretrained and not pretrained_head_is_kept(request.model, classes=len(start.classes)):
        recipe |= UNTRAINED
    return recipe


def _kept_files(work: Path) -> dict[str, Path]:
    """The log and any kept checkpoints of a finished run, by where they belong in the generation."""
    kept = {path.name: path for path in work.glob("metrics.csv")}
    return kept | {f"{CHECKPOINTS}/{path.name}": path for path in kept_epochs(work)}


def _notes(pool: Pool, start: Start) -> tuple[str, ...]:
    parent = start.parent
    begun = () if parent is None else (f"starting from generation {parent.generation.id[:12]} ({parent.folder})",)
    return (*begun, *pool.notes, *map(str, pool.conflicts))


def _distinct(*broken: Quarantined) -> tuple[Quarantined, ...]:
    """Each broken file once, also where training and validation images overlap."""
    return tuple(dict.fromkeys(broken))


def _refuse_broken(request: TrainRequest, broken: tuple[Quarantined, ...]) -> None:
    if request.strict and broken:
        raise QuarantineError(f"--strict: {broken[0].uri}: {broken[0].reason}")
