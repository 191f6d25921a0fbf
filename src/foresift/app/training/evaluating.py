"""``foresift evaluate``: how good a generation is on labeled images."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from foresift.app.models.opening import require_head
from foresift.app.passes.committee import predict_together
from foresift.app.passes.predicting import open_speakers
from foresift.app.passes.stored import PassOptions, PassResult
from foresift.app.pools import open_pool, relabeled
from foresift.app.workspace import Workspace
from foresift.core.errors import LabelError

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluated:
    """Metrics of a model on the labeled samples of a pool."""

    metrics: dict[str, Any]
    classes: tuple[str, ...]
    result: PassResult
    notes: tuple[str, ...] = ()
    """What to know about the labels: conflicts between equal files are left out, for one."""


def evaluate(
    workspace: Workspace,
    data: str | Path,
    model: str | Path | Sequence[str | Path],
    *,
    checkpoints: str = "",
    labels: Path | None = None,
    options: PassOptions | None = None,
    stdin: Iterable[str] | None = None,
    module: nn.Module | None = None,
) -> Evaluated:
    """Top-1, top-5, per-class accuracy, calibration error and confusion matrix; predictions are kept.

    The reference engine is used unless another is asked for: a metric should not depend on it.

    Args:
        model: a generation folder or id, or an ensemble; of several members, their mean probability is measured.
        checkpoints: ``all`` or ``last=N``: the kept checkpoints of the models instead.
    Raises:
        LabelError: no labels, or labels that are no classes of the model.
        ModelError: the generation has no head.
    """
    options = options or PassOptions(engine="torch")
    models = open_speakers(workspace, model, checkpoints=checkpoints, module=module)
    require_head(models[0], "evaluate")
    pool = relabeled(open_pool(workspace, data, progress=options.progress, stdin=stdin), labels)
    some = pool.take(pool.labeled)
    if not len(some):
        raise LabelError(f"{pool.name} has no labels to compare with: give class folders or --labels FILE")
    classes = models[0].generation.classes
    codes = _codes(some.classes, classes, str(models[0].folder))
    result, _ = predict_together(workspace, some, models, names=("logits",), options=options)
    truth = codes[some.codes[some.rows_of(result.predictions.sample_ids)]]
    from foresift.training.metrics import evaluate as measure

    metrics = measure(result.predictions.column("logits"), truth)
    notes = (*pool.notes, *map(str, pool.conflicts), *result.notes)
    return Evaluated(metrics=metrics, classes=classes, result=result, notes=notes)


def _codes(used: tuple[str, ...], classes: tuple[str, ...], model: str) -> np.ndarray[Any, Any]:
    index = {name: code for code, name in enumerate(classes)}
    if unknown := [name for name in used if name not in index]:
        raise LabelError(
            f"labels {', '.join(unknown[:5])} are none of the {len(classes)} classes of {model} "
            f"({', '.join(classes[:10])}); evaluate on data with the same classes"
        )
    return np.array([index[name] for name in used], dtype=np.int64)
