"""Work in one database: in transactions that are whole, tried again when the connection breaks."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError

from foresift.core.errors import MissingExtraError, UsageError
from foresift.stores.records.faults import WentAwayError, explained, is_away

T = TypeVar("T")
_BUSY_S = 60.0
"""How long a process waits for another one that writes the same file."""
_AWAY_S = 30.0
"""How long a database that is away is waited for."""
_TRIES = 3
_LONGEST_PAUSE_S = 2.0


class Database:
    """Connections to one database, for any number of threads; a forked child gets its own."""

    def __init__(self, url: URL, *, busy_s: float = _BUSY_S, away_s: float = _AWAY_S) -> None:
        self.url = url
        self._busy_s = busy_s
        self._away_s = away_s
        self._engine = _engine(url, busy_s)
        self._process = os.getpid()
        self._local = threading.local()
        weakref.finalize(self, _let_go, self._engine, self._process)

    @property
    def is_file(self) -> bool:
        """Whether it is SQLite."""
        return self.url.get_backend_name() == "sqlite"

    def read(self, work: Callable[[Connection], T]) -> T:
        """What ``work`` finds; it may be called again if the connection breaks.

        Raises:
            StoreError: the database can't be reached or read.
        """
        return self._do(work, "DEFERRED")

    def write(self, work: Callable[[Connection], T]) -> T:
        """What ``work`` gives, once all that it did is stored; if anything fails, nothing of it is.

        Raises:
            StoreError: the database can't be reached or written.
        """
        return self._do(work, "IMMEDIATE")

    def snapshot(self, work: Callable[[Connection], T]) -> T:
        """What ``work`` finds in the database as it is at one moment, however long it takes.

        Raises:
            StoreError: as :meth:`read`.
        """
        with explained(self.url), self._connection("DEFERRED") as connection:
            if not self.is_file:  # where every transaction is a snapshot
                connection.execution_options(isolation_level="REPEATABLE READ")
            with connection.begin():
                return work(connection)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All work of this thread inside is stored at the end, or, if an error leaves, nothing of it."""
        outer = self._outer
        if outer is not None:
            with outer.begin_nested():
                yield
            return
        with explained(self.url), self._connection("IMMEDIATE") as connection, connection.begin():
            self._local.connection = connection
            try:
                yield
            finally:
                self._local.connection = None

    def outside_transactions(self, statement: str) -> None:
        """Carry out a statement that SQLite takes outside of transactions only."""
        connection = self._engine.raw_connection()
        try:
            connection.cursor().execute(statement)
        finally:
            connection.close()

    def close(self) -> None:
        """Let go of all connections that are idle; whoever uses it again gets new ones."""
        self._engine.dispose()

    @property
    def _outer(self) -> Connection | None:
        return getattr(self._local, "connection", None)

    def _do(self, work: Callable[[Connection], T], begin: str) -> T:
        outer = self._outer
        with explained(self.url):
            if outer is not None:
                with outer.begin_nested():
                    return work(outer)
            for _ in range(_TRIES - 1):
                try:
                    return self._attempt(work, begin)
                except WentAwayError:
                    continue
            return self._attempt(work, begin)

    def _attempt(self, work: Callable[[Connection], T], begin: str) -> T:
        with self._connection(begin) as connection, connection.begin():
            try:
                return work(connection)
            except DBAPIError as error:
                if is_away(error):
                    raise WentAwayError from error
                raise

    def _connection(self, begin: str) -> Connection:
        """A connection, waiting for a database that is away."""
        self._after_fork()
        deadline, pause = time.monotonic() + self._away_s, 0.05
        while True:
            try:
                return self._engine.connect().execution_options(foresift_begin=begin)
            except DBAPIError as error:
                if not is_away(error) or time.monotonic() + pause > deadline:
                    raise
            time.sleep(pause)
            pause = min(_LONGEST_PAUSE_S, 2 * pause)

    def _after_fork(self) -> None:
        """Leave the parent's connections to the parent."""
        if os.getpid() != self._process:
            self._engine.dispose(close=False)
            self._local = threading.local()
            self._process = os.getpid()


def _let_go(engine: Engine, process: int) -> None:
    """Close connections that nobody can use any more; a forked child leaves the parent's alone."""
    engine.dispose(close=process == os.getpid())


def file_address(path: Path) -> URL:
    """Of a SQLite file."""
    return URL.create("sqlite", database=str(path))


def address_of(given: str) -> URL:
    """Of a PostgreSQL database, as people write it.

    Raises:
        UsageError: it is something else; a password in it is not repeated.
    """
    try:
        url = make_url(given.strip())
    except (ArgumentError, ValueError):
        url = None
    if url is None or url.get_backend_name() not in ("postgresql", "postgres"):
        raise UsageError(
            f"FORESIFT_DATABASE_URL: expected postgresql://USER:PASSWORD@HOST/NAME, got {given.split(':')[0][:40]!r}"
        )
    return url.set(drivername="postgresql+psycopg")


def alone(connection: Connection, name: str) -> None:
    """Until the transaction ends, nobody else passes here with that name. SQLite has one writer anyway."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))"), {"name": ascii(name)})


def _engine(url: URL, busy_s: float) -> Engine:
    if url.get_backend_name() == "sqlite":
        engine = create_engine(url, max_overflow=-1, connect_args={"timeout": busy_s})
        event.listen(engine, "connect", _prepare_file)
        event.listen(engine, "begin", _begin)
        return engine
    try:
        return create_engine(url, pool_pre_ping=True, connect_args={"connect_timeout": 10})
    except ModuleNotFoundError as error:
        raise MissingExtraError("a workspace in PostgreSQL", "postgres") from error


def _prepare_file(connection: sqlite3.Connection, _: Any) -> None:
    connection.isolation_level = None  # transactions begin when we say so, schema changes included
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA cache_size=-65536")


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql(f"BEGIN {connection.get_execution_options().get('foresift_begin', 'DEFERRED')}")
