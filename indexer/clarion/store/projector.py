"""Turns blocks into row changes: the handlers of some protocols over rows that a loader gives.

The same for every use: the live index, the filling of a protocol that is added later, verification and drills. No SQL
is here; where rows come from and where changes go is the caller's business.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from types import MappingProxyType
from typing import Final

from clarion.chains.model import Block, BlockRef, Transaction
from clarion.protocol import DeployedProtocol, ProjectionError, UndecodableEventError, UnknownTopicError
from clarion.store.digest import EMPTY_DIGEST, protocol_digest
from clarion.store.rows import Change, Key, Loader, ManyLoader, Row, Rows, RowType


@dataclass(frozen=True, slots=True)
class AnomalyAt:
    """Something in a block that could not be understood; see ``clarion.store.tables.Anomaly``."""

    block: BlockRef
    tx_index: int
    event_index: int
    kind: str
    contract: str | None
    topic: str | None
    detail: str


@dataclass(frozen=True, slots=True)
class Projected:
    """What a block does: row changes ordered by table and key, the digests of the protocols that changed, anomalies."""

    changes: Sequence[Change]
    digests: Mapping[str, bytes]
    anomalies: Sequence[AnomalyAt]


_NOTHING: Final = Projected((), MappingProxyType({}), ())


class Projector:
    """Projects blocks one after the other. Rows are kept between blocks as a cache; see :meth:`clear`."""

    def __init__(self, protocols: Iterable[DeployedProtocol], load: Loader) -> None:
        self.protocols: tuple[DeployedProtocol, ...] = tuple(protocols)
        self.row_types: Mapping[str, RowType] = {
            row_type.name: row_type for deployed in self.protocols for row_type in deployed.protocol.row_types
        }
        #: The latest digest of every protocol; the owner sets them where it starts or jumps.
        self.digests: dict[str, bytes] = {deployed.protocol.name: EMPTY_DIGEST for deployed in self.protocols}
        self.rows = Rows(self.row_types.values(), load)
        self._name_of = {name: name.partition(".")[0] for name in self.row_types}
        self._all_seeing = tuple(deployed for deployed in self.protocols if deployed.open_ended)
        followed = {contract for deployed in self.protocols for contract in deployed.contracts}
        self._concerned: Mapping[str | None, Sequence[DeployedProtocol]] = {
            contract: tuple(d for d in self.protocols if d.open_ended or contract in d.contracts)
            for contract in followed
        }

    def project(self, block: Block) -> Projected:
        """Apply a block's events. Raises ProjectionError where a handler is defective; then :meth:`clear` and stop."""
        if not block.events and not self._all_seeing:
            return _NOTHING
        anomalies: list[AnomalyAt] = []
        for deployed in self._all_seeing:
            deployed.begin_block(block, self.rows)
        transaction: Transaction | None = None
        for event in block.events:
            for deployed in self._concerned.get(event.contract, self._all_seeing):
                if transaction is None or transaction.index != event.tx_index:
                    transaction = block.transaction(event.tx_index)
                try:
                    deployed.project(event, block, transaction, self.rows)
                except (UnknownTopicError, UndecodableEventError) as error:
                    kind = "unknown_topic" if isinstance(error, UnknownTopicError) else "undecodable_event"
                    anomalies.append(
                        AnomalyAt(block.ref, event.tx_index, event.index, kind, event.contract, event.topic, str(error))
                    )
        try:
            changes = self.rows.end_block(block.height)
        except ValueError as error:
            raise ProjectionError(f"{error}, in {block.ref}; nothing of the block was written") from error
        changed: dict[str, bytes] = {}
        for name, own in groupby(changes, key=self._protocol_of):
            changed[name] = self.digests[name] = protocol_digest(self.digests[name], block.ref, own)
        return Projected(changes, changed, anomalies)

    def project_all(self, blocks: Sequence[Block], load_many: ManyLoader) -> list[Projected]:
        """Apply several blocks, asking for the rows they need together; see :class:`clarion.store.rows.Rows`.

        Raises ProjectionError as :meth:`project` does.
        """
        self.prefetch(blocks, load_many)
        return self.project_prefetched(blocks, load_many)

    def prefetch(self, blocks: Sequence[Block], load_many: ManyLoader) -> None:
        """Load the rows that these blocks are known to need."""
        if not self.rows.complete:
            self.rows.prefetch(self._foreseen(blocks), load_many)

    def project_prefetched(
        self, blocks: Sequence[Block], load_many: ManyLoader, after_each: Callable[[], object] = lambda: None
    ) -> list[Projected]:
        """The second half of :meth:`project_all`: rows are loaded only where one was needed that nobody foresaw.

        ``after_each`` is called after each block.
        """
        rows, digests = self.rows, dict(self.digests)
        rows.begin_batch()
        while True:
            projected: list[Projected] = []
            failed: ProjectionError | None = None
            try:
                for block in blocks:
                    projected.append(self.project(block))
                    after_each()
            except ProjectionError as error:
                failed = error
            found = load_many(rows.guessed) if rows.guessed else {}
            if not found:
                break
            rows.rewind(found)
            self.digests = dict(digests)
        rows.end_batch()
        if failed is not None:
            raise failed
        return projected

    def _foreseen(self, blocks: Sequence[Block]) -> Iterator[tuple[type[Row], Key]]:
        foreseeing = [deployed for deployed in self.protocols if deployed.protocol.foresight is not None]
        for deployed in foreseeing:
            for block in blocks:
                for event in block.events:
                    yield from deployed.foreseen(event)

    def clear(self, digests: Mapping[str, bytes], empty: Collection[str] = ()) -> None:
        """Forget the rows, as after the database went elsewhere, and go on from these digests.

        ``empty``: names of tables known to hold no row, which then need not be asked for rows.
        """
        self.rows.clear(empty)
        self.digests = {name: digests.get(name, EMPTY_DIGEST) for name in self.digests}

    def _protocol_of(self, change: Change) -> str:
        """The name of the protocol whose table changed: its schema."""
        return self._name_of[change.table]
