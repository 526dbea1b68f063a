"""Nothing that a real spell's proof commits to can be changed: every byte of it is."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace
from support.charms import genuine_spells

from clarion.chains.bitcoin.charms.locate import envelopes
from clarion.chains.bitcoin.charms.spells import FIRST_WITH_ALL_INPUTS, FIRST_WITH_COINS
from clarion.chains.bitcoin.charms.verify import read_spells
from clarion.chains.bitcoin.networks import BitcoinNetwork
from clarion.chains.bitcoin.transactions import (
    BitcoinTransaction,
    Output,
    TransactionError,
    new_transaction,
    parse_transaction,
    write_transaction,
)
from clarion.chains.bitcoin.units import Sats

VALID = [0, 1, 3, 4, 5, 6, 7, 9]


def accepted(transactions: list[BitcoinTransaction]) -> list[int]:
    events = read_spells(transactions, BitcoinNetwork.MAINNET, accept_mock=False)
    return [place for place, event in enumerate(events) if event is not None and event.acceptable]


def with_payload_changed(transaction: BitcoinTransaction, masks: range | list[int]) -> Iterator[BitcoinTransaction]:
    """The transaction with each byte of its spell and proof changed in each of these ways."""
    (envelope,) = envelopes(transaction)
    assert envelope.payload is not None
    raw = write_transaction(transaction)
    for at in places_of(envelope.payload, raw):
        for mask in masks:
            changed = bytearray(raw)
            changed[at] ^= mask
            try:
                yield parse_transaction(bytes(changed))
            except TransactionError:
                continue


def places_of(payload: bytes, raw: bytes) -> list[int]:
    """Where each byte of a payload is in the transaction: in a witness it is in pieces of 520 bytes."""
    places: list[int] = []
    for start in range(0, len(payload), 520):
        piece = payload[start : start + 520]
        found = raw.find(payload)
        begin = found + start if found >= 0 else raw.index(piece)
        places += range(begin, begin + len(piece))
    assert bytes(raw[place] for place in places) == payload
    return places


@pytest.mark.parametrize("place", VALID)
def test_inputs_and_outputs_that_are_committed_to(chain_data: Path, place: int) -> None:
    known, transaction = genuine_spells(chain_data)[place]
    version = known["spell_version"]
    changed: list[BitcoinTransaction] = []
    committed = transaction.inputs if version >= FIRST_WITH_ALL_INPUTS else transaction.inputs[:-1]
    for number, spent in enumerate(committed):
        others = [replace(spent, vout=spent.vout ^ 1 << bit) for bit in range(0, 32, 8)]
        for at in range(32):
            tx_id = bytearray(spent.tx_id)
            tx_id[at] ^= 1
            others.append(replace(spent, tx_id=bytes(tx_id)))
        for other in others:
            inputs = (*transaction.inputs[:number], other, *transaction.inputs[number + 1 :])
            changed.append(new_transaction(inputs, transaction.outputs))
    if version >= FIRST_WITH_COINS:
        changed += outputs_changed(transaction)
    assert accepted(changed) == []
    assert accepted([transaction]) == [0]


def outputs_changed(transaction: BitcoinTransaction) -> Iterator[BitcoinTransaction]:
    """The transaction with each byte of the amounts and scripts of the spell's outputs changed."""
    (event,) = read_spells([transaction], BitcoinNetwork.MAINNET, accept_mock=False)
    assert event is not None
    for number, output in enumerate(transaction.outputs[: len(event.outs)]):
        others = [replace(output, amount=Sats(output.amount ^ 1 << bit)) for bit in range(48)]
        for at in range(len(output.script)):
            script = bytearray(output.script)
            script[at] ^= 1
            others.append(Output(output.amount, bytes(script)))
        for other in others:
            outputs = (*transaction.outputs[:number], other, *transaction.outputs[number + 1 :])
            yield new_transaction(transaction.inputs, outputs)


@pytest.mark.parametrize("place", VALID)
def test_some_bytes_of_spell_and_proof(chain_data: Path, place: int) -> None:
    _, transaction = genuine_spells(chain_data)[place]
    draw = random.Random(place)
    changed = list(with_payload_changed(transaction, [draw.randrange(1, 256)]))
    assert accepted(draw.sample(changed, 20)) == []


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("place", VALID)
def test_every_byte_of_spell_and_proof(chain_data: Path, place: int) -> None:
    _, transaction = genuine_spells(chain_data)[place]
    draw = random.Random(place)
    masks = [0x01, 0x04, 0x20, 0x80, 0xFF, draw.randrange(1, 256)]
    batch: list[BitcoinTransaction] = []
    for changed in with_payload_changed(transaction, masks):
        batch.append(changed)
        if len(batch) == 200:
            assert accepted(batch) == []
            batch.clear()
    assert accepted(batch) == []
