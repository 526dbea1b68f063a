"""What a sender meets at a node: least fees, replacement, packages, chains, locks and dust."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from clarion.chains.bitcoin.coins import Coin, OutPoint
from clarion.chains.bitcoin.scripts import dust_limit
from clarion.chains.bitcoin.transactions import BitcoinTransaction, Input, Output, new_transaction
from clarion.chains.bitcoin.units import Sats
from clarion.dev.bitcoin.keys import key
from clarion.dev.bitcoin.mempool import MAX_RELATIVES, Policy, RejectedError
from clarion.dev.bitcoin.node import RegtestNode
from clarion.dev.bitcoin.signing import keys_by_script, sign

TIME = 1_700_000_000
ALICE, MINER = key("alice"), key("miner")
COIN = 50 * 10**8


@pytest.fixture
def node() -> Iterator[RegtestNode]:
    """A node on which Alice has three coins of 50 bitcoins."""
    made = RegtestNode(policy=Policy(data_carrier_bytes=500))
    made.mine(3, ALICE.taproot_script, time=TIME)
    made.mine(100, MINER.taproot_script, time=TIME)
    yield made
    made.close()


def coin(node: RegtestNode, number: int) -> OutPoint:
    return OutPoint(node.chain.blocks[node.chain.active[1 + number]].transactions[0].id, 0)


def pay(
    node: RegtestNode, *outpoints: OutPoint, fee: int, change: int = 1, version: int = 2, lock_time: int = 0,
    sequence: int = 0xFFFFFFFD, also: tuple[Output, ...] = (),
) -> BitcoinTransaction:  # fmt: skip
    """Alice's coins to Alice, in ``change`` parts."""
    spent = [node.mempool.coin(outpoint) for outpoint in outpoints]
    known = [one for one in spent if one is not None]
    assert len(known) == len(spent)
    share = Sats((sum(one.amount for one in known) - fee) // change)
    draft = new_transaction(
        tuple(Input(*outpoint, b"", sequence) for outpoint in outpoints),
        tuple(Output(share, ALICE.taproot_script) for _ in range(change)) + also,
        version=version,
        lock_time=lock_time,
    )
    return sign(draft, known, keys_by_script([ALICE]))


def refused(node: RegtestNode, transaction: BitcoinTransaction) -> str:
    before = dict(node.mempool.entries)
    with pytest.raises(RejectedError) as error:
        node.mempool.accept(transaction, time=TIME)
    assert node.mempool.entries == before
    return error.value.reason


def test_the_least_fee_is_by_size(node: RegtestNode) -> None:
    size = pay(node, coin(node, 0), fee=0).virtual_size
    assert refused(node, pay(node, coin(node, 0), fee=size - 1)) == "min relay fee not met"
    node.mempool.accept(pay(node, coin(node, 0), fee=size), time=TIME)


def test_more_out_than_in(node: RegtestNode) -> None:
    assert refused(node, pay(node, coin(node, 0), fee=-1)) == "bad-txns-in-belowout"


def test_a_replacement_pays_more_in_all_and_by_size(node: RegtestNode) -> None:
    first = pay(node, coin(node, 0), fee=1_000)
    node.mempool.accept(first, time=TIME)
    child = pay(node, OutPoint(first.id, 0), fee=5_000)
    node.mempool.accept(child, time=TIME)
    size = first.virtual_size
    assert refused(node, pay(node, coin(node, 0), fee=6_000 + size - 1)) == "insufficient fee"
    assert refused(node, pay(node, coin(node, 0), fee=10_000, change=30)) == "insufficient fee"
    better = pay(node, coin(node, 0), fee=6_000 + size)
    assert {entry.id for entry in node.mempool.accept(better, time=TIME)} == {first.id, child.id}
    assert [*node.mempool.entries] == [better.id]


def test_a_replacement_spends_nothing_that_it_replaces(node: RegtestNode) -> None:
    first = pay(node, coin(node, 0), fee=1_000)
    node.mempool.accept(first, time=TIME)
    assert refused(node, pay(node, coin(node, 0), OutPoint(first.id, 0), fee=9_000)) == "bad-txns-spends-conflicting-tx"


def test_a_replacement_adds_no_unconfirmed_input(node: RegtestNode) -> None:
    first, other = pay(node, coin(node, 0), fee=1_000), pay(node, coin(node, 1), fee=1_000)
    node.mempool.accept(first, time=TIME)
    node.mempool.accept(other, time=TIME)
    assert refused(node, pay(node, coin(node, 0), OutPoint(other.id, 0), fee=9_000)) == "replacement-adds-unconfirmed"


def test_a_child_pays_for_its_parent_in_a_package(node: RegtestNode) -> None:
    parent = pay(node, coin(node, 0), fee=0)
    assert refused(node, parent) == "min relay fee not met"
    poor, rich = child_of(node, parent, fee=100), child_of(node, parent, fee=400)
    with pytest.raises(RejectedError, match="min relay fee not met"):
        node.mempool.accept_package([parent, poor], time=TIME)
    assert not node.mempool.entries
    node.mempool.accept_package([parent, rich], time=TIME)
    assert [*node.mempool.entries] == [parent.id, rich.id]
    with pytest.raises(RejectedError, match="package-not-child-with-parents"):
        node.mempool.accept_package([pay(node, coin(node, 1), fee=900), pay(node, coin(node, 2), fee=900)], time=TIME)


def child_of(node: RegtestNode, parent: BitcoinTransaction, *, fee: int) -> BitcoinTransaction:
    output = parent.outputs[0]
    draft = new_transaction(
        (Input(parent.id, 0, b"", 0xFFFFFFFD),), (Output(Sats(output.amount - fee), ALICE.taproot_script),)
    )
    return sign(draft, [Coin(output.amount, output.script, None, coinbase=False)], keys_by_script([ALICE]))


def test_lines_of_unconfirmed_transactions_end(node: RegtestNode) -> None:
    outpoint = coin(node, 0)
    for _ in range(MAX_RELATIVES):
        link = pay(node, outpoint, fee=1_000)
        node.mempool.accept(link, time=TIME)
        outpoint = OutPoint(link.id, 0)
    assert refused(node, pay(node, outpoint, fee=1_000)) == "too-long-mempool-chain"
    (block,) = node.mine(1, MINER.taproot_script, time=TIME)
    assert len(block.transactions) == 1 + MAX_RELATIVES
    node.mempool.accept(pay(node, outpoint, fee=1_000), time=TIME)


def test_descendants_end_too(node: RegtestNode) -> None:
    wide = pay(node, coin(node, 0), fee=9_000, change=30)
    node.mempool.accept(wide, time=TIME)
    for index in range(MAX_RELATIVES - 1):
        node.mempool.accept(pay(node, OutPoint(wide.id, index), fee=1_000), time=TIME)
    assert refused(node, pay(node, OutPoint(wide.id, 29), fee=1_000)) == "too-long-mempool-chain"


def test_the_best_paying_are_mined_first_with_what_they_need(node: RegtestNode) -> None:
    slow, fast = pay(node, coin(node, 0), fee=200), pay(node, coin(node, 1), fee=50_000)
    node.mempool.accept(slow, time=TIME)
    node.mempool.accept(fast, time=TIME)
    urgent = pay(node, OutPoint(slow.id, 0), fee=90_000)
    node.mempool.accept(urgent, time=TIME)
    assert [entry.id for entry in node.mempool.selection(4_000_000)] == [slow.id, urgent.id, fast.id]
    assert [entry.id for entry in node.mempool.selection(fast.weight)] == [fast.id]


def test_time_locks_are_those_of_the_next_block(node: RegtestNode) -> None:
    tip = node.chain.height
    assert refused(node, pay(node, coin(node, 0), fee=999, lock_time=tip + 1)) == "non-final"
    node.mempool.accept(pay(node, coin(node, 0), fee=999, lock_time=tip), time=TIME)
    median = node.chain.median_time(node.chain.tip.hash)
    assert refused(node, pay(node, coin(node, 1), fee=999, lock_time=median)) == "non-final"
    node.mempool.accept(pay(node, coin(node, 1), fee=999, lock_time=median - 1), time=TIME)
    waiting = pay(node, coin(node, 2), fee=999, sequence=tip + 2 - 3)
    assert refused(node, waiting) == "non-BIP68-final"
    node.mine(1, MINER.taproot_script, time=TIME)
    node.mempool.accept(waiting, time=TIME)
    (block,) = node.mine(1, MINER.taproot_script, time=TIME)
    assert waiting.id in [transaction.id for transaction in block.transactions]


def test_relative_time_locks(node: RegtestNode) -> None:
    half_an_hour = (1 << 22) | 4
    waiting = pay(node, coin(node, 2), fee=999, sequence=half_an_hour)
    assert refused(node, waiting) == "non-BIP68-final"
    node.mine(12, MINER.taproot_script, time=TIME + 4_000)
    node.mempool.accept(waiting, time=TIME)
    (block,) = node.mine(1, MINER.taproot_script, time=TIME)
    assert len(block.transactions) == 2


def test_dust_and_data_have_limits(node: RegtestNode) -> None:
    assert (dust_limit(ALICE.taproot_script), dust_limit(ALICE.segwit_script)) == (330, 294)
    dust = Output(Sats(329), ALICE.taproot_script)
    assert refused(node, pay(node, coin(node, 0), fee=999, also=(dust,))) == "dust"
    data = Output(Sats(0), b"\x6a\x4d" + (497).to_bytes(2, "little") + bytes(497))
    assert refused(node, pay(node, coin(node, 0), fee=9_000, also=(data,))) == "datacarrier"
    fits = Output(Sats(0), b"\x6a\x4d" + (496).to_bytes(2, "little") + bytes(496))
    node.mempool.accept(pay(node, coin(node, 0), fee=9_000, also=(fits,)), time=TIME)


def test_what_is_known_or_makes_no_sense_is_refused(node: RegtestNode) -> None:
    paid = pay(node, coin(node, 0), fee=999)
    node.mempool.accept(paid, time=TIME)
    assert refused(node, paid) == "txn-already-in-mempool"
    node.mine(1, MINER.taproot_script, time=TIME)
    assert refused(node, paid) == "txn-already-known"
    assert refused(node, pay(node, coin(node, 1), coin(node, 1), fee=999)) == "bad-txns-inputs-duplicate"
    assert refused(node, pay(node, coin(node, 1), fee=999, version=4)) == "version"
    assert refused(node, node.chain.tip.transactions[0]) == "coinbase"
    missing = new_transaction((Input(bytes(31) + b"\x01", 0, b"", 0),), (Output(Sats(9_999), ALICE.taproot_script),))
    assert refused(node, missing) == "missing-inputs"


def test_a_mined_conflict_takes_out_what_waits(node: RegtestNode) -> None:
    waits, mined = pay(node, coin(node, 0), fee=999), pay(node, coin(node, 0), fee=998)
    node.mempool.accept(waits, time=TIME)
    node.mempool.accept(pay(node, OutPoint(waits.id, 0), fee=999), time=TIME)
    node.mine_on(node.chain.tip.hash, [mined], MINER.taproot_script, time=TIME)
    assert not node.mempool.entries
    assert node.mempool.spender(coin(node, 0)) is None


def test_a_full_block_leaves_the_rest(node: RegtestNode) -> None:
    wide = pay(node, coin(node, 0), fee=200_000, change=2_000)
    node.mempool.accept(wide, time=TIME)
    assert [entry.id for entry in node.mempool.selection(wide.weight - 1)] == []
    assert [entry.id for entry in node.mempool.selection(wide.weight)] == [wide.id]
