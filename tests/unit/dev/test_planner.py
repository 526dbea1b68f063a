from __future__ import annotations

from dataclasses import replace

import pytest

from clarion.chains.stacks.post_conditions import PostConditionMode
from clarion.dev.accounts import make_cast
from clarion.dev.calls import BitHedgeCalls, Call
from clarion.dev.planner import FIRST_PRICES_USD8, MOST_ACTIVE, Action, Planner, Purchase
from clarion.dev.world import AssetView, PolicyView, PositionView, RequestView, World

CAST = make_cast()
CALLS = BitHedgeCalls(CAST.deployer.address)
SUBMITTERS = frozenset(who.address for who in CAST.submitters)


def planner(seed: int = 1) -> Planner:
    return Planner(seed, CAST, CALLS)


def asset(
    name: str, *, priced_burn: int, submitted: frozenset[str] = frozenset(), confirming: bool = False
) -> AssetView:
    price = FIRST_PRICES_USD8[name] if priced_burn >= 0 else 0
    return AssetView(3, price, priced_burn, confirming, submitted)


def world(
    *, height: int = 100, burn_height: int = 20, priced_burn: int = 20, funded: bool = True, earned: int = 0
) -> World:
    """A world in which nothing is due: prices are fresh and every position is full."""
    positions = {}
    for holding in planner().holdings:
        available = holding.target if funded else 0
        key = (holding.provider.address, holding.tier, holding.token)
        positions[key] = PositionView(*key, available, 0, 0, 0)
    return World(
        height=height,
        burn_height=burn_height,
        assets={name: asset(name, priced_burn=priced_burn) for name in FIRST_PRICES_USD8},
        positions=positions,
        yields={(provider, token): earned for provider, _, token in positions},
        policies=(),
        requests=(),
        owed=(),
    )


def policy(number: int = 7, **fields: object) -> PolicyView:
    usual = PolicyView(
        number=number,
        owner=CAST.buyers[0].address,
        type="put",
        style="american",
        asset="BTC",
        token=CALLS.stx_token,
        tier="aggressive",
        strike_usd8=FIRST_PRICES_USD8["BTC"] * 2,
        created_burn=10,
        expiry_burn=30,
        cancel_until_burn=11,
        state="active",
        unpaid_usd8=0,
    )
    return replace(usual, **fields)  # type: ignore[arg-type]


def over_time(made: Planner, at: World, count: int = 400) -> list[Action]:
    """What is planned at many heights."""
    return [action for height in range(100, 100 + count) for action in made.plan(replace(at, height=height), ())]


def called(actions: list[Action], function: str) -> list[Call]:
    return [action for action in actions if isinstance(action, Call) and action.function == function]


def test_the_same_seed_decides_the_same() -> None:
    at = world(earned=5)
    assert over_time(planner(), at) == over_time(planner(), at)
    assert over_time(planner(), at) != over_time(planner(2), at)


def test_nobody_acts_twice_and_who_is_busy_waits() -> None:
    busy = {CAST.submitters[0].address, CAST.providers[0].address}
    for height in range(100, 200):
        at = replace(world(priced_burn=19, funded=False), height=height)
        senders = []
        for action in planner().plan(at, busy):
            sender = action.buyer if isinstance(action, Purchase) else action.sender
            assert sender.address not in busy
            if not isinstance(action, Purchase) and action.function != "submit-price":
                senders.append(sender)
        assert len(senders) == len(set(senders))


def test_submitters_price_every_asset_once_a_bitcoin_block() -> None:
    made = planner()
    prices = called(made.plan(world(priced_burn=19), ()), "submit-price")
    assert {call.sender for call in prices} <= set(CAST.submitters)
    assert len(prices) >= 2 * (len(CAST.submitters) - 1)
    assert called(made.plan(world(priced_burn=20), ()), "submit-price") == []


def test_a_rejected_price_is_confirmed_at_once() -> None:
    at = world()
    waiting = replace(at, assets=at.assets | {"BTC": asset("BTC", priced_burn=20, confirming=True)})
    assert called(planner().plan(waiting, ()), "submit-price")


def test_a_complete_round_is_closed_once() -> None:
    at = world()
    complete = replace(at, assets=at.assets | {"BTC": asset("BTC", priced_burn=19, submitted=SUBMITTERS)})
    (close,) = called(planner().plan(complete, ()), "close-round")
    assert close.sender in CAST.submitters


def test_at_most_one_submitter_misses_a_round() -> None:
    made = planner()
    for number in range(200):
        at = world(priced_burn=19)
        views = {name: replace(view, next_round=number) for name, view in at.assets.items()}
        prices = called(made.plan(replace(at, assets=views), ()), "submit-price")
        assert len(prices) >= 2 * (len(CAST.submitters) - 1)


def test_empty_positions_are_filled() -> None:
    deposits = called(planner().plan(world(height=1, funded=False), ()), "deposit")
    assert {call.sender for call in deposits} == set(CAST.providers)


def test_nothing_is_sold_before_there_is_a_price() -> None:
    assert not any(isinstance(action, Purchase) for action in over_time(planner(), world(priced_burn=-1)))


def test_purchases_can_be_sold() -> None:
    bought = [action.terms for action in over_time(planner(), world()) if isinstance(action, Purchase)]
    assert {terms.type for terms in bought} == {"put", "call"}
    assert {terms.style for terms in bought} == {"european", "american"}
    assert {terms.token for terms in bought} == {holding.token for holding in planner().holdings}
    spot = FIRST_PRICES_USD8["BTC"]
    for terms in bought:
        strike_bp = terms.strike_usd8 * 10_000 // spot
        assert 7_000 <= (strike_bp if terms.type == "put" else 20_000 - strike_bp) <= 10_000
        assert terms.expiry_burn >= 20 + 3


def test_nobody_buys_when_enough_is_active() -> None:
    crowded = replace(world(), policies=tuple(policy(number) for number in range(MOST_ACTIVE)))
    assert not any(isinstance(action, Purchase) for action in over_time(planner(), crowded))


@pytest.mark.parametrize(
    ("fields", "exercised"),
    [
        ({}, True),
        ({"style": "european"}, False),
        ({"strike_usd8": 1}, False),
        ({"expiry_burn": 20}, False),
        ({"created_burn": 20}, False),
        ({"type": "call"}, False),
        ({"type": "call", "strike_usd8": 1}, True),
    ],
)
def test_owners_exercise_what_pays(fields: dict[str, object], exercised: bool) -> None:
    calls = called(over_time(planner(), replace(world(), policies=(policy(**fields),))), "exercise")
    by_owner = [call for call in calls if call.sender == CAST.buyers[0]]
    assert len(by_owner) > 20 if exercised else len(by_owner) < 5


def test_owners_cancel_in_the_window_only() -> None:
    open_window = policy(strike_usd8=1, created_burn=19, cancel_until_burn=20)
    assert called(over_time(planner(), replace(world(), policies=(open_window,))), "cancel")
    too_late = replace(open_window, cancel_until_burn=19)
    assert not called(over_time(planner(), replace(world(), policies=(too_late,))), "cancel")


def test_a_withdrawal_waits_for_its_delay() -> None:
    def request(unlock_burn: int) -> World:
        return replace(world(), requests=(RequestView(4, CAST.providers[2].address, CALLS.stx_token, unlock_burn),))

    (withdrawal,) = called(planner().plan(request(20), ()), "withdraw")
    assert withdrawal.sender == CAST.providers[2]
    assert called(planner().plan(request(21), ()), "withdraw") == []


def test_yield_is_claimed_where_there_is_some() -> None:
    assert called(over_time(planner(), world(earned=9)), "claim-yield")
    assert not called(over_time(planner(), world(earned=0)), "claim-yield")


def test_some_transactions_are_meant_to_fail() -> None:
    actions = over_time(planner(), world(), 1000)
    assert called(actions, "set-params")
    deposits = called(actions, "deposit")
    assert any(call.arguments[2].value == 0 for call in deposits)  # type: ignore[attr-defined]
    broken = [call for call in deposits if call.post_conditions[0].amount != call.arguments[2].value]  # type: ignore[union-attr,attr-defined]
    assert broken


def test_calls_that_pay_the_sender_let_nothing_of_theirs_go() -> None:
    claims = called(over_time(planner(), world(earned=9)), "claim-yield")
    assert all(call.post_condition_mode is PostConditionMode.ORIGINATOR and not call.post_conditions for call in claims)
