"""Every schema that was ever released comes to the newest one, with its data; newer ones are refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from foresift.core.errors import StoreError
from foresift.core.labels import LabelRecord
from foresift.core.records import PoolSample
from foresift.core.rounds import Round, Run
from foresift.stores.records import migrating
from foresift.stores.records.database import Database, address_of, file_address
from foresift.stores.records.opening import FILE, open_records
from foresift.stores.records.schema import HEAD, METADATA, VERSION_TABLE

pytestmark = pytest.mark.timeout(600)

MIGRATIONS = Path(migrating.__file__).with_name("migrations")
ROWS = {
    "0001": [
        """INSERT INTO runs (id, config, state, reason, pool, pool_version, trial, version, created_at, "by")
        VALUES ('r', '{"budget":2}', 'waiting', 'people', 'p', 'v1', NULL, 3, '2026-11-21T00:00:00.000Z', 'me')""",
        """INSERT INTO rounds (run, number, born, state, budget, strategy, selected, receipt, generation, metrics,
        partial, closes_at, quota, details, version, reason)
        VALUES ('r', 1, 'x', 'labeling', 2, 'margin', '[7,"7"]', 'rec', NULL, '{"accuracy":0.5}',
        false, NULL, 1, '{}', 2, '')""",
        """INSERT INTO labels (id, pool, run, sample, region, annotator, value, at, round, cost, source, supersedes,
        superseded) VALUES ('k1', 'p', 'r', '7', '', 'ann', 'cat', '', 1, 0.5, 'f.csv', NULL, true)""",
        """INSERT INTO labels (id, pool, run, sample, region, annotator, value, at, round, cost, source, supersedes,
        superseded) VALUES ('k2', 'p', 'r', '7', '', 'ann', 'dog', '', 1, NULL, '', 'k1', false)""",
        "INSERT INTO pools (key, name) VALUES (1, 'p')",
        """INSERT INTO samples (pool, sample, uri, digest) VALUES (1, '7', 'http://x/é.jpg', 'd'),
        (1, '"7"', '7.jpg', '')""",
    ]
}
ROWS["0002"] = [
    *ROWS["0001"][:-1],
    """INSERT INTO samples (pool, sample, uri, digest, address) VALUES (1, '7', 'http://x/é.jpg', 'd', 2335469271),
    (1, '"7"', '7.jpg', '', 744982653)""",
]
"""What each released schema held; never changed."""


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest) -> str:
    return "" if request.param == "sqlite" else str(request.getfixturevalue("postgres").new_database())


@pytest.fixture
def database(url: str, tmp_path: Path) -> Iterator[Database]:
    with closing(Database(address_of(url) if url else file_address(tmp_path / FILE))) as database:
        yield database


def script() -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    return config


def to_revision(revision: str) -> Callable[[Connection], None]:
    def work(connection: Connection) -> None:
        config = script()
        config.attributes["connection"] = connection
        command.upgrade(config, revision)

    return work


def test_the_newest_revision_is_the_head_and_each_has_data_here() -> None:
    scripts = ScriptDirectory.from_config(script())
    assert scripts.get_heads() == [HEAD]
    assert [revision.revision for revision in scripts.walk_revisions()][::-1] == sorted(ROWS)


def test_the_migrations_lead_to_the_tables(url: str, database: Database, tmp_path: Path) -> None:
    open_records(tmp_path, url).close()
    options = {"version_table": VERSION_TABLE, "compare_server_default": True}

    def differences(connection: Connection) -> list[Any]:
        return list(compare_metadata(MigrationContext.configure(connection, opts=options), METADATA))

    assert database.read(differences) == []


@pytest.mark.parametrize("revision", sorted(ROWS))
def test_data_of_every_released_schema_are_read(revision: str, url: str, database: Database, tmp_path: Path) -> None:
    database.write(to_revision(revision))
    for statement in ROWS[revision]:
        database.write(lambda connection, statement=statement: connection.exec_driver_sql(statement))
    with closing(open_records(tmp_path, url)) as records:
        assert records.run("r") == Run(
            id="r",
            config={"budget": 2},
            state="waiting",
            reason="people",
            pool="p",
            pool_version="v1",
            version=3,
            created_at="2026-11-21T00:00:00.000Z",
            by="me",
        )
        values: dict[str, Any] = {"selected": (7, "7"), "receipt": "rec", "metrics": {"accuracy": 0.5}, "quota": 1}
        assert records.rounds("r") == (
            Round(run="r", number=1, state="labeling", budget=2, strategy="margin", version=2, **values),
        )
        dog = LabelRecord(sample_id=7, value="dog", pool="p", run="r", round=1, annotator="ann", supersedes="k1")
        assert records.labels(run="r") == (dog,)
        assert [label.cost for label in records.labels(pool="p", current=False)] == [0.5, None]
        assert records.samples("p", uris=["http://x/é.jpg"]) == (PoolSample(id=7, uri="http://x/é.jpg", digest="d"),)
        again = LabelRecord(sample_id=7, value="dog", pool="p", run="r", round=1, annotator="ann")
        assert records.add_labels([again]).repeated == 1
    assert database.read(migrating.schema_of) == HEAD


def test_samples_that_an_older_version_adds_beside_this_one_are_found_by_address(
    url: str, database: Database, tmp_path: Path
) -> None:
    open_records(tmp_path, url).close()
    for statement in ROWS["0001"][-2:]:
        database.write(lambda connection, statement=statement: connection.exec_driver_sql(statement))
    with closing(open_records(tmp_path, url)) as records:
        assert records.samples("p", uris=["http://x/é.jpg", "8.jpg"]) == (
            PoolSample(id=7, uri="http://x/é.jpg", digest="d"),
        )


def test_a_newer_schema_is_refused_and_left_alone(url: str, database: Database, tmp_path: Path) -> None:
    open_records(tmp_path, url).close()
    database.write(lambda connection: connection.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '9999'")))
    with pytest.raises(StoreError, match=rf"newer Foresift \(schema 9999, this one knows {HEAD}\); install"):
        open_records(tmp_path, url)
    assert database.read(migrating.schema_of) == "9999"


def test_many_may_open_a_new_workspace_at_once(url: str, tmp_path: Path) -> None:
    with ThreadPoolExecutor(6) as pool:
        for records in pool.map(lambda _: open_records(tmp_path, url), range(6)):
            assert records.runs() == ()
            records.close()


def test_a_migration_that_fails_leaves_nothing(url: str, database: Database, tmp_path: Path) -> None:
    def half(connection: Connection) -> None:
        to_revision("head")(connection)
        raise OSError("killed")

    with pytest.raises(OSError, match="killed"):
        database.write(half)
    assert database.read(migrating.schema_of) is None
    open_records(tmp_path, url).close()
