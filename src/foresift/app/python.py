"""The Python API over files and folders; each function is one command of the command line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foresift.app.workspace import Workspace
from foresift.core.errors import UsageError
from foresift.core.generations import IMAGENET_MEAN, IMAGENET_STD, Generation, Transform
from foresift.core.predictions import Predictions
from foresift.core.queries import Selection

if TYPE_CHECKING:
    from torch import nn

    from foresift.app.selecting.explaining import Explanation

Where = str | Path


def train(
    data: Where,
    model: Where | nn.Module,
    out: Where,
    *,
    module: nn.Module | None = None,
    labels: Where | None = None,
    val: Where | None = None,
    classes: Sequence[str] = (),
    image_size: int | None = None,
    seed: int = 0,
    home: Where | None = None,
    recipe: dict[str, Any] | None = None,
) -> Generation:
    """Train on labeled images and write the generation folder ``out``; ``foresift train``.

    Args:
        data: a folder of images or a manifest.
        model: an architecture, a generation folder or id, or your own module (trained in place;
            its last layer must be as wide as there are classes).
        module: your own module, where ``model`` is a generation that was made from it: filled with the
            generation's weights and trained in place (a copy of it with ``"train": "head"``).
        recipe: fields of :class:`foresift.training.Recipe`, such as ``{"epochs": 30, "train": "head"}``.
    Raises:
        ForesiftError: as :func:`foresift.app.training.train.train`.
    """
    from foresift.app.training.request import TrainRequest
    from foresift.app.training.train import train as run

    if not isinstance(model, str | Path):
        if module is not None:
            raise UsageError("module= goes with the generation that it was made for as model, not with another module")
        module, model = model, "custom"
    request = TrainRequest(
        model=str(model),
        module=module,
        out=Path(out),
        labels=None if labels is None else Path(labels),
        val=None if val is None else str(val),
        classes=tuple(classes),
        image_size=image_size,
        seed=seed,
        recipe=dict(recipe or {}),
    )
    return run(Workspace.open(home), data, request).generation


def adopt(
    module: nn.Module,
    out: Where,
    *,
    classes: Sequence[str],
    image_size: int,
    mean: tuple[float, float, float] = IMAGENET_MEAN,
    std: tuple[float, float, float] = IMAGENET_STD,
    home: Where | None = None,
) -> Generation:
    """Write your own trained module as the generation folder ``out``.

    Pass the module again as ``module=`` to :func:`predict` and :func:`evaluate`: its code is
    yours and is not stored.

    Args:
        module: (b, 3, s, s) normalised images -> (b, c) logits.
        image_size: s, in pixels.
        mean, std: of the normalisation that the module was trained with, on values within [0, 1].
    """
    from foresift.app.models.adopting import adopt_module

    transform = Transform(size=image_size, mean=mean, std=std)
    return adopt_module(Workspace.open(home), module, classes=classes, transform=transform, out=Path(out))


def predict(
    pool: Where,
    model: Where | Sequence[Where],
    *,
    checkpoints: str = "",
    module: nn.Module | None = None,
    engine: str = "auto",
    home: Where | None = None,
) -> Predictions:
    """Logits (where the model has a head) and embeddings of a pool, inferred once and kept; ``foresift predict``.

    Several models give the column ``members`` too; their logits are the log of their mean probability, and the
    embeddings those of the first.

    Args:
        model: a generation folder or id, or an ensemble; several are the members of one.
        checkpoints: ``all`` or ``last=N``: the kept checkpoints of the models instead.
        module: your own module, for a generation that was made from one.
    Raises:
        ForesiftError: as :func:`foresift.app.passes.stored.predict_pool`.
    """
    from foresift.app.passes.predicting import predict_whole
    from foresift.app.passes.stored import PassOptions

    options = PassOptions(engine=engine)
    workspace = Workspace.open(home)
    return predict_whole(workspace, pool, model, checkpoints=checkpoints, options=options, module=module).predictions


def evaluate(
    data: Where,
    model: Where | Sequence[Where],
    *,
    checkpoints: str = "",
    module: nn.Module | None = None,
    labels: Where | None = None,
    home: Where | None = None,
) -> dict[str, Any]:
    """Accuracy, calibration and confusion of a generation on labeled images; ``foresift evaluate``.

    Args:
        model: a generation folder or id, or an ensemble; several are the members of one, measured together.
        checkpoints: ``all`` or ``last=N``: the kept checkpoints of the models instead.
    Raises:
        LabelError: no labels, or labels that are no classes of the model.
    """
    from foresift.app.training.evaluating import evaluate as run

    file = None if labels is None else Path(labels)
    return run(Workspace.open(home), data, model, checkpoints=checkpoints, labels=file, module=module).metrics


def replay(receipt: Where, *, home: Where | None = None) -> Selection:
    """Recompute a selection from its receipt; ``foresift replay``.

    Raises:
        ReplayError: what is missing or changed.
    """
    from foresift.app.selecting.receipts import replay as run

    return run(Workspace.open(home), receipt).selection


def explain(receipt: Where, sample: str, *, home: Where | None = None) -> Explanation:
    """Why a sample was chosen, or not; ``foresift explain``.

    Raises:
        UsageError: the pool of the receipt had no such sample.
    """
    from foresift.app.selecting.explaining import explain as run

    if not sample:
        raise UsageError("give the id or uri of a sample")
    return run(Workspace.open(home), receipt, sample)
