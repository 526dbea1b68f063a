"""A chain of transactions with zkUSD's charms, folded in memory; a transaction is what it spends and what it makes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from clarion.chains.bitcoin.charms.events import AppUse, Output, SpellEvent, SpellStatus, SpendEvent
from clarion.chains.bitcoin.scanner import log_entry
from clarion.chains.model import Block, BlockRef, BurnBlock, JsonValue
from clarion.protocol import DeployedProtocol
from clarion.protocols.zkusd import protocol
from clarion.protocols.zkusd.tables import EventRow
from clarion.store.projector import Projected, Projector
from clarion.store.rows import Row, RowType

BLOCK_SECONDS = 600
GENESIS_TIME = 1_700_000_000

Charms = Mapping[str, JsonValue]
"""Charm data by app, ``tag/identity/vk``."""


def script(name: str) -> str:
    """Somebody's locking script, or the one that is given."""
    if name.startswith("0x"):
        return name
    return f"0x0014{hashlib.sha256(name.encode()).hexdigest()[:40]}"


def b32(hex_text: str) -> list[JsonValue]:
    """32 bytes as charms hold them."""
    return list(bytes.fromhex(hex_text))


@dataclass(frozen=True)
class Out:
    """An output: whose, with what charms and satoshis."""

    who: str
    charms: Charms = field(default_factory=dict)
    sats: int = 547
    beamed_to: str | None = None


@dataclass(frozen=True)
class Tx:
    """A transaction: with a spell of some status, or (``status`` None) without one."""

    spends: Sequence[str]
    makes: Sequence[Out] = ()
    inputs: Charms = field(default_factory=dict)
    """Public inputs by app; apps of charms made have none otherwise."""
    lists: Sequence[str] = ()
    """Apps that the spell lists besides those of charms that it makes."""
    status: SpellStatus | None = "verified"
    id: str | None = None
    """Its id where it is a known one."""

    def event(self) -> SpellEvent | SpendEvent:
        """What the chain log has of it."""
        outputs = [Output(out.sats, script(out.who), f"address-{out.who}") for out in self.makes]
        if self.status is None:
            return SpendEvent(list(self.spends), outputs, list(range(len(self.spends))))
        made = {app for out in self.makes for app in out.charms}
        names = sorted({*made, *self.inputs, *self.lists})
        apps = [_app(name, self.inputs.get(name)) for name in names]
        return SpellEvent(
            inputs=list(self.spends),
            outputs=outputs,
            status=self.status,
            failed_step=None if self.status in ("verified", "mock") else "a reason",
            version=15,
            location="op_return",
            mock=self.status == "mock",
            apps=apps,
            outs=[{str(names.index(app)): data for app, data in out.charms.items()} for out in self.makes],
            beamed_outs={str(i): out.beamed_to for i, out in enumerate(self.makes) if out.beamed_to is not None},
            refs=None,
            scrolls=[],
        )


def _app(name: str, public_input: JsonValue) -> AppUse:
    tag, identity, vk = name.split("/")
    return AppUse(tag, identity, vk, public_input)


class Chain:
    """Blocks of such transactions, folded as an index folds them; the last ones can be taken back."""

    def __init__(
        self, parameters: Mapping[str, Any] | None = None, *, network: str = "regtest", start: int = 100
    ) -> None:
        self.deployed: DeployedProtocol = protocol.deployed_on(network, parameters=parameters)
        self.tables: dict[str, dict[tuple[Any, ...], dict[str, Any]]] = {}
        self.projector = Projector([self.deployed], self._load)
        self.start = start
        self.blocks: list[tuple[BlockRef, Projected, bytes]] = []
        self.count = 0

    @property
    def height(self) -> int:
        """Of the last block."""
        return self.start + len(self.blocks)

    def block(self, *transactions: Tx, branch: str = "") -> list[str]:
        """Add a block; gives its transactions' ids."""
        block = self.mined(*transactions, branch=branch)
        self.add(block)
        return [transaction.id.hex() for transaction in block.transactions]

    def mined(self, *transactions: Tx, branch: str = "") -> Block:
        """The block that comes next, with these transactions."""
        height = self.height + 1
        events, mined, ids = [], [], []
        for index, tx in enumerate(transactions):
            event = tx.event()
            tx_id = (
                tx.id
                or hashlib.sha256(
                    msgspec.json.encode([branch, list(tx.spends), msgspec.to_builtins(event)])
                ).hexdigest()
            )
            transaction, logged = log_entry(index, bytes.fromhex(tx_id), b"", event)
            events.append(logged)
            mined.append(transaction)
            ids.append(tx_id)
        parent = self.blocks[-1][0].hash if self.blocks else bytes(32)
        block_hash = hashlib.sha256(parent + "".join([branch, *ids]).encode()).digest()
        ref = BlockRef("bitcoin", height, block_hash, parent)
        time = GENESIS_TIME + height * BLOCK_SECONDS
        return Block(ref, time, BurnBlock(height, block_hash, parent, time), tuple(mined), tuple(events), {})

    def add(self, block: Block) -> None:
        """Add a block that was made elsewhere."""
        before = dict(self.projector.digests)["zkusd"]
        [projected] = self.projector.project_all([block], self._load_many)
        assert not projected.anomalies, projected.anomalies
        for change in projected.changes:
            rows = self.tables.setdefault(change.table, {})
            assert rows.get(change.key) == change.before
            if change.after is None:
                del rows[change.key]
            else:
                rows[change.key] = change.after
        self.blocks.append((block.ref, projected, before))

    def roll_back(self, blocks: int) -> None:
        """Take the last blocks back by their changes, as the store does."""
        for _ in range(blocks):
            _, projected, digest = self.blocks.pop()
            for change in reversed(projected.changes):
                rows = self.tables[change.table]
                if change.before is None:
                    del rows[change.key]
                else:
                    rows[change.key] = change.before
            self.projector.clear({"zkusd": digest})

    def rows(self, table: type[Row]) -> list[dict[str, Any]]:
        """Every row of a table, in the order of the keys."""
        return [row for _, row in sorted(self.tables.get(_name_of(table), {}).items(), key=lambda item: repr(item[0]))]

    def row(self, table: type[Row], *key: Any) -> dict[str, Any]:
        """The row with this key."""
        return self.tables[_name_of(table)][key]

    def events(self, *, anomalies: bool | None = None) -> list[dict[str, Any]]:
        """Every event, in order."""
        found = sorted(self.rows(EventRow), key=lambda row: (row["height"], row["tx_index"], row["ordinal"]))
        return [row for row in found if anomalies is None or row["anomaly"] == anomalies]

    def kinds(self, tx_id: str | None = None, *, anomalies: bool | None = None) -> list[str]:
        """Kinds of events, in order: of all transactions or of one."""
        return [row["kind"] for row in self.events(anomalies=anomalies) if tx_id in (None, row["tx_id"])]

    def last(self, kind: str) -> dict[str, Any]:
        """The last event of a kind."""
        return [row for row in self.events() if row["kind"] == kind][-1]

    def state(self) -> dict[str, dict[tuple[Any, ...], dict[str, Any]]]:
        """All rows of all tables that have any."""
        return {name: dict(rows) for name, rows in self.tables.items() if rows}

    def _load(self, row_type: RowType, key: tuple[JsonValue, ...]) -> Sequence[Any] | None:
        found = self.tables.get(row_type.name, {}).get(key)
        return None if found is None else [found[name] for name in row_type.columns]

    def _load_many(
        self, wanted: Mapping[RowType, Sequence[tuple[JsonValue, ...]]]
    ) -> Mapping[RowType, Sequence[tuple[tuple[JsonValue, ...], Sequence[Any]]]]:
        found: dict[RowType, list[tuple[tuple[JsonValue, ...], Sequence[Any]]]] = {}
        for row_type, keys in wanted.items():
            for key in keys:
                values = self._load(row_type, key)
                if values is not None:
                    found.setdefault(row_type, []).append((key, values))
        return found


def _name_of(table: type[Row]) -> str:
    return str(table.__table__.fullname)  # type: ignore[attr-defined]
