"""Which receipt brought each label: by the ids that every selection of the workspace chose."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from foresift.app.selecting.receipts import read_receipt
from foresift.app.workspace import Workspace
from foresift.core.arrays import as_ids
from foresift.core.digests import digest_ids
from foresift.core.errors import ForesiftError
from foresift.core.lineage import Brought
from foresift.core.queries import Receipt, Selection
from foresift.core.samples import Pool
from foresift.core.times import utc_now
from foresift.sources.labels import read_labels, rows_named
from foresift.sources.tables import read_table
from foresift.stores.files import disk_errors, read_json, write_json

_PICKS = "picks"
_DIGEST_CHARACTERS = 40
ANSWERED = 0.9
"""The share of a selection's picks that labels must answer before they are taken for the answer to it."""
_COARSE_S = 2.0
"""File systems say to this many seconds when a file was written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Picks:
    """A receipt and the ids, as text, that it chose."""

    receipt: Receipt
    id: str
    ids: frozenset[str]
    control: frozenset[str]
    """Those of them that were drawn at random."""
    made: float = 0.0
    """When the choice was made first, in seconds since 1970; 0 where nobody knows."""


def keep_picks(workspace: Workspace, selection: Selection) -> None:
    """Remember what a selection chose and when, so that labels find their receipt whatever way they come back.

    Made again, it was made the first time.
    """
    file = _file(workspace, selection.receipt.id)
    if not file.is_file():
        ids = [str(one) for one in selection.sample_ids.tolist()]
        write_json(file, {"ids": ids, "control": selection.n_control, "at": utc_now()})


def origins(
    workspace: Workspace,
    pool: Pool,
    labels: Path | None,
    *,
    receipts: Sequence[str] | None = None,
    heirs: Set[str] = frozenset(),
) -> dict[str, Picks]:
    """The receipt behind each labeled sample, by id as text; samples that nobody is known to have chosen are left out.

    In this order: what the file's column ``receipt`` says; the receipt beside the file; the
    given ``receipts``, the first one that chose the sample; without them those of the
    workspace that the file answers, of which one whose picks are labeled more completely goes first.
    It answers a selection that was made before the file was last written and of whose picks it
    says a share of :data:`ANSWERED` or more, ``cannot-tell`` too: others share samples by chance.

    Args:
        labels: a labels file; None = labels that came with the pool, which nobody chose.
        heirs: ids of generations that come from these labels, and so chose none of them.
    """
    if labels is None:
        return {}
    labeled = {str(one) for one in pool.ids[pool.labeled].tolist()}
    found = _by_column(workspace, pool, labels)
    ranked = [*_beside(workspace, pool, labels)]
    if receipts is None:
        answered = _by_coverage(workspace, pool, labeled | _said(pool, labels))
        written = _written(labels)
        ranked += [one for one in answered if one.made <= written and heirs.isdisjoint(surrogates_of(one.receipt))]
    else:
        ranked += _kept(workspace, receipts)
    for picks in ranked:
        for sample in picks.ids & labeled:
            found.setdefault(sample, picks)
    return {sample: picks for sample, picks in found.items() if sample in labeled}


def brought(samples: Iterable[str], found: Mapping[str, Picks]) -> tuple[Brought, ...]:
    """How many labels each receipt brought, the earlier choice first; last those that none did."""
    groups: dict[str, list[str]] = {}
    for sample in samples:
        groups.setdefault(found[sample].id if sample in found else "", []).append(sample)
    unknown = groups.pop("", [])
    picks = {one: found[samples[0]] for one, samples in groups.items()}
    order = sorted(groups, key=lambda one: (picks[one].receipt.n_labeled, one))
    parts = [_part(picks[one], groups[one]) for one in order]
    return (*parts, *([Brought(labels=len(unknown))] if unknown else []))


def surrogates_of(receipt: Receipt) -> dict[str, str]:
    """Ids of the generations that a selection looked through, and the folders in which they lay."""
    members = receipt.model.get("members") or [receipt.model]
    return {str(one["id"]): str(one.get("folder", "")) for one in members if one.get("id")}


def _part(picks: Picks, samples: Sequence[str]) -> Brought:
    return Brought(
        receipt=picks.id,
        strategy=str(picks.receipt.details.get("ran", picks.receipt.strategy)),
        surrogates=tuple(surrogates_of(picks.receipt)),
        labels=len(samples),
        control=sum(sample in picks.control for sample in samples),
    )


def _by_column(workspace: Workspace, pool: Pool, labels: Path) -> dict[str, Picks]:
    """What the file itself says of each sample."""
    if labels.suffix.lower() == ".txt":
        return {}
    said = read_table(str(labels.absolute()), wanted=("id", "uri", "label", "receipt")).texts("receipt")
    if said is None or not any(said):
        return {}
    known = {one: picks for one in set(said) - {""} for picks in _kept(workspace, [one])}
    rows = zip(rows_named(pool, read_labels(labels)), said, strict=True)
    return {str(pool.ids[row]): known[one] for row, one in rows if row >= 0 and one in known}


def _beside(workspace: Workspace, pool: Pool, labels: Path) -> list[Picks]:
    """The receipt that lies beside a selection file whose label column was filled in."""
    path = labels.with_name(labels.name + ".receipt.json")
    if not path.is_file():
        return []
    receipt = read_receipt(path)
    if kept := _kept(workspace, [receipt.id]):
        return kept
    rows = read_labels(labels)  # the selection was made in another workspace
    ids = [
        str(pool.ids[row]) if row >= 0 else sample for row, sample in zip(rows_named(pool, rows), rows.ids, strict=True)
    ]
    if not ids or digest_ids(as_ids(_typed(pool, ids))) != receipt.selected:
        return []
    control = int(receipt.control.get("size", 0)) if receipt.control else 0
    return [Picks(receipt=receipt, id=receipt.id, ids=frozenset(ids), control=frozenset(ids[:control]))]


def _typed(pool: Pool, ids: Sequence[str]) -> list[Any]:
    return [int(one) for one in ids] if pool.ids.dtype.kind == "i" else list(ids)


def _kept(workspace: Workspace, receipts: Iterable[str]) -> list[Picks]:
    """The receipts of the workspace among some ids, in their order; one that is gone or damaged is passed over."""
    found = []
    for one in receipts:
        try:
            receipt = read_receipt(workspace.receipts / f"{one}.json")
            plain = read_json(_file(workspace, one))
            ids = [str(sample) for sample in plain["ids"]]
            control = frozenset(ids[: int(plain["control"])])
            made = datetime.fromisoformat(plain["at"]).timestamp() if "at" in plain else 0.0
        except (ForesiftError, KeyError, TypeError, ValueError):
            continue
        found.append(Picks(receipt=receipt, id=one, ids=frozenset(ids), control=control, made=made))
    return found


def _by_coverage(workspace: Workspace, pool: Pool, answered: set[str]) -> list[Picks]:
    """Receipts nearly all of whose picks are answered samples of this pool, those first whose picks all are."""
    every = _kept(workspace, sorted(path.stem for path in (workspace.receipts / _PICKS).glob("*.json")))
    content = all(len(one) == _DIGEST_CHARACTERS for one in answered)  # ids that mean the same in every pool
    here = [one for one in every if content or one.receipt.pool.get("name") == pool.name]
    some = [one for one in here if one.ids and len(one.ids & answered) >= ANSWERED * len(one.ids)]

    def rank(one: Picks) -> tuple[float, int, int, str]:
        count = len(one.ids & answered)
        return (-count / len(one.ids), -count, one.receipt.n_labeled, one.id)

    return sorted(some, key=rank)


def _said(pool: Pool, labels: Path) -> set[str]:
    """The samples of which a file says anything, if only that nobody could tell."""
    table = read_labels(labels)
    named = rows_named(pool, table)
    return {str(pool.ids[named[row]]) for row in table.labeled if named[row] >= 0}


def _written(labels: Path) -> float:
    """The latest that a file was written, in seconds since 1970."""
    with disk_errors(labels):
        return labels.stat().st_mtime + _COARSE_S


def _file(workspace: Workspace, receipt: str) -> Path:
    return workspace.receipts / _PICKS / f"{receipt}.json"
