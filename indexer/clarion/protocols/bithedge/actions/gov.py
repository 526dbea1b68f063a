"""Stake, votes and proposals: bh-gov."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Final

from clarion.protocols.bithedge.actions.declaration import SENDER, Action, Call, InputError, Send, exactly
from clarion.protocols.bithedge.errors import RefusedError
from clarion.protocols.bithedge.outcomes import Check
from clarion.protocols.bithedge.state import State
from clarion.protocols.bithedge.tables import (
    Governance,
    PowerCheckpoint,
    Proposal,
    ProposalAction,
    ProposalVote,
    Staker,
)
from clarion.protocols.bithedge.units import BP

MAX_AMOUNT: Final = 10**24
CHOICES: Final = ("for", "against", "abstain")


def _governance(state: State) -> Governance:
    return state.need(Governance, state.contract("bh-gov"))


def _token(call: Call) -> str:
    token = _governance(call.state).token
    if token is None:
        raise InputError("Governance has no token yet: bh-gov was not bootstrapped.")
    return token


def power_at(state: State, who: str, burn: int) -> int:
    """Voting power at the end of a Bitcoin block; ``who`` is bh-gov itself for everybody together."""
    found = state.select(
        PowerCheckpoint, who=who, at_most=("from_burn", burn), order=[("from_burn", True), ("index", True)], limit=1
    )
    return found[0].power if found else 0


def _staker(call: Call) -> Staker | None:
    return call.state.get(Staker, call.sender)


def _stake(call: Call) -> int:
    row = _staker(call)
    return 0 if row is None else row.stake


def _check_token(call: Call) -> Check[None]:
    if call["token"] != _governance(call.state).token:
        yield 10003


def _check_stake(call: Call) -> Check[bool]:
    yield from _check_token(call)
    if call["amt"] == 0 or _governance(call.state).power + call["amt"] > MAX_AMOUNT:
        yield 10004
    return True


def _check_unstake(call: Call) -> Check[bool]:
    yield from _check_token(call)
    if call["amt"] == 0:
        yield 10004
    row = _staker(call)
    if call["amt"] > _stake(call):
        yield 10006
    if row is not None and row.locked_until_burn is not None and call.state.burn_height <= row.locked_until_burn:
        yield 10007
    return True


def _check_delegate(call: Call) -> Check[bool]:
    row = _staker(call)
    if call["to"] == (call.sender if row is None else row.delegate):
        yield 10025
    return True


def _check_propose(call: Call) -> Check[None]:
    """Its actions' data are not looked into."""
    state, everybody = call.state, call.state.contract("bh-gov")
    snapshot = state.burn_height - 1
    total, power = power_at(state, everybody, snapshot), power_at(state, call.sender, snapshot)
    threshold = state.parameter("gov-threshold-bp")
    if total < state.parameter("gov-min-stake"):
        yield 10009
    if power * BP < threshold * total:
        yield 10008
    if not call["items"]:
        yield 10010


def _proposal(call: Call) -> Any:
    row = call.state.get(Proposal, call["proposal"])
    if row is None:
        raise RefusedError(10012)
    return row


def _check_vote(call: Call) -> Check[bool]:
    row = _proposal(call)
    if row.state != "active":
        yield 10013
    if call.state.burn_height > row.voting_ends_burn:
        yield 10015
    if call["choice"] not in CHOICES:
        yield 10016
    if power_at(call.state, call.sender, row.snapshot_burn) == 0:
        yield 10018
    if call.state.get(ProposalVote, row.id, call.sender) is not None:
        yield 10017
    return True


def _check_finalize(call: Call) -> Check[bool]:
    row = _proposal(call)
    if row.state != "active":
        yield 10013
    if call.state.burn_height <= row.voting_ends_burn:
        yield 10014
    decided = row.for_power + row.against_power
    enough = (decided + row.abstain_power) * BP >= row.quorum_bp * row.total_power
    return bool(row.for_power > 0 and enough and row.for_power * BP >= row.pass_bp * decided)


def _actions(call: Call) -> Sequence[ProposalAction]:
    return call.state.select(ProposalAction, proposal=call["proposal"], order=[("index", False)], limit=8)


def _check_execute(call: Call) -> Check[None]:
    """What its actions' own contracts refuse is not foretold."""
    row = _proposal(call)
    if row.state != "queued":
        yield 10013
    if call.state.burn_height < row.eta_burn:
        yield 10019
    if call.state.burn_height > row.grace_ends_burn:
        yield 10020
    if len(call["tokens"]) != row.actions:
        yield 10023


def _tokens(call: Call) -> list[str]:
    """The token that each action names, or the governance token where it names none."""
    return [str(action.arguments.get("token")) if action.kind == "spend" else _token(call) for action in _actions(call)]


def _spent(call: Call) -> Iterable[Send]:
    amounts: Counter[str] = Counter()
    for action in _actions(call):
        if action.kind == "spend":
            amounts[str(action.arguments["token"])] += int(action.arguments["amt"])
    return [exactly("bh-treasury", token, amount) for token, amount in sorted(amounts.items())]


def _check_expire(call: Call) -> Check[bool]:
    row = _proposal(call)
    if row.state != "queued":
        yield 10013
    if call.state.burn_height <= row.grace_ends_burn:
        yield 10021
    return True


def _check_cancel(call: Call) -> Check[bool]:
    row = _proposal(call)
    is_open = row.state == "active"
    if row.state not in ("active", "queued"):
        yield 10013
    may = call.sender == row.proposer if is_open else call.state.has_role("guardian", call.sender)
    if not may:
        yield 10022
    if is_open and call.state.burn_height > row.voting_ends_burn:
        yield 10015
    if not is_open and row.about_guardian:
        yield 10024
    return True


_FILL: Final = {"token": (_token, "the governance token")}

ACTIONS: Final = (
    Action(
        "stake",
        "bh-gov",
        "stake",
        "(token <token>) (amt uint)",
        caller="anyone",
        about="Stakes governance tokens; their power goes to the sender's delegate.",
        check=_check_stake,
        sends=lambda call: [exactly(SENDER, call["token"], call["amt"])],
        fills=_FILL,
        says={"token": "The governance token's contract id."},
    ),
    Action(
        "unstake",
        "bh-gov",
        "unstake",
        "(token <token>) (amt uint)",
        caller="staker",
        about="Takes staked tokens back, once the voting that the sender took part in is over.",
        check=_check_unstake,
        sends=lambda call: [exactly("bh-gov", call["token"], call["amt"])],
        fills=_FILL,
        says={"token": "The governance token's contract id."},
    ),
    Action(
        "delegate",
        "bh-gov",
        "delegate-to",
        "(to principal)",
        caller="anyone, for their own stake",
        about="Gives the power of the sender's stake to somebody, or back to the sender.",
        check=_check_delegate,
        says={"to": "Who votes with it."},
    ),
    Action(
        "propose",
        "bh-gov",
        "propose",
        "(title-hash (buff 32)) (uri (string-ascii 128)) (items (list 8 {kind: (string-ascii 24), data: (buff 2048)}))",
        caller="who has the threshold's power; gives the proposal's number",
        about="Makes a proposal of governance actions.",
        check=_check_propose,
        says={"items": "The actions, in order.", "kind": "Governance function that the action calls."},
        is_whole=False,
    ),
    Action(
        "vote",
        "bh-gov",
        "vote",
        "(proposal uint) (choice (string-ascii 8))",
        caller="who has power at the snapshot",
        about="Votes on a proposal.",
        check=_check_vote,
    ),
    Action(
        "finalize-proposal",
        "bh-gov",
        "finalize",
        "(proposal uint)",
        caller="anyone, after the voting; `true` queued, `false` defeated",
        about="Counts the votes of a proposal: true queues it, false is its defeat.",
        check=_check_finalize,
    ),
    Action(
        "execute-proposal",
        "bh-gov",
        "execute",
        "(proposal uint) (tokens (list 8 <token>))",
        caller="anyone, from eta-burn to grace-ends-burn",
        about="Makes every call of a proposal that passed.",
        check=_check_execute,
        sends=_spent,
        fills={"tokens": (_tokens, "the tokens that the actions name")},
        says={"tokens": "A token for each action: the one it names."},
        is_whole=False,
    ),
    Action(
        "expire-proposal",
        "bh-gov",
        "expire",
        "(proposal uint)",
        caller="anyone, after grace-ends-burn",
        about="Ends a proposal that nobody executed in time.",
        check=_check_expire,
    ),
    Action(
        "cancel-proposal",
        "bh-gov",
        "cancel",
        "(proposal uint)",
        caller="the proposer while it is voted on; the guardian while it is queued",
        about="Ends a proposal before its time.",
        check=_check_cancel,
    ),
)
