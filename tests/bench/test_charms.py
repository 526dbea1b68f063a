"""Spells of recorded transactions read; proofs verified, alone and together.

Processor time of one process; pairings of a batch may use more than one core.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from bench.report import Report
from support.charms import Trapdoor, genuine_spells

from clarion.chains.bitcoin.charms import keys, pairings_zksnake
from clarion.chains.bitcoin.charms.groth16 import Pairings, Statement, read_proof, verify, verify_all
from clarion.chains.bitcoin.charms.locate import envelopes
from clarion.chains.bitcoin.charms.pairings_py_ecc import PyEccPairings
from clarion.chains.bitcoin.charms.pairings_zksnake import ZksnakePairings
from clarion.chains.bitcoin.charms.proofs import statement
from clarion.chains.bitcoin.charms.spells import committed, public_values, read_payload
from clarion.chains.bitcoin.charms.verify import read_spells
from clarion.chains.bitcoin.networks import BitcoinNetwork
from clarion.chains.bitcoin.transactions import BitcoinTransaction

BATCHES = [10, 100]
ROUNDS = 5
TABLE = "Charms"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def transactions(chain_data: Path) -> list[BitcoinTransaction]:
    """The recorded transactions whose proofs hold."""
    return [transaction for known, transaction in genuine_spells(chain_data) if known["proof_verifies"]]


@pytest.fixture(scope="module")
def statements() -> list[Statement]:
    """Proofs that differ, of one key."""
    trapdoor = Trapdoor(2)
    return [Statement(trapdoor.key, read_proof(trapdoor.prove(1, 2)), (1, 2)) for _ in range(max(BATCHES))]


def anew(work: Callable[[], object]) -> Callable[[], object]:
    """The work as of proofs that were never seen."""

    def forgetful() -> None:
        pairings_zksnake._checked_g2.cache_clear()
        work()

    return forgetful


def statement_of(transaction: BitcoinTransaction) -> Statement:
    (envelope,) = envelopes(transaction)
    assert envelope.payload is not None
    spell, proof = read_payload(envelope.payload)
    values = public_values(keys.program_key(spell.version), committed(spell, transaction))
    return statement(spell.version, proof, values)


def milliseconds(work: Callable[[], object], count: int, rounds: int = ROUNDS) -> tuple[float, float]:
    """Processor time and time of each of ``count`` things that the work does, the best of some rounds."""
    best = (float("inf"), float("inf"))
    for _ in range(rounds):
        begun = (time.process_time(), time.perf_counter())
        work()
        taken = (time.process_time() - begun[0], time.perf_counter() - begun[1])
        best = (min(best[0], taken[0]), min(best[1], taken[1]))
    return best[0] / count * 1_000, best[1] / count * 1_000


def add(report: Report, what: str, taken: tuple[float, float]) -> None:
    processor, wall = taken
    row = {"what": what, "processor": f"{processor:.2f} ms", "a second of it": f"{1_000 / processor:,.1f}"}
    report.add(TABLE, {**row, "time": f"{wall:.2f} ms"})


def test_spells_are_read(report: Report, transactions: list[BitcoinTransaction]) -> None:
    def read() -> None:
        for transaction in transactions:
            statement_of(transaction)

    read()
    add(report, "a spell read, its public values written", milliseconds(read, len(transactions), 20))


@pytest.mark.parametrize(("name", "by", "rounds"), [("zksnake", ZksnakePairings(), 20), ("py_ecc", PyEccPairings(), 1)])
def test_proofs_one_by_one(report: Report, statements: list[Statement], name: str, by: Pairings, rounds: int) -> None:
    taken = statements[:20] if rounds > 1 else statements[:2]

    def work() -> None:
        assert all(verify(one, by=by) for one in taken)

    add(report, f"a proof verified alone, by {name}", milliseconds(anew(work), len(taken), rounds))


@pytest.mark.parametrize("size", BATCHES)
def test_proofs_together(report: Report, statements: list[Statement], size: int) -> None:
    def work() -> None:
        assert all(verify_all(statements[:size]))

    add(report, f"a proof of {size} verified together", milliseconds(anew(work), size))


def test_spells_to_events(report: Report, transactions: list[BitcoinTransaction]) -> None:
    def work() -> None:
        events = read_spells(transactions, BitcoinNetwork.TESTNET4, accept_mock=False)
        assert all(event is not None and event.acceptable for event in events)

    count = len(transactions)
    add(report, f"one of {count} real transactions, to its event", milliseconds(anew(work), count))
