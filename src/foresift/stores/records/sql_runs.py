"""Runs and rounds in SQL."""

# ruff: noqa: A002 - a round is called a round
from __future__ import annotations

from sqlalchemy import Connection, delete, func, insert, select

from foresift.core.rounds import Round, Run
from foresift.stores.records import fenced
from foresift.stores.records.database import Database, alone
from foresift.stores.records.fences import RUN_FIXED, RUN_SAME, Found, check_follows, check_new, check_same
from foresift.stores.records.rows import ROUNDS, RUNS, Row, born
from foresift.stores.records.schema import rounds, runs


class SqlRuns:
    """:class:`foresift.core.records.RunRecords` over a database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add_run(self, run: Run) -> Run:
        """Keep a new run, or find it there already."""
        row, what = RUNS.row(run), f"run {run.id}"

        def work(connection: Connection) -> Found:
            alone(connection, "runs")
            return fenced.add(connection, runs, row, key=["id"], same=RUN_SAME, what=what)

        return RUNS.value(self._database.write(work))

    def run(self, run: str) -> Run:
        """The stored run of an id."""
        return RUNS.value(self._database.read(lambda connection: fenced.get(connection, runs, f"run {run}", id=run)))

    def runs(self, *, state: str | None = None, limit: int | None = None, after: str | None = None) -> tuple[Run, ...]:
        """Runs in the order in which they were added."""

        def work(connection: Connection) -> tuple[Run, ...]:
            start = None if after is None else fenced.get(connection, runs, f"run {after}", id=after)
            found = fenced.page(connection, runs, where={"state": state}, limit=limit, after=start)
            return tuple(map(RUNS.value, found))

        return self._database.read(work)

    def change_run(self, run: Run) -> Run:
        """Store a changed run, fenced."""
        row, what = RUNS.row(run), f"run {run.id}"
        return RUNS.value(
            self._database.write(
                lambda connection: fenced.change(connection, runs, row, key=["id"], fixed=RUN_FIXED, what=what)
            )
        )

    def add_round(self, round: Round) -> Round:
        """Keep a new round, or find it there already."""
        row = ROUNDS.row(round)
        row["born"] = born(row)
        return ROUNDS.value(self._database.write(lambda connection: _add_round(connection, row)))

    def change_round(self, round: Round) -> Round:
        """Store a changed round, fenced."""
        row, what, key = ROUNDS.row(round), f"round {round.number} of run {round.run}", ["run", "number"]
        return ROUNDS.value(
            self._database.write(
                lambda connection: fenced.change(connection, rounds, row, key=key, fixed=[], what=what)
            )
        )

    def rounds(self, run: str) -> tuple[Round, ...]:
        """Rounds of a run, the first one first."""
        query = select(rounds).where(rounds.c.run == run).order_by(rounds.c.number)
        found = self._database.read(lambda connection: fenced.rows(connection, query))
        return tuple(map(ROUNDS.value, found))

    def drop_run(self, run: str) -> bool:
        """Forget a run that is over and its rounds."""

        def work(connection: Connection) -> bool:
            alone(connection, f"run {run}")
            found = fenced.find(connection, runs, id=run)
            if found is None or not RUNS.value(found).is_over:
                return False
            connection.execute(delete(rounds).where(rounds.c.run == run))
            connection.execute(delete(runs).where(runs.c.id == run))
            return True

        return self._database.write(work)


def _add_round(connection: Connection, row: Row) -> Found:
    run, number = row["run"], row["number"]
    what = f"round {number} of run {run}"
    alone(connection, f"run {run}")
    fenced.get(connection, runs, f"run {run}", id=run)
    stored = fenced.find(connection, rounds, run=run, number=number)
    if stored is not None:
        return check_same(stored, row, same=["born"], what=what)
    last = connection.execute(select(func.max(rounds.c.number)).where(rounds.c.run == run)).scalar() or 0
    check_follows(row, last)
    check_new(row, what)
    connection.execute(insert(rounds), [row])
    return fenced.get(connection, rounds, what, run=run, number=number)
