from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from clarion.chains.stacks.clarity import Value, encode, principal
from clarion.chains.stacks.clarity_forms import decode_python
from clarion.chains.stacks.post_conditions import PostConditionMode
from clarion.dev.accounts import make_cast
from clarion.dev.calls import SBTC_TOKEN, BitHedgeCalls, Call, PolicyTerms
from clarion.dev.insurance import (
    DARING,
    FUND_SATS,
    FUND_STX,
    GAMBLE_SATS,
    GAMBLE_STX,
    STEWARD_STX,
    TIER,
    Insurance,
    insurance_setup,
)
from clarion.dev.world import AssetView, PolicyView, PositionView, World

CAST = make_cast()
CALLS = BitHedgeCalls(CAST.deployer.address)
FUND = CALLS.contract("bh-fund")
STX = CALLS.stx_token
HEALTHY = {"is-healthy": True, "is-under": False, "is-insolvent": False, "round": 9}
WEAK = {"is-healthy": False, "is-under": False, "is-insolvent": False, "round": 9}
UNDER = WEAK | {"is-under": True}


class Told:
    """Answers as the contracts would: everything is full and healthy, unless a test says otherwise."""

    def __init__(self, **answers: Any) -> None:
        self.answers = answers
        self.positions: dict[tuple[str, str, str], PositionView] = {
            key: PositionView(*key, amount, 0, 0, 1)
            for key, amount in {
                (FUND, TIER, STX): FUND_STX,
                (CAST.steward.address, TIER, STX): STEWARD_STX,
                (CAST.gambler.address, TIER, STX): GAMBLE_STX,
                (CAST.gambler.address, DARING, SBTC_TOKEN): GAMBLE_SATS,
            }.items()
        }

    async def ask(self, contract: str, function: str, *arguments: Value) -> Any:
        plain = [decode_python(encode(argument)) for argument in arguments]
        if function == "get-holding":
            return {"balance": FUND_SATS if plain[0] == SBTC_TOKEN else 0, "cover": 0}
        if function == "get-health":
            return {"ok": self.answers.get("health", HEALTHY) if plain[1] == TIER else HEALTHY}
        if function == "get-call":
            return self.answers.get("call") if plain[1] == TIER else None
        answers = {
            "get-claim": None,
            "get-payment": 0,
            "get-cover": {"left": 10**9},
            "get-param": {"ok": 1_000},
            "get-tier": {"ratio-min-bp": 13_000},
            "get-token": {"decimals": 6, "haircut-bp": 1_000},
        }
        return self.answers[function] if function in self.answers else answers[function]

    async def position(self, provider: str, tier: str, token: str) -> PositionView:
        return self.positions.get((provider, tier, token), PositionView(provider, tier, token, 0, 0, 0, 0))

    async def quote(self, terms: PolicyTerms, _buyer: Any) -> Any:
        tier = DARING if terms.type == "call" else TIER
        return {"tier": tier, "premium": 100, "max-payout-usd8": 7}


def policy(number: int, tier: str = TIER, **fields: Any) -> PolicyView:
    usual = PolicyView(
        number=number,
        owner=CAST.punter.address,
        type="put",
        style="european",
        asset="BTC",
        token=STX if tier == TIER else SBTC_TOKEN,
        tier=tier,
        strike_usd8=10**13,
        created_burn=10,
        expiry_burn=40,
        cancel_until_burn=11,
        state="active",
        unpaid_usd8=0,
    )
    return replace(usual, **fields)


QUIET = (policy(1), policy(2), policy(3, DARING))


def world(*, policies: tuple[PolicyView, ...] = QUIET, owed: tuple[PolicyView, ...] = ()) -> World:
    prices = {"BTC": 10**13, "STX": 80_000_000}
    return World(
        height=101,
        burn_height=20,
        assets={name: AssetView(3, price, 20, False, frozenset()) for name, price in prices.items()},
        positions={},
        yields={},
        policies=policies,
        requests=(),
        owed=owed,
    )


async def planned(told: Told, at: World) -> dict[str, Call]:
    """What each of the three does, by name."""
    calls = await Insurance(CAST, CALLS, told).plan(at, ())  # type: ignore[arg-type]
    assert len({call.sender for call in calls}) == len(calls)
    return {call.sender.name: call for call in calls}


async def test_nobody_does_anything_while_all_is_well() -> None:
    assert await planned(Told(), world()) == {}


async def test_nobody_acts_without_a_price_or_while_busy() -> None:
    at = world(policies=())
    unpriced = replace(at, assets=dict(at.assets) | {"STX": AssetView(1, 0, -1, False, frozenset())})
    insurance = Insurance(CAST, CALLS, Told())  # type: ignore[arg-type]
    assert await insurance.plan(unpriced, ()) == []
    assert [call.sender for call in await insurance.plan(at, ())] == [CAST.punter]
    assert await insurance.plan(at, {CAST.punter.address}) == []


def margin_call(level: str, *, deadline: int, round_number: int = 8) -> dict[str, Any]:
    return {"call": 1, "level": level, "deadline-burn": deadline, "round": round_number}


@pytest.mark.parametrize(
    ("health", "call", "function"),
    [
        (WEAK, None, "issue-margin-call"),
        (HEALTHY, margin_call("soft", deadline=30), "resolve-margin-call"),
        (WEAK, margin_call("soft", deadline=30), None),
        (WEAK, margin_call("soft", deadline=19), "escalate"),
        (UNDER, margin_call("soft", deadline=30), "escalate"),
        (UNDER, margin_call("hard", deadline=20), None),
        (UNDER, margin_call("hard", deadline=19), "liquidate"),
        (UNDER, margin_call("hard", deadline=19, round_number=9), None),
        (UNDER | {"is-insolvent": True}, margin_call("hard", deadline=30), "liquidate"),
    ],
)
async def test_the_steward_takes_the_step_that_the_contract_would_accept(
    health: Any, call: Any, function: str | None
) -> None:
    done = await planned(Told(health=health, call=call), world())
    assert (done["steward"].function if "steward" in done else None) == function


async def test_a_part_of_an_odd_policy_goes_to_the_fund_and_of_an_even_one_to_the_steward() -> None:
    told = Told(health=UNDER, call=margin_call("hard", deadline=19))
    for number, taker in ((5, FUND), (6, CAST.steward.address)):
        at = world(policies=(policy(number), policy(3, DARING)))
        assert (await planned(told, at))["steward"].arguments[2] == principal(taker)


async def test_a_policy_that_is_about_to_expire_is_left_alone() -> None:
    told = Told(health=UNDER, call=margin_call("hard", deadline=19))
    at = world(policies=(policy(5, expiry_burn=22), policy(3, DARING)))
    assert "steward" not in await planned(told, at)


async def test_even_shortfalls_are_claimed_decided_and_then_paid_and_odd_ones_paid_at_once() -> None:
    def owed(number: int) -> World:
        return world(owed=(policy(number, DARING, state="settled-itm", unpaid_usd8=10**9),))

    assert {name: call.function for name, call in (await planned(Told(), owed(4))).items()} == {"punter": "open-claim"}
    opened = Told(**{"get-claim": {"state": "open"}})
    assert {name: call.function for name, call in (await planned(opened, owed(4))).items()} == {
        "steward": "resolve-claim"
    }
    decided = Told(**{"get-claim": {"state": "approved"}})
    for told, number in ((decided, 4), (Told(), 5)):
        done = await planned(told, owed(number))
        assert done["steward"].function == "cover-shortfall"
    assert await planned(Told(**{"get-payment": 1}), owed(5)) == {}


async def test_positions_and_the_fund_are_filled_to_the_unit_they_promise() -> None:
    told = Told()
    told.positions.clear()
    done = await planned(told, world())
    assert (done["steward"].function, done["gambler"].function) == ("capitalize", "deposit")
    for call in done.values():
        assert call.post_condition_mode is PostConditionMode.DENY
        assert len(call.post_conditions) == 1


async def test_the_punter_buys_two_policies_of_different_expiry_and_one_call() -> None:
    first = (await planned(Told(), world(policies=(policy(3, DARING),))))["punter"]
    second = (await planned(Told(), world(policies=(policy(1), policy(3, DARING)))))["punter"]
    third = (await planned(Told(), world(policies=(policy(1), policy(2)))))["punter"]
    assert first.arguments[5] != second.arguments[5]
    assert [decode_python(encode(call.arguments[0])) for call in (first, second, third)] == ["put", "put", "call"]


def test_money_comes_before_promises() -> None:
    """A fund that promises more than it has stops new policies."""
    functions = [call.function for call in insurance_setup(CAST, CALLS)]
    assert max(place for place, name in enumerate(functions) if name == "capitalize") < functions.index("set-coverage")
