"""Every check of every contract, on its own: a transaction that is right but for that, and only that contract asked."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
from charms_apps.world import BY_KEY, CHARM_SATS, ONE, Draft, Out, World, holder, script

from clarion.chains.bitcoin.charms.apps import AppRefusedError, run_app
from clarion.chains.bitcoin.charms.spells import App

BITCOIN = 10**8
ZERO = [0] * 32


@pytest.fixture(scope="module")
def grown() -> World:
    """Vaults, a pool in its second scale, and a vault of ann's that can be liquidated."""
    world = World()
    world.open_vault("bob", 1_000 * BITCOIN, 2_000_000 * ONE)
    world.open_vault("ann", 10 * BITCOIN, 800_000 * ONE)
    world.move_price(85_000 * ONE)
    for _ in range(3):
        world.deposit("bob", 20_000 * ONE)
        world.apply(world.liquidate(world.vault_of("ann"), "dan", "ann"))
    world.deposit("bob", 20_000 * ONE)
    assert world.data(world.pool)["current_scale"] == 1
    return world


@pytest.fixture
def world(grown: World) -> World:
    return copy.deepcopy(grown)


def asked(world: World, app: App, draft: Draft) -> None:
    tx = world.transaction(draft)
    run_app(BY_KEY[app.vk], app, tx, tx.public_inputs[app])


def refused(world: World, app: App, draft: Draft, why: str) -> None:
    with pytest.raises(AppRefusedError) as error:
        asked(world, app, draft)
    assert why in error.value.reason


def edited(data: Any, **changes: Any) -> Any:
    """A copy of a charm with other values; ``__`` goes one level down."""
    copied = copy.deepcopy(data)
    for path, value in changes.items():
        *above, last = path.split("__")
        target = copied
        for key in above:
            target = target[key]
        assert last in target
        target[last] = value
    return copied


# deployments


@pytest.fixture
def fresh() -> World:
    """Before the deployment: its outpoints are unspent, and its draft is there to falsify."""
    world = World()
    world.utxos |= {root: world.spent[root] for root in world.roots}
    return world


@pytest.mark.parametrize(
    ("name", "changes", "why"),
    [
        ("oracle", {"last_valid_price": 1}, "begins with the price"),
        ("oracle", {"price__price": 999 * ONE, "last_valid_price": 999 * ONE}, "out of bounds"),
        ("oracle", {"price__price": 10_000_001 * ONE, "last_valid_price": 10_000_001 * ONE}, "out of bounds"),
        ("oracle", {"price__confidence": 101}, "above 100"),
        ("oracle", {"price__source": "Nowhere"}, "source is unknown"),
        ("oracle", {"operator": ZERO}, "no operator or no admin"),
        ("oracle", {"admin": ZERO}, "no operator or no admin"),
        ("token_state", {"total_supply": 1}, "begins without a supply"),
        ("token_state", {"admin": holder("eve")}, "has no admin"),
        ("token_state", {"authorized_minter": ZERO}, "has no minter"),
        ("vaults", {"protocol__total_debt": 1}, "begins without vaults"),
        ("vaults", {"protocol__total_collateral": 1}, "begins without vaults"),
        ("vaults", {"protocol__active_vault_count": 1}, "begins without vaults"),
        ("vaults", {"protocol__admin": ZERO}, "an admin and a fee receiver"),
        ("vaults", {"fee_receiver": ZERO}, "an admin and a fee receiver"),
        ("vaults", {"zkusd_token_id": ZERO}, "a sister app is missing"),
        ("vaults", {"stability_pool_vk": ZERO}, "a sister app is missing"),
        ("vaults", {"price_oracle_vk": ZERO}, "a sister app is missing"),
        ("vaults", {"liquidation_reserve": ONE - 1}, "least debt is too small"),
        ("vaults", {"min_debt": 3 * ONE - 1}, "least debt is too small"),
        ("vaults", {"min_debt": 10_000_000 * ONE + 1}, "least debt is above the most"),
        ("vaults", {"protocol__base_rate": 1}, "base rate is zero"),
        ("vaults", {"protocol__last_fee_update_block": 1}, "never updated"),
        ("vaults", {"active_pool": holder("eve")}, "no active pool"),
        ("vaults", {"default_pool": holder("eve")}, "no default pool"),
        ("pool", {"admin": holder("eve")}, "has no admin"),
        ("pool", {"depositor_count": 1}, "begins empty"),
        ("pool", {"product_p": 10**18 - 1}, "begins with one"),
        ("pool", {"sum_s": 1}, "begins with one"),
        ("pool", {"current_epoch": 1}, "one epoch"),
        ("pool", {"current_scale": 1}, "a sum of every scale"),
        ("pool", {"current_scale": 1, "past_sums": [0]}, "begins empty"),
        ("pool", {"total_zkusd": 1}, "does not hold the pool's zkUSD"),
        ("pool", {"total_btc": 1}, "does not hold the pool's bitcoin"),
    ],
)
def test_deployments(fresh: World, name: str, changes: dict[str, Any], why: str) -> None:
    app = getattr(fresh, name)
    draft = fresh.deployment
    asked(fresh, app, draft)
    out = draft.find(app)
    out.charms[app] = edited(out.charms[app], **changes)
    refused(fresh, app, draft, why)


@pytest.mark.parametrize("name", ["oracle", "token_state", "vaults", "pool"])
def test_a_deployment_of_what_exists(fresh: World, name: str) -> None:
    """It cannot come to that, for the outpoint is spent; the contracts say so all the same."""
    app = getattr(fresh, name)
    draft = fresh.deployment
    draft.ins.append(next(one for one in fresh.all(app)))
    why = "only the vault manager" if name == "token_state" else "deployed already"
    refused(fresh, app, draft, why)


@pytest.mark.parametrize(("name", "tag"), [("oracle", "n"), ("vaults", "n"), ("pool", "b"), ("token_state", "b")])
def test_states_of_other_tags(fresh: World, name: str, tag: str) -> None:
    app = getattr(fresh, name)
    other = App(tag, app.identity, app.vk)
    draft = fresh.deployment
    out = draft.find(app)
    out.charms = {other: out.charms[app]}
    draft.inputs[other] = draft.inputs.pop(app)
    refused(fresh, other, draft, "the tag")


def test_deployments_with_more_than_the_states(fresh: World) -> None:
    world, draft = fresh, fresh.deployment
    description = draft.find(world.description)
    draft.outs.append(copy.deepcopy(description))
    refused(world, world.token_state, draft, "one description at most")
    draft.outs.pop()
    minted = Out(script("eve"), CHARM_SATS, {world.token: 1})
    draft.outs.append(minted)
    draft.inputs[world.token] = None
    refused(world, world.token_state, draft, "begins without a supply")
    refused(world, world.token, draft, "begins without a supply")
    draft.outs.remove(minted)
    draft.ins.append(world.where(world.description))
    refused(world, world.description, draft, "stands in the inputs")
    draft.ins.pop()
    pool = world.data(world.pool)
    deposit = {
        "owner": holder("eve"),
        "initial_value": ONE,
        "snapshot_p": pool["product_p"],
        "snapshot_s": 0,
        "snapshot_epoch": 0,
        "snapshot_scale": 0,
        "last_updated": 0,
    }
    draft.outs.append(Out(script("eve"), CHARM_SATS, {world.deposits: deposit}))
    refused(world, world.pool, draft, "begins without deposits")
    draft.outs.pop()
    draft.find(world.pool).sats += 5
    draft.find(world.pool).charms[world.pool]["total_btc"] = 5
    refused(world, world.pool, draft, "begins empty")


def test_a_vault_in_the_deployment(fresh: World) -> None:
    fresh.apply(fresh.open("eve", BITCOIN, 1_000 * ONE))
    vault = fresh.vault(fresh.vault_of("eve"))
    fresh.deployment.outs.append(Out(script("scroll"), BITCOIN, {fresh.vaults: vault}))
    refused(fresh, fresh.vaults, fresh.deployment, "begins without vaults")


# the oracle


def govern_oracle(world: World, who: str = "admin", **changes: Any) -> Draft:
    data = edited(world.data(world.oracle), **changes)
    return Draft(
        [world.fund(who), world.where(world.oracle)],
        [Out(script("scroll"), CHARM_SATS, {world.oracle: data})],
        {world.oracle: "govern"},
    )


def test_governing_the_oracle(world: World) -> None:
    asked(world, world.oracle, govern_oracle(world, operator=holder("new"), admin=holder("newer"), is_active=False))
    for who in ("eve", "operator"):
        refused(world, world.oracle, govern_oracle(world, who, is_active=False), "only the oracle's admin")
    price = world.price
    for change in (
        {"price__price": price + 1},
        {"price__timestamp_block": world.block + 1},
        {"price__confidence": 1},
        {"price__source": "DIA"},
        {"last_valid_price": price},
    ):
        refused(world, world.oracle, govern_oracle(world, **change), "does not change its price")


def test_an_update_forgets_the_price_before(world: World) -> None:
    draft = world.update_price(world.price + 1)
    draft.outs[0].charms[world.oracle] = edited(draft.outs[0].charms[world.oracle], last_valid_price=world.price + 1)
    refused(world, world.oracle, draft, "the one before")


@pytest.mark.parametrize("bound", [1_000 * ONE, 10_000_000 * ONE])
def test_an_update_beyond_the_bounds(world: World, bound: int) -> None:
    world.move_price(bound)
    step = -1 if bound == 1_000 * ONE else 1
    refused(world, world.oracle, world.update_price(bound + step), "out of bounds")


# the token


def test_the_token_takes_no_input(world: World) -> None:
    draft = world.open("eve", BITCOIN, 1_000 * ONE)
    for app in (world.token, world.token_state):
        draft.inputs[app] = "mint"
        refused(world, app, draft, "no public input")
        draft.inputs[app] = None


def test_another_description(world: World) -> None:
    draft = world.open("eve", BITCOIN, 1_000 * ONE)
    draft.outs.append(Out(script("eve"), CHARM_SATS, {world.description: {"name": "other"}}))
    draft.inputs[world.description] = None
    refused(world, world.description, draft, "stays as it is")


def test_the_supply_is_counted(world: World) -> None:
    for change in (-1, 1):
        draft = world.open("eve", BITCOIN, 1_000 * ONE)
        state = draft.find(world.token_state)
        state.charms[world.token_state] = edited(
            state.charms[world.token_state], total_supply=world.supply + 1_005 * ONE + change
        )
        refused(world, world.token_state, draft, "the supply is not the sum")
        refused(world, world.token, draft, "the supply is not the sum")


def test_the_minter_takes_part_on_both_sides(world: World) -> None:
    draft = world.open("eve", BITCOIN, 1_000 * ONE)
    state = world.where(world.vaults, "protocol")
    draft.ins.remove(state)
    refused(world, world.token, draft, "only the vault manager")
    draft.ins.append(state)
    for out in [out for out in draft.outs if world.vaults in out.charms]:
        draft.outs.remove(out)
    refused(world, world.token, draft, "only the vault manager")


# the pool


def test_deposits_take_no_input(world: World) -> None:
    draft = world.position("bob", None, 5 * ONE)
    draft.inputs[world.deposits] = "position"
    refused(world, world.deposits, draft, "no public input")


def test_the_pools_output_holds_nothing_else(world: World) -> None:
    draft = world.position("bob", None, 5 * ONE)
    draft.find(world.pool).charms[world.description] = 1
    refused(world, world.pool, draft, "alone")


def test_deposits_one_at_a_time(world: World) -> None:
    draft = world.position("bob", None, 5 * ONE)
    made = draft.find(world.deposits)
    draft.outs.append(copy.deepcopy(made))
    refused(world, world.pool, draft, "one deposit at a time")
    draft.outs = [out for out in draft.outs if world.deposits not in out.charms]
    refused(world, world.pool, draft, "one deposit at a time")
    first, second = world.all(world.deposits)[:2]
    draft = world.position("bob", first, 0)
    draft.ins.append(second)
    refused(world, world.pool, draft, "one deposit at a time")


def pool_out(world: World, draft: Draft, **changes: Any) -> Draft:
    out = draft.find(world.pool)
    out.charms[world.pool] = edited(out.charms[world.pool], **changes)
    state = out.charms[world.pool]
    out.charms[world.token] = state["total_zkusd"]
    out.sats = 1_000 + state["total_btc"]
    return draft


def liquidation(world: World) -> Draft:
    return world.liquidate(world.vault_of("ann"), "dan", "ann")


def test_what_a_position_leaves_of_the_pool(world: World) -> None:
    deposit = world.all(world.deposits)[-1]
    makes: list[Callable[[], Draft]] = [
        lambda: world.position("bob", None, 5 * ONE),
        lambda: world.position("bob", deposit, 0),
        lambda: world.position("bob", deposit, 7 * ONE),
    ]
    for make in makes:
        after = make().find(world.pool).charms[world.pool]
        asked(world, world.pool, make())
        for key, why in (
            ("total_zkusd", "zkUSD changes by what"),
            ("total_btc", "bitcoin changes by what"),
            ("depositor_count", "counts its deposits"),
            ("product_p", "shares of others"),
            ("sum_s", "shares of others"),
        ):
            for change in (-1, 1):
                if after[key] + change >= 0:
                    refused(world, world.pool, pool_out(world, make(), **{key: after[key] + change}), why)
        other = [after["past_sums"][0] + 1]
        refused(world, world.pool, pool_out(world, make(), past_sums=other), "shares of others")
        refused(world, world.pool, pool_out(world, make(), past_sums=[]), "a sum of every scale")
        refused(world, world.pool, pool_out(world, make(), vault_manager_id=holder("eve")), "sister apps never change")


def test_what_an_offset_leaves_of_the_pool(world: World) -> None:
    before = world.data(world.pool)
    after = liquidation(world).find(world.pool).charms[world.pool]
    asked(world, world.pool, liquidation(world))
    for key, why in (
        ("product_p", "the pool's product"),
        ("sum_s", "the pool's sum"),
        ("depositor_count", "changes no deposit"),
    ):
        for change in (-1, 1):
            refused(world, world.pool, pool_out(world, liquidation(world), **{key: after[key] + change}), why)
    changes = {"total_zkusd": before["total_zkusd"]}
    refused(world, world.pool, pool_out(world, liquidation(world), **changes), "takes zkUSD from the pool")
    refused(world, world.pool, pool_out(world, liquidation(world), total_zkusd=ONE - 1), "leaves one zkUSD")
    changes = {"total_btc": before["total_btc"]}
    refused(world, world.pool, pool_out(world, liquidation(world), **changes), "brings bitcoin")
    changed = [after["past_sums"][0] + 1, *after["past_sums"][1:]]
    refused(world, world.pool, pool_out(world, liquidation(world), past_sums=changed), "past scales never change")
    refused(
        world,
        world.pool,
        pool_out(
            world,
            liquidation(world),
            current_scale=after["current_scale"] + 1,
            past_sums=[*after["past_sums"], after["sum_s"]],
            sum_s=0,
        ),
        "the pool's scale",
    )


def test_a_scale_begins_without_a_sum(world: World) -> None:
    while True:
        draft = liquidation(world)
        after = draft.find(world.pool).charms[world.pool]
        if after["current_scale"] == 2:
            break
        world.apply(draft)
        world.deposit("bob", 20_000 * ONE)
    asked(world, world.pool, draft)
    refused(world, world.pool, pool_out(world, draft, sum_s=1), "begins without a sum")


# the vault manager


def vault_out(world: World, draft: Draft, **changes: Any) -> Draft:
    out = draft.find(world.vaults, "id")
    out.charms[world.vaults] = edited(out.charms[world.vaults], **changes)
    return draft


def test_only_the_vault_manager_looks_at_it(world: World) -> None:
    draft = world.open("eve", BITCOIN, 1_000 * ONE)
    draft.find(world.vaults, "id").charms[world.description] = 1
    refused(world, world.vaults, draft, "holds the vault alone")
    for key in ("id", "protocol"):
        draft = world.open("eve", BITCOIN, 1_000 * ONE)
        draft.find(world.vaults, key).script = b"\x61" + bytes(28)
        refused(world, world.vaults, draft, "no output of Scrolls")
    draft = world.open("eve", BITCOIN, 1_000 * ONE)
    out = draft.find(world.oracle)
    out.charms[world.oracle] = edited(out.charms[world.oracle], price__confidence=1)
    refused(world, world.vaults, draft, "the oracle changes")


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"owner": holder("zed")}, "only the vault's owner"),
        ({"id": holder("zed")}, "the vault's id"),
        ({"created_at": 1}, "blocks are the oracle's"),
        ({"last_updated": 1}, "blocks are the oracle's"),
        ({"status": "Closed"}, "is active"),
        ({"interest_rate_bps": 1}, "not in use"),
        ({"accrued_interest": 1}, "not in use"),
        ({"redistributed_debt": 1}, "not in use"),
        ({"redistributed_collateral": 1}, "not in use"),
        ({"insurance_balance": 1}, "not in use"),
    ],
)
def test_what_an_opened_vault_says(world: World, changes: dict[str, Any], why: str) -> None:
    draft = vault_out(world, world.open("eve", BITCOIN, 1_000 * ONE), **changes)
    refused(world, world.vaults, draft, why)


@pytest.mark.parametrize("key", ["id", "owner", "created_at", "last_updated"])
def test_what_an_adjusted_vault_keeps(world: World, key: str) -> None:
    value = holder("zed") if key in ("id", "owner") else 1
    why = "blocks are the oracle's" if key == "last_updated" else "becomes another one"
    makes: list[Callable[[], Draft]] = [
        lambda: world.adjust(world.vault_of("bob"), "bob", collateral=5),
        lambda: world.adjust(world.vault_of("bob"), "bob", collateral=-5),
        lambda: world.redeem(world.vault_of("bob"), "bob", 5 * ONE),
        lambda: liquidation(world),
    ]
    for make in makes:
        asked(world, world.vaults, make())
        refused(world, world.vaults, vault_out(world, make(), **{key: value}), why)


def test_bounds_of_vaults(world: World) -> None:
    refused(world, world.vaults, world.open("eve", 1_000 * BITCOIN, 9_999_999 * ONE), "the debt is above the most")
    refused(world, world.vaults, world.adjust(world.vault_of("bob"), "bob", collateral=0), "nothing of the vault")
    world.move_price(2_000_000 * ONE)
    refused(world, world.vaults, world.open("eve", 9_999, 10 * ONE), "the collateral is below the least")
    asked(world, world.vaults, world.open("eve", 10_000, 10 * ONE))


def test_a_vault_is_not_spent_to_open_another(world: World) -> None:
    draft = world.open("eve", 100 * BITCOIN, 1_000 * ONE)
    vault = world.vault_of("bob")
    data = world.vault(vault)
    draft.ins.append(vault)
    out = draft.find(world.vaults, "protocol")
    totals = out.charms[world.vaults]["protocol"]
    out.charms[world.vaults] = edited(
        out.charms[world.vaults],
        protocol__total_collateral=totals["total_collateral"] - data["collateral"],
        protocol__total_debt=totals["total_debt"] - data["debt"],
        protocol__active_vault_count=totals["active_vault_count"] - 1,
    )
    refused(world, world.vaults, draft, "is not an input")


def test_vaults_that_are_missing(world: World) -> None:
    for name in ("adjust", "close", "redeem", "liquidate"):
        draft = Draft([world.fund("bob")], [], {world.vaults: name, world.pool: "offset"})
        world._totals(draft, 0, 0, 0)
        world._use_oracle(draft)
        refused(world, world.vaults, draft, "one vault in the inputs")
    draft = Draft([world.fund("bob")], [], {world.vaults: "open"})
    world._totals(draft, 0, 0, 0)
    refused(world, world.vaults, draft, "one vault in the outputs")


def test_governing_touches_nothing_else(world: World) -> None:
    draft = world.govern(is_paused=True)
    vault = world.vault_of("bob")
    draft.ins.append(vault)
    draft.outs.append(Out(script("scroll"), world.vault(vault)["collateral"], {world.vaults: world.vault(vault)}))
    refused(world, world.vaults, draft, "governing touches no vault")
    for key in ("total_debt", "total_collateral", "active_vault_count"):
        draft = world.govern(**{key: 5})
        refused(world, world.vaults, draft, "governing touches no vault")
    refused(world, world.vaults, world.govern(fee_receiver=ZERO), "an admin and a fee receiver")
    refused(world, world.vaults, world.govern(min_debt=5 * ONE), "never change")


def test_supply_of_every_operation(world: World) -> None:
    """The vault manager alone sees what is minted and burned."""
    world.apply(world.transfer("bob", [("ann", 800_000 * ONE)]))
    for make in (
        lambda: world.open("eve", BITCOIN, 1_000 * ONE),
        lambda: world.adjust(world.vault_of("bob"), "bob", debt=5 * ONE),
        lambda: world.adjust(world.vault_of("bob"), "bob", debt=-5 * ONE),
        lambda: world.close(world.vault_of("ann"), "ann"),
        lambda: world.redeem(world.vault_of("bob"), "bob", 5 * ONE),
        lambda: liquidation(world),
    ):
        asked(world, world.vaults, make())
        for change in (-1, 1):
            draft = make()
            token = [out for out in draft.outs if world.token in out.charms][-1]
            token.charms[world.token] += change
            refused(world, world.vaults, draft, "not that of the debt")


def test_liquidations_by_the_vault_managers_own_sight(world: World) -> None:
    pool = liquidation(world).find(world.pool).charms[world.pool]
    for key, why in (("total_zkusd", "does not pay the debt"), ("total_btc", "does not receive the collateral")):
        for change in (-1, 1):
            draft = pool_out(world, liquidation(world), **{key: pool[key] + change})
            refused(world, world.vaults, draft, why)
    # the pool pays more than the debt, and somebody has it
    draft = pool_out(world, liquidation(world), total_zkusd=pool["total_zkusd"] - 1)
    draft.outs.append(Out(script("dan"), CHARM_SATS, {world.token: 1}))
    refused(world, world.vaults, draft, "does not pay the debt")
    for key in ("collateral", "debt"):
        draft = liquidation(world)
        vault = draft.find(world.vaults, "id")
        changed = vault.charms[world.vaults][key] - 1
        vault_out(world, draft, **{key: changed})
        state = draft.find(world.vaults, "protocol")
        total = f"total_{key}"
        state.charms[world.vaults] = edited(
            state.charms[world.vaults], **{f"protocol__{total}": state.charms[world.vaults]["protocol"][total] - 1}
        )
        if key == "collateral":
            vault.sats -= 1
        refused(world, world.vaults, draft, "keeps what the pool did not pay")
    draft = liquidation(world)
    vault = draft.find(world.vaults, "id")
    state = draft.find(world.vaults, "protocol")
    protocol = state.charms[world.vaults]["protocol"]
    made = vault.charms[world.vaults]
    draft.outs.remove(vault)
    state.charms[world.vaults] = edited(
        state.charms[world.vaults],
        protocol__total_collateral=protocol["total_collateral"] - made["collateral"],
        protocol__total_debt=protocol["total_debt"] - made["debt"],
        protocol__active_vault_count=protocol["active_vault_count"] - 1,
    )
    refused(world, world.vaults, draft, "one vault in the outputs")


def recount(world: World, draft: Draft) -> Draft:
    """The totals of a draft as its vaults are, whatever it does."""
    spent = [world.vault(one) for one in draft.ins if "id" in world.utxos[one].charms.get(world.vaults, {})]
    made = [out.charms[world.vaults] for out in draft.outs if "id" in out.charms.get(world.vaults, {})]
    before = world.state["protocol"]
    state = draft.find(world.vaults, "protocol")
    totals = {
        f"protocol__total_{key}": before[f"total_{key}"] + sum(v[key] for v in made) - sum(v[key] for v in spent)
        for key in ("collateral", "debt")
    }
    count = before["active_vault_count"] + len(made) - len(spent)
    state.charms[world.vaults] = edited(state.charms[world.vaults], protocol__active_vault_count=count, **totals)
    return draft


def test_vaults_that_end_and_go_on(world: World) -> None:
    world.apply(world.transfer("bob", [("ann", 800_000 * ONE)]))
    makes: list[Callable[[], Draft]] = [
        lambda: world.close(world.vault_of("ann"), "ann"),
        lambda: world.liquidate(world.vault_of("cat"), "dan", "cat"),
    ]
    world.open_vault("cat", BITCOIN, 15_000 * ONE)
    world.apply(world.transfer("ann", [("bob", 60_000 * ONE)]))
    world.apply(world.position("bob", None, 50_000 * ONE))
    world.apply(world.adjust(world.vault_of("cat"), "cat", collateral=-80_000_000))
    world.move_price(80_000 * ONE)
    for make in makes:
        asked(world, world.vaults, make())
        draft = make()
        vault = next(one for one in draft.ins if world.vaults in world.utxos[one].charms)
        draft.outs.append(Out(script("scroll"), world.vault(vault)["collateral"], {world.vaults: world.vault(vault)}))
        refused(world, world.vaults, recount(world, draft), "is not an output")
        for change in (-1, 1):
            draft = make()
            token = [out for out in draft.outs if world.token in out.charms][-1]
            token.charms[world.token] += change
            refused(world, world.vaults, draft, "not that of the debt")


def test_recovery_mode_mints_nothing_even_where_it_ends(world: World) -> None:
    world.move_price(4_000 * ONE)
    assert world.total_ratio() < 150
    draft = world.adjust(world.vault_of("bob"), "bob", collateral=1_000 * BITCOIN, debt=ONE)
    refused(world, world.vaults, draft, "in recovery mode nothing")


def test_a_redemption_of_nothing(world: World) -> None:
    refused(world, world.vaults, world.redeem(world.vault_of("bob"), "bob", 0), "a redemption pays debt")


def test_redeeming_down_to_the_least_debt() -> None:
    world = World()
    world.open_vault("bob", 10 * BITCOIN, 100_000 * ONE)
    vault = world.open_vault("ann", BITCOIN, 1_000 * ONE)
    most = world.vault(vault)["debt"] - 10 * ONE
    asked(world, world.vaults, world.redeem(vault, "bob", most))
    refused(world, world.vaults, world.redeem(vault, "bob", most + 1), "the debt is below the least")


def test_no_redemptions_where_all_together_are_worth_too_little() -> None:
    world = World()
    world.open_vault("bob", 10 * BITCOIN, 600_000 * ONE)
    vault = world.open_vault("ann", BITCOIN, 1_000 * ONE)
    world.move_price(60_000 * ONE)
    assert world.total_ratio() < 110
    refused(world, world.vaults, world.redeem(vault, "bob", 5 * ONE), "all vaults together")


def test_what_the_pool_can_pay() -> None:
    """At least one zkUSD, down to the least debt; the whole of it in recovery mode."""
    world = World()
    world.open_vault("bob", 10 * BITCOIN, 100_000 * ONE)
    vault = world.open_vault("ann", BITCOIN, 80_000 * ONE)
    deposit = world.deposit("bob", 2 * ONE - 1)
    world.move_price(85_000 * ONE)
    refused(world, world.vaults, world.liquidate(vault, "dan", "ann"), "the pool cannot pay the debt")
    world.apply(world.position("bob", deposit, 2 * ONE))
    asked(world, world.vaults, world.liquidate(vault, "dan", "ann"))

    small = World()
    small.open_vault("bob", 10 * BITCOIN, 100_000 * ONE)
    vault = small.open_vault("ann", 13_000, 8 * ONE)
    small.deposit("bob", 9 * ONE)
    small.move_price(82_000 * ONE)
    debt = small.vault(vault)["debt"]
    assert 9 * ONE - ONE < debt < 11 * ONE
    refused(small, small.vaults, small.liquidate(vault, "dan", "ann"), "the pool cannot pay the debt")


def test_what_is_left_of_a_vault_is_an_output_that_bitcoin_relays() -> None:
    for collateral, relayed in ((54_000, False), (55_000, True)):
        world = World(3_000_000 * ONE)
        world.open_vault("bob", 10 * BITCOIN, 100_000 * ONE)
        vault = world.open_vault("ann", collateral, 1_000 * ONE)
        # it can pay down to the least debt, and not all
        world.deposit("bob", 1_000 * ONE)
        world.move_price(2_000_000 * ONE * 54_000 // collateral)
        draft = world.liquidate(vault, "dan", "ann")
        assert draft.find(world.vaults, "id").charms[world.vaults]["debt"] == 10 * ONE
        if relayed:
            asked(world, world.vaults, draft)
        else:
            refused(world, world.vaults, draft, "too little for an output")


@pytest.mark.parametrize("name", ["token_state", "pool", "vaults", "oracle"])
def test_charms_of_other_tags_beside_the_states(fresh: World, name: str) -> None:
    app = getattr(fresh, name)
    other = App("b", app.identity, app.vk)
    draft = fresh.deployment
    draft.outs.append(Out(script("eve"), CHARM_SATS, {other: 1}))
    draft.inputs[other] = draft.inputs[app]
    refused(fresh, other, draft, "the tag")


def test_deposits_from_nothing(world: World) -> None:
    """Two at once, of which the pool's figures know nothing but their number."""
    pool = world.data(world.pool)
    draft = world.position("bob", None, 5 * ONE)
    made = draft.find(world.deposits)
    made.charms[world.deposits] = edited(made.charms[world.deposits], initial_value=10**6 * ONE)
    draft.outs.append(copy.deepcopy(made))
    changes = {"total_zkusd": pool["total_zkusd"], "depositor_count": pool["depositor_count"] + 2}
    refused(world, world.pool, pool_out(world, draft, **changes), "one deposit at a time")


def test_an_offset_leaves_one_zkusd_whatever_else_is_right(world: World) -> None:
    pool = world.data(world.pool)
    for left, allowed in ((ONE, True), (ONE - 1, False)):
        draft = liquidation(world)
        out = draft.find(world.pool)
        out.charms[world.pool] = world.offset_pool(pool, pool["total_zkusd"] - left, 1_000)
        pool_out(world, draft)
        if allowed:
            asked(world, world.pool, draft)
        else:
            refused(world, world.pool, draft, "leaves one zkUSD")
