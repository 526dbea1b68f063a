"""The scanner: every spell and every spend of tracked outpoints is found, and nothing else is logged."""

from __future__ import annotations

import random

import pytest
from support.bitcoin_chain import (
    NETWORK,
    Made,
    block_of,
    full_block,
    owner,
    payment,
    random_chain,
    read_mock_spells,
    spell_transaction,
    spent,
)

from clarion.chains.bitcoin.blocks import transactions_of
from clarion.chains.bitcoin.charms.events import SpendEvent
from clarion.chains.bitcoin.scanner import Scanner, check_hash, scan
from clarion.chains.bitcoin.tracked import Tracked
from clarion.chains.bitcoin.transactions import Output, TransactionError, new_transaction, write_transaction
from clarion.chains.bitcoin.units import Sats
from clarion.chains.model import Block, EventKind

ELSEWHERE = (b"\x77" * 32, 1)


def scanned(scanner: Scanner, made: Made) -> Block:
    return scanner.block(made.data, scan(made.data, read_mock_spells), made.height)


def test_a_block_that_does_not_matter_is_logged_without_transactions() -> None:
    made = full_block(None, random.Random(1), size=100_000)
    block = scanned(Scanner(NETWORK, Tracked()), made)
    assert (block.ref.chain, block.height, block.hash) == ("bitcoin", 0, made.hash)
    assert (block.transactions, block.events) == ((), ())
    assert block.burn is not None
    assert (block.burn.height, block.burn.hash, block.burn.time) == (block.height, block.hash, block.time)
    whole = transactions_of(made.data)
    assert block.extra["transactions"] == len(whole)
    assert block.extra["size"] == len(made.data)


def test_a_spell_and_the_spend_of_its_charms_in_one_block() -> None:
    spell = spell_transaction([ELSEWHERE], [{0: 5}, {}, {0: 6}], owners=[1, 2, 3])
    first = payment([(spell.id, 1)], salt=1)  # an output of the spell that has no charms
    second = payment([ELSEWHERE, (spell.id, 2), (spell.id, 0)], salt=2)
    made = block_of(None, [spell, first, second], (), 0)
    block = scanned(Scanner(NETWORK, Tracked()), made)
    assert [(tx.index, tx.kind, tx.id) for tx in block.transactions] == [
        (1, "spell", spell.id),
        (3, "spend", second.id),
    ]
    assert [tx.raw for tx in block.transactions] == [write_transaction(spell), write_transaction(second)]
    assert [(event.tx_index, event.index, event.kind, event.topic) for event in block.events] == [
        (1, 0, EventKind.SPELL, "spell"),
        (3, 0, EventKind.SPEND, "spend"),
    ]
    value = block.events[1].value
    assert isinstance(value, dict)
    assert value["spent"] == [1, 2]
    assert value["inputs"] == [given.outpoint for given in second.inputs]
    assert len(SpendEvent.__struct_fields__) == len(value)


def test_a_transaction_with_a_spell_that_spends_charms_is_one_event() -> None:
    made = spell_transaction([ELSEWHERE], [{0: 5}], owners=[1])
    passed_on = spell_transaction([(made.id, 0)], [{0: 5}], owners=[2])
    block = scanned(Scanner(NETWORK, Tracked()), block_of(None, [made, passed_on], (), 0))
    assert [event.kind for event in block.events] == [EventKind.SPELL, EventKind.SPELL]


def test_the_mark_alone_is_no_spell() -> None:
    shouted = new_transaction((spent(*ELSEWHERE),), (Output(Sats(0), b"\x6a\x0aspellspell"), Output(Sats(1), owner(1))))
    across = new_transaction(
        (spent(*ELSEWHERE, witness=(b"gospe",)),), (Output(Sats(1), owner(1)),), lock_time=0x6C6C6570
    )
    block = scanned(Scanner(NETWORK, Tracked()), block_of(None, [shouted, across, shouted], (), 0))
    assert not block.events


def test_an_outpoint_in_other_bytes_is_no_spend() -> None:
    spell = spell_transaction([ELSEWHERE], [{0: 5}], owners=[1])
    named = spell.id[::-1] + bytes(4)
    quoting = new_transaction((spent(*ELSEWHERE, witness=(named,)),), (Output(Sats(0), b"\x6a\x24" + named),))
    spending = payment([(spell.id, 0)], salt=3)
    block = scanned(Scanner(NETWORK, Tracked()), block_of(None, [spell, quoting, spending], (), 0))
    assert [tx.index for tx in block.transactions] == [1, 3]


@pytest.mark.parametrize("seed", range(5))
def test_every_spend_is_found(seed: int) -> None:
    """Against reading every transaction of every block whole."""
    scanner = Scanner(NETWORK, Tracked())
    tracked: set[str] = set()
    for made in random_chain(40, seed=seed):
        block = scanned(scanner, made)
        expected: list[tuple[int, str]] = []
        for place, transaction in enumerate(transactions_of(made.data)):
            (event,) = read_mock_spells([transaction])
            if event is not None:
                expected.append((place, "spell"))
                tracked |= {f"{transaction.id.hex()}:{vout}" for vout, charms in enumerate(event.outs) if charms}
            elif any(given.outpoint in tracked for given in transaction.inputs):
                expected.append((place, "spend"))
        assert [(tx.index, tx.kind) for tx in block.transactions] == expected
    assert tracked


def test_a_block_without_its_work_is_refused() -> None:
    made = full_block(None, random.Random(1), size=1_000)
    assert scanned(Scanner(NETWORK, Tracked()), made).extra["work"] == 2
    asks_for_more = made.data[:72] + (0x1D00FFFF).to_bytes(4, "little") + made.data[76:]
    with pytest.raises(TransactionError, match="does not have the work"):
        scan(asks_for_more, read_mock_spells)


def test_a_block_that_was_not_asked_for_is_refused() -> None:
    made = full_block(None, random.Random(1), size=1_000)
    found = scan(made.data, read_mock_spells)
    check_hash(found, made.hash)
    with pytest.raises(TransactionError, match="was given"):
        check_hash(found, bytes(32))
