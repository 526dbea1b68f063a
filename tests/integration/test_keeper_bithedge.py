"""BitHedge's jobs on the real contracts: what is due gets done as the job says, and a second time ends benignly."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
import pytest
from support.bithedge_keeper import INDEX, USD, seen, send
from support.bithedge_rows import DEPLOYER
from support.bithedge_scene import (
    BTC_USD8,
    BUYER,
    FUND,
    GUARDIAN,
    LARGE,
    PROVIDER,
    SMALL,
    STRANGER,
    STX,
    STX_USD8,
    TAKER,
    TIER,
    TOKEN,
    BitHedgeScene,
)
from support.bithedge_simnet import ADDRESSES, REPOSITORY, SBTC, Outcome
from support.bithedge_twin import ForetellingSimnet

from clarion.chains.stacks.clarity import (
    NONE,
    Bool,
    Buffer,
    List,
    StringAscii,
    Tuple,
    UInt,
    Value,
    encode,
    principal,
)
from clarion.protocols.bithedge import deployment
from clarion.protocols.bithedge.events import EVENTS, Event
from clarion.protocols.bithedge.tables import (
    Asset,
    ExpiryPrice,
    FundHolding,
    MarginCall,
    Policy,
    Program,
    ProgramEpoch,
    Proposal,
    RecoveryPlan,
    TreasuryHolding,
    YieldBalance,
)
from clarion.protocols.bithedge.units import BurnHeight
from clarion_keeper.bithedge.fees import (
    ClaimBounties,
    ClaimFundShare,
    ClaimFundYield,
    CollectPlatformFees,
    CollectReserveFees,
    DistributeFees,
)
from clarion_keeper.bithedge.fund import CompleteRecovery, CoverShortfall
from clarion_keeper.bithedge.governance import ExecuteProposal, ExpireProposal, FinalizeProposal
from clarion_keeper.bithedge.incentives import (
    CloseEpoch,
    DrawProgramFunds,
    Expected,
    PostRewardRoot,
    ReturnProgramBudget,
    RewardRootDiffers,
    RewardState,
    Roots,
    root_of_epoch,
)
from clarion_keeper.bithedge.liquidation import Liquidate
from clarion_keeper.bithedge.margins import EscalateMarginCall, IssueMarginCall, ResolveMarginCall
from clarion_keeper.bithedge.prices import ApplyFallback, CloseRound, FixExpiryPrice, PriceOverdue
from clarion_keeper.bithedge.reconciliation import compare, subjects
from clarion_keeper.bithedge.reminders import WithdrawalReminder
from clarion_keeper.bithedge.settlement import Settle
from clarion_keeper.intents import Intent, Verdict

KEEPER = ADDRESSES[9]
VAULT = f"{DEPLOYER}.bh-vault"
THIEF = REPOSITORY / "contracts" / "tests" / "fixtures" / "thief-token.clar"
RUNS_OUT_OF_NUMBERS = 8
"""The thief's plan that ends the transaction."""
DEADLINE = 145


@dataclass
class Machine(ForetellingSimnet):
    """A machine that remembers at which Bitcoin block each event was printed."""

    events: list[tuple[BurnHeight, Event]] = field(default_factory=list)

    def call(self, contract: str, function: str, *arguments: Value, sender: str = DEPLOYER) -> Outcome:
        before = len(self.printed)
        outcome = super().call(contract, function, *arguments, sender=sender)
        for emitter, printed in self.printed[before:]:
            struct = EVENTS[emitter.partition(".")[2], printed["topic"]]
            self.events.append((BurnHeight(self.burn), msgspec.convert(printed, struct)))
        return outcome


@pytest.fixture
def simnet() -> Iterator[Machine]:
    with Machine.start() as machine:
        yield machine


def due(simnet: Machine, job: Any) -> list[Intent]:
    return list(job.check(seen(simnet)))


def does(simnet: Machine, job: Any, *, again: Verdict = Verdict.DONE) -> list[Intent]:
    """Everything that is due is done, is not due afterwards, and the same transactions end benignly once more."""
    intents = due(simnet, job)
    assert intents, f"{job.name} finds nothing to do"
    batches = [intents[start : start + job.batch_size] for start in range(0, len(intents), job.batch_size)]
    for batch in batches:
        for outcome in send(simnet, job, *batch):
            assert (outcome.verdict, outcome.benign) == (Verdict.DONE, False), (job.name, outcome)
    assert not {intent.key for intent in due(simnet, job)} & {intent.key for intent in intents}
    for batch in batches:
        for outcome in send(simnet, job, *batch):
            assert outcome.verdict is again, (job.name, outcome)
            assert outcome.benign is (again is Verdict.DONE)
    return intents


def one(simnet: Machine, model: Any, *key: Any) -> dict[str, Any]:
    row = simnet.folded.one(model, *key)
    assert row is not None
    return row


def agrees(simnet: Machine) -> None:
    """Every row that is compared is what the contracts say, and a row that is not is found."""

    async def ask(contract: str, function: str, arguments: Sequence[Value]) -> Any:
        return simnet.read(contract, function, *arguments)

    listed = list(subjects(seen(simnet).chain))
    assert asyncio.run(compare(listed, ask)) == []
    wrong = [replace(subject, expected={**subject.expected, "available": -1}) for subject in listed]
    assert len(asyncio.run(compare(wrong, ask))) == len(listed)


def test_policies_end_and_owners_are_paid(simnet: Machine) -> None:
    """From rounds to expiry prices, settlements, shortfalls and recovery plans, fees and reminders."""
    scene = BitHedgeScene(simnet)
    settlements(simnet, scene)
    payouts(simnet, scene)
    payouts_in_several_tokens(simnet, scene)
    a_token_that_breaks_batches_off(simnet, scene)
    shortfalls(simnet, scene)
    fees(simnet, scene)
    withdrawals(simnet)
    fallbacks(simnet)
    agrees(simnet)


def settlements(simnet: Machine, scene: BitHedgeScene) -> None:
    policies = [scene.buy(SMALL, 3), scene.buy(SMALL, 3, TAKER), scene.buy(SMALL, 4)]
    simnet.mine(5)
    assert due(simnet, FixExpiryPrice(INDEX)) == due(simnet, Settle(INDEX)) == []
    for asset, price in (("BTC", BTC_USD8 * 96 // 100), ("STX", STX_USD8)):
        scene.submit(asset, price)
    (btc, stx) = does(simnet, CloseRound(INDEX, KEEPER))
    assert btc.value_usd8 < stx.value_usd8
    simnet.mine(4)
    assert len(due(simnet, PriceOverdue(INDEX))) == 0
    fixed = does(simnet, FixExpiryPrice(INDEX, KEEPER))
    assert {(i.item["asset"], i.item["expiry-burn"]) for i in fixed} == {
        (row["asset"], row["expiry_burn"]) for row in simnet.folded.all(ExpiryPrice)
    }
    settled = does(simnet, Settle(INDEX, KEEPER))
    assert [intent.item["policy"] for intent in settled] == [policy.value for policy in policies]
    assert {row["state"] for row in simnet.folded.all(Policy)} == {"expired-otm"}


def payouts(simnet: Machine, scene: BitHedgeScene) -> None:
    """A policy that pays is worth what its owner got."""
    scene.prices()
    policy = scene.buy(SMALL, 3)
    simnet.mine(10)
    assert {intent.item["asset"] for intent in due(simnet, PriceOverdue(INDEX))} == {"BTC", "STX"}
    scene.prices(btc=80)
    does(simnet, FixExpiryPrice(INDEX, KEEPER))
    (intent,) = does(simnet, Settle(INDEX, KEEPER))
    row = one(simnet, Policy, policy.value)
    assert (row["state"], row["payoff_usd8"]) == ("settled-itm", intent.value_usd8)


def payouts_in_several_tokens(simnet: Machine, scene: BitHedgeScene) -> None:
    """One transaction pays owners in their tokens, and moves nothing of whoever sends it."""
    simnet.must("bh-vault", "deposit", principal(SBTC), TIER, UInt(10**8), sender=PROVIDER)
    scene.prices()
    policies = [scene.buy(SMALL, 3), scene.buy(SMALL, 3, token=SBTC), scene.buy(SMALL, 3, TAKER)]
    simnet.mine(3)
    scene.prices(btc=80)
    does(simnet, FixExpiryPrice(INDEX, KEEPER))
    job = Settle(INDEX, KEEPER)
    intents = due(simnet, job)
    assert [intent.item["policy"] for intent in intents] == [policy.value for policy in policies]
    assert [(intent.reward, intent.value_usd8) for intent in intents] == [(None, 100 * USD)] * 3
    call = job.call([intent.item for intent in intents])
    assert (call.function, call.post_conditions) == ("settle-many", ())
    answer = simnet.call(call.contract, call.function, *call.arguments, sender=KEEPER)
    outcomes = job.outcomes([intent.item for intent in intents], answer.result)
    assert [(outcome.verdict, outcome.benign) for outcome in outcomes] == [(Verdict.DONE, False)] * 3
    moved = [event for event in answer.events if event["kind"] != "print"]
    assert Counter((event["kind"], event["sender"], event["recipient"]) for event in moved) == {
        ("stx_transfer", VAULT, BUYER): 2,
        ("ft_transfer", VAULT, BUYER): 1,
    }


def a_token_that_breaks_batches_off(simnet: Machine, scene: BitHedgeScene) -> None:
    """A listed token turns bad and ends every transaction that it is in: all others are settled without it."""
    thief, number = f"{DEPLOYER}.thief-token", UInt(0)
    simnet.deploy_source("thief-token", THIEF.read_text(encoding="ascii"))
    terms = {"asset": StringAscii("BTC"), "asset-name": StringAscii("thief"), "native": Bool(False)}
    terms |= {"decimals": UInt(8), "haircut-bp": UInt(0), "cap": UInt(10**12), "active": Bool(True)}
    simnet.must("bh-params", "set-token", principal(thief), Tuple(terms), NONE)
    for who in (PROVIDER, BUYER):
        simnet.must("thief-token", "mint", UInt(10**10), principal(who))
    simnet.must("bh-vault", "deposit", principal(thief), TIER, UInt(10**9), sender=PROVIDER)
    scene.prices()
    bad = scene.buy(2 * SMALL, 3, token=thief)
    good = {scene.buy(SMALL, 3, backer).value for backer in (PROVIDER, TAKER, PROVIDER)}
    simnet.mine(3)
    scene.prices(btc=80)
    does(simnet, FixExpiryPrice(INDEX, KEEPER))
    simnet.must("thief-token", "set-plan", UInt(RUNS_OUT_OF_NUMBERS), number)
    job = Settle(INDEX, KEEPER)
    settled: Counter[int] = Counter()
    for _ in range(5):
        intents = due(simnet, job)
        for start in range(0, len(intents), size := min(len(intents), job.batch_size)):
            batch = intents[start : start + size]
            for intent, outcome in zip(batch, send(simnet, job, *batch), strict=True):
                settled[int(intent.item["policy"])] += outcome.verdict is Verdict.DONE
    assert {policy for policy, times in settled.items() if times} == good
    assert max(settled.values()) == 1
    assert [intent.item["policy"] for intent in due(simnet, job)] == [bad.value]
    simnet.must("thief-token", "set-plan", UInt(0), number)
    does(simnet, job)


def fallbacks(simnet: Machine) -> None:
    simnet.must("bh-params", "trip-breaker", StringAscii("oracle"), StringAscii("silent"), sender=GUARDIAN)
    announced = (StringAscii("BTC"), UInt(BTC_USD8), StringAscii("silent"))
    simnet.must("bh-oracle", "set-fallback", *announced, sender=GUARDIAN)
    assert due(simnet, ApplyFallback(INDEX)) == []
    simnet.mine(144)
    does(simnet, ApplyFallback(INDEX, KEEPER))
    assert one(simnet, Asset, "BTC")["fallback_usd8"] is None


def test_positions_are_called_on_and_taken_over(simnet: Machine) -> None:
    """Margin calls, then liquidations: first by the fund, then by the keeper's own position."""
    scene = BitHedgeScene(simnet)
    margin_calls(simnet, scene)
    taken_by_the_fund(simnet, scene)
    taken_by_the_keeper(simnet, scene)
    agrees(simnet)


def margin_calls(simnet: Machine, scene: BitHedgeScene) -> None:
    scene.buy(LARGE, 3_000)
    scene.buy(LARGE, 3_001)
    jobs = [job(INDEX, KEEPER) for job in (IssueMarginCall, EscalateMarginCall, ResolveMarginCall)]
    issue, escalate, resolve = jobs
    assert [due(simnet, job) for job in jobs] == [[], [], []]
    scene.prices(stx=97)
    (intent,) = does(simnet, issue)
    assert intent.item["provider"] == PROVIDER
    assert due(simnet, escalate) == due(simnet, resolve) == []
    scene.prices(stx=80)
    does(simnet, escalate)
    scene.prices()
    does(simnet, resolve)
    (call,) = simnet.folded.all(MarginCall)
    assert (call["state"], call["level"]) == ("resolved", "hard")


def taken_by_the_fund(simnet: Machine, scene: BitHedgeScene) -> None:
    """A position does not answer its hard call; the fund takes over what brings it back, and the keeper earns."""
    job = Liquidate(INDEX, KEEPER)
    scene.prices(stx=80)
    does(simnet, IssueMarginCall(INDEX, KEEPER))
    simnet.mine(DEADLINE)
    assert due(simnet, job) == []  # at the call's own round
    scene.prices(stx=79)
    assert due(simnet, job) == []  # nobody takes it over
    simnet.must("bh-fund", "capitalize", TOKEN, UInt(300_000 * 10**6), sender=STRANGER)
    simnet.must("bh-fund", "set-coverage", TIER, TOKEN, UInt(0), UInt(10**15), NONE)
    simnet.must("bh-fund", "allocate", TOKEN, TIER, UInt(200_000 * 10**6))
    intents = does(simnet, job)
    assert {intent.item["taker"] for intent in intents} == {FUND}
    bounties = sum(intent.reward.amount for intent in intents if intent.reward is not None)
    assert one(simnet, YieldBalance, KEEPER, STX)["claimable"] == bounties > 0
    scene.prices(stx=79 * 50)
    does(simnet, ClaimBounties(INDEX, KEEPER), again=Verdict.FAILED)
    does(simnet, ClaimFundYield(INDEX, KEEPER))


def taken_by_the_keeper(simnet: Machine, scene: BitHedgeScene) -> None:
    """The keeper's own position takes over what the fund does not, and is paid what it foretold."""
    simnet.must("bh-fund", "set-coverage", TIER, TOKEN, UInt(0), UInt(0), NONE)
    simnet.must("bh-vault", "deposit", TOKEN, TIER, UInt(60_000 * 10**6), sender=KEEPER)
    scene.prices(stx=45)
    for job in (IssueMarginCall(INDEX, KEEPER), EscalateMarginCall(INDEX, KEEPER)):
        if due(simnet, job):
            does(simnet, job)
    simnet.mine(DEADLINE)
    scene.prices(stx=44)
    intents = does(simnet, Liquidate(INDEX, KEEPER))
    assert {intent.item["taker"] for intent in intents} == {KEEPER}
    assert all(int(intent.item["min-paid"]) > 0 for intent in intents)


def shortfalls(simnet: Machine, scene: BitHedgeScene) -> None:
    scene.prices()
    simnet.must("bh-fund", "capitalize", TOKEN, UInt(100_000 * 10**6), sender=STRANGER)
    simnet.must("bh-fund", "set-coverage", TIER, TOKEN, UInt(50_000 * 10**6), UInt(10**15), NONE)
    policy = scene.buy(SMALL, 3, TAKER)
    simnet.mine(3)
    scene.prices(btc=50, stx=25)
    for job in (FixExpiryPrice, Settle):
        does(simnet, job(INDEX, KEEPER))
    owed = one(simnet, Policy, policy.value)["unpaid_usd8"]
    assert owed > 0
    (intent,) = does(simnet, CoverShortfall(INDEX, KEEPER))
    assert one(simnet, Policy, policy.value)["unpaid_usd8"] == 0
    assert owed - 10**8 < intent.value_usd8 <= owed

    plans = [simnet.must("bh-fund", "start-recovery", TOKEN, UInt(100), UInt(1), NONE)]
    simnet.must("bh-fund", "contribute", UInt(plans[0]), TOKEN, UInt(100), sender=BUYER)
    does(simnet, CompleteRecovery(INDEX, KEEPER))
    plans.append(simnet.must("bh-fund", "start-recovery", TOKEN, UInt(100), UInt(1), NONE))
    assert due(simnet, CompleteRecovery(INDEX)) == []
    simnet.mine(2)
    does(simnet, CompleteRecovery(INDEX, KEEPER))
    assert [one(simnet, RecoveryPlan, plan)["state"] for plan in plans] == ["completed", "failed"]


def fees(simnet: Machine, scene: BitHedgeScene) -> None:
    scene.prices()
    rows = Tuple({"name": StringAscii("fund"), "receiver": principal(FUND), "share-bp": UInt(10_000)})
    simnet.must("bh-treasury", "set-allocations", List((rows,)), NONE)
    scene.buy(LARGE, 3_000)
    jobs = [job(INDEX, KEEPER) for job in (CollectPlatformFees, CollectReserveFees, DistributeFees, ClaimFundShare)]
    simnet.mine(1_008)
    for job in jobs:
        (intent,) = does(simnet, job)
        assert intent.value_usd8 > 10**8
    assert one(simnet, TreasuryHolding, STX)["collected"] == one(simnet, TreasuryHolding, STX)["shared"] == 0
    assert one(simnet, FundHolding, STX)["received"] > 0


def test_reward_programmes_and_proposals(simnet: Machine) -> None:
    scene = BitHedgeScene(simnet, deployment.StakeToken(STX, "stx"))
    reward_programmes(simnet, scene)
    proposals(simnet)


def proposals(simnet: Machine) -> None:
    simnet.must("bh-gov", "stake", TOKEN, UInt(2 * 10**12), sender=STRANGER)
    simnet.mine(2)
    simnet.must("bh-registry", "handover", principal(f"{DEPLOYER}.bh-gov"))
    flag = Tuple({"name": StringAscii("cancel"), "on": Bool(False)})
    flagging = Tuple({"kind": StringAscii("set-flag"), "data": Buffer(encode(flag))})
    unknown = Tuple({"name": StringAscii("nothing"), "on": Bool(False)})
    failing = Tuple({"kind": StringAscii("set-flag"), "data": Buffer(encode(unknown))})
    numbers = []
    for action in (flagging, failing):
        proposal = (Buffer(bytes(32)), StringAscii(""), List((action,)))
        numbers.append(simnet.must("bh-gov", "propose", *proposal, sender=STRANGER))
        simnet.must("bh-gov", "vote", UInt(numbers[-1]), StringAscii("for"), sender=STRANGER)
    assert due(simnet, FinalizeProposal(INDEX)) == []
    simnet.mine(7)
    does(simnet, FinalizeProposal(INDEX, KEEPER))
    simnet.mine(2)
    execute = ExecuteProposal(INDEX, KEEPER)
    good, bad = due(simnet, execute)
    assert [outcome.verdict for outcome in send(simnet, execute, good)] == [Verdict.DONE]
    assert [outcome.benign for outcome in send(simnet, execute, good)] == [True]
    assert [outcome.verdict for outcome in send(simnet, execute, bad)] == [Verdict.AGAIN]
    simnet.mine(145)
    does(simnet, ExpireProposal(INDEX, KEEPER))
    assert [one(simnet, Proposal, number)["state"] for number in numbers] == ["executed", "expired"]


def reward_programmes(simnet: Machine, scene: BitHedgeScene) -> None:
    simnet.must("bh-registry", "grant-role", StringAscii("keeper"), principal(KEEPER), NONE)
    simnet.must("bh-treasury", "contribute", TOKEN, UInt(10**9), sender=STRANGER)
    start = simnet.burn + 2
    terms = {"start-burn": start, "epoch-burn": 10, "epochs": 2, "epoch-cap": 10**8, "premium-bp": 5_000}
    rest = {"vesting-burn": 2, "claim-burn": 5}
    values = Tuple({name: UInt(value) for name, value in {**terms, **rest}.items()})
    program = simnet.must("bh-incentives", "create-program", TOKEN, values, NONE)
    simnet.must("bh-treasury", "fund-program", UInt(program), TOKEN, UInt(10**9), NONE)
    does(simnet, DrawProgramFunds(INDEX, KEEPER))
    simnet.mine(2)
    scene.prices()
    scene.buy(SMALL, 60)
    simnet.mine(16)

    row = seen(simnet).chain.get(Program, program)
    assert row is not None
    own = root_of_epoch(row, 1, simnet.events)
    assert own is not None
    assert own.leaves >= 2
    roots = Roots(INDEX)
    post, differs = PostRewardRoot(INDEX, KEEPER, roots), RewardRootDiffers(roots)

    def expected() -> RewardState:
        found = seen(simnet)
        return RewardState(found.receipt, found.chain, (Expected(program, 1, own, own),))

    (intent,) = post.check(expected())
    assert [outcome.verdict for outcome in send(simnet, post, intent)] == [Verdict.DONE]
    assert post.check(expected()) == differs.check(expected()) == []
    assert [outcome.benign for outcome in send(simnet, post, intent)] == [True]
    posted = one(simnet, ProgramEpoch, program, 1)
    assert (posted["root"], posted["total"], posted["leaves"]) == (own.root, own.total, own.leaves)

    simnet.mine(posted["deadline_burn"] + 1 - simnet.burn)
    does(simnet, CloseEpoch(INDEX, KEEPER))
    simnet.must("bh-incentives", "end-program", UInt(program), NONE)
    does(simnet, ReturnProgramBudget(INDEX, KEEPER))
    assert one(simnet, Program, program)["budget"] == 0


def withdrawals(simnet: Machine) -> None:
    request = simnet.must("bh-vault", "request-withdraw", TOKEN, TIER, UInt(10**6), sender=TAKER)
    job = WithdrawalReminder(INDEX)
    assert due(simnet, job) == []
    simnet.mine(1)
    (intent,) = due(simnet, job)
    assert intent.item == {"request": request, "provider": TAKER, "token": STX}
    simnet.must("bh-vault", "withdraw", UInt(request), TOKEN, sender=TAKER)
    assert due(simnet, job) == []
