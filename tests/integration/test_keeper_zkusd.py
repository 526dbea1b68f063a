"""The keeper's view of zkUSD, and what it makes of an order where things are not as they were decided on."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.graphql import NO_CACHE, answering
from support.keeper_regtest import ANNA, BERT, Town, in_process_parts, keeping, town_of
from support.regtest import PROTOCOLS
from support.turning_keeper import TurningKeeper

from clarion.bitcoin_nodes import rpc_of
from clarion.chains.bitcoin.units import outpoint_text
from clarion.config import Settings
from clarion.dev.bitcoin.premine import MINER
from clarion.dev.bitcoin.zkusd_apps import SCROLLS, UNIT
from clarion.dev.bitcoin.zkusd_scenario import KEEPER, REDEEMER
from clarion.protocols.zkusd.app_sets import ROLES
from clarion.protocols.zkusd.operations import Held
from clarion.protocols.zkusd.units import Base, Percent
from clarion_graphql.app import make_app
from clarion_keeper.executor import Declined, Draft, ExecutorError, Work
from clarion_keeper.graph import Reader
from clarion_keeper.intents import Item, Outcome, Verdict
from clarion_keeper.zkusd.jobs import Liquidate
from clarion_keeper.zkusd.orders import Operation, SpellOrder
from clarion_keeper.zkusd.state import Market, ZkUsdState, read_state

MEMPOOL = """query ($outpoints: [String!]!) { zkusdMempool(outpoints: $outpoints) {
  feeRate spends { outpoint txId scripts }
} }"""


@contextlib.asynccontextmanager
async def scene(database_url: str, folder: Path) -> AsyncIterator[tuple[Town, Settings, TurningKeeper]]:
    """A vault at 107 %, another one, and a pool; the keeper has all keys."""
    async with (
        town_of(database_url, folder, cosigned=False) as (town, settings),
        keeping(settings, in_process_parts(settings, SCROLLS)) as keeper,
    ):
        await town.open_vault(ANNA, collateral=30_000_000, borrow=10_000 * UNIT)
        await town.open_vault(BERT, collateral=3_600_000, borrow=2_000 * UNIT)
        await town.deposit(ANNA, 8_000 * UNIT)
        await town.set_price(60_000)
        yield town, settings, keeper


async def state_of(reader: Reader) -> ZkUsdState:
    script = f"0x{KEEPER.taproot_script.hex()}"
    return await read_state(
        reader,
        scripts=[script],
        redeem_most=Base(500 * UNIT),
        rescue_below=Percent(200),
    )


async def drafted(keeper: TurningKeeper, item: Item) -> Draft | Declined:
    executor = keeper.parts.executors["btc"]
    job = next(job for job in keeper.parts.jobs if isinstance(job, Liquidate))
    receipt = await keeper.parts.readers["bitcoin"].tip()
    return await executor.draft(Work(job=job, items=(item,), keys=("key",)), receipt, nonce=None)


async def over(keeper: TurningKeeper, item: Item) -> Sequence[Outcome | None]:
    job = next(job for job in keeper.parts.jobs if isinstance(job, Liquidate))
    return await keeper.parts.executors["btc"].over(Work(job=job, items=(item,), keys=("key",)))


def order(town: Town, **changes: Any) -> Item:
    """The liquidation of Bert's vault."""
    ((genesis,),) = town.rows("SELECT genesis FROM zkusd.vault WHERE collateral = 3600000")
    given: dict[str, Any] = {"operation": Operation.LIQUIDATE, "app_set": "regtest", "vault": genesis}
    return SpellOrder(**(given | changes)).item()


def place(held: Held) -> str:
    return outpoint_text(*held.where.outpoint)


def only(found: Draft | Declined) -> tuple[Verdict, str, bool]:
    assert isinstance(found, Declined)
    (outcome,) = found.outcomes
    return outcome.verdict, outcome.reason, outcome.benign


async def test_what_jobs_decide_on_is_what_the_coins_hold(database_url: str, tmp_path: Path) -> None:
    async with scene(database_url, tmp_path) as (town, settings, keeper):
        await town.sender.cast(town.zkusd.transfer(ANNA, KEEPER.taproot_script, 900 * UNIT), ANNA)
        await town.mine()
        truth = town.zkusd.states()
        found = await state_of(keeper.parts.readers["bitcoin"])
        market: Market = found.markets[0]
        assert market.is_known
        assert market.apps == town.zkusd.apps
        assert (market.price8, market.total_percent) == (truth.price, truth.total_percent)
        assert (market.min_debt, market.reserve) == (truth.min_debt, truth.reserve)
        assert market.pool_total == truth.stability_pool["total_zkusd"]
        assert {role: market.states[role].outpoint for role in ROLES} == {
            role: place(getattr(truth, role)) for role in ROLES
        }
        (bert,) = town.zkusd.vaults(BERT)
        (liquidatable,) = market.liquidatable
        assert (liquidatable.outpoint, liquidatable.collateral, liquidatable.debt, liquidatable.icr_percent) == (
            place(bert), bert["collateral"], bert["debt"], town.zkusd.ratio(bert),
        )  # fmt: skip
        assert liquidatable.owner == bytes(bert["owner"]).hex()
        (anna,) = town.zkusd.vaults(ANNA)
        assert [one.outpoint for one in market.redeemable] == [place(anna)]
        assert [one.outpoint for one in market.rescuable] == [place(bert), place(anna)]
        assert market.zkusd == 900 * UNIT
        assert found.fee_rate is not None
        assert found.pending == {}
        # what was decided can be asked again, whatever came later
        height = town.node.chain.height
        await town.set_price(62_000)
        async with Reader(settings.keeper.graphql_url, chain="bitcoin", as_of=height) as past:
            again = await state_of(past)
        assert again == replace(found, fee_rate=None)


async def test_the_mempool_is_told_with_whom_it_pays(database_url: str, tmp_path: Path) -> None:
    async with scene(database_url, tmp_path) as (town, settings, keeper):
        pool = town.zkusd.pool()
        sent = await town.sender.cast(town.zkusd.position(ANNA, 7_000 * UNIT), ANNA)
        found = await state_of(keeper.parts.readers["bitcoin"])
        (spend,) = found.pending.values()
        assert (spend.outpoint, spend.tx_id) == (place(pool), sent.id.hex())
        assert f"0x{ANNA.taproot_script.hex()}" in spend.scripts
        asked = {"outpoints": [place(pool), place(town.zkusd.oracle())]}
        app = make_app(
            database_url, protocols=PROTOCOLS, deployed={}, graphql=NO_CACHE, bitcoin=rpc_of(settings.bitcoin)
        )
        async with answering(app) as server:
            told = (await server.data(MEMPOOL, asked))["zkusdMempool"]
            assert [one["outpoint"] for one in told["spends"]] == [place(pool)]
            height = town.node.chain.height
            past = MEMPOOL.replace("{ zkusd", f"@asOf(height: {height - 1}) {{ zkusd", 1)
            assert (await server.data(past, asked)) == {"zkusdMempool": None}, "what waits now is not of that block"
        app = make_app(database_url, protocols=PROTOCOLS, deployed={}, graphql=NO_CACHE)
        async with answering(app) as without_a_node:
            assert await without_a_node.data(MEMPOOL, asked) == {"zkusdMempool": None}
            error = await without_a_node.error(MEMPOOL, {"outpoints": ["nonsense"]})
            assert "is no outpoint" in error["message"]


async def test_apps_that_are_not_known_are_handed_out_as_a_request(database_url: str, tmp_path: Path) -> None:
    async with scene(database_url, tmp_path) as (town, _, keeper):
        found = await drafted(keeper, order(town, known=False))
        verdict, reason, _ = only(found)
        assert verdict is Verdict.AGAIN
        assert "the apps of regtest are not known here" in reason
        assert isinstance(found, Declined)
        assert found.handed_out is not None
        request = found.handed_out["request"]
        (bert,) = town.zkusd.vaults(BERT)
        assert request["inputs"][0]["outpoint"] == place(bert)
        assert request["signers"] == [f"0x{SCROLLS.segwit_script.hex()}"]


async def test_orders_whose_vault_or_states_are_spent(database_url: str, tmp_path: Path) -> None:
    async with scene(database_url, tmp_path) as (town, _, keeper):
        item = order(town)
        assert isinstance(await drafted(keeper, item), Draft)
        assert await over(keeper, item) == [None]
        (bert,) = town.zkusd.vaults(BERT)
        rival = await town.sender.cast(town.zkusd.liquidate(REDEEMER, bert, BERT), REDEEMER)
        verdict, reason, _ = only(await drafted(keeper, item))
        assert verdict is Verdict.AGAIN
        assert f"is spent by somebody else's transaction {rival.id.hex()} in the mempool" in reason
        await town.mine(index=False)
        verdict, reason, _ = only(await drafted(keeper, item))
        assert verdict is Verdict.AGAIN
        assert "spent in a block that the index does not have yet" in reason
        town.index()
        verdict, reason, benign = only(await drafted(keeper, item))
        assert (verdict, benign) == (Verdict.DONE, True)
        assert rival.id.hex() in reason
        (outcome,) = await over(keeper, item)
        assert outcome is not None
        assert (outcome.verdict, outcome.reason, outcome.benign) == (Verdict.DONE, reason, True)
        # it was liquidated, and nothing else
        redemption = {**item, "operation": Operation.REDEEM.value}
        verdict, reason, benign = only(await drafted(keeper, redemption))
        assert (verdict, benign) == (Verdict.AGAIN, False)
        assert "is liquidated" in reason
        rescue = {**item, "operation": Operation.RESCUE.value, "collateral": 1_000}
        for other in (redemption, rescue, {**item, "vault": f"{'00' * 32}:0"}):
            assert await over(keeper, other) == [None]


async def test_an_order_that_the_contracts_refuse_by_now_waits(database_url: str, tmp_path: Path) -> None:
    async with scene(database_url, tmp_path) as (town, _, keeper):
        await town.set_price(66_000)
        verdict, reason, _ = only(await drafted(keeper, order(town)))
        assert (verdict, reason) == (Verdict.AGAIN, "a vault of 118 % cannot be liquidated")


async def test_without_coins_or_a_prover_it_waits(database_url: str, tmp_path: Path) -> None:
    async with scene(database_url, tmp_path) as (town, settings, keeper):
        item = order(town)
        bitcoin = settings.keeper.bitcoin.model_copy(update={"prover_attempts": 1})
        nowhere = settings.keeper.model_copy(update={"prover_url": "http://127.0.0.1:9", "bitcoin": bitcoin})
        given = settings.model_copy(update={"keeper": nowhere})
        async with in_process_parts(given, SCROLLS) as parts:
            with pytest.raises(ExecutorError, match="does not answer"):
                await drafted(replace(keeper, parts=parts), item)
        coins = [one for one in town.view.of_script(KEEPER.taproot_script) if not one.charms]
        await town.sender.pay(coins, [], MINER)
        await town.mine()
        assert isinstance(await drafted(keeper, item), Draft), "the bonus pays for a liquidation"
        rescue = order(town, operation=Operation.RESCUE, collateral=1_000_000)
        verdict, reason, _ = only(await drafted(keeper, rescue))
        assert verdict is Verdict.AGAIN
        assert "satoshis are missing for the spell" in reason
