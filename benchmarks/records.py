"""Runs and labels beside a million samples, against two seconds each.

``python -m benchmarks.records [sqlite|postgres]``

``SAMPLES=100000`` in the environment takes a smaller pool. PostgreSQL is one that is started for this, in a temporary
folder, with its default settings.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from benchmarks.measure import Figure, at_most, timed
from foresift.app.runs.labels import Import, import_labels
from foresift.app.workspace import Workspace
from foresift.core.labels import LabelRecord
from foresift.core.records import PoolSample, Records
from foresift.core.rounds import Round, Run
from foresift.stores.records.opening import open_records

POOL, ROUNDS = "/data/a-pool-with-a-name", 100
SAMPLES = int(os.environ.get("SAMPLES", "1_000_000"))
LABELS, NEW = SAMPLES // 10, SAMPLES // 100
LIMIT_S = 2.0


def measure(kind: str, home: Path, open_again: Callable[[], Records]) -> Iterator[Figure]:
    """Fill a workspace, then open a run, list a round and import labels."""
    with closing(open_again()) as records:
        yield Figure(f"{kind}: adding {SAMPLES:,} samples", timed(lambda: _fill(records))[1], "s")
        yield Figure(f"{kind}: adding {LABELS:,} labels in {ROUNDS} rounds", timed(lambda: _label(records))[1], "s")
    yield at_most(f"{kind}: opening a run, all its labels read", timed(lambda: _open(open_again))[1], "s", LIMIT_S)
    with closing(open_again()) as records:
        yield at_most(f"{kind}: listing a round, its answers read", timed(lambda: _list(records))[1], "s", LIMIT_S)
        for what, batch in _deliveries().items():
            seconds = timed(lambda batch=batch: records.add_labels(batch))[1]  # type: ignore[misc]
            yield at_most(f"{kind}: importing {NEW:,} labels, {what}", seconds, "s", LIMIT_S)
    for what, job in _files(home).items():
        workspace = Workspace.open(home)
        seconds = timed(lambda job=job, at=workspace: import_labels(at, at.records(), job))[1]  # type: ignore[misc]
        yield at_most(f"{kind}: importing a file of {NEW:,} labels, {what}", seconds, "s", LIMIT_S)


def _fill(records: Records) -> None:
    samples = (PoolSample(id=_id(n), uri=f"{POOL}/{_id(n)}", digest=f"{n:040x}") for n in range(SAMPLES))
    records.add_samples(POOL, samples)


def _label(records: Records) -> None:
    records.add_run(Run(id="r", pool=POOL, config={"rounds": ROUNDS, "budget": LABELS // ROUNDS}))
    each = LABELS // ROUNDS
    for number in range(1, ROUNDS + 1):
        rows = range((number - 1) * each, number * each)
        chosen = tuple(map(_id, rows))
        records.add_round(Round(run="r", number=number, budget=each, strategy="margin", selected=chosen, state="done"))
        records.add_labels([_answer(row, round=number) for row in rows])


def _open(open_again: Callable[[], Records]) -> None:
    with closing(open_again()) as records:
        assert records.run("r").state == "running"
        assert len(records.rounds("r")) == ROUNDS
        assert len(records.labels(run="r")) == LABELS


def _list(records: Records) -> None:
    last = records.rounds("r")[-1]
    assert len(records.labels(run="r", round=last.number)) == len(last.selected)


def _deliveries() -> dict[str, list[LabelRecord]]:
    fresh = [_answer(row, round=ROUNDS) for row in range(LABELS, LABELS + NEW)]
    return {
        "all new": fresh,
        "all known": fresh,
        "all corrections": [_answer(row, value="corrected", round=ROUNDS) for row in range(LABELS, LABELS + NEW)],
    }


def _files(home: Path) -> dict[str, Import]:
    """Tables of answers to samples that nobody has answered yet."""
    found = {}
    for part, column in enumerate(("id", "uri"), start=2):
        rows = range(LABELS + part * NEW, LABELS + (part + 1) * NEW)
        names = [_id(row) if column == "id" else f"{POOL}/{_id(row)}" for row in rows]
        path = home / f"by-{column}.csv"
        path.write_text(f"{column},label\n" + "".join(f"{name},a\n" for name in names))
        found["by id" if column == "id" else "by address"] = Import(source=path, run="r")
    return found


def _answer(row: int, *, round: int, value: str = "a") -> LabelRecord:  # noqa: A002
    at = f"2026-11-21T00:00:00.{row % 1000:03d}Z"
    return LabelRecord(
        sample_id=_id(row), value=value, pool=POOL, run="r", round=round, annotator="somebody", at=at, cost=0.1
    )


def _id(row: int) -> str:
    return f"{row * 7919 % SAMPLES:07d}.jpg"


@contextmanager
def _place(kind: str) -> Iterator[tuple[Path, Callable[[], Records]]]:
    with tempfile.TemporaryDirectory() as folder:
        os.environ["FORESIFT_DATABASE_URL"] = ""
        if kind == "sqlite":
            yield Path(folder), lambda: open_records(Path(folder))
            return
        from tests.postgres import Postgres, installed_programs

        server = Postgres(installed_programs(), settings=())
        try:
            server.start()
            os.environ["FORESIFT_DATABASE_URL"] = address = server.new_database()
            yield Path(folder), lambda: open_records(Path(folder), address)
        finally:
            server.remove()


def main(kinds: list[str]) -> None:
    """Print the figures and write ``bench-out/records.json``; exit code 1 if one falls short."""
    figures = []
    for kind in kinds or ["sqlite", "postgres"]:
        with _place(kind) as (home, open_again):
            for figure in measure(kind, home, open_again):
                print(figure, flush=True)
                figures.append(figure)
    out = Path("bench-out")
    out.mkdir(exist_ok=True)
    rows = [{"what": one.what, "value": one.value, "unit": one.unit, "limit": one.limit} for one in figures]
    (out / "records.json").write_text(json.dumps(rows, indent=2) + "\n")
    raise SystemExit(any(figure.fine is False for figure in figures))


if __name__ == "__main__":
    main(sys.argv[1:])
