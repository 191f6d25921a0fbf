"""``foresift generations promote``: aliases move to a generation that beats their holder."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from foresift.app.generations.descent import find, known
from foresift.app.passes.stored import PassOptions
from foresift.app.pools import open_pool, relabeled
from foresift.app.training.evaluating import evaluate
from foresift.app.workspace import Workspace
from foresift.core.errors import DataError, ForesiftError, ModelError, StaleError, UsageError
from foresift.core.lineage import ALIASES, Descent
from foresift.core.samples import Pool
from foresift.core.times import utc_now
from foresift.lineage.promotion import Duel, duel
from foresift.stores.generations import is_generation, read_generation

DEPLOYED, CANDIDATE = ALIASES


@dataclass(frozen=True, slots=True, kw_only=True)
class PromoteRequest:
    """Who gets which alias, and by what evidence."""

    generation: str
    alias: str = DEPLOYED
    data: str = ""
    """The evaluation set, labeled."""
    labels: Path | None = None
    name: str = ""
    """What the evaluation set is called; "" = where it lies."""
    force: bool = False
    """Promote whatever the comparison says; that is recorded."""

    def __post_init__(self) -> None:
        if self.alias not in ALIASES:
            raise UsageError(f"--as {self.alias}: expected {' or '.join(ALIASES)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Promoted:
    """What has been recorded."""

    generation: Descent
    alias: str
    before: str
    """Id of the generation that had the alias; "" = none."""
    forced: bool
    changed: bool
    """False where it had the alias already."""
    evaluation: dict[str, Any] | None = None
    """Name and version of the evaluation set, the accuracy on it, and the comparison."""


def promote(workspace: Workspace, request: PromoteRequest, *, options: PassOptions | None = None) -> Promoted:
    """Give an alias to a generation; ``deployed`` only if it beats the one that is deployed.

    It beats it if the whole 95 % interval of the paired difference of accuracies lies above 0.

    Raises:
        UsageError: there is something to beat, and no evaluation set.
        ModelError: it does not beat it, or one of both was deleted; nothing changed.
        StaleError: somebody else promoted meanwhile.
    """
    descent = find(workspace, request.generation)
    read_generation(Path(descent.folder))
    past = workspace.descents.alias(request.alias)
    before = str(past[-1]["generation"]) if past else ""
    if before == descent.generation:
        return Promoted(generation=descent, alias=request.alias, before=before, forced=False, changed=False)
    evaluation, problem = _judged(workspace, request, descent, before, options or PassOptions(engine="torch"))
    if problem is not None and not request.force:
        raise problem
    promotion = {
        "generation": descent.generation,
        "at": utc_now(),
        "before": before,
        "forced": problem is not None,
        "evaluation": evaluation,
        **({"reason": str(problem)} if problem is not None else {}),
    }
    if not workspace.descents.give_alias(request.alias, promotion, seen=len(past)):
        raise StaleError(f"somebody else made another generation {request.alias} meanwhile; look, and try again")
    return Promoted(
        generation=descent,
        alias=request.alias,
        before=before,
        forced=problem is not None,
        changed=True,
        evaluation=evaluation,
    )


def _judged(
    workspace: Workspace, request: PromoteRequest, descent: Descent, before: str, options: PassOptions
) -> tuple[dict[str, Any] | None, ForesiftError | None]:
    """What the evaluation set says, and what speaks against the promotion."""
    gated = request.alias == DEPLOYED and bool(before)
    if not request.data:
        needed = f"generation {before[:12]} is deployed; name labeled images to beat it on with --on DATA, or --force"
        return None, UsageError(needed) if gated else None
    pool = relabeled(open_pool(workspace, request.data), request.labels)
    told: dict[str, Any] = {"name": request.name or pool.name, "version": pool.version}
    try:
        mine = _right(workspace, request, pool, Path(descent.folder), options)
        told |= {"n": len(mine), "accuracy": float(np.mean(list(mine.values())))}
        if not before:
            return told, None
        theirs = _right(workspace, request, pool, _folder(workspace, before), options)
    except ForesiftError as error:
        return told, error
    found = _compared(mine, theirs)
    told |= {"compared_with": before, **asdict(found), "difference": found.difference}
    if found.beats or not gated:
        return told, None
    return told, ModelError(
        f"generation {descent.generation[:12]} does not beat {before[:12]}: {sentence(found, told)}"
    )


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


def _folder(workspace: Workspace, generation: str) -> Path:
    every = known(workspace)
    if generation not in every or not is_generation(Path(every[generation].folder)):
        lay = f" ({every[generation].folder})" if generation in every else ""
        raise ModelError(
            f"generation {generation[:12]}, which is to be beaten, is gone{lay}: bring it back, or promote without a "
            "comparison with --force"
        )
    return Path(every[generation].folder)


def _right(
    workspace: Workspace, request: PromoteRequest, pool: Pool, folder: Path, options: PassOptions
) -> dict[Any, bool]:
    """Whether a generation names the class of each labeled sample, by id; classes are compared by name."""
    found = evaluate(workspace, request.data, folder, labels=request.labels, options=options)
    predictions = found.result.predictions
    said = np.array(found.classes)[predictions.column("logits").argmax(axis=1)]
    truth = np.array(pool.classes)[pool.codes[pool.rows_of(predictions.sample_ids)]]
    return dict(zip(predictions.sample_ids.tolist(), (said == truth).tolist(), strict=True))
