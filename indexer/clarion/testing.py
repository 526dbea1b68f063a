"""For the tests of protocol packages: events folded into rows in memory, as an index folds them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from clarion.chains.model import Block, BlockRef, BurnBlock, Event, EventKind, JsonValue, Transaction, TransactionStatus
from clarion.protocol import DeployedProtocol
from clarion.store.projector import AnomalyAt, Projector
from clarion.store.rows import Row


class Folded:
    """A protocol's rows, made from the events it is given. No database is needed."""

    def __init__(self, deployed: DeployedProtocol) -> None:
        self._projector = Projector([deployed], lambda _type, _key: None)
        self._rows: dict[str, dict[tuple[Any, ...], dict[str, JsonValue]]] = {}
        self._height = 0
        self.anomalies: list[AnomalyAt] = []
        """Events that nothing handles or that are not as declared."""

    def block(
        self, events: Iterable[Event], *, sender: str = "", burn_height: int = 0, time: int = 0
    ) -> Mapping[str, bytes]:
        """Fold one block whose one transaction, of ``sender``, gave these events; the hash of a block is its height.

        Gives the digest, by protocol's name, where rows changed.
        """
        self._height += 1
        block_hash, parent_hash = (number.to_bytes(32, "big") for number in (self._height, self._height - 1))
        transaction = Transaction(
            index=0,
            id=block_hash,
            status=TransactionStatus.SUCCESS,
            kind="contract_call",
            sender=sender,
            sponsor=None,
            nonce=self._height,
            fee=0,
            contract=None,
            function=None,
            stored_payload=None,
            result=None,
            raw=b"",
        )
        block = Block(
            BlockRef("stacks", self._height, block_hash, parent_hash),
            time,
            BurnBlock(burn_height, burn_height.to_bytes(32, "big")),
            (transaction,),
            tuple(events),
            {},
        )
        projected = self._projector.project(block)
        self.anomalies += projected.anomalies
        for change in projected.changes:
            rows = self._rows.setdefault(change.table, {})
            if change.after is None:
                del rows[change.key]
            else:
                rows[change.key] = dict(change.after)
        return projected.digests

    def rows(self, table: type[Row]) -> list[dict[str, JsonValue]]:
        """Every row of a table, in the order of the keys."""
        found = self._rows.get(self._name_of(table), {})
        return [row for _, row in sorted(found.items(), key=lambda item: repr(item[0]))]

    def row(self, table: type[Row], key: tuple[Any, ...]) -> dict[str, JsonValue] | None:
        """The row of a table with this key, or None."""
        return self._rows.get(self._name_of(table), {}).get(key)

    def _name_of(self, table: type[Row]) -> str:
        return next(name for name, row_type in self._projector.row_types.items() if row_type.model is table)


def event(
    contract: str | None,
    value: JsonValue,
    *,
    kind: EventKind = EventKind.PRINT,
    topic: str | None = None,
    index: int = 0,
) -> Event:
    """An event of a block's only transaction. ``topic`` of a print is its own ``topic`` field unless given."""
    if topic is None:
        own = value.get("topic") if isinstance(value, dict) else None
        topic = str(own or "print") if kind is EventKind.PRINT else kind.value
    return Event(0, index, kind, contract, topic, value)
