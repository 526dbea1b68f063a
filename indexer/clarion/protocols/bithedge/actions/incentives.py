"""Reward programmes: bh-incentives."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from clarion.chains.stacks.clarity import bytes_from_hex
from clarion.protocols.bithedge import merkle
from clarion.protocols.bithedge.actions.declaration import SENDER, Action, Call, Send, at_least, exactly
from clarion.protocols.bithedge.actions.roles import check_governance, check_role
from clarion.protocols.bithedge.errors import RefusedError
from clarion.protocols.bithedge.merkle import MAX_LEAVES, depth, leaf_hash, root_of
from clarion.protocols.bithedge.outcomes import Check
from clarion.protocols.bithedge.tables import Program, ProgramEpoch, ProgramFund, Reward
from clarion.protocols.bithedge.units import BP, TokenAmount

MAX_AMOUNT: Final = 10**30
MAX_BURN: Final = 52_560
MAX_START: Final = 10**12


def _program(call: Call) -> Program:
    row = call.state.get(Program, call["program"])
    if row is None:
        raise RefusedError(11004)
    return row


def _epoch(call: Call) -> ProgramEpoch:
    row = call.state.get(ProgramEpoch, call["program"], call["epoch"])
    if row is None or row.state == "voided":
        raise RefusedError(11010)
    return row


def _check_create(call: Call) -> Check[None]:
    yield from check_governance(call, 11001)
    call.state.token(call["token"], 11022)
    terms = call["terms"]
    fits = (
        call.state.burn_height <= terms["start-burn"] <= MAX_START
        and 1 <= terms["epoch-burn"] <= MAX_BURN
        and 1 <= terms["epochs"] <= 1000
        and 1 <= terms["epoch-cap"] <= MAX_AMOUNT
        and terms["premium-bp"] <= BP
        and terms["vesting-burn"] <= MAX_BURN
        and 1 <= terms["claim-burn"] <= MAX_BURN
    )
    if not fits:
        yield 11005


def _check_token(call: Call, row: Program) -> Check[None]:
    if call["token"] != row.token:
        yield 11021


def _check_contribute(call: Call) -> Check[bool]:
    row = _program(call)
    yield from _check_token(call, row)
    if row.ended:
        yield 11006
    if not 0 < call["amt"] <= MAX_AMOUNT:
        yield 11024
    return True


def _set_aside(call: Call) -> int:
    row = call.state.get(ProgramFund, call["program"], call["token"])
    return 0 if row is None else row.amount


def _check_draw(call: Call) -> Check[int]:
    yield from _check_token(call, _program(call))
    if _set_aside(call) == 0:
        yield 7011
    return _set_aside(call)


def _check_post(call: Call) -> Check[bool]:
    yield from check_role(call, 11002, "keeper")
    row = _program(call)
    if row.ended:
        yield 11006
    if row.start_burn is None or row.epoch_burn is None or row.epochs is None or row.epoch_cap is None:
        raise RefusedError(11004)
    over = row.start_burn + call["epoch"] * row.epoch_burn
    if not 1 <= call["epoch"] <= row.epochs or call.state.burn_height < over:
        yield 11008
    if not 1 <= call["leaves"] <= MAX_LEAVES:
        yield 11011
    if not 0 < call["total"] <= min(row.epoch_cap, row.budget):
        yield 11012
    posted = call.state.get(ProgramEpoch, call["program"], call["epoch"])
    if posted is not None and posted.state != "voided":
        yield 11009
    return True


def _check_void(call: Call) -> Check[bool]:
    yield from check_role(call, 11003, "governance", "guardian")
    _program(call)
    if call.state.burn_height >= _epoch(call).claimable_burn:
        yield 11013
    return True


def vested(call: Call, row: ProgramEpoch) -> int:
    """What of the sender's reward has vested and was not paid."""
    now, amount = call.state.burn_height, int(call["amt"])
    if now >= row.vested_burn:
        whole = amount
    else:
        whole = amount * (now - row.posted_burn) // (row.vested_burn - row.posted_burn)
    claimed = call.state.get(Reward, call["program"], call["epoch"], call.sender)
    return max(0, whole - (claimed.claimed if claimed else 0))


def _check_claim(call: Call) -> Check[int]:
    program, row = _program(call), _epoch(call)
    yield from _check_token(call, program)
    if call.state.burn_height < row.claimable_burn:
        yield 11014
    if call.state.burn_height > row.deadline_burn:
        yield 11015
    if call["index"] >= row.leaves or len(call["proof"]) != depth(row.leaves) or not _is_proven(call, row):
        yield 11017
    if call["amt"] > row.total:
        yield 11019
    amount = vested(call, row)
    if amount == 0:
        yield 11018
    return amount


def _is_proven(call: Call, row: ProgramEpoch) -> bool:
    leaf = leaf_hash(call["program"], call["epoch"], merkle.Reward(call.sender, TokenAmount(call["amt"])))
    return root_of(leaf, call["index"], call["proof"]) == bytes_from_hex(row.root)


def _claimed(call: Call) -> Iterable[Send]:
    try:
        row = _epoch(call)
    except RefusedError:
        return []
    return [at_least("bh-incentives", call["token"], vested(call, row))]


def _check_close(call: Call) -> Check[int]:
    _program(call)
    row = _epoch(call)
    if row.state == "closed":
        raise RefusedError(11009)
    if call.state.burn_height <= row.deadline_burn:
        yield 11016
    return row.total - row.claimed


def _check_end(call: Call) -> Check[bool]:
    yield from check_governance(call, 11001)
    if _program(call).ended:
        yield 11006
    return True


def _check_return(call: Call) -> Check[int]:
    row = _program(call)
    yield from _check_token(call, row)
    if not row.ended:
        yield 11007
    if row.budget == 0:
        yield 11020
    return row.budget


def _token(call: Call) -> str:
    token = call.state.need(Program, call["program"]).token
    assert token is not None
    return token


_TOKEN: Final = {"token": (_token, "the programme's token")}

ACTIONS: Final = (
    Action(
        "create-program",
        "bh-incentives",
        "create-program",
        "(token principal) (terms {start-burn: uint, epoch-burn: uint, epochs: uint, epoch-cap: uint, "
        "premium-bp: uint, vesting-burn: uint, claim-burn: uint}) (proposal (optional uint))",
        caller="governance; gives the programme's id",
        about="Begins a reward programme.",
        check=_check_create,
        says={"terms": "Its terms."},
    ),
    Action(
        "contribute-to-program",
        "bh-incentives",
        "contribute",
        "(program uint) (token <token>) (amt uint)",
        caller="anyone",
        about="Adds to a reward programme's budget.",
        check=_check_contribute,
        sends=lambda call: [exactly(SENDER, call["token"], call["amt"])],
        fills=_TOKEN,
    ),
    Action(
        "draw-program-funds",
        "bh-incentives",
        "draw-funds",
        "(program uint) (token <token>)",
        caller="anyone; gives the amount",
        about="Brings what the treasury set aside for a programme to its budget.",
        check=_check_draw,
        sends=lambda call: [at_least("bh-treasury", call["token"], _set_aside(call))],
        fills=_TOKEN,
    ),
    Action(
        "post-reward-root",
        "bh-incentives",
        "post-root",
        "(program uint) (epoch uint) (root (buff 32)) (total uint) (leaves uint)",
        caller="role `keeper`",
        about="Posts the Merkle root of an epoch's rewards.",
        check=_check_post,
        says={"total": "Sum of the rewards, in base units of the programme's token."},
    ),
    Action(
        "void-reward-root",
        "bh-incentives",
        "void-root",
        "(program uint) (epoch uint) (proposal (optional uint))",
        caller="governance or guardian, before `claimable-burn`",
        about="Refuses a posted root while it can be challenged.",
        check=_check_void,
    ),
    Action(
        "claim-reward",
        "bh-incentives",
        "claim",
        "(program uint) (epoch uint) (amt uint) (index uint) (proof (list 20 (buff 32))) (token <token>)",
        caller="user; gives what was paid",
        about="Takes what has vested of the sender's reward of an epoch.",
        check=_check_claim,
        sends=_claimed,
        fills=_TOKEN,
        says={
            "amt": "The sender's whole reward, as the epoch's tree has it; base units of the programme's token.",
            "index": "Place of the reward in the tree, from 0.",
            "proof": "Siblings from the reward's leaf up to the root.",
        },
    ),
    Action(
        "close-epoch",
        "bh-incentives",
        "close-epoch",
        "(program uint) (epoch uint)",
        caller="anyone, after `deadline-burn`; gives the amount",
        about="Returns what nobody claimed of an epoch by its deadline to the programme.",
        check=_check_close,
    ),
    Action(
        "end-program",
        "bh-incentives",
        "end-program",
        "(program uint) (proposal (optional uint))",
        caller="governance",
        about="Ends a reward programme; epochs already posted can still be claimed.",
        check=_check_end,
    ),
    Action(
        "return-program-budget",
        "bh-incentives",
        "return-budget",
        "(program uint) (token <token>)",
        caller="anyone, once ended; gives the amount",
        about="Gives what is left of an ended programme back to the treasury.",
        check=_check_return,
        sends=lambda call: [at_least("bh-incentives", call["token"], _program(call).budget)],
        fills=_TOKEN,
    ),
)
