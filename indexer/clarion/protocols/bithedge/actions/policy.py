"""What buyers and owners of policies do, and those who settle them: bh-policy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Final

from clarion.chains.stacks.clarity import StringAscii, UInt, Value, principal
from clarion.protocols.bithedge.actions.declaration import (
    SENDER,
    Action,
    Call,
    InputError,
    Option,
    Reading,
    Send,
    at_least,
    at_most,
    exactly,
)
from clarion.protocols.bithedge.errors import RefusedError, require
from clarion.protocols.bithedge.matching import CapacityError
from clarion.protocols.bithedge.outcomes import (
    Check,
    Payout,
    check_cancel,
    check_exercise,
    check_settle,
    collateral_of,
    foretell,
    refund,
)
from clarion.protocols.bithedge.payoff import ceil_div, health_bp, required_collateral
from clarion.protocols.bithedge.quoting import Quote, Terms, cover, quote
from clarion.protocols.bithedge.tables import Claim, Exposure, Policy, Position
from clarion.protocols.bithedge.units import BP, BurnHeight, Sats, TokenAmount, Usd8

SLIPPAGE: Final = Option(
    "slippage-bp",
    "How much worse than foretold it may be when it is mined, in basis points",
    default=300,
    greatest=BP,
)


def _terms(call: Call) -> Terms:
    if call["type"] not in ("put", "call"):
        raise InputError(f"type is put or call, not {call['type']!r}.")
    return Terms(
        call["type"],
        call["asset"],
        Usd8(call["strike-usd8"]),
        Sats(call["notional-sat"]),
        BurnHeight(call["expiry-burn"]),
        call["token"],
    )


def _quote(call: Call) -> Quote:
    return quote(call.state, _terms(call), call.sender)


def _quote_arguments(call: Call) -> tuple[Value, ...]:
    terms = _terms(call)
    return (
        StringAscii(terms.type),
        StringAscii(terms.asset),
        UInt(terms.strike),
        UInt(terms.notional),
        UInt(terms.expiry_burn),
        principal(terms.token),
        principal(call.sender),
    )


def _max_premium(call: Call) -> int:
    return ceil_div(_quote(call).premium * (BP + int(call[SLIPPAGE.name])), BP)


def _cover(call: Call) -> list[Mapping[str, Any]]:
    try:
        found = cover(call.state, _quote(call))
    except CapacityError as error:
        raise InputError(
            f"Nobody covers the policy: the tier's positions can cover {error.coverable} of {error.needed} "
            f"(US dollars x 10^8). Ask for less, for another token, or give allocations."
        ) from None
    return [{"provider": part.provider, "liability-usd8": part.liability} for part in found]


def _check_create(call: Call) -> Check[None]:
    if not call.state.is_open("create"):
        yield 6001
    if call["style"] not in ("european", "american"):
        yield 6003
    quoted = _quote(call)
    if quoted.premium > call["max-premium"]:
        yield 6010
    yield from _check_cover(call, quoted)


def _check_cover(call: Call, quoted: Quote) -> Check[None]:
    """What bh-vault checks of each allocation, in its order."""
    state, token = call.state, call.state.token(call["token"], 5001)
    tier, least = state.tier(quoted.tier, 5002), state.parameter("min-allocation-usd8")
    seen: set[str] = set()
    total = 0
    for part in call["allocations"]:
        provider, liability = part["provider"], Usd8(part["liability-usd8"])
        total += liability
        require(liability <= quoted.max_payout, 5022)
        amount = required_collateral(liability, token.decimals, quoted.token_price, tier.ratio_min_bp, token.haircut_bp)
        key = (provider, tier.name, call["token"])
        held = state.get(Position, *key) or Position(provider=provider, tier=tier.name, token=call["token"])
        exposure = state.get(Exposure, *key, call["expiry-burn"])
        capital = TokenAmount(held.available + held.locked)
        if not state.is_auto_match(provider):
            yield 5017
        if provider in seen:
            yield 5018
        seen.add(provider)
        if liability < least:
            yield 5019
        if held.requested + amount > held.available:
            yield 5007
        if amount * BP > capital * tier.max_policy_bp:
            yield 5020
        if (amount + (exposure.amount if exposure else 0)) * BP > capital * tier.max_expiry_bp:
            yield 5021
        health = health_bp(
            capital, token.decimals, quoted.token_price, token.haircut_bp, Usd8(held.liability_usd8 + liability)
        )
        if (health or 0) < tier.ratio_min_bp:
            yield 5011
    if total != quoted.max_payout:
        yield 5022


def _quote_valid_until(call: Call) -> BurnHeight | None:
    try:
        return _quote(call).valid_until_burn
    except RefusedError:
        return None


def _policy(call: Call) -> Policy:
    return call.state.need(Policy, call["policy"])


def _token(call: Call) -> str:
    return _policy(call).token


_TOKEN: Final = {"token": (_token, "the policy's token")}


def _check_token(call: Call) -> Check[None]:
    if call["token"] != _token(call):
        yield 5012


def _check_settle(call: Call) -> Check[bool]:
    yield from check_settle(call.state, call["policy"])
    yield from _check_token(call)
    return True


def _settled(call: Call) -> Iterable[Send]:
    """What it pays where its prices are fixed, else no more than is locked for it."""
    row = _policy(call)
    foretold = foretell(lambda: check_settle(call.state, row.id))
    if isinstance(foretold.result, Payout):
        paid = foretold.result.paid
        return [exactly("bh-vault", row.token, paid)] if paid else []
    return [at_most("bh-vault", row.token, collateral_of(call.state, row))]


def _check_many(call: Call) -> Check[list[dict[str, int]]]:
    """A batch never fails as a whole; it says what became of each."""
    found = []
    for item in call["items"]:
        one = Call(call.sender, item, call.state)
        refusals = foretell(lambda one=one: _check_settle(one)).refusals  # type: ignore[misc]
        found.append({"policy": item["policy"], "error": refusals[0] if refusals else 0})
    yield from ()
    return found


def _settled_many(call: Call) -> Iterable[Send]:
    most: Counter[str] = Counter()
    for item in call["items"]:
        for send in _settled(Call(call.sender, item, call.state)):
            most[send.token] += send.amount
    return [at_most("bh-vault", token, amount) for token, amount in sorted(most.items())]


def _check_exercise(call: Call) -> Check[bool]:
    yield from check_exercise(call.state, call["policy"], call.sender)
    yield from _check_token(call)
    return True


def _exercised(call: Call) -> Iterable[Send]:
    """At least what it would pay now, less the slippage; where it cannot be exercised now, no more than is locked."""
    row = _policy(call)
    foretold = foretell(lambda: check_exercise(call.state, row.id, call.sender))
    most = at_most("bh-vault", row.token, collateral_of(call.state, row))
    if not isinstance(foretold.result, Payout):
        return [most]
    return [at_least("bh-vault", row.token, foretold.result.paid * (BP - call[SLIPPAGE.name]) // BP), most]


def _prices_fresh_until(call: Call) -> BurnHeight | None:
    state, row = call.state, _policy(call)
    token = state.token(row.token, 6005)
    return min(
        state.fresh_until(state.price(row.asset)),
        state.fresh_until(state.price(token.asset)),
        BurnHeight(row.expiry_burn - 1),
    )


def _check_cancel(call: Call) -> Check[bool]:
    yield from check_cancel(call.state, call["policy"], call.sender)
    yield from _check_token(call)
    return True


def _refunded(call: Call) -> Iterable[Send]:
    amount = refund(call.state, _policy(call))
    return [exactly("bh-vault", _token(call), amount)] if amount else []


def _cancel_until(call: Call) -> BurnHeight | None:
    row = _policy(call)
    return min(row.cancel_until_burn, call.state.fresh_until(call.state.price(row.asset)))


def _check_open_claim(call: Call) -> Check[bool]:
    row = call.state.get(Policy, call["policy"])
    if row is None:
        raise RefusedError(6011)
    if call.sender != row.owner:
        yield 6015
    if row.unpaid_usd8 == 0:
        yield 6028
    if call.state.get(Claim, row.id) is not None:
        yield 6029
    return True


def _check_resolve_claim(call: Call) -> Check[bool]:
    if not call.state.has_role("arbiter", call.sender):
        yield 6031
    row = call.state.get(Policy, call["policy"])
    if row is None:
        raise RefusedError(6011)
    claim = call.state.get(Claim, row.id)
    if claim is None or claim.state != "open":
        yield 6030
    if call["approved-usd8"] > row.unpaid_usd8:
        yield 6032
    return True


ACTIONS: Final = (
    Action(
        "create-policy",
        "bh-policy",
        "create-policy",
        "(type (string-ascii 4)) (style (string-ascii 8)) (asset (string-ascii 12)) (strike-usd8 uint) "
        "(notional-sat uint) (expiry-burn uint) (max-premium uint) (token <token>) "
        "(allocations (list 10 {provider: principal, liability-usd8: uint}))",
        caller="buyer, who becomes the owner; gives the policy id",
        about="Buys a policy, whose owner is the sender. See `quote` for what it costs.",
        check=_check_create,
        sends=lambda call: [at_most(SENDER, call["token"], call["max-premium"])],
        fills={
            "max-premium": (_max_premium, "the quoted premium and the slippage"),
            "allocations": (_cover, "what `matchPreview` proposes"),
        },
        options=(SLIPPAGE,),
        says={
            "max-premium": "The most that the buyer pays.",
            "allocations": "Who covers which part of the maximum payout; the parts sum to it.",
            "asset": "Price feed that the policy is on, such as BTC.",
        },
        reading=Reading("bh-policy", "quote", _quote_arguments),
        valid_until=_quote_valid_until,
    ),
    Action(
        "settle",
        "bh-policy",
        "settle",
        "(policy uint) (token <token>)",
        caller="anyone",
        about="Ends an expired policy at the price that was fixed for its expiry; what it pays goes to its owner.",
        check=_check_settle,
        sends=_settled,
        fills=_TOKEN,
    ),
    Action(
        "settle-many",
        "bh-policy",
        "settle-many",
        "(items (list 20 {policy: uint, token: <token>}))",
        caller="anyone; error 0 = settled",
        about="Settles several expired policies; one that cannot be settled does not stop the others.",
        check=_check_many,
        sends=_settled_many,
        says={"items": "The policies, each with its token."},
    ),
    Action(
        "exercise",
        "bh-policy",
        "exercise",
        "(policy uint) (token <token>)",
        caller="owner",
        about="Ends an american policy before its expiry at the last price. See `exerciseCheck`.",
        check=_check_exercise,
        sends=_exercised,
        fills=_TOKEN,
        options=(SLIPPAGE,),
        valid_until=_prices_fresh_until,
    ),
    Action(
        "cancel-policy",
        "bh-policy",
        "cancel",
        "(policy uint) (token <token>)",
        caller="owner",
        about="Takes a new policy back while it is out of the money; the owner gets part of the premium.",
        check=_check_cancel,
        sends=_refunded,
        fills=_TOKEN,
        valid_until=_cancel_until,
    ),
    Action(
        "open-claim",
        "bh-policy",
        "open-claim",
        "(policy uint) (reason-hash (buff 32))",
        caller="owner",
        about="Claims what a policy's collateral could not pay.",
        check=_check_open_claim,
    ),
    Action(
        "resolve-claim",
        "bh-policy",
        "resolve-claim",
        "(policy uint) (approved-usd8 uint) (reason-hash (buff 32))",
        caller="role `arbiter`; 0 rejects",
        about="Decides how much of an unpaid remainder the fund may pay beyond its cap.",
        check=_check_resolve_claim,
        says={"approved-usd8": "How much is approved; 0 rejects the claim."},
    ),
)
