"""A provider of prices that runs the keeper, on a devnet: from exchanges that lie, stall and disagree to the chain."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from e2e.flow import Flow, until
from support.fake_exchange import FakeExchange, Fault, serving
from support.stage import Stage, accounts_of, staged

from clarion.config import CONFIG_FILE_VARIABLE
from clarion.dev.accounts import Account, make_cast
from clarion.dev.run import SETTINGS_NAME
from clarion_keeper.feed.feed import unix_ms
from clarion_keeper.graph import Reader

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

CAST = make_cast()
OURS, *OTHERS = CAST.submitters
CLOSER = "closer"
FEE_STX = 1_000 * 10**6
LIARS = ("binance", "bybit", "kraken", "okx")


@dataclass
class Market:
    """The exchanges, and the chain that hears of their prices."""

    stage: Stage
    flow: Flow
    exchanges: FakeExchange
    reader: Reader

    async def moves(self, percent: int, asset: str = "BTC") -> int:
        """Every exchange shows this part of the last price, and a Bitcoin block goes by; gives the price."""
        price = self.exchanges.prices_e8[asset] = self.exchanges.prices_e8[asset] * percent // 100
        await self.burn()
        return price

    async def burn(self) -> None:
        """A Bitcoin block goes by."""
        await self.stage.devnet.burn(1)
        await self.stage.caught_up()

    async def round(self, asset: str = "BTC") -> int:
        """The round that is open, or opens next."""
        return (await self.flow.world()).assets[asset].next_round

    async def submitted(self, number: int, asset: str = "BTC") -> int:
        """Our price in a round, once a block has it."""
        row = await until(lambda: self._mined(asset, number), bool, f"our price in round {number} of {asset}")
        return int(row[0])

    def ours(self, number: int, asset: str = "BTC") -> Any:
        """Our price in a round, as the index has it."""
        return self.stage.database.execute(
            "SELECT price_usd8::bigint FROM bithedge.price_submission WHERE (asset, round, provider) = (%s, %s, %s)",
            (asset, number, OURS.address),
        ).fetchone()

    async def others_submit(self, number: int, price: int, who: Sequence[Account] = OTHERS[:2]) -> None:
        """Other providers submit this price, one a little more, the next a little less."""
        burn = (await self.flow.world()).burn_height
        for one in who:
            shown = price + (-1) ** OTHERS.index(one) * price // 10_000
            call = self.flow.scenario.calls.submit_price(one, "BTC", number, shown, burn)
            assert await self.flow.scenario.send(call)
        await self.stage.devnet.mine()
        await self.stage.caught_up()

    async def closed(self, number: int) -> dict[str, Any]:
        """What GraphQL says of the oracle once the keeper has closed this round."""

        async def ask() -> dict[str, Any]:
            await self.mine_what_waits()
            data, _ = await self.reader.query(
                '{ oracleStatus(asset: "BTC") { price { priceUsd8 round submissions } '
                "providers { provider submissions lastPriceUsd8 meanDeviationBp } } }"
            )
            return dict(data["oracleStatus"])

        return await until(ask, lambda found: found["price"]["round"] == number, f"a price from round {number}")

    async def trouble(self) -> list[str]:
        """What the feed refuses to submit, and why, as GraphQL tells people."""
        data, _ = await self.reader.query(
            '{ keeperIntents(filter: {job: {eq: "oracle-feed"}, state: {eq: PLANNED}}) { nodes { cause } } }'
        )
        return [node["cause"] for node in data["keeperIntents"]["nodes"]]

    async def mine_what_waits(self) -> None:
        """A block, where a transaction waits for one."""
        assert self.stage.tree.poll() == []
        if (await self.stage.devnet.status())["mempool"]["size"]:
            await self.stage.devnet.mine()
            await self.stage.caught_up()

    async def _mined(self, asset: str, number: int) -> Any:
        await self.mine_what_waits()
        return self.ours(number, asset)

    def said(self, words: str, about: str) -> int:
        """How often the keeper's log says something about a source."""
        lines = (self.stage.folder / "logs" / "keeper.log").read_text().splitlines()
        return sum(words in line and about in line for line in lines)

    async def command(self, *words: str) -> str:
        """What `clarion keeper feed` writes, for who runs it beside the keeper."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "clarion", "keeper", "feed", *words),
            env={**os.environ, CONFIG_FILE_VARIABLE: str(self.stage.folder / SETTINGS_NAME), "COLUMNS": "200"},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        said, errors = await process.communicate()
        assert process.returncode == 0, errors.decode()
        return said.decode()

    async def decision(self) -> tuple[str, str]:
        """What would be done about BTC now, and why."""
        told = json.loads(await self.command("--json"))
        assert told["oracle"]["provider"] == OURS.address
        (asset,) = (asset for asset in told["oracle"]["assets"] if asset["asset"] == "BTC")
        return asset["decision"], asset["reason"]


@pytest.fixture
async def market(database_url: str, tmp_path: Path) -> AsyncIterator[Market]:
    exchanges = FakeExchange(unix_ms)
    given, accounts = accounts_of(tmp_path, {OURS.name: ["oracle"], CLOSER: ["rescue"]})
    async with serving(exchanges):
        keeper = {
            "accounts": given,
            "jobs": ["oracle-submit", "oracle-feed", "close-round"],
            "feed": {"urls": exchanges.urls},
        }
        async with staged(database_url, tmp_path, seed=1, keeper=keeper) as stage:
            flow = Flow(stage.scenario, stage.devnet, stage.node)
            await flow.begin()
            for account in accounts:
                await stage.devnet.fund(account.address, micro_stx=FEE_STX)
            await stage.devnet.mine()
            for asset, view in (await flow.world()).assets.items():
                assert view.price_usd8 is not None
                exchanges.prices_e8[asset] = view.price_usd8
            await stage.start_readers(keeper=True)
            await stage.keeper_turned()
            async with Reader(stage.settings.keeper.graphql_url) as reader:
                yield Market(stage, flow, exchanges, reader)


async def test_prices_come_on_chain_whatever_single_exchanges_do_and_none_where_they_disagree(market: Market) -> None:
    await nothing_is_due(market)
    await one_lies(market)
    await two_stall(market)
    await they_disagree(market)
    await the_clock_is_off(market)
    await all_is_well_again(market)
    assert market.said("stamina", "retry") == 0
    assert market.stage.database.execute("SELECT job, reason FROM keeper.control WHERE paused").fetchall() == []
    assert market.stage.database.execute("SELECT key FROM keeper.intent WHERE state = 'failed'").fetchall() == []


async def nothing_is_due(market: Market) -> None:
    assert await market.decision() == ("wait", "nothing new: the price is near the last one, which is not old")
    assert "61,234" not in await market.command()
    assert market.ours(await market.round()) is None


async def one_lies(market: Market) -> None:
    """One exchange shows twice the price: ours is what the others say, and GraphQL tells the round's median."""
    number = await market.round()
    market.exchanges.shown_e8["kraken", "BTC"] = market.exchanges.prices_e8["BTC"] * 2
    price = await market.moves(103)
    assert await market.submitted(number) == price
    await market.others_submit(number, price)
    found = await market.closed(number)
    assert found["price"] == {"priceUsd8": str(price), "round": number, "submissions": 3}
    (ours,) = (provider for provider in found["providers"] if provider["provider"] == OURS.address)
    assert (ours["lastPriceUsd8"], ours["meanDeviationBp"]) == (str(price), "0")


async def two_stall(market: Market) -> None:
    """One exchange falls silent, another one in the middle of its answer: the price is that of those that are left."""
    number = await market.round()
    market.exchanges.faults = {"coinbase": Fault.STALL, "gemini": Fault.DRIP}
    price = await market.moves(96)
    assert await market.submitted(number) == price
    await market.others_submit(number, price)
    assert (await market.closed(number))["price"]["priceUsd8"] == str(price)
    for _ in range(2):
        await market.burn()
        await market.stage.keeper_turned()
    assert market.said("a source gives no price", "coinbase BTC/USD") == 1
    assert market.said("a source gives no price", "gemini BTC/USD") == 1


async def they_disagree(market: Market) -> None:
    """Half of the exchanges say otherwise: nothing is submitted, although others have opened a round."""
    number = await market.round()
    market.exchanges.faults = {"coinbase": Fault.STALL}
    for name in LIARS:
        market.exchanges.shown_e8[name, "BTC"] = market.exchanges.prices_e8["BTC"] * 2
    await market.burn()
    await until(market.trouble, bool, "the feed's refusal")
    (cause,) = await market.trouble()
    assert cause.startswith("no price of BTC is submitted: sources disagree")
    await market.others_submit(number, market.exchanges.prices_e8["BTC"], OTHERS[:1])
    for _ in range(2):
        await market.burn()
        await market.stage.keeper_turned()
    decision, reason = await market.decision()
    assert (decision, reason) == ("refuse", cause.partition(": ")[2])
    assert "sources disagree" in await market.command()
    assert market.ours(number) is None


async def the_clock_is_off(market: Market) -> None:
    """The exchanges agree again, and say that it is another time than ours: that is refused too."""
    number = await market.round()
    market.exchanges.shown_e8.clear()
    market.exchanges.now_ms = lambda: unix_ms() + 120_000
    await market.burn()

    async def clocks() -> list[str]:
        return [cause for cause in await market.trouble() if "our clock is" in cause and "behind" in cause]

    await until(clocks, lambda causes: len(causes) == 2, "a refusal for each asset because of the clock")
    assert market.ours(number) is None


async def all_is_well_again(market: Market) -> None:
    """The refusal ends by itself, and the open round gets our price."""
    number = await market.round()
    market.exchanges.now_ms = unix_ms
    market.exchanges.faults = {}
    price = market.exchanges.prices_e8["BTC"]
    await market.burn()
    assert await market.submitted(number) == price
    await until(market.trouble, lambda causes: causes == [], "the end of the refusal")
    await market.others_submit(number, price, OTHERS[1:2])
    assert (await market.closed(number))["price"]["priceUsd8"] == str(price)
