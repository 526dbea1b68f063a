"""Governance on the machine that runs the contracts: rows are what the contracts' read-only functions say."""

from __future__ import annotations

from typing import Any, Final

import pytest
from support.bithedge_rows import DEPLOYER
from support.bithedge_simnet import ADDRESSES, SBTC, Simnet
from support.bithedge_twin import ForetellingSimnet

from clarion.chains.stacks.clarity import (
    NONE,
    Bool,
    Buffer,
    List,
    Some,
    StringAscii,
    Tuple,
    UInt,
    Value,
    encode,
    principal,
)
from clarion.protocols.bithedge import deployment
from clarion.protocols.bithedge.tables import (
    Governance,
    Metric,
    Migration,
    Module,
    Parameter,
    ParameterChange,
    PowerCheckpoint,
    Proposal,
    ProposalAction,
    ProposalVote,
    Role,
    Staker,
    Switch,
)
from clarion.protocols.bithedge.units import Usd8

STX: Final = f"{DEPLOYER}.bh-stx"
GOV: Final = f"{DEPLOYER}.bh-gov"
GUARDIAN, STRANGER = ADDRESSES[1:3]
STAKERS: Final = ADDRESSES[3:6]
MILLION: Final = 10**12
"""One million STX, in micro-STX."""
MODULE_DELAY: Final = 2_016

COPYING = """
(define-public (step-migration (migration uint) (cursor uint) (items (buff 32)))
  (contract-call? .bh-registry step-migration migration cursor items))
(define-public (report-metric (name (string-ascii 24)) (value uint))
  (contract-call? .bh-params report-metric name value))
"""


def text(value: str) -> Value:
    return StringAscii(value)


@pytest.fixture
def simnet() -> Any:
    with ForetellingSimnet.start() as machine:
        for who in ADDRESSES:
            machine.ask(op="fund", who=who, ustx=str(10**15), sats=str(10**11))
        machine.publish()
        for call in deployment.bootstrap(
            guardian=GUARDIAN,
            sbtc=SBTC,
            feeds=[
                deployment.FeedRow("BTC", Usd8(10**13), insurable=True),
                deployment.FeedRow("STX", Usd8(2 * 10**8), insurable=False),
            ],
            feeders=[deployment.FeederRow(who, 1) for who in ADDRESSES[6:9]],
            stake=deployment.StakeToken(STX, "stx"),
            parameters=deployment.FAST_BLOCKS,
        ):
            machine.must(call.contract, call.function, *call.arguments)
        yield machine


def action(kind: str, arguments: Value) -> Value:
    return Tuple({"kind": text(kind), "data": Buffer(encode(arguments))})


def set_param(key: str, value: int) -> Value:
    return action("set-params", List((Tuple({"key": text(key), "value": UInt(value)}),)))


def propose(simnet: Simnet, *actions: Value, by: str = STAKERS[0]) -> int:
    arguments = (Buffer(bytes(32)), text("ipfs://why"), List(actions))
    proposal: int = simnet.must("bh-gov", "propose", *arguments, sender=by)
    return proposal


def stake_all(simnet: Simnet) -> None:
    for who, millions in zip(STAKERS, (5, 3, 2), strict=True):
        simnet.must("bh-gov", "stake", principal(STX), UInt(millions * MILLION), sender=who)
    simnet.mine()


def vote(simnet: Simnet, proposal: int, *choices: str) -> None:
    """The stakers' choices, in their order."""
    for who, choice in zip(STAKERS, choices, strict=False):
        simnet.must("bh-gov", "vote", UInt(proposal), text(choice), sender=who)


def mine_to(simnet: Simnet, burn: int) -> None:
    if burn > simnet.burn:
        simnet.mine(burn - simnet.burn)


def proposal_row(simnet: Simnet, proposal: int) -> dict[str, Any]:
    found: dict[str, Any] | None = simnet.folded.one(Proposal, proposal)
    assert found is not None
    return found


def assert_told(simnet: Simnet) -> None:
    """The rows of governance against what bh-gov's read-only functions say."""
    rows = simnet.folded
    rows.assert_complete()
    (governance,) = rows.all(Governance)
    assert simnet.read("bh-gov", "get-token") == {"token": governance["token"], "asset-name": governance["asset_name"]}
    assert simnet.read("bh-gov", "get-power", NONE) == governance["power"]
    for staker in rows.all(Staker):
        who = principal(staker["who"])
        assert simnet.read("bh-gov", "get-stake", who) == staker["stake"]
        assert simnet.read("bh-gov", "get-delegate", who) == staker["delegate"]
        assert simnet.read("bh-gov", "get-power", Some(who)) == staker["power"]
        assert simnet.read("bh-gov", "get-lock", who) == (staker["locked_until_burn"] or 0)
    for point in rows.all(PowerCheckpoint):
        holder = NONE if point["who"] == GOV else Some(principal(point["who"]))
        assert simnet.read("bh-gov", "get-power-at", holder, UInt(point["from_burn"])) == point["power"]
    for proposal in rows.all(Proposal):
        said = simnet.read("bh-gov", "get-proposal", UInt(proposal["id"]))
        assert {name.replace("-", "_"): value for name, value in said.items()} == {
            name.replace("-", "_"): proposal[name.replace("-", "_")] for name in said
        }
        actions = [row for row in rows.all(ProposalAction) if row["proposal"] == proposal["id"]]
        assert len(actions) == proposal["actions"]
        for row in actions:
            told = simnet.read("bh-gov", "get-action", UInt(row["proposal"]), UInt(row["index"]))
            assert told == {"kind": row["kind"], "data": row["data"]}
        votes = [row for row in rows.all(ProposalVote) if row["proposal"] == proposal["id"]]
        assert len(votes) == proposal["votes"]
        for choice in ("for", "against", "abstain"):
            assert sum(row["power"] for row in votes if row["choice"] == choice) == proposal[f"{choice}_power"]
        for row in votes:
            told = simnet.read("bh-gov", "get-vote", UInt(row["proposal"]), principal(row["voter"]))
            assert told == {"choice": row["choice"], "power": row["power"]}


def test_a_proposal_from_its_stakes_to_the_parameter_that_it_sets(simnet: Simnet) -> None:
    stake_all(simnet)
    simnet.must("bh-gov", "delegate-to", principal(STAKERS[0]), sender=STAKERS[2])
    simnet.mine()
    proposal = propose(simnet, set_param("cancel-fee-bp", 700), set_param("util-slope-bp", 1))
    assert proposal_row(simnet, proposal)["state"] == "active"
    vote(simnet, proposal, "for", "against")
    assert_told(simnet)
    mine_to(simnet, proposal_row(simnet, proposal)["voting_ends_burn"] + 1)
    simnet.must("bh-gov", "finalize", UInt(proposal), sender=STRANGER)
    assert proposal_row(simnet, proposal)["state"] == "queued"
    simnet.must("bh-registry", "handover", principal(GOV))
    mine_to(simnet, proposal_row(simnet, proposal)["eta_burn"])
    simnet.must("bh-gov", "execute", UInt(proposal), List((principal(STX), principal(STX))), sender=STRANGER)

    row = proposal_row(simnet, proposal)
    assert (row["state"], row["for_power"], row["against_power"]) == ("executed", 7 * MILLION, 3 * MILLION)
    parameter = simnet.folded.one(Parameter, "cancel-fee-bp")
    assert parameter is not None
    assert parameter["value"] == 700
    by_proposal = [change for change in simnet.folded.all(ParameterChange) if change["proposal"] == proposal]
    assert [(change["key"], change["value"]) for change in by_proposal] == [
        ("cancel-fee-bp", 700),
        ("util-slope-bp", 1),
    ]
    assert [action["arguments"] for action in simnet.folded.all(ProposalAction)] == [
        {"items": [{"key": "cancel-fee-bp", "value": 700}]},
        {"items": [{"key": "util-slope-bp", "value": 1}]},
    ]
    assert simnet.folded.one(Role, "governance", DEPLOYER) is None
    assert simnet.folded.one(Role, "governance", GOV) is not None
    assert_told(simnet)


def test_proposals_that_fail_are_withdrawn_or_are_forgotten(simnet: Simnet) -> None:
    stake_all(simnet)
    withdrawn, defeated, stopped, forgotten = (propose(simnet, set_param("cancel-fee-bp", 1)) for _ in range(4))
    simnet.must("bh-gov", "cancel", UInt(withdrawn), sender=STAKERS[0])
    vote(simnet, defeated, "against")
    for proposal in (stopped, forgotten):
        vote(simnet, proposal, "for", "abstain", "against")
    mine_to(simnet, proposal_row(simnet, defeated)["voting_ends_burn"] + 1)
    for proposal in (defeated, stopped, forgotten):
        simnet.must("bh-gov", "finalize", UInt(proposal), sender=STRANGER)
    simnet.must("bh-gov", "cancel", UInt(stopped), sender=GUARDIAN)
    mine_to(simnet, proposal_row(simnet, forgotten)["grace_ends_burn"] + 1)
    simnet.must("bh-gov", "expire", UInt(forgotten), sender=STRANGER)
    simnet.must("bh-gov", "unstake", principal(STX), UInt(5 * MILLION), sender=STAKERS[0])

    assert [(row["state"], row["cancelled_from"]) for row in simnet.folded.all(Proposal)] == [
        ("cancelled", "active"),
        ("defeated", None),
        ("cancelled", "queued"),
        ("expired", None),
    ]
    assert all(row["ended_height"] and row["ended_tx"] for row in simnet.folded.all(Proposal))
    assert_told(simnet)


def test_modules_are_copied_and_roles_end(simnet: Simnet) -> None:
    simnet.deploy_source("copying", COPYING)
    copying = principal(f"{DEPLOYER}.copying")
    code_hash = simnet.evaluate(f"(unwrap-panic (contract-hash? '{DEPLOYER}.copying))")
    version = (text("vault"), UInt(2))
    simnet.must("bh-registry", "register-module", *version, copying, Buffer(bytes.fromhex(code_hash[2:])))
    migration = simnet.must("bh-registry", "begin-migration", *version)
    simnet.must("copying", "step-migration", UInt(migration), UInt(9), Buffer(bytes(32)), sender=STRANGER)
    (row,) = simnet.folded.all(Migration)
    assert (row["cursor"], row["steps"], row["done"], row["from_version"]) == (9, 1, False, 1)
    told = simnet.read("bh-registry", "get-migration", UInt(migration))
    assert told["hash"] == row["hash"]
    simnet.must("bh-registry", "finish-migration", UInt(migration), Buffer(bytes.fromhex(row["hash"][2:])))
    (row,) = simnet.folded.all(Migration)
    assert (row["done"], row["finished_height"] is None) == (True, False)
    simnet.mine(MODULE_DELAY)
    simnet.must("bh-registry", "activate-module", *version)
    active = [module["version"] for module in simnet.folded.all(Module) if module["state"] == "active"]
    assert active.count(2) == 1

    keeper = (text("keeper"), principal(STRANGER))
    simnet.must("bh-registry", "grant-role", *keeper, Some(UInt(simnet.burn + 1)))
    simnet.mine(2)
    assert simnet.folded.one(Role, "keeper", STRANGER) is not None
    simnet.must("bh-registry", "expire-role", *keeper, sender=STRANGER)
    assert simnet.folded.one(Role, "keeper", STRANGER) is None
    simnet.folded.assert_complete()


def test_a_metric_above_its_limit_stops_a_switch(simnet: Simnet) -> None:
    simnet.deploy_source("copying", COPYING)
    code_hash = simnet.evaluate(f"(unwrap-panic (contract-hash? '{DEPLOYER}.copying))")
    version = (text("lending"), UInt(1))
    arguments = (*version, principal(f"{DEPLOYER}.copying"), Buffer(bytes.fromhex(code_hash[2:])))
    simnet.must("bh-registry", "register-module", *arguments)
    simnet.mine(MODULE_DELAY)
    simnet.must("bh-registry", "activate-module", *version)
    simnet.must("bh-params", "add-switch", text("lend"), NONE)
    simnet.must("bh-params", "set-metric", text("lent-bp"), text("lending"), UInt(8_000), text("lend"), NONE)
    assert simnet.must("copying", "report-metric", text("lent-bp"), UInt(8_001), sender=STRANGER) is True
    metric, switch = simnet.folded.one(Metric, "lent-bp"), simnet.folded.one(Switch, "lend")
    assert metric is not None
    assert switch is not None
    assert (metric["value"], metric["limit"], metric["breaker"]) == (8_001, 8_000, "lend")
    assert (switch["flag"], switch["tripped"], switch["is_open"]) == (True, True, False)
    assert switch["reason"] == "above its limit: lent-bp"
    told = simnet.read("bh-params", "get-metric", text("lent-bp"))
    assert told == {key: metric[key] for key in ("module", "value", "limit", "breaker")}


def test_a_flag_stays_what_governance_made_it(simnet: Simnet) -> None:
    stake_all(simnet)
    off = action("set-flag", Tuple({"name": text("create"), "on": Bool(False)}))
    proposal = propose(simnet, off)
    (row,) = simnet.folded.all(ProposalAction)
    assert (row["kind"], row["arguments"]) == ("set-flag", {"name": "create", "on": False})
    assert row["proposal"] == proposal


def uints(**values: int) -> dict[str, Value]:
    return {name.replace("_", "-"): UInt(value) for name, value in values.items()}


def test_what_governance_may_set_is_foretold(simnet: Simnet) -> None:
    """Within the bounds it is set, outside them it is refused: as every call of this machine is foretold."""
    rules = uints(
        strike_min_bp=6_000,
        strike_max_bp=7_000,
        max_duration_burn=100,
        premium_mult_bp=7_000,
        ratio_min_bp=11_000,
        ratio_warn_bp=11_500,
        max_policy_bp=2_000,
        max_expiry_bp=2_000,
    )
    tier = Tuple({**rules, "active": Bool(True)})
    simnet.must("bh-params", "set-tier", text("deep"), tier, NONE)
    for wrong in ({"strike-min-bp": UInt(4_999)}, {"ratio-warn-bp": UInt(10_999)}, {"max-policy-bp": UInt(0)}):
        row = Tuple({**rules, "active": Bool(True), **wrong})
        assert simnet.call("bh-params", "set-tier", text("deep"), row, NONE).code == 2009
    assert simnet.call("bh-params", "set-tier", text("deep"), tier, NONE, sender=GUARDIAN).code == 2001
    token = {"asset": text("STX"), "asset-name": text("stx"), "native": Bool(True), "active": Bool(True)}
    numbers = uints(decimals=6, haircut_bp=2_000, cap=10**12)
    simnet.must("bh-params", "set-token", principal(STX), Tuple({**token, **numbers}), NONE)
    assert (
        simnet.call(
            "bh-params", "set-token", principal(STX), Tuple({**token, **numbers, "haircut-bp": UInt(5_001)}), NONE
        ).code
        == 2011
    )
    assert (
        simnet.call(
            "bh-params", "set-token", principal(STX), Tuple({**token, **numbers, "decimals": UInt(7)}), NONE
        ).code
        == 2012
    )
    simnet.must("bh-params", "add-switch", text("dance"), NONE)
    assert simnet.call("bh-params", "add-switch", text("dance"), NONE).code == 2017
    simnet.must("bh-params", "set-flag", text("dance"), Bool(True), NONE)
    simnet.must("bh-params", "set-metric", text("steps"), text("fund"), UInt(5), text("dance"), NONE)
    assert simnet.call("bh-params", "set-metric", text("steps"), text("fund"), UInt(5), text("sing"), NONE).code == 2007
    simnet.must("bh-params", "trip-breaker", text("dance"), text("tired"), sender=GUARDIAN)
    assert simnet.call("bh-params", "trip-breaker", text("dance"), text("tired"), sender=GUARDIAN).code == 2008
    simnet.must("bh-params", "reset-breaker", text("dance"), NONE)
    assert simnet.call("bh-registry", "handover", principal(GUARDIAN)).code == 1019
    simnet.must("bh-registry", "stand-for-governance", sender=GUARDIAN)
    simnet.must("bh-registry", "handover", principal(GUARDIAN))
    assert simnet.call("bh-registry", "handover", principal(GUARDIAN)).code == 1003
