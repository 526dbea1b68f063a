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

from clarion.chains.model import Chain, Finality
from clarion_graphql.core import BLOCK, EVENT
from clarion_graphql.entities import Entity
from clarion_graphql.errors import ApiError, Code, InputError
from clarion_graphql.session import fetch, snapshot
from clarion_graphql.sql import TRUE, Sql, all_of, build, join, literal

#: Most steps or changes read at once.
PIECE: Final = 200
#: How many sequence numbers are searched at once for changes that fulfil a condition.
WINDOW: Final = 20_000

_CURSOR: Final = "SELECT sequence, kept_from FROM clarion.cursor WHERE chain = %s"
_REBUILT: Final = (
    "SELECT name FROM clarion.protocol WHERE chain = %s AND name = ANY(%s) AND since_sequence > %s ORDER BY name"
)
_KEPT_OF_TABLES: Final = (
    'SELECT p."table", b.sequence FROM clarion.kept p '
    "JOIN clarion.canonical_block b ON b.chain = p.chain AND b.height = p.from_height "
    'WHERE p.chain = %s AND p."table" = ANY(%s)'
)
#: How many blocks under the tip are looked through for the highest that is anchored.
_SOFT_BLOCKS: Final = 5_000

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


async def start(pool: AsyncConnectionPool, chain: Chain) -> tuple[int, Any]:
    """The current sequence, and the block that the tip is at then."""
    query = build(
        "SELECT u.sequence, t.* FROM clarion.cursor u LEFT JOIN LATERAL (SELECT {columns} FROM clarion.block t "
        "WHERE t.chain = u.chain AND t.hash = u.hash) t ON true WHERE u.chain = {chain}",
        columns=BLOCK.selected,
        chain=literal("%s", chain),
    )
    async with snapshot(pool) as connection:
        found = await fetch(connection, query)
    if not found:
        return 0, None
    sequence, *block = found[0]
    return sequence, None if block[0] is None else BLOCK.make(*block)


async def _require_kept(connection: AsyncConnection[Any], chain: Chain, since: int, tables: Sequence[str] = ()) -> int:
    """The current sequence.

    Raises ApiError where it is below ``since``, where what follows ``since`` is not kept (of one of ``tables``, or
    at all), or where one of these was made anew since: then its rows are others than changes tell of.
    """
    if since < 0:
        raise InputError("since is 0 or more.")
    found = await fetch(connection, literal(_CURSOR, chain))
    current, kept_from = found[0] if found else (0, 0)
    for _, kept_of_table in await fetch(connection, literal(_KEPT_OF_TABLES, chain, list(tables))):
        kept_from = max(kept_from, kept_of_table)
    if since > current:
        raise ApiError(
            Code.SEQUENCE_AHEAD,
            f"since is {since}, but the {chain} index is at {current}: it was rebuilt, or since comes from another "
            f"one. Read the rows again and subscribe from that answer's receipt.",
            current=str(current),
        )
    if since < kept_from:
        raise ApiError(
            Code.SEQUENCE_EXPIRED,
            f"Of the {chain} changes only those after {kept_from} are kept, not all after {since}. Read the rows again "
            f"and subscribe from that answer's receipt.",
            current=str(current),
        )
    protocols = sorted({table.partition(".")[0] for table in tables})
    rebuilt = [name for (name,) in await fetch(connection, literal(_REBUILT, chain, protocols, since))]
    if rebuilt:
        raise ApiError(
            Code.PROJECTION_REBUILT,
            f"The rows of {', '.join(rebuilt)} were made anew after {since}, by another version of it. Read them again "
            f"and subscribe from that answer's receipt.",
            current=str(current),
            protocols=rebuilt,
        )
    return int(current)


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
    pool: AsyncConnectionPool,
    chain: Chain,
    after: int,
    tables: Sequence[str],
    key: Any = None,
) -> Piece[Change]:
    """The next row changes of these tables as they are in the log, of a key (as JSON text) where given."""
    async with snapshot(pool) as connection:
        up_to = min(await _require_kept(connection, chain, after, tables), after + WINDOW)
        query = build(
            'SELECT s.sequence, s.op, s.retraction, s.height, s.block_hash, s."table", s.key, s.before, s.after '
            "FROM clarion.change s WHERE {after} AND {narrowed} ORDER BY s.sequence LIMIT {limit}",
            after=_between(chain, after, up_to),
            narrowed=all_of(
                [
                    literal('s."table" = ANY(%s)', list(tables)),
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
        up_to = min(await _require_kept(connection, chain, after, [entity.table]), after + WINDOW)
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


@dataclass(frozen=True, slots=True)
class FinalityMark:
    """The highest block of a finality: everything below it is at least as final. ``sequence``: when that was so."""

    finality: Finality
    block: Any
    sequence: int


async def read_finality(pool: AsyncConnectionPool, chain: Chain) -> list[FinalityMark]:
    """The highest final and the highest anchored block, where there are any."""
    query = build(
        """
        SELECT x.finality, u.sequence, {columns} FROM clarion.cursor u CROSS JOIN LATERAL (
            SELECT 'final' AS finality, u.final_height AS height
            UNION ALL
            SELECT 'anchored', max(k.height) FROM (
                SELECT k.height, k.hash FROM clarion.canonical_block k
                WHERE k.chain = u.chain AND k.height >= coalesce(u.final_height, 0) ORDER BY k.height DESC LIMIT {limit}
            ) k JOIN clarion.block b ON b.chain = u.chain AND b.hash = k.hash
            LEFT JOIN clarion.canonical_burn_block a ON a.height = b.burn_height AND a.hash = b.burn_hash
            WHERE a.hash IS NOT NULL OR u.chain = 'bitcoin'
        ) x
        JOIN clarion.canonical_block k ON k.chain = u.chain AND k.height = x.height
        JOIN clarion.block t ON t.chain = u.chain AND t.hash = k.hash
        WHERE u.chain = {chain} ORDER BY x.finality DESC
        """,
        columns=BLOCK.selected,
        limit=literal("%s", _SOFT_BLOCKS),
        chain=literal("%s", chain),
    )
    async with snapshot(pool) as connection:
        rows = await fetch(connection, query)
    return [FinalityMark(Finality(name), BLOCK.make(*block), sequence) for name, sequence, *block in rows]


def _row(entity: Entity, values: Sequence[Any]) -> Any:
    found, _, *columns = values
    return entity.make(*columns) if found else None
