"""What treasury and fund own goes to the versions that replace them: rows are what the contracts say."""

from __future__ import annotations

import hashlib
from typing import Final

from support.bithedge_rows import DEPLOYER
from support.bithedge_simnet import ADDRESSES, SBTC, Simnet

from clarion.chains.stacks.clarity import NONE, Buffer, Some, StringAscii, UInt, principal
from clarion.protocols.bithedge import deployment
from clarion.protocols.bithedge.tables import (
    FundEntry,
    FundHolding,
    Module,
    ProgramFund,
    Role,
    TreasuryEntry,
    TreasuryHolding,
    TreasuryShare,
)
from clarion.protocols.bithedge.units import Usd8

STX: Final = f"{DEPLOYER}.bh-stx"
GOVERNANCE: Final = f"{DEPLOYER}.bh-gov"
TREASURY, FUND = f"{DEPLOYER}.bh-treasury", f"{DEPLOYER}.bh-fund"
HEIR: Final = f"{DEPLOYER}.heir"
HEIR_SOURCE: Final = "(define-read-only (get-seq) u0)"
MODULE_DELAY, SUCCESSION_DELAY = 2_016, 144
GUARDIAN, GIVER = ADDRESSES[1:3]


def test_a_replaced_module_passes_on_what_it_owns(simnet: Simnet) -> None:
    rows, must, token = simnet.folded, simnet.must, principal(STX)
    for who in ADDRESSES:
        simnet.ask(op="fund", who=who, ustx=str(10**15), sats="0")
    simnet.publish()
    feeds = [deployment.FeedRow(asset, Usd8(10**8), asset == "BTC") for asset in ("BTC", "STX")]
    feeders = [deployment.FeederRow(who, 1) for who in ADDRESSES[3:6]]
    for call in deployment.bootstrap(guardian=GUARDIAN, sbtc=SBTC, feeds=feeds, feeders=feeders, parameters={}):
        must(call.contract, call.function, *call.arguments)
    must("bh-gov", "bootstrap", token, StringAscii("stx"))
    candidate = rows.one(Role, "candidate", GOVERNANCE)
    assert candidate is not None
    assert candidate["until_burn"] is None

    must("bh-treasury", "contribute", token, UInt(1_000), sender=GIVER)
    must("bh-treasury", "fund-program", UInt(1), token, UInt(300), NONE)
    must("bh-treasury", "unfund-program", UInt(1), token, Some(UInt(7)))
    must("bh-fund", "capitalize", token, UInt(900), sender=GIVER)
    must("bh-fund", "set-coverage", StringAscii("balanced"), token, UInt(200), UInt(0), NONE)
    simnet.deploy_source("heir", HEIR_SOURCE)
    code_hash = Buffer(hashlib.new("sha512_256", HEIR_SOURCE.encode()).digest())
    for name in ("treasury", "fund"):
        must("bh-registry", "register-module", StringAscii(name), UInt(2), principal(HEIR), code_hash)
    simnet.mine(MODULE_DELAY)
    for name in ("treasury", "fund"):
        must("bh-registry", "activate-module", StringAscii(name), UInt(2))
    simnet.mine(SUCCESSION_DELAY)
    must("bh-treasury", "pass-on-fees", token, Some(UInt(8)))
    must("bh-fund", "pass-on-capital", token, Some(UInt(9)))

    assert [row["state"] for row in rows.all(Module) if row["module"] == "fund"] == ["draining", "active"]
    assert simnet.evaluate(f"(stx-get-balance '{HEIR})") == 1_000 + 700
    held, share, program = (
        rows.one(TreasuryHolding, STX),
        rows.one(TreasuryShare, TREASURY, STX),
        rows.one(ProgramFund, 1, STX),
    )
    assert held is not None
    assert share is not None
    assert program is not None
    holdings = {name: held[name] for name in ("collected", "shared", "programs")}
    assert simnet.read("bh-treasury", "get-holdings", token) == holdings == dict.fromkeys(holdings, 0)
    assert (held["passed_on"], share["amount"], program["amount"]) == (1_000, 0, 0)
    fund = rows.one(FundHolding, STX)
    assert fund is not None
    assert simnet.read("bh-fund", "get-holding", token) == {"balance": fund["balance"], "cover": fund["cover"]}
    assert (fund["balance"], fund["received"], fund["passed_on"]) == (200, 900, 700)
    kinds = [(row["kind"], row["amount"], row["account"], row["proposal"]) for row in rows.all(TreasuryEntry)]
    assert kinds == [
        ("contributed", 1_000, GIVER, None),
        ("program-funded", 300, None, None),
        ("program-unfunded", 300, None, 7),
        ("passed-on", 1_000, HEIR, 8),
    ]
    entries = [(row["kind"], row["amount"], row["balance"], row["account"]) for row in rows.all(FundEntry)]
    assert entries == [("gift", 900, 900, GIVER), ("passed-on", 700, 200, HEIR)]
    rows.assert_complete()
