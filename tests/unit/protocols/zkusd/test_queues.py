"""Queues at a price: known figures, order, and that nothing is lost in a split."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clarion.protocols.zkusd import ratios
from clarion.protocols.zkusd.app_sets import Rules
from clarion.protocols.zkusd.queues import (
    DUST_SATS,
    Costs,
    LiquidationKind,
    VaultFigures,
    icr_histogram,
    insured_at_risk,
    liquidation_queue,
    liquidation_split,
    price_ladder,
    redemption_queue,
    rescue_queue,
)
from clarion.protocols.zkusd.units import Base, Bps, Percent, Price8, Sats

ONE = 10**8
PRICE = Price8(100_000 * ONE)
RULES = Rules()


def vault(name: str, collateral: int, debt: int, **more: int) -> VaultFigures:
    return VaultFigures(
        genesis=f"{name * 64}:0",
        vault_id=name * 64,
        owner="0" * 64,
        script="0x00",
        address=None,
        collateral=Sats(collateral),
        debt=Base(debt),
        rate_bps=Bps(more.get("rate", 0)),
        insurance=Sats(more.get("insurance", 0)),
    )


FIGURES = st.builds(
    vault, st.sampled_from("0123456789abcdef"), st.integers(0, 100 * ONE), st.integers(0, 5_000_000 * ONE)
)
VAULTS = st.lists(FIGURES, max_size=12, unique_by=lambda found: found.genesis)
PRICES = st.builds(Price8, st.integers(1_000 * ONE, 1_000_000 * ONE))
POOLS = st.builds(Base, st.integers(0, 10_000_000 * ONE))


def split(collateral: int, debt: int, pool: int, price: int = PRICE) -> tuple[int, ...]:
    found = liquidation_split(
        collateral=Sats(collateral), debt=Base(debt), price8=Price8(price), pool_total=Base(pool), rules=RULES
    )
    return (
        found.bonus,
        found.surplus,
        found.pool_debt,
        found.pool_collateral,
        found.redistributed_debt,
        found.redistributed_collateral,
    )


def test_splits() -> None:
    debt = 90_000 * ONE
    assert split(98_000_000, debt, 100_000 * ONE) == (490_000, 0, debt, 97_510_000, 0, 0)
    half = split(98_000_000, debt, 50_000 * ONE)
    assert half == (490_000, 0, 50_000 * ONE, 54_172_222, 40_000 * ONE, 43_337_778)
    capped = split(130_000_000, 100_000 * ONE, 100_000 * ONE)
    assert capped == (650_000, 19_350_000, 100_000 * ONE, 110_000_000, 0, 0)
    worthless = split(80_000_000, debt, 100_000 * ONE)
    assert worthless == (400_000, 0, 0, 0, debt, 79_600_000)


@given(FIGURES, POOLS, PRICES)
def test_a_split_gives_away_all_and_no_more(figures: VaultFigures, pool: Base, price8: Price8) -> None:
    parts = split(figures.collateral, figures.debt, pool, price8)
    assert all(part >= 0 for part in parts)
    bonus, surplus, pool_debt, pool_collateral, other_debt, other_collateral = parts
    assert bonus + surplus + pool_collateral + other_collateral == figures.collateral
    assert pool_debt + other_debt == figures.debt
    assert pool_debt <= pool


def test_liquidations_in_order_with_what_the_pool_has() -> None:
    vaults = [
        vault("a", 98_000_000, 90_000 * ONE),
        vault("b", ONE, 50_000 * ONE),
        vault("c", 104_000_000, 100_000 * ONE),
        vault("d", 208_000_000, 200_000 * ONE),
    ]
    costs = Costs(fee_rate=2, virtual_size=1000, charms_fee=Sats(1500), charm_outputs=3)
    found = list(
        liquidation_queue(
            vaults, price8=PRICE, recovery=False, pool_total=Base(250_000 * ONE), rules=RULES, costs=costs
        )
    )
    # the same ratio: the greater debt first
    assert [one.vault.vault_id[0] for one in found] == ["d", "c", "a"]
    assert [one.pool_covers for one in found] == [True, False, False]
    assert [one.split.pool_debt // ONE for one in found] == [200_000, 50_000, 0]
    assert {one.split.kind for one in found} == {LiquidationKind.OFFSET}
    first = found[0]
    assert (first.icr_percent, first.icr_bps, first.cumulative_debt) == (104, 10_400, 200_000 * ONE)
    assert first.reserve_sats == 2_000
    assert first.cost == 2_000 + 1_500 + 3 * DUST_SATS
    assert first.net == 1_040_000 + 2_000 - first.cost
    worth = liquidation_queue(
        vaults, price8=PRICE, recovery=False, pool_total=Base(0), rules=RULES, costs=costs, min_net=500_000
    )
    assert [(one.rank, one.vault.vault_id[0]) for one in worth] == [(1, "d"), (2, "c")]


def test_recovery_mode() -> None:
    vaults = [vault("a", 149_000_000, 100_000 * ONE), vault("b", 150_000_000, 100_000 * ONE)]
    found = list(liquidation_queue(vaults, price8=PRICE, recovery=True, pool_total=Base(100_000 * ONE), rules=RULES))
    assert [(one.vault.vault_id[0], one.split.kind) for one in found] == [("a", LiquidationKind.RECOVERY)]
    less = Rules(recovery_below_total=True)
    by_total = {
        total: [
            one.vault.vault_id[0]
            for one in liquidation_queue(
                vaults,
                price8=PRICE,
                recovery=True,
                total_percent=Percent(total),
                pool_total=Base(0),
                rules=less,
            )
        ]
        for total in (149, 150)
    }
    assert by_total == {149: [], 150: ["a"]}


def test_redemptions() -> None:
    vaults = [
        vault("a", 2 * ONE, 100_000 * ONE, rate=50),
        vault("b", ONE, 80_000 * ONE, rate=90),
        vault("c", ONE, 95_000 * ONE, rate=10),
        vault("d", ONE, 0),
    ]
    plan = redemption_queue(vaults, price8=PRICE, amount=Base(80_003 * ONE), rules=RULES)
    # c is below the minimum ratio, d has no debt
    assert [one.vault.vault_id[0] for one in plan.candidates] == ["b", "a"]
    first, second = plan.candidates
    assert (first.take_debt, first.left_debt, first.leaves_too_little) == (79_998 * ONE, 2 * ONE, False)
    assert (second.take_debt, second.fee, second.left_debt) == (5 * ONE, 3_750_000, 99_995 * ONE)
    assert second.take_collateral == 4_962
    assert (plan.redeemed, plan.fee) == (80_003 * ONE, first.fee + second.fee)
    assert plan.effective_price8 == plan.redeemed * ONE // plan.collateral > PRICE
    by_rate = redemption_queue(vaults, price8=PRICE, amount=Base(ONE), rules=RULES, order="rate")
    assert [one.vault.vault_id[0] for one in by_rate.candidates] == ["a"]
    cheap = plan.arbitrage(price8=PRICE, token_price8=Price8(90_000_000))
    assert cheap == plan.collateral * PRICE // ONE - plan.redeemed * 9 // 10 > 0
    assert redemption_queue([], price8=PRICE, amount=Base(5), rules=RULES).effective_price8 is None


def test_a_redemption_that_leaves_too_little() -> None:
    small = [vault("a", ONE, 12 * ONE)]
    plan = redemption_queue(small, price8=PRICE, amount=Base(5 * ONE), rules=RULES)
    assert plan.candidates[0].leaves_too_little
    whole = redemption_queue(small, price8=PRICE, amount=Base(50 * ONE), rules=RULES)
    assert (whole.redeemed, whole.candidates[0].leaves_too_little) == (10 * ONE, False)


def test_rescues() -> None:
    vaults = [vault("a", 120_000_000, 100_000 * ONE), vault("b", 105_000_000, 100_000 * ONE), vault("c", 2 * ONE, ONE)]
    found = list(rescue_queue(vaults, price8=PRICE, rules=RULES))
    assert [(one.vault.vault_id[0], one.add_collateral) for one in found] == [("b", 5_000_000), ("a", 0)]
    assert found[0].repay_debt == 100_000 * ONE - 105_000 * ONE * 100 // 110
    after = ratios.ratio_percent(collateral=Sats(149_000_000), debt=Base(80_000 * ONE), price8=PRICE)
    assert after == 186
    assert list(rescue_queue(vaults, price8=Price8(0), rules=RULES)) == []


def test_insurance() -> None:
    vaults = [vault("a", 114_000_000, 100_000 * ONE, insurance=5), vault("b", 114_000_000, 100_000 * ONE)]
    assert [one.vault_id[0] for one in insured_at_risk(vaults, price8=PRICE)] == ["a"]


@given(VAULTS, PRICES)
def test_the_histogram_counts_every_vault_with_debt_once(vaults: list[VaultFigures], price8: Price8) -> None:
    buckets = icr_histogram(vaults, price8=price8)
    indebted = [one for one in vaults if one.debt]
    assert sum(bucket.vaults for bucket in buckets) == len(indebted)
    assert sum(bucket.debt for bucket in buckets) == sum(one.debt for one in indebted)
    assert buckets[-1].to_bps is None
    assert [bucket.from_bps for bucket in buckets[1:]] == [bucket.to_bps for bucket in buckets[:-1]]


def test_the_histogram_has_a_bound() -> None:
    with pytest.raises(ValueError, match="at most 1000 steps"):
        icr_histogram([], price8=PRICE, step_bps=Bps(1))


def test_the_ladder() -> None:
    vaults = [vault("a", ONE, 60_000 * ONE), vault("b", ONE, 40_000 * ONE)]
    rungs = price_ladder(
        vaults,
        price8=PRICE,
        pool_total=Base(50_000 * ONE),
        rules=RULES,
        changes_bps=[Bps(change) for change in (0, -2400, -2600, -5000)],
    )
    assert [(rung.vaults, rung.recovery) for rung in rungs] == [(0, False), (0, False), (1, True), (2, True)]
    assert [rung.debt // ONE for rung in rungs] == [0, 0, 60_000, 100_000]
    # below its debt the one goes to others, and the other to the pool
    assert rungs[-1].pool_left == 10_000 * ONE
    with pytest.raises(ValueError, match="100 %"):
        price_ladder(vaults, price8=PRICE, pool_total=Base(0), rules=RULES, changes_bps=[Bps(-10_001)])


@given(VAULTS, PRICES, POOLS)
def test_queues_are_in_order_whatever_there_is(vaults: list[VaultFigures], price8: Price8, pool: Base) -> None:
    queue = list(liquidation_queue(vaults, price8=price8, recovery=False, pool_total=pool, rules=RULES))
    assert [one.vault.rank for one in queue] == sorted(one.vault.rank for one in queue)
    below = [
        one
        for one in vaults
        if ratios.is_below(collateral=one.collateral, debt=one.debt, price8=price8, percent=Percent(110))
    ]
    assert {one.vault.genesis for one in queue} == {one.genesis for one in below}
    assert sum(one.split.pool_debt for one in queue) <= pool
