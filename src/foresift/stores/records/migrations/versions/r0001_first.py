"""The first schema."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make all tables."""
    _runs_and_rounds()
    _labels()
    _registry()
    _work()


def _number() -> sa.Column[int]:
    kind = sa.BigInteger().with_variant(sa.Integer, "sqlite")
    return sa.Column("number", kind, primary_key=True, autoincrement=True)


def _text(name: str, *, primary_key: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text, primary_key=primary_key, nullable=False)


def _integer(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.Integer, nullable=False)


def _key(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.Integer, primary_key=True, autoincrement=False)


def _runs_and_rounds() -> None:
    op.create_table(
        "runs",
        _number(),
        *map(_text, ("id", "config", "state", "reason", "pool", "pool_version")),
        sa.Column("trial", sa.Text),
        _integer("version"),
        *map(_text, ("created_at", "by")),
        sa.UniqueConstraint("id"),
    )
    op.create_table(
        "rounds",
        _text("run", primary_key=True),
        _key("number"),
        *map(_text, ("born", "state")),
        _integer("budget"),
        *map(_text, ("strategy", "selected")),
        sa.Column("receipt", sa.Text),
        sa.Column("generation", sa.Text),
        _text("metrics"),
        sa.Column("partial", sa.Boolean, nullable=False),
        sa.Column("closes_at", sa.Text),
        sa.Column("quota", sa.Integer),
        _text("details"),
        _integer("version"),
        _text("reason"),
    )


def _labels() -> None:
    op.create_table(
        "labels",
        _number(),
        *map(_text, ("id", "pool", "run", "sample", "region", "annotator", "value", "at")),
        sa.Column("round", sa.Integer),
        sa.Column("cost", sa.Double),
        _text("source"),
        sa.Column("supersedes", sa.Text),
        sa.Column("superseded", sa.Boolean, nullable=False),
        sa.UniqueConstraint("id"),
    )
    op.create_index("labels_of_round", "labels", ["run", "round"])
    op.create_index(
        "labels_current",
        "labels",
        ["pool", "run", "sample", "region", "annotator"],
        unique=True,
        sqlite_where=sa.text("superseded = 0"),
        postgresql_where=sa.text("superseded = false"),
    )


def _registry() -> None:
    op.create_table(
        "pools",
        sa.Column("key", sa.Integer, primary_key=True),
        _text("name"),
        sa.UniqueConstraint("name"),
    )
    op.create_table(
        "samples",
        _number(),
        _integer("pool"),
        *map(_text, ("sample", "uri", "digest")),
        sa.UniqueConstraint("pool", "sample", name="samples_once"),
    )
    op.create_table(
        "entries",
        _number(),
        *map(_text, ("kind", "id", "parents")),
        sa.Column("run", sa.Text),
        *map(_text, ("at", "values")),
        sa.UniqueConstraint("kind", "id", name="entries_once"),
    )


def _work() -> None:
    op.create_table(
        "leases",
        _text("key", primary_key=True),
        *map(_text, ("holder", "clock")),
        sa.Column("until", sa.Double, nullable=False),
        sa.Column("ttl", sa.Double, nullable=False),
        sa.Column("token", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "jobs",
        _number(),
        *map(_text, ("id", "kind", "request", "state", "progress", "answer", "reason", "holder")),
        _integer("version"),
        _text("at"),
        sa.UniqueConstraint("id"),
    )
    op.create_table(
        "events",
        _text("run", primary_key=True),
        _key("number"),
        *map(_text, ("kind", "at", "values")),
    )
