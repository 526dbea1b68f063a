"""The fund and the liquidation engine on the machine that runs the contracts: rows are what the contracts say."""

from __future__ import annotations

from typing import Any, Final

from support.bithedge_rows import DEPLOYER, Folded
from support.bithedge_scene import BUYER, FUND, LARGE, PROVIDER, SMALL, STRANGER, TAKER, TIER, TOKEN, BitHedgeScene
from support.bithedge_simnet import Simnet

from clarion.chains.stacks.clarity import NONE, List, StringAscii, Tuple, UInt, Value, principal
from clarion.protocols.bithedge.events import EVENTS
from clarion.protocols.bithedge.tables import (
    Asset,
    FundCover,
    FundEntry,
    FundHolding,
    FundPayment,
    FundTakeover,
    Liquidation,
    MarginCall,
    Policy,
    RecoveryPlan,
)

TREASURY: Final = f"{DEPLOYER}.bh-treasury"

OURS: Final = {"bh-fund", "bh-liquidation"}


class Scene(BitHedgeScene):
    """A BitHedge whose fund and positions come into trouble."""

    def settle(self, policy: UInt, *, btc: int, stx: int) -> None:
        """Let a policy expire at these prices."""
        row = self.simnet.folded.one(Policy, policy.value)
        assert row is not None
        self.simnet.mine(row["expiry_burn"] - self.simnet.burn)
        self.prices(btc=btc, stx=stx)
        for asset in ("BTC", "STX"):
            feed = self.simnet.folded.one(Asset, asset)
            assert feed is not None
            key = (StringAscii(asset), UInt(row["expiry_burn"]), UInt(feed["last_round"]))
            self.simnet.must("bh-oracle", "fix-expiry-price", *key)
        self.simnet.must("bh-policy", "settle", policy, TOKEN)

    def fund(self, function: str, *arguments: Value, sender: str = DEPLOYER) -> Any:
        return self.simnet.must("bh-fund", function, *arguments, sender=sender)

    def margin(self, function: str) -> Any:
        return self.simnet.must("bh-liquidation", function, principal(PROVIDER), TIER, TOKEN, sender=STRANGER)

    def income(self) -> None:
        """Every way that money takes into the fund."""
        self.fund("capitalize", TOKEN, UInt(1_000 * 10**6), sender=STRANGER)
        self.settle(self.buy(SMALL, 3, TAKER), btc=100, stx=100)
        self.fund("collect", TOKEN)
        self.simnet.must("bh-treasury", "collect", TOKEN)
        rows = Tuple({"name": StringAscii("fund"), "receiver": principal(FUND), "share-bp": UInt(10_000)})
        self.simnet.must("bh-treasury", "set-allocations", List((rows,)), NONE)
        self.simnet.must("bh-treasury", "distribute", TOKEN)
        self.fund("claim-share", TOKEN)
        self.simnet.must("bh-stx", "transfer", UInt(5), principal(STRANGER), principal(FUND), NONE, sender=STRANGER)
        self.fund("absorb", TOKEN)

    def shortfall(self) -> None:
        """A policy that collateral cannot pay, and the fund pays in part."""
        self.fund("set-coverage", TIER, TOKEN, UInt(300 * 10**6), UInt(10**15), NONE)
        policy = self.buy(SMALL, 3, TAKER)
        self.settle(policy, btc=50, stx=25)
        self.fund("cover-shortfall", policy, TOKEN, sender=STRANGER)
        self.prices()

    def recovery(self) -> None:
        """One plan that is reached, one that is not."""
        plan = UInt(self.fund("start-recovery", TOKEN, UInt(100), UInt(5), NONE))
        self.fund("contribute", plan, TOKEN, UInt(60), sender=BUYER)
        self.fund("contribute", plan, TOKEN, UInt(40), sender=STRANGER)
        self.fund("complete-recovery", plan)
        plan = UInt(self.fund("start-recovery", TOKEN, UInt(100), UInt(1), NONE))
        self.simnet.mine(2)
        self.fund("complete-recovery", plan)
        self.prices()

    def liquidations(self) -> None:
        """A call that the price ends; one that turns hard and ends with allocations at the taker and at the fund."""
        self.fund("capitalize", TOKEN, UInt(101_000 * 10**6), sender=STRANGER)
        self.fund("allocate", TOKEN, TIER, UInt(100_000 * 10**6))
        first, second = self.buy(LARGE, 3_000), self.buy(LARGE, 3_001)
        self.prices(stx=97)
        self.margin("issue-margin-call")
        self.prices()
        self.margin("resolve-margin-call")
        self.prices(stx=97)
        self.margin("issue-margin-call")
        self.prices(stx=80)
        self.margin("escalate")
        self.simnet.mine(145)
        self.prices(stx=40)
        taker = principal(TAKER)
        self.simnet.must("bh-vault", "deposit", TOKEN, TIER, UInt(60_000 * 10**6), sender=TAKER)
        self.simnet.must("bh-liquidation", "liquidate", first, principal(PROVIDER), taker, UInt(0), sender=TAKER)
        self.simnet.must("bh-liquidation", "self-liquidate", second, sender=PROVIDER)
        self.fund("claim-yield", TOKEN)
        request = UInt(self.fund("request-release", TOKEN, TIER, UInt(10**6)))
        self.simnet.mine(1)
        self.fund("release", request, TOKEN)


def test_rows_are_what_the_contracts_say(simnet: Simnet) -> None:
    scene = Scene(simnet)
    scene.income()
    scene.shortfall()
    scene.recovery()
    scene.liquidations()
    rows, read = simnet.folded, simnet.read

    (holding,) = rows.all(FundHolding)
    assert read("bh-fund", "get-holding", TOKEN) == {"balance": holding["balance"], "cover": holding["cover"]}
    assert read("bh-fund", "get-state", TOKEN) == holding["state"]
    total = holding["received"] + holding["released"] - holding["allocated"] - holding["paid"]
    assert total == holding["balance"]
    assert simnet.evaluate(f"(stx-get-balance '{FUND})") == holding["balance"]

    (cover,) = rows.all(FundCover)
    expected = {"left": cover["left"], "max-liability-usd8": cover["max_liability_usd8"]}
    assert read("bh-fund", "get-cover", TIER, TOKEN) == expected
    (payment,) = rows.all(FundPayment)
    assert read("bh-fund", "get-payment", UInt(payment["policy"]), TOKEN) == payment["amount"] == cover["paid"]
    (covered,) = (row for row in rows.all(Policy) if row["id"] == payment["policy"])
    assert covered["unpaid_usd8"] == payment["unpaid_usd8"]
    (takeover,) = rows.all(FundTakeover)
    taken = read("bh-fund", "get-takeover", UInt(takeover["policy"]))
    assert taken == {"liability-usd8": takeover["liability_usd8"], "collateral": takeover["collateral"]}

    plans = rows.all(RecoveryPlan)
    assert [(plan["state"], plan["contributions"]) for plan in plans] == [("completed", 2), ("failed", 0)]
    for plan in plans:
        given = read("bh-fund", "get-plan", UInt(plan["id"]))
        assert given == {name: plan[name.replace("-", "_")] for name in given}

    calls = rows.all(MarginCall)
    assert [(call["state"], call["level"]) for call in calls] == [("resolved", "soft"), ("resolved", "hard")]
    assert read("bh-liquidation", "get-last-call") == len(calls)
    assert read("bh-liquidation", "get-call", principal(PROVIDER), TIER, TOKEN) is None
    liquidations = rows.all(Liquidation)
    assert read("bh-liquidation", "get-last-liquidation") == len(liquidations) == calls[1]["liquidations"] == 2
    assert [(row["taker"], row["is_forced"]) for row in liquidations] == [(TAKER, True), (FUND, False)]
    assert liquidations[1]["price"] == takeover["price"] == takeover["paid"]

    entries = rows.all(FundEntry)
    assert {entry["kind"] for entry in entries} == {
        *("gift", "reserve", "share", "yield", "release", "surplus", "recovery"),
        *("shortfall", "allocation"),
    }
    assert entries[-1]["balance"] == holding["balance"]
    rows.assert_complete()

    # what only a replaced fund prints is in test_succession.py
    expected_sources = {source for source in EVENTS if source[0] in OURS} - {("bh-fund", "capital.passed-on")}
    printed = {(contract.partition(".")[2], value["topic"]) for contract, value in simnet.printed}
    assert {source for source in printed if source[0] in OURS} == expected_sources
    begun_late(simnet, holding)


def begun_late(simnet: Simnet, holding: dict[str, Any]) -> None:
    """An index that begins in the middle has the balances, and shows no call or plan whose beginning it missed."""
    printed = simnet.printed
    for start in range(1, len(printed), len(printed) // 6):
        late = Folded()
        for event in printed[start:]:
            late.block([event])
        for row in late.all(FundHolding):
            assert row["balance"] == holding["balance"]
        for table in (MarginCall, RecoveryPlan, Liquidation):
            known = {row["id"]: row for row in simnet.folded.all(table)}
            for row in late.all(table):
                assert {**known[row["id"]], **without_heights(row)} == known[row["id"]]


def without_heights(row: dict[str, Any]) -> dict[str, Any]:
    """A row without what depends on where an index began."""
    varying = ("height", "time", "tx", "tx_id")
    return {name: value for name, value in row.items() if not name.endswith(varying)}


def test_the_end_of_something_unknown_changes_nothing(simnet: Simnet) -> None:
    scene = Scene(simnet)
    scene.recovery()
    scene.buy(LARGE, 3_000)
    scene.buy(LARGE, 3_001)
    scene.prices(stx=97)
    scene.margin("issue-margin-call")
    scene.prices(stx=93)
    scene.margin("escalate")
    scene.prices()
    scene.margin("resolve-margin-call")
    ends = {"margin-call.escalated", "margin-call.resolved", "recovery.contributed", "recovery.ended"}
    late = Folded()
    for event in simnet.printed:
        if event[1]["topic"] in ends:
            ends.discard(event[1]["topic"])
            late.block([event])
    assert not ends
    assert late.all(MarginCall) == late.all(RecoveryPlan) == []
