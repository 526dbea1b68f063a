"""What a server is allowed that answers strangers: to read chain data, and to keep accounts; nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from psycopg import Connection, sql

from clarion.store.database import DatabaseError, connect, migrate
from clarion.store.roles import ACCOUNT, KEEPER, READER, make_roles, require_role


@pytest.fixture
def as_role(database_url: str) -> Iterator[Callable[[str], Connection[Any]]]:
    """Connections of the database's user that took a role on."""
    make_roles(database_url)
    opened: list[Connection[Any]] = []

    def connect_as(role: str) -> Connection[Any]:
        connection = connect(database_url, autocommit=True, options=f"-c role={role}")
        opened.append(connection)
        return connection

    yield connect_as
    for connection in opened:
        connection.close()


def denied(connection: Connection[Any], statement: str) -> bool:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute(statement.encode())
    return True


def tables(connection: Connection[Any]) -> list[str]:
    found = connection.execute(
        "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables "
        "WHERE schemaname NOT LIKE 'pg\\_%' AND schemaname <> 'information_schema' ORDER BY 1"
    )
    return [name for (name,) in found.fetchall()]


def test_the_reader_reads_chain_data_and_writes_no_table(
    database_url: str, as_role: Callable[[str], Connection[Any]]
) -> None:
    reader = as_role(READER)
    with connect(database_url) as owner:
        every_table = tables(owner)
    assert {"clarion.event", "bithedge.policy", "keeper.intent", "clarion_account.session"} <= set(every_table)
    reader.execute("SET default_transaction_read_only = off")
    for table in every_table:
        assert denied(reader, f"DELETE FROM {table}")
        assert denied(reader, f"TRUNCATE {table}")
        assert denied(reader, f"INSERT INTO {table} DEFAULT VALUES")
        if table.startswith(("clarion_account.", "keeper.")):
            assert denied(reader, f"SELECT FROM {table}")
        else:
            reader.execute(f"SELECT FROM {table}".encode())
    assert denied(reader, "CREATE SCHEMA mine")
    assert denied(reader, "CREATE TABLE public.mine ()")
    assert denied(reader, "ALTER TABLE clarion.event ADD mine int")


def test_the_reader_reads_tables_that_come_later(database_url: str, as_role: Callable[[str], Connection[Any]]) -> None:
    reader = as_role(READER)
    with connect(database_url, autocommit=True) as owner:
        owner.execute("CREATE SCHEMA bithedge__next")
        owner.execute("CREATE TABLE bithedge__next.policy (id int)")
        owner.execute("CREATE TABLE clarion_account.later (id int)")
    reader.execute("SELECT id FROM bithedge__next.policy")
    assert denied(reader, "INSERT INTO bithedge__next.policy VALUES (1)")
    assert denied(reader, "SELECT id FROM clarion_account.later")


def test_accounts_are_kept_by_a_role_that_sees_nothing_else(
    database_url: str, as_role: Callable[[str], Connection[Any]]
) -> None:
    account = as_role(ACCOUNT)
    with connect(database_url, autocommit=True) as owner:
        owner.execute("CREATE TABLE clarion_account.later (id int GENERATED ALWAYS AS IDENTITY, name text)")
        every_table = tables(owner)
    account.execute("INSERT INTO clarion_account.later (name) VALUES ('a')")
    account.execute("INSERT INTO clarion_account.secret VALUES ('a', '')")
    account.execute("DELETE FROM clarion_account.secret")
    for table in every_table:
        if not table.startswith("clarion_account."):
            assert denied(account, f"SELECT FROM {table}")
    assert denied(account, "DROP TABLE clarion_account.session")


def test_the_keeper_remembers_as_a_role_that_sees_nothing_else(
    database_url: str, as_role: Callable[[str], Connection[Any]]
) -> None:
    keeper = as_role(KEEPER)
    with connect(database_url) as owner:
        every_table = tables(owner)
    keeper.execute("INSERT INTO keeper.control (job, paused, reason) VALUES ('settle', true, 'x')")
    keeper.execute("DELETE FROM keeper.control")
    for table in every_table:
        if table.startswith("keeper."):
            keeper.execute(f"SELECT FROM {table}".encode())
        else:
            assert denied(keeper, f"SELECT FROM {table}")
    assert denied(keeper, "DROP TABLE keeper.intent")


def test_a_reader_that_may_see_the_keeper_sees_no_signed_transaction(
    database_url: str, as_role: Callable[[str], Connection[Any]]
) -> None:
    reader = as_role(READER)
    make_roles(database_url, keeper=True)
    reader.execute("SELECT * FROM keeper.intent")
    reader.execute("SELECT tx_id, fee FROM keeper.attempt")
    assert denied(reader, "SELECT raw FROM keeper.attempt")
    assert denied(reader, "DELETE FROM keeper.intent")
    make_roles(database_url)
    assert denied(reader, "SELECT id FROM keeper.intent")
    assert denied(reader, "SELECT fee FROM keeper.attempt")


def test_making_them_again_changes_nothing(database_url: str) -> None:
    make_roles(database_url)
    make_roles(database_url)
    for role in (READER, ACCOUNT, KEEPER):
        require_role(database_url, role)


def test_an_ordinary_owner_may_need_an_administrator(empty_database_url: str) -> None:
    owner = "clarion_test_owner"
    with connect(empty_database_url, autocommit=True) as administrator:
        name = administrator.info.dbname
        administrator.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(owner)))
        administrator.execute(
            sql.SQL("ALTER DATABASE {} OWNER TO {}").format(sql.Identifier(name), sql.Identifier(owner))
        )
        try:
            url = empty_database_url.replace("postgres@", f"{owner}@")
            migrate(url)
            for role in (READER, ACCOUNT, KEEPER):
                administrator.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(role)))
            with pytest.raises(DatabaseError, match=f"CREATE ROLE {READER} NOLOGIN; GRANT {READER} TO {owner}"):
                make_roles(url)
            with pytest.raises(
                DatabaseError, match=r"The role clarion_reader, which the settings name, cannot be used"
            ):
                require_role(url, READER)
            for role in (READER, ACCOUNT, KEEPER):
                administrator.execute(
                    sql.SQL("CREATE ROLE {} NOLOGIN; GRANT {} TO {}").format(
                        sql.Identifier(role), sql.Identifier(role), sql.Identifier(owner)
                    )
                )
            make_roles(url)
            require_role(url, READER)
            require_role(url, ACCOUNT)
        finally:
            administrator.execute(
                sql.SQL("REASSIGN OWNED BY {0} TO CURRENT_USER; DROP OWNED BY {0}; DROP ROLE {0}").format(
                    sql.Identifier(owner)
                )
            )
