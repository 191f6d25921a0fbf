"""Records in SQLite or PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

from foresift.stores.records.clocks import Now, machine_clock
from foresift.stores.records.database import Database
from foresift.stores.records.sql_labels import SqlLabels
from foresift.stores.records.sql_registry import SqlRegistry
from foresift.stores.records.sql_runs import SqlRuns
from foresift.stores.records.sql_work import SqlJobs, SqlLeases


class SqlRecords(SqlRuns, SqlLabels, SqlRegistry, SqlLeases, SqlJobs):
    """:class:`foresift.core.records.Records` over a database of the newest schema."""

    def __init__(self, database: Database, clock: Callable[[], Now] = machine_clock) -> None:
        SqlLeases.__init__(self, database, clock)

    def transaction(self) -> AbstractContextManager[None]:
        """All that the thread does inside happens, or, if an error leaves it, nothing."""
        return self._database.transaction()

    def close(self) -> None:
        """Let go of all connections."""
        self._database.close()
