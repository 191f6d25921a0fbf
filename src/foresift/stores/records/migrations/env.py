"""Called by Alembic: migrates over the connection that is given, inside its transaction."""

from __future__ import annotations

from alembic import context

from foresift.stores.records.schema import METADATA, VERSION_TABLE

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    version_table=VERSION_TABLE,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
