"""What a policy costs now and who would cover it: bh-policy's read-only ``quote``, and a proposal of allocations.

Each step refuses what the contract refuses, in the contract's order, so that the first error is the contract's too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from clarion.protocols.bithedge.errors import RefusedError, require
from clarion.protocols.bithedge.matching import MAX_ALLOCATIONS, Allocation, Candidate, NoTierError, classify, match
from clarion.protocols.bithedge.payoff import (
    ceil_div,
    max_payout_usd8,
    payoff_usd8,
    required_collateral,
    tokens_down,
    value_usd8,
)
from clarion.protocols.bithedge.pricing import (
    premium_parts,
    premium_usd8,
    utilisation_bp,
    utilisation_multiplier_bp,
)
from clarion.protocols.bithedge.state import Pool, State, UnknownStateError
from clarion.protocols.bithedge.tables import Asset, Tier, TierPool, Token
from clarion.protocols.bithedge.units import (
    BP,
    E8,
    BasisPoints,
    BurnBlocks,
    BurnHeight,
    PolicyType,
    Sats,
    TokenAmount,
    Usd8,
)

MAX_STRIKE: Final = 10**18
MAX_NOTIONAL: Final = 10**13
SCENARIO_PERCENT: Final = tuple(range(-50, 55, 5))
"""Moves of the price, in percent, that a quote's scenarios show."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What a buyer asks for."""

    type: PolicyType
    asset: str
    strike: Usd8
    notional: Sats
    expiry_burn: BurnHeight
    token: str


@dataclass(frozen=True, slots=True)
class Quote:
    """What the contract's ``quote`` gives for terms, and until which Bitcoin block its prices are fresh."""

    terms: Terms
    tier: str
    spot: Usd8
    round: int
    token_price: Usd8
    token_round: int
    volatility: BasisPoints
    utilisation: BasisPoints
    premium_usd8: Usd8
    premium: TokenAmount
    discount: TokenAmount
    fee_platform: TokenAmount
    fee_reserve: TokenAmount
    premium_provider: TokenAmount
    max_payout: Usd8
    valid_until_burn: BurnHeight


def quote(state: State, terms: Terms, user: str) -> Quote:
    """The quote for a user now. Raises RefusedError where the contract gives an error."""
    require(terms.type in ("put", "call"), 6002)
    asset = state.get(Asset, terms.asset)
    if asset is None:
        raise RefusedError(6004)
    if asset.insurable is None:
        raise UnknownStateError(f"The index does not know whether {terms.asset} can be insured: it began too late.")
    require(asset.insurable, 6004)
    token = state.token(terms.token, 6005)
    require(token.active, 6005)
    require(terms.notional >= state.parameter("min-notional-sat"), 6006)
    require(terms.strike <= MAX_STRIKE and terms.notional <= MAX_NOTIONAL, 6026)
    require(terms.expiry_burn >= state.burn_height + state.parameter("min-duration"), 6007)
    require(terms.expiry_burn % state.parameter("expiry-step") == 0, 6008)
    spot, token_price = state.fresh_price(terms.asset), state.fresh_price(token.asset)
    volatility = state.volatility(terms.asset)
    duration = BurnBlocks(terms.expiry_burn - state.burn_height)
    tier = tier_of(state, terms, spot.usd8, duration)
    pool = state.get(TierPool, tier.name, terms.token)
    utilisation = BasisPoints(0) if pool is None else utilisation_bp(pool.available, pool.locked)
    premium = premium_usd8(
        terms.type,
        spot=spot.usd8,
        strike=terms.strike,
        notional=terms.notional,
        volatility=volatility,
        duration=duration,
        type_multiplier=BasisPoints(state.parameter("put-mult-bp" if terms.type == "put" else "call-mult-bp")),
        tier_multiplier=tier.premium_mult_bp,
        utilisation_multiplier=utilisation_multiplier_bp(BasisPoints(state.parameter("util-slope-bp")), utilisation),
        floor=BasisPoints(state.parameter("premium-min-bp")),
    )
    fees = state.fees()
    parts = premium_parts(
        premium, token.decimals, token_price.usd8, fees.platform_bp, fees.reserve_bp, state.discount(user)
    )
    return Quote(
        terms=terms,
        tier=tier.name,
        spot=spot.usd8,
        round=spot.round,
        token_price=token_price.usd8,
        token_round=token_price.round,
        volatility=volatility,
        utilisation=utilisation,
        premium_usd8=premium,
        premium=parts.premium,
        discount=parts.discount,
        fee_platform=parts.platform,
        fee_reserve=parts.reserve,
        premium_provider=parts.provider,
        max_payout=max_payout_usd8(
            terms.type, terms.strike, terms.notional, BasisPoints(state.parameter("call-cap-bp"))
        ),
        valid_until_burn=min(
            state.fresh_until(spot),
            state.fresh_until(token_price),
            BurnHeight(terms.expiry_burn - state.parameter("min-duration")),
        ),
    )


def tier_of(state: State, terms: Terms, spot: Usd8, duration: BurnBlocks) -> Tier:
    """The tier that takes the policy. Raises RefusedError."""
    try:
        found = classify(state.tiers(), terms.type, terms.strike, spot, duration)
    except NoTierError:
        raise RefusedError(6009) from None
    return state.tier(found.name, 6009)


@dataclass(frozen=True, slots=True)
class Share:
    """A provider's part of a proposed cover. ``premium`` is its part of the providers' premium."""

    provider: str
    liability: Usd8
    collateral: TokenAmount
    premium: TokenAmount


def candidates(state: State, quoted: Quote) -> Sequence[Candidate]:
    """The positions of the quote's tier that could cover most of it."""
    return state.rows.candidates(
        Pool(quoted.tier, quoted.terms.token, quoted.terms.expiry_burn, quoted.token_price, MAX_ALLOCATIONS)
    )


def cover(state: State, quoted: Quote) -> list[Allocation]:
    """Allocations that the vault accepts for a quote. Raises CapacityError where there are none."""
    return match(
        quoted.max_payout,
        candidates(state, quoted),
        tier=state.tier(quoted.tier, 6009),
        token=state.token(quoted.terms.token, 6005),
        token_price=quoted.token_price,
        least=Usd8(state.parameter("min-allocation-usd8")),
    )


def shares(state: State, quoted: Quote, allocations: Sequence[Allocation]) -> list[Share]:
    """What each allocation locks and what premium it brings: split by liability, the parts sum to the whole."""
    token, tier = state.token(quoted.terms.token, 6005), state.tier(quoted.tier, 6009)
    found, start = [], 0
    for allocation in allocations:
        stop = start + allocation.liability
        premium = (
            quoted.premium_provider * stop // quoted.max_payout - quoted.premium_provider * start // quoted.max_payout
        )
        collateral = required_collateral(
            allocation.liability, token.decimals, quoted.token_price, tier.ratio_min_bp, token.haircut_bp
        )
        found.append(Share(allocation.provider, allocation.liability, collateral, TokenAmount(premium)))
        start = stop
    return found


@dataclass(frozen=True, slots=True)
class Scenario:
    """What the policy pays if its asset ends at a price, the token staying where it is. ``net`` is less the premium.

    ``move``: the price's distance from spot in basis points, negative below it, as it was asked for.
    """

    price: Usd8
    move: int
    payoff_usd8: Usd8
    payout: TokenAmount
    net_usd8: int


def premium_paid_usd8(quoted: Quote, token: Token) -> Usd8:
    """What the buyer pays, valued at the token's price, rounded down."""
    return value_usd8(quoted.premium, token.decimals, quoted.token_price)


def scenario(quoted: Quote, token: Token, price: Usd8) -> Scenario:
    """The policy's end at one price; its move is rounded to the nearest basis point."""
    return _end_at(quoted, token, price, (2 * BP * (price - quoted.spot) + quoted.spot) // (2 * quoted.spot))


def _end_at(quoted: Quote, token: Token, price: Usd8, move: int) -> Scenario:
    terms = quoted.terms
    payoff = payoff_usd8(terms.type, terms.strike, price, terms.notional, quoted.max_payout)
    payout = tokens_down(payoff, token.decimals, quoted.token_price)
    return Scenario(price, move, payoff, payout, payoff - premium_paid_usd8(quoted, token))


def scenarios(quoted: Quote, token: Token) -> list[Scenario]:
    """The policy's end at each move of :data:`SCENARIO_PERCENT`, the price rounded down."""
    return [
        _end_at(quoted, token, Usd8(quoted.spot * (100 + percent) // 100), percent * BP // 100)
        for percent in SCENARIO_PERCENT
    ]


def break_even_usd8(quoted: Quote, token: Token) -> Usd8 | None:
    """The price of the asset at which the policy pays what it cost; None where it can never pay as much."""
    paid = premium_paid_usd8(quoted, token)
    per_unit = ceil_div(paid * E8, quoted.terms.notional)
    price = quoted.terms.strike - per_unit if quoted.terms.type == "put" else quoted.terms.strike + per_unit
    return Usd8(price) if price >= 0 and paid <= quoted.max_payout else None


def expiry_for(state: State, blocks: int) -> BurnHeight:
    """The first allowed expiry that is at least so many Bitcoin blocks ahead."""
    step = state.parameter("expiry-step")
    return BurnHeight(ceil_div(state.burn_height + max(blocks, state.parameter("min-duration")), step) * step)


def strike_for(spot: Usd8, percent_bp: int) -> Usd8:
    """The strike at so many basis points of spot."""
    return Usd8(spot * percent_bp // BP)
