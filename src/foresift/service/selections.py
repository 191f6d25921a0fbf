"""What was chosen from each pool: as the answer to a query, and as a line a selection, appended and never lost."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from pathlib import Path

from foresift.core.times import utc_now
from foresift.service.heavy import Chosen
from foresift.service.pages import by_position
from foresift.stores.files import disk_errors
from foresift.wire.messages import ChosenRow, PageRequest, SelectionPage, SelectionSummary, SelectionView

_UNTRAINED = "the model's weights are random: the scores mean nothing"


class SelectionLog:
    """Selections by pool; may be asked by any thread. The same one is listed once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._made: dict[str, dict[str, SelectionSummary]] = {}

    def add(self, pool: str, made: SelectionSummary) -> None:
        """Write one down; it is on the disk when this returns."""
        with self._lock:
            known = self._of(pool)
            if made.id in known:
                return
            file = self._file(pool)
            with disk_errors(file):
                file.parent.mkdir(parents=True, exist_ok=True)
                with file.open("a", encoding="utf-8") as out:
                    out.write(made.model_dump_json() + "\n")
                    out.flush()
                    os.fsync(out.fileno())
            known[made.id] = made

    def page(self, pool: str, asked: PageRequest) -> SelectionPage:
        """Those of a pool, in the order in which they were made."""
        with self._lock:
            made = list(self._of(pool).values()) if pool in self._made or self._file(pool).is_file() else []
        part, after = by_position(made, asked)
        return SelectionPage(items=list(part), next=after)

    def _of(self, pool: str) -> dict[str, SelectionSummary]:
        if pool not in self._made:
            rows = self._whole_lines(self._file(pool))
            self._made[pool] = {row.id: row for row in map(SelectionSummary.model_validate, rows)}
        return self._made[pool]

    def _whole_lines(self, file: Path) -> list[dict[str, object]]:
        """The rows of a file; what a crash left of a line is cut away, so that the next one begins on its own."""
        if not file.exists():
            return []
        with disk_errors(file), file.open("r+b") as held:
            data = held.read()
            end = data.rfind(b"\n") + 1
            if end < len(data):
                held.truncate(end)
        return [json.loads(line) for line in data[:end].splitlines()]

    def _file(self, pool: str) -> Path:
        return self._folder / f"{pool}.jsonl"


def view_of(chosen: Chosen, *, pool: str, strategy: str, seed: int, given: Callable[[str], str]) -> SelectionView:
    """The answer to a query.

    Args:
        strategy: as it was asked for.
        given: an address as the client wrote it.
    """
    rows = [
        ChosenRow(
            rank=row["rank"], id=str(row["id"]), uri=given(row["uri"]), score=row["score"], arm=row.get("arm") or None
        )
        for row in chosen.rows
    ]
    return SelectionView(
        id=chosen.receipt,
        pool=pool,
        strategy=strategy,
        seed=seed,
        model=chosen.model,
        untrained=chosen.untrained,
        rows=rows,
        quarantined=chosen.quarantined,
        notes=[*chosen.notes, *([_UNTRAINED] if chosen.untrained else [])],
    )


def summary_of(chosen: Chosen, *, budget: int, seed: int) -> SelectionSummary:
    """What the list of a pool's selections says of it."""
    return SelectionSummary(
        id=chosen.receipt,
        strategy=chosen.strategy,
        budget=budget,
        seed=seed,
        chosen=len(chosen.rows),
        model=chosen.model,
        at=utc_now(),
    )
