"""Spells that are built are read as they were meant, mined by Core's rules, and refused where the protocol would."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clarion.chains.bitcoin.charms.apps import AppRefusedError, SpellNotAllowedError
from clarion.chains.bitcoin.charms.drafts import (
    DraftError,
    SpellDraft,
    SpellInput,
    SpellOutput,
    check,
    outpoint_identity,
)
from clarion.chains.bitcoin.charms.spells import App
from clarion.chains.bitcoin.charms.verify import read_spell
from clarion.chains.bitcoin.coins import Coin, OutPoint
from clarion.chains.bitcoin.networks import BitcoinNetwork
from clarion.chains.bitcoin.units import Sats
from clarion.chains.model import JsonValue
from clarion.dev.bitcoin.keys import key
from clarion.dev.bitcoin.node import RegtestNode
from clarion.dev.bitcoin.signing import keys_by_script, sign
from clarion.dev.bitcoin.spell_builder import spell_transaction, witness_transactions
from clarion.dev.bitcoin.zkusd_apps import apps_deployed_by, oracle_state
from clarion.protocols.zkusd.apps import contracts

TIME = 1_700_000_000
FEERATE = 2_000
ALICE, BOB, MINER = key("alice"), key("bob"), key("miner")
TOKEN = App("t", b"\x01" * 32, b"\x02" * 32)
NFT = App("n", b"\x01" * 32, b"\x02" * 32)
DATA = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**64), 2**64) | st.text(alphabet="abcü☃", max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(alphabet="xyz", max_size=4), inner, max_size=3),
    max_leaves=8,
)


def coin(number: int = 1, *, amount: int = 10**8, charms: Mapping[App, JsonValue] | None = None) -> SpellInput:
    outpoint = OutPoint(bytes(31) + bytes((number,)), number)
    return SpellInput(outpoint, Coin(Sats(amount), ALICE.taproot_script, 1, coinbase=False), charms or {})


@given(data=DATA, public=DATA, amount=st.integers(1, 2**64 - 1), version=st.integers(9, 15))
def test_what_is_written_is_read(data: JsonValue, public: JsonValue, amount: int, version: int) -> None:
    scroll = App("s", b"\x03" * 32, b"\x04" * 32)
    draft = SpellDraft(
        [coin(1), coin(2)],
        [
            SpellOutput(BOB.taproot_script, {TOKEN: amount, NFT: data}),
            SpellOutput(ALICE.segwit_script),
            SpellOutput(BOB.segwit_script, {scroll: data}, Sats(777)),
            SpellOutput(BOB.segwit_script, {TOKEN: 1}, beamed_to=b"\x05" * 32),
        ],
        {scroll: public},
        refs=[OutPoint(b"\x06" * 32, 7)],
        version=version,
    )
    built = spell_transaction(draft, change=ALICE.taproot_script, feerate=FEERATE)
    event = read_spell(built, BitcoinNetwork.REGTEST, accept_mock=True)
    assert event is not None
    assert (event.status, event.version, event.location) == ("mock", version, "op_return")
    assert [(use.tag, use.public_input) for use in event.apps] == [("n", None), ("s", public), ("t", None)]
    assert [output.amount for output in event.outputs[:4]] == [1_000, 1_000, 777, 1_000]
    ids = {app: f"{app.tag}/{app.identity.hex()}/{app.vk.hex()}" for app in (TOKEN, NFT, scroll)}
    found = [{use.id: value for use, value in event.charms(index)} for index in range(4)]
    assert found == [{ids[TOKEN]: amount, ids[NFT]: data}, {}, {ids[scroll]: data}, {ids[TOKEN]: 1}]
    assert event.beamed_outs == {"3": "05" * 32}
    assert event.refs == ["06" * 32 + ":7"]
    assert event.scrolls == ([2] if version == 15 else [])
    rejected = read_spell(built, BitcoinNetwork.REGTEST, accept_mock=False)
    assert rejected is not None
    assert rejected.status == "invalid"


@given(feerate=st.integers(1_000, 50_000), outputs=st.integers(1, 5), big=st.integers(0, 3_000))
def test_the_fee_is_what_was_asked_for(feerate: int, outputs: int, big: int) -> None:
    draft = SpellDraft([coin()], [SpellOutput(BOB.taproot_script, {NFT: "x" * big}) for _ in range(outputs)])
    unsigned = spell_transaction(draft, change=ALICE.segwit_script, feerate=feerate)
    signed = sign(unsigned, draft.coins, keys_by_script([ALICE]))
    fee = 10**8 - sum(output.amount for output in signed.outputs)
    assert 0 <= fee - signed.virtual_size * feerate // 1_000 <= 1


def test_coins_that_do_not_pay() -> None:
    draft = SpellDraft([coin(amount=1_400)], [SpellOutput(BOB.taproot_script, {TOKEN: 1})])
    with pytest.raises(DraftError, match="do not pay the fee"):
        spell_transaction(draft, change=ALICE.segwit_script, feerate=FEERATE)


@pytest.fixture
def node() -> Iterator[RegtestNode]:
    made = RegtestNode()
    made.mine(1, ALICE.taproot_script, time=TIME)
    made.mine(100, MINER.taproot_script, time=TIME)
    yield made
    made.close()


def first_coin(node: RegtestNode) -> SpellInput:
    outpoint = OutPoint(node.chain.blocks[node.chain.active[1]].transactions[0].id, 0)
    return SpellInput(outpoint, node.chain.coins[outpoint])


def test_a_spell_is_mined(node: RegtestNode) -> None:
    draft = SpellDraft([first_coin(node)], [SpellOutput(BOB.taproot_script, {TOKEN: 5})])
    unsigned = spell_transaction(draft, change=ALICE.taproot_script, feerate=FEERATE)
    signed = sign(unsigned, draft.coins, keys_by_script([ALICE]))
    node.mempool.accept(signed, time=TIME)
    (block,) = node.mine(1, MINER.taproot_script, time=TIME)
    assert block.transactions[1] == signed


@pytest.mark.parametrize("size", [1, 600, 3_000])
def test_a_spell_of_an_old_version_is_in_a_witness(node: RegtestNode, size: int) -> None:
    draft = SpellDraft([], [SpellOutput(BOB.taproot_script, {NFT: "y" * size})], version=8)
    funding = first_coin(node)
    change = ALICE.taproot_script
    commit, spell = witness_transactions(draft, funding, BOB, change=change, feerate=FEERATE)
    node.mempool.accept(sign(commit, [funding.coin], keys_by_script([ALICE])), time=TIME)
    node.mempool.accept(spell, time=TIME)
    (block,) = node.mine(1, MINER.taproot_script, time=TIME)
    event = read_spell(block.transactions[2], BitcoinNetwork.REGTEST, accept_mock=True)
    assert event is not None
    assert (event.status, event.version, event.location) == ("mock", 8, "witness")
    assert [data for _, data in event.charms(0)] == ["y" * size]


def test_transfers_need_no_contract() -> None:
    held = coin(1, charms={TOKEN: 10, NFT: {"a": 1}})
    kept = [SpellOutput(BOB.taproot_script, {TOKEN: 4, NFT: {"a": 1}}), SpellOutput(BOB.taproot_script, {TOKEN: 6})]
    assert check(SpellDraft([held], kept), {}) == []


@pytest.mark.parametrize(
    ("inputs", "outputs"),
    [
        ([coin(1, charms={TOKEN: 10})], [SpellOutput(BOB.taproot_script, {TOKEN: 11})]),
        ([coin(1, charms={TOKEN: 10})], [SpellOutput(BOB.taproot_script)]),
        ([coin(1)], [SpellOutput(BOB.taproot_script, {TOKEN: 1})]),
        ([coin(1)], [SpellOutput(BOB.taproot_script, {TOKEN: 0})]),
        ([coin(1)], [SpellOutput(BOB.taproot_script, {TOKEN: 2**64})]),
        ([coin(1, charms={NFT: 1})], [SpellOutput(BOB.taproot_script, {NFT: 2})]),
        ([coin(1, charms={NFT: 1})], [SpellOutput(BOB.taproot_script, {NFT: 1})] * 2),
    ],
)
def test_what_is_more_than_a_transfer_needs_one(inputs: list[SpellInput], outputs: list[SpellOutput]) -> None:
    with pytest.raises(SpellNotAllowedError):
        check(SpellDraft(inputs, outputs), {})


def test_drafts_that_are_none() -> None:
    output = SpellOutput(BOB.taproot_script)
    for draft, said in (
        (SpellDraft([], [output]), "spends something"),
        (SpellDraft([coin(1), coin(1)], [output]), "spent twice"),
        (SpellDraft([coin(1)], [SpellOutput(BOB.taproot_script, {}, Sats(329))]), "fewer than are relayed"),
    ):
        with pytest.raises(DraftError, match=said):
            check(draft, {})


def test_contracts_are_asked() -> None:
    coins = [coin(number) for number in range(1, 5)]
    apps = apps_deployed_by(*(one.outpoint for one in coins))
    state = oracle_state(100_000 * 10**8, block=1, last_valid=100_000 * 10**8)
    output = SpellOutput(ALICE.segwit_script, {apps.oracle: state})
    assert check(SpellDraft([coins[0]], [output], {apps.oracle: "deploy"}), contracts()) == [apps.oracle]
    with pytest.raises(AppRefusedError, match="not that of an outpoint that is spent"):
        check(SpellDraft([coins[1]], [output], {apps.oracle: "deploy"}), contracts())
    with pytest.raises(AppRefusedError, match="there must be one state of the oracle in the inputs"):
        check(SpellDraft([coins[0]], [output], {apps.oracle: "update"}), contracts())


def test_the_identity_of_an_app_is_the_hash_of_an_outpoints_text() -> None:
    assert outpoint_identity(OutPoint(b"\xab" * 32, 3)).hex() == (
        "b43b5e546de7516af51c401fd24b15c3ee640891d93886ae037dd2d6f5c43f49"
    )
