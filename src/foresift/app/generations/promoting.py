"""``foresift generations promote``: aliases move to a generation that beats their holder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foresift.app.generations.descent import find, folder_of, known
from foresift.app.generations.judging import Contender, EvaluationSet, judge
from foresift.app.passes.stored import PassOptions
from foresift.app.pixels.judging import judge_masks
from foresift.app.workspace import Workspace
from foresift.core.errors import ForesiftError, ModelError, NotBetterError, StaleError, UsageError
from foresift.core.lineage import ALIASES, Descent
from foresift.core.times import utc_now
from foresift.stores.generations import read_any

DEPLOYED, CANDIDATE = ALIASES


@dataclass(frozen=True, slots=True, kw_only=True)
class PromoteRequest:
    """Who gets which alias, and by what evidence."""

    generation: str
    alias: str = DEPLOYED
    data: str = ""
    """The evaluation set, labeled."""
    labels: Path | None = None
    split: str = ""
    """Of images with masks."""
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
    """Name and version of the evaluation set, the accuracy or mIoU on it, the comparison or why there is none."""


def promote(workspace: Workspace, request: PromoteRequest, *, options: PassOptions | None = None) -> Promoted:
    """Give an alias to a generation; ``deployed`` only if it beats the one that is deployed.

    Where the evaluation set can't compare it with the one that has another alias, that is noted as ``not_compared``.
    It beats it if the whole 95 % interval of the paired difference of accuracies lies above 0, of segmentation
    models that of their mean intersections over union.

    Raises:
        UsageError: there is something to beat, and no evaluation set; or an option of the other kind of model.
        NotBetterError: it does not beat it; nothing changed.
        ModelError: one of both was deleted, or its folder holds another one; nothing changed.
        StaleError: somebody else promoted meanwhile.
    """
    descent = find(workspace, request.generation)
    read_any(folder_of(descent))
    _refuse_foreign(request, descent)
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
    held = known(workspace).get(before, Descent(generation=before, folder="")) if before else None
    foreign: ForesiftError | None = None
    if held is not None and held.record and held.has_masks != descent.has_masks:
        foreign = _incomparable(descent, held, request.alias)
        if gated:
            return None, foreign
        held = None
    new, holder = _contender(descent), None if held is None else _contender(held)
    on = EvaluationSet(data=request.data, labels=request.labels, name=request.name, split=request.split)
    if descent.has_masks:
        told, problem = judge_masks(new, holder, on, progress=options.progress)
    else:
        told, problem = judge(workspace, new, holder, on, options=options)
    if gated or "n" not in told:
        return told, problem
    untold = foreign or (None if isinstance(problem, NotBetterError) else problem)
    return told | ({} if untold is None else {"not_compared": str(untold)}), None


def _refuse_foreign(request: PromoteRequest, descent: Descent) -> None:
    """Raise :class:`UsageError` for an option that only the other kind of model takes."""
    if descent.has_masks and request.labels is not None:
        raise UsageError("--labels names classes, and masks lie beside their images; leave it out")
    if request.split and not descent.has_masks:
        raise UsageError("--split is for segmentation models; leave it out")


def _incomparable(descent: Descent, held: Descent, alias: str) -> ModelError:
    kinds = ["a segmentation model" if one.has_masks else "a classifier" for one in (descent, held)]
    return ModelError(
        f"generation {descent.generation[:12]} is {kinds[0]} and {held.generation[:12]}, which is {alias}, {kinds[1]}"
        ": no image compares them; --force promotes it all the same"
    )


def _contender(descent: Descent) -> Contender:
    return Contender(generation=descent.generation, folder=Path(descent.folder) if descent.folder else None)
