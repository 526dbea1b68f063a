"""Database roles that may do less than the one that indexes: a server that answers strangers needs no more.

``clarion_reader`` reads chain data and projections and writes nothing; ``clarion_account`` reads and writes sessions
and API keys and sees nothing else; ``clarion_keeper`` reads and writes what the keeper remembers and sees nothing else:
what it knows of the chain it asks GraphQL for. None can log in by itself: the user of a URL becomes one
(``SET ROLE``), or an administrator gives it a password (``ALTER ROLE clarion_reader LOGIN PASSWORD '…'``) and a URL of
its own.
"""

from __future__ import annotations

import contextlib
from typing import Any, Final

import psycopg
from psycopg import Connection, sql

from clarion.store.database import DatabaseError, connect, database_name

READER: Final = "clarion_reader"
ACCOUNT: Final = "clarion_account"
KEEPER: Final = "clarion_keeper"
ACCOUNT_SCHEMA: Final = "clarion_account"
KEEPER_SCHEMA: Final = "keeper"
#: Schemas that readers of chain data have no business in: credentials, and what the keeper plans and signed.
HIDDEN_SCHEMAS: Final = (ACCOUNT_SCHEMA, KEEPER_SCHEMA)
#: The column that nobody else sees: signed transactions, which anybody could send.
SIGNED: Final = "raw"

_OWN_SCHEMAS: Final = """
SELECT nspname::text FROM pg_namespace
WHERE pg_has_role(nspowner, 'USAGE') AND nspname NOT LIKE 'pg\\_%%' AND nspname <> 'information_schema'
ORDER BY nspname
"""


_COLUMNS: Final = """
SELECT c.relname::text, array_agg(a.attname::text ORDER BY a.attnum)
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
WHERE c.relnamespace = %s::regnamespace AND c.relkind = 'r' AND a.attnum > 0 AND NOT a.attisdropped AND a.attname <> %s
GROUP BY c.relname ORDER BY c.relname
"""


def make_roles(url: str, *, keeper: bool = False) -> None:
    """Make the roles, or bring them up to date with the tables of this database. May be repeated.

    ``keeper``: readers may see what the keeper plans and sends too, but no signed transaction.

    The user of ``url`` has to be the one that indexes: tables that it makes later are covered too.

    Raises:
        DatabaseError: it may not make roles; the message says what an administrator can do.
    """
    with connect(url) as connection:
        for role in (READER, ACCOUNT, KEEPER):
            _make_role(connection, role, database_name(url))
        schemas = [name for (name,) in connection.execute(_OWN_SCHEMAS).fetchall()]
        for schema in schemas:
            if schema in HIDDEN_SCHEMAS:
                _run(connection, "REVOKE ALL ON ALL TABLES IN SCHEMA {schema} FROM {reader}", schema)
                _run(connection, "REVOKE ALL ON SCHEMA {schema} FROM {reader}", schema)
            else:
                _run(connection, "GRANT USAGE ON SCHEMA {schema} TO {reader}", schema)
                _run(connection, "GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {reader}", schema)
        if keeper:
            _let_see_keeper(connection)
        # protocols get tables and schemas later on; whoever may not enter a schema can read no table in it
        _run(connection, "ALTER DEFAULT PRIVILEGES GRANT USAGE ON SCHEMAS TO {reader}")
        _run(connection, "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO {reader}")
        for role, schema in ((ACCOUNT, ACCOUNT_SCHEMA), (KEEPER, KEEPER_SCHEMA)):
            _let_write(connection, role, schema)


def _let_write(connection: Connection[Any], role: str, schema: str) -> None:
    owner: dict[str, sql.Composable] = {"role": sql.Identifier(role)}
    _run(connection, "GRANT USAGE ON SCHEMA {schema} TO {role}", schema, **owner)
    for kind, rights in (("TABLES", "SELECT, INSERT, UPDATE, DELETE"), ("SEQUENCES", "USAGE")):
        what = {**owner, "kind": sql.SQL(kind), "rights": sql.SQL(rights)}
        _run(connection, "GRANT {rights} ON ALL {kind} IN SCHEMA {schema} TO {role}", schema, **what)
        _run(
            connection,
            "ALTER DEFAULT PRIVILEGES IN SCHEMA {schema} GRANT {rights} ON {kind} TO {role}",
            schema,
            **what,
        )


def _let_see_keeper(connection: Connection[Any]) -> None:
    _run(connection, "GRANT USAGE ON SCHEMA {schema} TO {reader}", KEEPER_SCHEMA)
    for table, columns in connection.execute(_COLUMNS, (KEEPER_SCHEMA, SIGNED)).fetchall():
        listed = sql.SQL(", ").join(map(sql.Identifier, columns))
        connection.execute(
            sql.SQL("GRANT SELECT ({}) ON {} TO {}").format(
                listed, sql.Identifier(KEEPER_SCHEMA, table), sql.Identifier(READER)
            )
        )


def require_role(url: str, role: str) -> None:
    """Make sure that connections of ``url`` may take a role on. Raises DatabaseError where they may not."""
    with connect(url, autocommit=True) as connection:
        try:
            connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(role)))
        except (psycopg.errors.InvalidParameterValue, psycopg.errors.InsufficientPrivilege) as error:
            raise DatabaseError(
                f"The role {role}, which the settings name, cannot be used on the database {database_name(url)}: "
                f"{str(error).strip()}. `clarion db roles` makes it; run that as the database's owner."
            ) from error


def _make_role(connection: Connection[Any], role: str, database: str) -> None:
    identifier = sql.Identifier(role)
    try:
        if connection.execute("SELECT FROM pg_roles WHERE rolname = %s", (role,)).fetchone() is None:
            # another database of the server may get the role at the same time
            taken = (psycopg.errors.DuplicateObject, psycopg.errors.UniqueViolation)
            with contextlib.suppress(*taken), connection.transaction():
                connection.execute(sql.SQL("CREATE ROLE {} NOLOGIN").format(identifier))
        try:
            with connection.transaction():
                connection.execute(sql.SQL("SET LOCAL ROLE {}").format(identifier))
                connection.execute("RESET ROLE")
        except psycopg.errors.InsufficientPrivilege:  # whoever makes a role is not one who may take it on
            connection.execute(sql.SQL("GRANT {} TO CURRENT_USER").format(identifier))
    except psycopg.errors.InsufficientPrivilege as error:
        raise DatabaseError(
            f"The user of the database {database} may not make the role {role} ({str(error).strip()}). Let an "
            f"administrator run `CREATE ROLE {role} NOLOGIN; GRANT {role} TO {connection.info.user};`, then try again."
        ) from error


def _run(connection: Connection[Any], statement: str, schema: str = "", **parts: sql.Composable) -> None:
    names = {"schema": sql.Identifier(schema), "reader": sql.Identifier(READER)}
    connection.execute(sql.SQL(statement).format(**names, **parts))
