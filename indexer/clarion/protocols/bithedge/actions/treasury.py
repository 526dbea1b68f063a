"""Platform fees: bh-treasury."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from clarion.chains.stacks.clarity import principal
from clarion.protocols.bithedge.actions.declaration import (
    SENDER,
    Action,
    Call,
    Reading,
    Send,
    at_least,
    exactly,
    no_check,
)
from clarion.protocols.bithedge.actions.roles import check_governance
from clarion.protocols.bithedge.errors import RefusedError
from clarion.protocols.bithedge.outcomes import Check
from clarion.protocols.bithedge.state import State
from clarion.protocols.bithedge.tables import (
    ProgramFund,
    TokenPool,
    TreasuryAllocation,
    TreasuryHolding,
    TreasuryShare,
)
from clarion.protocols.bithedge.units import BP

MAX_AMOUNT: Final = 10**30


def share_of(state: State, receiver: str, token: str) -> int:
    """What was shared out to a receiver and not paid."""
    row = state.get(TreasuryShare, receiver, token)
    return 0 if row is None else row.amount


def _fees(call: Call) -> int:
    pool = call.state.get(TokenPool, call["token"])
    return 0 if pool is None else pool.platform_fees


def _check_collect(call: Call) -> Check[int]:
    call.state.token(call["token"], 5001)
    if _fees(call) == 0:
        yield 5003
    return _fees(call)


def _check_contribute(call: Call) -> Check[bool]:
    if not 0 < call["amt"] <= MAX_AMOUNT:
        yield 7004
    call.state.token(call["token"], 7012)
    return True


def _check_allocations(call: Call) -> Check[bool]:
    yield from check_governance(call, 7001)
    names = [row["name"] for row in call["rows"]]
    if len(set(names)) < len(names):
        yield 7006
    if sum(row["share-bp"] for row in call["rows"]) != BP or not all(row["share-bp"] for row in call["rows"]):
        yield 7005
    return True


def _check_distribute(call: Call) -> Check[int]:
    holding = call.state.get(TreasuryHolding, call["token"])
    collected = 0 if holding is None else holding.collected
    rows = call.state.select(TreasuryAllocation, order=[("rank", False)], limit=10)
    amount = sum(collected * row.share_bp // BP for row in rows)
    if amount == 0:
        yield 7007
    return amount


def _check_claim(call: Call) -> Check[int]:
    amount = share_of(call.state, call.sender, call["token"])
    if amount == 0:
        yield 7008
    call.state.token(call["token"], 7012)
    return amount


def _check_own_share(call: Call) -> Check[bool]:
    yield from check_governance(call, 7001)
    if not 0 < call["amt"] <= MAX_AMOUNT:
        yield 7004
    if call["amt"] > share_of(call.state, call.state.contract("bh-treasury"), call["token"]):
        yield 7009
    return True


def _check_spend(call: Call) -> Check[bool]:
    yield from _check_own_share(call)
    call.state.token(call["token"], 7012)
    return True


def _check_discount(call: Call) -> Check[bool]:
    yield from check_governance(call, 7001)
    if call["bp"] > BP or call["until-burn"] <= call.state.burn_height:
        raise RefusedError(7010)
    return True


def _aside(call: Call) -> int:
    row = call.state.get(ProgramFund, call["program"], call["token"])
    return 0 if row is None else row.amount


def _check_unfund(call: Call) -> Check[bool]:
    yield from check_governance(call, 7001)
    if _aside(call) == 0:
        yield 7011
    return True


def _check_pass_on(call: Call) -> Check[bool]:
    """Whether the successor's delay is over is not foretold."""
    yield from check_governance(call, 7001)
    return True


def _owned(call: Call) -> int:
    """What the treasury passes on of a token: collected fees and its own share."""
    holding = call.state.get(TreasuryHolding, call["token"])
    own = share_of(call.state, call.state.contract("bh-treasury"), call["token"])
    return own if holding is None else own + holding.collected


def _contributed(call: Call) -> Iterable[Send]:
    return [exactly(SENDER, call["token"], call["amt"])]


ACTIONS: Final = (
    Action(
        "collect-platform-fees",
        "bh-treasury",
        "collect",
        "(token <token>)",
        caller="anyone; gives the amount",
        about="Brings the platform's part of premiums from the vault to the treasury.",
        check=_check_collect,
        sends=lambda call: [at_least("bh-vault", call["token"], _fees(call))],
    ),
    Action(
        "contribute-to-treasury",
        "bh-treasury",
        "contribute",
        "(token <token>) (amt uint)",
        caller="anyone",
        about="Gives the treasury tokens that governance may spend.",
        check=_check_contribute,
        sends=_contributed,
    ),
    Action(
        "set-treasury-allocations",
        "bh-treasury",
        "set-allocations",
        "(rows (list 10 {name: (string-ascii 16), receiver: principal, share-bp: uint})) (proposal (optional uint))",
        caller="governance",
        about="Says who gets which part of collected fees.",
        check=_check_allocations,
        says={"rows": "Every allocation; their parts sum to 10000."},
    ),
    Action(
        "distribute-fees",
        "bh-treasury",
        "distribute",
        "(token principal)",
        caller="anyone; gives the amount shared out",
        about="Shares collected fees out to the treasury's allocations.",
        check=_check_distribute,
    ),
    Action(
        "claim-treasury-share",
        "bh-treasury",
        "claim-share",
        "(token <token>)",
        caller="receiver; gives the amount",
        about="Takes everything that was shared out to the sender in a token.",
        check=_check_claim,
        reading=Reading("bh-treasury", "get-share", lambda call: (principal(call.sender), principal(call["token"]))),
        sends=lambda call: [at_least("bh-treasury", call["token"], share_of(call.state, call.sender, call["token"]))],
    ),
    Action(
        "spend-from-treasury",
        "bh-treasury",
        "spend",
        "(token <token>) (to principal) (amt uint) (proposal (optional uint))",
        caller="governance",
        about="Pays somebody out of the treasury's own share.",
        check=_check_spend,
        sends=lambda call: [exactly("bh-treasury", call["token"], call["amt"])],
        says={"to": "Who is paid."},
    ),
    Action(
        "fund-program",
        "bh-treasury",
        "fund-program",
        "(program uint) (token principal) (amt uint) (proposal (optional uint))",
        caller="governance",
        about="Sets part of the treasury's own share aside for a reward programme.",
        check=_check_own_share,
    ),
    Action(
        "unfund-program",
        "bh-treasury",
        "unfund-program",
        "(program uint) (token principal) (proposal (optional uint))",
        caller="governance",
        about="Makes what was set aside for a reward programme, and not drawn, the treasury's own share again.",
        check=_check_unfund,
    ),
    Action(
        "absorb-fees",
        "bh-treasury",
        "absorb",
        "(token <token>)",
        caller="anyone; books what reached it in a transfer, gives the amount",
        about="Books tokens that reached the treasury in a plain transfer.",
        check=no_check,
        is_whole=False,
    ),
    Action(
        "pass-on-fees",
        "bh-treasury",
        "pass-on-fees",
        "(token <token>) (proposal (optional uint))",
        caller="governance, of a replaced treasury; to its successor",
        about="Sends what a replaced treasury owns itself to its successor.",
        check=_check_pass_on,
        sends=lambda call: [at_least("bh-treasury", call["token"], _owned(call))],
        is_whole=False,
    ),
    Action(
        "set-discount",
        "bh-treasury",
        "set-discount",
        "(user principal) (bp uint) (until-burn uint) (proposal (optional uint))",
        caller="governance; bp 0 ends it",
        about="Lets a user pay less of the platform's fee for a time; 0 ends it.",
        check=_check_discount,
        says={
            "bp": "Part of the fee that is not paid, in basis points.",
            "until-burn": "Last Bitcoin block it holds in.",
        },
    ),
)
