"""The tables of the newest schema; what older ones looked like is written in the migrations."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    text,
)
from sqlalchemy.engine import Dialect

HEAD = "0002"
"""Revision of the newest schema; the versions in between lie in ``migrations/versions``."""
VERSION_TABLE = "foresift_schema"
_MARK = "\x01"


class AnyText(TypeDecorator[str]):
    """Any Python text: names that are not UTF-8 and NUL characters, which databases refuse, are stored escaped."""

    impl = Text
    cache_ok = True

    def bind_processor(self, dialect: Dialect) -> Callable[[Any], Any]:  # noqa: ARG002
        """To what the database takes."""
        return _escaped

    def result_processor(self, dialect: Dialect, coltype: Any) -> Callable[[Any], Any]:  # noqa: ARG002
        """To what was given; called a million times, so without anything between."""
        return _given


def escaped(value: str) -> str:
    """Text as it is stored."""
    return value if (value.isascii() and value.isprintable()) or not _is_strange(value) else _MARK + json.dumps(value)


def _escaped(value: str | None) -> str | None:
    return None if value is None else escaped(value)


def _given(value: str | None) -> str | None:
    return str(json.loads(value[1:])) if value and value[0] == _MARK else value


def _is_strange(value: str) -> bool:
    return value.startswith(_MARK) or "\0" in value or any("\ud800" <= character <= "\udfff" for character in value)


def number() -> Column[int]:
    """The order of adding."""
    return Column("number", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True)


METADATA = MetaData()

runs = Table(
    "runs",
    METADATA,
    number(),
    Column("id", AnyText, nullable=False, unique=True),
    Column("config", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("reason", AnyText, nullable=False),
    Column("pool", AnyText, nullable=False),
    Column("pool_version", AnyText, nullable=False),
    Column("trial", Text),
    Column("version", Integer, nullable=False),
    Column("created_at", Text, nullable=False),
    Column("by", AnyText, nullable=False),
)

rounds = Table(
    "rounds",
    METADATA,
    Column("run", AnyText, primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("born", Text, nullable=False),  # digest of what it was added with
    Column("state", Text, nullable=False),
    Column("budget", Integer, nullable=False),
    Column("strategy", AnyText, nullable=False),
    Column("selected", Text, nullable=False),
    Column("receipt", Text),
    Column("generation", Text),
    Column("metrics", Text, nullable=False),
    Column("partial", Boolean, nullable=False),
    Column("closes_at", Text),
    Column("quota", Integer),
    Column("details", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("reason", AnyText, nullable=False),
)

labels = Table(
    "labels",
    METADATA,
    number(),
    Column("id", Text, nullable=False, unique=True),
    Column("pool", AnyText, nullable=False),
    Column("run", AnyText, nullable=False),
    Column("sample", Text, nullable=False),
    Column("region", Text, nullable=False),
    Column("annotator", AnyText, nullable=False),
    Column("value", AnyText, nullable=False),
    Column("at", AnyText, nullable=False),
    Column("round", Integer),
    Column("cost", Double),
    Column("source", AnyText, nullable=False),
    Column("supersedes", Text),
    Column("superseded", Boolean, nullable=False),
    Index("labels_of_round", "run", "round"),
    Index("labels_of_sample", "sample", "run"),
    # One current answer of an annotator to a place: the rule itself, and what it is looked up by.
    Index(
        "labels_current",
        *("pool", "run", "sample", "region", "annotator"),
        unique=True,
        sqlite_where=text("superseded = 0"),
        postgresql_where=text("superseded = false"),
    ),
)

pools = Table(
    "pools", METADATA, Column("key", Integer, primary_key=True), Column("name", AnyText, nullable=False, unique=True)
)

samples = Table(
    "samples",
    METADATA,
    number(),
    Column("pool", Integer, nullable=False),
    Column("sample", Text, nullable=False),
    Column("uri", AnyText, nullable=False),
    Column("digest", Text, nullable=False),
    Column("address", BigInteger),  # checksum of the uri: what it is looked up by, in a tenth of the room
    UniqueConstraint("pool", "sample", name="samples_once"),
    Index("samples_by_address", "pool", "address"),
)

entries = Table(
    "entries",
    METADATA,
    number(),
    Column("kind", Text, nullable=False),
    Column("id", AnyText, nullable=False),
    Column("parents", Text, nullable=False),
    Column("run", AnyText),
    Column("at", AnyText, nullable=False),
    Column("values", Text, nullable=False),
    UniqueConstraint("kind", "id", name="entries_once"),
)

leases = Table(
    "leases",
    METADATA,
    Column("key", AnyText, primary_key=True),
    Column("holder", AnyText, nullable=False),  # "" = nobody
    Column("clock", Text, nullable=False),  # which clock "until" is of
    Column("until", Double, nullable=False),
    Column("ttl", Double, nullable=False),
    Column("token", BigInteger, nullable=False),
)

jobs = Table(
    "jobs",
    METADATA,
    number(),
    Column("id", AnyText, nullable=False, unique=True),
    Column("kind", AnyText, nullable=False),
    Column("request", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("progress", Text, nullable=False),
    Column("answer", Text, nullable=False),
    Column("reason", AnyText, nullable=False),
    Column("holder", AnyText, nullable=False),
    Column("version", Integer, nullable=False),
    Column("at", AnyText, nullable=False),
)

events = Table(
    "events",
    METADATA,
    Column("run", AnyText, primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("kind", AnyText, nullable=False),
    Column("at", AnyText, nullable=False),
    Column("values", Text, nullable=False),
)
