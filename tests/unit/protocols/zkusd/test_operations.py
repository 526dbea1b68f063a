"""What is told from the states before and after each operation."""

import hashlib

import pytest
from support.zkusd_chain import Out, Tx, b32, script
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
    oracle,
    pool,
    price_input,
    token,
    vault,
)

from clarion.protocols.zkusd.tables import (
    AppSetRow,
    Contract,
    ContractState,
    Day,
    Liquidation,
    OraclePrice,
    Outpoint,
    ProtocolState,
    RedeemedVault,
    Redemption,
    RiskBand,
    SpDeposit,
    SpOffset,
    StabilityPool,
    TokenBalance,
    Vault,
    VaultName,
    VaultVersion,
)

VM = app("vault_manager")


@pytest.fixture
def world() -> World:
    made = World()
    made.deploy()
    return made


def the_vault(world: World, tx_id: str) -> dict:
    return world.chain.row(Vault, SET, f"{tx_id}:2")


def figures(world: World) -> dict:
    return world.chain.row(ProtocolState, SET)


def change(world: World, opened: str, collateral: int, debt: int, **parts) -> str:
    """Change the vault of an opening by so much, the totals with it."""
    row = world.chain.row(Vault, SET, f"{opened}:2")
    charm = vault("a", row["collateral"] + collateral, row["debt"] + debt)
    return world.do(
        {"vault_manager": world.totals(collateral, debt, 0), "token": token(world.supply + debt)},
        spends=[row["outpoint"], *parts.pop("spends", ())],
        makes=[Out("alice", {VM: charm}, charm["collateral"]), *parts.pop("makes", ())],
        **parts,
    )


def test_deploys(world: World) -> None:
    assert world.chain.kinds() == [
        "AppDeployed",
        "PriceUpdated",
        "AppDeployed",
        "MinterSet",
        "AppDeployed",
        "AppDeployed",
    ]
    contracts = world.chain.rows(Contract)
    assert [(row["role"], row["version"], row["live"]) for row in contracts] == [
        (role, 1, True) for role in ("oracle", "stability_pool", "token", "vault_manager")
    ]
    rules = world.chain.row(AppSetRow, SET)
    assert (rules["mcr_percent"], rules["ccr_percent"], rules["liquidation_reserve"]) == (110, 150, 2 * ONE)


def test_opening(world: World) -> None:
    opened = world.open("a", ONE, 50_000 * ONE)
    assert world.kinds(opened) == ["ProtocolTotalsChanged", "VaultOpened", "TokenMint"]
    data = world.chain.last("VaultOpened")["data"]
    assert (data["minted"], data["charged_fee"], data["icr_percent"]) == (49_998 * ONE, 0, 200)
    assert data["nominal_fee"] == 49_998 * ONE // 100
    row = the_vault(world, opened)
    assert (row["owner"], row["vault_id"], row["backed"]) == (hexed("alice"), hexed("a"), True)
    assert row["liquidation_price8"] == 5_500_000_000_000
    assert figures(world)["tcr_percent"] == 200
    assert figures(world)["reserves"] == 2 * ONE
    assert world.chain.row(VaultName, SET, hexed("a"))["live"] == 1


@pytest.mark.parametrize(
    ("collateral", "debt", "kinds"),
    [
        (100, 0, ["CollateralAdded"]),
        (-100, 0, ["CollateralWithdrawn"]),
        (0, 10 * ONE, ["DebtMinted"]),
        (0, -10 * ONE, ["DebtRepaid"]),
        (100, 10 * ONE, ["CollateralAdded", "DebtMinted"]),
        (-100, -10 * ONE, ["CollateralWithdrawn", "DebtRepaid"]),
        (100, -10 * ONE, ["CollateralAdded", "DebtRepaid"]),
    ],
)
def test_adjusting(world: World, collateral: int, debt: int, kinds: list[str]) -> None:
    opened = world.open("a", ONE, 50_000 * ONE)
    held = 49_998 * ONE
    changed = change(
        world, opened, collateral, debt, spends=[f"{opened}:3"], makes=[Out("alice", {TOKEN: held + debt})]
    )
    own = [kind for kind in world.kinds(changed) if kind not in ("ProtocolTotalsChanged", "TokenMint", "TokenBurn")]
    assert own == kinds
    for event in world.chain.events():
        if event["kind"] in kinds:
            assert event["data"]["composite"] is (len(kinds) == 2)
            assert event["data"]["amount"] in (abs(collateral), abs(debt))
            assert event["vault"] == f"{opened}:2"
    row = the_vault(world, opened)
    assert (row["collateral"], row["debt"], row["version"]) == (ONE + collateral, 50_000 * ONE + debt, 2)
    assert row["outpoint"] == f"{changed}:2"
    found = figures(world)
    assert (found["computed_collateral"], found["drift_debt"], found["drift_supply"]) == (ONE + collateral, 0, 0)
    assert [version["events"] for version in world.chain.rows(VaultVersion)] == [["VaultOpened"], kinds]


def test_closing(world: World) -> None:
    opened = world.open("a", ONE, 50_000 * ONE)
    closed = world.do(
        {"vault_manager": world.totals(-ONE, -50_000 * ONE, -1), "token": token(0)},
        spends=[f"{opened}:2", f"{opened}:3"],
        makes=[Out("alice", sats=ONE)],
    )
    assert world.kinds(closed) == ["ProtocolTotalsChanged", "VaultClosed", "TokenBurn"]
    row = the_vault(world, opened)
    assert (row["live"], row["ended"], row["active"]) == (False, "closed", False)
    found = figures(world)
    assert (found["closed_vaults"], found["active_vaults"], found["computed_debt"], found["tcr_percent"]) == (
        1,
        0,
        0,
        None,
    )
    assert world.chain.rows(RiskBand) == []
    assert world.chain.row(VaultName, SET, hexed("a"))["live"] == 0
    assert world.chain.rows(VaultVersion)[-1]["outpoint"] is None


def test_closing_with_a_tombstone(world: World) -> None:
    opened = world.open("a", ONE, 50_000 * ONE)
    closed = world.do(
        {"vault_manager": world.totals(-ONE, -50_000 * ONE, -1), "token": token(0)},
        spends=[f"{opened}:2", f"{opened}:3"],
        makes=[Out("alice", {VM: vault("a", 0, 0, status=2)})],
    )
    assert "VaultClosed" in world.kinds(closed)
    assert world.chain.last("VaultClosed")["data"]["collateral_returned"] == ONE
    row = the_vault(world, opened)
    assert (row["status"], row["live"], row["ended"], row["active"]) == ("Closed", True, None, False)
    gone = world.do(spends=[f"{closed}:2"], lists=[VM])
    assert world.kinds(gone) == []
    assert (the_vault(world, opened)["ended"], figures(world)["closed_vaults"]) == ("closed", 1)


def test_moving_a_vault(world: World) -> None:
    opened = world.open("a", ONE, 50_000 * ONE)
    moved = world.do(spends=[f"{opened}:2"], makes=[Out("bob", {VM: vault("a", ONE, 50_000 * ONE)}, ONE)])
    assert world.kinds(moved) == ["VaultTransferred"]
    event = world.chain.last("VaultTransferred")
    assert (event["account"], event["counterparty"]) == (script("alice"), script("bob"))
    assert (the_vault(world, opened)["script"], the_vault(world, opened)["owner"]) == (script("bob"), hexed("alice"))


def test_insurance_owner_and_other_figures(world: World) -> None:
    opened = world.open("a", ONE, 50_000 * ONE)
    insured = world.do(
        {"vault_manager": world.says["vault_manager"]},
        spends=[f"{opened}:2"],
        makes=[Out("alice", {VM: vault("a", ONE, 50_000 * ONE, insurance_balance=900)}, ONE)],
    )
    assert world.kinds(insured) == ["InsurancePurchased"]
    other = vault("a", ONE, 50_000 * ONE, owner="bob", insurance_balance=400, accrued_interest=7)
    changed = world.do(
        {"vault_manager": world.says["vault_manager"]}, spends=[f"{insured}:1"], makes=[Out("alice", {VM: other}, ONE)]
    )
    assert world.kinds(changed) == ["InsuranceTriggered", "VaultOwnerChanged", "VaultRestated"]
    restated = world.chain.last("VaultRestated")["data"]
    assert restated == {"before": {"accrued_interest": 0}, "after": {"accrued_interest": 7}}
    assert the_vault(world, opened)["entire_debt"] == 50_000 * ONE + 7


def test_a_rescue(world: World) -> None:
    opened = world.open("a", ONE, 50_000 * ONE)
    given = world.do(spends=[f"{opened}:3"], makes=[Out("bob", {TOKEN: 49_998 * ONE})])
    assert world.kinds(given) == ["TokenTransfer"]
    rescued = change(world, opened, 500, -10 * ONE, spends=[f"{given}:0"], makes=[Out("bob", {TOKEN: 49_988 * ONE})])
    assert world.kinds(rescued) == ["ProtocolTotalsChanged", "VaultRescued", "TokenBurn"]
    assert world.chain.last("VaultRescued")["data"] == {
        "collateral_added": 500,
        "debt_repaid": 10 * ONE,
        "new_icr_percent": 200,
    }


def test_a_redemption(world: World) -> None:
    opened = world.open("a", ONE, 50_000 * ONE)
    given = world.do(spends=[f"{opened}:3"], makes=[Out("bob", {TOKEN: 49_998 * ONE})])
    redeemed = change(
        world,
        opened,
        -99_250,
        -100 * ONE,
        spends=[f"{given}:0"],
        makes=[Out("bob", {TOKEN: 49_898 * ONE}), Out("bob", sats=99_250)],
    )
    assert world.kinds(redeemed) == ["ProtocolTotalsChanged", "Redemption", "TokenBurn"]
    [row] = world.chain.rows(Redemption)
    assert (row["redeemer"], row["redeemed"], row["debt"], row["collateral"]) == (
        script("bob"),
        100 * ONE,
        100 * ONE,
        99_250,
    )
    assert (row["vaults"], row["nominal_fee_bps"], row["effective_price8"]) == (1, 75, 10_075_566_750_629)
    assert [part["genesis"] for part in world.chain.rows(RedeemedVault)] == [f"{opened}:2"]
    assert world.chain.rows(VaultVersion)[-1]["events"] == ["Redemption"]


def test_the_holder_who_repays_and_withdraws_does_not_redeem(world: World) -> None:
    opened = world.open("a", ONE, 50_000 * ONE)
    changed = change(
        world, opened, -99_250, -100 * ONE, spends=[f"{opened}:3"], makes=[Out("alice", {TOKEN: 49_898 * ONE})]
    )
    assert "Redemption" not in world.kinds(changed)


def liquidation(world: World, opened: str, collateral: int, debt: int, **inputs) -> str:
    """The pool takes the debt of the vault of an opening."""
    said = world.says["stability_pool"]
    total, btc, p, s = (said[name] for name in ("total_zkusd", "total_btc", "product_p", "sum_s"))
    assert isinstance(total, int)
    assert isinstance(btc, int)
    assert isinstance(p, int)
    assert isinstance(s, int)
    return world.do(
        {
            "vault_manager": world.totals(-collateral, -debt, -1),
            "stability_pool": pool(
                total - debt, btc + collateral, p * (total - debt) // total, s + collateral * D18 * p // total, count=1
            ),
        },
        spends=[f"{opened}:2"],
        makes=[Out("alice", {VM: vault("a", 0, 0, status="Liquidated")})],
        **inputs,
    )


def filled_pool(world: World, total: int) -> str:
    """Bob puts in so much."""
    return world.do(
        {"stability_pool": pool(total, count=1)},
        makes=[Out("bob", {app("stability_pool"): deposit(total, owner="bob")})],
    )


def test_a_liquidation_into_the_pool(world: World) -> None:
    opened = world.open("a", 98_000_000, 90_000 * ONE)
    made = filled_pool(world, 100_000 * ONE)
    assert world.kinds(made) == ["StabilityDeposit"]
    done = liquidation(world, opened, 98_000_000, 90_000 * ONE)
    assert world.kinds(done) == ["ProtocolTotalsChanged", "VaultLiquidated", "LiquidationOffset", "RecoveryModeExited"]
    [row] = world.chain.rows(Liquidation)
    assert (row["debt"], row["collateral"], row["pool_debt"], row["pool_collateral"]) == (
        90_000 * ONE,
        98_000_000,
        90_000 * ONE,
        98_000_000,
    )
    assert (row["icr_bps"], row["healthy"], row["recovery_mode"]) == (10_888, False, True)
    assert (the_vault(world, opened)["live"], figures(world)["liquidated_vaults"]) == (True, 1)
    [offset] = world.chain.rows(SpOffset)
    assert (offset["debt"], offset["collateral"], offset["replayed_p"]) == (90_000 * ONE, 98_000_000, D18 // 10)
    row = world.chain.row(StabilityPool, SET)
    assert (row["replayed"], row["diverged"], row["replayed_total"], row["deposits"]) == (True, False, 10_000 * ONE, 1)


def test_a_withdrawal_pays_the_gain(world: World) -> None:
    opened = world.open("a", 98_000_000, 90_000 * ONE)
    made = filled_pool(world, 100_000 * ONE)
    liquidation(world, opened, 98_000_000, 90_000 * ONE)
    state = world.says["stability_pool"]
    left = {**state, "total_zkusd": 4_000 * ONE, "total_btc": 0}
    taken = world.do(
        {"stability_pool": left},
        spends=[f"{made}:1"],
        makes=[
            Out(
                "bob",
                {app("stability_pool"): deposit(4_000 * ONE, owner="bob", p=state["product_p"], s=state["sum_s"])},
            ),
            Out("bob", sats=98_000_000),
        ],
    )
    assert world.kinds(taken) == ["StabilityWithdrawal", "BtcRewardClaimed"]
    assert world.chain.last("StabilityWithdrawal")["data"]["amount"] == 6_000 * ONE
    assert world.chain.last("BtcRewardClaimed")["data"] == {
        "owner": hexed("bob"),
        "amount": 98_000_000,
        "due": 98_000_000,
    }
    [row] = world.chain.rows(SpDeposit)
    assert (row["replayed_initial"], row["replayed_paid"], row["version"]) == (4_000 * ONE, 98_000_000, 2)
    gone = world.do({"stability_pool": {**left, "total_zkusd": 0, "depositor_count": 0}}, spends=[f"{taken}:1"])
    assert world.kinds(gone) == ["StabilityWithdrawal"]
    [row] = world.chain.rows(SpDeposit)
    assert (row["live"], row["ended"]) == (False, "withdrawn")
    assert world.chain.row(StabilityPool, SET)["deposits"] == 0


def test_prices_recovery_and_risk(world: World) -> None:
    safe = world.open("a", 2 * ONE, 100_000 * ONE)
    weak = world.open("b", ONE, 80_000 * ONE, owner="bob")
    assert figures(world)["tcr_percent"] == 166
    world.do({"oracle": oracle(89_900 * DOLLARS, height=103)})
    fell = world.chain.height
    assert world.chain.kinds()[-2:] == ["PriceUpdated", "RecoveryModeEntered"]
    found = figures(world)
    assert (found["recovery_mode"], found["recovery_since_height"], found["tcr_percent"]) == (True, fell, 149)
    assert the_vault(world, weak)["at_risk_since_height"] == fell
    assert the_vault(world, safe)["at_risk_since_height"] is None
    world.do({"oracle": oracle(70_000 * DOLLARS)})
    assert the_vault(world, safe)["at_risk_since_height"] == world.chain.height
    assert the_vault(world, weak)["at_risk_since_height"] == fell
    world.do({"oracle": oracle(91_000 * DOLLARS)})
    assert world.chain.kinds()[-2:] == ["PriceUpdated", "RecoveryModeExited"]
    assert the_vault(world, safe)["at_risk_since_height"] is None
    assert the_vault(world, weak)["at_risk_since_height"] is None
    assert [row["change_bps"] for row in world.chain.rows(OraclePrice)] == [None, -1010, -2214, 3000]


def test_what_a_state_says_of_its_operator_admin_and_pause(world: World) -> None:
    world.do({"oracle": oracle(operator="another")})
    assert world.chain.kinds()[-1] == "OracleOperatorChanged"
    world.do({"oracle": oracle(operator="another", active=False)})
    assert world.chain.kinds()[-1] == "OracleActiveChanged"
    world.do({"vault_manager": manager(base_rate=70, paused=True, admin="other")})
    assert world.chain.kinds()[-3:] == ["AdminChanged", "ProtocolPaused", "BaseRateChanged"]
    world.do({"vault_manager": manager(base_rate=70, admin="other")})
    assert world.chain.kinds()[-1] == "ProtocolUnpaused"
    versions = [row["version"] for row in world.chain.rows(ContractState) if row["role"] == "vault_manager"]
    assert versions == [1, 2, 3]


def test_token_movements(world: World) -> None:
    opened = world.open("a", ONE, 1_002 * ONE)
    split = world.do(
        spends=[f"{opened}:3"], makes=[Out(who, {TOKEN: part * ONE}) for who, part in (("bob", 600), ("alice", 400))]
    )
    assert world.kinds(split) == ["TokenTransfer"]
    back = world.do(
        spends=[f"{split}:0", f"{split}:1"], makes=[Out("carol", {TOKEN: 900 * ONE}), Out("bob", {TOKEN: 100 * ONE})]
    )
    sent = [(row["account"], row["counterparty"], row["data"]["amount"]) for row in world.chain.events()[-2:]]
    assert sent == [
        (script("bob"), script("carol"), 500 * ONE),
        (script("alice"), script("carol"), 400 * ONE),
    ]
    assert world.kinds(back) == ["TokenTransfer", "TokenTransfer"]
    amounts = {row["script"]: (row["amount"], row["utxos"]) for row in world.chain.rows(TokenBalance)}
    assert amounts == {script("alice"): (0, 0), script("bob"): (100 * ONE, 1), script("carol"): (900 * ONE, 1)}
    assert figures(world)["holders"] == 2


def test_beamed_tokens_are_nobodys_here(world: World) -> None:
    opened = world.open("a", ONE, 1_002 * ONE)
    sent = world.do(
        spends=[f"{opened}:3"],
        makes=[Out("alice", {TOKEN: 300 * ONE}, beamed_to="ab" * 32), Out("bob", {TOKEN: 700 * ONE})],
    )
    assert world.kinds(sent) == ["TokenTransfer", "TokensBeamed"]
    found = figures(world)
    assert (found["token_supply"], found["beamed_out"], found["drift_supply"]) == (700 * ONE, 300 * ONE, 0)
    world.do(spends=[f"{sent}:1"], makes=[Out("bob", {TOKEN: 700 * ONE}, beamed_to="cd" * 32)])
    world.chain.block(Tx([f"{sent}:0"], [Out("eve")], status=None))
    found = figures(world)
    assert (found["token_supply"], found["beamed_out"], found["drift_supply"]) == (0, 1_000 * ONE, 0)
    assert "CharmBurned" not in world.chain.kinds()


def test_two_spells_chained_in_a_block(world: World) -> None:
    first = world.tx(
        {"vault_manager": world.totals(ONE, 1_002 * ONE, 1), "token": token(1_000 * ONE)},
        makes=[Out("alice", {VM: vault("a", ONE, 1_002 * ONE)}, ONE), Out("alice", {TOKEN: 1_000 * ONE})],
        spends=[world.funds()],
    )
    probe = World()
    probe.deploy()
    [tx_id] = probe.chain.block(first)
    second = Tx([f"{tx_id}:3"], [Out("bob", {TOKEN: 1_000 * ONE})])
    ids = world.chain.block(first, second)
    assert world.kinds(ids[1]) == ["TokenTransfer"]
    assert world.chain.row(TokenBalance, SET, script("bob"))["amount"] == 1_000 * ONE
    assert world.chain.row(Outpoint, f"{ids[0]}:3")["spent_by"] == ids[1]


def test_days(world: World) -> None:
    opened = world.open("a", ONE, 1_002 * ONE)
    world.do(spends=[f"{opened}:3"], makes=[Out("bob", {TOKEN: 1_000 * ONE})])
    [day] = world.chain.rows(Day)
    assert (day["minted"], day["transferred"], day["opened"], day["supply"]) == (
        1_000 * ONE,
        1_000 * ONE,
        1,
        1_000 * ONE,
    )
    assert (day["transactions"], day["active_scripts"], day["anomalies"]) == (6, 3, 0)
    for _ in range(144):
        world.chain.block()
    world.do({"oracle": oracle(PRICE + 5)})
    assert [row["transactions"] for row in world.chain.rows(Day)] == [6, 1]


def test_price_inputs(world: World) -> None:
    opened = world.open("a", ONE, 50_000 * ONE, inputs=price_input(PRICE))
    assert "PriceInputUsed" in world.kinds(opened)


def test_long_scripts_are_known_by_their_hash(world: World) -> None:
    opened = world.open("a", ONE, 1_002 * ONE)
    long = "0x" + "6a" * 300
    moved = world.do(
        spends=[f"{opened}:2", f"{opened}:3"],
        makes=[Out(long, {VM: vault("a", ONE, 1_002 * ONE)}, ONE), Out(long, {TOKEN: 1_000 * ONE})],
    )
    known = f"sha256:{hashlib.sha256(bytes.fromhex(long[2:])).hexdigest()}"
    assert the_vault(world, opened)["script"] == known
    assert world.chain.row(TokenBalance, SET, known)["amount"] == 1_000 * ONE
    assert world.kinds(moved) == ["VaultTransferred", "TokenTransfer"]


def test_a_tag_that_is_a_scripts_hash_is_its_owners(world: World) -> None:
    """Apps whose vaults lie with a custodian name the owner by the hash of a script."""
    owner = hashlib.sha256(bytes.fromhex(script("alice")[2:])).hexdigest()
    charm = {**vault("a", ONE, 50_000 * ONE), "owner": b32(owner)}
    opened = world.do(
        {"vault_manager": world.totals(ONE, 50_000 * ONE, 1), "token": token(49_998 * ONE)},
        makes=[Out("custodian", {VM: charm}, ONE), Out("alice", {TOKEN: 49_998 * ONE})],
    )
    repaid = world.do(
        {"vault_manager": world.totals(-1000, -ONE, 0), "token": token(49_997 * ONE)},
        spends=[f"{opened}:2", f"{opened}:3"],
        makes=[
            Out("custodian", {VM: {**charm, "collateral": ONE - 1000, "debt": 49_999 * ONE}}, ONE),
            Out("alice", {TOKEN: 49_997 * ONE}),
        ],
    )
    assert "CollateralWithdrawn" in world.kinds(repaid)
    assert "Redemption" not in world.kinds(repaid)


def test_a_reorg_of_two_blocks_over_a_mint(world: World) -> None:
    before = world.chain.state()
    opened = world.open("a", ONE, 50_000 * ONE)
    world.do(spends=[f"{opened}:3"], makes=[Out("bob", {TOKEN: 49_998 * ONE})])
    both = world.chain.state()
    world.chain.roll_back(2)
    assert world.chain.state() == before
    world.at["vault_manager"], world.at["token"] = f"{hexed('deploys vault_manager')}:0", f"{hexed('deploys token')}:0"
    world.says["vault_manager"], world.says["token"] = manager(), token()
    world.funded -= 1
    assert world.open("a", ONE, 50_000 * ONE) == opened
    world.do(spends=[f"{opened}:3"], makes=[Out("bob", {TOKEN: 49_998 * ONE})])
    assert world.chain.state() == both
