"""The coins that an account can pay with."""

from __future__ import annotations

from dataclasses import replace

from support.submission import CHANGE, NETWORK, RATE, TIME, World

from clarion.chains.bitcoin.charms.drafts import SpellDraft
from clarion.chains.bitcoin.charms.locate import spell_output
from clarion.chains.bitcoin.coins import COINBASE_MATURITY, OutPoint
from clarion.chains.bitcoin.transactions import new_transaction
from clarion.dev.bitcoin.spell_builder import payload
from clarion.dev.bitcoin.zkusd_apps import DEPLOYER, SCROLLS
from clarion_keeper.charms.broadcast import broadcast
from clarion_keeper.charms.coins import OwnCoins, bears_charms, spent_by_waiting
from clarion_keeper.charms.signing import own_scripts
from clarion_keeper.executor import Taken


async def test_they_are_confirmed_and_nothing_that_waits_spends_them(regtest: World) -> None:
    before = await regtest.coins.read()
    assert [coin.amount for coin in before.coins.values()] == [100_000_000] * 4
    assert {outpoint.tx_id for outpoint in before.coins} <= before.made_by.keys()
    order = await regtest.order()
    proven = await regtest.prover.prove(order)
    signed = regtest.signed(proven, order, proven.fee_at(RATE))
    assert (await broadcast(regtest.nodes, signed)).taken is Taken.SENT
    waiting = await regtest.coins.read()
    paid = order.asked.draft.inputs[-1].outpoint
    assert waiting.coins.keys() == before.coins.keys() - {paid}
    assert await spent_by_waiting(regtest.rpc, [paid, *waiting.coins]) == {paid: signed.id}
    regtest.mine()
    change = OutPoint(signed.id, len(signed.outputs) - 1)
    assert (await regtest.coins.read()).coins.keys() == waiting.coins.keys() | {change}


async def test_what_bears_charms_is_no_coin(regtest: World) -> None:
    """The token's description lies at an output of the deployer's, with 1,000 satoshis."""
    await regtest.scenario.view.sync()
    view = regtest.scenario.view
    (described,) = view.with_charm(regtest.scenario.zkusd.apps.description)
    assert described[0].coin.script == DEPLOYER.taproot_script
    mine = {one.outpoint for one in view.of_script(DEPLOYER.taproot_script)}
    coins = await OwnCoins(regtest.rpc, own_scripts(DEPLOYER.public), NETWORK).read()
    assert coins.coins.keys() == mine - {described[0].outpoint}
    states = await OwnCoins(regtest.rpc, [SCROLLS.segwit_script], NETWORK).read()
    assert not states.coins


async def test_rewards_are_coins_when_they_are_old_enough(regtest: World) -> None:
    regtest.node.mine(1, CHANGE, time=TIME)
    assert len((await regtest.coins.read()).coins) == 4
    regtest.mine(COINBASE_MATURITY - 2)
    assert len((await regtest.coins.read()).coins) == 4
    regtest.mine()
    coins = (await regtest.coins.read()).coins
    assert [coin.coinbase for coin in coins.values()].count(True) == 1


async def test_a_spell_that_nobody_can_read_yet_may_have_put_charms_there(regtest: World) -> None:
    draft: SpellDraft = await regtest.draft()
    inputs = (regtest.mock_prover_answer(await regtest.order(draft))).inputs

    def made_by(version: int, *, mock: bool = True) -> bool:
        carrier = spell_output(payload(replace(draft, version=version), mock=mock))
        return bears_charms(new_transaction(inputs, (carrier,)), 0, NETWORK)

    assert made_by(15)
    assert made_by(16)
    # whatever becomes of its proof: it may hold elsewhere
    assert made_by(15, mock=False)
    assert not bears_charms(new_transaction(inputs, (spell_output(b"nothing"),)), 0, NETWORK)
