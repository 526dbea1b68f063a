"""What providers of capital do: bh-vault."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from clarion.chains.stacks.clarity import principal
from clarion.protocols.bithedge.actions.declaration import SENDER, Action, Call, Reading, Send, at_least, exactly
from clarion.protocols.bithedge.outcomes import Check, check_health, check_withdraw, withdrawal
from clarion.protocols.bithedge.state import State
from clarion.protocols.bithedge.tables import Position, TokenPool, WithdrawRequest, YieldBalance
from clarion.protocols.bithedge.units import BurnHeight, TokenAmount


def claimable(state: State, who: str, token: str) -> int:
    """What somebody can claim of a token as yield."""
    row = state.get(YieldBalance, who, token)
    return 0 if row is None else row.claimable


def _check_deposit(call: Call) -> Check[bool]:
    state = call.state
    token, tier = state.token(call["token"], 5001), state.tier(call["tier"], 5002)
    if not state.is_open("deposit"):
        yield 5004
    if not token.active:
        yield 5001
    if not tier.active:
        yield 5002
    if call["amt"] == 0:
        yield 5003
    pool = state.get(TokenPool, call["token"])
    held = 0 if pool is None else pool.available + pool.locked
    if held + call["amt"] > token.cap:
        yield 5006
    return True


def _position(call: Call, tier: str) -> Position | None:
    return call.state.get(Position, call.sender, tier, call["token"])


def _check_free(call: Call, position: Position | None, amount: int) -> Check[None]:
    if amount == 0:
        yield 5003
    if position is None or position.requested + amount > position.available:
        yield 5007


def _check_request(call: Call) -> Check[None]:
    call.state.parameter("withdrawal-delay")
    if not call.state.is_open("withdraw"):
        yield 5005
    yield from _check_free(call, _position(call, call["tier"]), call["amt"])


def _request(call: Call) -> WithdrawRequest:
    return call.state.need(WithdrawRequest, call["request"])


def _token_of_request(call: Call) -> str:
    return _request(call).token


def _check_withdraw(call: Call) -> Check[bool]:
    row = _request(call)
    yield from check_withdraw(call.state, call["request"], call.sender)
    if call["token"] != row.token:
        yield 5012
    return True


def _withdrawn(call: Call) -> Iterable[Send]:
    row = _request(call)
    position = call.state.need(Position, row.provider, row.tier, row.token)
    return [exactly("bh-vault", row.token, withdrawal(row, position))]


def _check_change_tier(call: Call) -> Check[bool]:
    state = call.state
    token = state.token(call["token"], 5001)
    state.tier(call["from"], 5002)
    to = state.tier(call["to"], 5002)
    if not state.is_open("deposit"):
        yield 5004
    if not state.is_open("withdraw"):
        yield 5005
    if not token.active:
        yield 5001
    if not to.active:
        yield 5002
    if call["from"] == call["to"]:
        yield 5026
    position = _position(call, call["from"])
    yield from _check_free(call, position, call["amt"])
    if position is not None:
        left = position.available + position.locked - call["amt"]
        yield from check_health(state, position, TokenAmount(max(0, left)))
    return True


def _check_auto_match(call: Call) -> Check[bool]:
    yield from ()
    return True


def _check_claim(call: Call) -> Check[int]:
    amount = claimable(call.state, call.sender, call["token"])
    if amount == 0:
        yield 5013
    return amount


def _claimed(call: Call) -> Iterable[Send]:
    return [at_least("bh-vault", call["token"], claimable(call.state, call.sender, call["token"]))]


def _paid_by_sender(call: Call) -> Iterable[Send]:
    return [exactly(SENDER, call["token"], call["amt"])]


def _fresh_until(call: Call) -> BurnHeight | None:
    """Where a withdrawal depends on a price: until that is stale."""
    row: Any = _request(call)
    position = call.state.need(Position, row.provider, row.tier, row.token)
    if position.liability_usd8 == 0:
        return None
    return call.state.fresh_until(call.state.price(call.state.token(row.token, 5001).asset))


ACTIONS: Final = (
    Action(
        "deposit",
        "bh-vault",
        "deposit",
        "(token <token>) (tier (string-ascii 16)) (amt uint)",
        caller="provider",
        about="Puts capital into a tier, where it backs policies and earns their premiums.",
        check=_check_deposit,
        sends=_paid_by_sender,
    ),
    Action(
        "request-withdraw",
        "bh-vault",
        "request-withdraw",
        "(token principal) (tier (string-ascii 16)) (amt uint)",
        caller="provider; gives the request id",
        about="Asks free capital back; it can be withdrawn after a delay.",
        check=_check_request,
    ),
    Action(
        "withdraw",
        "bh-vault",
        "withdraw",
        "(request uint) (token <token>)",
        caller="provider",
        about="Takes out what was asked back, once its delay is over.",
        check=_check_withdraw,
        sends=_withdrawn,
        fills={"token": (_token_of_request, "the request's token")},
        valid_until=_fresh_until,
    ),
    Action(
        "change-tier",
        "bh-vault",
        "change-tier",
        "(token principal) (from (string-ascii 16)) (to (string-ascii 16)) (amt uint)",
        caller="provider",
        about="Moves free capital to another tier.",
        check=_check_change_tier,
        says={"from": "Tier that the capital leaves.", "to": "Tier that it goes to."},
    ),
    Action(
        "set-auto-match",
        "bh-vault",
        "set-auto-match",
        "(on bool)",
        caller="provider",
        about="Says whether policies may be put on the sender's positions.",
        check=_check_auto_match,
        says={"on": "Whether they may."},
    ),
    Action(
        "claim-yield",
        "bh-vault",
        "claim-yield",
        "(token <token>)",
        caller="provider",
        about="Takes everything earned in a token: premiums, bounties and penalties.",
        check=_check_claim,
        sends=_claimed,
        reading=Reading("bh-vault", "get-yield", lambda call: (principal(call.sender), principal(call["token"]))),
    ),
)
