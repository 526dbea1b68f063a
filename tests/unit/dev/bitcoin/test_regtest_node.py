"""The regtest node: Core's rules hold, forks switch the chain, what is kept goes on, the same calls give the same."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clarion.chains.bitcoin.coins import Coin, OutPoint
from clarion.chains.bitcoin.transactions import BitcoinTransaction, Input, Output, new_transaction
from clarion.chains.bitcoin.units import Sats
from clarion.dev.bitcoin.chain import ChainBlock
from clarion.dev.bitcoin.kernel import BlockRejectedError, remove_leftovers
from clarion.dev.bitcoin.keys import Key, key
from clarion.dev.bitcoin.mempool import RejectedError
from clarion.dev.bitcoin.node import RegtestNode
from clarion.dev.bitcoin.signing import keys_by_script, sign, sign_leaf

TIME = 1_700_000_000
ALICE, BOB, MINER = key("alice"), key("bob"), key("miner")
FEE = 1_000


@pytest.fixture
def node() -> Iterator[RegtestNode]:
    """A node on which Alice has two coins that can be spent: by key hash and by taproot."""
    made = RegtestNode(seed=7)
    made.mine(1, ALICE.segwit_script, time=TIME)
    made.mine(1, ALICE.taproot_script, time=TIME)
    made.mine(101, MINER.taproot_script, time=TIME)
    yield made
    made.close()


def coinbase_of(node: RegtestNode, height: int) -> OutPoint:
    return OutPoint(node.chain.blocks[node.chain.active[height]].transactions[0].id, 0)


def spending(
    node: RegtestNode, outpoint: OutPoint, script: bytes, *, fee: int = FEE, signer: Key = ALICE, outputs: int = 1
) -> BitcoinTransaction:
    coin = node.mempool.coin(outpoint)
    assert coin is not None
    share = Sats((coin.amount - fee) // outputs)
    draft = new_transaction(
        (Input(outpoint.tx_id, outpoint.vout, b"", 0xFFFFFFFD),), tuple(Output(share, script) for _ in range(outputs))
    )
    keys = keys_by_script([signer])
    return sign(draft, [coin], keys if coin.script in keys else {coin.script: signer})


def ids(block: ChainBlock) -> list[bytes]:
    return [transaction.id for transaction in block.transactions[1:]]


@pytest.mark.parametrize("height", [1, 2])
def test_a_signed_spend_is_mined(node: RegtestNode, height: int) -> None:
    paid = spending(node, coinbase_of(node, height), BOB.taproot_script)
    node.mempool.accept(paid, time=TIME)
    (block,) = node.mine(1, MINER.taproot_script, time=TIME)
    assert ids(block) == [paid.id]
    assert block.transactions[0].outputs[0].amount == 50 * 10**8 + FEE
    assert not node.mempool.entries
    assert node.chain.coins[OutPoint(paid.id, 0)].height == block.height
    assert coinbase_of(node, height) not in node.chain.coins


@pytest.mark.parametrize("height", [1, 2])
def test_another_keys_signature_is_refused_by_mempool_and_by_blocks(node: RegtestNode, height: int) -> None:
    stolen = spending(node, coinbase_of(node, height), BOB.taproot_script, signer=BOB)
    with pytest.raises(RejectedError, match="mempool-script-verify-flag-failed"):
        node.mempool.accept(stolen, time=TIME)
    tip = node.chain.tip
    with pytest.raises(BlockRejectedError) as error:
        node.mine_on(tip.hash, [stolen], MINER.taproot_script, time=TIME)
    assert "script-verify-flag-failed" in error.value.reason
    assert node.chain.tip is tip


def test_a_leaf_is_spent_by_its_script(node: RegtestNode) -> None:
    leaf = b"\x00\x63\x05spell\x02\xab\xcd\x68" + b"\x20" + BOB.x_only + b"\xac"
    commit = spending(node, coinbase_of(node, 2), BOB.taproot_script_over(leaf))
    node.mempool.accept(commit, time=TIME)
    coin = node.mempool.coin(OutPoint(commit.id, 0))
    assert coin is not None
    draft = new_transaction((Input(commit.id, 0, b"", 0),), (Output(Sats(coin.amount - FEE), ALICE.taproot_script),))
    with pytest.raises(RejectedError):
        node.mempool.accept(sign_leaf(draft, 0, [coin], ALICE, leaf), time=TIME)
    reveal = sign_leaf(draft, 0, [coin], BOB, leaf)
    node.mempool.accept(reveal, time=TIME)
    (block,) = node.mine(1, MINER.taproot_script, time=TIME)
    assert ids(block) == [commit.id, reveal.id]
    assert block.transactions[2].inputs[0].witness[1] == leaf


def test_a_reward_is_not_spent_too_early(node: RegtestNode) -> None:
    early = spending(node, coinbase_of(node, 5), BOB.taproot_script, signer=MINER)
    with pytest.raises(RejectedError, match="bad-txns-premature-spend-of-coinbase"):
        node.mempool.accept(early, time=TIME)
    with pytest.raises(BlockRejectedError, match="bad-txns-premature-spend-of-coinbase"):
        node.mine_on(node.chain.tip.hash, [early], MINER.taproot_script, time=TIME)
    node.mine(1, MINER.taproot_script, time=TIME)
    node.mempool.accept(early, time=TIME)


def test_a_block_needs_its_parent_and_is_taken_once(node: RegtestNode) -> None:
    other = RegtestNode(seed=8)
    first, second = other.mine(2, MINER.taproot_script, time=TIME)
    other.close()
    with pytest.raises(BlockRejectedError, match="prev-blk-not-found"):
        node.submit(second.raw, time=TIME)
    node.submit(first.raw, time=TIME)
    with pytest.raises(BlockRejectedError, match="duplicate"):
        node.submit(first.raw, time=TIME)
    for damaged in (b"", first.raw[:-1], first.raw + b"\x00"):
        with pytest.raises(BlockRejectedError, match="block decode failed"):
            node.submit(damaged, time=TIME)
    assert node.chain.height == 103


def test_the_same_calls_make_the_same_blocks(node: RegtestNode) -> None:
    again, other = RegtestNode(seed=7), RegtestNode(seed=6)
    for made in (again, other):
        made.mine(1, ALICE.segwit_script, time=TIME)
        made.mine(1, ALICE.taproot_script, time=TIME)
    assert again.chain.active == node.chain.active[:3]
    assert other.chain.active[1:] != node.chain.active[1:3]
    again.close()
    other.close()


@pytest.mark.parametrize("depth", [1, 2, 100])
def test_a_fork_takes_transactions_back(node: RegtestNode, depth: int) -> None:
    before = dict(node.chain.coins)
    common = node.chain.tip
    paid = spending(node, coinbase_of(node, 1), BOB.taproot_script)
    node.mempool.accept(paid, time=TIME)
    node.mine(depth, MINER.taproot_script, time=TIME)
    switch = node.fork(depth, MINER.taproot_script, time=TIME)
    assert [block.height for block in switch.disconnected] == [*range(common.height + depth, common.height, -1)]
    assert [block.height for block in switch.connected] == [*range(common.height + 1, common.height + depth + 2)]
    assert node.chain.active[common.height] == common.hash
    assert [*node.mempool.entries] == [paid.id]
    rewards = {OutPoint(block.transactions[0].id, 0) for block in switch.connected}
    assert node.chain.coins.keys() == before.keys() | rewards
    (block,) = node.mine(1, MINER.taproot_script, time=TIME)
    assert ids(block) == [paid.id]


def test_a_fork_can_lose_transactions(node: RegtestNode) -> None:
    paid = spending(node, coinbase_of(node, 1), BOB.taproot_script)
    node.mempool.accept(paid, time=TIME)
    node.mempool.accept(spending(node, OutPoint(paid.id, 0), ALICE.taproot_script, signer=BOB), time=TIME)
    node.mine(3, MINER.taproot_script, time=TIME)
    node.fork(3, MINER.taproot_script, time=TIME, blocks=6, keep_transactions=False)
    assert node.chain.height == 109
    assert not node.mempool.entries
    assert coinbase_of(node, 1) in node.chain.coins


def test_a_branch_may_spend_otherwise(node: RegtestNode) -> None:
    common = node.chain.tip
    to_bob = spending(node, coinbase_of(node, 1), BOB.taproot_script)
    to_self = spending(node, coinbase_of(node, 1), ALICE.taproot_script)
    child = spending_of(to_bob, BOB, ALICE.segwit_script)
    node.mine_on(common.hash, [to_bob], MINER.taproot_script, time=TIME)
    node.mempool.accept(child, time=TIME)
    branch = node.mine_on(common.hash, [to_self], MINER.taproot_script, time=TIME)
    assert node.chain.tip.hash != branch.hash  # first seen among equals
    node.mine_on(branch.hash, [], MINER.taproot_script, time=TIME)
    assert node.chain.active[-2] == branch.hash
    assert OutPoint(to_self.id, 0) in node.chain.coins
    assert not node.mempool.entries  # what spent from the lost branch conflicts


def spending_of(parent: BitcoinTransaction, signer: Key, script: bytes, *, fee: int = FEE) -> BitcoinTransaction:
    output = parent.outputs[0]
    draft = new_transaction((Input(parent.id, 0, b"", 0xFFFFFFFD),), (Output(Sats(output.amount - fee), script),))
    return sign(draft, [Coin(output.amount, output.script, None, coinbase=False)], keys_by_script([signer]))


def test_an_invalid_block_is_left_until_it_is_reconsidered(node: RegtestNode) -> None:
    left = node.chain.active[100]
    tip = node.chain.tip
    paid = spending(node, coinbase_of(node, 1), BOB.taproot_script)
    node.mine_on(tip.hash, [paid], MINER.taproot_script, time=TIME)
    longer = node.chain.active[:]
    switch = node.invalidate(left, time=TIME)
    assert len(switch.disconnected) == 5
    assert node.chain.height == 99
    assert not node.mempool.entries  # at this height the reward is too young to be spent
    with pytest.raises(BlockRejectedError, match="bad-prevblk"):
        node.mine_on(left, [], MINER.taproot_script, time=TIME)
    other = node.mine(2, MINER.taproot_script, time=TIME)
    assert node.chain.tip is other[-1]
    node.reconsider(left, time=TIME)
    assert node.chain.active == longer


def test_what_is_kept_is_continued(tmp_path: Path) -> None:
    first = RegtestNode(tmp_path)
    first.mine(5, MINER.taproot_script, time=TIME)
    first.fork(2, MINER.taproot_script, time=TIME)
    gone = first.chain.active[3]
    first.invalidate(gone, time=TIME)
    first.mine(1, MINER.taproot_script, time=TIME)
    active, coins = first.chain.active, first.chain.coins
    first.close()
    with (tmp_path / "blocks.log").open("ab") as log:
        log.write(b"B\xff\x00\x00\x00half a record")
    second = RegtestNode(tmp_path)
    assert second.chain.active == active
    assert second.chain.coins == coins
    second.mine(1, MINER.taproot_script, time=TIME)
    second.close()
    third = RegtestNode(tmp_path)
    assert third.chain.height == len(active)
    third.close()
    assert [path.name for path in tmp_path.iterdir()] == ["blocks.log"]


def test_what_killed_nodes_left_is_removed(tmp_path: Path) -> None:
    (tmp_path / "clarion-regtest-killed" / "blocks").mkdir(parents=True)
    (tmp_path / "blocks.log").touch()
    remove_leftovers(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["blocks.log"]


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.tuples(st.integers(1, 6), st.integers(1, 8), st.booleans()), max_size=6))
def test_coins_are_those_of_a_node_that_saw_only_the_last_branch(steps: list[tuple[int, int, bool]]) -> None:
    node = RegtestNode()
    node.mine(1, ALICE.taproot_script, time=TIME)
    node.mine(101, MINER.taproot_script, time=TIME)
    outpoint, owner = coinbase_of(node, 1), ALICE
    for depth, blocks, keep in steps:
        coin = node.mempool.coin(outpoint)
        if coin is not None and node.mempool.spender(outpoint) is None:
            paid = spending(node, outpoint, owner.taproot_script, outputs=2)
            node.mempool.accept(paid, time=TIME)
            outpoint = OutPoint(paid.id, 0)
        node.mine(blocks, MINER.taproot_script, time=TIME)
        node.fork(depth, MINER.taproot_script, time=TIME, keep_transactions=keep)
        if node.mempool.coin(outpoint) is None:
            outpoint = coinbase_of(node, 1)
            outpoint = next((OutPoint(i, 0) for i in reversed(node.mempool.entries)), outpoint)
    fresh = RegtestNode(seed=1)
    for digest in node.chain.active[1:]:
        fresh.submit(node.chain.blocks[digest].raw, time=TIME)
    assert fresh.chain.active == node.chain.active
    assert fresh.chain.coins == node.chain.coins
    assert fresh.chain.mined == node.chain.mined
    node.close()
    fresh.close()
