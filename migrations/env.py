"""Runs the migrations on the connection that `clarion.store.database` or `tools/migrations.py` hands over.

Alembic executes this file; its own command line is not used, because where the database is and which models there are
is known to Clarion. The attributes of the configuration are `connection` (a SQLAlchemy connection in a transaction)
and, to compare models with the database, `metadata` (their `MetaData`).
"""

from collections.abc import Iterable

from alembic import context
from alembic.migration import MigrationContext
from alembic.operations.ops import ExecuteSQLOp, MigrationScript
from sqlalchemy import Connection, MetaData, inspect

connection: Connection | None = context.config.attributes.get("connection")
metadata: MetaData | None = context.config.attributes.get("metadata")
schemas = {table.schema for table in metadata.tables.values()} if metadata else set()


def is_ours(name: str | None, kind: str, parents: dict[str, str | None]) -> bool:
    """Whether a thing found in the database is one that the models speak of."""
    return name in schemas if kind == "schema" else True


def make_missing_schemas(
    migration: MigrationContext, revision: str | Iterable[str | None], scripts: list[MigrationScript]
) -> None:
    """Let a new migration make the schemas it needs, which Alembic leaves to its author."""
    missing = sorted(schema for schema in schemas if schema and schema not in inspect(connection).get_schema_names())
    for script in scripts:
        script.upgrade_ops.ops[:0] = [ExecuteSQLOp(f"CREATE SCHEMA {schema}") for schema in missing]
        script.downgrade_ops.ops += [ExecuteSQLOp(f"DROP SCHEMA {schema}") for schema in reversed(missing)]


if connection is None:
    raise SystemExit("Run migrations with `clarion migrate`, and write them with `make migration MESSAGE=...`.")

context.configure(
    connection=connection,
    target_metadata=metadata,
    include_schemas=True,
    include_name=is_ours,
    compare_server_default=False,
    process_revision_directives=make_missing_schemas,
)
context.run_migrations()
