"""What zkUSD's contracts allow: every operation, and what becomes of the money."""

import pytest
from charms_apps.world import CHARM_SATS, MIN_DEBT, ONE, PRICE, RESERVE, Out, World, script

from clarion.chains.bitcoin.charms.apps import AppRefusedError

BITCOIN = 10**8


@pytest.fixture
def world() -> World:
    return World()


def test_deployment_asks_every_contract(world: World) -> None:
    world.check_invariants()
    assert world.supply == 0
    assert world.state["protocol"]["active_vault_count"] == 0


def test_open_mints_to_the_owner_and_the_fee_to_its_receiver(world: World) -> None:
    draft = world.open("ann", BITCOIN, 1_000 * ONE)
    assert set(world.check(draft)) == {world.vaults, world.oracle, world.token, world.token_state}
    world.apply(draft)
    world.check_invariants()
    assert world.balance("ann") == 1_000 * ONE
    assert world.balance("treasury") == 5 * ONE
    assert world.state["protocol"]["total_debt"] == 1_005 * ONE + RESERVE


def test_a_life_of_a_vault(world: World) -> None:
    vault = world.open_vault("ann", BITCOIN, 10_000 * ONE)
    world.open_vault("bob", 3 * BITCOIN, 20_000 * ONE)
    for make in (
        lambda one: world.adjust(one, "ann", collateral=5_000_000),
        lambda one: world.adjust(one, "ann", debt=100 * ONE),
        lambda one: world.adjust(one, "ann", collateral=-1_000_000),
        lambda one: world.adjust(one, "ann", debt=-200 * ONE),
        lambda one: world.adjust(one, "ann", collateral=7, debt=ONE),
        lambda one: world.adjust(one, "bob", collateral=1_000, debt=-ONE),
    ):
        world.apply(make(vault))
        world.check_invariants()
        vault = world.vault_of("ann")
    world.apply(world.transfer("bob", [("ann", 1_000 * ONE)]))
    assert world.vault(vault)["collateral"] == BITCOIN + 5_000_000 - 1_000_000 + 7 + 1_000
    world.apply(world.close(vault, "ann"))
    world.check_invariants()
    assert world.state["protocol"]["active_vault_count"] == 1


def test_redemption_takes_its_worth_less_the_fee(world: World) -> None:
    vault = world.open_vault("ann", BITCOIN, 10_000 * ONE)
    world.open_vault("bob", BITCOIN, 10_000 * ONE)
    world.apply(world.redeem(vault, "bob", 1_000 * ONE))
    world.check_invariants()
    vault = world.vault_of("ann")
    # 1 000 zkUSD are worth 1 000 000 satoshis at 100 000, of which 0.75 % stay
    assert world.vault(vault)["collateral"] == BITCOIN - 992_500
    assert world.vault(vault)["debt"] == 9_052 * ONE


def test_redemption_of_a_whole_vault_leaves_the_rest_to_its_owner(world: World) -> None:
    vault = world.open_vault("ann", BITCOIN, 1_000 * ONE)
    world.open_vault("bob", BITCOIN, 10_000 * ONE)
    draft = world.redeem(vault, "bob", 1_005 * ONE, owner="ann")
    world.apply(draft)
    world.check_invariants()
    assert Out(script("ann"), BITCOIN - 997_462) in draft.outs


def crash(world: World) -> bytes:
    """A vault that can be liquidated, beside one that keeps the system out of recovery mode."""
    world.open_vault("bob", 10 * BITCOIN, 200_000 * ONE)
    vault = world.open_vault("ann", BITCOIN, 80_000 * ONE)
    world.move_price(85_000 * ONE)
    assert world.total_ratio() >= 150
    return vault


def test_liquidation_into_the_pool(world: World) -> None:
    world.open_vault("bob", 10 * BITCOIN, 200_000 * ONE)
    vault = world.open_vault("ann", BITCOIN, 80_000 * ONE)
    first = world.deposit("bob", 150_000 * ONE)
    world.apply(world.transfer("bob", [("cat", 50_000 * ONE)]))
    second = world.deposit("cat", 50_000 * ONE)
    world.move_price(85_000 * ONE)
    world.check_invariants()
    supply = world.supply
    world.apply(world.liquidate(vault, "dan", "ann"))
    world.check_invariants()
    assert world.balance("dan") == RESERVE
    assert world.supply == supply - 80_400 * ONE
    pool = world.data(world.pool)
    assert pool["total_btc"] == BITCOIN - 500_000
    assert pool["total_zkusd"] == 200_000 * ONE - 80_402 * ONE
    assert world.worth(first)[1] + world.worth(second)[1] in range(pool["total_btc"] - 2, pool["total_btc"] + 1)
    assert world.worth(first)[1] == pytest.approx(3 * world.worth(second)[1], abs=3)
    world.apply(world.position("bob", first, 0))
    world.check_invariants()
    world.apply(world.position("cat", second, 60_000 * ONE - 10_000 * ONE - 25_000 * ONE))
    world.check_invariants()


def test_liquidation_of_as_much_as_the_pool_can_pay(world: World) -> None:
    vault = crash(world)
    world.apply(world.position("bob", None, 1_001 * ONE))
    world.apply(world.liquidate(vault, "dan", "ann"))
    world.check_invariants()
    vault = world.vault_of("ann")
    assert world.vault(vault)["debt"] == 80_402 * ONE - 1_000 * ONE
    assert world.data(world.pool)["total_zkusd"] == ONE


def test_recovery_mode_liquidates_below_the_total_ratio_and_gives_the_surplus_back(world: World) -> None:
    vault = world.open_vault("ann", BITCOIN, 60_000 * ONE)
    world.open_vault("bob", 4 * BITCOIN, 220_000 * ONE)
    world.deposit("bob", 100_000 * ONE)
    world.move_price(78_000 * ONE)
    assert world.total_ratio() < 150
    own = world.vault(vault)["collateral"] * world.price // ONE * 100 // world.vault(vault)["debt"]
    assert 110 <= own < world.total_ratio()
    draft = world.liquidate(vault, "dan", "ann")
    assert any(out.script == script("ann") and out.sats > 10_000_000 for out in draft.outs)
    world.apply(draft)
    world.check_invariants()


def test_what_makes_a_vault_safer_goes_on_while_the_protocol_is_paused(world: World) -> None:
    vault = world.open_vault("ann", BITCOIN, 10_000 * ONE)
    world.open_vault("bob", BITCOIN, 10_000 * ONE)
    world.apply(world.govern(is_paused=True))
    with pytest.raises(AppRefusedError, match="paused"):
        world.check(world.open("cat", BITCOIN, 1_000 * ONE))
    with pytest.raises(AppRefusedError, match="paused"):
        world.check(world.adjust(vault, "ann", debt=ONE))
    with pytest.raises(AppRefusedError, match="paused"):
        world.check(world.redeem(vault, "bob", 1_000 * ONE))
    world.apply(world.adjust(vault, "ann", collateral=1_000, debt=-ONE))
    vault = world.vault_of("ann")
    world.apply(world.transfer("bob", [("ann", 1_000 * ONE)]))
    world.apply(world.close(vault, "ann"))
    world.check_invariants()


def test_transfers_of_tokens_and_deposits_ask_no_contract(world: World) -> None:
    world.open_vault("ann", BITCOIN, 10_000 * ONE)
    assert world.check(world.transfer("ann", [("bob", ONE)])) == []
    deposit = world.deposit("ann", 100 * ONE)
    data = world.utxos[deposit].charms
    draft = world.transfer("ann", [])
    draft.ins.append(deposit)
    draft.outs.append(Out(script("bob"), CHARM_SATS, dict(data)))
    draft.inputs[world.deposits] = None
    world.apply(draft)
    # who can spend it owns it
    (deposit,) = world.all(world.deposits)
    world.apply(world.position("bob", deposit, 0))
    world.check_invariants()


def test_oracle(world: World) -> None:
    world.apply(world.update_price(PRICE * 105 // 100))
    assert (world.price, world.block) == (PRICE * 105 // 100, 101)
    world.apply(world.update_price(PRICE))
    assert world.data(world.oracle)["last_valid_price"] == PRICE * 105 // 100


def test_collateral_worth_more_than_64_bits_hold(world: World) -> None:
    """Two million bitcoin at a million: 2 * 10^20 units of zkUSD."""
    world.move_price(1_000_000 * ONE)
    vault = world.open_vault("bob", BITCOIN, 10_000 * ONE)
    world.apply(world.adjust(vault, "bob", collateral=2_000_000 * BITCOIN))
    world.open_vault("ann", 3 * BITCOIN, 1_000_000 * ONE)
    world.check_invariants()


def test_least_vault(world: World) -> None:
    # the debt is the least: 7.96 received, 0.04 of fee (rounded up), 2 of reserve
    wanted = next(wanted for wanted in range(796 * ONE // 100, 8 * ONE) if wanted - (-wanted * 50 // 10_000) >= 8 * ONE)
    world.open_vault("ann", 50_000, wanted)
    world.check_invariants()
    assert world.state["protocol"]["total_debt"] >= MIN_DEBT


def test_the_pool_is_nearly_emptied_again_and_again(world: World) -> None:
    """The product falls through two scales; deposits of every age receive what they are owed, never more."""
    world.open_vault("bob", 1_000 * BITCOIN, 2_000_000 * ONE)
    world.open_vault("ann", 10 * BITCOIN, 800_000 * ONE)
    world.move_price(85_000 * ONE)
    paid = 0
    for round_ in range(8):
        world.deposit("bob", 20_000 * ONE)
        before = world.data(world.pool)
        world.apply(world.liquidate(world.vault_of("ann"), "dan", "ann"))
        world.check_invariants()
        after = world.data(world.pool)
        assert after["total_zkusd"] == ONE
        paid += after["total_btc"] - before["total_btc"]
        assert after["current_scale"] == len(after["past_sums"])
        assert after["current_scale"] >= (round_ + 1) // 3
    assert world.data(world.pool)["current_scale"] == 3
    gained = sum(world.worth(one)[1] for one in world.all(world.deposits))
    # what rounding keeps from eight deposits
    assert paid - 20 < gained <= paid
    for deposit in world.all(world.deposits):
        world.apply(world.position("bob", deposit, 0))
        world.check_invariants()
    assert world.data(world.pool)["depositor_count"] == 0
    assert world.data(world.pool)["total_btc"] < 20
