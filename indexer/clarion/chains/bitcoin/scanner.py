"""Finds in Bitcoin's blocks what matters to Charms: transactions with a spell, and spends of tracked outpoints.

In two steps. What a block says by itself (:func:`scan`) may be found in any order and in other processes. What it
spends (:meth:`Scanner.block`) can be told only once the blocks below it are scanned.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import Final

import msgspec
from msgspec import Struct

from clarion.chains.bitcoin.blocks import BlockHeader, check_work, parse_header, work_of
from clarion.chains.bitcoin.charms.events import SpellEvent, SpendEvent
from clarion.chains.bitcoin.charms.verify import outputs
from clarion.chains.bitcoin.networks import BitcoinNetwork
from clarion.chains.bitcoin.outline import Outline, outline
from clarion.chains.bitcoin.tracked import Tracked
from clarion.chains.bitcoin.transactions import BitcoinTransaction, TransactionError, parse_transaction
from clarion.chains.model import (
    Block,
    BlockRef,
    BurnBlock,
    Event,
    EventKind,
    JsonValue,
    Transaction,
    TransactionStatus,
)

MARK: Final = b"spell"
"""What every transaction with a spell has in it, in an output's script or in a witness."""

SpellReader = Callable[[Sequence[BitcoinTransaction]], list[SpellEvent | None]]
"""Reads and verifies the spells of a block's transactions, None for one that has none: ``charms.verify.read_spells`` of
a network."""


class FoundSpell(Struct, frozen=True):
    """A transaction with a spell. ``place``: of the transaction in the block."""

    place: int
    id: bytes
    raw: bytes
    event: SpellEvent


class Scanned(Struct, frozen=True):
    """What a block says by itself."""

    header: BlockHeader
    size: int
    outline: Outline
    spells: list[FoundSpell]


def scan(data: bytes, read_spells: SpellReader) -> Scanned:
    """Go through a block's bytes. Raises TransactionError where they are no block, or one without its work."""
    header, found = parse_header(data), outline(data)
    check_work(header)
    marked = _marked(data, found.starts)
    raws = [data[found.starts[place] : found.starts[place + 1]] for place in marked]
    transactions = [parse_transaction(raw) for raw in raws]
    events = read_spells(transactions) if transactions else []
    spells = [
        FoundSpell(place, transaction.id, raw, event)
        for place, raw, transaction, event in zip(marked, raws, transactions, events, strict=True)
        if event is not None
    ]
    return Scanned(header, len(data), found, spells)


def _marked(data: bytes, starts: Sequence[int]) -> list[int]:
    """Places of the transactions that have the mark in them."""
    marked: list[int] = []
    at = data.find(MARK, starts[0])
    while at >= 0:
        place = bisect_right(starts, at) - 1
        marked.append(place)
        at = data.find(MARK, starts[place + 1])
    return marked


class Scanner:
    """Makes blocks of the chain log of blocks that are given parent first, and remembers what spells gave charms."""

    def __init__(self, network: BitcoinNetwork, tracked: Tracked) -> None:
        self._network = network
        self._tracked = tracked

    def block(self, data: bytes, scanned: Scanned, height: int) -> Block:
        """The block at ``height`` with the transactions that matter, out of its bytes and what they say."""
        header, found = scanned.header, scanned.outline
        logged: list[tuple[Transaction, Event]] = []
        for spell in scanned.spells:
            self._tracked.add(spell.id, spell.event)
            logged.append(log_entry(spell.place, spell.id, spell.raw, spell.event))
        for place, spent in self._spends(scanned).items():
            raw = data[found.starts[place] : found.starts[place + 1]]
            transaction = parse_transaction(raw)
            event = SpendEvent(
                [given.outpoint for given in transaction.inputs], outputs(transaction, self._network), spent
            )
            logged.append(log_entry(place, transaction.id, raw, event))
        logged.sort(key=lambda pair: pair[0].index)
        return Block(
            BlockRef("bitcoin", height, header.hash, header.parent_hash),
            header.time,
            BurnBlock(height, header.hash, header.parent_hash, header.time),
            tuple(transaction for transaction, _ in logged),
            tuple(event for _, event in logged),
            {
                "transactions": len(found.first_inputs),
                "size": scanned.size,
                "weight": found.weight,
                "work": work_of(header.bits),
            },
        )

    def _spends(self, scanned: Scanned) -> dict[int, list[int]]:
        """Which inputs spend tracked outpoints, by the place of their transaction, of those without a spell."""
        first_inputs = scanned.outline.first_inputs
        with_spell = {spell.place for spell in scanned.spells}
        spends: dict[int, list[int]] = {}
        for number in self._tracked.among(scanned.outline.outpoints):
            place = bisect_right(first_inputs, number) - 1
            if place not in with_spell:
                spends.setdefault(place, []).append(number - first_inputs[place])
        return spends


def log_entry(place: int, tx_id: bytes, raw: bytes, said: SpellEvent | SpendEvent) -> tuple[Transaction, Event]:
    """What the chain log holds of a transaction that matters: itself, at its place in the block, and its one event."""
    kind = EventKind.SPELL if isinstance(said, SpellEvent) else EventKind.SPEND
    value: JsonValue = msgspec.to_builtins(said)
    transaction = Transaction(
        index=place,
        id=tx_id,
        status=TransactionStatus.SUCCESS,
        kind=kind.value,
        sender=None,
        sponsor=None,
        nonce=None,
        fee=None,
        contract=None,
        function=None,
        stored_payload=None,
        result=None,
        raw=raw,
    )
    return transaction, Event(place, 0, kind, None, kind.value, value)


def check_hash(scanned: Scanned, block_hash: bytes) -> None:
    """Raise TransactionError where a source gave another block than it was asked for."""
    if scanned.header.hash != block_hash:
        raise TransactionError(f"asked for block {block_hash.hex()}, was given {scanned.header.hash.hex()}")
