"""Connections to Postgres, and the life of a database: created, migrated, dropped."""

import contextlib
import importlib.util
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, unquote, urlsplit

import alembic.command
import alembic.config
import psycopg
import sqlalchemy
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from psycopg import pq, sql
from psycopg.abc import AdaptContext, Buffer
from psycopg.adapt import Loader
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg_pool import AsyncConnectionPool

from clarion.config import Settings
from clarion.store.embedded import EmbeddedPostgres

MIGRATION_LOCK: Final = 0x636C6172696F6E  # "clarion": key of the advisory lock held while migrating
EMBEDDED_DATABASE: Final = "clarion"

NUMERIC_HEADER: Final = struct.Struct("!HhHH")  # digit count, weight, sign, display scale: Postgres' numeric_send
NUMERIC_NEGATIVE: Final = 0x4000
NUMERIC_SIGNS: Final = (0x0000, NUMERIC_NEGATIVE)
NUMERIC_BASE: Final = 10_000


class DatabaseError(Exception):
    """The database cannot be used as it is; the message says what to do."""


class NumericAsInt(Loader):
    """Loads `numeric` in text format as `int`: amounts are whole numbers of their smallest unit.

    Raises:
        psycopg.DataError: the value has a scale, or is no number.
    """

    format = pq.Format.TEXT

    def load(self, data: Buffer) -> int:
        """Value of a numeric such as `b"-12"`."""
        text = bytes(data).decode("ascii")
        if not text.removeprefix("-").isdigit():
            raise _not_whole(text)
        return int(text)


class NumericAsIntBinary(Loader):
    """The same for binary format."""

    format = pq.Format.BINARY

    def load(self, data: Buffer) -> int:
        """Value of a numeric as Postgres' `numeric_send` writes it: a header, then digits of base 10 000."""
        count, weight, sign, scale = NUMERIC_HEADER.unpack_from(data)
        if scale or sign not in NUMERIC_SIGNS:
            raise _not_whole(f"one with sign {sign:#06x} and scale {scale}")
        value: int = 0
        digit: int
        for digit in struct.unpack_from(f"!{count}H", data, NUMERIC_HEADER.size):
            value = value * NUMERIC_BASE + digit
        value *= NUMERIC_BASE ** max(weight + 1 - count, 0)
        return -value if sign == NUMERIC_NEGATIVE else value


def _not_whole(text: str) -> psycopg.DataError:
    return psycopg.DataError(
        f"A numeric is not a whole number: {text}. Amounts are integers of their smallest unit; round in the query."
    )


def register_types(connection: AdaptContext) -> None:
    """Make `connection` load `numeric` as `int`."""
    connection.adapters.register_loader("numeric", NumericAsInt)
    connection.adapters.register_loader("numeric", NumericAsIntBinary)


def connect(url: str, *, autocommit: bool = False, **parameters: Any) -> psycopg.Connection:
    """Open a connection that loads `numeric` as `int`; `parameters` are libpq's.

    Raises:
        psycopg.OperationalError: the server does not answer or refuses.
    """
    connection = psycopg.connect(url, autocommit=autocommit, **parameters)
    register_types(connection)
    return connection


def make_pool(url: str, *, min_size: int = 1, max_size: int = 8, **parameters: Any) -> AsyncConnectionPool:
    """A closed pool of connections that load `numeric` as `int`: use it as an async context manager.

    Connections are in autocommit mode, so that a read holds no transaction open; writers open their own.
    """

    async def configure(connection: psycopg.AsyncConnection) -> None:
        register_types(connection)

    return AsyncConnectionPool(
        url,
        min_size=min_size,
        max_size=max_size,
        open=False,
        configure=configure,
        kwargs={"autocommit": True, **parameters},
    )


def embedded_server(settings: Settings) -> EmbeddedPostgres:
    """The embedded Postgres of this installation, not started."""
    return EmbeddedPostgres(settings.state_dir / "postgres", installation=settings.postgres_dir)


@contextlib.contextmanager
def open_database(settings: Settings) -> Iterator[str]:
    """URL of the database to use: the configured one, or an embedded server's that runs for as long as the context.

    The database is created where it is missing, and left as it is otherwise: see `migrate`.
    """
    if settings.database_url is not None:
        url = settings.database_url.get_secret_value()
        create_database(url)
        yield url
        return
    with embedded_server(settings) as server:
        url = server.url(EMBEDDED_DATABASE)
        create_database(url)
        yield url


def create_database(url: str, *, template: str | None = None) -> None:
    """Create the database that `url` names, as a copy of `template` where given; nothing happens where it is there.

    Raises:
        DatabaseError: it is not there and may not be created.
    """
    name = database_name(url)
    with contextlib.suppress(psycopg.OperationalError):
        psycopg.connect(url).close()
        return
    statement = sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name))
    if template is not None:
        # files are copied as they are: the other way, through the log, takes three times as long
        statement += sql.SQL(" TEMPLATE {} STRATEGY FILE_COPY").format(sql.Identifier(template))
    try:
        with psycopg.connect(with_database(url, "postgres"), autocommit=True) as connection:
            connection.execute(statement)
    except (psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation):
        return  # another process was faster
    except psycopg.Error as error:
        raise DatabaseError(
            f"The database {name} is not there and cannot be created: {error}. Check that the server in "
            "CLARION_DATABASE_URL runs, and create the database there for the user that the URL names."
        ) from error


def drop_database(url: str) -> None:
    """Drop the database that `url` names, closing the connections to it; nothing happens where it is not there."""
    statement = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(database_name(url)))
    with psycopg.connect(with_database(url, "postgres"), autocommit=True) as connection:
        connection.execute(statement)


def database_name(url: str) -> str:
    """Name of the database that `url` leads to; libpq takes the user's name where it has none."""
    parts = urlsplit(url)
    return unquote(parts.path.removeprefix("/")) or parts.username or "postgres"


def with_database(url: str, name: str) -> str:
    """`url` with the database `name` in place of its own."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}/{quote(name, safe='')}{'?' if parts.query else ''}{parts.query}"


def with_server_settings(url: str, **settings: str | int) -> str:
    """``url`` with settings of the server for its connections, beside those that it has."""
    options = [
        str(conninfo_to_dict(url).get("options") or ""),
        *(f"-c {name}={value}" for name, value in settings.items()),
    ]
    return make_conninfo(url, options=" ".join(options).strip())


def make_engine(url: str) -> sqlalchemy.Engine:
    """A SQLAlchemy engine on psycopg that keeps no connection: for migrations, which are rare."""
    driver_url = sqlalchemy.make_url(url).set(drivername="postgresql+psycopg", database=database_name(url))
    # a user named as one of the schemas would have that as its default, which Alembic then takes for the unnamed one
    options = {"options": "-c search_path=public"}
    return sqlalchemy.create_engine(driver_url, poolclass=sqlalchemy.NullPool, connect_args=options)


def migrations_folder() -> Path:
    """Folder of the migrations: `migrations/` of the checkout, or the copy that a wheel carries inside the package."""
    spec = importlib.util.find_spec("clarion")
    if spec is None or spec.origin is None:
        raise DatabaseError("The package clarion has no files, so its migrations cannot be found. Install it again.")
    package = Path(spec.origin).parent
    carried = package / "_migrations"
    return carried if carried.is_dir() else package.parent.parent / "migrations"


def _locate_migrations() -> alembic.config.Config:
    config = alembic.config.Config()
    config.set_main_option("script_location", str(migrations_folder()).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def script_directory() -> ScriptDirectory:
    """The migrations there are, for asking which is the newest and what it follows."""
    return ScriptDirectory.from_config(_locate_migrations())


def alembic_config(connection: sqlalchemy.Connection) -> alembic.config.Config:
    """Alembic's configuration for running Clarion's migrations on `connection`."""
    config = _locate_migrations()
    config.attributes["connection"] = connection
    return config


def migrate(url: str, revision: str = "head") -> None:
    """Bring the database to `revision`, all or nothing; processes that migrate at once wait for each other.

    Raises:
        DatabaseError: the database is at a revision that this version of Clarion does not know.
    """
    with make_engine(url).begin() as connection:
        connection.execute(sqlalchemy.text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
        config = alembic_config(connection)
        _require_known_revision(connection)
        alembic.command.upgrade(config, revision)


def _require_known_revision(connection: sqlalchemy.Connection) -> None:
    known = {script.revision for script in script_directory().walk_revisions()}
    applied = set(MigrationContext.configure(connection).get_current_heads())
    if unknown := applied - known:
        raise DatabaseError(
            f"The database is at revision {', '.join(sorted(unknown))}, which this version of Clarion does not know. "
            "Run the version that made it or a newer one, or name another database."
        )
