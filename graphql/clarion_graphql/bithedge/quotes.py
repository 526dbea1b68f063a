"""What policies would cost, pay and bind, and how positions stand: the contracts' own arithmetic over the index."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from inspect import Parameter
from typing import Any, Final

import strawberry
from strawberry.types.field import StrawberryField

from clarion.protocols.bithedge.actions.liquidation import open_call
from clarion.protocols.bithedge.errors import ERRORS, RefusedError
from clarion.protocols.bithedge.health import Health, Margin, position_health, price_at_ratio
from clarion.protocols.bithedge.matching import Allocation, CapacityError
from clarion.protocols.bithedge.outcomes import (
    Foretold,
    Payout,
    check_exercise,
    check_withdraw,
    foretell,
    free_until_warning,
)
from clarion.protocols.bithedge.payoff import health_bp, intrinsic_usd8
from clarion.protocols.bithedge.pricing import time_value_usd8
from clarion.protocols.bithedge.quoting import (
    SCENARIO_PERCENT,
    Scenario,
    Share,
    Terms,
    break_even_usd8,
    cover,
    expiry_for,
    premium_paid_usd8,
    quote,
    scenario,
    scenarios,
    shares,
    strike_for,
)
from clarion.protocols.bithedge.quoting import Quote as Quoted
from clarion.protocols.bithedge.reference import annualised_bp, black_scholes
from clarion.protocols.bithedge.state import State
from clarion.protocols.bithedge.tables import MarginCall, Policy, Position, Token, WithdrawRequest
from clarion.protocols.bithedge.units import (
    BP,
    BURN_BLOCKS_PER_DAY,
    E8,
    BasisPoints,
    BurnBlocks,
    BurnHeight,
    Sats,
    TokenAmount,
    Usd8,
)
from clarion_graphql.bithedge.addresses import about_principal
from clarion_graphql.bithedge.margins import MARGIN
from clarion_graphql.bithedge.reading import big, read
from clarion_graphql.bithedge.states import ask
from clarion_graphql.bithedge.unit_texts import BASIS, TOKEN, USD8
from clarion_graphql.context import Info
from clarion_graphql.entities import camel
from clarion_graphql.errors import InputError
from clarion_graphql.lengths import Length
from clarion_graphql.scalars import BigInt
from clarion_graphql.types import Types, make_field, with_arguments

MOST_POSITIONS: Final = 200
MOST_STEPS: Final = 200


@strawberry.type(description="An error of BitHedge's contracts.")
class ContractError:
    """What a failed call's number means."""

    code: int = strawberry.field(description="The number in the call's result `(err uN)`.")
    name: str = strawberry.field(description="Its name in the contract, such as `ERR-PRICE-STALE`.")
    contract: str = strawberry.field(description="Short name of the contract it is of.")
    message: str = strawberry.field(description="When a call ends with it.")


def contract_error(code: int) -> ContractError:
    """The error with a number."""
    error = ERRORS[code]
    return ContractError(code=error.code, name=error.name, contract=error.contract, message=error.when)


@strawberry.type(description="How a policy would end at a price of its asset, its token staying where it is.")
class QuoteScenario:
    """A what-if."""

    price_usd8: BigInt = strawberry.field(description=f"Price of the asset. {USD8}")
    move_bp: int = strawberry.field(
        description=f"Its distance from spot: the move asked for, or that to the price asked for, nearest. {BASIS}"
    )
    payoff_usd8: BigInt = strawberry.field(description=f"What the policy would pay. {USD8}")
    payout: BigInt = strawberry.field(description=f"The same in the token. {TOKEN}")
    net_usd8: BigInt = strawberry.field(description=f"Less the premium; negative: a loss. {USD8}")


@strawberry.type(description="A provider's part of a proposed cover.")
class CoverShare:
    """An allocation that the vault would accept."""

    provider: str = strawberry.field(description="Principal.")
    liability_usd8: BigInt = strawberry.field(description=f"Its part of the maximum payout. {USD8}")
    collateral: BigInt = strawberry.field(description=f"What it would lock. {TOKEN}")
    premium: BigInt = strawberry.field(description=f"Its part of the premium. {TOKEN}")


@strawberry.type(description="Who could cover a policy.")
class Match:
    """A proposal of allocations."""

    found: bool = strawberry.field(description="Whether the positions of the tier can cover the policy.")
    tier: str = strawberry.field(description="Risk tier that takes the policy.")
    needed_usd8: BigInt = strawberry.field(description=f"Maximum payout that must be covered. {USD8}")
    coverable_usd8: BigInt = strawberry.field(
        description=f"The most that ten positions could cover; the maximum payout where they can. {USD8}"
    )
    collateral: BigInt | None = strawberry.field(description=f"What would be locked in all; null: no cover. {TOKEN}")
    allocations: list[CoverShare] = strawberry.field(
        description="What `createPolicy` would be given; empty where there is no cover."
    )


@strawberry.type(description="What a policy would cost now, to the last unit as the contract reckons.")
class Quote:
    """bh-policy's quote, with what follows from it."""

    type: str = strawberry.field(description="put or call.")
    asset: str = strawberry.field(description="Price feed that it is on.")
    token: str = strawberry.field(description="Token of premium, collateral and payout.")
    strike_usd8: BigInt = strawberry.field(description=f"Strike. {USD8}")
    notional_sat: BigInt = strawberry.field(description="Protected amount. Unit: satoshis.")
    expiry_burn: int = strawberry.field(description="Bitcoin block of the expiry.")
    duration_burn: int = strawberry.field(description="Bitcoin blocks from now to then.")
    tier: str = strawberry.field(description="Risk tier that takes it.")
    spot_usd8: BigInt = strawberry.field(description=f"Price of the asset. {USD8}")
    round: int = strawberry.field(description="Round of that price.")
    token_price_usd8: BigInt = strawberry.field(description=f"Price of the token. {USD8}")
    token_round: int = strawberry.field(description="Round of that price.")
    volatility_bp: BigInt = strawberry.field(description=f"Annual volatility it is priced with. {BASIS}")
    utilisation_bp: BigInt = strawberry.field(description=f"Use of the tier's pool it is priced with. {BASIS}")
    intrinsic_usd8: BigInt = strawberry.field(description=f"What it would pay now. {USD8}")
    time_value_usd8: BigInt = strawberry.field(
        description=f"What its time is worth, before multipliers and the least premium. {USD8}"
    )
    premium_usd8: BigInt = strawberry.field(description=f"Premium before a discount. {USD8}")
    premium: BigInt = strawberry.field(description=f"What the buyer pays. {TOKEN}")
    premium_bp: BigInt = strawberry.field(description=f"Premium per protected value at spot, rounded up. {BASIS}")
    premium_annual_bp: BigInt | None = strawberry.field(
        description=f"That at the same rate for a year of 52,560 Bitcoin blocks, rounded up. {BASIS}"
    )
    bs_reference_usd8: BigInt = strawberry.field(
        description="What the Black-Scholes formula has for it, uncapped and without multipliers, rounded down; to "
        f"compare `premiumUsd8` with. Its rate is in `riskModel`. {USD8}"
    )
    discount: BigInt = strawberry.field(description=f"What the buyer saves by a discount. {TOKEN}")
    fee_platform: BigInt = strawberry.field(description=f"Part of it for the platform. {TOKEN}")
    fee_reserve: BigInt = strawberry.field(description=f"Part of it for the insurance reserve. {TOKEN}")
    premium_provider: BigInt = strawberry.field(description=f"Part of it for the providers. {TOKEN}")
    max_payout_usd8: BigInt = strawberry.field(description=f"Most that it pays. {USD8}")
    break_even_usd8: BigInt | None = strawberry.field(
        description=f"Price of the asset at which it pays what it cost; null where it never can. {USD8}"
    )
    scenarios: list[QuoteScenario] = strawberry.field(
        description=f"Its end at moves of the asset from {SCENARIO_PERCENT[0]}% to +{SCENARIO_PERCENT[-1]}%."
    )
    at: QuoteScenario | None = strawberry.field(description="Its end at the price of `atPriceUsd8`; null without one.")
    match: Match = strawberry.field(description="Who could cover it.")
    valid_until_burn: int = strawberry.field(
        description="Last Bitcoin block in which these prices are fresh and the expiry is far enough ahead; a new "
        "round of prices ends it sooner."
    )


@strawberry.type(description="A quote, or why the contract gives none.")
class QuoteResult:
    """One of the two."""

    quote: Quote | None = strawberry.field(description="The quote; null where the contract gives none.")
    refusal: ContractError | None = strawberry.field(description="The error that the contract gives instead.")


@strawberry.type(description="A match, or why the contract quotes no such policy.")
class MatchResult:
    """One of the two."""

    match: Match | None = strawberry.field(description="The match; null where the contract quotes no such policy.")
    refusal: ContractError | None = strawberry.field(description="The error that the contract gives instead.")


@strawberry.type(description="Whether a policy can be exercised now, and what it would pay.")
class ExerciseCheck:
    """A what-if of the owner's early exercise."""

    policy: int = strawberry.field(description="Policy.")
    eligible: bool = strawberry.field(description="Whether nothing stands against it.")
    reasons: list[ContractError] = strawberry.field(
        description="Everything that stands against it, in the contract's order: the first is the error it would give."
    )
    price_usd8: BigInt | None = strawberry.field(description=f"Last price of the asset; null: none. {USD8}")
    round: int | None = strawberry.field(description="Round of that price.")
    token_price_usd8: BigInt | None = strawberry.field(description=f"Last price of the token; null: none. {USD8}")
    payoff_usd8: BigInt | None = strawberry.field(description=f"What it would pay; null where it cannot be. {USD8}")
    payout: BigInt | None = strawberry.field(description=f"The same out of its collateral. {TOKEN}")
    unpaid_usd8: BigInt | None = strawberry.field(description=f"What its collateral could not pay. {USD8}")


@strawberry.type(description="A request to take capital out, and what it would pay now.")
class WithdrawPreview:
    """A pending request."""

    request: int = strawberry.field(description="Request.")
    amount: BigInt = strawberry.field(description=f"Asked back. {TOKEN}")
    pays: BigInt = strawberry.field(description=f"What it would pay. {TOKEN}")
    unlock_burn: int | None = strawberry.field(description="First Bitcoin block to withdraw in; null: not known.")
    ready: bool = strawberry.field(description="Whether it can be withdrawn now.")
    reasons: list[ContractError] = strawberry.field(description="Everything that stands against it.")


@strawberry.type(description="What can leave a position, and when.")
class Withdrawable:
    """A position as its provider sees it before asking capital back."""

    provider: str = strawberry.field(description="Principal.")
    tier: str = strawberry.field(description="Risk tier.")
    token: str = strawberry.field(description="Collateral token.")
    available: BigInt = strawberry.field(description=f"Not locked; what is requested back included. {TOKEN}")
    locked: BigInt = strawberry.field(description=f"Backs policies. {TOKEN}")
    requested: BigInt = strawberry.field(description=f"Asked back, not yet withdrawn. {TOKEN}")
    requestable: BigInt = strawberry.field(description=f"The most that can be asked back now. {TOKEN}")
    withdrawable: BigInt | None = strawberry.field(
        description="Of that, what could leave at the last price without falling below the tier's warning ratio; null "
        f"where the position backs policies and its token has no price. {TOKEN}"
    )
    earliest_burn: int = strawberry.field(description="First Bitcoin block to withdraw what is asked back now.")
    health_bp: BigInt | None = strawberry.field(description=f"Health now; null: no liability or no price. {BASIS}")
    health_after_bp: BigInt | None = strawberry.field(
        description="Health once what is `requested` and what is `withdrawable` have left; null: no liability or no "
        f"price. {BASIS}"
    )
    requests: list[WithdrawPreview] = strawberry.field(description="What was asked back and not yet taken.")


@strawberry.type(description="A position at a price of its token.")
class PositionHealth:
    """A position's margin, now or at another price."""

    provider: str = strawberry.field(description="Principal.")
    tier: str = strawberry.field(description="Risk tier.")
    token: str = strawberry.field(description="Collateral token.")
    capital: BigInt = strawberry.field(description=f"Available and locked. {TOKEN}")
    liability_usd8: BigInt = strawberry.field(description=f"Sum of the maximum payouts that it backs. {USD8}")
    price_usd8: BigInt = strawberry.field(description=f"Price of the token that this is told at. {USD8}")
    health_bp: BigInt | None = strawberry.field(
        description=f"Worth of the capital, less the haircut, per liability; null without liability. {BASIS}"
    )
    margin: MARGIN = strawberry.field(description="Where it stands.")
    deficit: BigInt = strawberry.field(description=f"What would bring it to the warning ratio; 0: it is there. {TOKEN}")
    warning_price_usd8: BigInt | None = strawberry.field(
        description=f"Lowest price at which it keeps its tier's warning ratio; null: none. {USD8}"
    )
    minimum_price_usd8: BigInt | None = strawberry.field(
        description=f"Lowest price at which it keeps its tier's least ratio; null: none. {USD8}"
    )
    liquidation_price_usd8: BigInt | None = strawberry.field(
        description=f"Lowest price at which it covers its liability; null: none. {USD8}"
    )
    call: int | None = strawberry.field(description="The margin call that is open on it; null: none.")
    deadline_burn: int | None = strawberry.field(description="That call's deadline.")


@strawberry.type(description="What would be insolvent at a price of the token, or below its tier's ratio.")
class LadderStep:
    """A price on the ladder."""

    price_usd8: BigInt = strawberry.field(description=f"Price of the token. {USD8}")
    positions: int = strawberry.field(description="Positions that are under the ratio at this price.")
    liability_usd8: BigInt = strawberry.field(description=f"What they owe together. {USD8}")
    capital: BigInt = strawberry.field(description=f"What they have together. {TOKEN}")


def _scenario(one: Scenario) -> QuoteScenario:
    return QuoteScenario(
        price_usd8=BigInt(one.price),
        move_bp=one.move,
        payoff_usd8=BigInt(one.payoff_usd8),
        payout=BigInt(one.payout),
        net_usd8=BigInt(one.net_usd8),
    )


def _match(state: State, quoted: Quoted) -> Match:
    allocations: list[Allocation] = []
    coverable = quoted.max_payout
    try:
        allocations = cover(state, quoted)
    except CapacityError as error:
        coverable = error.coverable
    parts: list[Share] = shares(state, quoted, allocations)
    return Match(
        found=bool(allocations),
        tier=quoted.tier,
        needed_usd8=BigInt(quoted.max_payout),
        coverable_usd8=BigInt(coverable),
        collateral=BigInt(sum(part.collateral for part in parts)) if parts else None,
        allocations=[
            CoverShare(
                provider=part.provider,
                liability_usd8=BigInt(part.liability),
                collateral=BigInt(part.collateral),
                premium=BigInt(part.premium),
            )
            for part in parts
        ],
    )


def _quote(state: State, quoted: Quoted, at_price: int | None) -> Quote:
    terms, token = quoted.terms, state.token(quoted.terms.token, 6005)
    duration = BurnBlocks(terms.expiry_burn - state.burn_height)
    value = quoted.spot * terms.notional // E8
    model = black_scholes(
        terms.type, spot=quoted.spot, strike=terms.strike, volatility=quoted.volatility, duration=duration
    )
    time_value = time_value_usd8(quoted.spot, terms.strike, quoted.volatility, duration)
    return Quote(
        type=terms.type,
        asset=terms.asset,
        token=terms.token,
        strike_usd8=BigInt(terms.strike),
        notional_sat=BigInt(terms.notional),
        expiry_burn=terms.expiry_burn,
        duration_burn=duration,
        tier=quoted.tier,
        spot_usd8=BigInt(quoted.spot),
        round=quoted.round,
        token_price_usd8=BigInt(quoted.token_price),
        token_round=quoted.token_round,
        volatility_bp=BigInt(quoted.volatility),
        utilisation_bp=BigInt(quoted.utilisation),
        intrinsic_usd8=BigInt(intrinsic_usd8(terms.type, terms.strike, quoted.spot) * terms.notional // E8),
        time_value_usd8=BigInt(-(-time_value * terms.notional // E8)),
        premium_usd8=BigInt(quoted.premium_usd8),
        premium=BigInt(quoted.premium),
        premium_bp=BigInt(-(-premium_paid_usd8(quoted, token) * BP // max(value, 1))),
        premium_annual_bp=big(annualised_bp(premium_paid_usd8(quoted, token), value, duration)),
        bs_reference_usd8=BigInt(model.value * terms.notional // E8),
        discount=BigInt(quoted.discount),
        fee_platform=BigInt(quoted.fee_platform),
        fee_reserve=BigInt(quoted.fee_reserve),
        premium_provider=BigInt(quoted.premium_provider),
        max_payout_usd8=BigInt(quoted.max_payout),
        break_even_usd8=big(break_even_usd8(quoted, token)),
        scenarios=[_scenario(one) for one in scenarios(quoted, token)],
        at=None if at_price is None else _scenario(scenario(quoted, token, Usd8(at_price))),
        match=_match(state, quoted),
        valid_until_burn=quoted.valid_until_burn,
    )


#: What a policy's terms are asked by: name to (type, default, description).
_TERMS: Final[dict[str, tuple[Any, Any, str]]] = {
    "type": (str, Parameter.empty, "put or call."),
    "notional_sat": (BigInt, Parameter.empty, "Protected amount, in satoshis."),
    "token": (str, Parameter.empty, "Contract id of the token of premium, collateral and payout."),
    "asset": (str, "BTC", "Price feed that the policy is on."),
    "strike_usd8": (BigInt | None, None, "Strike, in US dollars x 10^8. Or give `strikeBp`."),
    "strike_bp": (int | None, None, "Strike in parts of spot, in basis points: 9000 is 90% of it."),
    "expiry_burn": (int | None, None, "Bitcoin block of the expiry. Or give `days`."),
    "days": (
        int | None,
        None,
        f"Days from now, of {BURN_BLOCKS_PER_DAY} Bitcoin blocks; the expiry is the first one allowed from there on.",
    ),
    "buyer": (str | None, None, "Who would buy: a buyer with a discount pays less."),
}
MOST_DAYS: Final = 3650


def _terms(state: State, given: dict[str, Any]) -> Terms:
    """The terms that the arguments name. Raises InputError and RefusedError."""
    if given["type"] not in ("put", "call"):
        raise InputError(f"type is put or call, not {given['type']!r}.")
    if (given["strike_usd8"] is None) == (given["strike_bp"] is None):
        raise InputError("Give strikeUsd8 or strikeBp.")
    if (given["expiry_burn"] is None) == (given["days"] is None):
        raise InputError("Give expiryBurn or days.")
    if given["days"] is not None and not 0 < given["days"] <= MOST_DAYS:
        raise InputError(f"days is from 1 to {MOST_DAYS}, not {given['days']}.")
    for name in ("strike_usd8", "strike_bp", "notional_sat", "expiry_burn"):
        if given[name] is not None and not 0 < given[name] < 2**127:
            raise InputError(f"{camel(name)} is greater than 0 and fits 127 bits, not {given[name]}.")
    strike = given["strike_usd8"]
    if strike is None:
        strike = strike_for(state.fresh_price(given["asset"]).usd8, given["strike_bp"])
    expiry = given["expiry_burn"]
    if expiry is None:
        expiry = expiry_for(state, given["days"] * BURN_BLOCKS_PER_DAY)
    return Terms(
        given["type"], given["asset"], Usd8(strike), Sats(given["notional_sat"]), BurnHeight(expiry), given["token"]
    )


async def _quote_field(root: Any, info: Info, *, at_price_usd8: int | None, **given: Any) -> QuoteResult:
    def question(state: State) -> QuoteResult:
        try:
            quoted = quote(state, _terms(state, given), given["buyer"] or "")
            return QuoteResult(quote=_quote(state, quoted, at_price_usd8), refusal=None)
        except RefusedError as error:
            return QuoteResult(quote=None, refusal=contract_error(error.code))

    return await ask(info, question)


async def _match_field(root: Any, info: Info, **given: Any) -> MatchResult:
    def question(state: State) -> MatchResult:
        try:
            quoted = quote(state, _terms(state, given), given["buyer"] or "")
            return MatchResult(match=_match(state, quoted), refusal=None)
        except RefusedError as error:
            return MatchResult(match=None, refusal=contract_error(error.code))

    return await ask(info, question)


def _reasons(foretold: Foretold) -> list[ContractError]:
    return [contract_error(code) for code in foretold.refusals]


def last_price(state: State, asset: str) -> tuple[Usd8 | None, int | None]:
    """An asset's last closed price and its round; None without one."""
    try:
        price = state.price(asset)
    except RefusedError:
        return None, None
    return price.usd8, price.round


async def _exercise_field(root: Any, info: Info, *, policy: int, address: str | None) -> ExerciseCheck | None:
    def question(state: State) -> ExerciseCheck | None:
        row = state.get(Policy, policy)
        if row is None:
            return None
        token = state.get(Token, row.token)
        foretold = foretell(lambda: check_exercise(state, policy, address))
        found = foretold.result if isinstance(foretold.result, Payout) else None
        price, number = last_price(state, row.asset)
        return ExerciseCheck(
            policy=policy,
            eligible=foretold.ok,
            reasons=_reasons(foretold),
            price_usd8=big(price),
            round=number,
            token_price_usd8=None if token is None else big(last_price(state, token.asset)[0]),
            payoff_usd8=None if found is None else BigInt(found.payoff_usd8),
            payout=None if found is None else BigInt(found.paid),
            unpaid_usd8=None if found is None else BigInt(found.unpaid_usd8),
        )

    return await ask(info, question)


def _withdrawable(state: State, position: Position) -> Withdrawable:
    token, tier = state.token(position.token, 5001), state.tier(position.tier, 5002)
    price, _ = last_price(state, token.asset)
    left = None if price is None else free_until_warning(position, token, tier.ratio_warn_bp, Usd8(price))
    pending = state.select(
        WithdrawRequest, provider=position.provider, state="pending", order=[("id", False)], limit=1000
    )
    previews = []
    for row in pending:
        if (row.tier, row.token) == (position.tier, position.token):
            foretold = foretell(lambda row=row: check_withdraw(state, row.id, row.provider))  # type: ignore[misc]
            previews.append(
                WithdrawPreview(
                    request=row.id,
                    amount=BigInt(row.amount),
                    pays=BigInt(min(row.amount, position.available)),
                    unlock_burn=row.unlock_burn,
                    ready=foretold.ok,
                    reasons=_reasons(foretold),
                )
            )
    health = after = None
    if price is not None and left is not None:
        health = _health(state, position, Usd8(price)).health
        kept = position.available + position.locked - min(position.available, position.requested + left)
        after = health_bp(TokenAmount(kept), token.decimals, Usd8(price), token.haircut_bp, position.liability_usd8)
    return Withdrawable(
        provider=position.provider,
        tier=position.tier,
        token=position.token,
        available=BigInt(position.available),
        locked=BigInt(position.locked),
        requested=BigInt(position.requested),
        requestable=BigInt(max(0, position.available - position.requested)),
        withdrawable=big(left) if position.liability_usd8 else BigInt(max(0, position.available - position.requested)),
        earliest_burn=state.burn_height + state.parameter("withdrawal-delay"),
        health_bp=big(health),
        health_after_bp=big(after),
        requests=previews,
    )


async def _withdrawable_field(root: Any, info: Info, *, address: str) -> list[Withdrawable]:
    def question(state: State) -> list[Withdrawable]:
        positions = state.select(Position, provider=address, order=[("tier", False), ("token", False)], limit=500)
        return [_withdrawable(state, position) for position in positions]

    return await ask(info, question)


def _health(state: State, position: Position, price: Usd8) -> Health:
    token, tier = state.token(position.token, 9002), state.tier(position.tier, 9002)
    return position_health(
        TokenAmount(position.available + position.locked),
        position.liability_usd8,
        tier,
        decimals=token.decimals,
        haircut=token.haircut_bp,
        price=price,
    )


def _position_health(state: State, position: Position, price: Usd8, call: MarginCall | None) -> PositionHealth:
    token, tier = state.token(position.token, 9002), state.tier(position.tier, 9002)
    capital, liability = TokenAmount(position.available + position.locked), position.liability_usd8
    health = _health(state, position, price)

    def lowest(ratio: BasisPoints) -> BigInt | None:
        return big(price_at_ratio(capital, liability, ratio, decimals=token.decimals, haircut=token.haircut_bp))

    return PositionHealth(
        provider=position.provider,
        tier=position.tier,
        token=position.token,
        capital=BigInt(capital),
        liability_usd8=BigInt(liability),
        price_usd8=BigInt(price),
        health_bp=big(health.health),
        margin=health.margin,
        deficit=BigInt(health.deficit),
        warning_price_usd8=lowest(tier.ratio_warn_bp),
        minimum_price_usd8=lowest(tier.ratio_min_bp),
        liquidation_price_usd8=lowest(BasisPoints(BP)),
        call=None if call is None else call.id,
        deadline_burn=None if call is None else call.deadline_burn,
    )


def _price_of(state: State, token: str, given: int | None) -> Usd8:
    """The price to tell at: the given one, or the token's last. Raises InputError where there is none."""
    if given is not None:
        if given <= 0:
            raise InputError(f"A price is greater than 0, not {given}.")
        return Usd8(given)
    row = state.get(Token, token)
    if row is None:
        raise InputError(f"{token} is no collateral token.")
    price, _ = last_price(state, row.asset)
    if price is None:
        raise InputError(f"{row.asset} has no price yet: give one.")
    return Usd8(price)


async def _health_field(
    root: Any, info: Info, *, provider: str, tier: str, token: str, price_usd8: int | None
) -> PositionHealth | None:
    def question(state: State) -> PositionHealth | None:
        position = state.get(Position, provider, tier, token)
        if position is None:
            return None
        call = open_call(state, provider, tier, token)
        return _position_health(state, position, _price_of(state, token, price_usd8), call)

    return await ask(info, question)


def _ratio(tier_ratios: tuple[int, int], margin: str, above: int) -> int:
    least, warn = tier_ratios
    base = {Margin.INSOLVENT: BP, Margin.UNDER: least, Margin.WARNING: warn}.get(Margin(margin))
    if base is None:
        raise InputError("below is INSOLVENT, UNDER or WARNING: other positions are not under a ratio.")
    return base + above


UNDER: Final = """
SELECT p.provider FROM {position} p
WHERE p.token = %s AND p.tier = %s AND p.liability_usd8 > 0
    AND div(p.liability_usd8 * 1000000000000, greatest(p.available + p.locked, 1)) >= %s
    AND (p.available + p.locked) * %s::numeric < p.liability_usd8 * %s::numeric
ORDER BY div(p.liability_usd8 * 1000000000000, greatest(p.available + p.locked, 1)) DESC, p.provider
LIMIT %s
"""
"""Positions of a token and a tier under a ratio, the worst first, by the index ``position_by_leverage``."""


async def _liquidatable_field(
    root: Any,
    info: Info,
    *,
    token: str,
    tier: str | None,
    price_usd8: int | None,
    below: Any,
    margin_bp: int,
    first: int,
) -> list[PositionHealth]:
    if not 1 <= first <= MOST_POSITIONS:
        raise InputError(f"first is from 1 to {MOST_POSITIONS}, not {first}.")
    price, ratios, scale = await _terms_of_ladder(info, token, tier, price_usd8, below, margin_bp)
    found: list[tuple[Any, ...]] = []
    for name, ratio in ratios:
        rows = await read(
            info.context.session,
            UNDER,
            token,
            name,
            price * scale[1] * 10**12 // (scale[0] * ratio),
            price * scale[1],
            scale[0] * ratio,
            first,
        )
        found += [(name, provider) for (provider,) in rows]

    def question(state: State) -> list[PositionHealth]:
        healths = []
        for name, provider in found:
            position = state.need(Position, provider, name, token)
            healths.append(_position_health(state, position, price, open_call(state, provider, name, token)))
        healths.sort(key=lambda one: (one.health_bp or 0, one.provider, one.tier))
        return healths[:first]

    return await ask(info, question)


async def _terms_of_ladder(
    info: Info, token: str, tier: str | None, price: int | None, below: Any, margin_bp: int
) -> tuple[Usd8, list[tuple[str, int]], tuple[int, int]]:
    """The price, each tier's ratio, and (10^decimals, 10000 - haircut) of the token."""
    if not 0 <= margin_bp <= 10 * BP:
        raise InputError(f"marginBp is from 0 to {10 * BP}, not {margin_bp}.")

    def question(state: State) -> tuple[Usd8, list[tuple[str, int]], tuple[int, int]]:
        row = state.get(Token, token)
        if row is None:
            raise InputError(f"{token} is no collateral token.")
        tiers = [one for one in state.tiers() if tier is None or one.name == tier]
        if not tiers:
            raise InputError(f"There is no tier {tier}.")
        ratios = [
            (one.name, _ratio((one.ratio_min_bp, one.ratio_warn_bp), Margin(below).value, margin_bp)) for one in tiers
        ]
        return _price_of(state, token, price), ratios, (10**row.decimals, BP - row.haircut_bp)

    return await ask(info, question)


async def _ladder_field(
    root: Any,
    info: Info,
    *,
    token: str,
    tier: str | None,
    from_usd8: int | None,
    to_usd8: int | None,
    steps: int,
    below: Any,
    margin_bp: int,
) -> list[LadderStep]:
    if not 2 <= steps <= MOST_STEPS:
        raise InputError(f"steps is from 2 to {MOST_STEPS}, not {steps}.")
    top, ratios, scale = await _terms_of_ladder(info, token, tier, to_usd8, below, margin_bp)
    bottom = top // 2 if from_usd8 is None else from_usd8
    if not 0 < bottom < top:
        raise InputError(f"The ladder goes from a price above 0 up to a higher one, not from {bottom} to {top}.")
    prices = [top - (top - bottom) * step // (steps - 1) for step in range(steps)]
    rows = await read(
        info.context.session,
        """
        SELECT s.price, count(p.provider), coalesce(sum(p.liability_usd8), 0), coalesce(sum(p.available + p.locked), 0)
        FROM unnest(%s::numeric[]) WITH ORDINALITY s (price, place)
        CROSS JOIN unnest(%s::text[], %s::numeric[]) r (tier, ratio)
        LEFT JOIN LATERAL (
            SELECT * FROM {position} p WHERE p.token = %s AND p.tier = r.tier AND p.liability_usd8 > 0
                AND div(p.liability_usd8 * 1000000000000, greatest(p.available + p.locked, 1))
                    >= div(s.price * %s::numeric * 1000000000000, %s::numeric * r.ratio)
                AND (p.available + p.locked) * s.price * %s::numeric < p.liability_usd8 * %s::numeric * r.ratio
        ) p ON true
        GROUP BY s.place, s.price ORDER BY s.place
        """,
        prices,
        [name for name, _ in ratios],
        [ratio for _, ratio in ratios],
        token,
        scale[1],
        scale[0],
        scale[1],
        scale[0],
    )
    return [
        LadderStep(
            price_usd8=BigInt(int(price)),
            positions=count,
            liability_usd8=BigInt(int(liability)),
            capital=BigInt(int(capital)),
        )
        for price, count, liability, capital in rows
    ]


async def _errors_field(root: Any, info: Info, *, code: int | None) -> list[ContractError]:
    codes: Iterable[int] = ERRORS if code is None else [code] if code in ERRORS else []
    return [contract_error(number) for number in codes]


_LADDER: Final[dict[str, tuple[Any, Any, str]]] = {
    "below": (
        MARGIN,
        Margin.INSOLVENT,
        "Under which ratio: INSOLVENT is under 100%, UNDER the tier's least ratio, WARNING its warning ratio.",
    ),
    "margin_bp": (int, 0, "Added to that ratio, in basis points: who is within so much of it."),
}


def queries(types: Types) -> Sequence[StrawberryField]:
    """The fields that ask what the contracts would say."""
    return [
        make_field(
            "quote",
            QuoteResult,
            "What a policy would cost now, with who could cover it and how it could end.",
            resolver=with_arguments(
                _quote_field,
                {**_TERMS, "at_price_usd8": (BigInt | None, None, "A price of the asset to tell the end at.")},
            ),
        ),
        make_field(
            "matchPreview",
            MatchResult,
            "Who could cover a policy: the allocations that `prepareCreatePolicy` proposes.",
            resolver=with_arguments(_match_field, _TERMS),
        ),
        make_field(
            "exerciseCheck",
            ExerciseCheck | None,
            "Whether a policy can be exercised now, and what it would pay; null where there is no such policy.",
            resolver=with_arguments(
                _exercise_field,
                {
                    "policy": (int, Parameter.empty, "Policy."),
                    "address": (str | None, None, "Who would; left out: its owner."),
                },
            ),
        ),
        make_field(
            "withdrawable",
            list[Withdrawable],
            "What somebody's positions could give back, and what was asked back of them.",
            resolver=with_arguments(
                about_principal(_withdrawable_field), {"address": (str, Parameter.empty, "Whose positions.")}
            ),
        ),
        make_field(
            "positionHealth",
            PositionHealth | None,
            "A position at the token's last price or at another; null where there is no such position.",
            resolver=with_arguments(
                _health_field,
                {
                    "provider": (str, Parameter.empty, "Principal."),
                    "tier": (str, Parameter.empty, "Risk tier."),
                    "token": (str, Parameter.empty, "Collateral token."),
                    "price_usd8": (BigInt | None, None, "A price of the token, in US dollars x 10^8."),
                },
            ),
        ),
        make_field(
            "liquidatablePositions",
            list[PositionHealth],
            "The positions that are, or at a price would be, under a ratio; the worst first.",
            resolver=with_arguments(
                _liquidatable_field,
                {
                    "token": (str, Parameter.empty, "Collateral token."),
                    "tier": (str | None, None, "Risk tier; left out: every one."),
                    "price_usd8": (BigInt | None, None, "A price of the token, in US dollars x 10^8; else its last."),
                    **_LADDER,
                    "first": (int, 50, f"How many, at most {MOST_POSITIONS}."),
                },
            ),
            length=Length(MOST_POSITIONS, "first"),
        ),
        make_field(
            "liquidationLadder",
            list[LadderStep],
            "How much would be under a ratio at falling prices of a token, from the highest price down.",
            resolver=with_arguments(
                _ladder_field,
                {
                    "token": (str, Parameter.empty, "Collateral token."),
                    "tier": (str | None, None, "Risk tier; left out: every one."),
                    "from_usd8": (BigInt | None, None, "Lowest price; left out: half of the highest."),
                    "to_usd8": (BigInt | None, None, "Highest price; left out: the token's last."),
                    "steps": (int, 21, f"How many prices, at most {MOST_STEPS}."),
                    **_LADDER,
                },
            ),
            length=Length(MOST_STEPS, "steps"),
        ),
        make_field(
            "contractErrors",
            list[ContractError],
            "What the numbers in BitHedge's failed calls mean.",
            resolver=with_arguments(_errors_field, {"code": (int | None, None, "One number; left out: all.")}),
            length=Length(len(ERRORS)),
        ),
    ]
