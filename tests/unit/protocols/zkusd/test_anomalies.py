"""What the chain permits and the protocol should not: every case is a typed event, and nothing stops indexing."""

from collections.abc import Callable
from typing import Any

import pytest
from support.zkusd_chain import Out, Tx, script
from support.zkusd_world import (
    D18,
    DOLLARS,
    ONE,
    PRICE,
    SET,
    TOKEN,
    World,
    app,
    deposit,
    hexed,
    manager,
    nested,
    oracle,
    pool,
    price_input,
    token,
    vault,
)

from clarion.protocols.zkusd.app_sets import ZERO_IDENTITY
from clarion.protocols.zkusd.events import KINDS
from clarion.protocols.zkusd.tables import (
    Contract,
    ImpostorState,
    Liquidation,
    PriceInput,
    ProtocolState,
    SpDeposit,
    StabilityPool,
    TokenUtxo,
    Vault,
)

VM = app("vault_manager")
SP = app("stability_pool")
DEBT = 50_000 * ONE

Case = Callable[[World], None]
CASES: dict[str, tuple[Case, list[str]]] = {}


def case(*anomalies: str) -> Callable[[Case], Case]:
    """A case with the anomalies that it must raise, in order."""

    def register(made: Case) -> Case:
        CASES[made.__name__] = (made, list(anomalies))
        return made

    return register


def world() -> World:
    made = World()
    made.deploy()
    return made


def figures(world: World) -> dict[str, Any]:
    return world.chain.row(ProtocolState, SET)


@case("ImpostorState")
def an_impostor_state_by_initializing_again(world: World) -> None:
    made = world.do(makes=[Out("eve", {app("vault_manager", identity=ZERO_IDENTITY): manager(9, 9, 9)})])
    assert world.chain.row(Contract, SET, "vault_manager")["outpoint"] == world.at["vault_manager"]
    assert world.chain.row(Contract, SET, "vault_manager")["impostors"] == 1
    assert figures(world)["reported_collateral"] == 0
    [row] = world.chain.rows(ImpostorState)
    assert (row["outpoint"], row["reason"], row["spent_by"]) == (f"{made}:0", "descent", None)
    again = world.do(spends=[f"{made}:0"], makes=[Out("eve", {VM: manager(8, 8, 8)})])
    rows = {row["outpoint"]: row["spent_by"] for row in world.chain.rows(ImpostorState)}
    assert rows == {f"{made}:0": again, f"{again}:0": None}
    assert figures(world)["reported_collateral"] == 0


@case("ImpostorState", "ImpostorVault")
def a_vault_of_an_impostor(world: World) -> None:
    made = world.do(makes=[Out("eve", {VM: manager()})])
    opened = world.do(
        spends=[f"{made}:0"], makes=[Out("eve", {VM: manager(5, 5, 1)}), Out("eve", {VM: vault("a", 10 * ONE, DEBT)})]
    )
    row = world.chain.row(Vault, SET, f"{opened}:1")
    assert (row["genuine"], row["active"], row["live"]) == (False, False, True)
    assert (figures(world)["active_vaults"], figures(world)["computed_debt"]) == (0, 0)
    world.do(spends=[f"{opened}:1"], makes=[Out("eve", {VM: vault("a", 20 * ONE, DEBT)})])
    assert world.chain.row(Vault, SET, f"{opened}:1")["collateral"] == 20 * ONE
    assert figures(world)["computed_collateral"] == 0


@case("StateForked")
def a_state_that_becomes_two(world: World) -> None:
    world.do({"oracle": oracle()}, makes=[Out("eve", {app("oracle"): oracle(5 * DOLLARS)})])
    assert figures(world)["price8"] == PRICE
    assert world.chain.row(Contract, SET, "oracle")["forks"] == 1
    assert [row["reason"] for row in world.chain.rows(ImpostorState)] == ["fork"]


@case("StateForked", "StateForked")
def a_state_that_becomes_several_under_other_names(world: World) -> None:
    world.do({"oracle": oracle()})
    others = [app("oracle", identity=ZERO_IDENTITY), app("oracle", "s")]
    fakes = [Out("eve", {name: oracle(5 * DOLLARS)}) for name in others]
    [made] = world.chain.block(Tx([world.at["oracle"]], [*fakes, Out("admin", {app("oracle"): oracle(PRICE + 1)})]))
    row = world.chain.row(Contract, SET, "oracle")
    assert (row["outpoint"], row["forks"], figures(world)["price8"]) == (f"{made}:2", 2, PRICE + 1)


@case("StateForked")
def a_vault_that_becomes_two(world: World) -> None:
    opened = world.open("a", ONE, DEBT)
    twice = [Out("alice", {VM: vault("a", ONE, DEBT)}, ONE) for _ in range(2)]
    world.do(spends=[f"{opened}:2"], makes=twice)
    assert [row["genuine"] for row in world.chain.rows(Vault)].count(True) == 1
    assert figures(world)["active_vaults"] == 1


@case("SupplyMismatch")
def tokens_minted_while_the_tokens_state_is_only_referred_to(world: World) -> None:
    world.do(makes=[Out("eve", {TOKEN: 7 * ONE})])
    assert (figures(world)["drift_supply"], figures(world)["token_supply"]) == (-7 * ONE, 7 * ONE)


@case("SupplyMismatch")
def a_supply_that_says_less_than_was_minted(world: World) -> None:
    world.do({"token": token(5 * ONE)}, makes=[Out("eve", {TOKEN: 7 * ONE})])
    assert world.chain.last("SupplyMismatch")["data"] == {
        "tokens_before": 0,
        "tokens_after": 7 * ONE,
        "reported_change": 5 * ONE,
    }


@case("PriceNotOracle", "HealthyVaultLiquidated")
def a_healthy_vault_liquidated_at_a_price_of_the_senders(world: World) -> None:
    opened = world.open("a", ONE, DEBT)
    world.do(
        {"vault_manager": world.totals(-ONE, -DEBT, -1)},
        spends=[f"{opened}:2"],
        makes=[Out("eve", {VM: vault("a", ONE, DEBT, status="Liquidated")})],
        inputs=price_input(2_000 * DOLLARS),
    )
    [given] = world.chain.rows(PriceInput)
    assert (given["matches"], given["price8"], given["oracle_price8"]) == (False, 2_000 * DOLLARS, PRICE)
    [row] = world.chain.rows(Liquidation)
    assert (row["healthy"], row["used_price8"], row["price8"], row["icr_bps"]) == (True, 2_000 * DOLLARS, PRICE, 20_000)
    assert world.chain.last("HealthyVaultLiquidated")["data"]["threshold_percent"] == 110
    assert figures(world)["computed_debt"] == 0


@case("PriceNotOracle")
def a_price_where_there_is_no_oracle(world: World) -> None:
    bare = World()
    bare.chain.block(bare.deployment("vault_manager", manager()))
    bare.at["vault_manager"] = f"{hexed('deploys vault_manager')}:0"
    bare.do({"vault_manager": manager()}, inputs=price_input(PRICE))
    [given] = bare.chain.rows(PriceInput)
    assert given["matches"] is None
    assert (figures(bare)["price8"], figures(bare)["recovery_mode"]) == (None, None)
    world.chain = bare.chain


@case("UnbackedCollateral")
def collateral_that_is_a_number(world: World) -> None:
    opened = world.open("a", 21_000_000 * ONE, DEBT, sats=547)
    row = world.chain.row(Vault, SET, f"{opened}:2")
    assert (row["backed"], row["collateral"], row["utxo_sats"]) == (False, 21_000_000 * ONE, 547)
    assert figures(world)["backing_sats"] == 547


@case("TotalsDrift")
def a_vault_closed_without_a_change_of_the_totals(world: World) -> None:
    opened = world.open("a", ONE, DEBT)
    world.do({"vault_manager": world.says["vault_manager"], "token": token(0)}, spends=[f"{opened}:2", f"{opened}:3"])
    assert "VaultClosed" in world.chain.kinds()
    assert world.chain.last("TotalsDrift")["data"] == {"collateral": ONE, "debt": DEBT, "vaults": 1}
    found = figures(world)
    assert (found["drift_vaults"], found["tcr_percent"], found["computed_tcr_bps"]) == (1, 200, None)
    world.do({"oracle": oracle(PRICE + 1)})
    assert world.chain.kinds().count("TotalsDrift") == 1


@case("DuplicateVaultId")
def a_vault_with_the_id_of_another(world: World) -> None:
    first = world.open("a", ONE, DEBT)
    second = world.open("a", 2 * ONE, DEBT, owner="eve")
    assert world.chain.last("DuplicateVaultId")["data"]["other"] == f"{first}:2"
    # each goes on as itself, whichever is spent first
    moved = world.do(
        spends=[f"{second}:2", f"{first}:2"],
        makes=[
            Out("alice", {VM: vault("a", ONE, DEBT)}, ONE),
            Out("bob", {VM: vault("a", 2 * ONE, DEBT, owner="eve")}, 2 * ONE),
        ],
    )
    assert world.chain.row(Vault, SET, f"{first}:2")["outpoint"] == f"{moved}:0"
    assert world.chain.row(Vault, SET, f"{second}:2")["outpoint"] == f"{moved}:1"


@case("VaultVanished", "TotalsDrift")
def a_vault_spent_without_a_spell(world: World) -> None:
    opened = world.open("a", ONE, DEBT)
    world.chain.block(Tx([f"{opened}:2"], [Out("alice", sats=ONE)], status=None))
    row = world.chain.row(Vault, SET, f"{opened}:2")
    assert (row["live"], row["ended"], row["active"]) == (False, "vanished", False)
    assert (figures(world)["lost_vaults"], figures(world)["computed_debt"]) == (1, 0)


@case("VaultVanished", "CharmBurned", "TotalsDrift")
def charms_spent_by_a_spell_that_is_not_about_them(world: World) -> None:
    opened = world.open("a", ONE, DEBT)
    world.do(spends=[f"{opened}:2", f"{opened}:3"], makes=[Out("alice", {f"t/{hexed('x')}/{hexed('y')}": 5})])
    assert figures(world)["burned_without_spell"] == DEBT - 2 * ONE
    assert world.chain.last("CharmBurned")["account"] == script("alice")


@case("CharmBurned")
def tokens_spent_without_a_spell(world: World) -> None:
    opened = world.open("a", ONE, DEBT)
    world.chain.block(Tx([f"{opened}:3"], [Out("alice")], status=None))
    found = figures(world)
    assert (found["token_supply"], found["drift_supply"], found["holders"]) == (0, DEBT - 2 * ONE, 0)
    [coin] = world.chain.rows(TokenUtxo)
    assert (coin["live"], coin["spent_height"]) == (False, world.chain.height)


@case("StateVanished", "VaultVanished", "CharmBurned", "TotalsDrift")
def everything_spent_by_an_invalid_spell(world: World) -> None:
    opened = world.open("a", ONE, DEBT)
    spent = [world.at["oracle"], f"{opened}:2", f"{opened}:3"]
    world.chain.block(Tx(spent, [Out("eve", {VM: vault("a", ONE, DEBT)})], status="invalid"))
    assert world.chain.row(Contract, SET, "oracle")["ended"] == "vanished"
    assert (figures(world)["price8"], figures(world)["recovery_mode"]) == (None, None)


@case("UnreadableSpell", "StateVanished", "VaultVanished", "DepositVanished", "TotalsDrift")
def charms_carried_on_by_a_spell_of_a_version_to_come(world: World) -> None:
    opened = world.open("a", ONE, DEBT)
    made = world.do({"stability_pool": pool(9 * ONE, count=1)}, makes=[Out("bob", {SP: deposit(9 * ONE)})])
    spent = [world.at["token"], f"{opened}:2", f"{opened}:3", f"{made}:1"]
    world.chain.block(Tx(spent, [Out("eve", {VM: vault("a", ONE, DEBT)})], status="unsupported"))
    assert world.chain.row(Vault, SET, f"{opened}:2")["ended"] == "unreadable"
    assert world.chain.row(Contract, SET, "token")["ended"] == "unreadable"
    assert (figures(world)["reported_supply"], figures(world)["drift_supply"]) == (None, None)


@case("StateVanished")
def a_state_beamed_to_another_chain(world: World) -> None:
    tx = Tx([world.at["oracle"]], [Out("admin", {app("oracle"): oracle()}, beamed_to="ab" * 32)])
    [tx_id] = world.chain.block(tx)
    row = world.chain.row(Contract, SET, "oracle")
    assert (row["live"], row["ended"], row["outpoint"]) == (False, "beamed", f"{tx_id}:0")


@case("UnbackedCollateral", "VaultVanished", "TotalsDrift")
def a_vault_beamed_to_another_chain(world: World) -> None:
    opened = world.open("a", ONE, DEBT, sats=600)
    world.do(spends=[f"{opened}:2"], makes=[Out("alice", {VM: vault("a", ONE, DEBT)}, beamed_to="ab" * 32)])
    assert world.chain.row(Vault, SET, f"{opened}:2")["ended"] == "beamed"
    assert figures(world)["lost_vaults"] == 1


@case("StateVanished", "UndecodableCharm")
def a_state_that_nobody_can_read(world: World) -> None:
    world.do(spends=[world.at["vault_manager"]], makes=[Out("eve", {VM: {"protocol": 5}})])
    row = world.chain.row(Contract, SET, "vault_manager")
    assert (row["live"], row["ended"]) == (False, "undecodable")
    assert figures(world)["reported_debt"] is None
    assert "protocol is no map" in world.chain.last("UndecodableCharm")["data"]["reason"]


@case("VaultVanished", "UndecodableCharm", "TotalsDrift")
def a_vault_that_nobody_can_read(world: World) -> None:
    opened = world.open("a", ONE, DEBT)
    strange = {**vault("a", ONE, DEBT), "debt": 1 << 64}
    world.do({"vault_manager": world.says["vault_manager"]}, spends=[f"{opened}:2"], makes=[Out("eve", {VM: strange})])
    assert world.chain.row(Vault, SET, f"{opened}:2")["ended"] == "undecodable"


@case("UndecodableCharm", "UndecodableCharm", "UndecodableCharm")
def amounts_that_are_none(world: World) -> None:
    world.do(makes=[Out("eve", {TOKEN: amount}) for amount in (0, -1, {"bytes": "0x00"})])
    assert world.chain.rows(TokenUtxo) == []


@case("ImpostorToken")
def tokens_under_another_identity(world: World) -> None:
    world.do(makes=[Out("eve", {app("token", "t", identity=ZERO_IDENTITY): part}) for part in (5, 6)])
    assert world.chain.last("ImpostorToken")["data"]["amount"] == 11
    assert figures(world)["token_supply"] == 0


@case("EmptyRedemption")
def a_redemption_from_nobody(world: World) -> None:
    opened = world.open("a", ONE, DEBT)
    world.do(
        {"vault_manager": world.says["vault_manager"], "token": token(0)},
        spends=[f"{opened}:3"],
        inputs={VM: "redeem"},
    )


@case("ImpostorDeposit", "ImpostorDeposit")
def deposits_made_up_without_the_pool(world: World) -> None:
    made = world.do({"stability_pool": pool(9 * ONE, count=1)}, makes=[Out("bob", {SP: deposit(9 * ONE)})])
    world.do(makes=[Out("eve", {SP: deposit(500 * ONE, owner="eve")})])
    world.do(spends=[f"{made}:1"], makes=[Out("bob", {SP: deposit(90 * ONE)})])
    assert [row["genuine"] for row in world.chain.rows(SpDeposit)] == [False, False]
    assert world.chain.row(StabilityPool, SET)["replayed"] is False


@case("DepositVanished")
def a_deposit_spent_without_a_spell(world: World) -> None:
    made = world.do({"stability_pool": pool(9 * ONE, count=1)}, makes=[Out("bob", {SP: deposit(9 * ONE)})])
    world.chain.block(Tx([f"{made}:1"], [Out("bob")], status=None))
    assert world.chain.row(SpDeposit, SET, f"{made}:1")["ended"] == "vanished"
    assert world.chain.row(StabilityPool, SET)["deposits"] == 0


@case("PoolDivergence", "GainMismatch")
def a_pool_that_goes_by_wrong_formulas(world: World) -> None:
    """The deployed pool: two deposits, two liquidations; the second depositor is paid half of what is due."""
    first = world.do({"stability_pool": pool(1000 * ONE, count=1)}, makes=[Out("alice", {SP: deposit(1000 * ONE)})])
    assert first
    world.do({"stability_pool": pool(500 * ONE, 600_000, D18 // 2, 6 * 10**12, count=1)})
    second = world.do(
        {"stability_pool": pool(1000 * ONE, 600_000, D18 // 2, 6 * 10**12, count=2)},
        makes=[Out("bob", {SP: deposit(500 * ONE, owner="bob", p=D18 // 2, s=6 * 10**12)})],
    )
    assert world.chain.row(StabilityPool, SET)["diverged"] is False
    # S forgets P here, as one of the variants does
    wrong = 6 * 10**12 + 600_000 * D18 // (1000 * ONE)
    world.do({"stability_pool": pool(500 * ONE, 1_200_000, D18 // 4, wrong, count=2)})
    assert world.chain.row(StabilityPool, SET)["diverged"] is True
    world.do(
        {"stability_pool": pool(250 * ONE, 1_050_000, D18 // 4, wrong, count=1)},
        spends=[f"{second}:1"],
        makes=[Out("bob", sats=150_000)],
    )
    assert world.chain.last("GainMismatch")["data"] == {"amount": 150_000, "due": 300_000}


@case("PriceNotOracle")
def a_vault_opened_at_a_price_of_the_senders(world: World) -> None:
    opened = world.open("a", ONE, DEBT, inputs=price_input(2 * PRICE))
    [given] = world.chain.rows(PriceInput)
    assert (given["matches"], given["price8"], given["oracle_price8"]) == (False, 2 * PRICE, PRICE)
    assert world.chain.row(Vault, SET, f"{opened}:2")["active"] is True


@case()
def a_pool_that_is_flat_and_nested_in_turn(world: World) -> None:
    first, second = pool(5 * ONE, count=1), pool(9 * ONE, count=2)
    world.do({"stability_pool": first}, makes=[Out("bob", {SP: deposit(5 * ONE)})])
    world.do({"stability_pool": nested(second)}, makes=[Out("carol", {SP: deposit(4 * ONE, owner="carol")})])
    assert world.chain.kinds().count("StabilityDeposit") == 2
    world.do({"stability_pool": second})
    row = world.chain.row(StabilityPool, SET)
    assert (row["total"], row["deposits"], row["replayed"]) == (9 * ONE, 2, True)


@case()
def a_pool_whose_product_is_text_and_whose_sum_has_more_than_64_bits(world: World) -> None:
    whole = (1 << 64) + 1
    world.do({"stability_pool": pool(5 * ONE, 0, str(D18), whole, count=1)}, makes=[Out("bob", {SP: deposit(5 * ONE)})])
    row = world.chain.row(StabilityPool, SET)
    assert (row["product_p"], row["sum_s"]) == (D18, whole)


@case()
def a_vault_whose_status_is_a_number(world: World) -> None:
    said = vault("a", ONE, DEBT, status=0)
    opened = world.do(
        {"vault_manager": world.totals(ONE, DEBT, 1), "token": token(DEBT - 2 * ONE)},
        spends=[world.funds()],
        makes=[Out("alice", {VM: said}, ONE), Out("alice", {TOKEN: DEBT - 2 * ONE})],
    )
    row = world.chain.row(Vault, SET, f"{opened}:2")
    assert (row["status"], row["active"]) == ("Active", True)


@case()
def two_blocks_over_a_mint_replaced(world: World) -> None:
    before = world.chain.state()
    opened = world.open("a", ONE, DEBT)
    world.do(spends=[f"{opened}:3"], makes=[Out("bob", {TOKEN: DEBT - 2 * ONE})])
    assert "TokenMint" in world.chain.kinds()
    world.chain.roll_back(2)
    assert world.chain.state() == before


@case()
def two_spells_chained_in_one_block(world: World) -> None:
    minting = world.tx(
        {"vault_manager": world.totals(ONE, DEBT, 1), "token": token(DEBT - 2 * ONE)},
        spends=[world.funds()],
        makes=[Out("alice", {VM: vault("a", ONE, DEBT)}, ONE), Out("alice", {TOKEN: DEBT - 2 * ONE})],
    )
    minted = world.chain.mined(minting).transactions[0].id.hex()
    passing_on = Tx([f"{minted}:2", f"{minted}:3"], [Out("bob", {VM: vault("a", ONE, DEBT)}, ONE), *minting.makes[3:]])
    world.chain.block(minting, passing_on)
    assert world.chain.row(Vault, SET, f"{minted}:2")["script"] == script("bob")
    assert figures(world)["drift_supply"] == 0


@case("StateVanished")
def a_spell_that_cannot_be_decoded(world: World) -> None:
    world.chain.block(Tx([world.at["oracle"]], [Out("operator")], status="invalid"))
    assert world.chain.row(Contract, SET, "oracle")["ended"] == "vanished"


ADVERSARIAL: dict[str, tuple[Case, list[str]]] = {
    "a second state of the vault manager, by initializing again": (
        an_impostor_state_by_initializing_again,
        ["ImpostorState"],
    ),
    "more tokens out than in, the token's state only referred to": (
        tokens_minted_while_the_tokens_state_is_only_referred_to,
        ["SupplyMismatch"],
    ),
    "a price in the public input that is not the oracle's": (
        a_vault_opened_at_a_price_of_the_senders,
        ["PriceNotOracle"],
    ),
    "a healthy vault liquidated by such a price": (
        a_healthy_vault_liquidated_at_a_price_of_the_senders,
        ["PriceNotOracle", "HealthyVaultLiquidated"],
    ),
    "a vault closed without a change of the totals": (
        a_vault_closed_without_a_change_of_the_totals,
        ["TotalsDrift"],
    ),
    "collateral on a coin of 547 satoshis": (collateral_that_is_a_number, ["UnbackedCollateral"]),
    "the pool flat and nested": (a_pool_that_is_flat_and_nested_in_turn, []),
    "P as text, S of more than 64 bits": (a_pool_whose_product_is_text_and_whose_sum_has_more_than_64_bits, []),
    "an enumeration as a number": (a_vault_whose_status_is_a_number, []),
    "a reorganization of two blocks over a mint": (two_blocks_over_a_mint_replaced, []),
    "two spells chained in one block": (two_spells_chained_in_one_block, []),
    "a spell that cannot be decoded": (a_spell_that_cannot_be_decoded, ["StateVanished"]),
    "a state that forks": (a_state_that_becomes_two, ["StateForked"]),
}
"""What an adversary, or an older generation of the apps, may put on the chain: how it is made, and what it must raise.
What raises nothing is no anomaly, and is to be read all the same."""


@pytest.mark.parametrize("name", ADVERSARIAL)
def test_what_an_adversary_does_raises_what_it_must(name: str) -> None:
    doing, anomalies = ADVERSARIAL[name]
    made = world()
    doing(made)
    raised = made.chain.events(anomalies=True)
    assert [event["kind"] for event in raised] == anomalies
    assert all(KINDS[event["kind"]].anomaly and event["data"] is not None for event in raised)


@pytest.mark.parametrize("name", CASES)
def test_case_raises_its_anomalies(name: str) -> None:
    doing, anomalies = CASES[name]
    made = world()
    doing(made)
    assert made.chain.kinds(anomalies=True) == anomalies


def test_every_kind_of_anomaly_has_a_case() -> None:
    told = {kind for _, kinds in CASES.values() for kind in kinds}
    assert told == {name for name, kind in KINDS.items() if kind.anomaly}


@pytest.mark.parametrize("form", [pool, lambda *parts, **more: nested(pool(*parts, **more))])
@pytest.mark.parametrize("number", [int, str])
def test_the_pool_in_all_its_forms(form: Callable[..., Any], number: Callable[[int], Any]) -> None:
    made = world()
    state = form(5 * ONE, 0, number(D18), number(1 << 100), count=1)
    made.do({"stability_pool": state}, makes=[Out("bob", {SP: deposit(5 * ONE)})])
    row = made.chain.row(StabilityPool, SET)
    assert (row["total"], row["product_p"], row["sum_s"]) == (5 * ONE, D18, 1 << 100)


def test_metadata_of_the_token_is_none_of_the_protocols() -> None:
    made = world()
    made.do({"token": token()}, makes=[Out("admin", {app("token"): {"name": "zkUSD", "ticker": "zkUSD"}})])
    assert made.chain.kinds(anomalies=True) == []


def test_transactions_of_others_leave_no_trace() -> None:
    made = world()
    before = made.chain.state()
    other = f"t/{hexed('x')}/{hexed('y')}"
    made.chain.block(
        Tx([made.funds()], [Out("eve", {other: 5})]),
        Tx([made.funds()], [Out("eve", {other: 5})], status="invalid"),
        Tx([made.funds()], [Out("eve")], status=None),
    )
    assert made.chain.state() == before
