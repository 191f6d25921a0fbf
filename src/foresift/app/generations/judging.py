"""Which of two generations is better on the same labeled images: the gate of promotions, here and at a server."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from foresift.app.passes.stored import PassOptions
from foresift.app.pools import open_pool, relabeled
from foresift.app.training.evaluating import evaluate
from foresift.app.workspace import Workspace
from foresift.core.errors import DataError, ForesiftError, ModelError, NotBetterError
from foresift.core.samples import Pool
from foresift.lineage.promotion import Duel, duel
from foresift.stores.generations import displaced, is_generation

NOT_COMPARED = "nothing was compared: no labeled images were named"


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationSet:
    """Labeled images that decide."""

    data: str
    labels: Path | None = None
    """A file that says their labels; None = they say them."""
    name: str = ""
    """What records call them; "" = where they lie."""
    split: str = ""
    """Of images with masks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """One of two generations."""

    generation: str
    """Its id."""
    folder: Path | None
    """None = nobody knows where it lies."""


def judge(
    workspace: Workspace, new: Contender, holder: Contender | None, on: EvaluationSet, *, options: PassOptions
) -> tuple[dict[str, Any], ForesiftError | None]:
    """What labeled images say of a new generation, and why it must not take the place of another one.

    It may if the whole 95 % interval of the paired difference of accuracies lies above 0.

    Args:
        holder: of the place; None = it is free.
    Returns:
        Name and version of the images, the accuracy and the comparison, as far as they could be measured; None or
        :class:`NotBetterError` or why something could not be measured.
    Raises:
        DataError: no images there.
    """
    pool = relabeled(open_pool(workspace, on.data), on.labels)
    told: dict[str, Any] = {"name": on.name or pool.name, "version": pool.version}
    try:
        mine = _right(workspace, on, pool, folder_there(new), options)
        told |= {"n": len(mine), "accuracy": float(np.mean(list(mine.values())))}
        if holder is None:
            return told, None
        theirs = _right(workspace, on, pool, folder_there(holder), options)
        found = _compared(mine, theirs)
    except ForesiftError as error:
        return told, error
    told |= {"compared_with": holder.generation, **asdict(found), "difference": found.difference}
    if found.beats:
        return told, None
    beaten = f"generation {new.generation[:12]} does not beat {holder.generation[:12]}"
    return told, NotBetterError(f"{beaten}: {sentence(found, told)}")


def sentence(found: Duel, told: dict[str, Any]) -> str:
    """The comparison in words."""
    return (
        f"{found.difference:+.1%} on {told['name']} (95 % interval {found.low:+.1%} to {found.high:+.1%}; "
        f"of {found.n:,} images {found.won} are right only now and {found.lost} were only before; "
        f"McNemar p = {found.p:.3g}); more images narrow the interval, --force promotes it and records that"
    )


def _compared(mine: dict[Any, bool], theirs: dict[Any, bool]) -> Duel:
    both = sorted(mine.keys() & theirs.keys(), key=str)
    if not both:
        raise DataError("the two models share no image that both can read")
    return duel(_flags(mine, both), _flags(theirs, both))


def _flags(right: dict[Any, bool], samples: list[Any]) -> npt.NDArray[np.bool_]:
    return np.array([right[one] for one in samples], dtype=np.bool_)


def folder_there(one: Contender) -> Path:
    """Where a generation lies.

    Raises:
        ModelError: it is gone, or another one has taken its place.
    """
    taken = "" if one.folder is None else displaced(one.folder, one.generation)
    if one.folder is not None and is_generation(one.folder) and not taken:
        return one.folder
    lay = f" ({taken or one.folder})" if one.folder is not None else ""
    raise ModelError(
        f"generation {one.generation[:12]}, which is to be beaten, is gone{lay}: bring it back, or promote without a "
        "comparison with --force"
    )


def _right(workspace: Workspace, on: EvaluationSet, pool: Pool, folder: Path, options: PassOptions) -> dict[Any, bool]:
    """Whether a generation names the class of each labeled sample, by id; classes are compared by name."""
    found = evaluate(workspace, on.data, folder, labels=on.labels, options=options)
    predictions = found.result.predictions
    said = np.array(found.classes)[predictions.column("logits").argmax(axis=1)]
    truth = np.array(pool.classes)[pool.codes[pool.rows_of(predictions.sample_ids)]]
    return dict(zip(predictions.sample_ids.tolist(), (said == truth).tolist(), strict=True))
