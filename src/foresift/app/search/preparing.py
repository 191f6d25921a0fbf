"""What is settled before the first member of a search is trained: samples, sizes, who may be measured on."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from foresift.app.passes.committee import check_columns
from foresift.app.pools import open_pool, relabeled
from foresift.app.runs.pools import fifth
from foresift.app.search.file import SearchRequest
from foresift.app.training.starting import check_model
from foresift.app.workspace import Workspace
from foresift.core.errors import DataError, LabelError, UsageError
from foresift.core.protocols import Progress
from foresift.core.samples import Pool
from foresift.cycle.search import check_legal, check_outliers, counts_of, start_count
from foresift.stores.files import read_json, write_json

RECORD = "search.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """Everything that is settled before the first member is trained."""

    workspace: Workspace
    request: SearchRequest
    folder: Path
    data: str
    pool: Pool
    """What may be taken."""
    held: Pool
    """What is measured on."""
    counts: tuple[int, ...]
    passed: int
    """Largest scores that are passed over."""
    progress: Progress


def prepared(workspace: Workspace, request: SearchRequest, folder: Path, progress: Progress) -> Search:
    """A search that may begin: everything refused that can be without training.

    Raises:
        LabelError: unlabeled samples under a scheme or score that reads every label.
        UsageError: sizes, a score or a model that make no sense here.
        DataError: the data changed since the search in the folder began.
    """
    strategy = request.strategy
    check_columns(strategy)
    for name in (request.model, *request.transfer):
        check_model(workspace, name)
    whole = relabeled(open_pool(workspace, request.data, progress=progress), request.labels)
    whole = whole.take(~np.isin(whole.digests, [conflict.digest for conflict in whole.conflicts]))
    unlabeled = int((~whole.labeled).sum())
    check_legal(request.how.needs, what=f"scheme {request.scheme}", unlabeled=unlabeled, of=len(whole))
    check_legal(strategy.needs, what=f"score {strategy.name}", unlabeled=unlabeled, of=len(whole))
    _check_labels(whole, unlabeled)
    pool, held = _parted(workspace, whole, request, progress)
    counts = counts_of(request.sizes, len(pool))
    if request.how.grows:
        start_count(counts[0], request.start, len(pool))
    passed = check_outliers(request.outliers, n=len(pool), sizes=counts)
    if passed and not strategy.prefix:
        raise UsageError(f"outliers are the largest scores, and {strategy.name} does not rank by one; leave them out")
    _record(folder, request, pool, held)
    return Search(
        workspace=workspace,
        request=request,
        folder=folder,
        data=request.data,
        pool=pool,
        held=held,
        counts=counts,
        passed=passed,
        progress=progress,
    )


def _check_labels(pool: Pool, unlabeled: int) -> None:
    """Refuse data without labels: a search trains on labels, it buys none."""
    if not unlabeled:
        return
    raise LabelError(
        f"{pool.name}: {unlabeled:,} of {len(pool):,} samples have no label, and a search trains on what it takes; "
        "label them or leave them out, or buy labels round by round with foresift select --strategy mutual-information"
    )


def _parted(workspace: Workspace, whole: Pool, request: SearchRequest, progress: Progress) -> tuple[Pool, Pool]:
    """What may be taken and what is measured on; never a sample in both."""
    if request.evaluation is None:
        held = fifth(whole)
        if not held.any() or held.all():
            raise DataError(f"{whole.name} is too small to hold out a fifth of it; name a folder as evaluation")
        return whole.take(~held), whole.take(held)
    other = open_pool(workspace, request.evaluation, progress=progress)
    measured = other.take(other.labeled)
    if not len(measured):
        raise LabelError(f"evaluation {other.name} has no labels to measure with: give class folders or a manifest")
    return whole.take(~np.isin(whole.digests, measured.digests)), measured


def _record(folder: Path, request: SearchRequest, pool: Pool, held: Pool) -> None:
    """Remember what is searched, or see that it is the same as when the search began.

    Raises:
        DataError: samples or labels changed since.
    """
    said = {"request": request.digest, "pool": pool.version, "held": held.version, "settings": asdict(request)}
    if not (folder / RECORD).is_file():
        write_json(folder / RECORD, said)
        return
    known = read_json(folder / RECORD)
    if (known["pool"], known["held"]) != (pool.version, held.version):
        raise DataError(f"the data changed since the search in {folder} began; put them back, or choose another --out")
