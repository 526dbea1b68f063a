"""What GraphQL prepares is signed by a wallet's library, sent to a node, mined, and ends as it was foretold."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from e2e.flow import Flow, open_flow, until
from e2e.index import free_port, indexed
from e2e.test_forks import indexing
from support.graphql import Server, serving

from clarion.chains.stacks.clarity import StringAscii, UInt, principal
from clarion.dev.accounts import DEPLOYER, Account
from clarion.dev.calls import SBTC_TOKEN
from clarion.node import find_node
from clarion.protocols.bithedge import protocol
from clarion.store.database import connect
from clarion_graphql.app import make_app

WALLET = Path(__file__).with_name("wallet.mjs")
MODULE_SOURCE = Path(__file__).resolve().parents[2] / "fixtures" / "module.clar"
SUCCESSION_BLOCKS = 2_160
"""bh-registry MODULE-DELAY and SUCCESSION-DELAY: Bitcoin blocks until a module's successor is given what it owns."""
BURN_AT_ONCE = 240
GIFT_MICRO_STX = 10 * 10**6
TRACKED = """
query($id: String!) {
  trackedTransaction(preparedId: $id) {
    status matches result contractError { name } height txId function sender nonce replacedBy
  }
}
"""
QUOTE = """
query($type: String!, $strikeBp: Int!, $notional: BigInt!, $expiry: Int!, $token: String!, $buyer: String!) {
  quote(
    type: $type, strikeBp: $strikeBp, notionalSat: $notional, expiryBurn: $expiry, token: $token, buyer: $buyer
  ) {
    refusal { code name }
    quote {
      strikeUsd8 tier spotUsd8 round tokenPriceUsd8 tokenRound volatilityBp utilisationBp premiumUsd8 premium discount
      feePlatform feeReserve premiumProvider maxPayoutUsd8 breakEvenUsd8
      scenarios { priceUsd8 payoffUsd8 netUsd8 }
      match { found coverableUsd8 allocations { provider liabilityUsd8 collateral premium } }
    }
  }
}
"""
CHECK = "query($id: Int!) { exerciseCheck(policy: $id) { eligible payout payoffUsd8 unpaidUsd8 reasons { name } } }"


@dataclass
class Scene:
    """A devnet with BitHedge, an index of it, a GraphQL server, and wallets."""

    flow: Flow
    server: Server
    node_url: str
    connection: psycopg.Connection[Any]

    @property
    def stx(self) -> str:
        return self.flow.scenario.calls.stx_token

    async def ask(self, document: str, **variables: Any) -> Any:
        """Data at the devnet's tip."""
        await indexed(self.flow, self.connection)
        return await self.server.data(document, variables)

    async def sign(self, who: Account, action: str, **given: Any) -> dict[str, Any]:
        """Have a transaction prepared, sign and send it; gives what the wallet saw."""
        await indexed(self.flow, self.connection)
        asked = {
            "key": who.secret.hex(),
            "mutation": f"prepare{action}",
            "type": f"Prepare{action}Input",
            "input": given,
        }
        url = f"{self.server.client.base_url}/graphql".replace("//graphql", "/graphql")
        process = await asyncio.create_subprocess_exec(
            find_node(),
            str(WALLET),
            url,
            self.node_url,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate(json.dumps(asked).encode())
        assert process.returncode == 0, err.decode()
        seen: dict[str, Any] = json.loads(out)
        assert seen["prepared"]["sender"] == who.address
        assert seen["unsigned"]["isDeny"]
        assert seen["unsigned"]["function"] == seen["prepared"]["function"]
        assert seen["unsigned"]["arguments"] == len(seen["prepared"]["arguments"])
        assert seen["unsigned"]["postConditions"] == len(seen["prepared"]["postConditions"])
        assert seen["unsigned"]["nonce"] == seen["prepared"]["hints"]["nonce"] == seen["prepared"]["nonce"]
        assert int(seen["prepared"]["fee"]) > 0
        assert seen["tracked"]["preparedId"] == seen["prepared"]["id"]
        return seen

    async def tracked(self, seen: dict[str, Any], status: str) -> dict[str, Any]:
        """What became of it, once it is this."""

        async def look() -> Any:
            return (await self.server.data(TRACKED, {"id": seen["prepared"]["id"]}))["trackedTransaction"]

        found: dict[str, Any] = await until(look, lambda now: now["status"] == status, f"{status} of {seen['txId']}")
        assert found["txId"] == seen["txId"]
        return found

    async def do(self, who: Account, action: str, **given: Any) -> dict[str, Any]:
        """Prepare, sign, send and mine something that is foretold to succeed, and does."""
        seen = await self.sign(who, action, **given)
        assert seen["prepared"]["simulation"]["ok"], seen["prepared"]["simulation"]
        await self.tracked(seen, "MEMPOOL")
        await self.flow.devnet.mine()
        await indexed(self.flow, self.connection)
        found = await self.tracked(seen, "MINED_OK")
        assert found["matches"] is True
        expected = seen["prepared"]["simulation"]["result"]
        if expected is not None:
            assert found["result"] == {"ok": expected}
        return seen


@pytest.fixture
async def scene(start_devnet: Callable[..., Any], database_url: str) -> AsyncIterator[Scene]:
    port = free_port()
    devnet = start_devnet(observer=f"http://127.0.0.1:{port}")
    deployed = protocol.deployed_by(DEPLOYER.address)
    app = make_app(database_url, protocols=[protocol], deployed={"bithedge": deployed}, node_url=devnet.url)
    async with contextlib.AsyncExitStack() as stack:
        connection = stack.enter_context(connect(database_url, autocommit=True))
        await stack.enter_async_context(indexing(database_url, devnet.url, port))
        server = await stack.enter_async_context(serving(app))
        flow = await stack.enter_async_context(open_flow(devnet.url))
        await flow.begin()
        yield Scene(flow, server, devnet.url, connection)


@pytest.mark.slow
async def test_what_is_prepared_is_signed_mined_and_ends_as_foretold(scene: Scene) -> None:
    cast = scene.flow.scenario.cast
    buyer, provider, stranger = cast.buyers[0], cast.providers[0], cast.keeper
    await _quotes_are_the_contract_s(scene, buyer)

    # a provider
    tier = "aggressive"
    await scene.do(provider, "Deposit", token=scene.stx, tier=tier, amount="5000000000")
    asked = await scene.do(provider, "RequestWithdraw", token=scene.stx, tier=tier, amount="1000000000")
    assert asked["prepared"]["postConditions"] == []
    await scene.flow.devnet.burn(2)
    await scene.flow.price(100)
    ready = await scene.ask(
        "query($who: String!) { withdrawable(address: $who) { tier token requests { request pays ready } } }",
        who=provider.address,
    )
    (request,) = [row for held in ready["withdrawable"] for row in held["requests"]]
    assert request["ready"]
    taken = await scene.do(provider, "Withdraw", request=request["request"])
    (condition,) = taken["prepared"]["postConditions"]
    assert (condition["comparison"], condition["amount"]) == ("EQUAL", request["pays"])
    await scene.do(provider, "SetAutoMatch", on=True)

    # a buyer
    world = await scene.flow.world()
    bought = await scene.do(
        buyer,
        "CreatePolicy",
        type="put",
        style="american",
        asset="BTC",
        strikeUsd8=str(world.assets["BTC"].price_usd8 * 98 // 100),
        notionalSat="2000000",
        expiryBurn=world.burn_height + 6,
        token=scene.stx,
    )
    reading = bought["prepared"]["simulation"]["reading"]
    paid_at_most = bought["prepared"]["arguments"][6]["value"]
    assert int(paid_at_most) == -(-int(reading["result"]["ok"]["premium"]) * 10_300 // 10_000)
    (condition,) = bought["prepared"]["postConditions"]
    assert condition["text"].startswith("You send at most")
    number = await scene.flow.scenario.reader.ask("bh-policy", "get-last-policy")
    policy = await scene.flow.policy(number)
    assert (policy["owner"], policy["state"]) == (buyer.address, "active")

    # what the contract refuses is foretold, and named once it is mined
    early = await scene.sign(stranger, "Settle", policy=number)
    assert early["prepared"]["simulation"]["refusals"][0] == {"code": 6013, "name": "ERR-NOT-EXPIRED"}
    await scene.flow.devnet.mine()
    await indexed(scene.flow, scene.connection)
    refused = await scene.tracked(early, "ABORT_RESPONSE")
    assert refused["contractError"] == {"name": "ERR-NOT-EXPIRED"}
    assert refused["result"] == {"err": "6013"}

    # the owner exercises
    check = (await scene.ask(CHECK, id=number))["exerciseCheck"]
    assert not check["eligible"]
    await scene.flow.devnet.burn(1)
    await scene.flow.price(96)
    check = (await scene.ask(CHECK, id=number))["exerciseCheck"]
    assert check["eligible"], check
    await scene.do(buyer, "Exercise", policy=number)
    policy = await scene.flow.policy(number)
    assert (policy["state"], str(policy["paid"])) == ("exercised", check["payout"])

    # providers are paid
    backer = bought["prepared"]["arguments"][-1]["value"][0]["provider"]
    account = next(one for one in cast.providers if one.address == backer)
    await scene.do(account, "ClaimYield", token=scene.stx)
    await scene.do(stranger, "CollectPlatformFees", token=scene.stx)
    await scene.do(stranger, "CollectReserveFees", token=scene.stx)

    # governance
    await scene.do(buyer, "Stake", amount="3000000000000")
    await scene.do(buyer, "Delegate", to=stranger.address)
    await scene.do(cast.guardian, "TripBreaker", name="create", reason="a test")
    mine = await scene.ask(
        "query($who: String!) { trackedTransactions(sender: $who) { action status } }", who=buyer.address
    )
    assert [(one["action"], one["status"]) for one in mine["trackedTransactions"]] == [
        ("delegate", "MINED_OK"),
        ("stake", "MINED_OK"),
        ("exercise", "MINED_OK"),
        ("createPolicy", "MINED_OK"),
    ]


@pytest.mark.slow
async def test_batches_gifts_and_successions_end_as_foretold(scene: Scene) -> None:
    cast, ask = scene.flow.scenario.cast, scene.flow.scenario.reader.ask
    governance, stranger = cast.deployer, cast.keeper
    stx = principal(scene.stx)
    await _register_versions(scene, governance)

    # two policies that expire at once, and one later
    due = [await scene.flow.buy(strike_percent=strike, blocks=2) for strike in (99, 90)]
    later = await scene.flow.buy(blocks=30)
    expiry = (await scene.flow.world()).burn_height + 2
    await scene.flow.expire(96)
    for asset in ("BTC", "STX"):
        await scene.do(stranger, "FixExpiryPrice", asset=asset, expiryBurn=expiry)
    items = [{"policy": number, "token": scene.stx} for number in (*due, later)]
    settled = await scene.do(stranger, "SettleMany", items=items)
    (condition,) = settled["prepared"]["postConditions"]
    assert condition["comparison"] == "LESS_OR_EQUAL"
    assert [int(row["error"]) for row in settled["prepared"]["simulation"]["result"]] == [0, 0, 6013]
    states = [(await scene.flow.policy(number))["state"] for number in (*due, later)]
    assert states == ["settled-itm", "expired-otm", "active"]

    # fees and a gift, set aside and taken back
    await scene.do(stranger, "CollectPlatformFees", token=scene.stx)
    await scene.do(stranger, "CollectReserveFees", token=scene.stx)
    treasury = principal(scene.flow.scenario.calls.contract("bh-treasury"))
    await scene.do(cast.providers[0], "TransferStx", amount=str(GIFT_MICRO_STX), to=str(treasury))
    absorbed = await scene.do(stranger, "AbsorbFees", token=scene.stx)
    assert not absorbed["prepared"]["simulation"]["isWhole"]
    assert (await scene.tracked(absorbed, "MINED_OK"))["result"] == {"ok": str(GIFT_MICRO_STX)}
    await scene.do(governance, "FundProgram", program=1, token=scene.stx, amount=str(GIFT_MICRO_STX // 2))
    await scene.do(governance, "UnfundProgram", program=1, token=scene.stx)
    assert await ask("bh-treasury", "get-share", treasury, stx) == GIFT_MICRO_STX

    # while no other version is active, nothing is passed on
    early = await scene.sign(governance, "PassOnFees", token=scene.stx)
    await scene.flow.devnet.mine()
    await indexed(scene.flow, scene.connection)
    # it was to send something: what a contract refuses sends nothing, so that the post-condition fails too
    refused = await scene.tracked(early, "ABORT_POST_CONDITION")
    assert refused["contractError"] == {"name": "ERR-TREASURY-SUCCESSOR"}

    # what treasury and fund own themselves goes to the versions that follow
    for _ in range(0, SUCCESSION_BLOCKS, BURN_AT_ONCE):
        await scene.flow.devnet.burn(BURN_AT_ONCE)
        await indexed(scene.flow, scene.connection)  # all of them at once take longer than it is waited for
    for name in ("treasury", "fund"):
        await scene.do(governance, "ActivateModule", module=name, version=2)
    for action in ("PassOnFees", "PassOnCapital"):
        passed = await scene.do(governance, action, token=scene.stx)
        (condition,) = passed["prepared"]["postConditions"]
        assert condition["comparison"] == "GREATER_OR_EQUAL"
        assert int(condition["amount"]) > 0
    assert await ask("bh-treasury", "get-share", treasury, stx) == 0


async def _register_versions(scene: Scene, governance: Account) -> None:
    """Announce what treasury and fund are followed by, and take another module back."""
    source = MODULE_SOURCE.read_text(encoding="ascii")
    await scene.flow.scenario.wallet.deploy(governance, "next-version", source)
    await scene.flow.devnet.mine()
    announced = {
        "contract": f"{governance.address}.next-version",
        "codeHash": f"0x{hashlib.new('sha512_256', source.encode()).hexdigest()}",
    }
    for name, version in (("treasury", 2), ("fund", 2), ("escrow", 1)):
        await scene.do(governance, "RegisterModule", module=name, version=version, **announced)
    await scene.do(governance, "DeprecateModule", module="escrow", version=1)
    row = await scene.flow.scenario.reader.ask("bh-registry", "get-module", StringAscii("escrow"), UInt(1))
    assert row["state"] == "deprecated"


async def _quotes_are_the_contract_s(scene: Scene, buyer: Account) -> None:
    """Every number of a quote is what bh-policy's read-only function gives at the same tip."""
    world = await scene.flow.world()
    compared = found = 0
    for kind, strike_bp, token in (
        ("put", 9_800, scene.stx),
        ("put", 8_500, SBTC_TOKEN),
        ("put", 10_500, scene.stx),
        ("call", 10_300, SBTC_TOKEN),
        ("call", 13_500, scene.stx),
    ):
        variables = {
            "type": kind,
            "strikeBp": strike_bp,
            "notional": "1500000",
            "expiry": world.burn_height + 4,
            "token": token,
            "buyer": buyer.address,
        }
        asked = (await scene.ask(QUOTE, **variables))["quote"]
        strike = world.assets["BTC"].price_usd8 * strike_bp // 10_000
        said = await scene.flow.scenario.reader.ask(
            "bh-policy",
            "quote",
            StringAscii(kind),
            StringAscii("BTC"),
            UInt(strike),
            UInt(1_500_000),
            UInt(world.burn_height + 4),
            principal(token),
            principal(buyer.address),
        )
        if "err" in said:
            assert asked["refusal"]["code"] == said["err"]
            continue
        row = said["ok"]
        quoted = asked["quote"]
        names = {
            "spotUsd8": "spot-usd8",
            "tokenPriceUsd8": "token-price-usd8",
            "volatilityBp": "vol-bp",
            "utilisationBp": "util-bp",
            "premiumUsd8": "premium-usd8",
            "premium": "premium",
            "discount": "discount",
            "feePlatform": "fee-platform",
            "feeReserve": "fee-reserve",
            "premiumProvider": "premium-provider",
            "maxPayoutUsd8": "max-payout-usd8",
        }
        assert {name: int(quoted[name]) for name in names} == {name: row[key] for name, key in names.items()}
        assert (quoted["tier"], quoted["round"], quoted["tokenRound"]) == (
            row["tier"],
            row["round"],
            row["token-round"],
        )
        covered = sum(int(part["liabilityUsd8"]) for part in quoted["match"]["allocations"])
        assert covered == (row["max-payout-usd8"] if quoted["match"]["found"] else 0)
        compared += 1
        found += quoted["match"]["found"]
    assert (compared, found) == (4, 3)  # nobody has capital for what is struck above spot
