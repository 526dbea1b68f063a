"""How much cover there is for a policy: which tier takes it, and what its positions can bind in each token."""

from __future__ import annotations

from collections.abc import Sequence
from inspect import Parameter
from typing import Any, Final, cast

import strawberry
from strawberry.types.field import StrawberryField

from clarion.protocols.bithedge.errors import RefusedError
from clarion.protocols.bithedge.matching import MAX_ALLOCATIONS, NoTierError, capacity, classify
from clarion.protocols.bithedge.quoting import expiry_for
from clarion.protocols.bithedge.state import Pool, State
from clarion.protocols.bithedge.tables import Tier, Token
from clarion.protocols.bithedge.units import E8, BurnBlocks, BurnHeight, PolicyType, Usd8
from clarion_graphql.bithedge.reading import big
from clarion_graphql.bithedge.states import ask
from clarion_graphql.bithedge.unit_texts import USD8
from clarion_graphql.context import Info
from clarion_graphql.errors import InputError
from clarion_graphql.scalars import BigInt
from clarion_graphql.types import Types, make_field, with_arguments

_MOST_TOKENS: Final = 100


@strawberry.type(description="What a tier's positions of one token can bind for one policy.")
class TokenAvailability:
    """Capacity in one token."""

    token: str = strawberry.field(description="Collateral token.")
    positions: int = strawberry.field(
        description="Positions that could take part, at most as many as a policy may have."
    )
    coverable_usd8: BigInt = strawberry.field(description=f"Largest maximum payout that they cover together. {USD8}")
    notional_sat: BigInt | None = strawberry.field(
        description="Largest notional of a PUT at this strike with that maximum payout, rounded down; null for a CALL. "
        "Unit: satoshis."
    )


@strawberry.type(description="Which tier takes a policy, and how much of it can be covered.")
class TierAvailability:
    """A tier and its capacity by token."""

    tier: str | None = strawberry.field(description="The tier that takes it; null where none does.")
    expiry_burn: int = strawberry.field(description="The first allowed expiry at least so many blocks ahead.")
    spot_usd8: BigInt | None = strawberry.field(
        description=f"Price of the asset that decides the tier; null where it is not fresh. {USD8}"
    )
    tokens: list[TokenAvailability] = strawberry.field(
        description="By active collateral token with a fresh price; empty without a tier."
    )


def _in_token(
    state: State, tier: Tier, token: Token, kind: PolicyType, strike: Usd8, expiry: BurnHeight
) -> TokenAvailability:
    price = state.fresh_price(token.asset).usd8
    least = state.parameter("min-allocation-usd8")
    rooms = [
        room
        for candidate in state.rows.candidates(Pool(tier.name, token.token, expiry, price, MAX_ALLOCATIONS))
        if (room := capacity(candidate, tier, token, price)) >= max(least, 1)
    ]
    coverable = sum(rooms)
    return TokenAvailability(
        token=token.token,
        positions=len(rooms),
        coverable_usd8=BigInt(coverable),
        notional_sat=big(coverable * E8 // strike if kind == "put" else None),
    )


def _availability(state: State, kind: PolicyType, asset: str, strike: Usd8, blocks: int) -> TierAvailability:
    expiry = expiry_for(state, blocks)
    try:
        spot = state.fresh_price(asset).usd8
    except RefusedError:
        return TierAvailability(tier=None, expiry_burn=expiry, spot_usd8=None, tokens=[])
    try:
        name = classify(state.tiers(), kind, strike, spot, BurnBlocks(expiry - state.burn_height)).name
    except NoTierError:
        return TierAvailability(tier=None, expiry_burn=expiry, spot_usd8=BigInt(spot), tokens=[])
    tier = state.get(Tier, name)
    assert tier is not None
    tokens = []
    for token in state.select(Token, order=[("token", False)], limit=_MOST_TOKENS, active=True):
        try:
            tokens.append(_in_token(state, tier, token, kind, strike, expiry))
        except RefusedError:  # its price is stale or there is none: nothing can be bought with it now
            continue
    return TierAvailability(tier=name, expiry_burn=expiry, spot_usd8=BigInt(spot), tokens=tokens)


def queries(types: Types) -> Sequence[StrawberryField]:
    """The field of `Query` about cover that can be had."""

    async def resolve(
        root: Any,
        info: Info,
        *,
        type: str,  # noqa: A002
        strike_usd8: int,
        duration_burn: int,
        asset: str,
    ) -> TierAvailability:
        if type not in ("put", "call"):
            raise InputError(f"type is put or call, not {type[:80]!r}.")
        if strike_usd8 <= 0:
            raise InputError(f"A strike is greater than 0, not {strike_usd8}.")
        kind = cast("PolicyType", type)
        return await ask(info, lambda state: _availability(state, kind, asset, Usd8(strike_usd8), duration_burn))

    return [
        make_field(
            "tierAvailability",
            TierAvailability,
            "Which tier takes a policy now, and the most that its positions cover in each token, by the rules that "
            "bh-vault checks. `quote` and `matchPreview` tell what one costs and who would cover it.",
            resolver=with_arguments(
                resolve,
                {
                    "type": (str, Parameter.empty, "put or call."),
                    "strike_usd8": (BigInt, Parameter.empty, f"Strike. {USD8}"),
                    "duration_burn": (int, Parameter.empty, "Bitcoin blocks until expiry, at least."),
                    "asset": (str, "BTC", "Price feed that it is on."),
                },
            ),
        )
    ]
