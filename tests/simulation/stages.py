"""Faults at the boundaries of a batch's stages, made in the database: triggers that fail, cut off, or wait.

Every stage of the indexer writes a table of its own, so a trigger on that table is the boundary before the next stage.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, Final

import psycopg
from psycopg import sql

#: What the indexer writes, in the order in which a batch does.
STAGES: Final = (
    ("clarion.inbox", "INSERT"),
    ("clarion.block", "INSERT"),
    ("clarion.transaction", "INSERT"),
    ("clarion.event", "INSERT"),
    ("toy.account", "INSERT OR UPDATE OR DELETE"),
    ("clarion.canonical_block", "INSERT OR DELETE"),
    ("clarion.canonical_burn_block", "INSERT OR DELETE"),
    ("clarion.step", "INSERT"),
    ("clarion.change", "INSERT"),
    ("clarion.digest", "INSERT OR DELETE"),
    ("clarion.cursor", "UPDATE"),
    ("clarion.inbox", "DELETE"),
)
#: What happens at a boundary, as PL/pgSQL.
DISK_FULL: Final = "RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = '53100'"
CUT_OFF: Final = "PERFORM pg_terminate_backend(pg_backend_pid())"
#: ``WAIT`` waits for as long as somebody else holds this advisory lock.
LOCK: Final = 4242
WAIT: Final = f"PERFORM pg_advisory_xact_lock_shared({LOCK})"

_FUNCTION: Final = "CREATE OR REPLACE FUNCTION public.fault() RETURNS trigger LANGUAGE plpgsql AS %s"


@contextlib.contextmanager
def fault_at(
    connection: psycopg.Connection[Any], stage: tuple[str, str], action: str, *, at_commit: bool = False
) -> Iterator[Callable[[], bool]]:
    """Let ``action`` happen whenever a stage has written, or (``at_commit``) when what it wrote is committed.

    Gives a function that says whether it has happened.
    """
    before = _happened(connection)
    table, operations = stage
    connection.execute(
        sql.SQL(_FUNCTION.replace("%s", "{}")).format(
            sql.Literal(f"BEGIN PERFORM nextval('public.faults'); {action}; RETURN NULL; END")
        )
    )
    on = sql.SQL("AFTER " + operations + " ON {}").format(sql.Identifier(*table.split(".")))
    if at_commit:
        create = sql.SQL("CREATE CONSTRAINT TRIGGER fault {} DEFERRABLE INITIALLY DEFERRED FOR EACH ROW {}")
    else:
        create = sql.SQL("CREATE TRIGGER fault {} FOR EACH STATEMENT {}")
    connection.execute(create.format(on, sql.SQL("EXECUTE FUNCTION public.fault()")))
    try:
        yield lambda: _happened(connection) > before
    finally:
        connection.execute(sql.SQL("DROP TRIGGER fault ON {}").format(sql.Identifier(*table.split("."))))


@contextlib.contextmanager
def held(connection: psycopg.Connection[Any]) -> Iterator[None]:
    """Hold what ``WAIT`` waits for."""
    connection.execute("SELECT pg_advisory_lock(%s)", (LOCK,))
    try:
        yield
    finally:
        connection.execute("SELECT pg_advisory_unlock(%s)", (LOCK,))


def _happened(connection: psycopg.Connection[Any]) -> int:
    """How many faults have happened; those of transactions that were undone count, because sequences are not undone."""
    connection.execute("CREATE SEQUENCE IF NOT EXISTS public.faults")
    row = connection.execute("SELECT last_value FROM public.faults WHERE is_called").fetchone()
    return 0 if row is None else int(row[0])
