"""Derives again what the index holds, from the chain log, and names the first block, table and row that differ.

Everything is projected a second time, beside the live tables, and compared block by block: row changes with the change
log, digests with those stored, and at the end the rows themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import Connection

from clarion.chains.model import Block, Chain
from clarion.protocol import DeployedProtocol
from clarion.store import chain_log
from clarion.store.projector import Projected, Projector
from clarion.store.rows import Change, Key, RowJson
from clarion.store.shadow import CHUNK_BLOCKS, Shadow, ShadowError, shadow

#: A row of the change log: the operation, the row before and after.
Stored = tuple[str, RowJson | None, RowJson | None]


@dataclass(frozen=True, slots=True)
class Difference:
    """The first thing that is not as it is derived.

    ``what`` says it in words. ``table`` and ``key`` name the row where it is about one; ``stored`` and ``derived`` are
    the two values: rows as JSON (None: there is none), or texts.
    """

    height: int
    hash: bytes
    what: str
    table: str | None = None
    key: tuple[Any, ...] | None = None
    stored: RowJson | str | None = None
    derived: RowJson | str | None = None


@dataclass(frozen=True, slots=True)
class Verified:
    """What was compared, of which heights, and the first difference, None where there is none."""

    from_height: int
    to_height: int
    protocols: tuple[str, ...]
    blocks: int
    changes: int
    difference: Difference | None


def verify(
    connection: Connection[Any],
    chain: Chain,
    protocols: Sequence[DeployedProtocol],
    *,
    from_height: int | None = None,
    to_height: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Verified:
    """Derive the blocks from ``from_height`` (None: the first) to ``to_height`` (None: the tip) and compare.

    ``connection`` is in autocommit mode; the index may go on meanwhile, and nothing of it is changed. Rows start as
    they were before the first of these blocks, which is taken as right. ``progress`` is told how many blocks of how
    many are done. Raises ShadowError, TimeTravelError where the start is not kept, and ProjectionError.
    """
    with shadow(connection, chain, protocols, "verify") as copies:
        first, last = _range(connection, chain, from_height, to_height)
        return _Verification(copies, protocols, first, last).run(progress)


def _range(
    connection: Connection[Any], chain: Chain, wanted_first: int | None, wanted_last: int | None
) -> tuple[int, int]:
    found = connection.execute(
        "SELECT min(height), max(height) FROM clarion.canonical_block WHERE chain = %s", (chain,)
    ).fetchone()
    assert found is not None
    lowest, tip = found
    if lowest is None:
        raise ShadowError(f"the {chain} index holds no block yet")
    first = lowest if wanted_first is None else wanted_first
    last = tip if wanted_last is None else wanted_last
    if not lowest <= first <= last <= tip:
        raise ShadowError(f"blocks {first} to {last} are not all in the {chain} index: it holds {lowest} to {tip}")
    return first, last


class _Verification:
    def __init__(self, copies: Shadow, protocols: Sequence[DeployedProtocol], first: int, last: int) -> None:
        self._copies = copies
        self._connection = copies.connection
        self._chain = copies.chain
        self._first, self._last = first, last
        self._projector = Projector(
            protocols, lambda row_type, key: copies.tables.load(copies.connection, row_type, key)
        )
        self._names = [deployed.protocol.name for deployed in protocols]
        found = self._connection.execute(
            "SELECT final_height FROM clarion.cursor WHERE chain = %s", (self._chain,)
        ).fetchone()
        self._final_height = -1 if found is None or found[0] is None else found[0]
        self._kept = dict(
            self._connection.execute(
                'SELECT "table", from_height FROM clarion.kept WHERE chain = %s', (self._chain,)
            ).fetchall()
        )
        self._blocks = self._changes = 0

    def run(self, progress: Callable[[int, int], None] | None) -> Verified:
        """Compare everything, up to the first difference."""
        self._start()
        difference: Difference | None = None
        previous = self._canonical(self._first - 1, self._first - 1)
        parent = previous[0][1] if previous else None
        for low in range(self._first, self._last + 1, CHUNK_BLOCKS):
            high = min(low + CHUNK_BLOCKS - 1, self._last)
            difference = next(self._differences(low, high, parent), None)
            if difference is not None:
                break
            parent = self._canonical(high, high)[0][1]
            if progress is not None:
                progress(high - self._first + 1, self._last - self._first + 1)
        return Verified(
            self._first,
            self._last,
            tuple(self._names),
            self._blocks,
            self._changes,
            difference or self._difference_of_rows(),
        )

    def _start(self) -> None:
        """Rows and digests as they were before the first block."""
        if not self._canonical(self._first - 1, self._first - 1):
            return
        self._copies.fill(self._first - 1)
        self._projector.clear(self._copies.digests(self._first - 1))

    def _canonical(self, low: int, high: int) -> list[tuple[int, bytes]]:
        return self._connection.execute(
            "SELECT height, hash FROM clarion.canonical_block WHERE chain = %s AND height BETWEEN %s AND %s "
            "ORDER BY height",
            (self._chain, low, high),
        ).fetchall()

    def _differences(self, low: int, high: int, parent: bytes | None) -> Iterator[Difference]:
        """What differs in these blocks, in order; brings the copies to the last of them."""
        canonical = self._canonical(low, high)
        blocks = chain_log.load(self._connection, self._chain, [block_hash for _, block_hash in canonical])
        yield from self._differences_of_log(blocks, low, high, parent)
        projected = self._projector.project_all(
            blocks, lambda keys: self._copies.tables.load_many(self._connection, keys)
        )
        logged, digests = self._logged(low, high), self._digests(low, high)
        for block, one in zip(blocks, projected, strict=True):
            self._blocks += 1
            self._changes += len(one.changes)
            yield from self._differences_of_block(block, one, logged, digests)
        self._copies.tables.write(self._connection, [change for one in projected for change in one.changes])
        self._projector.rows.trim()

    def _differences_of_log(
        self, blocks: Sequence[Block], low: int, high: int, parent: bytes | None
    ) -> Iterator[Difference]:
        """Canonical blocks build on each other and are whole in the chain log."""
        counts = {
            block_hash: (transactions, events)
            for block_hash, transactions, events in self._connection.execute(
                "SELECT hash, transaction_count, event_count FROM clarion.block WHERE chain = %s AND hash = ANY(%s)",
                (self._chain, [block.hash for block in blocks]),
            )
        }
        height = low
        for block in blocks:
            if block.height != height:
                yield Difference(height, b"", f"there is no canonical block {height}")
            if parent is not None and block.ref.parent_hash != parent:
                yield Difference(
                    block.height,
                    block.hash,
                    "the block does not build on the canonical one below",
                    stored=f"0x{block.ref.parent_hash.hex()}",
                    derived=f"0x{parent.hex()}",
                )
            found = (len(block.transactions), len(block.events))
            if found != counts[block.hash]:
                yield Difference(
                    block.height,
                    block.hash,
                    "the chain log lacks transactions or events of the block, or has too many",
                    stored="{} transactions, {} events".format(*found),
                    derived="{} transactions, {} events".format(*counts[block.hash]),
                )
            height, parent = block.height + 1, block.hash
        if height != high + 1:
            yield Difference(height, b"", f"there is no canonical block {height}")

    def _logged(self, low: int, high: int) -> dict[tuple[int, str], dict[Key, Stored]]:
        """The changes that the index holds of these heights, by height and table, then by key."""
        logged: dict[tuple[int, str], dict[Key, Stored]] = {}
        for height, table, key, op, before, after in self._connection.execute(
            """
            SELECT h.height, h."table", h.key, NULL, NULL, h.after FROM clarion.history h
            JOIN clarion.protocol p ON p.chain = h.chain AND p.name = split_part(h."table", '.', 1)
                AND p.generation = h.generation
            WHERE h.chain = %(chain)s AND h.height BETWEEN %(low)s AND %(high)s AND h."table" = ANY(%(tables)s)
            UNION ALL
            (SELECT c.height, c."table", c.key, c.op, c.before, c.after FROM clarion.change c
            JOIN clarion.canonical_block k ON k.chain = c.chain AND k.height = c.height AND k.hash = c.block_hash
            JOIN clarion.protocol p ON p.chain = c.chain AND p.name = split_part(c."table", '.', 1)
            WHERE c.chain = %(chain)s AND c.sequence > p.since_sequence AND c.sequence > (
                SELECT coalesce(max(b.sequence), -1) FROM clarion.canonical_block b
                WHERE b.chain = %(chain)s AND b.height < %(low)s
            ) AND NOT c.retraction AND c.height BETWEEN %(low)s AND %(high)s AND c."table" = ANY(%(tables)s)
            ORDER BY c.sequence)
            """,
            {"chain": self._chain, "low": low, "high": high, "tables": self._copies.tables.names},
        ):
            logged.setdefault((height, table), {})[tuple(key)] = (op, before, after)
        return logged

    def _digests(self, low: int, high: int) -> dict[tuple[int, str], bytes]:
        return {
            (height, name): digest
            for height, name, digest in self._connection.execute(
                "SELECT d.height, d.protocol, d.digest FROM clarion.digest d JOIN clarion.protocol p "
                "ON p.chain = d.chain AND p.name = d.protocol AND p.generation = d.generation "
                "WHERE d.chain = %s AND d.height BETWEEN %s AND %s AND d.protocol = ANY(%s)",
                (self._chain, low, high, self._names),
            )
        }

    def _differences_of_block(
        self,
        block: Block,
        projected: Projected,
        logged: dict[tuple[int, str], dict[Key, Stored]],
        digests: dict[tuple[int, str], bytes],
    ) -> Iterator[Difference]:
        derived: dict[str, dict[Key, Change]] = {}
        for change in projected.changes:
            derived.setdefault(change.table, {})[change.key] = change
        for table in self._copies.tables.names:
            stored_rows, derived_rows = logged.get((block.height, table), {}), derived.get(table, {})
            for key in sorted(stored_rows.keys() | derived_rows.keys(), key=lambda key: [str(part) for part in key]):
                found = self._change_differs(block, table, key, stored_rows.get(key), derived_rows.get(key))
                if found is not None:
                    yield found
        for name in self._names:
            stored_digest, derived_digest = digests.get((block.height, name)), projected.digests.get(name)
            if stored_digest != derived_digest:
                yield Difference(
                    block.height,
                    block.hash,
                    f"the digest of {name} differs, and no change of a row of it that is kept",
                    stored=None if stored_digest is None else f"0x{stored_digest.hex()}",
                    derived=None if derived_digest is None else f"0x{derived_digest.hex()}",
                )

    def _change_differs(
        self, block: Block, table: str, key: Key, stored: Stored | None, derived: Change | None
    ) -> Difference | None:
        """The difference of a row's change in a block, if there is one; what was pruned is none."""
        at = (block.height, block.hash)
        if stored is None:
            assert derived is not None
            if block.height <= self._kept.get(table, -1):
                return None
            what = "the change of a row is not in the change log"
            return Difference(*at, what, table, key, None, derived.after)
        op, before, after = stored
        if derived is None:
            return Difference(*at, "the change log has a change of a row that no event made", table, key, after, None)
        if after != derived.after or op not in (None, derived.op):
            return Difference(*at, "a row differs after the block", table, key, after, derived.after)
        undone = op is not None and (before is not None or block.height > self._final_height)
        if undone and before != derived.before:
            what = "a row differs before the block: rolling the block back would restore a wrong one"
            return Difference(*at, what, table, key, before, derived.before)
        return None

    def _difference_of_rows(self) -> Difference | None:
        """The tables as of the last block are what was derived, and the tip's digest is that of its protocols."""
        ((height, block_hash),) = self._canonical(self._last, self._last)
        found = self._copies.difference(height)
        if found is not None:
            what = "the table has another row than what its changes led to"
            return Difference(height, block_hash, what, found.table, found.key, found.stored, found.derived)
        wrong = self._connection.execute(
            "SELECT digest, clarion.digest_at(chain, height) FROM clarion.cursor "
            "WHERE chain = %s AND height = %s AND digest IS DISTINCT FROM clarion.digest_at(chain, height)",
            (self._chain, height),
        ).fetchone()
        if wrong is None:
            return None
        stored, derived = (f"0x{digest.hex()}" for digest in wrong)
        return Difference(height, block_hash, "the tip's digest is not its protocols'", None, None, stored, derived)


def describe(difference: Difference) -> list[str]:
    """The difference in lines for a person."""
    hashed = f" (0x{difference.hash.hex()})" if difference.hash else ""
    lines = [f"block {difference.height}{hashed}: {difference.what}"]
    if difference.table is not None:
        lines.append(f"table   {difference.table}")
        lines.append(f"key     {chain_log.json_text(difference.key)}")
    lines += [f"stored  {_shown(difference.stored)}", f"derived {_shown(difference.derived)}"]
    return lines


def _shown(value: RowJson | str | None) -> str:
    return "nothing" if value is None else value if isinstance(value, str) else str(chain_log.json_text(value))
