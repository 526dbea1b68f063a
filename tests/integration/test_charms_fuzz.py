"""Transactions and spells changed at random, for `CLARION_FUZZ_SECONDS`: each is answered, soon, in little memory.

`CLARION_FUZZ_SEED` begins elsewhere. What a failure was seen with is in its message.
"""

from __future__ import annotations

import os
import random
import resource
import time
from collections import Counter
from pathlib import Path

import pytest
from support.charms import genuine_spells, in_output, in_witness, plain_transaction

from clarion.chains.bitcoin.charms.locate import envelopes
from clarion.chains.bitcoin.charms.spells import committed, read_payload
from clarion.chains.bitcoin.charms.verify import read_spell
from clarion.chains.bitcoin.networks import BitcoinNetwork
from clarion.chains.bitcoin.transactions import (
    BitcoinTransaction,
    TransactionError,
    parse_transaction,
    write_transaction,
)

SECONDS = float(os.environ.get("CLARION_FUZZ_SECONDS", "60"))
SEED = int(os.environ.get("CLARION_FUZZ_SEED", "0"))
MOST_SECONDS_OF_ONE = 5
MOST_BYTES_MORE = 100 << 20
#: What begins CBOR values of every kind, some of a size that nothing has.
BEGINNINGS = (
    "9bffffffffffffffff bbffffffffffffffff 5bffffffffffffffff 7bffffffffffffffff 9a7fffffff 9f bf 5f 7f ff f6 f7 f4 f5 "
    "c2 c3 c1 d9d9f7 dbffffffffffffffff 1bffffffffffffffff 3bffffffffffffffff f97e00 fb7ff0000000000001 80 a0 40 60 81 "
    "a100 fd0000 fe00000000 ffffffffffffffffff 4c00 4d0000 4effffffff"
)
HEADS = [bytes.fromhex(beginning) for beginning in BEGINNINGS.split()]


class Changer:
    """Changes bytes at random."""

    def __init__(self, seed: int) -> None:
        self.draw = random.Random(seed)

    def change(self, data: bytes) -> bytes:
        """The bytes with one to eight changes."""
        changed = bytearray(data)
        for _ in range(self.draw.choice([1, 1, 1, 2, 3, 8])):
            at = self.draw.randrange(len(changed) + 1)
            kind = self.draw.randrange(7)
            if kind == 0 and at < len(changed):
                changed[at] ^= 1 << self.draw.randrange(8)
            elif kind == 1 and at < len(changed):
                changed[at] = self.draw.randrange(256)
            elif kind == 2:
                del changed[at : at + self.draw.choice([1, 1, 2, 32, 500])]
            elif kind == 3:
                changed[at:at] = self.draw.randbytes(self.draw.choice([1, 2, 9, 40]))
            elif kind == 4:
                head = self.draw.choice(HEADS)
                changed[at : at + self.draw.choice([0, len(head)])] = head
            elif kind == 5:
                start = self.draw.randrange(len(changed) + 1)
                changed[at:at] = changed[start : start + self.draw.choice([1, 33, 200])]
            else:
                changed[at:at] = self.draw.choice(HEADS) * self.draw.choice([2, 300, 5_000])
        return bytes(changed)

    def transaction(self, genuine: list[BitcoinTransaction]) -> BitcoinTransaction | None:
        """A changed transaction, or one with a changed payload; None where it is no transaction."""
        one = self.draw.choice(genuine)
        if self.draw.random() < 0.3:
            try:
                return parse_transaction(self.change(write_transaction(one)))
            except TransactionError:
                return None
        (envelope,) = envelopes(one)
        assert envelope.payload is not None
        payload = self.change(envelope.payload)[:60_000]
        made = plain_transaction(outputs=4)
        return in_witness(made, payload) if self.draw.random() < 0.5 else in_output(made, payload)


@pytest.mark.slow
@pytest.mark.timeout(SECONDS + 120)
def test_whatever_arrives_is_answered(chain_data: Path) -> None:
    recorded = [transaction for _, transaction in genuine_spells(chain_data)]
    said = {_what_is_proven(transaction) for transaction in recorded}
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    answers: Counter[str] = Counter()
    begun_all, end = time.process_time(), time.monotonic() + SECONDS
    seed = SEED
    while time.monotonic() < end:
        seed += 1
        transaction = Changer(seed).transaction(recorded)
        if transaction is None:
            answers["no transaction"] += 1
            continue
        begun = time.process_time()
        event = read_spell(transaction, BitcoinNetwork.MAINNET, accept_mock=False)
        assert time.process_time() - begun < MOST_SECONDS_OF_ONE, f"seed {seed}"
        answers[event.status if event else "no spell"] += 1
        if event is not None and event.acceptable:
            assert _what_is_proven(transaction) in said, f"seed {seed}"
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    assert grown < MOST_BYTES_MORE, f"{grown} bytes more after {seed - SEED} transactions"
    spent = f"{time.process_time() - begun_all:.0f} s of processor time, {grown >> 20} MB more"
    print(f"{seed - SEED} transactions from seed {SEED} in {spent}: {dict(answers)}")


def _what_is_proven(transaction: BitcoinTransaction) -> str:
    for envelope in envelopes(transaction):
        if envelope.payload is not None:
            spell, proof = read_payload(envelope.payload)
            return repr((committed(spell, transaction), proof))
    raise AssertionError("there is no spell in what was accepted")
