"""Estimates: what capital might earn and how endangered a policy's cover is, by a model whose constants are told."""

from __future__ import annotations

from collections.abc import Sequence
from inspect import Parameter
from typing import Any, Final

import strawberry
from strawberry.types.field import StrawberryField

from clarion.protocols.bithedge import reference
from clarion.protocols.bithedge.analytics import concentration_bp, share_bp
from clarion.protocols.bithedge.errors import RefusedError
from clarion.protocols.bithedge.payoff import health_bp, payoff_usd8, value_usd8
from clarion.protocols.bithedge.state import State
from clarion.protocols.bithedge.tables import Allocation, Policy, Tier, Token
from clarion.protocols.bithedge.units import E8, BurnBlocks, PolicyType, TokenAmount, Usd8
from clarion_graphql.bithedge import yields
from clarion_graphql.bithedge.quotes import last_price
from clarion_graphql.bithedge.reading import big, known_burn, read
from clarion_graphql.bithedge.states import ask
from clarion_graphql.bithedge.unit_texts import BASIS, TOKEN, USD8
from clarion_graphql.bithedge.yields import Yield, yield_of
from clarion_graphql.context import Info
from clarion_graphql.errors import InputError
from clarion_graphql.scalars import BigInt
from clarion_graphql.types import Types, make_field, with_arguments

#: A policy has at most so many allocations at once; those that moved are no longer active.
_MOST_ALLOCATIONS: Final = 100


@strawberry.type(description="What capital of a tier might earn: by a model, and what the tier's pool did earn.")
class YieldEstimate:
    """A model's figures, beside those of events."""

    token: str = strawberry.field(description="Collateral token.")
    tier: str = strawberry.field(description="Risk tier.")
    amount: BigInt = strawberry.field(description=f"Capital. {TOKEN}")
    days: int = strawberry.field(description="Days of 144 Bitcoin blocks that it stays.")
    volatility_bp: BigInt = strawberry.field(description=f"Annual volatility, as premiums are priced with. {BASIS}")
    base_bp: BigInt = strawberry.field(description=f"0.8 of the volatility. {BASIS}")
    tier_multiplier_bp: BigInt = strawberry.field(description=f"The tier's premium multiplier. {BASIS}")
    duration_bp: BigInt = strawberry.field(description=f"1 - e^(-days/90). {BASIS}")
    market_bp: BigInt = strawberry.field(description=f"1 + (volatility - 0.2) / 2. {BASIS}")
    yield_bp: BigInt = strawberry.field(
        description=f"The product of these four: what the model has for the stay, rounded down. {BASIS}"
    )
    annual_bp: BigInt = strawberry.field(description=f"That at the same rate for 365 days, rounded up. {BASIS}")
    earned: BigInt = strawberry.field(description=f"That of the capital for the stay, rounded down. {TOKEN}")
    earned_usd8: BigInt | None = strawberry.field(
        description=f"The same at the token's last price; null without one. {USD8}"
    )
    risk_level: int = strawberry.field(description="1 to 10: by tier, days and volatility.")
    realised: Yield = strawberry.field(
        description="What the capital of that tier and token did earn and lose over as many days up to now."
    )


@strawberry.type(description="How a running policy stands, and how endangered its cover is.")
class PolicyRisk:
    """An active policy at the last prices."""

    policy: int = strawberry.field(description="Policy.")
    price_usd8: BigInt | None = strawberry.field(description=f"Last price of its asset; null: none. {USD8}")
    volatility_bp: BigInt = strawberry.field(description=f"Annual volatility, as premiums are priced with. {BASIS}")
    blocks_left: int = strawberry.field(description="Bitcoin blocks until its expiry; 0: it has expired.")
    payoff_usd8: BigInt | None = strawberry.field(description=f"What it would pay at that price. {USD8}")
    bs_value_usd8: BigInt | None = strawberry.field(
        description=f"Its Black-Scholes value, uncapped, rounded down. {USD8}"
    )
    in_the_money_bp: BigInt | None = strawberry.field(
        description=f"Probability, by Black-Scholes, that it ends in the money, rounded down. {BASIS}"
    )
    cover_bp: BigInt | None = strawberry.field(
        description="Worth of the collateral that is locked for it, less the haircut, per maximum payout covered; "
        f"null without a price of the token or a cover. {BASIS}"
    )
    score_bp: BigInt | None = strawberry.field(
        description="How endangered that cover is: 0 at its tier's warning ratio, 3000 at the least ratio, 7000 at "
        f"100%, 10000 at nothing, linear between; null as `coverBp`. {BASIS}"
    )
    providers: int = strawberry.field(description="Providers that cover it.")
    largest_provider_bp: BigInt | None = strawberry.field(
        description=f"Part of its maximum payout that one provider covers. {BASIS}"
    )
    provider_concentration_bp: BigInt | None = strawberry.field(
        description=f"Sum of the squares of providers' parts (Herfindahl-Hirschman), 10000 for one. {BASIS}"
    )


@strawberry.type(description="The constants of `policyRisk`, `yieldEstimate` and `Quote.bsReferenceUsd8`.")
class RiskModel:
    """What the model's figures depend on besides the chain."""

    version: int = strawberry.field(description="Rises when a constant changes.")
    risk_free_bp: int = strawberry.field(description=f"Annual rate that Black-Scholes discounts with. {BASIS}")
    yield_of_volatility_bp: int = strawberry.field(
        description=f"Part of the volatility that a yield estimate starts from. {BASIS}"
    )
    yield_days: int = strawberry.field(description="Days after which it has reached 1 - 1/e of its most.")
    usual_volatility_bp: int = strawberry.field(description=f"Volatility at which `marketBp` is 10000. {BASIS}")
    under_score_bp: int = strawberry.field(description=f"Risk score at a tier's least ratio. {BASIS}")
    insolvent_score_bp: int = strawberry.field(description=f"Risk score at 100%. {BASIS}")


async def _yield_field(
    root: Any, info: Info, *, token: str, amount: int, tier: str, days: int, asset: str
) -> YieldEstimate:
    session = info.context.session
    window = await yields.window_of(session, days, await known_burn(info))
    if not 0 < amount < 2**127:
        raise InputError(f"amount is greater than 0 and fits 127 bits, not {amount}.")
    moved = await yields.movements(session, window, "e.token = %s AND e.tier = %s", token, tier)
    held = await read(
        session, "SELECT p.available + p.locked FROM {tier_pool} p WHERE p.token = %s AND p.tier = %s", token, tier
    )
    realised = yield_of(TokenAmount(held[0][0] if held else 0), moved.get((token, tier), yields.NONE), window)

    def question(state: State) -> YieldEstimate:
        collateral, row = state.get(Token, token), state.get(Tier, tier)
        if collateral is None:
            raise InputError(f"{token} is no collateral token.")
        if row is None:
            raise InputError(f"There is no tier {tier}.")
        try:
            volatility = state.volatility(asset)
        except RefusedError:
            raise InputError(f"There is no price feed {asset}.") from None
        model = reference.yield_model(volatility, row.premium_mult_bp, row.rank, days)
        earned = TokenAmount(amount * model.total // 10_000)
        price, _ = last_price(state, collateral.asset)
        return YieldEstimate(
            token=token,
            tier=tier,
            amount=BigInt(amount),
            days=days,
            volatility_bp=BigInt(volatility),
            base_bp=BigInt(model.base),
            tier_multiplier_bp=BigInt(row.premium_mult_bp),
            duration_bp=BigInt(model.duration),
            market_bp=BigInt(model.market),
            yield_bp=BigInt(model.total),
            annual_bp=BigInt(-(-model.total * 365 // days)),
            earned=BigInt(earned),
            earned_usd8=None if price is None else BigInt(value_usd8(earned, collateral.decimals, price)),
            risk_level=model.risk_level,
            realised=realised,
        )

    return await ask(info, question)


async def _risk_field(root: Any, info: Info, *, id: int) -> PolicyRisk | None:  # noqa: A002 - the argument's name
    def question(state: State) -> PolicyRisk | None:
        policy = state.get(Policy, id)
        if policy is None or policy.state != "active":
            return None
        parts = state.select(Allocation, policy=id, state="active", order=[("place", False)], limit=_MOST_ALLOCATIONS)
        return _risk(state, policy, parts)

    return await ask(info, question)


def _risk(state: State, policy: Policy, parts: Sequence[Allocation]) -> PolicyRisk:
    token, tier = state.need(Token, policy.token), state.need(Tier, policy.tier)
    price, _ = last_price(state, policy.asset)
    token_price, _ = last_price(state, token.asset)
    volatility = state.volatility(policy.asset)
    left = BurnBlocks(max(0, policy.expiry_burn - state.burn_height))
    liabilities = [part.liability_usd8 for part in parts]
    collateral = TokenAmount(sum(part.collateral for part in parts))
    cover = None
    if token_price is not None:
        cover = health_bp(collateral, token.decimals, token_price, token.haircut_bp, Usd8(sum(liabilities)))
    kind: PolicyType = "put" if policy.type == "put" else "call"
    payoff = model = None
    if price is not None:
        payoff = payoff_usd8(kind, policy.strike_usd8, price, policy.notional_sat, policy.max_payout_usd8)
        model = reference.black_scholes(
            kind, spot=price, strike=policy.strike_usd8, volatility=volatility, duration=left
        )
    score = None if cover is None else reference.risk_score_bp(cover, tier.ratio_min_bp, tier.ratio_warn_bp)
    return PolicyRisk(
        policy=policy.id,
        price_usd8=big(price),
        volatility_bp=BigInt(volatility),
        blocks_left=left,
        payoff_usd8=big(payoff),
        bs_value_usd8=None if model is None else BigInt(model.value * policy.notional_sat // E8),
        in_the_money_bp=None if model is None else BigInt(model.in_the_money),
        cover_bp=big(cover),
        score_bp=big(score),
        providers=len({part.provider for part in parts}),
        largest_provider_bp=big(share_bp(max(liabilities, default=0), sum(liabilities))),
        provider_concentration_bp=big(concentration_bp(liabilities)),
    )


async def _model_field(root: Any, info: Info) -> RiskModel:
    return RiskModel(
        version=reference.VERSION,
        risk_free_bp=reference.RISK_FREE_BP,
        yield_of_volatility_bp=reference.YIELD_OF_VOLATILITY_BP,
        yield_days=reference.YIELD_DAYS,
        usual_volatility_bp=reference.USUAL_VOLATILITY_BP,
        under_score_bp=reference.UNDER_SCORE_BP,
        insolvent_score_bp=reference.INSOLVENT_SCORE_BP,
    )


def queries(types: Types) -> list[StrawberryField]:
    """The fields of `Query` that estimate."""
    return [
        make_field(
            "yieldEstimate",
            YieldEstimate,
            "What capital of a tier might earn, by a model of the volatility alone, and what the tier did earn. An "
            "estimate to compare with: nothing is promised, and no contract computes it.",
            resolver=with_arguments(
                _yield_field,
                {
                    "token": (str, Parameter.empty, "Collateral token: its contract id."),
                    "amount": (BigInt, Parameter.empty, "Capital, in base units of the token."),
                    "tier": (str, Parameter.empty, "Risk tier."),
                    "days": (int, Parameter.empty, f"Days that it stays, 1 to {yields.MOST_DAYS}."),
                    "asset": (str, "BTC", "Price feed whose volatility counts: that of the policies it would back."),
                },
            ),
        ),
        make_field(
            "policyRisk",
            PolicyRisk | None,
            "How a running policy stands at the last prices, and how endangered its cover is; null where there is no "
            "such policy, or it has ended.",
            resolver=with_arguments(_risk_field, {"id": (int, Parameter.empty, "Policy.")}),
        ),
        make_field("riskModel", RiskModel, "The constants of what is estimated.", resolver=_model_field),
    ]
