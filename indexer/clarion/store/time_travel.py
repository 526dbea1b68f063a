"""Projection tables as they were at an earlier block, told from the change log.

The work is done in the database, for every client alike: ``clarion.as_of(NULL::bithedge.policy, 1200)`` gives the rows
of a table at a canonical block, and ``clarion.as_of_query`` the query behind it, to be built into a larger one.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import psycopg
from psycopg import Connection, sql

from clarion.chains.model import Chain


class Refusal(StrEnum):
    """Why a state of the index cannot be read: the SQLSTATE that the SQL functions raise."""

    UNKNOWN_BLOCK = "ZT001"
    """It is at no canonical block of the index."""
    NOT_KEPT = "ZT002"
    """It was pruned."""
    NOT_LIVE = "ZT003"
    """The table belongs to no protocol that is indexed now."""


class TimeTravelError(LookupError):
    """A table cannot be read as of a block; the message says why."""

    def __init__(self, refusal: Refusal, message: str) -> None:
        super().__init__(message)
        self.refusal = refusal


def refused(error: psycopg.Error) -> TimeTravelError | None:
    """What an error of the SQL functions means; None where it is of another kind."""
    try:
        refusal = Refusal(error.sqlstate or "")
    except ValueError:
        return None
    return TimeTravelError(refusal, error.diag.message_primary or "")


def as_of_query(table: str, height: int, chain: Chain) -> tuple[sql.Composed, tuple[Any, ...]]:
    """The statement, with its parameters, that gives the text of the query for a table's rows at a canonical block."""
    return (
        sql.SQL("SELECT clarion.as_of_query({}::regclass, %s, %s)").format(
            sql.Literal(sql.Identifier(*table.split(".")).as_string())
        ),
        (height, chain),
    )


def as_of(connection: Connection[Any], table: str, height: int, chain: Chain = "stacks") -> sql.Composed:
    """The rows of a table (``schema.name``) at a canonical block, as a relation for the FROM of a query.

    Conditions on its key reach the indexes. It is for a query that is run with parameters, in the same snapshot as
    this: another may be pruned further. Raises TimeTravelError.
    """
    try:
        found = connection.execute(*as_of_query(table, height, chain)).fetchone()
    except psycopg.Error as error:
        raise refused(error) or error from error
    assert found is not None
    return relation(found[0])


def relation(query: str) -> sql.Composed:
    """A query's text, as ``clarion.as_of_query`` gives it, as a relation in a query that is run with parameters."""
    return sql.SQL("({})").format(sql.SQL(query.replace("%", "%%")))
