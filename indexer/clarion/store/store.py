"""One chain's store: every write of a batch in one database transaction, by the one writer that holds the fence."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from psycopg import Connection, sql

from clarion.chains.model import Block, BlockRef, BurnBlock, Chain
from clarion.protocol import DeployedProtocol, ProjectionError, UndecodableEventError, UnknownTopicError
from clarion.store import chain_log
from clarion.store.chain_log import Header, json_text
from clarion.store.digest import EMPTY_DIGEST, block_digest
from clarion.store.rows import Change, Key, Op, Rows, RowType

#: The Postgres notification channel; one message per commit, a JSON object {chain, height, hash, sequence}.
CHANNEL: Final = "clarion"


class FencedOutError(RuntimeError):
    """Another writer has taken over this chain's index; this one must stop."""


class UnknownBlockError(LookupError):
    """A rollback was asked to a block that is not canonical."""


@dataclass(frozen=True, slots=True)
class Tip:
    """Where an index stands. ``height`` and ``hash`` are None while it is empty."""

    height: int | None
    hash: bytes | None
    sequence: int
    digest: bytes


class Store:
    """Writes one chain into one database.

    Not thread-safe: one thread at a time. Construct it with an open connection in autocommit mode, then :meth:`open`.
    """

    def __init__(self, connection: Connection[Any], chain: Chain, protocols: Sequence[DeployedProtocol] = ()) -> None:
        self.connection = connection
        self.chain: Chain = chain
        self._protocols = {contract: deployed for deployed in protocols for contract in deployed.contracts}
        self._row_types: Mapping[str, RowType] = {
            row_type.name: row_type for deployed in protocols for row_type in deployed.protocol.row_types
        }
        self._rows = Rows(self._row_types.values(), self._load_row)
        self._fence: int | None = None
        self.tip = Tip(None, None, 0, EMPTY_DIGEST)

    def open(self) -> Tip:
        """Take the fence (any earlier writer is refused from now on) and read where the index stands."""
        found = self.connection.execute(
            "INSERT INTO clarion.cursor (chain, sequence, digest, fence) VALUES (%s, 0, %s, 1) "
            "ON CONFLICT (chain) DO UPDATE SET fence = clarion.cursor.fence + 1 RETURNING fence",
            (self.chain, EMPTY_DIGEST),
        ).fetchone()
        assert found is not None
        self._fence = found[0]
        self._reload()
        return self.tip

    def reconnect(self, connection: Connection[Any]) -> Tip:
        """Go on over another connection after one was lost, and read where the index stands.

        The fence is not taken again: a writer that took over meanwhile refuses this one.
        """
        self.connection = connection
        self._rows.clear()
        self._reload()
        return self.tip

    @contextmanager
    def batch(self) -> Iterator[Batch]:
        """A transaction to write in; all of it is committed at the end, or nothing.

        Raises FencedOutError where another writer has opened this chain since.
        """
        try:
            with self.connection.transaction():
                found = self.connection.execute(
                    "SELECT fence FROM clarion.cursor WHERE chain = %s FOR UPDATE", (self.chain,)
                ).fetchone()
                if self._fence is None or found is None or found[0] != self._fence:
                    raise FencedOutError(
                        f"another process writes the {self.chain} index of this database now "
                        f"(fence {found and found[0]}, ours {self._fence}); stop one of the two"
                    )
                batch = Batch(self)
                yield batch
                batch.flush()
        except BaseException:
            self._rows.clear()
            self._reload()
            raise
        self._rows.trim()

    def _reload(self) -> None:
        if self.connection.closed:
            return
        found = self.connection.execute(
            "SELECT height, hash, sequence, digest FROM clarion.cursor WHERE chain = %s", (self.chain,)
        ).fetchone()
        if found is not None:
            self.tip = Tip(*found)

    def canonical_hash(self, height: int) -> bytes | None:
        """The hash of the canonical block at ``height``, or None."""
        found = self.connection.execute(
            "SELECT hash FROM clarion.canonical_block WHERE chain = %s AND height = %s", (self.chain, height)
        ).fetchone()
        return None if found is None else found[0]

    def header(self, block_hash: bytes) -> Header | None:
        """The header of a block in the chain log, canonical or not, or None."""
        return chain_log.header(self.connection, self.chain, block_hash)

    def children(self, block_hash: bytes) -> list[Header]:
        """Headers of the blocks in the chain log that build on this one."""
        return chain_log.children(self.connection, self.chain, block_hash)

    def _load_row(self, row_type: RowType, key: Key) -> Sequence[Any] | None:
        query = sql.SQL("SELECT {columns} FROM {table} WHERE {condition}").format(
            columns=sql.SQL(", ").join(map(sql.Identifier, row_type.columns)),
            table=_table(row_type.name),
            condition=sql.SQL(" AND ").join(
                sql.SQL("{} = %s").format(sql.Identifier(column)) for column in row_type.key_columns
            ),
        )
        return self.connection.execute(query, key).fetchone()


class Batch:
    """The writes of one database transaction. Made by :meth:`Store.batch`."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._connection = store.connection
        self._chain = store.chain
        self._tip = store.tip
        self._blocks: dict[bytes, Block] = {}
        self._unwritten: list[Block] = []
        self._children: dict[bytes, list[Header]] = {}
        self._canonical: list[tuple[int, bytes, int, bytes]] = []
        self._steps: list[tuple[int, str, int, bytes]] = []
        self._changes: list[tuple[int, BlockRef, Change]] = []
        self._anomalies: list[tuple[BlockRef, int, int, str, str | None, str | None, str]] = []

    @property
    def tip(self) -> Tip:
        """Where the index will stand when this batch is committed."""
        return self._tip

    def append(self, block: Block) -> None:
        """Put a block into the chain log. It must not be there yet; it is not canonical until applied."""
        self._blocks[block.hash] = block
        self._unwritten.append(block)
        self._children.setdefault(block.ref.parent_hash, []).append(chain_log.header_of(block))
        for tx in block.transactions:
            if tx.decode_error is not None:
                self._anomalies.append(
                    (block.ref, tx.index, -1, "undecodable_transaction", None, None, tx.decode_error)
                )
        for event in block.events:
            if event.kind == "unknown":
                where = (block.ref, event.tx_index, event.index, "unknown_event")
                self._anomalies.append((*where, event.contract, event.topic, f"event of unknown type {event.topic}"))

    def apply(self, block: Block) -> None:
        """Make a block of the chain log canonical on top of the tip and project its events."""
        store, tip = self._store, self._tip
        for event in block.events:
            deployed = None if event.contract is None else store._protocols.get(event.contract)
            if deployed is None:
                continue
            try:
                deployed.project(event, block, block.transactions[event.tx_index], store._rows)
            except (UnknownTopicError, UndecodableEventError) as error:
                kind = "unknown_topic" if isinstance(error, UnknownTopicError) else "undecodable_event"
                where = (block.ref, event.tx_index, event.index, kind)
                self._anomalies.append((*where, event.contract, event.topic, str(error)))
        try:
            changes = store._rows.end_block(block.height)
        except ValueError as error:
            raise ProjectionError(f"{error}, in {block.ref}; nothing of the block was written") from error
        sequence = tip.sequence + 1
        self._steps.append((sequence, "apply", block.height, block.hash))
        for change in changes:
            sequence += 1
            self._changes.append((sequence, block.ref, change))
        digest = block_digest(tip.digest, block.ref, changes)
        self._canonical.append((block.height, block.hash, sequence, digest))
        self._tip = store.tip = Tip(block.height, block.hash, sequence, digest)

    def load(self, hashes: Iterable[bytes]) -> list[Block]:
        """Whole blocks of the chain log, those appended in this batch included."""
        wanted = list(hashes)
        stored = [block_hash for block_hash in wanted if block_hash not in self._blocks]
        loaded = (
            {block.hash: block for block in chain_log.load(self._connection, self._chain, stored)} if stored else {}
        )
        return [self._blocks.get(block_hash) or loaded[block_hash] for block_hash in wanted]

    def rollback(self, height: int | None) -> int:
        """Undo every canonical block above ``height`` (None: all of them).

        Rows get back the values they had at that block, set-based; what was undone is written to the change log as
        retractions. Returns how many blocks were undone. Raises UnknownBlockError where no canonical block has that
        height.
        """
        self.flush()
        execute = self._connection.execute
        if height is None:
            target = (BlockRef(self._chain, -1, b"", b""), 0, EMPTY_DIGEST)
        else:
            found = execute(
                "SELECT hash, sequence, digest FROM clarion.canonical_block WHERE chain = %s AND height = %s",
                (self._chain, height),
            ).fetchone()
            if found is None:
                raise UnknownBlockError(f"cannot roll back to {self._chain} block {height}: it is not canonical")
            target = (BlockRef(self._chain, height, found[0], b""), found[1], found[2])
        ref, since, digest = target
        undone = execute(
            "DELETE FROM clarion.canonical_block WHERE chain = %s AND height > %s RETURNING height, hash",
            (self._chain, ref.height),
        ).fetchall()
        sequence = self._tip.sequence
        for block_height, block_hash in sorted(undone, reverse=True):
            sequence += 1
            self._steps.append((sequence, "retract", block_height, block_hash))
        retractions = self._net_changes_since(since)
        for change in retractions:
            sequence += 1
            self._changes.append((sequence, ref, change))
        self._tip = self._store.tip = Tip(height, None if height is None else ref.hash, sequence, digest)
        self._write_rows(retractions)
        self._write_log(retraction=True)
        self._store._rows.clear()
        return len(undone)

    def _net_changes_since(self, sequence: int) -> list[Change]:
        """Per row changed after ``sequence``: from what it is now back to what it was then.

        The oldest change of a row after a sequence holds the row as it was at that sequence, whatever was applied and
        retracted since; the newest holds the row as it is.
        """
        found = self._connection.execute(
            """
            WITH since AS MATERIALIZED (
                SELECT "table", key, sequence, before, after FROM clarion.change
                WHERE chain = %(chain)s AND sequence > %(sequence)s
            ), oldest AS (
                SELECT DISTINCT ON ("table", key) "table", key, before FROM since ORDER BY "table", key, sequence
            ), newest AS (
                SELECT DISTINCT ON ("table", key) "table", key, after FROM since ORDER BY "table", key, sequence DESC
            )
            SELECT "table", key, newest.after, oldest.before FROM oldest JOIN newest USING ("table", key)
            WHERE newest.after IS DISTINCT FROM oldest.before ORDER BY "table", key
            """,
            {"chain": self._chain, "sequence": sequence},
        )
        changes = []
        for table, key, now, then in found:
            op: Op = "delete" if then is None else "insert" if now is None else "update"
            changes.append(Change(table, tuple(key), op, now, then))
        return changes

    def add_burn_block(self, burn: BurnBlock) -> bool:
        """Record an announced Bitcoin block as canonical at its height.

        True where it replaced another, a Bitcoin reorg; that takes every burn block above out of the canonical ones.
        """
        execute = self._connection.execute
        execute(
            "INSERT INTO clarion.burn_block (hash, height, parent_hash, time) VALUES (%s, %s, %s, %s) "
            "ON CONFLICT (hash) DO NOTHING",
            (burn.hash, burn.height, burn.parent_hash, burn.time),
        )
        found = execute("SELECT hash FROM clarion.canonical_burn_block WHERE height = %s", (burn.height,)).fetchone()
        if found is not None and found[0] == burn.hash:
            return False
        removed = execute("DELETE FROM clarion.canonical_burn_block WHERE height >= %s", (burn.height,)).rowcount
        execute("INSERT INTO clarion.canonical_burn_block (height, hash) VALUES (%s, %s)", (burn.height, burn.hash))
        return removed > 0

    def burn_orphaned(self, burn_hash: bytes | None) -> bool:
        """Whether this Bitcoin block was announced once and has been replaced since."""
        if burn_hash is None:
            return False
        found = self._connection.execute(
            "SELECT NOT EXISTS (SELECT FROM clarion.canonical_burn_block c "
            "WHERE c.height = b.height AND c.hash = b.hash) FROM clarion.burn_block b WHERE b.hash = %s",
            (burn_hash,),
        ).fetchone()
        return bool(found and found[0])

    def lowest_burn_orphaned(self) -> int | None:
        """Height of the lowest canonical block whose Bitcoin block has been replaced, or None."""
        self.flush()
        found = self._connection.execute(
            """
            SELECT min(k.height) FROM clarion.burn_block o
            JOIN clarion.block b ON b.chain = %s AND b.burn_hash = o.hash
            JOIN clarion.canonical_block k ON k.chain = b.chain AND k.height = b.height AND k.hash = b.hash
            WHERE NOT EXISTS (SELECT FROM clarion.canonical_burn_block c WHERE c.height = o.height AND c.hash = o.hash)
            """,
            (self._chain,),
        ).fetchone()
        return None if found is None else found[0]

    def canonical_hash(self, height: int) -> bytes | None:
        """The canonical block's hash at ``height``, this batch's own blocks included."""
        for own_height, block_hash, _, _ in reversed(self._canonical):
            if own_height == height:
                return block_hash
        return self._store.canonical_hash(height)

    def canonical_header(self, height: int) -> Header | None:
        """The header of the canonical block at ``height``, or None."""
        block_hash = self.canonical_hash(height)
        return None if block_hash is None else self.header(block_hash)

    def header(self, block_hash: bytes) -> Header | None:
        """The header of a block in the chain log, this batch's own included."""
        own = self._blocks.get(block_hash)
        return self._store.header(block_hash) if own is None else chain_log.header_of(own)

    def children(self, block_hash: bytes) -> list[Header]:
        """Headers of the blocks that build on this one, this batch's own included."""
        own = self._children.get(block_hash, [])
        stored = self._store.children(block_hash)
        return own + [header for header in stored if header.ref.hash not in self._blocks]

    def flush(self) -> None:
        """Send everything collected so far to Postgres; :meth:`Store.batch` commits it."""
        self._flush_blocks()
        self._write_rows([change for _, _, change in self._changes])
        self._write_log(retraction=False)

    def _flush_blocks(self) -> None:
        if self._unwritten:
            chain_log.append(self._connection, self._unwritten)
            self._unwritten.clear()

    def _write_log(self, *, retraction: bool) -> None:
        if not self._steps and not self._anomalies:
            return
        chain, tip = self._chain, self._tip
        with self._connection.cursor() as cursor:
            with cursor.copy("COPY clarion.step (chain, sequence, op, height, hash) FROM STDIN") as copy:
                for step in self._steps:
                    copy.write_row((chain, *step))
            with cursor.copy(
                'COPY clarion.change (chain, sequence, height, block_hash, "table", key, op, before, after, '
                "retraction) FROM STDIN"
            ) as copy:
                for sequence, ref, change in self._changes:
                    copy.write_row(
                        (chain, sequence, ref.height, ref.hash, change.table, json_text(change.key), change.op)
                        + (json_text(change.before), json_text(change.after), retraction)
                    )
            with cursor.copy("COPY clarion.canonical_block (chain, height, hash, sequence, digest) FROM STDIN") as copy:
                for canonical in self._canonical:
                    copy.write_row((chain, *canonical))
            cursor.executemany(
                "INSERT INTO clarion.anomaly (chain, height, block_hash, tx_index, event_index, kind, contract, topic, "
                "detail) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
                [(chain, ref.height, ref.hash, *rest) for ref, *rest in self._anomalies],
            )
            if self._steps:
                cursor.execute(
                    "UPDATE clarion.cursor SET height = %s, hash = %s, sequence = %s, digest = %s, updated_at = now() "
                    "WHERE chain = %s",
                    (tip.height, tip.hash, tip.sequence, tip.digest, chain),
                )
                message = {
                    "chain": chain,
                    "height": tip.height,
                    "hash": None if tip.hash is None else f"0x{tip.hash.hex()}",
                    "sequence": tip.sequence,
                }
                cursor.execute("SELECT pg_notify(%s, %s)", (CHANNEL, msgspec.json.encode(message).decode()))
        for collected in (self._steps, self._changes, self._canonical, self._anomalies):
            collected.clear()

    def _write_rows(self, changes: Iterable[Change]) -> None:
        """Bring the projection tables to the ``after`` of these changes, the last per row, two statements a table."""
        final: dict[str, dict[Key, Change]] = {}
        for change in changes:
            final.setdefault(change.table, {})[change.key] = change
        for table, by_key in final.items():
            row_type = self._store._row_types.get(table)
            if row_type is None:
                raise LookupError(
                    f"the change log has rows of {table}, but no enabled protocol has that table; "
                    f"enable the protocol again or index into a new database"
                )
            gone = [change.key for change in by_key.values() if change.after is None]
            kept = [change.after for change in by_key.values() if change.after is not None]
            if gone:
                self._connection.execute(_delete_statement(row_type), (json_text(gone),))
            if kept:
                self._connection.execute(_upsert_statement(row_type), (json_text(kept),))


def _table(name: str) -> sql.Identifier:
    return sql.Identifier(*name.split("."))


def _upsert_statement(row_type: RowType) -> sql.Composed:
    rest = [column for column in row_type.columns if column not in row_type.key_columns]
    return sql.SQL(
        "INSERT INTO {table} ({columns}) SELECT {columns} FROM jsonb_populate_recordset(NULL::{table}, %s::jsonb) "
        "ON CONFLICT ({key}) DO UPDATE SET {assignments}"
    ).format(
        table=_table(row_type.name),
        columns=sql.SQL(", ").join(map(sql.Identifier, row_type.columns)),
        key=sql.SQL(", ").join(map(sql.Identifier, row_type.key_columns)),
        assignments=sql.SQL(", ").join(sql.SQL("{0} = excluded.{0}").format(sql.Identifier(name)) for name in rest),
    )


def _delete_statement(row_type: RowType) -> sql.Composed:
    table = _table(row_type.name)
    conditions = [
        sql.SQL("t.{} = k.{}").format(sql.Identifier(name), sql.Identifier(name)) for name in row_type.key_columns
    ]
    objects = sql.SQL(", ").join(
        sql.SQL("{}, value -> {}").format(sql.Literal(name), sql.Literal(index))
        for index, name in enumerate(row_type.key_columns)
    )
    return sql.SQL(
        "DELETE FROM {table} t USING (SELECT (jsonb_populate_record(NULL::{table}, jsonb_build_object({objects}))).* "
        "FROM jsonb_array_elements(%s::jsonb)) k WHERE {condition}"
    ).format(table=table, objects=objects, condition=sql.SQL(" AND ").join(conditions))
