"""Fees and rewards on the machine that runs the contracts: rows are what the contracts say, and the rewards that Python
computes from the events are those that the contract pays."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from support.bithedge_rows import DEPLOYER
from support.bithedge_simnet import ADDRESSES, SBTC, Simnet

from clarion.chains.stacks.clarity import NONE, Bool, Buffer, List, Some, StringAscii, Tuple, UInt, Value, principal
from clarion.protocols.bithedge import deployment
from clarion.protocols.bithedge.events import EVENTS, Event
from clarion.protocols.bithedge.incentives import (
    PolicyPremium,
    TokenPrice,
    capital_history,
    capital_points,
    epoch_of,
    epoch_points,
    premium_points,
    rewards,
)
from clarion.protocols.bithedge.merkle import RewardTree
from clarion.protocols.bithedge.tables import (
    Asset,
    FeeDiscount,
    Policy,
    Program,
    ProgramEntry,
    ProgramEpoch,
    ProgramFund,
    Reward,
    Token,
    TreasuryAllocation,
    TreasuryEntry,
    TreasuryHolding,
    TreasuryShare,
)
from clarion.protocols.bithedge.units import BasisPoints, BurnBlocks, BurnHeight, TokenAmount, Usd8

STX: Final = f"{DEPLOYER}.bh-stx"
TREASURY: Final = f"{DEPLOYER}.bh-treasury"
GUARDIAN, STRANGER, KEEPER = ADDRESSES[1:4]
BUYERS: Final = ADDRESSES[4:6]
FEEDERS: Final = ADDRESSES[6:9]
PROVIDERS: Final = (ADDRESSES[9], ADDRESSES[3])
PRICES: Final = {"BTC": Usd8(100_000 * 10**8), "STX": Usd8(2 * 10**8)}
PARAMETERS: Final = {**deployment.FAST_BLOCKS, "cancel-window": 2, "root-challenge": 2}
BUDGET: Final = 10**9


def text(value: str) -> Value:
    return StringAscii(value)


class Stage:
    """A deployed BitHedge that remembers at which Bitcoin block each event was printed."""

    def __init__(self, simnet: Simnet) -> None:
        self.simnet = simnet
        self.events: list[tuple[BurnHeight, Event]] = []

    def must(self, contract: str, function: str, *arguments: Value, sender: str = DEPLOYER) -> Any:
        before = len(self.simnet.printed)
        value = self.simnet.must(contract, function, *arguments, sender=sender)
        for emitter, printed in self.simnet.printed[before:]:
            struct = EVENTS[emitter.partition(".")[2], printed["topic"]]
            self.events.append((BurnHeight(self.simnet.burn), msgspec.convert(printed, struct)))
        return value

    def open(self) -> None:
        for who in ADDRESSES:
            self.simnet.ask(op="fund", who=who, ustx=str(10**15), sats=str(10**11))
        self.simnet.publish()
        self.must("bh-registry", "bootstrap", principal(GUARDIAN))
        self.must("bh-params", "bootstrap", principal(SBTC))
        feeds = [
            Tuple({"asset": text(name), "insurable": Bool(name == "BTC"), "reference-usd8": UInt(price)})
            for name, price in PRICES.items()
        ]
        feeders = [Tuple({"provider": principal(who), "weight": UInt(1)}) for who in FEEDERS]
        self.must("bh-oracle", "bootstrap", List(tuple(feeds)), List(tuple(feeders)))
        changes = [Tuple({"key": text(key), "value": UInt(value)}) for key, value in PARAMETERS.items()]
        self.must("bh-params", "set-params", List(tuple(changes)), NONE)
        self.must("bh-registry", "grant-role", text("keeper"), principal(KEEPER), NONE)
        self.close_rounds()

    def close_rounds(self) -> None:
        for asset, price in PRICES.items():
            number = UInt(self.simnet.read("bh-oracle", "get-asset", text(asset))["next-round"])
            observed = UInt(self.simnet.burn)
            for feeder in FEEDERS:
                self.must("bh-oracle", "submit-price", text(asset), number, UInt(price), observed, sender=feeder)
            self.must("bh-oracle", "close-round", text(asset), number, sender=STRANGER)

    def deposit(self, who: str, token: str, amount: int) -> None:
        self.must("bh-vault", "deposit", principal(token), text("aggressive"), UInt(amount), sender=who)

    def buy(self, owner: str, notional: int) -> int:
        """A 90% PUT, backed by the first provider; gives its id."""
        strike = PRICES["BTC"] * 9 // 10
        allocation = {"provider": principal(PROVIDERS[0]), "liability-usd8": UInt(strike * notional // 10**8)}
        policy: int = self.must(
            "bh-policy",
            "create-policy",
            text("put"),
            text("european"),
            text("BTC"),
            UInt(strike),
            UInt(notional),
            UInt(self.simnet.burn + 60),
            UInt(10**15),
            principal(STX),
            List((Tuple(allocation),)),
            sender=owner,
        )
        return policy

    def compare_treasury(self) -> None:
        rows, read = self.simnet.folded, self.simnet.read
        for holding in rows.all(TreasuryHolding):
            assert read("bh-treasury", "get-holdings", principal(holding["token"])) == {
                name: holding[name] for name in ("collected", "shared", "programs")
            }
        for share in rows.all(TreasuryShare):
            amount = read("bh-treasury", "get-share", principal(share["receiver"]), principal(share["token"]))
            assert amount == share["amount"]
        for fund in rows.all(ProgramFund):
            amount = read("bh-treasury", "get-program-funds", UInt(fund["program"]), principal(fund["token"]))
            assert amount == fund["amount"]
        for discount in rows.all(FeeDiscount):
            assert read("bh-treasury", "get-discount", principal(discount["who"])) == {
                "discount-bp": discount["discount_bp"],
                "until-burn": discount["until_burn"],
            }
        assert read("bh-treasury", "get-allocations") == [
            {"name": row["name"], "receiver": row["receiver"], "share-bp": row["share_bp"]}
            for row in rows.all(TreasuryAllocation)
        ]

    def compare_incentives(self) -> None:
        rows, read = self.simnet.folded, self.simnet.read
        terms = ("start_burn", "epoch_burn", "epochs", "epoch_cap", "premium_bp", "vesting_burn", "claim_burn")
        for program in rows.all(Program):
            assert read("bh-incentives", "get-program", UInt(program["id"])) == {
                name.replace("_", "-"): program[name] for name in (*terms, "token", "budget", "ended")
            }
        heights = ("posted_burn", "claimable_burn", "vested_burn", "deadline_burn")
        for epoch in rows.all(ProgramEpoch):
            said = read("bh-incentives", "get-epoch", UInt(epoch["program"]), UInt(epoch["epoch"]))
            if epoch["state"] == "voided":
                assert said is None
                continue
            assert said == {
                **{name.replace("_", "-"): epoch[name] for name in (*heights, "root", "total", "leaves", "claimed")},
                "closed": epoch["state"] == "closed",
            }
        for reward in rows.all(Reward):
            key = (UInt(reward["program"]), UInt(reward["epoch"]), principal(reward["who"]))
            assert read("bh-incentives", "get-claimed", *key) == reward["claimed"]


def test_fees_go_where_the_rows_say(simnet: Simnet) -> None:
    stage = Stage(simnet)
    stage.open()
    rows, must = simnet.folded, stage.must
    stage.deposit(PROVIDERS[0], STX, 20_000 * 10**6)
    must("bh-treasury", "set-discount", principal(BUYERS[0]), UInt(2_500), UInt(simnet.burn + 100), Some(UInt(3)))
    stage.buy(BUYERS[0], 500_000)
    stage.buy(BUYERS[1], 500_000)
    fees = {policy["owner"]: policy["fee_platform"] for policy in rows.all(Policy)}
    assert fees[BUYERS[0]] * 4 // 3 <= fees[BUYERS[1]]
    (discount,) = rows.all(FeeDiscount)
    assert (discount["who"], discount["discount_bp"], discount["proposal"]) == (BUYERS[0], 2_500, 3)
    assert discount["uses"] == 1

    def allocate(*parts: tuple[str, str, int]) -> None:
        items = [
            Tuple({"name": text(name), "receiver": principal(who), "share-bp": UInt(bp)}) for name, who, bp in parts
        ]
        must("bh-treasury", "set-allocations", List(tuple(items)), NONE)

    allocate(("a", STRANGER, 2_000), ("b", GUARDIAN, 3_000), ("own", TREASURY, 5_000))
    allocate(("community", STRANGER, 3_333), ("own", TREASURY, 6_667))
    assert [row["name"] for row in rows.all(TreasuryAllocation)] == ["community", "own"]
    stage.compare_treasury()
    collected = must("bh-treasury", "collect", principal(STX), sender=STRANGER)
    assert collected == sum(fees.values())
    shared = must("bh-treasury", "distribute", principal(STX), sender=STRANGER)
    stage.compare_treasury()
    must("bh-treasury", "contribute", principal(STX), UInt(1_000), sender=STRANGER)
    claimed = must("bh-treasury", "claim-share", principal(STX), sender=STRANGER)
    must("bh-treasury", "spend", principal(STX), principal(BUYERS[1]), UInt(100), Some(UInt(9)))
    must("bh-treasury", "fund-program", UInt(1), principal(STX), UInt(400), NONE)
    stage.compare_treasury()
    holding = rows.one(TreasuryHolding, STX)
    assert holding is not None
    assert holding["fees"] == collected
    assert (holding["contributed"], holding["claimed"], holding["spent"]) == (1_000, claimed, 100)
    assert holding["collected"] == collected - shared
    own = rows.one(TreasuryShare, TREASURY, STX)
    assert own is not None
    assert own["received"] == own["amount"] + 500
    entries = [(row["kind"], row["amount"], row["account"], row["proposal"]) for row in rows.all(TreasuryEntry)]
    assert entries == [
        ("fee-collected", collected, None, None),
        ("fee-distributed", claimed, STRANGER, None),
        ("fee-distributed", shared - claimed, TREASURY, None),
        ("contributed", 1_000, STRANGER, None),
        ("share-claimed", claimed, STRANGER, None),
        ("spent", 100, BUYERS[1], 9),
        ("program-funded", 400, None, None),
    ]
    rows.assert_complete()


def test_the_contract_pays_what_the_rule_gives(simnet: Simnet) -> None:
    stage = Stage(simnet)
    stage.open()
    rows, must = simnet.folded, stage.must
    stage.deposit(PROVIDERS[0], STX, 20_000 * 10**6)
    stage.deposit(PROVIDERS[1], SBTC, 10**6)
    start = simnet.burn + 3
    terms = {
        "start-burn": start,
        "epoch-burn": 10,
        "epochs": 2,
        "epoch-cap": BUDGET,
        "premium-bp": 6_000,
        "vesting-burn": 10,
        "claim-burn": 5,
    }
    program = must(
        "bh-incentives",
        "create-program",
        principal(STX),
        Tuple({name: UInt(value) for name, value in terms.items()}),
        Some(UInt(4)),
    )
    must("bh-treasury", "contribute", principal(STX), UInt(BUDGET), sender=STRANGER)
    must("bh-treasury", "fund-program", UInt(program), principal(STX), UInt(BUDGET // 4), NONE)
    must("bh-incentives", "draw-funds", UInt(program), principal(STX), sender=STRANGER)
    must("bh-incentives", "contribute", UInt(program), principal(STX), UInt(BUDGET * 3 // 4), sender=STRANGER)
    stage.compare_treasury()

    simnet.mine(4)
    stage.buy(BUYERS[0], 300_000)
    stage.buy(BUYERS[1], 500_000)
    given_up = stage.buy(BUYERS[1], 400_000)
    must("bh-policy", "cancel", UInt(given_up), principal(STX), sender=BUYERS[1])
    simnet.mine(2)
    must("bh-vault", "set-auto-match", Bool(False), sender=PROVIDERS[1])
    stage.deposit(PROVIDERS[0], STX, 5_000 * 10**6)
    simnet.mine(3)
    must("bh-vault", "set-auto-match", Bool(True), sender=PROVIDERS[1])
    must("bh-vault", "request-withdraw", principal(STX), text("aggressive"), UInt(10**9), sender=PROVIDERS[0])
    simnet.mine(start + 10 - simnet.burn)

    epoch = epoch_of(BurnHeight(start), BurnBlocks(10), 1)
    policies = [
        PolicyPremium(row["owner"], row["premium_usd8"], row["cancel_until_burn"], row["state"] == "cancelled")
        for row in rows.all(Policy)
    ]
    by_premium = premium_points(epoch, policies)
    assert set(by_premium) == set(BUYERS)
    prices = {
        row["token"]: TokenPrice(row["decimals"], asset["price_usd8"])
        for row in rows.all(Token)
        for asset in rows.all(Asset)
        if asset["asset"] == row["asset"]
    }
    by_capital = capital_points(epoch, capital_history(stage.events), prices)
    assert set(by_capital) == set(PROVIDERS)
    switched_off = capital_points(epoch, [c for c in capital_history(stage.events) if c.amount], prices)
    assert by_capital[PROVIDERS[1]] == switched_off[PROVIDERS[1]] * 7 // 10
    assert epoch_points(epoch, stage.events) == (by_premium, by_capital)
    given = rewards(TokenAmount(BUDGET), BasisPoints(6_000), by_premium, by_capital)
    tree = RewardTree(program, 1, given)
    assert BUDGET - 4 <= tree.total <= BUDGET

    wrong = RewardTree(program, 1, given[:1])

    def post(built: RewardTree) -> None:
        arguments = (UInt(1), Buffer(built.root), UInt(built.total), UInt(len(built.rewards)))
        must("bh-incentives", "post-root", UInt(program), *arguments, sender=KEEPER)

    post(wrong)
    stage.compare_incentives()
    must("bh-incentives", "void-root", UInt(program), UInt(1), NONE, sender=GUARDIAN)
    stage.compare_incentives()
    post(tree)
    stage.compare_incentives()
    for blocks in (4, 8):
        simnet.mine(blocks)
        for index, reward in enumerate(given[:-1]):
            proof = List(tuple(Buffer(sibling) for sibling in tree.proof(index)))
            arguments = (UInt(reward.amount), UInt(index), proof, principal(STX))
            must("bh-incentives", "claim", UInt(program), UInt(1), *arguments, sender=reward.who)
        stage.compare_incentives()
    claimed = {row["who"]: (row["claimed"], row["entitled"]) for row in rows.all(Reward)}
    assert claimed == {reward.who: (reward.amount, reward.amount) for reward in given[:-1]}

    simnet.mine(10)
    must("bh-incentives", "close-epoch", UInt(program), UInt(1), sender=STRANGER)
    must("bh-incentives", "end-program", UInt(program), NONE)
    must("bh-incentives", "return-budget", UInt(program), principal(STX), sender=STRANGER)
    stage.compare_incentives()
    stage.compare_treasury()
    row = rows.one(Program, program)
    assert row is not None
    paid = sum(reward.amount for reward in given[:-1])
    assert (row["budget"], row["funded"], row["claimed"]) == (0, BUDGET, paid)
    assert row["returned"] == BUDGET - paid
    first = rows.one(ProgramEpoch, program, 1)
    assert first is not None
    assert (first["state"], first["returned"]) == ("closed", given[-1].amount)
    kinds = [entry["kind"] for entry in rows.all(ProgramEntry)]
    assert kinds[:5] == ["budget-added", "budget-added", "epoch-posted", "epoch-voided", "epoch-posted"]
    assert kinds[5:] == ["reward-claimed"] * (2 * len(given) - 2) + ["epoch-closed", "budget-returned"]
    rows.assert_complete()
