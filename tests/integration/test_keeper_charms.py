"""From a spell that is proposed to one that is mined, on a regtest with a mock prover."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace

import pytest
import pytest_asyncio
import stamina
from support.submission import CHANGE, LIMITS, MOST_RATE, NETWORK, RATE, TIME, World, world

from clarion.chains.bitcoin.charms.drafts import SpellOutput
from clarion.chains.bitcoin.charms.verify import read_spell
from clarion.chains.bitcoin.coins import OutPoint
from clarion.chains.bitcoin.transactions import BitcoinTransaction, Output, write_transaction
from clarion.chains.bitcoin.units import Sats
from clarion.dev.bitcoin.mempool import Policy
from clarion.dev.bitcoin.premine import FAUCET, MINER
from clarion.dev.bitcoin.zkusd_apps import ORACLE, SCROLLS, UNIT
from clarion_keeper.charms.broadcast import broadcast
from clarion_keeper.charms.psbt import psbt_of, read_psbt, write_psbt
from clarion_keeper.charms.replace import NewProofNeededError, raised_fee
from clarion_keeper.charms.signing import own_scripts, sign_psbt
from clarion_keeper.charms.sizes import FeeRate, fee_for, signed_size
from clarion_keeper.charms.wallet import funded, others
from clarion_keeper.executor import Taken


@pytest_asyncio.fixture
async def regtest() -> AsyncIterator[World]:
    async with world() as made:
        yield made


@pytest.fixture(autouse=True)
def no_pauses() -> Iterator[None]:
    with stamina.set_testing(True, attempts=3):
        yield


async def price(regtest: World) -> int:
    await regtest.scenario.view.sync()
    return regtest.scenario.zkusd.price()


def spent_and_paid(regtest: World, transaction: BitcoinTransaction) -> tuple[int, int]:
    """Virtual size and fee of what waits."""
    entry = regtest.node.mempool.entries[transaction.id]
    return entry.size, entry.fee


async def test_a_spell_is_proven_signed_sent_and_mined(regtest: World) -> None:
    order = await regtest.order(await regtest.draft(99_000 * UNIT))
    proven = await regtest.prover.prove(order)
    fee = proven.fee_at(RATE)
    signed = regtest.signed(proven, order, fee)
    # P2WPKH (the state) and P2TR (what pays), both by the library, both taken by Core's own interpreter
    assert [len(spent.witness) for spent in signed.inputs] == [2, 1]
    (tried,) = await regtest.rpc.call("testmempoolaccept", [_hex(signed)])
    assert tried["allowed"], tried
    sent = await broadcast(regtest.nodes, signed)
    assert (sent.taken, sent.nodes) == (Taken.SENT, ("bitcoin-rpc",))
    assert (await broadcast(regtest.nodes, signed)).taken is Taken.SENT  # the same bytes again
    size, paid = spent_and_paid(regtest, signed)
    assert paid == fee
    scripts = [coin.script for coin in proven.draft.coins]
    # a signature has up to a byte less than was counted with
    assert size <= signed_size(proven.transaction(fee), scripts) <= size + 1
    assert paid >= fee_for(size, RATE)
    regtest.mine()
    assert await price(regtest) == 99_000 * UNIT
    event = read_spell(signed, NETWORK, accept_mock=True)
    assert event is not None
    assert event.status == "mock"
    assert (await broadcast(regtest.nodes, signed)).taken is Taken.SENT  # mined by now


def _hex(transaction: BitcoinTransaction) -> str:
    return write_transaction(transaction).hex()


async def test_coins_of_both_kinds_pay(regtest: World) -> None:
    """Small coins under the key's P2WPKH script, of which two are needed, and the operator's own by taproot."""
    coin = next(
        one for one in regtest.scenario.view.of_script(FAUCET.taproot_script) if regtest.scenario.view.is_mature(one)
    )
    payments = [(ORACLE.segwit_script, Sats(4_000))] * 3
    await regtest.scenario.sender.pay([coin], payments, FAUCET)
    regtest.mine()
    purse = await regtest.coins.read()
    assert {one.script for one in purse.coins.values()} == set(own_scripts(ORACLE.public))
    small = {outpoint: one for outpoint, one in purse.coins.items() if one.amount == 4_000}
    assert len(small) == 3
    order = await regtest.order()
    operator = order.asked.draft.inputs[-1]
    draft = order.asked.draft
    # the operator's own coin has to be among the inputs; here it does not suffice, so that others are needed
    assert operator.coin.script == ORACLE.taproot_script
    taken = SpellOutput(CHANGE, {}, Sats(operator.coin.amount - 1_000))
    poor = replace(draft, outputs=[*draft.outputs, taken])
    paid = funded(poor, small, change=CHANGE, rate=RATE, most_rate=RATE, mock=True)
    assert len(paid.inputs) > len(poor.inputs)
    previous = {**order.previous, **purse.made_by}
    proven = await regtest.prover.prove(replace(order, asked=replace(order.asked, draft=paid), previous=previous))
    signed = regtest.signed(proven, replace(order, previous=previous), proven.fee_at(RATE))
    kinds = {len(spent.witness) for spent in signed.inputs}
    assert kinds == {1, 2}
    assert (await broadcast(regtest.nodes, signed)).taken is Taken.SENT
    regtest.mine()
    assert signed.id in regtest.node.chain.mined


async def test_a_fee_is_raised_without_another_proof_until_the_change_is_used_up(regtest: World) -> None:
    order = await regtest.order(rate=FeeRate(1_000), most_rate=MOST_RATE)
    proven = await regtest.prover.prove(order)
    paid = proven.fee_at(FeeRate(1_000))
    first = regtest.signed(proven, order, paid)
    assert (await broadcast(regtest.nodes, first)).taken is Taken.SENT
    rates = await regtest.nodes.rates(2)

    def raised(paid: Sats, rate: int, most_rate: int = 400_000_000) -> Sats:
        return raised_fee(
            proven,
            paid=paid,
            rate=FeeRate(rate),
            most_rate=FeeRate(most_rate),
            incremental=rates.incremental,
            replaced=regtest.node.mempool.entries[current.id].fee,
        )

    current = first
    # a satoshi less than the rules ask for is refused, what they ask for is taken
    least = raised(paid, 1)
    short = regtest.signed(proven, order, Sats(least - 10))
    refused = await broadcast(regtest.nodes, short)
    assert (refused.taken, refused.reason.partition(",")[0]) == (Taken.REPLACE, "insufficient fee")
    for rate in (1, 5_000, 20_000, 50_000):
        paid = raised(paid, rate)
        replacement = regtest.signed(proven, order, paid)
        assert (await broadcast(regtest.nodes, replacement)).taken is Taken.SENT
        assert list(regtest.node.mempool.entries) == [replacement.id]
        assert replacement.inputs[0].outpoint == first.inputs[0].outpoint
        current = replacement
    everything = raised(paid, 300_000_000)
    assert everything == proven.spare
    with pytest.raises(NewProofNeededError, match="has to be proven anew"):
        raised_fee(
            proven,
            paid=everything,
            rate=FeeRate(1),
            most_rate=FeeRate(10**9),
            incremental=rates.incremental,
        )
    regtest.mine()
    assert current.id in regtest.node.chain.mined
    assert await price(regtest) == 99_000 * UNIT
    assert len(regtest.mock_prover.answers) == 1


async def test_somebody_else_may_be_first(regtest: World) -> None:
    mine = await regtest.order(await regtest.draft(99_000 * UNIT))
    rival = await regtest.order(await regtest.draft(98_000 * UNIT))
    proven = await regtest.prover.prove(mine)
    other = await regtest.prover.prove(rival)
    state = mine.asked.draft.inputs[0].outpoint
    signed = regtest.signed(other, rival, other.fee_at(FeeRate(9_000)))
    assert (await broadcast(regtest.nodes, signed)).taken is Taken.SENT
    # it waits: known before anything is proven
    contention = await regtest.nodes.contention([state])
    assert dict(contention.waiting) == {state: signed.id}
    late = await broadcast(regtest.nodes, regtest.signed(proven, mine, proven.fee_at(RATE)))
    assert late.taken is Taken.REPLACE
    regtest.mine()
    assert (await regtest.nodes.contention([state])).gone == (state,)
    gone = await broadcast(regtest.nodes, regtest.signed(proven, mine, proven.fee_at(RATE)))
    assert (gone.taken, gone.reason) == (Taken.SPENT, "missing-inputs")
    assert await price(regtest) == 98_000 * UNIT


async def test_a_node_that_relays_no_large_data_says_so(regtest: World) -> None:
    order = await regtest.order()
    proven = await regtest.prover.prove(order)
    signed = regtest.signed(proven, order, proven.fee_at(RATE))
    regtest.node.mempool.policy = Policy(data_carrier_bytes=83)
    refused = await broadcast(regtest.nodes, signed)
    assert (refused.taken, refused.reason) == (Taken.STOP, "datacarrier")


async def test_what_others_have_to_sign_is_handed_out(regtest: World) -> None:
    order = await regtest.order()
    proven = await regtest.prover.prove(order)
    asked = psbt_of(proven.transaction(proven.fee_at(RATE)), proven.draft.coins, order.previous)
    half = read_psbt(sign_psbt(ORACLE.secret, write_psbt(asked), LIMITS, NETWORK))
    state = order.asked.draft.inputs[0].outpoint
    missing = others(half, own_scripts(ORACLE.public))
    assert missing == {f"{state.tx_id.hex()}:{state.vout}": SCROLLS.segwit_script}
    complete = read_psbt(sign_psbt(SCROLLS.secret, write_psbt(half), LIMITS, NETWORK))
    assert (await broadcast(regtest.nodes, complete.signed_transaction())).taken is Taken.SENT


async def test_a_reorganization_gives_the_spell_back(regtest: World) -> None:
    order = await regtest.order()
    proven = await regtest.prover.prove(order)
    signed = regtest.signed(proven, order, proven.fee_at(RATE))
    await broadcast(regtest.nodes, signed)
    regtest.mine()
    regtest.node.fork(1, MINER.taproot_script, time=TIME, keep_transactions=False)
    assert signed.id not in regtest.node.mempool.entries
    assert (await broadcast(regtest.nodes, signed)).taken is Taken.SENT
    regtest.mine()
    assert signed.id in regtest.node.chain.mined
    change = OutPoint(signed.id, len(signed.outputs) - 1)
    assert change in (await regtest.coins.read()).coins
    assert signed.outputs[-1] == Output(regtest.node.chain.coins[change].amount, CHANGE)
