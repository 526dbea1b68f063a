"""One chain's store: every write of a batch in one database transaction, by the one writer that holds the fence."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from functools import partial
from itertools import islice
from typing import Any, Final, Literal

import msgspec
import psycopg
from psycopg import Connection, Cursor, pq

from clarion.chains.model import Block, BlockRef, BurnBlock, Chain
from clarion.protocol import DeployedProtocol
from clarion.store import chain_log, copy
from clarion.store.burn_chain import Announced, BurnChain, SelfAnchored
from clarion.store.chain_log import Header
from clarion.store.change_log import CHANGE_COLUMNS, change_rows
from clarion.store.digest import EMPTY_DIGEST, combined_digest
from clarion.store.packed import BLOCK_COLUMNS, EVENT_COLUMNS, TRANSACTION_COLUMNS, Interest, PackedBlock
from clarion.store.projector import AnomalyAt, Projector
from clarion.store.registry import latest_digests, register
from clarion.store.row_sql import RowTables
from clarion.store.rows import Change, Key, RowType
from clarion.store.undo import net_changes
from clarion.store.write_rows import write_rows

#: The Postgres notification channel; one message per commit, a JSON object {chain, height, hash, sequence}.
CHANNEL: Final = "clarion"
#: How many Bitcoin blocks on top of its own make a block final, unless a setting says otherwise.
FINAL_DEPTH: Final = 6
DIGEST_COLUMNS: Final = b"clarion.digest (chain, protocol, generation, height, digest)"
STEP_COLUMNS: Final = b"clarion.step (chain, sequence, op, height, hash)"
#: How many bytes of events a batch has at least that is written while it is projected.
LEAST_BYTES_AHEAD: Final = 1 << 18
#: How many headers are kept in memory.
REMEMBERED_HEADERS: Final = 200


class FencedOutError(RuntimeError):
    """Another writer has taken over this chain's index; this one must stop."""


class UnknownBlockError(LookupError):
    """A rollback was asked to a block that is not canonical."""


class FinalBlockError(RuntimeError):
    """A rollback was asked that would undo a block that is final."""


class Tip(msgspec.Struct, frozen=True, gc=False):
    """Where an index stands. ``height`` and ``hash`` are None while it is empty."""

    height: int | None
    hash: bytes | None
    sequence: int
    digest: bytes


class Store:
    """Writes one chain into one database.

    Not thread-safe: one thread at a time. Construct it with an open connection in autocommit mode, then :meth:`open`.
    """

    def __init__(
        self,
        connection: Connection[Any],
        chain: Chain,
        protocols: Sequence[DeployedProtocol] = (),
        *,
        final_depth: int = FINAL_DEPTH,
    ) -> None:
        self.connection = connection
        self.chain: Chain = chain
        self.final_depth = final_depth
        #: Called, within a batch, before blocks are read back from the chain log.
        self.before_log_is_read: Callable[[], object] = lambda: None
        self._protocols = tuple(protocols)
        self._fence: int | None = None
        self._use(())
        #: Enabled protocols whose rows have to be made from the chain log before they are live.
        self.waiting: tuple[DeployedProtocol, ...] = ()
        self.tip = Tip(None, None, 0, EMPTY_DIGEST)
        #: Height of the highest block that was ever final: nothing at or below it is rolled back.
        self.final_height: int | None = None
        self._tip_burn_height: int | None = None
        self._headers: dict[bytes, Header] = {}
        self._generations: dict[str, int] = {}
        """The live generation of each protocol."""
        #: Height of the highest block in the chain log, canonical or not.
        self._highest_logged = -1

    def _use(self, live: Sequence[DeployedProtocol]) -> None:
        self._projector = Projector(live, self._load_row)
        #: What the live protocols look at.
        self.interest = Interest.of(live)
        self._tables = RowTables(self._projector.row_types.values())

    @property
    def live(self) -> tuple[DeployedProtocol, ...]:
        """The protocols whose rows are at the tip."""
        return self._projector.protocols

    def open(self) -> Tip:
        """Take the fence (any earlier writer is refused from now on) and read where the index stands.

        Tells which of the protocols are :attr:`live` and which are :attr:`waiting`.
        """
        with self.connection.transaction():
            # a fence that a crash of Postgres takes back would be another writer's again
            self.connection.execute("SET LOCAL synchronous_commit = on")
            found = self.connection.execute(
                "INSERT INTO clarion.cursor (chain, sequence, digest, fence) VALUES (%s, 0, %s, 1) "
                "ON CONFLICT (chain) DO UPDATE SET fence = clarion.cursor.fence + 1 RETURNING fence, sequence, height",
                (self.chain, EMPTY_DIGEST),
            ).fetchone()
            assert found is not None
            self._fence, sequence, height = found
            registered = register(self.connection, self.chain, self._protocols, sequence=sequence, empty=height is None)
            self._use(registered.live)
            self.waiting = registered.waiting
            self.connection.execute(
                "UPDATE clarion.cursor SET digest = coalesce(clarion.digest_at(chain, height), %s) WHERE chain = %s",
                (EMPTY_DIGEST, self.chain),
            )
        self._reload()
        return self.tip

    def take_up(self, deployed: DeployedProtocol) -> None:
        """Go on with a protocol whose rows were brought to the tip: see :mod:`clarion.store.generation`."""
        name = deployed.protocol.name
        self.waiting = tuple(other for other in self.waiting if other.protocol.name != name)
        self._use((*(other for other in self.live if other.protocol.name != name), deployed))
        self._reload()

    def reconnect(self, connection: Connection[Any]) -> Tip:
        """Go on over another connection after one was lost, and read where the index stands.

        The fence is not taken again: a writer that took over meanwhile refuses this one.
        """
        self.connection = connection
        self._reload()
        return self.tip

    @contextmanager
    def batch(self, expected: Iterable[Block | BurnBlock] = (), *, pipelined: bool = False) -> Iterator[Batch]:
        """A transaction to write in; all of it is committed at the end, or nothing.

        ``expected``: blocks that it will be asked for, see :meth:`Batch.expect`. ``pipelined``: wait for Postgres only
        where its answer is needed. For a small batch most of the time goes into waiting; the rows of a large one are
        written faster otherwise. What Postgres refuses is then raised later than at the statement that it refused.

        Raises FencedOutError where another writer has opened this chain since.
        """
        batch: Batch | None = None
        pipelined &= self.connection.info.transaction_status == pq.TransactionStatus.IDLE  # not part of the caller's
        try:
            with self._pipelined_transaction() if pipelined else self.connection.transaction():
                fence = self.connection.execute(
                    "SELECT fence FROM clarion.cursor WHERE chain = %s FOR UPDATE", (self.chain,)
                )
                batch = Batch(self)
                batch.expect(expected)
                found = fence.fetchone()
                if self._fence is None or found is None or found[0] != self._fence:
                    raise FencedOutError(
                        f"another process writes the {self.chain} index of this database now "
                        f"(fence {found and found[0]}, ours {self._fence}); stop one of the two"
                    )
                yield batch
                batch.flush()
        except BaseException:
            if batch is not None:
                batch.undone()
            self._reload()
            raise
        self._remember(batch.own_blocks)
        self._projector.rows.trim()

    @contextmanager
    def _pipelined_transaction(self) -> Iterator[None]:
        """A transaction whose beginning and end are part of the pipeline; psycopg's own waits for each of them."""
        connection = self.connection
        try:
            with connection.pipeline():
                connection.execute("BEGIN")
                yield
                commit = connection.execute("COMMIT")
            if commit.statusmessage != "COMMIT":
                raise psycopg.InternalError(f"Postgres answered COMMIT with {commit.statusmessage}")
        except BaseException:
            if not connection.closed:
                connection.rollback()
            raise

    def _reload(self) -> None:
        self._tip_burn_height = None
        if self.connection.closed:
            return
        found = self.connection.execute(
            "SELECT height, hash, sequence, digest, final_height FROM clarion.cursor WHERE chain = %s", (self.chain,)
        ).fetchone()
        if found is not None:
            *tip, self.final_height = found
            self.tip = Tip(*tip)
        self._headers.clear()
        self._highest_logged = chain_log.highest(self.connection, self.chain)
        self._generations = dict(
            self.connection.execute(
                "SELECT name, generation FROM clarion.protocol WHERE chain = %s", (self.chain,)
            ).fetchall()
        )
        digests = latest_digests(self.connection, self.chain, self.live)
        self._projector.clear(digests, self._tables.empty(self.connection))

    def canonical_hash(self, height: int) -> bytes | None:
        """The hash of the canonical block at ``height``, or None."""
        if height == self.tip.height:
            return self.tip.hash
        found = self.connection.execute(
            "SELECT hash FROM clarion.canonical_block WHERE chain = %s AND height = %s", (self.chain, height)
        ).fetchone()
        return None if found is None else found[0]

    def header(self, block_hash: bytes) -> Header | None:
        """The header of a block in the chain log, canonical or not, or None."""
        known = self._headers.get(block_hash)
        return chain_log.header(self.connection, self.chain, block_hash) if known is None else known

    def _remember(self, blocks: Collection[Block]) -> None:
        """Keep the headers of blocks that are committed: the next blocks will most likely build on them."""
        if not blocks:
            return
        self._highest_logged = max(self._highest_logged, *[block.ref.height for block in blocks])
        for block in islice(blocks, max(len(blocks) - REMEMBERED_HEADERS, 0), None):
            self._headers[block.ref.hash] = chain_log.header_of(block)
        while len(self._headers) > REMEMBERED_HEADERS:
            self._headers.pop(next(iter(self._headers)))

    def children(self, block_hash: bytes) -> list[Header]:
        """Headers of the blocks in the chain log that build on this one."""
        return chain_log.children(self.connection, self.chain, block_hash)

    def _load_rows(
        self, keys: Mapping[RowType, Sequence[Key]]
    ) -> Mapping[RowType, Sequence[tuple[Key, Sequence[Any]]]]:
        return self._tables.load_many(self.connection, keys)

    def _load_row(self, row_type: RowType, key: Key) -> Sequence[Any] | None:
        return self._tables.load(self.connection, row_type, key)


class Batch:
    """The writes of one database transaction. Made by :meth:`Store.batch`."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._connection = store.connection
        self._chain = store.chain
        self._tip = store.tip
        self._blocks: dict[bytes, Block] = {}
        self._unwritten: list[Block] = []
        self._unprojected: list[Block] = []
        self._children: dict[bytes, list[Block]] = {}
        self._known: dict[bytes, Header] = {}
        self._new: set[bytes] = set()
        self._childless: set[bytes] = set()
        self._rows: defaultdict[bytes, list[bytes]] = defaultdict(list)
        """Rows to be written, by the table and columns that they are packed for."""
        self._changes: list[tuple[int, BlockRef, Change]] = []
        self._anomalies: list[AnomalyAt] = []
        self._may_be_final = False
        self._if_undone: list[Callable[[], None]] = []
        self._told_of_bitcoin = BurnChain(store.connection)
        #: Which Bitcoin blocks count: those of Stacks blocks, as Stacks nodes tell.
        self.burns: BurnChain | SelfAnchored = self._told_of_bitcoin if self._chain == "stacks" else SelfAnchored()

    @property
    def tip(self) -> Tip:
        """Where the index will stand when this batch is committed; sequence and digest as of the last flush."""
        return self._tip

    def if_undone(self, action: Callable[[], None]) -> None:
        """Have something done where this batch is not committed: what was remembered of it is forgotten."""
        self._if_undone.append(action)

    def undone(self) -> None:
        """The batch was not committed."""
        while self._if_undone:
            self._if_undone.pop()()

    @property
    def own_blocks(self) -> Collection[Block]:
        """The blocks that this batch has appended."""
        return self._blocks.values()

    def expect(self, items: Iterable[Block | BurnBlock]) -> None:
        """Tell which blocks and Bitcoin blocks will be asked for, so that Postgres is waited for once and not for each.

        What is higher than all in the chain log has nothing on top of it there; whether it is there itself has to be
        asked even so, because a source may give a known block any height.
        """
        heights: dict[bytes, int] = {}
        burn_hashes: set[bytes] = set()
        for item in items:
            if isinstance(item, BurnBlock):
                burn_hashes.add(item.hash)
            elif (block_hash := item.ref.hash) not in self._new and block_hash not in self._known:
                heights[block_hash] = item.ref.height
                if item.burn:
                    burn_hashes.add(item.burn.hash)
        take_burns = self.burns.asked(burn_hashes)
        if heights:
            known = chain_log.headers(self._connection, self._chain, heights)
            self._known |= {header.ref.hash: header for header in known}
            self._new |= heights.keys() - self._known.keys()
            highest = self._store._highest_logged
            self._childless |= {block_hash for block_hash, height in heights.items() if height > highest}
        take_burns()

    def continues(self, block: Block) -> bool:
        """Whether an expected block is new, builds on the tip, and nothing that came before builds on it."""
        ref = block.ref
        return (
            ref.parent_hash == self._tip.hash
            and self._tip.height is not None
            and ref.height == self._tip.height + 1
            and ref.hash in self._childless
            and ref.hash in self._new
            and ref.hash not in self._blocks
            and ref.hash not in self._children
        )

    def append(self, block: Block) -> None:
        """Put a block into the chain log. It must not be there yet; it is not canonical until applied."""
        self._blocks[block.ref.hash] = block
        self._unwritten.append(block)
        self._children.setdefault(block.ref.parent_hash, []).append(block)
        for tx in block.transactions:
            if tx.decode_error is not None:
                self._anomalies.append(
                    AnomalyAt(block.ref, tx.index, -1, "undecodable_transaction", None, None, tx.decode_error)
                )
        for event in block.events:
            if event.kind == "unknown":
                detail = f"event of unknown type {event.topic}"
                where = (block.ref, event.tx_index, event.index)
                self._anomalies.append(AnomalyAt(*where, "unknown_event", event.contract, event.topic, detail))

    def apply(self, block: Block) -> None:
        """Make a block of the chain log canonical on top of the tip; :meth:`flush` projects its events."""
        store = self._store
        if (
            isinstance(block, PackedBlock)
            and block.interest is not store.interest
            and not block.interest.covers(store.interest)
        ):
            # It was packed for other protocols than are live now.
            self._take_blocks()
            self._write_rows()
            (block,) = self._load_stored([block.hash])
        self._unprojected.append(block)
        burn_height = None if block.burn is None else block.burn.height
        if burn_height != store._tip_burn_height:
            self._may_be_final = True
            store._tip_burn_height = burn_height
        ref, before = block.ref, self._tip
        self._tip = store.tip = Tip(ref.height, ref.hash, before.sequence, before.digest)

    def _project(self) -> None:
        """Project what was applied. What is to be written already is written meanwhile, where it is much: then Postgres
        works while this process does.
        """
        if not self._unprojected:
            return
        store, projector = self._store, self._store._projector
        sequence = self._tip.sequence
        canonical = self._rows[b"clarion.canonical_block (chain, height, hash, sequence)"]
        head = copy.row_head(4) + copy.text(self._chain)
        projector.prefetch(self._unprojected, store._load_rows)
        writing = self._writing_ahead()

        def load(keys: Mapping[RowType, Sequence[Key]]) -> Mapping[RowType, Sequence[tuple[Key, Sequence[Any]]]]:
            copy.finish(self._connection, writing)
            return store._load_rows(keys)

        with closing(writing):
            projected_blocks = projector.project_prefetched(self._unprojected, load, partial(next, writing, None))
            copy.finish(self._connection, writing)
        for block, projected in zip(self._unprojected, projected_blocks, strict=True):
            ref = block.ref
            sequence += 1
            self._add_step(sequence, "apply", place := copy.bigint(ref.height) + copy.bytea(ref.hash))
            if projected.changes or projected.anomalies:
                self._anomalies += projected.anomalies
                for change in projected.changes:
                    sequence += 1
                    self._changes.append((sequence, ref, change))
                for name, digest in projected.digests.items():
                    self._add_digest(name, ref.height, digest)
            canonical += (head, place, copy.bigint(sequence))
        digest = combined_digest(block.hash, projector.digests)
        self._tip = store.tip = Tip(block.height, block.hash, sequence, digest)
        self._unprojected.clear()

    def _writing_ahead(self) -> Generator[None, None, None]:
        """The steps in which the rows of blocks are written, none where they are few: then they go with the others."""
        pipelined = self._connection.pgconn.pipeline_status != pq.PipelineStatus.OFF
        if pipelined or sum(map(len, self._rows.get(EVENT_COLUMNS, ()))) < LEAST_BYTES_AHEAD:
            return
        for columns in (BLOCK_COLUMNS, TRANSACTION_COLUMNS, EVENT_COLUMNS):
            if any(rows := self._rows.pop(columns, ())):
                yield from copy.copying(self._connection, columns, rows)

    def _add_digest(self, protocol: str, height: int, digest: bytes) -> None:
        head = copy.row_head(5) + copy.common_text(self._chain) + copy.common_text(protocol)
        generation = copy.bigint(self._store._generations[protocol])
        self._rows[DIGEST_COLUMNS] += (head, generation, copy.bigint(height), copy.bytea(digest))

    def _add_step(self, sequence: int, op: Literal["apply", "retract"], place: bytes) -> None:
        """``place``: the block's height and hash, packed."""
        head = copy.row_head(5) + copy.common_text(self._chain)
        self._rows[STEP_COLUMNS] += (head, copy.bigint(sequence), copy.common_text(op), place)

    def load(self, hashes: Iterable[bytes]) -> list[Block]:
        """Whole blocks of the chain log, those appended in this batch included."""
        wanted = list(hashes)
        stored = [block_hash for block_hash in wanted if block_hash not in self._blocks]
        loaded = {block.hash: block for block in self._load_stored(stored)} if stored else {}
        return [self._blocks.get(block_hash) or loaded[block_hash] for block_hash in wanted]

    def _load_stored(self, hashes: Sequence[bytes]) -> list[Block]:
        self._store.before_log_is_read()
        return chain_log.load(self._connection, self._chain, hashes)

    def give_up_final(self, height: int) -> None:
        """Let the blocks above ``height`` be rolled back although they are final."""
        self.flush()
        self._connection.execute(
            "UPDATE clarion.cursor SET final_height = least(final_height, %s) WHERE chain = %s", (height, self._chain)
        )
        if self._store.final_height is not None:
            self._store.final_height = min(self._store.final_height, height)

    def rollback(self, height: int | None) -> int:
        """Undo every canonical block above ``height`` (None: all of them).

        Rows get back the values they had at that block, set-based; what was undone is written to the change log as
        retractions. Returns how many blocks were undone. Raises UnknownBlockError where no canonical block has that
        height, and FinalBlockError where a final block would be undone.
        """
        self.flush()
        store = self._store
        if store.final_height is not None and (height is None or height < store.final_height):
            raise FinalBlockError(
                f"cannot roll back to {self._chain} block {height}: block {store.final_height} above it is final"
            )
        execute = self._connection.execute
        ref, since = BlockRef(self._chain, -1, b"", b""), 0
        if height is not None:
            found = execute(
                "SELECT hash, sequence FROM clarion.canonical_block WHERE chain = %s AND height = %s",
                (self._chain, height),
            ).fetchone()
            if found is None:
                raise UnknownBlockError(f"cannot roll back to {self._chain} block {height}: it is not canonical")
            ref, since = BlockRef(self._chain, height, found[0], b""), found[1]
        undone = execute(
            "DELETE FROM clarion.canonical_block WHERE chain = %s AND height > %s RETURNING height, hash",
            (self._chain, ref.height),
        ).fetchall()
        sequence = self._tip.sequence
        for block_height, block_hash in sorted(undone, reverse=True):
            sequence += 1
            self._add_step(sequence, "retract", copy.bigint(block_height) + copy.bytea(block_hash))
        execute("DELETE FROM clarion.digest WHERE chain = %s AND height > %s", (self._chain, ref.height))
        retractions = net_changes(self._connection, self._chain, since, ref.height, store._tables.names)
        for change in retractions:
            sequence += 1
            self._changes.append((sequence, ref, change))
        store._projector.clear(latest_digests(self._connection, self._chain, store.live))
        digest = EMPTY_DIGEST if height is None else combined_digest(ref.hash, store._projector.digests)
        self._tip = store.tip = Tip(height, None if height is None else ref.hash, sequence, digest)
        store._tables.write(self._connection, retractions)
        self._write_log(moved=True, retraction=True)
        return len(undone)

    @property
    def final_height(self) -> int | None:
        """Height of the highest block that was ever final, as of the last flush."""
        return self._store.final_height

    def note(self, anomaly: AnomalyAt) -> None:
        """Record something that could not be taken as it came."""
        self._anomalies.append(anomaly)

    def add_burn_block(self, burn: BurnBlock, *, at_once: bool) -> Announced:
        """Take an announced Bitcoin block; see :meth:`BurnChain.announce`, which says what ``at_once`` means.

        One that would replace Bitcoin blocks that final blocks are anchored to is refused.
        """
        if self._chain != "stacks":
            raise ValueError(
                f"{burn} was announced for the {self._chain} index, whose blocks are anchored to themselves"
            )
        announced = self._told_of_bitcoin.announce(burn, at_once=at_once, final_height=self._final_burn_height)
        self._may_be_final |= announced in (Announced.ADDED, Announced.REORG)
        return announced

    def choose_burn_blocks_above(self, burn_height: int) -> None:
        """Choose anew which Bitcoin blocks count above a height; see :meth:`BurnChain.choose_above`."""
        if self._chain == "stacks":
            self._told_of_bitcoin.choose_above(burn_height)

    def _final_burn_height(self) -> int | None:
        found = self._connection.execute(
            "SELECT b.burn_height FROM clarion.canonical_block k "
            "JOIN clarion.block b ON b.chain = k.chain AND b.hash = k.hash WHERE k.chain = %s AND k.height = %s",
            (self._chain, self.final_height),
        ).fetchone()
        return None if found is None else found[0]

    def lowest_burn_orphaned(self) -> int | None:
        """Height of the lowest canonical block that is not final and whose Bitcoin block has been replaced, or None."""
        if self._chain != "stacks":
            return None
        self.flush()
        found = self._connection.execute(
            """
            SELECT min(k.height) FROM clarion.canonical_block k
            JOIN clarion.block b ON b.chain = k.chain AND b.hash = k.hash
            JOIN clarion.burn_block o ON o.hash = b.burn_hash
            WHERE k.chain = %s AND k.height > %s
            AND NOT EXISTS (SELECT FROM clarion.canonical_burn_block c WHERE c.height = o.height AND c.hash = o.hash)
            """,
            (self._chain, -1 if self.final_height is None else self.final_height),
        ).fetchone()
        return None if found is None else found[0]

    def above_tip(self) -> list[Header]:
        """Headers of the blocks in the chain log that are higher than the tip, the highest first."""
        self.flush()
        return chain_log.above(self._connection, self._chain, -1 if self.tip.height is None else self.tip.height)

    def canonical_above(self, height: int) -> list[Header]:
        """Headers of the canonical blocks that are higher than ``height``, in no order."""
        self.flush()
        return chain_log.canonical_above(self._connection, self._chain, height)

    def learn_burn_blocks(self) -> bool:
        """Count the Bitcoin blocks that were never announced and that an announced one is known to build on.

        A Stacks branch lies within one branch of Bitcoin: what the ancestors of an anchored block are anchored to are
        ancestors of its own Bitcoin block. Returns whether every canonical block that is not final is anchored now.
        """
        if self._chain != "stacks":
            return True
        self.flush()
        unanchored = self._connection.execute(
            """
            WITH anchor AS (
                SELECT k.height, b.burn_height, b.burn_hash, EXISTS (
                    SELECT FROM clarion.canonical_burn_block c WHERE c.height = b.burn_height AND c.hash = b.burn_hash
                ) AS known
                FROM clarion.canonical_block k JOIN clarion.block b ON b.chain = k.chain AND b.hash = k.hash
                WHERE k.chain = %s AND k.height > %s
            )
            SELECT DISTINCT burn_height, burn_hash, height > coalesce((SELECT max(height) FROM anchor WHERE known), -1)
            FROM anchor WHERE NOT known
            """,
            (self._chain, -1 if self.final_height is None else self.final_height),
        ).fetchall()
        learned = {(height, burn_hash) for height, burn_hash, above in unanchored if burn_hash and not above}
        if learned and self._told_of_bitcoin.learn(learned):
            self._may_be_final = True
        return not any(above for _, _, above in unanchored)

    def canonical_hash(self, height: int) -> bytes | None:
        """The canonical block's hash at ``height``, this batch's own blocks included."""
        if height == self._tip.height:
            return self._tip.hash
        for block in reversed(self._unprojected):
            if block.height == height:
                return block.hash
        return self._store.canonical_hash(height)

    def canonical_header(self, height: int) -> Header | None:
        """The header of the canonical block at ``height``, or None."""
        block_hash = self.canonical_hash(height)
        return None if block_hash is None else self.header(block_hash)

    def header(self, block_hash: bytes) -> Header | None:
        """The header of a block in the chain log, this batch's own included."""
        own = self._blocks.get(block_hash)
        if own is not None:
            return chain_log.header_of(own)
        if block_hash in self._new:
            return None
        return self._known.get(block_hash) or self._store.header(block_hash)

    def children(self, block_hash: bytes) -> list[Header]:
        """Headers of the blocks that build on this one, this batch's own included."""
        own = [chain_log.header_of(block) for block in self._children.get(block_hash, ())]
        stored = [] if block_hash in self._childless else self._store.children(block_hash)
        return own + [header for header in stored if header.ref.hash not in self._blocks]

    def flush(self) -> None:
        """Project what was applied and send everything to Postgres; :meth:`Store.batch` commits it.

        Raises ProjectionError.
        """
        self._take_blocks()
        self._project()
        self._store._tables.write(self._connection, [change for _, _, change in self._changes])
        moved = STEP_COLUMNS in self._rows
        if self._may_be_final:
            self._write_rows()
            self._advance_final_height()
            if not moved:
                notify(self._connection, self._chain, self._tip)  # that blocks became anchored or final
        self._write_log(moved=moved)

    def _take_blocks(self) -> None:
        """Have the blocks that were appended written next."""
        if self._unwritten:
            for columns, rows in chain_log.rows_of(self._unwritten).items():
                self._rows[columns] += rows
            chain_log.remember_interfaces(self._connection, self._unwritten)
            self._unwritten.clear()

    def _write_rows(self) -> None:
        write_rows(self._connection, self._rows)
        self._rows.clear()

    def _advance_final_height(self) -> None:
        """Note the highest block that is deep enough: under Bitcoin's tip and under the tip of this chain both.

        Bitcoin's alone does not tell: a node that catches up knows its whole chain long before the blocks on it, and
        still finds forks among those. On Bitcoin its own tip is all there is. A subquery that gives a value keeps
        Postgres from joining whole tables: it goes down from the tip and stops at the first block that is deep enough.
        """
        store = self._store
        self._may_be_final = False
        if self._chain != "stacks":
            self._advance_final_height_of_bitcoin()
            return
        found = self._connection.execute(
            """
            WITH deep AS MATERIALIZED (
                SELECT -%(depth)s + least(
                    (SELECT max(height) FROM clarion.canonical_burn_block),
                    (SELECT burn_height FROM clarion.block WHERE chain = %(chain)s AND hash = %(tip)s)
                ) AS height
            )
            UPDATE clarion.cursor c SET final_height = f.height FROM (
                SELECT k.height FROM clarion.canonical_block k WHERE k.chain = %(chain)s AND k.height > %(from)s
                AND (SELECT min(height) FROM clarion.canonical_burn_block) <= (SELECT height FROM deep)
                AND (
                    SELECT b.burn_height FROM clarion.block b
                    JOIN clarion.canonical_burn_block a ON a.height = b.burn_height AND a.hash = b.burn_hash
                    WHERE b.chain = k.chain AND b.hash = k.hash
                ) <= (SELECT height FROM deep)
                ORDER BY k.height DESC LIMIT 1
            ) f WHERE c.chain = %(chain)s RETURNING c.final_height
            """,
            {
                "chain": self._chain,
                "from": -1 if store.final_height is None else store.final_height,
                "depth": store.final_depth,
                "tip": self._tip.hash,
            },
        ).fetchone()
        if found is not None:
            store.final_height = found[0]

    def _advance_final_height_of_bitcoin(self) -> None:
        store = self._store
        found = self._connection.execute(
            "UPDATE clarion.cursor c SET final_height = k.height FROM clarion.canonical_block k "
            "WHERE c.chain = %(chain)s AND k.chain = c.chain AND k.height = %(deep)s "
            "AND k.height > coalesce(c.final_height, -1) RETURNING c.final_height",
            {"chain": self._chain, "deep": (self._tip.height or 0) - store.final_depth},
        ).fetchone()
        if found is not None:
            store.final_height = found[0]

    def _write_log(self, *, moved: bool, retraction: bool = False) -> None:
        """``moved``: whether there are steps, which were handed to Postgres or are about to be."""
        chain, tip = self._chain, self._tip
        self._rows[CHANGE_COLUMNS] += change_rows(chain, self._changes, self._store.final_height, retraction=retraction)
        self._write_rows()
        with self._connection.cursor() as cursor:
            write_anomalies(cursor, chain, self._anomalies)
            if moved:
                cursor.execute(
                    "UPDATE clarion.cursor SET height = %s, hash = %s, sequence = %s, digest = %s, updated_at = now() "
                    "WHERE chain = %s RETURNING pg_notify(%s, %s)",
                    (tip.height, tip.hash, tip.sequence, tip.digest, chain, CHANNEL, _message(chain, tip)),
                )
        for collected in (self._changes, self._anomalies):
            collected.clear()


def write_anomalies(cursor: Cursor[Any], chain: Chain, anomalies: Sequence[AnomalyAt]) -> None:
    """Record anomalies; those that are recorded already stay."""
    if not anomalies:
        return
    cursor.executemany(
        "INSERT INTO clarion.anomaly (chain, height, block_hash, tx_index, event_index, kind, contract, topic, "
        "detail) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
        [
            (chain, at.block.height, at.block.hash, at.tx_index, at.event_index)
            + (at.kind, at.contract, at.topic, at.detail)
            for at in anomalies
        ],
    )


def notify(connection: Connection[Any], chain: Chain, tip: Tip) -> None:
    """Tell listeners on the channel, once the transaction commits, where the index stands."""
    connection.execute("SELECT pg_notify(%s, %s)", (CHANNEL, _message(chain, tip)))


def _message(chain: Chain, tip: Tip) -> str:
    said = {
        "chain": chain,
        "height": tip.height,
        "hash": None if tip.hash is None else f"0x{tip.hash.hex()}",
        "sequence": tip.sequence,
    }
    return msgspec.json.encode(said).decode()
