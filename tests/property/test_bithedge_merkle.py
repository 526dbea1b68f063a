"""Merkle trees of rewards: every proof leads to the root, and nothing else does; as the contract computes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from clarion.chains.stacks import c32
from clarion.protocols.bithedge.merkle import MAX_LEAVES, Reward, RewardTree, depth, leaf_hash, root_of
from clarion.protocols.bithedge.units import TokenAmount

VECTORS = Path(__file__).parents[2] / "contracts" / "tests" / "vectors" / "merkle.json"

accounts = st.binary(min_size=20, max_size=20).map(lambda hash160: c32.encode_address(26, hash160))
contracts = st.builds(
    lambda account, name: f"{account}.{name}", accounts, st.from_regex(r"[a-z][a-z0-9-]{0,20}", fullmatch=True)
)
rewards = st.builds(Reward, accounts | contracts, st.integers(0, 2**128 - 1).map(TokenAmount))
epochs = st.tuples(st.integers(0, 2**128 - 1), st.integers(0, 2**128 - 1))
trees = st.builds(
    lambda epoch, items: (epoch, RewardTree(epoch[0], epoch[1], items)),
    epochs,
    st.lists(rewards, min_size=1, max_size=40, unique_by=lambda reward: reward.who),
)


@given(tree=trees, data=st.data())
def test_every_proof_leads_to_the_root_and_only_from_its_own_leaf(
    tree: tuple[tuple[int, int], RewardTree], data: st.DataObject
) -> None:
    (program, epoch), built = tree
    index = data.draw(st.integers(0, len(built.rewards) - 1))
    own, proof = built.rewards[index], built.proof(index)
    assert len(proof) == depth(len(built.rewards))
    assert root_of(leaf_hash(program, epoch, own), index, proof) == built.root

    other = data.draw(rewards)
    assume(other != own)
    assert root_of(leaf_hash(program, epoch, other), index, proof) != built.root
    elsewhere = data.draw(epochs)
    assume(elsewhere != (program, epoch))
    assert root_of(leaf_hash(*elsewhere, own), index, proof) != built.root


@given(tree=trees, data=st.data())
def test_a_proof_is_good_for_one_place(tree: tuple[tuple[int, int], RewardTree], data: st.DataObject) -> None:
    (program, epoch), built = tree
    assume(len(built.rewards) > 1)
    index = data.draw(st.integers(0, len(built.rewards) - 1))
    place = data.draw(st.integers(0, 2 ** depth(len(built.rewards)) - 1))
    assume(place != index)
    leaf = leaf_hash(program, epoch, built.rewards[index])
    assert root_of(leaf, place, built.proof(index)) != built.root
    if place < len(built.rewards):
        assert root_of(leaf, index, built.proof(place)) != built.root


@given(tree=trees, data=st.data())
def test_no_inner_node_is_a_leaf(tree: tuple[tuple[int, int], RewardTree], data: st.DataObject) -> None:
    (program, epoch), built = tree
    index = data.draw(st.integers(0, len(built.rewards) - 1))
    leaf = leaf_hash(program, epoch, built.rewards[index])
    proof = built.proof(index)
    assume(proof)
    height = data.draw(st.integers(1, len(proof)))
    inner = root_of(leaf, index, proof[:height])
    assert root_of(inner, index >> height, proof[height:]) == built.root
    assert inner not in {leaf_hash(program, epoch, reward) for reward in built.rewards}


@given(leaves=st.integers(1, MAX_LEAVES))
def test_the_depth_is_the_least_that_holds_all_leaves(leaves: int) -> None:
    assert 2 ** depth(leaves) >= leaves
    assert depth(leaves) == 0 or 2 ** (depth(leaves) - 1) < leaves


def test_a_tree_has_rewards_and_each_user_once() -> None:
    who = c32.encode_address(26, bytes(20))
    with pytest.raises(ValueError, match="1 to"):
        RewardTree(1, 1, [])
    with pytest.raises(ValueError, match="two rewards of one user"):
        RewardTree(1, 1, [Reward(who, TokenAmount(1)), Reward(who, TokenAmount(2))])
    with pytest.raises(IndexError):
        RewardTree(1, 1, [Reward(who, TokenAmount(1))]).proof(1)


@pytest.mark.parametrize(
    "vector", json.loads(VECTORS.read_text()), ids=lambda vector: f"{len(vector['rewards'])} leaves"
)
def test_trees_are_those_that_the_contract_accepts(vector: dict[str, Any]) -> None:
    items = [Reward(item["who"], TokenAmount(int(item["amt"]))) for item in vector["rewards"]]
    tree = RewardTree(int(vector["program"]), int(vector["epoch"]), items)
    assert tree.root.hex() == vector["root"]
    assert [[sibling.hex() for sibling in tree.proof(index)] for index in range(len(items))] == vector["proofs"]
