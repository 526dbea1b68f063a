"""Reading the change log forwards from a sequence: blocks applied and retracted, their events, and rows changed.

Every function reads one piece in one snapshot and says up to which sequence that piece goes; reading on from there
misses nothing and repeats nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from psycopg import AsyncConnection, sql
from psycopg_pool import AsyncConnectionPool

from clarion.chains.model import Chain
from clarion_graphql.core import BLOCK, EVENT
from clarion_graphql.entities import Entity
from clarion_graphql.errors import ApiError, Code, InputError
from clarion_graphql.session import fetch, snapshot
from clarion_graphql.sql import TRUE, Sql, all_of, build, join, literal

#: Most steps or changes read at once.
PIECE: Final = 200
#: How many sequence numbers are searched at once for changes that fulfil a condition.
WINDOW: Final = 20_000

_IS_KEPT: Final = """
SELECT EXISTS (SELECT FROM clarion.step WHERE chain = %s AND sequence = %s)
    OR EXISTS (SELECT FROM clarion.change WHERE chain = %s AND sequence = %s)
"""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Piece(Generic[T]):
    """Entries in order, and the sequence up to which nothing else is of interest."""

    entries: Sequence[T]
    up_to: int


@dataclass(frozen=True, slots=True)
class Step:
    """A block applied (or retracted) with those of its events that were asked for."""

    sequence: int
    op: str
    block: Any
    events: Sequence[Any] = ()


@dataclass(frozen=True, slots=True)
class Change:
    """A row's before and after. ``height`` and ``block_hash`` name the block whose state the row now has."""

    sequence: int
    op: str
    retraction: bool
    height: int
    block_hash: bytes
    table: str
    key: Any
    before: Any
    after: Any


async def current_sequence(connection: AsyncConnection[Any], chain: Chain) -> int:
    """The sequence of a chain's index; 0 where there is none."""
    found = await fetch(connection, literal("SELECT sequence FROM clarion.cursor WHERE chain = %s", chain))
    return int(found[0][0]) if found else 0


async def start(pool: AsyncConnectionPool, chain: Chain, since: int | None) -> tuple[int, Any]:
    """Where a subscription begins: ``since``, or the current sequence, and the block that the tip is at then.

    Raises ApiError where nothing can be read on from ``since``.
    """
    async with snapshot(pool) as connection:
        if since is not None:
            await _require_kept(connection, chain, since)
            return since, None
        query = build(
            "SELECT u.sequence, t.* FROM clarion.cursor u LEFT JOIN LATERAL (SELECT {columns} FROM clarion.block t "
            "WHERE t.chain = u.chain AND t.hash = u.hash) t ON true WHERE u.chain = {chain}",
            columns=BLOCK.selected,
            chain=literal("%s", chain),
        )
        found = await fetch(connection, query)
        if not found:
            return 0, None
        sequence, *block = found[0]
        return sequence, None if block[0] is None else BLOCK.make(*block)


async def _require_kept(connection: AsyncConnection[Any], chain: Chain, since: int) -> int:
    """The current sequence. Raises ApiError where it is below ``since`` or what follows ``since`` is not kept.

    Steps and changes are numbered without gaps, so what follows is kept exactly where the next number is.
    """
    if since < 0:
        raise InputError("since is 0 or more.")
    current = await current_sequence(connection, chain)
    if since > current:
        raise ApiError(
            Code.SEQUENCE_AHEAD,
            f"since is {since}, but the {chain} index is at {current}: it was rebuilt, or since comes from another "
            f"one. Read the rows again and subscribe from that answer's receipt.",
            current=str(current),
        )
    if since < current:
        ((kept,),) = await fetch(connection, literal(_IS_KEPT, chain, since + 1, chain, since + 1))
        if not kept:
            raise ApiError(
                Code.SEQUENCE_EXPIRED,
                f"The {chain} changes after {since} are no longer kept. Read the rows again and subscribe from that "
                f"answer's receipt.",
                current=str(current),
            )
    return current


async def read_steps(pool: AsyncConnectionPool, chain: Chain, after: int) -> Piece[Step]:
    """The next blocks applied and retracted."""
    async with snapshot(pool) as connection:
        current = await _require_kept(connection, chain, after)
        query = build(
            "SELECT s.sequence, s.op, {columns} FROM clarion.step s "
            "JOIN clarion.block t ON t.chain = s.chain AND t.hash = s.hash "
            "WHERE {after} ORDER BY s.sequence LIMIT {limit}",
            columns=BLOCK.selected,
            after=_after(chain, after),
            limit=literal("%s", PIECE),
        )
        rows = await fetch(connection, query)
    steps = [Step(sequence, op, BLOCK.make(*block)) for sequence, op, *block in rows]
    return Piece(steps, steps[-1].sequence if len(steps) == PIECE else current)


def _after(chain: Chain, after: int) -> Sql:
    return literal("s.chain = %s AND s.sequence > %s", chain, after)


def _between(chain: Chain, after: int, up_to: int) -> Sql:
    return literal("s.chain = %s AND s.sequence > %s AND s.sequence <= %s", chain, after, up_to)


async def read_events(pool: AsyncConnectionPool, chain: Chain, after: int, condition: Sql) -> Piece[Step]:
    """The next blocks applied and retracted that hold events that fulfil a condition, with these events."""
    async with snapshot(pool) as connection:
        current = await _require_kept(connection, chain, after)
        window = build(
            "SELECT max(sequence), count(*) FROM (SELECT s.sequence FROM clarion.step s WHERE {after} "
            "ORDER BY s.sequence LIMIT {limit}) w",
            after=_after(chain, after),
            limit=literal("%s", PIECE),
        )
        ((last, count),) = await fetch(connection, window)
        up_to = last if count == PIECE else current
        query = build(
            "SELECT s.sequence, s.op, {columns} FROM clarion.step s "
            "JOIN clarion.event t ON t.chain = s.chain AND t.height = s.height AND t.block_hash = s.hash "
            "WHERE {after} AND {condition} "
            "ORDER BY s.sequence, t.tx_index, t.event_index",
            columns=EVENT.selected,
            after=_between(chain, after, up_to),
            condition=condition,
        )
        rows = await fetch(connection, query)
    steps: list[Step] = []
    events: list[Any] = []
    for sequence, op, *event in rows:
        if not steps or steps[-1].sequence != sequence:
            events = []
            steps.append(Step(sequence, op, None, events))
        events.append(EVENT.make(*event))
    return Piece(steps, up_to)


async def read_changes(
    pool: AsyncConnectionPool, chain: Chain, after: int, *, table: str | None = None, key: Any = None
) -> Piece[Change]:
    """The next row changes as they are in the log, of a table and a key where given (``key`` as JSON text)."""
    async with snapshot(pool) as connection:
        up_to = min(await _require_kept(connection, chain, after), after + WINDOW)
        query = build(
            'SELECT s.sequence, s.op, s.retraction, s.height, s.block_hash, s."table", s.key, s.before, s.after '
            "FROM clarion.change s WHERE {after} AND {narrowed} ORDER BY s.sequence LIMIT {limit}",
            after=_between(chain, after, up_to),
            narrowed=all_of(
                [
                    None if table is None else literal('s."table" = %s', table),
                    None if key is None else literal("s.key = %s::jsonb", key),
                ]
            ),
            limit=literal("%s", PIECE),
        )
        rows = await fetch(connection, query)
    changes = [Change(*row) for row in rows]
    return Piece(changes, changes[-1].sequence if len(changes) == PIECE else up_to)


async def read_row_changes(
    pool: AsyncConnectionPool, chain: Chain, after: int, entity: Entity, condition: Sql = TRUE
) -> Piece[Change]:
    """The next changes of an entity's rows, as rows, where the row fulfils a condition before or after."""
    state = sql.SQL(
        "LEFT JOIN LATERAL (SELECT true AS found, ({condition}) AS fulfils, {columns} "
        "FROM jsonb_populate_record(NULL::{source}, s.{image}) t WHERE s.{image} IS NOT NULL) {image} ON true"
    )
    images = [
        Sql(
            state.format(
                condition=condition.text, columns=entity.selected, source=entity.source, image=sql.Identifier(image)
            ),
            condition.parameters,
        )
        for image in ("before", "after")
    ]
    async with snapshot(pool) as connection:
        up_to = min(await _require_kept(connection, chain, after), after + WINDOW)
        query = build(
            "SELECT s.sequence, s.op, s.retraction, s.height, s.block_hash, s.key, before.*, after.* "
            "FROM clarion.change s {images} WHERE {after} AND {table} AND (before.fulfils OR after.fulfils) "
            "ORDER BY s.sequence LIMIT {limit}",
            images=join(images, " "),
            after=_between(chain, after, up_to),
            table=literal('s."table" = %s', entity.table),
            limit=literal("%s", PIECE),
        )
        rows = await fetch(connection, query)
    width = len(entity.stored) + 2
    changes = [
        Change(
            sequence,
            op,
            retraction,
            height,
            block_hash,
            entity.table,
            key,
            _row(entity, images[:width]),
            _row(entity, images[width:]),
        )
        for sequence, op, retraction, height, block_hash, key, *images in rows
    ]
    return Piece(changes, changes[-1].sequence if len(changes) == PIECE else up_to)


def _row(entity: Entity, values: Sequence[Any]) -> Any:
    found, _, *columns = values
    return entity.make(*columns) if found else None
