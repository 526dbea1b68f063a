"""Reading the change log forwards from a sequence: blocks applied and retracted, their events, and rows changed.

Every function reads one piece with one statement, which is a snapshot and one trip to the database, and says up to
which sequence that piece goes; reading on from there misses nothing and repeats nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, LiteralString, TypeVar

from psycopg import sql
from psycopg_pool import AsyncConnectionPool

from clarion.chains.model import Chain, Finality
from clarion_graphql.core import BLOCK, EVENT
from clarion_graphql.entities import Entity
from clarion_graphql.errors import ApiError, Code, InputError
from clarion_graphql.session import fetch_alone
from clarion_graphql.sql import TRUE, Sql, all_of, build, join, literal

#: Most steps or changes read at once.
PIECE: Final = 200
#: How many sequence numbers are searched at once for changes that fulfil a condition.
WINDOW: Final = 20_000

#: The highest sequence that Postgres' ``bigint`` holds.
_MOST: Final = 2**63 - 1
#: Where the log of a chain stands and from where on it is kept, of some tables too, and which of their protocols were
#: made anew after a sequence. It is read by the same statement as the entries: a statement is a snapshot and one trip.
_BOUNDS: Final = """
(SELECT coalesce(u.sequence, 0) AS current, u.final_height, greatest(coalesce(u.kept_from, 0), (
        SELECT max(b.sequence) FROM clarion.kept p
        JOIN clarion.canonical_block b ON b.chain = p.chain AND b.height = p.from_height
        WHERE p.chain = g.chain AND p."table" = ANY(%s)
    )) AS kept_from, ARRAY(
        SELECT p.name FROM clarion.protocol p
        WHERE p.chain = g.chain AND p.name = ANY(%s) AND p.since_sequence > %s ORDER BY p.name
    ) AS rebuilt
FROM (SELECT %s::text AS chain) g LEFT JOIN clarion.cursor u ON u.chain = g.chain)
"""
_BLOCK_COLUMNS: Final = len(BLOCK.stored)
_EVENT_COLUMNS: Final = len(EVENT.stored)
#: The block ``t`` that a change names; null where that is none, or is not kept.
_BLOCK_OF_CHANGE: Final = sql.SQL("LEFT JOIN clarion.block t ON t.chain = s.chain AND t.hash = s.block_hash")
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
    """A block applied (or retracted) with those of its events that were asked for.

    ``final_height``: up to where everything is final now; None while nothing is.
    """

    sequence: int
    op: str
    block: Any
    final_height: int | None
    events: list[Any]


@dataclass(frozen=True, slots=True)
class Change:
    """A row's before and after. ``height`` and ``block`` are of the block whose state the row now has."""

    sequence: int
    op: str
    retraction: bool
    height: int
    block: Any
    table: str
    key: Any
    before: Any
    after: Any


@dataclass(frozen=True, slots=True)
class Start:
    """Where the log stands now: the sequence, the block at the tip, and up to where everything is final."""

    sequence: int
    tip: Any
    final_height: int | None


async def start(pool: AsyncConnectionPool, chain: Chain) -> Start:
    """Where the log stands now."""
    sequence, final_height, tip = await _at_cursor(
        pool, chain, "clarion.block t WHERE t.chain = u.chain AND t.hash = u.hash"
    )
    return Start(sequence, tip, final_height)


@dataclass(frozen=True, slots=True)
class FinalBlock:
    """The highest block that is final, None while none is, where the log stands at ``sequence``."""

    sequence: int
    block: Any


async def read_final(pool: AsyncConnectionPool, chain: Chain) -> FinalBlock:
    """The highest block that is final."""
    sequence, _, block = await _at_cursor(
        pool,
        chain,
        "clarion.canonical_block k JOIN clarion.block t ON t.chain = k.chain AND t.hash = k.hash "
        "WHERE k.chain = u.chain AND k.height = u.final_height",
    )
    return FinalBlock(sequence, block)


async def _at_cursor(pool: AsyncConnectionPool, chain: Chain, block: LiteralString) -> tuple[int, int | None, Any]:
    """Where the log stands (the cursor ``u``), up to where everything is final, and the block ``t`` of that place."""
    query = build(
        "SELECT u.sequence, u.final_height, t.* FROM clarion.cursor u "
        "LEFT JOIN LATERAL (SELECT {columns} FROM {block}) t ON true WHERE u.chain = {chain}",
        columns=BLOCK.selected,
        block=sql.SQL(block),
        chain=literal("%s", chain),
    )
    found = await fetch_alone(pool, query)
    if not found:
        return 0, None, None
    sequence, final_height, *columns = found[0]
    return sequence, final_height, _block(columns)


@dataclass(frozen=True, slots=True)
class _Bounds:
    """Where the log stands: the sequence, and up to where everything is final."""

    current: int
    final_height: int | None


async def _read(
    pool: AsyncConnectionPool,
    chain: Chain,
    since: int,
    entries: Sql,
    *,
    order: LiteralString = "5",
    tables: Sequence[str] = (),
) -> tuple[_Bounds, list[Sequence[Any]]]:
    """Where the log stands, and the rows of ``entries`` over the log after ``since``, by ``order``.

    The first column of ``entries`` is the sequence; it is the fifth here, and others may have its name.

    Raises ApiError where the log stands below ``since``, where what follows ``since`` is not kept (of one of
    ``tables``, or at all), or where one of these was made anew since: then its rows are others than changes tell of.
    """
    if since < 0:
        raise InputError("since is 0 or more.")
    protocols = sorted({table.partition(".")[0] for table in tables})
    query = build(
        "SELECT a.current, a.final_height, a.kept_from, a.rebuilt, e.* FROM {bounds} a "
        "LEFT JOIN LATERAL ({entries}) e ON true ORDER BY {order}",
        bounds=literal(_BOUNDS, list(tables), protocols, min(since, _MOST), chain),
        entries=entries,
        order=sql.SQL(order),
    )
    rows = await fetch_alone(pool, query)
    current, final_height, kept_from, rebuilt, *_ = rows[0]
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
    if rebuilt:
        raise ApiError(
            Code.PROJECTION_REBUILT,
            f"The rows of {', '.join(rebuilt)} were made anew after {since}, by another version of it. Read them again "
            f"and subscribe from that answer's receipt.",
            current=str(current),
            protocols=rebuilt,
        )
    return _Bounds(current, final_height), [entry for _, _, _, _, *entry in rows if entry[0] is not None]


async def read_steps(pool: AsyncConnectionPool, chain: Chain, after: int) -> Piece[Step]:
    """The next blocks applied and retracted."""
    entries = build(
        "SELECT s.sequence, s.op, {columns} FROM clarion.step s "
        "JOIN clarion.block t ON t.chain = s.chain AND t.hash = s.hash "
        "WHERE {after} ORDER BY s.sequence LIMIT {limit}",
        columns=BLOCK.selected,
        after=_after(chain, after),
        limit=sql.Literal(PIECE),
    )
    bounds, rows = await _read(pool, chain, after, entries)
    steps = [Step(sequence, op, _block(block), bounds.final_height, []) for sequence, op, *block in rows]
    return Piece(steps, _up_to(steps, bounds.current))


async def read_events(pool: AsyncConnectionPool, chain: Chain, after: int, condition: Sql) -> Piece[Step]:
    """The next blocks applied and retracted that hold events that fulfil a condition, with these events."""
    entries = build(
        "SELECT s.sequence, s.op, v.*, b.* FROM "
        "(SELECT * FROM clarion.step s WHERE {after} ORDER BY s.sequence LIMIT {limit}) s "
        # OFFSET keeps the condition out: by its contract a planner without statistics would read all that it ever said
        "LEFT JOIN LATERAL (SELECT row_number() OVER (ORDER BY t.tx_index, t.event_index) = 1 AS first, {event} FROM "
        "(SELECT * FROM clarion.event t WHERE t.chain = s.chain AND t.height = s.height AND t.block_hash = s.hash "
        "OFFSET 0) t WHERE {condition}) v ON true "
        # the block comes with its first event alone
        "LEFT JOIN LATERAL (SELECT {block} FROM clarion.block t "
        "WHERE v.first AND t.chain = s.chain AND t.hash = s.hash OFFSET 0) b ON true",
        after=_after(chain, after),
        limit=sql.Literal(PIECE),
        event=EVENT.selected,
        condition=condition,
        block=BLOCK.selected,
    )
    bounds, rows = await _read(pool, chain, after, entries, order="5, e.tx_index, e.event_index")
    steps: list[Step] = []
    for sequence, op, first, *columns in rows:
        if first is not False:
            steps.append(Step(sequence, op, _block(columns[_EVENT_COLUMNS:]), bounds.final_height, []))
        if first is not None:
            steps[-1].events.append(EVENT.make(*columns[:_EVENT_COLUMNS]))
    return Piece([step for step in steps if step.events], _up_to(steps, bounds.current))


async def read_changes(
    pool: AsyncConnectionPool,
    chain: Chain,
    after: int,
    tables: Sequence[str],
    key: Any = None,
) -> Piece[Change]:
    """The next row changes of these tables as they are in the log, of a key (as JSON text) where given."""
    entries = build(
        'SELECT s.sequence, s.op, s.retraction, s.height, s."table", s.key, s.before, s.after, {columns} '
        "FROM clarion.change s {block} WHERE {after} AND {narrowed} ORDER BY s.sequence LIMIT {limit}",
        columns=BLOCK.selected,
        block=_BLOCK_OF_CHANGE,
        after=_within_window(chain, after),
        narrowed=all_of(
            [
                literal('s."table" = ANY(%s)', list(tables)),
                None if key is None else literal("s.key = %s::jsonb", key),
            ]
        ),
        limit=sql.Literal(PIECE),
    )
    bounds, rows = await _read(pool, chain, after, entries, tables=tables)
    changes = [
        Change(sequence, op, retraction, height, _block(block), table, key, old, new)
        for sequence, op, retraction, height, table, key, old, new, *block in rows
    ]
    return Piece(changes, _up_to(changes, min(bounds.current, after + WINDOW)))


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
    entries = build(
        "SELECT s.sequence, s.op, s.retraction, s.height, s.key, {columns}, before.*, after.* "
        "FROM clarion.change s {block} {images} WHERE {after} AND {table} AND (before.fulfils OR after.fulfils) "
        "ORDER BY s.sequence LIMIT {limit}",
        columns=BLOCK.selected,
        block=_BLOCK_OF_CHANGE,
        images=join(images, " "),
        after=_within_window(chain, after),
        table=literal('s."table" = %s', entity.table),
        limit=sql.Literal(PIECE),
    )
    bounds, rows = await _read(pool, chain, after, entries, tables=[entity.table])
    changes = []
    for sequence, op, retraction, height, key, *columns in rows:
        block, images = columns[:_BLOCK_COLUMNS], columns[_BLOCK_COLUMNS:]
        old, new = images[: len(images) // 2], images[len(images) // 2 :]
        changes.append(
            Change(
                sequence,
                op,
                retraction,
                height,
                _block(block),
                entity.table,
                key,
                _row(entity, old),
                _row(entity, new),
            )
        )
    return Piece(changes, _up_to(changes, min(bounds.current, after + WINDOW)))


def _after(chain: Chain, after: int) -> Sql:
    return literal("s.chain = %s AND s.sequence > %s", chain, min(after, _MOST))


def _within_window(chain: Chain, after: int) -> Sql:
    last = min(after + WINDOW, _MOST)
    return literal("s.chain = %s AND s.sequence > %s AND s.sequence <= %s", chain, min(after, _MOST), last)


def _up_to(entries: Sequence[Step] | Sequence[Change], end: int) -> int:
    """Where to read on: after the last of a full piece, else at the end of what was looked through."""
    return entries[-1].sequence if len(entries) == PIECE else end


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
    rows = await fetch_alone(pool, query)
    return [FinalityMark(Finality(name), BLOCK.make(*block), sequence) for name, sequence, *block in rows]


def _block(values: Sequence[Any]) -> Any:
    """A block of its columns; None where an outer join found none."""
    return None if values[0] is None else BLOCK.make(*values)


def _row(entity: Entity, values: Sequence[Any]) -> Any:
    found, _, *columns = values
    return entity.make(*columns) if found else None
