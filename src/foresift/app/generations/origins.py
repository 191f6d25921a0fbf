"""Which receipt brought each label: by the ids that every selection of the workspace chose."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
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
from foresift.sources.labels import read_labels, rows_named
from foresift.sources.tables import read_table
from foresift.stores.files import read_json, write_json

_PICKS = "picks"
_DIGEST_CHARACTERS = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Picks:
    """A receipt and the ids, as text, that it chose."""

    receipt: Receipt
    id: str
    ids: frozenset[str]
    control: frozenset[str]
    """Those of them that were drawn at random."""


def keep_picks(workspace: Workspace, selection: Selection) -> None:
    """Remember what a selection chose, so that labels find their receipt whatever way they come back."""
    ids = [str(one) for one in selection.sample_ids.tolist()]
    write_json(_file(workspace, selection.receipt.id), {"ids": ids, "control": selection.n_control})


def origins(
    workspace: Workspace, pool: Pool, labels: Path | None, *, receipts: Sequence[str] | None = None
) -> dict[str, Picks]:
    """The receipt behind each labeled sample, by id as text; samples that nobody is known to have chosen are left out.

    In this order: what the file's column ``receipt`` says; the receipt beside the file; the
    given ``receipts``, the first one that chose the sample; without them those of the
    workspace, of which one whose picks are labeled more completely goes first.

    Args:
        labels: a labels file; None = labels that came with the pool, which nobody chose.
    """
    if labels is None:
        return {}
    labeled = {str(one) for one in pool.ids[pool.labeled].tolist()}
    found = _by_column(workspace, pool, labels)
    ranked = [*_beside(workspace, pool, labels)]
    ranked += _by_coverage(workspace, pool, labeled) if receipts is None else _kept(workspace, receipts)
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
        except (ForesiftError, KeyError, TypeError):
            continue
        found.append(
            Picks(receipt=receipt, id=one, ids=frozenset(ids), control=frozenset(ids[: int(plain["control"])]))
        )
    return found


def _by_coverage(workspace: Workspace, pool: Pool, labeled: set[str]) -> list[Picks]:
    """Receipts that chose some of the labeled samples of this pool, those first whose picks are all labeled."""
    every = _kept(workspace, sorted(path.stem for path in (workspace.receipts / _PICKS).glob("*.json")))
    content = all(len(one) == _DIGEST_CHARACTERS for one in labeled)  # ids that mean the same in every pool
    some = [one for one in every if (content or one.receipt.pool.get("name") == pool.name) and one.ids & labeled]

    def rank(one: Picks) -> tuple[float, int, int, str]:
        count = len(one.ids & labeled)
        return (-count / len(one.ids), -count, one.receipt.n_labeled, one.id)

    return sorted(some, key=rank)


def _file(workspace: Workspace, receipt: str) -> Path:
    return workspace.receipts / _PICKS / f"{receipt}.json"
