"""Connections, databases and migrations on a real Postgres."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import psycopg
import pytest
from pydantic import SecretStr

from clarion.config import Settings
from clarion.store import database
from clarion.store.database import (
    DatabaseError,
    connect,
    create_database,
    database_name,
    drop_database,
    embedded_server,
    make_pool,
    migrate,
    open_database,
    with_database,
)

AMOUNTS = [0, 1, -1, 9_999, 10_000, 10**30, -(10**77), 2**128 - 1]


def tables(url: str) -> set[str]:
    with connect(url) as connection:
        rows = connection.execute("SELECT table_name FROM information_schema.tables WHERE table_schema = 'clarion'")
        return {name for (name,) in rows}


@pytest.mark.parametrize("binary", [False, True])
def test_numerics_arrive_as_integers(empty_database_url: str, binary: bool) -> None:
    with connect(empty_database_url) as connection, connection.cursor(binary=binary) as cursor:
        rows = cursor.execute("SELECT unnest(%s::numeric[])", [AMOUNTS]).fetchall()
        assert [amount for (amount,) in rows] == AMOUNTS
        assert all(type(amount) is int for (amount,) in rows)
        assert cursor.execute("SELECT sum(a)::numeric(78, 0) FROM unnest(%s::numeric[]) a", [[7, 8]]).fetchone() == (
            15,
        )
        with pytest.raises(psycopg.DataError, match="not a whole number"):
            cursor.execute("SELECT 1.5").fetchone()


async def test_a_pools_connections_do_the_same(empty_database_url: str) -> None:
    async with make_pool(empty_database_url, max_size=2) as pool, pool.connection() as connection:
        assert connection.autocommit
        cursor = await connection.execute("SELECT unnest(%s::numeric[])", [AMOUNTS])
        assert [amount for (amount,) in await cursor.fetchall()] == AMOUNTS


def test_a_database_is_created_once_and_dropped_with_its_connections(postgres_url: str) -> None:
    url = with_database(postgres_url, 'a "strange" name % for a database')
    assert database_name(url) == 'a "strange" name % for a database'
    create_database(url)
    with connect(url) as connection:
        connection.execute("CREATE TABLE kept ()")
        connection.commit()
        create_database(url)
        migrate(url)
        assert connection.execute("SELECT count(*) FROM kept").fetchone() == (0,)
        connection.commit()
        drop_database(url)
    drop_database(url)
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        connect(url)


def test_processes_that_create_the_same_database_at_once_both_have_it(postgres_url: str) -> None:
    url = with_database(postgres_url, "clarion_created_at_once")
    together = Barrier(4)

    def create() -> None:
        together.wait()
        create_database(url)
        connect(url).close()

    try:
        with ThreadPoolExecutor(4) as pool:
            for done in [pool.submit(create) for _ in range(4)]:
                done.result()
    finally:
        drop_database(url)


def test_a_server_that_does_not_answer_is_an_error_that_says_what_to_check(tmp_path: Path) -> None:
    with pytest.raises(DatabaseError, match=r"(?s)database clarion is not there .*CLARION_DATABASE_URL"):
        create_database(f"postgresql://me@/clarion?host={tmp_path}")


def test_migrating_twice_changes_nothing(empty_database_url: str) -> None:
    migrate(empty_database_url)
    assert {"block", "event", "cursor"} <= tables(empty_database_url)
    with connect(empty_database_url) as connection:
        connection.execute("INSERT INTO clarion.burn_block (hash, height) VALUES ('a', 1)")
    migrate(empty_database_url)
    with connect(empty_database_url) as connection:
        assert connection.execute("SELECT height FROM clarion.burn_block").fetchall() == [(1,)]


def test_processes_that_migrate_at_once_wait_for_each_other(empty_database_url: str) -> None:
    together = Barrier(3)

    def start() -> None:
        together.wait()
        migrate(empty_database_url)

    with ThreadPoolExecutor(3) as pool:
        for done in [pool.submit(start) for _ in range(3)]:
            done.result()
    assert "block" in tables(empty_database_url)


def test_a_migration_that_fails_leaves_nothing(
    empty_database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "migrations"
    shutil.copytree(database.migrations_folder(), folder)
    head = database.script_directory().get_current_head()
    (folder / "versions" / "broken.py").write_text(
        f"from alembic import op\nrevision = 'broken'\ndown_revision = {head!r}\n"
        "def upgrade():\n    op.execute('SELECT no_such_thing')\n"
    )
    monkeypatch.setattr(database, "migrations_folder", lambda: folder)
    with pytest.raises(Exception, match="no_such_thing"):
        migrate(empty_database_url)
    assert tables(empty_database_url) == set()


def test_a_database_of_a_newer_version_is_refused(database_url: str) -> None:
    with connect(database_url) as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'from-the-future'")
    with pytest.raises(DatabaseError, match="at revision from-the-future, which this version of Clarion does not know"):
        migrate(database_url)


def test_the_configured_database_is_opened_and_created(postgres_url: str) -> None:
    url = with_database(postgres_url, "clarion_configured")
    try:
        with open_database(Settings(database_url=SecretStr(url))) as opened:
            assert opened == url
            connect(opened).close()
    finally:
        drop_database(url)


def test_without_one_an_embedded_server_runs_meanwhile(open_folder: Path) -> None:
    settings = Settings(state_dir=open_folder / "state")
    with open_database(settings) as url:
        migrate(url)
        assert "block" in tables(url)
    with pytest.raises(psycopg.OperationalError):
        connect(url)
    embedded_server(settings).remove()
