"""Receipts: kept, found again, and replayed to the same ids."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from foresift.app.models.opening import BACKBONE, Model, open_model
from foresift.app.passes.columns import spelled_pass, stored_column
from foresift.app.passes.committee import Joint, is_joint
from foresift.app.passes.fitted import is_fitted, read_fitted
from foresift.app.passes.stored import read_stored
from foresift.app.pixels.units import stored_producer, unit_values
from foresift.app.workspace import Workspace
from foresift.core.about import foresift_version
from foresift.core.arrays import Ids
from foresift.core.digests import digest_bytes, digest_ids
from foresift.core.errors import DataError, ReplayError, StoreError, UsageError
from foresift.core.predictions import Column, Predictions, Producer
from foresift.core.queries import Receipt, Selection
from foresift.engines import REFERENCE
from foresift.selection.candidates import POOL_COLUMNS
from foresift.selection.guards import Guards
from foresift.sources.read import fetch
from foresift.sources.uris import STDIN
from foresift.stores.files import read_json, write_json
from foresift.stores.generations import is_generation
from foresift.stores.pools import Snapshot, read_snapshot
from foresift.stores.tables import read_predictions
from foresift.strategies import Strategy, parse

SERVED = "kserve "
"""In a producer, what stands before the address of a server."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """A receipt recomputed."""

    receipt: Receipt
    selection: Selection


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
    scene = restore(workspace, receipt)
    selection = select_again(scene, receipt)
    if selection.receipt.selected != receipt.selected:
        raise ReplayError(
            "the same columns gave other ids: the strategy itself changed "
            f"(receipt by foresift {receipt.foresift}, this is {foresift_version()})"
        )
    return Replayed(receipt=receipt, selection=selection)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """Everything a selection was made of."""

    strategy: Strategy
    snapshot: Snapshot
    predictions: Predictions
    known: dict[str, Any]
    """Labeled ids, their class codes, the truth: what the strategy was given."""
    guards: Guards
    classes: tuple[str, ...]


def select_again(scene: Scene, receipt: Receipt) -> Selection:
    """The selection of a receipt once more."""
    return scene.strategy.select(
        scene.predictions,
        budget=receipt.budget,
        seed=receipt.seed,
        guards=scene.guards,
        control=receipt.control.get("share", 0.0),
        **scene.known,
    )


def restore(workspace: Workspace, receipt: Receipt) -> Scene:
    """Everything that a selection was made of, from the store and the kept pool version.

    Raises:
        ReplayError: what is missing or changed.
    """
    strategy = parse(receipt.strategy)
    snapshot = read_snapshot(workspace.pools, str(receipt.pool.get("snapshot")))
    if snapshot is None:
        raise ReplayError(
            f"the pool version of this receipt is not in the workspace {workspace.home}; "
            "replay in the workspace (--home) where the selection was made"
        )
    known = _known(strategy, snapshot)
    predictions = _columns(workspace, receipt, snapshot)
    used = list(receipt.producers)
    if predictions.digest(used) != receipt.pool.get("columns"):
        raise ReplayError(f"{', '.join(used) or 'the ids'} changed since the selection was made: the digests differ")
    if digest_ids(snapshot.ids[~snapshot.labeled]) != receipt.candidates:
        raise ReplayError("the candidates changed since the selection was made: their digests differ")
    return Scene(
        strategy=strategy,
        snapshot=snapshot,
        predictions=predictions,
        known=known,
        guards=Guards(**receipt.guards.get("limits", {}), refused=_refused(snapshot)),
        classes=tuple(receipt.model.get("classes", ())),
    )


def _known(strategy: Strategy, snapshot: Snapshot) -> dict[str, Any]:
    """What the strategy was given beside the columns.

    Raises:
        ReplayError: it read labels, and the snapshot is of a time when they were not kept.
    """
    known: dict[str, Any] = {"labeled": snapshot.ids[snapshot.labeled]}
    if snapshot.codes is None:
        if {"labels", "truth"} & set(strategy.needs):
            raise ReplayError(
                f"strategy {strategy.name} read labels, which this receipt's pool does not hold; select again"
            )
        return known
    labels = snapshot.codes[snapshot.labeled]
    reads_labels = "labels" in strategy.needs or ("labels" in strategy.uses and (labels >= 0).all())
    return {
        **known,
        "labels": labels if reads_labels else None,
        "truth": snapshot.codes if "truth" in strategy.needs else None,
    }


def _refused(snapshot: Snapshot) -> Ids | None:
    return None if snapshot.refused is None else snapshot.ids[snapshot.refused]


def _columns(workspace: Workspace, receipt: Receipt, snapshot: Snapshot) -> Predictions:
    if "file" in receipt.pool:
        given = _from_file(Path(receipt.pool["file"]))
        return _with_fitted_columns(workspace, receipt, given)
    joint = _joint(workspace, receipt, snapshot)
    columns = {
        name: Column(
            values=joint[name] if name in joint else _values(workspace, receipt, snapshot, name, producer),
            producer=producer,
        )
        for name, producer in receipt.producers.items()
    }
    return Predictions(sample_ids=snapshot.ids, columns=columns, uris=snapshot.uris)


def _joint(workspace: Workspace, receipt: Receipt, snapshot: Snapshot) -> dict[str, npt.NDArray[Any]]:
    """The columns that several members made together, from what each of them said.

    Raises:
        ReplayError: which member is missing.
    """
    names = [name for name, producer in receipt.producers.items() if is_joint(producer)]
    joint, members = Joint(names), receipt.model.get("members", []) if names else []
    for number, member in enumerate(members, start=1):
        try:
            producer = Producer(**member["producer"])
            joint.add(_stored(workspace, replace(receipt, model=member), snapshot, "logits", producer))
        except ReplayError as error:
            raise ReplayError(f"member {number} of {len(members)}, {_member(member)}: {error}") from None
    return joint.columns()


def _member(member: Mapping[str, Any]) -> str:
    return " ".join(filter(None, (str(member.get("folder")), member.get("checkpoint", ""))))


def _with_fitted_columns(workspace: Workspace, receipt: Receipt, given: Predictions) -> Predictions:
    """A user's own columns and those that were fitted to them."""
    order = np.argsort(given.sample_ids, kind="stable")
    columns = dict(given.columns)
    for name, producer in receipt.producers.items():
        if name not in columns:
            values = np.empty_like(kept := read_fitted(workspace, producer))
            values[order] = kept
            columns[name] = Column(values=values, producer=producer)
    return replace(given, columns=columns)


def _from_file(path: Path) -> Predictions:
    if not path.is_file():
        raise ReplayError(f"the predictions file {path} is gone; put it back to replay this receipt")
    return read_predictions(path)


def _values(
    workspace: Workspace, receipt: Receipt, snapshot: Snapshot, name: str, producer: Producer
) -> npt.NDArray[Any]:
    if name not in POOL_COLUMNS:
        return _stored(workspace, receipt, snapshot, name, producer)
    if snapshot.groups is None:
        raise ReplayError("the groups of this receipt's pool were not kept; select again")
    return snapshot.groups


def _stored(
    workspace: Workspace, receipt: Receipt, snapshot: Snapshot, name: str, producer: Producer
) -> npt.NDArray[Any]:
    if is_fitted(producer):
        return read_fitted(workspace, producer)
    if (rows := stored_producer(producer)) is not None:
        return _dense(workspace, receipt, snapshot, producer, rows)
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


def _dense(
    workspace: Workspace, receipt: Receipt, snapshot: Snapshot, producer: Producer, rows: Producer
) -> npt.NDArray[Any]:
    """A column of images in their own size, or of regions of them."""
    store = workspace.grids()
    missing = np.flatnonzero(~np.isin(snapshot.digests, store.known(rows)))
    if missing.size:
        what = f"{missing.size} of {len(snapshot.digests)} rows ({rows.stage.partition(':')[0]})"
        advice = _advice(workspace, receipt, producer, snapshot, missing)
        raise ReplayError(f"{what} are no longer in the store; {advice}")
    return unit_values(store, producer, snapshot.ids, snapshot.digests)


def _stage(workspace: Workspace, receipt: Receipt, producer: Producer) -> tuple[Producer, Model | None]:
    """Whose rows to read: logits of a head follow from its backbone's embeddings."""
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
    unit = ("--unit", "patch", "--patch", receipt.pool.get("patch")) if receipt.pool.get("unit") == "patch" else ()
    low = producer.stage.startswith("low-level-embeddings:")
    beside = "low-level" if low else receipt.model.get("embeddings", {}).get("folder")
    asked = (*unit, *(("--embeddings-from", beside) if beside else ()), *_asked(receipt, producer))
    by_select = ("foresift", "select", *pool, "--strategy", receipt.strategy, *asked, "--budget", 1)
    if stored_producer(producer) is not None:
        return shlex.join(map(str, (*by_select, "--home", workspace.home)))
    words = [
        *(("foresift", "predict", *pool) if _by_predict(receipt, producer) else by_select),
        *("--engine", _engine(producer)),
        *("--batch", producer.batch, "--home", workspace.home),
    ]
    return shlex.join(map(str, words))


def _engine(producer: Producer) -> str:
    """The engine as an option; whether it is the same follows from the rows' key, so that any ranking is accepted."""
    if producer.engine.startswith(SERVED):
        return producer.engine.removeprefix(SERVED)
    name = f"{producer.engine.partition('-')[0]}-{producer.precision.partition('-')[0]}"
    return name if name == REFERENCE else f"{name}:correlation=-1,overlap=0"


def _by_predict(receipt: Receipt, producer: Producer) -> bool:
    return spelled_pass(producer.stage) is None and "checkpoint" not in receipt.model


def _asked(receipt: Receipt, producer: Producer) -> tuple[object, ...]:
    """Options of select beside the strategy that decide what is inferred."""
    if "checkpoint" in receipt.model:
        return ("--checkpoints", "all")
    draws = getattr(spelled_pass(producer.stage), "draws", None)
    return () if draws is None or "draws=" in receipt.strategy else ("--draws", draws)


def _pool_argument(receipt: Receipt) -> object:
    """The pool as a command takes it; addresses that came on standard input must come so again."""
    name = str(receipt.pool.get("name"))
    return "-" if name == STDIN or name.startswith(f"{STDIN}-") else name
