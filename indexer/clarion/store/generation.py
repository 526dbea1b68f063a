"""Generations of a protocol's projection: the next one is filled from the chain log beside the live one, then switched.

The live generation's tables are in the schema ``<protocol>``, the next one's in ``<protocol>__next``. Only final blocks
are filled in beforehand, so that no reorg concerns them; the few above are projected by the index's writer in the
transaction that switches. Afterwards rows, digests and the past are what an index from the first block on would have.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from msgspec import structs
from psycopg import Connection, sql
from sqlalchemy import MetaData, Table
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateIndex, CreateTable

from clarion.chains.model import Block, BlockRef, BurnBlock, Chain, Event, EventKind, Transaction, TransactionStatus
from clarion.discovery import DEPLOY
from clarion.protocol import DeployedProtocol, Protocol
from clarion.store import copy
from clarion.store.chain_log import json_text
from clarion.store.change_log import copy_changes
from clarion.store.digest import EMPTY_DIGEST
from clarion.store.projector import Projected, Projector
from clarion.store.registry import fingerprint
from clarion.store.row_sql import RowTables
from clarion.store.rows import Change, Key, RowType
from clarion.store.store import Store, notify, write_anomalies

CHUNK_BLOCKS: Final = 500
"""How many blocks are filled in within one transaction."""
CATCH_UP_BLOCKS: Final = 5_000
"""With more final blocks than this still to do, they are filled in first: the switch holds the writer up."""
PRUNE_ROWS: Final = 5_000
LOCK_SECONDS: Final = 5
"""How long a switch waits for readers of the old tables. Whoever wants to read them waits behind it."""

_DDL: Final = postgresql.dialect(paramstyle="named")  # type: ignore[no-untyped-call]


class GenerationError(RuntimeError):
    """A generation cannot be filled or switched to. The message says why and what to do."""


def next_schema(protocol: Protocol) -> str:
    """The schema of the next generation's tables."""
    return f"{protocol.name}__next"


def make_tables(connection: Connection[Any], protocol: Protocol, schema: str) -> None:
    """Create those of a protocol's tables that ``schema`` lacks, with their indexes, from the models."""
    have = _tables_in(connection, schema)
    missing = [table for table in _tables(protocol, schema) if table.name not in have]
    if not missing:
        return
    with connection.transaction():
        connection.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(schema)))
        for table in missing:
            connection.execute(_raw(CreateTable(table)))
            for index in sorted(table.indexes, key=lambda index: str(index.name)):
                connection.execute(_raw(CreateIndex(index)))


def require_tables(connection: Connection[Any], chain: Chain, protocols: Iterable[DeployedProtocol]) -> None:
    """Make sure that the protocols' tables are there, before a store is opened.

    In an index without blocks outdated tables are made anew. Where it has some, they go on serving until the next
    generation replaces them.
    """
    row = connection.execute("SELECT height FROM clarion.cursor WHERE chain = %s", (chain,)).fetchone()
    empty = row is None or row[0] is None
    for protocol in (deployed.protocol for deployed in protocols):
        have = _tables_in(connection, protocol.name)
        for row_type in protocol.row_types:
            name = row_type.name.partition(".")[2]
            if empty and name in have and have[name] != frozenset(row_type.columns):
                connection.execute(sql.SQL("DROP TABLE {}").format(sql.Identifier(protocol.name, name)))
        make_tables(connection, protocol, protocol.name)


def _tables(protocol: Protocol, schema: str) -> list[Table]:
    copies = MetaData()
    for row_type in protocol.row_types:
        row_type.table.to_metadata(copies, schema=schema, referred_schema_fn=lambda *_: schema)
    return list(copies.sorted_tables)


def _tables_in(connection: Connection[Any], schema: str) -> dict[str, frozenset[str]]:
    """The tables of a schema with the names of their columns."""
    found = connection.execute(
        "SELECT table_name, array_agg(column_name::text) FROM information_schema.columns WHERE table_schema = %s "
        "GROUP BY table_name",
        (schema,),
    )
    return {name: frozenset(columns) for name, columns in found}


def _raw(element: CreateTable | CreateIndex) -> bytes:
    return str(element.compile(dialect=_DDL)).encode()


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a generation is filled: ``height`` of ``final_height`` (None: nothing)."""

    generation: int
    height: int | None
    final_height: int | None


class Filling:
    """Fills a protocol's next generation, chunk by chunk, over a connection of its own (autocommit).

    Everything is in the database after each chunk: a filling that was interrupted goes on where it was. One process
    fills a protocol at a time; another waits for it. ``forced``: also where the live generation is what it would be;
    otherwise that is a GenerationError.
    """

    def __init__(
        self,
        connection: Connection[Any],
        chain: Chain,
        deployed: DeployedProtocol,
        *,
        chunk_blocks: int = CHUNK_BLOCKS,
        forced: bool = False,
    ) -> None:
        self._connection = connection
        self._chain: Chain = chain
        self._deployed = deployed
        self._forced = forced
        self._chunk_blocks = chunk_blocks
        self._fingerprint = fingerprint(deployed)
        self._next = _NextRows(connection, chain, deployed)
        self._pending: list[tuple[int, bytes]] = []
        self._up_to: int | None = None
        self.progress = self._begin()

    def _begin(self) -> Progress:
        """Go on with a generation of the same fingerprint that is being filled, or begin one."""
        name = self._deployed.protocol.name
        execute = self._connection.execute
        execute("SELECT pg_advisory_lock(hashtextextended(%s, 0))", (f"clarion fill {self._chain} {name}",))
        with self._connection.transaction():
            execute(
                "INSERT INTO clarion.protocol (chain, name, generation, fingerprint, contracts, since_sequence) "
                "VALUES (%s, %s, 0, '', '{}', 0) ON CONFLICT DO NOTHING",
                (self._chain, name),
            )
            row = execute(
                "SELECT generation, next_generation, next_fingerprint, next_height, "
                "generation > 0 AND stopped_sequence IS NULL AND fingerprint = %s FROM clarion.protocol "
                "WHERE chain = %s AND name = %s FOR UPDATE",
                (self._fingerprint, self._chain, name),
            ).fetchone()
            assert row is not None
            generation, next_generation, next_fingerprint, height, live = row
            if live and next_generation is None and not self._forced:
                raise GenerationError(f"{name} is live: nothing is to be filled in")
            if next_generation is None or next_fingerprint != self._fingerprint:
                height = None
                next_generation = max(generation, next_generation or 0) + 1
                schema = next_schema(self._deployed.protocol)
                execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(schema)))
                make_tables(self._connection, self._deployed.protocol, schema)
                execute(
                    "UPDATE clarion.protocol SET next_generation = %s, next_fingerprint = %s, next_height = NULL, "
                    "next_ready = false, updated_at = now() WHERE chain = %s AND name = %s",
                    (next_generation, self._fingerprint, self._chain, name),
                )
        self._next.start(next_generation)
        return Progress(next_generation, height, final_height(self._connection, self._chain))

    def step(self) -> bool:
        """Fill in the next chunk of final blocks. False where all are in: the generation is ready to be switched to.

        Raises ProjectionError where a handler is defective, and GenerationError where the generation was switched to
        or dropped meanwhile.
        """
        height = -1 if self.progress.height is None else self.progress.height
        if not self._pending:
            self._up_to = final_height(self._connection, self._chain)
            self.progress = Progress(self.progress.generation, self.progress.height, self._up_to)
            if self._up_to is not None and height < self._up_to:
                self._pending = blocks_of(self._connection, self._chain, self._deployed, height, self._up_to)[::-1]
        done = self._up_to is None or height >= self._up_to
        chunk = [self._pending.pop() for _ in range(min(self._chunk_blocks, len(self._pending)))]
        reached = self.progress.height if done else chunk[-1][0] if self._pending else self._up_to
        with self._connection.transaction():
            locked = self._connection.execute(
                "UPDATE clarion.protocol SET next_height = %s, next_ready = %s, updated_at = now() "
                "WHERE chain = %s AND name = %s AND next_generation = %s AND next_fingerprint = %s",
                (reached, done, self._chain, self._deployed.protocol.name, self.progress.generation, self._fingerprint),
            )
            if locked.rowcount != 1:
                raise GenerationError(
                    f"generation {self.progress.generation} of {self._deployed.protocol.name} is not being filled any "
                    "more: another process took it over"
                )
            self._next.fill(load_for(self._connection, self._chain, self._deployed, [found for _, found in chunk]))
        self._next.trim()
        self.progress = Progress(self.progress.generation, reached, self._up_to)
        return not done


class _NextRows:
    """The rows, history and digests of a protocol's next generation."""

    def __init__(self, connection: Connection[Any], chain: Chain, deployed: DeployedProtocol) -> None:
        protocol = deployed.protocol
        self._connection = connection
        self._chain = chain
        self._name = protocol.name
        self._tables = RowTables(protocol.row_types, {protocol.name: next_schema(protocol)})
        self._projector = Projector([deployed], self._load)
        self._generation = 0

    def _load(self, row_type: RowType, key: Key) -> Sequence[Any] | None:
        return self._tables.load(self._connection, row_type, key)

    def start(self, generation: int) -> None:
        """Go on from what is in the database of this generation."""
        self._generation = generation
        found = self._connection.execute(
            "SELECT digest FROM clarion.digest WHERE chain = %s AND protocol = %s AND generation = %s "
            "ORDER BY height DESC LIMIT 1",
            (self._chain, self._name, generation),
        ).fetchone()
        digests = {self._name: EMPTY_DIGEST if found is None else found[0]}
        self._projector.clear(digests, self._tables.empty(self._connection))

    def _load_many(
        self, keys: Mapping[RowType, Sequence[Key]]
    ) -> Mapping[RowType, Sequence[tuple[Key, Sequence[Any]]]]:
        return self._tables.load_many(self._connection, keys)

    def project(self, blocks: Sequence[Block]) -> list[tuple[BlockRef, Projected]]:
        """Project blocks and write the rows and digests that come of it."""
        refs = [block.ref for block in blocks]
        projected = list(zip(refs, self._projector.project_all(blocks, self._load_many), strict=True))
        self._tables.write(self._connection, [change for _, one in projected for change in one.changes])
        head = copy.row_head(5) + copy.text(self._chain)
        digests = [
            b"".join(
                (
                    head,
                    copy.common_text(name),
                    copy.bigint(self._generation),
                    copy.bigint(ref.height),
                    copy.bytea(digest),
                )
            )
            for ref, one in projected
            for name, digest in one.digests.items()
        ]
        copy.copy_rows(self._connection, b"clarion.digest (chain, protocol, generation, height, digest)", digests)
        anomalies = [anomaly for _, one in projected for anomaly in one.anomalies]
        write_anomalies(self._connection.cursor(), self._chain, anomalies)
        return projected

    def fill(self, blocks: Sequence[Block]) -> None:
        """Project final blocks: what they change goes to the history."""
        head = copy.row_head(6) + copy.text(self._chain)
        generation = copy.bigint(self._generation)
        rows = [
            b"".join(
                (
                    head,
                    copy.common_text(change.table),
                    generation,
                    copy.jsonb(change.key_json),
                    copy.bigint(ref.height),
                    copy.jsonb(change.after_json),
                )
            )
            for ref, one in self.project(blocks)
            for change in one.changes
        ]
        copy.copy_rows(self._connection, b'clarion.history (chain, "table", generation, key, height, after)', rows)

    def trim(self) -> None:
        """Drop the cache where it has grown too large."""
        self._projector.rows.trim()


def final_height(connection: Connection[Any], chain: Chain) -> int | None:
    """Height of the highest block that was ever final, or None."""
    found = connection.execute("SELECT final_height FROM clarion.cursor WHERE chain = %s", (chain,)).fetchone()
    return None if found is None else found[0]


def blocks_of(
    connection: Connection[Any], chain: Chain, deployed: DeployedProtocol, after: int, up_to: int
) -> list[tuple[int, bytes]]:
    """Height and hash of the canonical blocks in (after, up_to] that may concern a protocol, the lowest first."""
    if deployed.open_ended:
        query = (
            "SELECT k.height, k.hash FROM clarion.canonical_block k "
            "JOIN clarion.block b ON b.chain = k.chain AND b.hash = k.hash "
            "WHERE k.chain = %(chain)s AND k.height > %(after)s AND k.height <= %(up_to)s "
            "AND (b.event_count > 0 OR (b.transaction_count > 0 AND %(deployments)s)) ORDER BY k.height"
        )
    else:
        query = (
            "SELECT DISTINCT k.height, k.hash FROM clarion.event e "
            "JOIN clarion.canonical_block k ON k.chain = e.chain AND k.height = e.height AND k.hash = e.block_hash "
            "WHERE e.chain = %(chain)s AND e.contract = ANY(%(contracts)s) "
            "AND e.height > %(after)s AND e.height <= %(up_to)s ORDER BY k.height"
        )
    return connection.execute(
        query,
        {
            "chain": chain,
            "after": after,
            "up_to": up_to,
            "deployments": deployed.sees_deployments,
            "contracts": list(deployed.contracts),
        },
    ).fetchall()


def load_for(
    connection: Connection[Any], chain: Chain, deployed: DeployedProtocol, hashes: Sequence[bytes]
) -> list[Block]:
    """Blocks of the chain log with what projecting them for a protocol takes, in the order of ``hashes``.

    Events of contracts that do not concern it are left out, as are the bytes and results of transactions, and what
    they asked for except where it is a deployment.
    """
    where = {
        "chain": chain,
        "hashes": list(hashes),
        "contracts": None if deployed.open_ended else list(deployed.contracts),
    }
    heads = {
        row[0]: row
        for row in connection.execute(
            "SELECT hash, height, parent_hash, time, burn_height, burn_hash FROM clarion.block "
            "WHERE chain = %(chain)s AND hash = ANY(%(hashes)s)",
            where,
        )
    }
    where["heights"] = [row[1] for row in heads.values()]
    transactions: dict[bytes, list[Transaction]] = {block_hash: [] for block_hash in hashes}
    events: dict[bytes, list[Event]] = {block_hash: [] for block_hash in hashes}
    for block_hash, index, tx_id, status, kind, sender, contract, payload, raw in connection.execute(
        "SELECT block_hash, tx_index, tx_id, status, kind, sender, contract, "
        f"CASE WHEN kind = '{DEPLOY}' THEN payload END, CASE WHEN kind = '{DEPLOY}' THEN raw ELSE '' END "
        "FROM clarion.transaction "
        "WHERE chain = %(chain)s AND height = ANY(%(heights)s) AND block_hash = ANY(%(hashes)s) ORDER BY tx_index",
        where,
    ):
        transactions[block_hash].append(
            Transaction(
                index=index,
                id=tx_id,
                status=TransactionStatus(status),
                kind=kind,
                sender=sender,
                sponsor=None,
                nonce=None,
                fee=None,
                contract=contract,
                function=None,
                stored_payload=payload,
                result=None,
                raw=raw,
            )
        )
    for block_hash, tx_index, index, kind, contract, topic, value, raw in connection.execute(
        "SELECT block_hash, tx_index, event_index, kind, contract, topic, value, raw FROM clarion.event "
        "WHERE chain = %(chain)s AND height = ANY(%(heights)s) AND block_hash = ANY(%(hashes)s) "
        "AND (%(contracts)s::text[] IS NULL OR contract = ANY(%(contracts)s)) ORDER BY tx_index, event_index",
        where,
    ):
        events[block_hash].append(Event(tx_index, index, EventKind(kind), contract, topic, value, raw))
    blocks = []
    for block_hash in hashes:
        _, height, parent_hash, time, burn_height, burn_hash = heads[block_hash]
        ref = BlockRef(chain, height, block_hash, parent_hash)
        burn = None if burn_hash is None else BurnBlock(burn_height, burn_hash)
        blocks.append(Block(ref, time, burn, tuple(transactions[block_hash]), tuple(events[block_hash]), {}))
    return blocks


def ready_protocols(store: Store) -> list[DeployedProtocol]:
    """The enabled protocols whose next generation is filled and made of what is enabled now."""
    found = dict(
        store.connection.execute(
            "SELECT name, next_fingerprint FROM clarion.protocol WHERE chain = %s AND next_ready", (store.chain,)
        ).fetchall()
    )
    enabled = (*store.live, *store.waiting)
    return [deployed for deployed in enabled if found.get(deployed.protocol.name) == fingerprint(deployed)]


def switch(store: Store, deployed: DeployedProtocol) -> bool:
    """Bring a protocol's next generation to the tip and make it the live one, in one transaction of the writer.

    Readers see the old tables until it is committed and the new ones from then on. The blocks above those that were
    filled in are logged as changes, as if they had just come. False where too many final blocks came meanwhile: then
    the filling has to go on. Raises FencedOutError, ProjectionError, and psycopg.errors.LockNotAvailable
    where a reader holds on to the old tables: nothing has changed then, try again.
    """
    connection, chain, protocol = store.connection, store.chain, deployed.protocol
    with store.batch() as batch:
        row = connection.execute(
            "SELECT next_generation, next_height FROM clarion.protocol "
            "WHERE chain = %s AND name = %s AND next_ready AND next_fingerprint = %s FOR UPDATE",
            (chain, protocol.name, fingerprint(deployed)),
        ).fetchone()
        if row is None:
            raise GenerationError(f"the next generation of {protocol.name} is not ready to be switched to")
        next_generation, filled = row
        filled = -1 if filled is None else filled
        tip, final = batch.tip, -1 if store.final_height is None else store.final_height
        if final - filled > CATCH_UP_BLOCKS:
            connection.execute(
                "UPDATE clarion.protocol SET next_ready = false WHERE chain = %s AND name = %s", (chain, protocol.name)
            )
            return False
        rows = _NextRows(connection, chain, deployed)
        rows.start(next_generation)
        pending = blocks_of(connection, chain, deployed, filled, -1 if tip.height is None else tip.height)
        changes: list[tuple[BlockRef, Change]] = []
        for start in range(0, len(pending), CHUNK_BLOCKS):
            hashes = [block_hash for _, block_hash in pending[start : start + CHUNK_BLOCKS]]
            for ref, one in rows.project(load_for(connection, chain, deployed, hashes)):
                changes += ((ref, change) for change in one.changes)
        since = tip.sequence + 1  # a number of the switch's own: whoever read the old rows stands below it
        numbered = [(sequence, ref, change) for sequence, (ref, change) in enumerate(changes, since + 1)]
        copy_changes(connection, chain, numbered, final)
        sequence = since + len(changes)
        _rename(connection, protocol)
        connection.execute(
            """
            UPDATE clarion.protocol SET generation = next_generation, fingerprint = next_fingerprint,
                contracts = %(contracts)s, since_sequence = %(since)s, stopped_sequence = NULL, next_generation = NULL,
                next_fingerprint = NULL, next_height = NULL, next_ready = false, updated_at = now()
            WHERE chain = %(chain)s AND name = %(name)s
            """,
            {
                "chain": chain,
                "name": protocol.name,
                "contracts": json_text(dict(deployed.contracts)),
                "since": since,
            },
        )
        connection.execute(
            'DELETE FROM clarion.kept WHERE chain = %s AND "table" = ANY(%s)',
            (chain, [row_type.name for row_type in protocol.row_types]),
        )
        connection.execute(
            "UPDATE clarion.cursor SET sequence = %s, digest = coalesce(clarion.digest_at(chain, height), digest), "
            "updated_at = now() WHERE chain = %s",
            (sequence, chain),
        )
        notify(connection, chain, structs.replace(tip, sequence=sequence))
    store.take_up(deployed)
    return True


def _rename(connection: Connection[Any], protocol: Protocol) -> None:
    """Put the next generation's schema in the place of the live one's, which goes.

    Raises psycopg.errors.LockNotAvailable where a reader holds on to the old tables for too long.
    """
    connection.execute("SELECT set_config('lock_timeout', %s, true)", (f"{LOCK_SECONDS}s",))
    live, following, old = (sql.Identifier(f"{protocol.name}{suffix}") for suffix in ("", "__next", "__old"))
    connection.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(live))
    connection.execute(sql.SQL("ALTER SCHEMA {} RENAME TO {}").format(live, old))
    connection.execute(sql.SQL("ALTER SCHEMA {} RENAME TO {}").format(following, live))
    connection.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(old))


def prune(connection: Connection[Any], chain: Chain) -> int:
    """Delete some of what generations left behind that are neither live nor being filled; returns how many rows."""
    deleted = 0
    for table, name in (("digest", "t.protocol"), ("history", "split_part(t.\"table\", '.', 1)")):
        deleted += connection.execute(
            f"""
            DELETE FROM clarion.{table} WHERE ctid = ANY(ARRAY(
                SELECT t.ctid FROM clarion.{table} t JOIN clarion.protocol p ON p.chain = t.chain AND p.name = {name}
                WHERE t.chain = %s AND t.generation <> p.generation
                    AND t.generation IS DISTINCT FROM p.next_generation LIMIT %s
            ))
            """.encode(),
            (chain, PRUNE_ROWS),
        ).rowcount
    return deleted
