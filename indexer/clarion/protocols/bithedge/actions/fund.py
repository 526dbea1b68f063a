"""The insurance fund: bh-fund."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from clarion.protocols.bithedge.actions.declaration import (
    SENDER,
    Action,
    Call,
    Send,
    at_least,
    at_most,
    exactly,
)
from clarion.protocols.bithedge.actions.roles import check_governance, check_role
from clarion.protocols.bithedge.actions.treasury import share_of
from clarion.protocols.bithedge.actions.vault import claimable
from clarion.protocols.bithedge.errors import RefusedError
from clarion.protocols.bithedge.outcomes import Check, check_withdraw, withdrawal
from clarion.protocols.bithedge.payoff import tokens_down
from clarion.protocols.bithedge.state import State
from clarion.protocols.bithedge.tables import (
    Claim,
    FundCover,
    FundHolding,
    FundPayment,
    Policy,
    Position,
    RecoveryPlan,
    TokenPool,
    WithdrawRequest,
)
from clarion.protocols.bithedge.units import BP, Usd8

MAX_RECOVERY: Final = 52_560


def _holding(state: State, token: str) -> FundHolding:
    return state.get(FundHolding, token) or FundHolding(token=token)


def _paid_by_sender(call: Call) -> Iterable[Send]:
    return [exactly(SENDER, call["token"], call["amt"])]


def _check_capitalize(call: Call) -> Check[bool]:
    if call["amt"] == 0:
        yield 8005
    call.state.token(call["token"], 8003)
    return True


def _reserve(call: Call) -> int:
    pool = call.state.get(TokenPool, call["token"])
    return 0 if pool is None else pool.reserve_fees


def _check_collect(call: Call) -> Check[int]:
    call.state.token(call["token"], 5001)
    if _reserve(call) == 0:
        yield 5003
    return _reserve(call)


def _share(call: Call) -> int:
    return share_of(call.state, call.state.contract("bh-fund"), call["token"])


def _check_share(call: Call) -> Check[int]:
    if _share(call) == 0:
        yield 7008
    return _share(call)


def _yield(call: Call) -> int:
    return claimable(call.state, call.state.contract("bh-fund"), call["token"])


def _check_yield(call: Call) -> Check[int]:
    if _yield(call) == 0:
        yield 5013
    return _yield(call)


def _check_absorb(call: Call) -> Check[None]:
    call.state.token(call["token"], 8003)
    yield from ()


def _check_coverage(call: Call) -> Check[bool]:
    yield from check_governance(call, 8001)
    call.state.token(call["token"], 8003)
    call.state.tier(call["tier"], 8004)
    return True


def claim_allowance(state: State, policy: Policy) -> Usd8:
    """What an approved claim still lets the fund pay beyond its cap per event; 0 without one."""
    claim = state.get(Claim, policy.id)
    if claim is None or claim.state != "approved":
        return Usd8(0)
    return Usd8(max(0, policy.unpaid_usd8 - (claim.unpaid_usd8 - claim.approved_usd8)))


def _check_cover(call: Call) -> Check[int]:
    state = call.state
    if not state.is_open("cover"):
        yield 8007
    row = state.get(Policy, call["policy"])
    if row is None or row.unpaid_usd8 == 0:
        raise RefusedError(8008)
    token = state.token(call["token"], 8003)
    price = state.market_price(token.asset)
    balance = _holding(state, token.token).balance
    payments = state.select(FundPayment, policy=row.id, token=token.token, order=[("seq", False)], limit=1000)
    paid = sum(payment.amount for payment in payments)
    event_cap = (balance + paid) * state.parameter("fund-event-cap-bp") // BP
    room = max(event_cap - paid, 0, tokens_down(claim_allowance(state, row), token.decimals, price.usd8))
    due = tokens_down(row.unpaid_usd8, token.decimals, price.usd8)
    amount = min(due, room, balance, _left(state, row.tier, token.token))
    if amount == 0:
        yield 8009
    return amount


def _unpromised(call: Call) -> int:
    row = _holding(call.state, call["token"])
    return max(0, row.balance - row.cover)


def _check_pass_on(call: Call) -> Check[bool]:
    """Whether the successor's delay is over is not foretold."""
    yield from check_governance(call, 8001)
    return True


def _left(state: State, tier: str, token: str) -> int:
    cover = state.get(FundCover, tier, token)
    return 0 if cover is None else cover.left


def _token_of_policy(call: Call) -> str:
    return call.state.need(Policy, call["policy"]).token


def _covered(call: Call) -> Iterable[Send]:
    """No more than the fund still has for the policy's tier."""
    row = call.state.need(Policy, call["policy"])
    most = min(_holding(call.state, call["token"]).balance, _left(call.state, row.tier, call["token"]))
    return [at_most("bh-fund", call["token"], most)]


def _check_allocate(call: Call) -> Check[bool]:
    state = call.state
    token = state.token(call["token"], 8003)
    yield from check_role(call, 8002, "governance", "fund-manager")
    if call["amt"] == 0:
        yield 8005
    row = _holding(state, call["token"])
    if call["amt"] + row.cover > row.balance:
        yield 8010
    tier = state.tier(call["tier"], 5002)
    if not state.is_open("deposit"):
        yield 5004
    if not token.active:
        yield 5001
    if not tier.active:
        yield 5002
    return True


def _check_request_release(call: Call) -> Check[None]:
    yield from check_role(call, 8002, "governance", "fund-manager")
    if not call.state.is_open("withdraw"):
        yield 5005
    if call["amt"] == 0:
        yield 5003
    position = call.state.get(Position, call.state.contract("bh-fund"), call["tier"], call["token"])
    if position is None or position.requested + call["amt"] > position.available:
        yield 5007


def _request(call: Call) -> WithdrawRequest:
    return call.state.need(WithdrawRequest, call["request"])


def _check_release(call: Call) -> Check[int]:
    amount = yield from check_withdraw(call.state, call["request"], call.state.contract("bh-fund"))
    return amount


def _released(call: Call) -> Iterable[Send]:
    row = _request(call)
    position = call.state.need(Position, row.provider, row.tier, row.token)
    return [exactly("bh-vault", row.token, withdrawal(row, position))]


def _check_recovery(call: Call) -> Check[None]:
    yield from check_governance(call, 8001)
    call.state.token(call["token"], 8003)
    if call["target"] == 0 or not 1 <= call["duration-burn"] <= MAX_RECOVERY:
        yield 8019
    if call.state.select(RecoveryPlan, token=call["token"], state="open", order=[("id", False)], limit=1):
        yield 8017


def _plan(call: Call) -> RecoveryPlan:
    row = call.state.get(RecoveryPlan, call["plan"])
    if row is None or row.state != "open":
        raise RefusedError(8018)
    return row


def _check_contribute(call: Call) -> Check[bool]:
    row = _plan(call)
    if call["token"] != row.token:
        yield 8003
    if call["amt"] == 0:
        yield 8005
    if row.raised + call["amt"] > row.target or call.state.burn_height > row.ends_burn:
        yield 8020
    return True


def _check_complete(call: Call) -> Check[bool]:
    row = _plan(call)
    is_reached = row.raised >= row.target
    if not is_reached and call.state.burn_height <= row.ends_burn:
        yield 8021
    return is_reached


def _token_of_plan(call: Call) -> str:
    return call.state.need(RecoveryPlan, call["plan"]).token


def _token_of_request(call: Call) -> str:
    return _request(call).token


ACTIONS: Final = (
    Action(
        "capitalize-fund",
        "bh-fund",
        "capitalize",
        "(token <token>) (amt uint)",
        caller="anyone, their own tokens",
        about="Gives the insurance fund tokens.",
        check=_check_capitalize,
        sends=_paid_by_sender,
    ),
    Action(
        "collect-reserve-fees",
        "bh-fund",
        "collect",
        "(token <token>)",
        caller="anyone; the reserve's fees in the vault",
        about="Brings the reserve's part of premiums from the vault to the fund.",
        check=_check_collect,
        sends=lambda call: [at_least("bh-vault", call["token"], _reserve(call))],
    ),
    Action(
        "claim-fund-share",
        "bh-fund",
        "claim-share",
        "(token <token>)",
        caller="anyone; the fund's share in the treasury",
        about="Brings the fund's share of the treasury to the fund.",
        check=_check_share,
        sends=lambda call: [at_least("bh-treasury", call["token"], _share(call))],
    ),
    Action(
        "claim-fund-yield",
        "bh-fund",
        "claim-yield",
        "(token <token>)",
        caller="anyone; the fund's yield in the vault",
        about="Brings what the fund earned in the vault to the fund.",
        check=_check_yield,
        sends=lambda call: [at_least("bh-vault", call["token"], _yield(call))],
    ),
    Action(
        "absorb-gifts",
        "bh-fund",
        "absorb",
        "(token <token>)",
        caller="anyone; what came in a plain transfer",
        about="Books tokens that reached the fund in a plain transfer.",
        check=_check_absorb,
        is_whole=False,
    ),
    Action(
        "set-coverage",
        "bh-fund",
        "set-coverage",
        "(tier (string-ascii 16)) (token principal) (left uint) (max-liability-usd8 uint) (proposal (optional uint))",
        caller="governance",
        about="Says what the fund still pays for a tier's policies in a token.",
        check=_check_coverage,
    ),
    Action(
        "cover-shortfall",
        "bh-fund",
        "cover-shortfall",
        "(policy uint) (token <token>)",
        caller="anyone; paid to the policy's owner",
        about="Lets the fund pay what a policy's collateral could not, to its owner.",
        check=_check_cover,
        sends=_covered,
        fills={"token": (_token_of_policy, "the policy's token")},
    ),
    Action(
        "allocate-fund-capital",
        "bh-fund",
        "allocate",
        "(token <token>) (tier (string-ascii 16)) (amt uint)",
        caller="governance, role `fund-manager`",
        about="Puts capital of the fund that is not promised into its position in a tier.",
        check=_check_allocate,
        sends=lambda call: [exactly("bh-fund", call["token"], call["amt"])],
    ),
    Action(
        "request-fund-release",
        "bh-fund",
        "request-release",
        "(token principal) (tier (string-ascii 16)) (amt uint)",
        caller="governance, role `fund-manager`; gives the vault's request",
        about="Asks free capital of the fund's position back.",
        check=_check_request_release,
    ),
    Action(
        "release-fund-capital",
        "bh-fund",
        "release",
        "(request uint) (token <token>)",
        caller="anyone; paid to the fund",
        about="Takes capital that the fund asked back out of the vault.",
        check=_check_release,
        sends=_released,
        fills={"token": (_token_of_request, "the request's token")},
    ),
    Action(
        "pass-on-capital",
        "bh-fund",
        "pass-on-capital",
        "(token <token>) (proposal (optional uint))",
        caller="governance, of a replaced fund; to its successor",
        about="Sends what a replaced fund has not promised to its successor.",
        check=_check_pass_on,
        sends=lambda call: [at_least("bh-fund", call["token"], _unpromised(call))],
        is_whole=False,
    ),
    Action(
        "start-recovery",
        "bh-fund",
        "start-recovery",
        "(token principal) (target uint) (duration-burn uint) (proposal (optional uint))",
        caller="governance; gives the plan",
        about="Opens a plan to raise an amount for the fund.",
        check=_check_recovery,
    ),
    Action(
        "contribute-to-recovery",
        "bh-fund",
        "contribute",
        "(plan uint) (token <token>) (amt uint)",
        caller="anyone, their own tokens",
        about="Gives tokens to an open recovery plan.",
        check=_check_contribute,
        sends=_paid_by_sender,
        fills={"token": (_token_of_plan, "the plan's token")},
    ),
    Action(
        "complete-recovery",
        "bh-fund",
        "complete-recovery",
        "(plan uint)",
        caller="anyone; gives whether the target was reached",
        about="Ends a recovery plan that has reached its target, or its end.",
        check=_check_complete,
    ),
)
