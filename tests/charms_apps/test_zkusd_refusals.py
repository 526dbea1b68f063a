"""What zkUSD's contracts refuse: attacks that are known, each as a transaction that is right but for the attack."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
from charms_apps.world import CHARM_SATS, KEYS, ONE, PRICE, RESERVE, Draft, Out, World, holder, outpoint_hash, script

from clarion.chains.bitcoin.charms.apps import AppRefusedError, SpellNotAllowedError
from clarion.chains.bitcoin.charms.spells import App

BITCOIN = 10**8


@pytest.fixture(scope="module")
def grown() -> World:
    """Vaults, a pool with two deposits, and a vault of ann's at 113 %: healthy out of recovery mode."""
    world = World()
    world.open_vault("bob", 10 * BITCOIN, 200_000 * ONE)
    world.open_vault("ann", BITCOIN, 80_000 * ONE)
    world.open_vault("cat", BITCOIN, 20_000 * ONE)
    world.deposit("bob", 100_000 * ONE)
    world.deposit("cat", 10_000 * ONE)
    world.move_price(91_000 * ONE)
    return world


@pytest.fixture
def world(grown: World) -> World:
    return copy.deepcopy(grown)


def refused(world: World, draft: Draft, why: str) -> None:
    with pytest.raises(AppRefusedError) as error:
        world.check(draft)
    assert why in error.value.reason


def protocol(world: World, draft: Draft) -> Any:
    return draft.find(world.vaults, "protocol").charms[world.vaults]["protocol"]


def falsified(world: World, draft: Draft, app: App, key: str, **changes: Any) -> Draft:
    """The draft with other figures in the charm of ``app`` that has ``key``."""
    out = draft.find(app, key)
    out.charms[app] = {**out.charms[app], **changes}
    return draft


# the price


def test_a_price_of_the_callers_own(world: World) -> None:
    draft = world.liquidate(world.vault_of("ann"), "eve", "ann")
    refused(world, draft, "the vault cannot be liquidated")
    claim = {"price": 2_000 * ONE, "timestamp_block": 1, "source": "Mock", "confidence": 100}
    draft.inputs[world.vaults] = claim
    refused(world, draft, "")
    draft.inputs[world.vaults] = "liquidate"
    draft.private[world.vaults] = claim
    refused(world, draft, "no private input")


def test_a_price_that_changes_in_the_transaction_that_uses_it(world: World) -> None:
    draft = world.liquidate(world.vault_of("ann"), "operator", "ann")
    update = world.update_price(world.price * 95 // 100)
    draft.find(world.oracle).charms = dict(update.outs[0].charms)
    draft.inputs[world.oracle] = "update"
    refused(world, draft, "the oracle changes in the transaction that uses it")


def test_an_old_price_by_reference(world: World) -> None:
    old = world.where(world.oracle)
    world.move_price(60_000 * ONE)
    draft = world.open("eve", BITCOIN, 70_000 * ONE)
    place = draft.ins.index(world.where(world.oracle))
    del draft.ins[place]
    draft.outs.remove(draft.find(world.oracle))
    del draft.inputs[world.oracle]
    draft.refs = [old]
    refused(world, draft, "the price is that of the oracle's state, which must be an input")


def test_an_oracle_of_the_callers_own(world: World) -> None:
    """Same contract, other identity: its state is real, and not the one that the vault manager knows."""
    root = world.fund("eve")
    own = App("s", outpoint_hash(root), KEYS["oracle"])
    data = copy.deepcopy(world.data(world.oracle))
    data["price"]["price"] = data["last_valid_price"] = 1_000_000 * ONE
    world.apply(Draft([root], [Out(script("scroll"), CHARM_SATS, {own: data})], {own: "deploy"}))
    draft = world.open("eve", BITCOIN, 500_000 * ONE)
    draft.ins[draft.ins.index(world.where(world.oracle))] = world.where(own)
    out = draft.find(world.oracle)
    out.charms = {own: data}
    del draft.inputs[world.oracle]
    draft.inputs[own] = "use"
    refused(world, draft, "the price is that of the oracle's state, which must be an input")


def test_an_oracle_that_is_switched_off(world: World) -> None:
    data = {**world.data(world.oracle), "is_active": False}
    switch = Draft(
        [world.fund("admin"), world.where(world.oracle)],
        [Out(script("scroll"), CHARM_SATS, {world.oracle: data})],
        {world.oracle: "govern"},
    )
    world.apply(switch)
    refused(world, world.open("eve", BITCOIN, 1_000 * ONE), "the oracle is not active")


@pytest.mark.parametrize(
    ("who", "price", "why"),
    [
        ("eve", 91_001 * ONE, "only the oracle's operator"),
        ("admin", 91_001 * ONE, "only the oracle's operator"),
        ("operator", 91_000 * ONE * 105 // 100 + 1, "5 % at most"),
        ("operator", 91_000 * ONE * 95 // 100 - 1, "5 % at most"),
        ("operator", 999 * ONE, "out of bounds"),
    ],
)
def test_updates_of_the_price(world: World, who: str, price: int, why: str) -> None:
    refused(world, world.update_price(price, who), why)


def test_an_update_of_the_price_of_no_later_block(world: World) -> None:
    draft = world.update_price(91_001 * ONE)
    draft.outs[0].charms[world.oracle]["price"]["timestamp_block"] -= 1
    refused(world, draft, "a later block")
    draft.outs[0].charms[world.oracle]["price"]["timestamp_block"] += 4_032
    world.check(draft)
    draft.outs[0].charms[world.oracle]["price"]["timestamp_block"] += 1
    refused(world, draft, "four weeks")


@pytest.mark.parametrize("change", ["operator", "admin", "is_active"])
def test_the_operator_takes_over_the_oracle(world: World, change: str) -> None:
    draft = world.update_price(91_001 * ONE)
    draft.outs[0].charms[world.oracle][change] = False if change == "is_active" else holder("eve")
    refused(world, draft, "does not change who controls")


# collateral


def test_nominal_collateral(world: World) -> None:
    draft = world.open("eve", 21_000_000 * BITCOIN, 5_000_000 * ONE)
    draft.find(world.vaults, "id").sats = 547
    refused(world, draft, "does not hold its collateral")


def test_two_vaults_in_one_coin(world: World) -> None:
    """The coins of a vault cannot count for something else too."""
    draft = world.open("eve", BITCOIN, 1_000 * ONE)
    draft.find(world.vaults, "id").charms[world.token] = ONE
    refused(world, draft, "holds the vault alone")


def test_the_pools_coins_as_collateral(world: World) -> None:
    vault = world.vault_of("bob")
    world.move_price(60_000 * ONE)
    draft = world.liquidate(world.vault_of("ann"), "eve", "ann")
    draft.find(world.pool).charms[world.vaults] = {**world.vault(vault)}
    refused(world, draft, "")


def test_someone_elses_collateral(world: World) -> None:
    draft = world.adjust(world.vault_of("bob"), "eve", collateral=-BITCOIN)
    refused(world, draft, "only the vault's owner")
    refused(world, world.adjust(world.vault_of("bob"), "eve", debt=100 * ONE), "only the vault's owner")
    world.apply(world.transfer("bob", [("eve", 20_100 * ONE)]))
    refused(world, world.close(world.vault_of("cat"), "eve"), "only the vault's owner")


def test_a_vault_that_goes_to_another_owner(world: World) -> None:
    draft = world.adjust(world.vault_of("bob"), "eve", collateral=1)
    refused(world, falsified(world, draft, world.vaults, "id", owner=holder("eve")), "becomes another one")


def test_a_simple_transfer_of_a_vault(world: World) -> None:
    """The contract runs for every spell that moves a vault, and has no operation for that."""
    vault = world.vault_of("bob")
    data = world.vault(vault)
    draft = Draft([vault], [Out(script("eve"), 547, {world.vaults: data})], {world.vaults: None})
    refused(world, draft, "")
    draft.inputs[world.vaults] = "adjust"
    refused(world, draft, "")
    # and a spell that does not list the app is refused by the protocol
    with pytest.raises(SpellNotAllowedError, match="does not list"):
        world.check(Draft([vault], [Out(script("eve"), 10 * BITCOIN)], {}))


def test_more_is_withdrawn_than_the_ratios_allow(world: World) -> None:
    refused(world, world.adjust(world.vault_of("ann"), "ann", collateral=-5_000_000), "less than 110 %")
    refused(world, world.adjust(world.vault_of("bob"), "bob", collateral=-710_000_000), "begin recovery mode")
    refused(world, world.adjust(world.vault_of("ann"), "ann", debt=3_000 * ONE), "less than 110 %")
    refused(world, world.open("eve", BITCOIN, 83_000 * ONE), "less than 110 %")
    refused(world, world.open("eve", 100 * BITCOIN, 7_500_000 * ONE), "begin recovery mode")


def test_recovery_mode(world: World) -> None:
    world.move_price(37_000 * ONE)
    assert world.total_ratio() < 150
    refused(world, world.adjust(world.vault_of("bob"), "bob", collateral=-1), "in recovery mode nothing")
    refused(world, world.open("eve", BITCOIN, 30_000 * ONE), "in recovery mode a vault is opened with 150 %")
    world.apply(world.open("eve", BITCOIN, 20_000 * ONE))
    world.apply(world.adjust(world.vault_of("bob"), "bob", collateral=1, debt=-ONE))
    world.check_invariants()


# debt and supply


@pytest.mark.parametrize("extra", [1, 10**6 * ONE])
def test_an_unbacked_mint(world: World, extra: int) -> None:
    draft = world.open("eve", BITCOIN, 1_000 * ONE)
    draft.outs.append(Out(script("eve"), CHARM_SATS, {world.token: extra}))
    refused(world, draft, "")
    state = draft.find(world.token_state)
    state.charms[world.token_state]["total_supply"] += extra
    refused(world, draft, "not that of the debt")


def test_a_mint_without_the_vault_manager(world: World) -> None:
    draft = Draft([world.fund("eve")], [Out(script("eve"), CHARM_SATS, {world.token: ONE})], {world.token: None})
    refused(world, draft, "one state of the token in the outputs")
    draft.ins.append(world.where(world.token_state))
    data = world.data(world.token_state)
    draft.outs.append(
        Out(script("scroll"), CHARM_SATS, {world.token_state: {**data, "total_supply": data["total_supply"] + ONE}})
    )
    draft.inputs[world.token_state] = None
    refused(world, draft, "only the vault manager mints and burns")
    # a state that is only referred to is no state that takes part
    draft.refs = [world.where(world.vaults, "protocol")]
    refused(world, draft, "only the vault manager mints and burns")


def test_a_burn_beside_the_vault_manager(world: World) -> None:
    draft = world.transfer("bob", [])
    draft.outs[0].charms[world.token] -= 1
    refused(world, draft, "one state of the token in the outputs")


def test_a_minter_of_the_callers_own(world: World) -> None:
    """Same contract, other identity: its vaults mint nothing here."""
    other = World()
    data = world.data(world.token_state)
    root = world.fund("eve")
    own = App("s", outpoint_hash(root), KEYS["vault_manager"])
    state = copy.deepcopy(other.state)
    world.apply(Draft([root], [Out(script("scroll"), CHARM_SATS, {own: state})], {own: "deploy"}))
    draft = Draft(
        [world.fund("eve"), world.where(world.token_state), world.where(own)],
        [
            Out(script("eve"), CHARM_SATS, {world.token: ONE}),
            Out(script("scroll"), CHARM_SATS, {world.token_state: {**data, "total_supply": world.supply + ONE}}),
            Out(script("scroll"), CHARM_SATS, {own: {**state, "fee_receiver": holder("eve")}}),
        ],
        {world.token: None, world.token_state: None, own: "govern"},
    )
    refused(world, draft, "")


def test_the_token_changes_its_minter(world: World) -> None:
    draft = world.open("eve", BITCOIN, 1_000 * ONE)
    refused(
        world,
        falsified(world, draft, world.token_state, "admin", authorized_minter=holder("eve")),
        "minter never changes",
    )


def test_a_fee_that_is_not_paid(world: World) -> None:
    draft = world.open("eve", BITCOIN, 1_000 * ONE)
    fee = next(out for out in draft.outs if out.script == script("treasury"))
    fee.script = script("eve")
    refused(world, draft, "fee is not paid")
    fee.script = script("treasury")
    fee.charms[world.token] -= 1
    draft.outs.append(Out(script("eve"), CHARM_SATS, {world.token: 1}))
    refused(world, draft, "fee is not paid")


def test_debt_below_the_least(world: World) -> None:
    refused(world, world.open("eve", BITCOIN, 7 * ONE), "the debt is below the least")
    world.apply(world.transfer("bob", [("cat", 20_000 * ONE)]))
    refused(world, world.adjust(world.vault_of("cat"), "cat", debt=-20_095 * ONE), "the debt is below the least")


@pytest.mark.parametrize("total", ["total_collateral", "total_debt", "active_vault_count"])
@pytest.mark.parametrize("wrong", [-1, 1])
def test_arbitrary_totals(world: World, total: str, wrong: int) -> None:
    world.apply(world.transfer("bob", [("cat", 20_000 * ONE)]))
    drafts: list[Callable[[], Draft]] = [
        lambda: world.open("eve", BITCOIN, 1_000 * ONE),
        lambda: world.adjust(world.vault_of("bob"), "eve", collateral=5),
        lambda: world.adjust(world.vault_of("bob"), "bob", debt=-ONE),
        lambda: world.close(world.vault_of("cat"), "cat"),
        lambda: world.redeem(world.vault_of("cat"), "bob", ONE),
    ]
    for make in drafts:
        draft = make()
        world.check(draft)
        protocol(world, draft)[total] += wrong
        refused(world, draft, "totals")


# liquidation and redemption


def test_liquidations_that_take_too_much_or_give_too_little(world: World) -> None:
    world.move_price(85_000 * ONE)
    vault = world.vault_of("ann")
    world.check(world.liquidate(vault, "eve", "ann"))

    draft = world.liquidate(vault, "eve", "ann")
    pool = draft.find(world.pool)
    pool.charms[world.pool]["total_btc"] -= 1
    pool.sats -= 1
    refused(world, draft, "")

    draft = world.liquidate(vault, "eve", "ann")
    draft.find(world.pool).sats -= 1
    refused(world, draft, "does not hold the pool's bitcoin")

    draft = world.liquidate(vault, "eve", "ann")
    del draft.inputs[world.pool]
    with pytest.raises(SpellNotAllowedError):
        world.check(draft)
    draft.inputs[world.pool] = "position"
    refused(world, draft, "")


def test_a_liquidation_without_the_pool(world: World) -> None:
    world.move_price(85_000 * ONE)
    draft = world.liquidate(world.vault_of("ann"), "eve", "ann")
    draft.ins.remove(world.where(world.pool))
    draft.outs.remove(draft.find(world.pool))
    del draft.inputs[world.pool]
    refused(world, draft, "the pool takes part")


@pytest.fixture
def recovering() -> World:
    """Recovery mode, in which ann's vault can be liquidated whole with a surplus."""
    world = World()
    world.open_vault("ann", BITCOIN, 60_000 * ONE)
    world.open_vault("bob", 4 * BITCOIN, 220_000 * ONE)
    world.deposit("bob", 60_000 * ONE)
    world.move_price(78_000 * ONE)
    return world


def test_the_surplus_of_a_liquidation_is_the_owners(recovering: World) -> None:
    world = recovering
    world.apply(world.position("bob", None, 1_000 * ONE))
    draft = world.liquidate(world.vault_of("ann"), "eve", "ann")
    world.check(draft)
    surplus = next(out for out in draft.outs if out.script == script("ann"))
    surplus.sats -= 1
    refused(world, draft, "does not receive what is left")
    surplus.sats += 1
    surplus.script = script("eve")
    refused(world, draft, "does not receive what is left")
    surplus.script = script("ann")
    world.check(draft)
    # an output that another contract could take for its payment too, or that holds something else
    draft.outs.remove(surplus)
    refused(world, draft, "does not receive what is left")
    draft.outs.append(surplus)
    refused(world, draft, "does not receive what is left")
    draft.outs.remove(surplus)
    draft.outs.insert(draft.outs.index(draft.find(world.token_state)) + 1, surplus)
    world.check(draft)
    reserve = next(out for out in draft.outs if out.script == script("eve") and out.charms)
    surplus.charms, reserve.charms = reserve.charms, {}
    refused(world, draft, "does not receive what is left")


def test_one_payment_for_vaults_of_two_instances(world: World) -> None:
    """An owner's vaults of two deployments end in one transaction, and one output pays for both: refused."""
    other = World(world.price, "another ledger")
    other.open_vault("cat", 2 * BITCOIN, 20_000 * ONE)
    other.open_vault("bob", 10 * BITCOIN, 100_000 * ONE)
    first = world.redeem(world.vault_of("cat"), "bob", 20_100 * ONE, owner="cat")
    second = other.redeem(other.vault_of("cat"), "bob", 20_100 * ONE, owner="cat")
    world.utxos |= {one: other.utxos[one] for one in second.ins}
    both = Draft(first.ins + second.ins, first.outs + second.outs, first.inputs | second.inputs)
    world.check(both)
    smaller = min((out for out in both.outs if out.script == script("cat")), key=lambda out: out.sats)
    both.outs.remove(smaller)
    refused(world, both, "does not receive what is left")


def test_recovery_mode_liquidates_only_what_the_pool_can_pay_and_what_is_below_all(recovering: World) -> None:
    world = recovering
    refused(world, world.liquidate(world.vault_of("ann"), "eve", "ann"), "which the pool cannot pay")
    world.apply(world.adjust(world.vault_of("ann"), "eve", collateral=50_000_000))
    world.apply(world.position("bob", None, 10_000 * ONE))
    refused(world, world.liquidate(world.vault_of("ann"), "eve", "ann"), "the vault cannot be liquidated")


def test_redeeming_more_than_its_worth(world: World) -> None:
    vault = world.vault_of("cat")
    world.apply(world.transfer("bob", [("eve", 1_000 * ONE)]))
    draft = world.redeem(vault, "eve", 1_000 * ONE)
    out = draft.find(world.vaults, "id")
    out.charms[world.vaults]["collateral"] -= 1
    out.sats -= 1
    protocol(world, draft)["total_collateral"] -= 1
    refused(world, draft, "another amount than its worth")


def test_redeeming_a_whole_vault_and_keeping_the_rest(world: World) -> None:
    vault = world.vault_of("cat")
    draft = world.redeem(vault, "bob", world.vault(vault)["debt"] - RESERVE, owner="cat")
    world.check(draft)
    rest = next(out for out in draft.outs if out.script == script("cat"))
    rest.script = script("eve")
    refused(world, draft, "does not receive what is left")


def test_redeeming_from_a_vault_that_can_be_liquidated(world: World) -> None:
    world.move_price(85_000 * ONE)
    refused(world, world.redeem(world.vault_of("ann"), "bob", 1_000 * ONE), "can be liquidated")


# identities


def test_a_second_state(world: World) -> None:
    """Each state of the deployment once more, by whoever spends anything but the outpoint of its identity."""
    for app in (world.oracle, world.token_state, world.vaults, world.pool):
        out = next(out for out in world.deployment.outs if app in out.charms)
        again = Draft([world.fund("eve")], [copy.deepcopy(out)], {app: world.deployment.inputs[app]})
        refused(world, again, "the identity is not that of an outpoint that is spent")


@pytest.mark.parametrize("name", list(KEYS))
def test_a_state_of_no_identity(world: World, name: str) -> None:
    apps = {"oracle": world.oracle, "token": world.token_state, "vault_manager": world.vaults}
    app = apps.get(name, world.pool)
    nobody = App("s", bytes(32), KEYS[name])
    out = copy.deepcopy(next(out for out in world.deployment.outs if app in out.charms))
    out.charms = {nobody: out.charms[app]}
    draft = Draft([world.fund("eve")], [out], {nobody: world.deployment.inputs[app]})
    refused(world, draft, "the identity is not that of an outpoint that is spent")


def test_two_states_at_once() -> None:
    world = World.__new__(World)
    with pytest.raises(AppRefusedError, match="there is one state of the vault manager"):
        Twice.deploy(world)


class Twice(World):
    """A deployment that makes a state twice."""

    @staticmethod
    def deploy(world: World) -> None:
        world.__class__ = Twice
        world.__init__()  # type: ignore[misc]

    def _deployment(self, price: int) -> Draft:
        draft = super()._deployment(price)
        draft.outs.append(copy.deepcopy(draft.outs[2]))
        return draft


def test_a_state_is_not_left_out(world: World) -> None:
    draft = world.adjust(world.vault_of("bob"), "bob", collateral=5)
    draft.outs.remove(draft.find(world.vaults, "protocol"))
    refused(world, draft, "one state of the vault manager in the outputs")
    draft = world.adjust(world.vault_of("bob"), "bob", collateral=5)
    draft.ins.remove(world.where(world.vaults, "protocol"))
    refused(world, draft, "one state of the vault manager in the inputs")


def test_vaults_of_the_same_id(world: World) -> None:
    draft = world.open("eve", BITCOIN, 1_000 * ONE)
    taken = world.vault(world.vault_of("bob"))["id"]
    refused(world, falsified(world, draft, world.vaults, "id", id=taken), "the vault's id")


def test_two_vaults_at_once(world: World) -> None:
    draft = world.open("eve", BITCOIN, 1_000 * ONE)
    draft.outs.append(copy.deepcopy(draft.find(world.vaults, "id")))
    refused(world, draft, "one vault at a time")


def test_charms_of_other_tags(world: World) -> None:
    for app, key in ((world.oracle, "oracle"), (world.vaults, "vault_manager"), (world.pool, "stability_pool")):
        for tag in "bx":
            other = App(tag, app.identity, KEYS[key])
            draft = Draft([world.fund("eve")], [Out(script("eve"), CHARM_SATS, {other: 1})], {other: None})
            refused(world, draft, "the tag")


# governing


@pytest.mark.parametrize(
    "changes",
    [{"is_paused": True}, {"admin": holder("eve")}, {"fee_receiver": holder("eve")}],
)
def test_governing_is_the_admins(world: World, changes: dict[str, Any]) -> None:
    world.check(world.govern(**changes))
    refused(world, world.govern("eve", **changes), "only the admin governs")
    draft = world.adjust(world.vault_of("bob"), "admin", collateral=5)
    state = draft.find(world.vaults, "protocol").charms
    state[world.vaults] = world.govern(**changes).outs[0].charms[world.vaults] | {
        "protocol": {**protocol(world, draft), **{k: v for k, v in changes.items() if k != "fee_receiver"}}
    }
    refused(world, draft, "only governing changes")


@pytest.mark.parametrize(
    "changes",
    [
        {"total_debt": 0},
        {"total_collateral": 0},
        {"min_debt": 3 * ONE},
        {"liquidation_reserve": ONE},
        {"price_oracle_id": holder("eve")},
        {"stability_pool_vk": holder("eve")},
        {"zkusd_token_id": holder("eve")},
        {"base_rate": 1},
        {"admin": [0] * 32},
    ],
)
def test_the_admin_governs_nothing_else(world: World, changes: dict[str, Any]) -> None:
    refused(world, world.govern(**changes), "")


# the pool


def test_someone_elses_deposit_cannot_be_named(world: World) -> None:
    """A deposit is taken out by spending it; without it nothing can be taken."""
    deposit = world.all(world.deposits)[0]
    draft = world.position("eve", deposit, 0)
    draft.ins.remove(deposit)
    refused(world, draft, "one deposit at a time")


def test_withdrawing_more_than_is_left(world: World) -> None:
    world.move_price(85_000 * ONE)
    world.apply(world.liquidate(world.vault_of("ann"), "dan", "ann"))
    bob, _ = world.all(world.deposits)
    left, gained = world.worth(bob)
    assert 0 < left < 100_000 * ONE
    assert gained > 0
    world.check(world.position("bob", bob, 0))
    for tokens, coins in ((1, 0), (0, 1)):
        draft = world.position("bob", bob, 0)
        pool = draft.find(world.pool)
        pool.charms[world.pool]["total_zkusd"] -= tokens
        pool.charms[world.token] -= tokens
        next(out for out in draft.outs if out.script == script("bob") and world.token in out.charms).charms[
            world.token
        ] += tokens
        pool.charms[world.pool]["total_btc"] -= coins
        pool.sats -= coins
        refused(world, draft, "changes by what the deposit")


@pytest.mark.parametrize("key", ["snapshot_p", "snapshot_s", "snapshot_scale", "initial_value"])
def test_a_deposit_with_snapshots_of_its_own(world: World, key: str) -> None:
    world.apply(world.transfer("bob", [("eve", 1_000 * ONE)]))
    draft = world.position("eve", None, 1_000 * ONE)
    draft.find(world.deposits).charms[world.deposits][key] += 1
    refused(world, draft, "")
    if key == "snapshot_p":
        draft.find(world.deposits).charms[world.deposits][key] -= 2
        refused(world, draft, "snapshots are those of the pool")


def test_a_deposit_of_less_than_one(world: World) -> None:
    refused(world, world.position("bob", None, ONE - 1), "one zkUSD at least")


def test_the_pool_pays_for_nothing(world: World) -> None:
    """An offset without a liquidation, and one with another operation of the vault manager."""
    pool = world.data(world.pool)
    draft = Draft([world.fund("eve"), world.where(world.pool)], [], {world.pool: "offset"})
    world._pool_out(draft, world.offset_pool(pool, ONE, 1))
    draft.outs.append(Out(script("eve"), CHARM_SATS, {world.token: ONE}))
    refused(world, draft, "only a liquidation")
    with_vault = world.adjust(world.vault_of("bob"), "bob", collateral=5)
    draft.ins += with_vault.ins
    draft.outs += with_vault.outs
    draft.inputs |= with_vault.inputs
    refused(world, draft, "only a liquidation")


def test_deposit_and_offset_at_once(world: World) -> None:
    world.move_price(85_000 * ONE)
    draft = world.liquidate(world.vault_of("ann"), "eve", "ann")
    deposit = world.all(world.deposits)[0]
    draft.ins.append(deposit)
    draft.inputs[world.deposits] = None
    refused(world, draft, "a liquidation changes no deposit")


def test_rounding_farms_nothing(world: World) -> None:
    """Taking a deposit out and putting it in again, and splitting it, never gives more."""
    world.move_price(85_000 * ONE)
    world.apply(world.liquidate(world.vault_of("ann"), "dan", "ann"))
    cat = world.all(world.deposits)[1]
    left, gained = world.worth(cat)
    taken = 0
    for _ in range(5):
        pool_coins = world.data(world.pool)["total_btc"]
        value = world.worth(cat)[0]
        world.apply(world.position("cat", cat, value))
        taken += pool_coins - world.data(world.pool)["total_btc"]
        cat = world.all(world.deposits)[1]
        world.check_invariants()
    assert (world.worth(cat)[0], taken) == (left, gained)


def test_redeeming_in_small_pieces_gives_no_more(world: World) -> None:
    whole = ONE // 100 * 7
    piece = whole // 7
    worth = whole * ONE // world.price
    at_once = worth - -(-worth * 75 // 10_000)
    taken = 0
    for _ in range(7):
        before = world.vault(world.vault_of("cat"))["collateral"]
        world.apply(world.redeem(world.vault_of("cat"), "bob", piece))
        taken += before - world.vault(world.vault_of("cat"))["collateral"]
    assert taken <= at_once
    assert world.price < PRICE
