"""What a spell would earn and cost, to the satoshi, and what keeps the keeper from sending it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, cast

import pytest

from clarion.chains.bitcoin.charms.spells import App
from clarion.config import Keeper
from clarion.protocols.zkusd.app_sets import ROLES
from clarion.protocols.zkusd.apps import owner_of, verification_keys
from clarion.protocols.zkusd.terms import NotPossibleError, liquidation_terms, redemption_terms
from clarion.protocols.zkusd.units import ONE_BASE, ONE_PRICE8, Base, Percent, Price8, Sats
from clarion_keeper.graph import GraphError, Receipt
from clarion_keeper.zkusd.candidates import Outlook
from clarion_keeper.zkusd.costs import VIRTUAL_SIZE
from clarion_keeper.zkusd.jobs import Contention, Desk, HeldBack, Liquidate, Redeem, Rescue, StalePrice
from clarion_keeper.zkusd.orders import Operation, SpellOrder, order_of
from clarion_keeper.zkusd.state import AppState, Candidate, Market, PendingSpend, ZkUsdState

PRICE = Price8(60_000 * ONE_PRICE8)
RECEIPT = Receipt(height=200, hash="0x00", burn_height=200, sequence=7)
OURS, THEIRS = "0x5120" + "aa" * 32, "0x5120" + "bb" * 32
FEE_RATE = 2_000


def states(known: bool = True) -> dict[Any, AppState]:
    keys = verification_keys()
    return {
        role: AppState(
            role=role,
            app=App("s", bytes([place]) * 32, keys[role] if known else bytes(32)),
            outpoint=f"{place:064x}:0",
            script="0x0014" + "cc" * 20,
            live=True,
            confirmations=3,
        )
        for place, role in enumerate(ROLES)
    }


def vault(number: int = 9, **changes: Any) -> Candidate:
    """0.036 BTC for 2,012 zkUSD: 107 % at 60,000 dollars."""
    given: dict[str, Any] = {
        "genesis": f"{number:064x}:1",
        "outpoint": f"{number:064x}:2",
        "script": "0x0014" + "cc" * 20,
        "owner": "dd" * 32,
        "opened_tx": f"{number:064x}",
        "confirmations": 5,
        "icr_percent": Percent(107),
        "collateral": Sats(3_600_000),
        "debt": Base(2_012 * ONE_BASE),
        "bonus": Sats(18_000),
    }
    return Candidate(**(given | changes))


def market(**changes: Any) -> Market:
    given: dict[str, Any] = {
        "name": "main",
        "price8": PRICE,
        "price_stale": False,
        "price_age": "it is 1 blocks and 600 seconds old",
        "total_percent": Percent(167),
        "mcr_percent": Percent(110),
        "ccr_percent": Percent(150),
        "min_debt": Base(10 * ONE_BASE),
        "reserve": Base(2 * ONE_BASE),
        "pool_total": Base(8_000 * ONE_BASE),
        "states": states(),
        "liquidatable": (vault(),),
    }
    return Market(**(given | changes))


def state(
    *markets: Market, fee_rate: int | None = FEE_RATE, pending: Mapping[str, PendingSpend] | None = None
) -> ZkUsdState:
    return ZkUsdState(receipt=RECEIPT, markets=markets, fee_rate=fee_rate, pending=pending or {})


def keeper(**zkusd: Any) -> Keeper:
    return Keeper(zkusd={"charms_fee": 1_500, "prover_cost": 70, **zkusd})


def outlook(*markets: Market, settings: Keeper | None = None, **given: Any) -> Outlook:
    return Outlook(state(*markets, **given), settings or keeper(), frozenset({OURS}))


def spend(outpoint: str, *scripts: str) -> dict[str, PendingSpend]:
    return {outpoint: PendingSpend(outpoint=outpoint, tx_id="ee" * 32, scripts=scripts)}


def test_a_liquidation_earns_bonus_and_reserve_and_pays_for_its_parts() -> None:
    (one,) = outlook(market()).liquidations()
    # half a percent of 3,600,000 satoshis, and 2 zkUSD at 60,000 dollars
    assert one.gross == 18_000 + 3_333
    # 2 satoshis a virtual byte, Charms, the prover, and the output under the reserve
    assert one.costs.total == 2 * VIRTUAL_SIZE[Operation.LIQUIDATE] + 1_500 + 70 + 547
    assert one.net == one.gross - one.costs.total
    assert one.value_usd8 == one.net * 60_000
    assert one.problems == ()
    assert one.order == SpellOrder(operation=Operation.LIQUIDATE, app_set="main", vault=f"{9:064x}:1")


def test_the_fee_is_rounded_up_and_by_the_settings_where_no_node_says_a_rate() -> None:
    (one,) = outlook(market(), fee_rate=2_001).liquidations()
    assert one.costs.fee == 2 * VIRTUAL_SIZE[Operation.LIQUIDATE] + 4
    (one,) = outlook(market(), fee_rate=None).liquidations()
    assert one.costs.fee == 5 * VIRTUAL_SIZE[Operation.LIQUIDATE]


def test_a_pool_that_pays_a_part_pays_that_part_of_the_bonus_and_no_reserve() -> None:
    (one,) = outlook(market(pool_total=Base(1_001 * ONE_BASE))).liquidations()
    seized = 3_600_000 * 1_000 // 2_012
    assert one.gross == seized * 50 // 10_000
    assert one.costs.charm_outputs == 0


def test_an_empty_pool_is_a_problem() -> None:
    (one,) = outlook(market(pool_total=Base(ONE_BASE))).liquidations()
    assert one.problems == ("the pool cannot pay the debt",)


def test_the_most_profitable_comes_first_then_the_riskiest() -> None:
    small = vault(1, collateral=Sats(1_800_000), debt=Base(1_006 * ONE_BASE), icr_percent=Percent(99))
    large = vault(2, collateral=Sats(7_200_000), debt=Base(4_024 * ONE_BASE))
    riskier = vault(3, icr_percent=Percent(101))
    found = outlook(market(liquidatable=(small, vault(), riskier, large))).liquidations()
    assert [one.vault.genesis[:64].lstrip("0") for one in found] == ["2", "3", "9", "1"]


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"price_stale": True}, "the oracle's price is stale: it is 1 blocks and 600 seconds old"),
        ({"states": {role: one for role, one in states().items() if role != "token"}}, "the token has no state"),
        ({"liquidatable": (vault(confirmations=0),)}, "what it spends has 0 confirmations, and needs 1"),
    ],
)
def test_what_keeps_a_liquidation_back(changed: dict[str, Any], problem: str) -> None:
    (one,) = outlook(market(**changed)).liquidations()
    assert one.problems == (problem,)


@pytest.mark.parametrize(("total", "ends"), [(147, False), (148, True), (149, True)])
def test_recovery_mode_has_to_hold_at_a_price_one_percent_higher(total: int, ends: bool) -> None:
    healthy = vault(icr_percent=Percent(120), collateral=Sats(4_024_000))
    (one,) = outlook(market(total_percent=Percent(total), liquidatable=(healthy,))).liquidations()
    assert [problem.startswith("recovery mode would end") for problem in one.problems] == [True] * ends
    # collateral of 110 % of the debt, at 60,000 dollars
    assert one.gross == (2_012 * ONE_BASE * 110 // 100 * 10**8 // PRICE) * 50 // 10_000 + 3_333


def test_what_may_be_liquidated_anyway_does_not_hang_on_recovery_mode() -> None:
    (one,) = outlook(market(total_percent=Percent(149))).liquidations()
    assert one.problems == ()


@pytest.mark.parametrize("role", ROLES)
def test_a_state_that_somebody_else_spends_keeps_it_back(role: Any) -> None:
    outpoint = states()[role].outpoint
    (one,) = outlook(market(), pending=spend(outpoint, THEIRS)).liquidations()
    assert one.problems == (f"the mempool's transaction {'ee' * 32} spends the {role.replace('_', ' ')}",)
    (one,) = outlook(market(), pending=spend(outpoint, THEIRS, OURS)).liquidations()
    assert one.problems == (), "our own transaction is followed, not cancelled"


def test_a_vault_that_is_being_spent_is_kept_back() -> None:
    (one,) = outlook(market(), pending=spend(vault().outpoint, THEIRS)).liquidations()
    assert one.problems == (f"the mempool's transaction {'ee' * 32} spends the vault",)


def test_of_other_apps_the_queues_figures_count_and_the_order_says_so() -> None:
    (one,) = outlook(market(states=states(known=False))).liquidations()
    assert one.gross == 18_000 + 3_333
    assert not one.order.known
    assert order_of(one.order.item()) == one.order


def test_a_redemption_earns_what_the_vault_pays_less_what_the_tokens_cost() -> None:
    redeemed = vault(icr_percent=Percent(130), collateral=Sats(5_000_000), take_debt=Base(1_000 * ONE_BASE))
    found = outlook(
        market(liquidatable=(), redeemable=(redeemed,)), settings=keeper(redeem_at_price8=98 * ONE_PRICE8 // 100)
    ).redemptions()
    (one,) = found
    worth = 1_000 * ONE_BASE * 10**8 // PRICE
    taken = worth - -(-worth * 75 // 10_000)
    assert one.gross == taken - -(-1_000 * 98_000_000 * ONE_BASE // PRICE)
    assert one.order.amount == 1_000 * ONE_BASE


def test_nothing_is_redeemed_where_nobody_says_what_tokens_cost() -> None:
    redeemed = vault(icr_percent=Percent(130), take_debt=Base(ONE_BASE))
    assert outlook(market(redeemable=(redeemed,))).redemptions() == []


def test_own_vaults_are_rescued_and_no_others() -> None:
    mine = bytes(owner_of(bytes.fromhex(OURS[2:]))).hex()
    low = vault(owner=mine, icr_percent=Percent(125), collateral=Sats(4_200_000))
    there = market(liquidatable=(), rescuable=(low, vault(2, icr_percent=Percent(125))))
    (one,) = outlook(there, settings=keeper(rescue_most=5_000_000)).rescues()
    needed = -(-2_012 * ONE_BASE * 160 // 100 * 10**8 // PRICE)
    assert one.order.collateral == needed - 4_200_000
    assert one.value_usd8 == 4_200_000 * 60_000 - 2_012 * ONE_BASE
    assert outlook(there, settings=keeper(rescue_most=needed - 4_200_001)).rescues() == []
    assert outlook(there).rescues() == []


def desk(settings: Keeper) -> Desk:
    return Desk(settings, frozenset({OURS}))


def test_jobs_send_what_pays_and_say_why_they_do_not() -> None:
    settings = keeper()
    fine = state(market())
    (intent,) = Liquidate(desk(settings)).check(fine)
    assert intent.reward is not None
    assert (intent.reward.token, intent.reward.amount) == ("BTC", 21_333)
    assert intent.key == f"zkusd:liquidate:main:{9:064x}:1"
    assert "107 % at 60,000 USD; earns 21333 satoshis" in intent.cause
    assert HeldBack(desk(settings)).check(fine) == []
    stale = state(market(price_stale=True))
    assert Liquidate(desk(settings)).check(stale) == []
    (held,) = HeldBack(desk(settings)).check(stale)
    assert held.cause.endswith("Held back: the oracle's price is stale: it is 1 blocks and 600 seconds old")
    (told,) = StalePrice(desk(settings)).check(stale)
    assert told.cause == "the price of main is stale: it is 1 blocks and 600 seconds old"
    assert StalePrice(desk(settings)).check(fine) == []


def test_what_is_sent_at_a_loss_is_the_settings_word() -> None:
    dear = state(market(), fee_rate=100_000)
    assert Liquidate(desk(keeper())).check(dear) == []
    anything = Keeper(min_profit=None, zkusd=keeper().zkusd.model_dump())
    assert len(Liquidate(desk(anything)).check(dear)) == 1


def test_a_state_that_is_spent_is_contention_where_there_is_something_to_liquidate() -> None:
    outpoint = states()["oracle"].outpoint
    busy = state(market(), pending=spend(outpoint, THEIRS))
    (told,) = Contention(desk(keeper())).check(busy)
    assert told.item == {"app_set": "main", "role": "oracle", "outpoint": outpoint, "tx_id": "ee" * 32}
    idle = state(market(liquidatable=()), pending=spend(outpoint, THEIRS))
    assert Contention(desk(keeper())).check(idle) == []
    assert Contention(desk(keeper())).check(state(market(), pending=spend(outpoint, OURS))) == []


def test_redeem_and_rescue_are_off_by_themselves() -> None:
    found = state(market(redeemable=(vault(),), rescuable=(vault(),)))
    assert Redeem(desk(keeper())).check(found) == []
    assert Rescue(desk(keeper())).check(found) == []


def test_a_redemption_leaves_the_least_debt_or_ends_the_vault() -> None:
    given: dict[str, Any] = {
        "collateral": Sats(5_000_000),
        "debt": Base(2_012 * ONE_BASE),
        "price8": PRICE,
        "min_debt": Base(10 * ONE_BASE),
        "reserve": Base(2 * ONE_BASE),
    }
    assert redemption_terms(**given, amount=Base(2_010 * ONE_BASE)).whole
    part = redemption_terms(**given, amount=Base(2_009 * ONE_BASE))
    assert (part.burned, part.whole) == (2_002 * ONE_BASE, False)
    with pytest.raises(NotPossibleError):
        redemption_terms(**(given | {"price8": Price8(40_000 * ONE_PRICE8)}), amount=Base(ONE_BASE))


def test_in_recovery_mode_the_pool_pays_all_or_nothing() -> None:
    given: dict[str, Any] = {
        "collateral": Sats(4_024_000),
        "debt": Base(2_012 * ONE_BASE),
        "price8": PRICE,
        "total_percent": Percent(140),
        "min_debt": Base(10 * ONE_BASE),
        "reserve": Base(2 * ONE_BASE),
    }
    terms = liquidation_terms(**given, pool_total=Base(2_013 * ONE_BASE))
    assert terms.whole
    assert terms.seized == 2_012 * ONE_BASE * 110 // 100 * 10**8 // PRICE
    assert terms.returned == 4_024_000 - terms.seized
    with pytest.raises(NotPossibleError, match="whole debt"):
        liquidation_terms(**given, pool_total=Base(2_012 * ONE_BASE))
    with pytest.raises(NotPossibleError, match="120 %"):
        liquidation_terms(**(given | {"total_percent": Percent(120)}), pool_total=Base(10**15))


async def test_jobs_that_ask_at_once_share_a_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    readings: asyncio.Queue[asyncio.Future[ZkUsdState]] = asyncio.Queue()

    async def reading(*_: object, **__: object) -> ZkUsdState:
        found: asyncio.Future[ZkUsdState] = asyncio.get_running_loop().create_future()
        readings.put_nowait(found)
        return await found

    monkeypatch.setattr("clarion_keeper.zkusd.jobs.read_state", reading)
    shared, reader = desk(keeper()), cast("Any", None)
    asked = [asyncio.create_task(shared.read(reader)) for _ in range(3)]
    (await readings.get()).set_exception(GraphError("down"))
    with pytest.raises(GraphError):
        await asked[0]
    (await readings.get()).set_result(state())
    assert await asked[1] is await asked[2], "what failed was for who asked first"
    later = asyncio.create_task(shared.read(reader))
    (await readings.get()).set_result(state(market()))
    assert (await later).markets
