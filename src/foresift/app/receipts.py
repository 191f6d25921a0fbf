"""Receipts: kept, replayed to the same ids, and explained sample by sample."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from foresift.app.columns import spelled_pass, stored_column
from foresift.app.named_samples import find_sample
from foresift.app.passes import BACKBONE, Model, open_model, read_stored
from foresift.app.workspace import Workspace
from foresift.core.about import foresift_version
from foresift.core.arrays import Ids, Values
from foresift.core.digests import digest_bytes, digest_ids
from foresift.core.errors import DataError, ReplayError, StoreError, UsageError
from foresift.core.predictions import Column, Predictions, Producer
from foresift.core.queries import Query, Receipt, Selection
from foresift.core.samples import Quarantined
from foresift.kernels.softmax import softmax
from foresift.sources.read import fetch
from foresift.stores.files import read_json, write_json
from foresift.stores.generations import is_generation
from foresift.stores.pools import Snapshot, read_snapshot
from foresift.stores.tables import read_predictions
from foresift.strategies import Strategy, parse

NEIGHBOURS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """A receipt recomputed."""

    receipt: Receipt
    selection: Selection


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Why a sample was chosen, or not."""

    sample_id: Any
    """Empty for a quarantined file."""
    uri: str
    chosen: bool
    pick: int | None
    """Position in the selection, from 1; None if not chosen."""
    strategy: str
    score: float | None
    rank: int | None
    """Position by score among the candidates, from 1; None where the strategy does not rank."""
    n_candidates: int
    reason: str
    classes: tuple[tuple[str, float], ...] = ()
    """The most probable classes and their probabilities."""
    neighbours: tuple[Mapping[str, Any], ...] = ()
    """Candidates just above and below in rank."""


def keep_receipt(workspace: Workspace, receipt: Receipt) -> Path:
    """Write a receipt into the workspace under its id; returns the file."""
    path = workspace.receipts / f"{receipt.id}.json"
    write_json(path, {"id": receipt.id, **receipt.to_dict()})
    return path


def find_receipt(workspace: Workspace, spec: str | Path) -> Receipt:
    """A receipt by file, by the selection file beside which it lies, or by id (8 or more characters).

    Raises:
        UsageError: no such receipt.
        DataError: not a receipt, or changed since it was written.
    """
    path = Path(spec)
    if path.is_file():
        beside = path.with_name(path.name + ".receipt.json")
        return read_receipt(beside if beside.is_file() else path)
    found = sorted(workspace.receipts.glob(f"{spec}*.json")) if len(str(spec)) >= 8 and "/" not in str(spec) else []
    if len(found) == 1:
        return read_receipt(found[0])
    what = "is ambiguous" if found else "is neither a file nor the id of a receipt"
    raise UsageError(f"receipt {str(spec)!r} {what}; give the .receipt.json file or the id that select printed")


def read_receipt(path: Path) -> Receipt:
    """A receipt from a file.

    Raises:
        DataError: not a receipt, or its contents no longer match its id.
    """
    try:
        plain = read_json(path)
    except StoreError as error:
        raise DataError(f"not a receipt: {error}") from None
    if not isinstance(plain, dict) or "selected" not in plain:
        raise DataError(f"{path} is not a receipt; give the .receipt.json file that select wrote")
    receipt = Receipt.from_dict(plain)
    if not _intact(receipt, plain.get("id")):
        raise DataError(f"{path} was changed since it was written: its contents do not match its id")
    return receipt


def _intact(receipt: Receipt, written_id: object) -> bool:
    try:
        return written_id == receipt.id
    except ValueError:  # NaN, which no receipt is written with
        return False


def replay(workspace: Workspace, spec: str | Path) -> Replayed:
    """Recompute a selection from the store.

    Raises:
        ReplayError: what is missing or changed; else that the ids differ.
    """
    receipt = find_receipt(workspace, spec)
    scene = _restore(workspace, receipt)
    selection = scene.strategy.select(
        scene.predictions, budget=receipt.budget, labeled=scene.labeled, seed=receipt.seed
    )
    if selection.receipt.selected != receipt.selected:
        raise ReplayError(
            "the same columns gave other ids: the strategy itself changed "
            f"(receipt by foresift {receipt.foresift}, this is {foresift_version()})"
        )
    return Replayed(receipt=receipt, selection=selection)


def explain(workspace: Workspace, spec: str | Path, sample: str) -> Explanation:
    """Why this sample: pick, rank, score, probable classes, neighbours in rank.

    Args:
        sample: id, the beginning of one (6 or more characters), uri, or file name.
    Raises:
        ReplayError: as :func:`replay`.
        UsageError: the pool had no such sample.
    """
    receipt = find_receipt(workspace, spec)
    scene = _restore(workspace, receipt)
    query = scene.strategy.query(scene.predictions, budget=receipt.budget, labeled=scene.labeled)
    selection = scene.strategy.select(
        scene.predictions, budget=receipt.budget, labeled=scene.labeled, seed=receipt.seed
    )
    row = find_sample(scene.snapshot, sample)
    if isinstance(row, Quarantined):
        return _not_chosen("", row.uri, receipt, f"it was quarantined: {row.reason}")
    sample_id = scene.snapshot.ids[row]
    at = np.flatnonzero(query.ids == sample_id)
    if not at.size:
        reason = "it was labeled already when the selection was made"
        return _not_chosen(sample_id.item(), str(scene.snapshot.uris[row]), receipt, reason)
    return _explain_candidate(scene, row, int(at[0]), query, selection, receipt)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scene:
    """Everything a selection was made of."""

    strategy: Strategy
    snapshot: Snapshot
    predictions: Predictions
    labeled: Ids
    classes: tuple[str, ...]


def _restore(workspace: Workspace, receipt: Receipt) -> _Scene:
    strategy = parse(receipt.strategy)
    if "truth" in strategy.needs or "labels" in strategy.needs:
        raise ReplayError(f"strategy {strategy.name} read labels, which a receipt does not hold; select again")
    snapshot = read_snapshot(workspace.pools, str(receipt.pool.get("snapshot")))
    if snapshot is None:
        raise ReplayError(
            f"the pool version of this receipt is not in the workspace {workspace.home}; "
            "replay in the workspace (--home) where the selection was made"
        )
    labeled = snapshot.ids[snapshot.labeled]
    predictions = _columns(workspace, receipt, snapshot)
    used = list(receipt.producers)
    if predictions.digest(used) != receipt.pool.get("columns"):
        raise ReplayError(f"{', '.join(used) or 'the ids'} changed since the selection was made: the digests differ")
    if digest_ids(snapshot.ids[~snapshot.labeled]) != receipt.candidates:
        raise ReplayError("the candidates changed since the selection was made: their digests differ")
    return _Scene(
        strategy=strategy,
        snapshot=snapshot,
        predictions=predictions,
        labeled=labeled,
        classes=tuple(receipt.model.get("classes", ())),
    )


def _columns(workspace: Workspace, receipt: Receipt, snapshot: Snapshot) -> Predictions:
    if "file" in receipt.pool:
        return _from_file(Path(receipt.pool["file"]))
    columns = {
        name: Column(values=_stored(workspace, receipt, snapshot, name, producer), producer=producer)
        for name, producer in receipt.producers.items()
    }
    return Predictions(sample_ids=snapshot.ids, columns=columns, uris=snapshot.uris)


def _from_file(path: Path) -> Predictions:
    if not path.is_file():
        raise ReplayError(f"the predictions file {path} is gone; put it back to replay this receipt")
    return read_predictions(path)


def _stored(
    workspace: Workspace, receipt: Receipt, snapshot: Snapshot, name: str, producer: Producer
) -> npt.NDArray[Any]:
    stage_producer, model = _stage(workspace, receipt, producer)
    store = workspace.predictions()
    known = store.known(stage_producer)
    missing = np.flatnonzero(~np.isin(snapshot.digests, known))
    if missing.size:
        what = f"{missing.size} of {len(snapshot.digests)} predictions ({name}, {producer.engine} {producer.precision})"
        raise ReplayError(
            f"{what} are no longer in the store; {_advice(workspace, receipt, producer, snapshot, missing)}"
        )
    if (column := spelled_pass(producer.stage)) is not None:
        return stored_column(column, store.read(producer, snapshot.digests, columns=("embeddings",)))
    stored = read_stored(store, stage_producer, snapshot.digests, model, (name,))
    values = stored.logits if name == "logits" else stored.embeddings
    assert values is not None  # noqa: S101 - asked for in the line above
    return values


def _stage(workspace: Workspace, receipt: Receipt, producer: Producer) -> tuple[Producer, Model | None]:
    """Whose rows to read: logits of a head follow from its backbone's embeddings."""
    from dataclasses import replace

    if not producer.stage.startswith("head "):
        return producer, None
    model = open_model(workspace, receipt.model["folder"])
    if producer.stage != f"head {model.generation.weights}":
        raise ReplayError(f"{model.folder} holds another generation than the one that made this selection")
    return replace(producer, stage=BACKBONE), model


def _advice(
    workspace: Workspace, receipt: Receipt, producer: Producer, snapshot: Snapshot, missing: npt.NDArray[np.intp]
) -> str:
    """How to bring predictions back, or why that can't be done."""
    folder = Path(str(receipt.model.get("folder")))
    if not is_generation(folder):
        return f"and the model folder {folder} is gone: put generation {str(receipt.model.get('id'))[:12]} back"
    lost = [row for row in missing.tolist() if _content(str(snapshot.uris[row])) != snapshot.digests[row]]
    if lost:
        return f"and {len(lost)} of their images are gone or changed, first {snapshot.uris[lost[0]]}: put them back"
    return f"infer them again with: {_remedy(workspace, receipt, producer)}"


def _content(uri: str) -> str:
    try:
        return digest_bytes(fetch(uri))
    except DataError:
        return ""


def _remedy(workspace: Workspace, receipt: Receipt, producer: Producer) -> str:
    """The command that fills the store again; another engine or batch size could round otherwise."""
    pool = (_pool_argument(receipt), "--model", receipt.model.get("folder"))
    by_select = ("foresift", "select", *pool, "--strategy", receipt.strategy, "--budget", 1)
    words = [
        *(("foresift", "predict", *pool) if spelled_pass(producer.stage) is None else by_select),
        *("--engine", f"{producer.engine.partition('-')[0]}-{producer.precision}"),
        *("--batch", producer.batch, "--home", workspace.home),
    ]
    return shlex.join(map(str, words))


def _pool_argument(receipt: Receipt) -> object:
    """The pool as a command takes it; addresses that came on standard input must come so again."""
    name = receipt.pool.get("name")
    return "-" if name == "stdin" else name


def _not_chosen(sample_id: Any, uri: str, receipt: Receipt, reason: str) -> Explanation:
    return Explanation(
        sample_id=sample_id,
        uri=uri,
        chosen=False,
        pick=None,
        strategy=receipt.strategy,
        score=None,
        rank=None,
        n_candidates=receipt.n_candidates,
        reason=reason,
    )


def _explain_candidate(
    scene: _Scene, row: int, at: int, query: Query, selection: Selection, receipt: Receipt
) -> Explanation:
    values = scene.strategy.values(query)
    picked = np.flatnonzero(selection.sample_ids == query.ids[at])
    pick = int(picked[0]) + 1 if picked.size else None
    order = None if values is None else np.lexsort((np.arange(len(values)), -values))
    rank = None if order is None else int(np.flatnonzero(order == at)[0]) + 1
    return Explanation(
        sample_id=query.ids[at].item(),
        uri=str(scene.snapshot.uris[row]),
        chosen=pick is not None,
        pick=pick,
        strategy=receipt.strategy,
        score=None if values is None else float(values[at]),
        rank=rank,
        n_candidates=len(query),
        reason=_reason(scene.strategy, rank, pick, receipt),
        classes=_probable(scene, query, at),
        neighbours=() if order is None or values is None else _near(query, values, order, rank or 1),
    )


def _reason(strategy: Strategy, rank: int | None, pick: int | None, receipt: Receipt) -> str:
    n = receipt.n_candidates
    if rank is None:
        what = f"pick {pick} of {receipt.budget}" if pick else "not picked"
        return f"{strategy.name} ranks nothing: {what} with seed {receipt.seed}"
    inside = "within" if pick else "below"
    return f"rank {rank} of {n} by {strategy.name}, {inside} the budget of {receipt.budget}"


def _probable(scene: _Scene, query: Query, at: int) -> tuple[tuple[str, float], ...]:
    if "logits" not in query.columns:
        return ()
    probs = softmax(np.asarray(query.column("logits")[at : at + 1], dtype=np.float64))[0]
    best = np.argsort(-probs, kind="stable")[:3]
    names = scene.classes or tuple(str(code) for code in range(len(probs)))
    return tuple((names[code], float(probs[code])) for code in best.tolist())


def _near(query: Query, values: Values, order: npt.NDArray[np.intp], rank: int) -> tuple[dict[str, Any], ...]:
    first = max(0, rank - 1 - NEIGHBOURS)
    rows = order[first : rank + NEIGHBOURS]
    return tuple(
        {"rank": first + i + 1, "id": query.ids[row].item(), "score": float(values[row])}
        for i, row in enumerate(rows.tolist())
        if first + i + 1 != rank
    )
