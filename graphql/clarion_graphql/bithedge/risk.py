"""What an address could lose or gain: what it owes by tier, expiry and policy, and what happens if prices move."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from inspect import Parameter
from typing import Any, Final

import strawberry
from strawberry.types.field import StrawberryField

from clarion.protocols.bithedge.analytics import CoveredPolicy, concentration_bp, loss_of, share_bp, shocked
from clarion.protocols.bithedge.payoff import health_bp, payoff_usd8
from clarion.protocols.bithedge.units import BP, BasisPoints, PolicyType, Sats, TokenAmount, Usd8
from clarion_graphql.bithedge.addresses import about_principal
from clarion_graphql.bithedge.reading import MOST_ROWS, big, known_burn, read
from clarion_graphql.bithedge.unit_texts import TOKEN, USD8
from clarion_graphql.context import Info
from clarion_graphql.errors import ApiError, Code, InputError
from clarion_graphql.scalars import BigInt
from clarion_graphql.session import Session
from clarion_graphql.types import Types, make_field, with_arguments

DEFAULT_SHOCKS: Final = (-4_000, -2_000, 4_000)
MOST_SHOCKS: Final = 50
MOST_SHOCK_BP: Final = 1_000_000


@strawberry.type(description="A part of what a provider owes at most.")
class ExposureShare:
    """Liability of one kind."""

    name: str = strawberry.field(
        description="What it is of: the tier's name, the token, or the Bitcoin block of expiry."
    )
    policies: int = strawberry.field(description="Policies in it.")
    liability_usd8: BigInt = strawberry.field(description=f"Its part of their maximum payouts. {USD8}")
    share_bp: BigInt | None = strawberry.field(description="Of all it owes at most, rounded down. Unit: 1/10000.")


@strawberry.type(description="The price of a feed under a move.")
class ShockedPrice:
    """A moved price."""

    asset: str = strawberry.field(description="Price feed.")
    price_usd8: BigInt = strawberry.field(description=f"Its price then. {USD8}")


@strawberry.type(description="What a provider's collateral would pay in one token.")
class TokenLoss:
    """A loss in tokens."""

    token: str = strawberry.field(description="Collateral token.")
    amount: BigInt = strawberry.field(description=f"Paid out. {TOKEN}")


@strawberry.type(description="What would happen if prices moved and everything active were settled at once.")
class Stress:
    """One move of prices."""

    shock_bp: int = strawberry.field(description="The move; negative: down. Unit: 1/10000.")
    prices: list[ShockedPrice] = strawberry.field(description="All feeds' prices then.")
    due_usd8: BigInt = strawberry.field(description=f"Its part of the payoffs of policies that it backs. {USD8}")
    paid_usd8: BigInt = strawberry.field(
        description="What its collateral behind them pays of that, at the prices then; the rest would stay unpaid. "
        f"{USD8}"
    )
    losses: list[TokenLoss] = strawberry.field(description="What that is, by token.")
    payoff_usd8: BigInt = strawberry.field(description=f"Payoffs of its own policies. {USD8}")
    net_usd8: BigInt = strawberry.field(description=f"Those less what it pays. {USD8}")
    worst_health_bp: BigInt | None = strawberry.field(
        description="Least health of its positions at the prices then, before anything is settled; null where none "
        "backs a policy. Unit: 1/10000."
    )
    positions_under: int = strawberry.field(description="Its positions that would be below their tier's minimum ratio.")


@strawberry.type(description="What an address could lose or gain.")
class PortfolioRisk:
    """Exposure, concentration and stress."""

    address: str = strawberry.field(description="Principal.")
    liability_usd8: BigInt = strawberry.field(description=f"Most it can have to pay for policies that it backs. {USD8}")
    protected_usd8: BigInt = strawberry.field(description=f"Most that its own active policies pay. {USD8}")
    by_tier: list[ExposureShare] = strawberry.field(description="What it owes at most, by tier.")
    by_token: list[ExposureShare] = strawberry.field(description="What it owes at most, by collateral token.")
    by_expiry: list[ExposureShare] = strawberry.field(
        description="What it owes at most, by expiry, the next one first."
    )
    largest_policy_bp: BigInt | None = strawberry.field(
        description="Part of all it owes at most that one policy has. Unit: 1/10000."
    )
    policy_concentration_bp: BigInt | None = strawberry.field(
        description="Sum of the squares of policies' shares (Herfindahl-Hirschman), 10000 for one. Unit: 1/10000."
    )
    expiry_concentration_bp: BigInt | None = strawberry.field(description="The same of expiries. Unit: 1/10000.")
    stress: list[Stress] = strawberry.field(description="What moves of prices would do, in the order asked for.")


@dataclass(frozen=True, slots=True)
class _TokenTerms:
    asset: str
    decimals: int
    haircut: BasisPoints


@dataclass(frozen=True, slots=True)
class _Position:
    token: str
    capital: TokenAmount
    liability: Usd8
    ratio_min: BasisPoints


@dataclass(frozen=True, slots=True)
class _Owned:
    kind: PolicyType
    asset: str
    strike: Usd8
    notional: Sats
    max_payout: Usd8


@dataclass(frozen=True, slots=True)
class _World:
    """What an address backs and owns, and the prices of all feeds."""

    covered: Sequence[CoveredPolicy]
    owned: Sequence[_Owned]
    positions: Sequence[_Position]
    tokens: Mapping[str, _TokenTerms]
    prices: Mapping[str, Usd8]
    insurable: frozenset[str]


async def _world(session: Session, address: str) -> _World:
    covered = await read(
        session,
        "SELECT a.policy, a.tier, a.token, p.type, p.asset, p.strike_usd8, p.notional_sat, p.max_payout_usd8, "
        "p.expiry_burn, a.liability_usd8, a.collateral FROM {allocation} a JOIN {policy} p ON p.id = a.policy "
        "WHERE a.provider = %s AND a.state = 'active' ORDER BY a.policy LIMIT %s",
        address,
        MOST_ROWS + 1,
    )
    owned = await read(
        session,
        "SELECT p.type, p.asset, p.strike_usd8, p.notional_sat, p.max_payout_usd8 FROM {policy} p "
        "WHERE p.owner = %s AND p.state = 'active' ORDER BY p.id LIMIT %s",
        address,
        MOST_ROWS + 1,
    )
    positions = await read(
        session,
        "SELECT p.token, p.available + p.locked, p.liability_usd8, r.ratio_min_bp FROM {position} p "
        "JOIN {tier} r ON r.name = p.tier WHERE p.provider = %s",
        address,
    )
    tokens = await read(session, "SELECT k.token, k.asset, k.decimals, k.haircut_bp FROM {token} k")
    assets = await read(session, "SELECT a.asset, a.price_usd8, a.insurable FROM {asset} a ORDER BY a.asset")
    return _World(
        covered=[CoveredPolicy(*row) for row in covered],
        owned=[_Owned(*row) for row in owned],
        positions=[_Position(*row) for row in positions],
        tokens={token: _TokenTerms(*terms) for token, *terms in tokens},
        prices={asset: price for asset, price, _ in assets if price},
        insurable=frozenset(asset for asset, _, insurable in assets if insurable),
    )


def _exposures(parts: Iterable[tuple[str, int]]) -> list[ExposureShare]:
    """Liabilities summed up by name, in the order in which names come."""
    listed = list(parts)
    liabilities: Counter[str] = Counter()
    policies: Counter[str] = Counter()
    for name, liability in listed:
        liabilities[name] += liability
        policies[name] += 1
    whole = sum(liabilities.values())
    return [
        ExposureShare(
            name=name,
            policies=policies[name],
            liability_usd8=BigInt(liability),
            share_bp=big(share_bp(liability, whole)),
        )
        for name, liability in liabilities.items()
    ]


def _price_of(prices: Mapping[str, Usd8], asset: str) -> Usd8:
    try:
        return prices[asset]
    except KeyError:
        raise ApiError(Code.BAD_USER_INPUT, f"{asset} has no price yet, so no move of it can be told.") from None


def _stress(world: _World, shock: int, moved: frozenset[str]) -> Stress:
    prices = {asset: shocked(price, shock) if asset in moved else price for asset, price in world.prices.items()}
    due = paid = 0
    lost: Counter[str] = Counter()
    for policy in world.covered:
        terms = world.tokens[policy.token]
        loss = loss_of(policy, _price_of(prices, policy.asset), _price_of(prices, terms.asset), terms.decimals)
        due += loss.due_usd8
        paid += loss.paid_usd8
        lost[policy.token] += loss.paid
    payoff = sum(
        payoff_usd8(own.kind, own.strike, _price_of(prices, own.asset), own.notional, own.max_payout)
        for own in world.owned
    )
    healths = []
    under = 0
    for position in world.positions:
        terms = world.tokens[position.token]
        if position.liability:
            price = _price_of(prices, terms.asset)
            health = health_bp(position.capital, terms.decimals, price, terms.haircut, position.liability)
            assert health is not None
            healths.append(health)
            under += health < position.ratio_min
    return Stress(
        shock_bp=shock,
        prices=[ShockedPrice(asset=asset, price_usd8=BigInt(price)) for asset, price in prices.items()],
        due_usd8=BigInt(due),
        paid_usd8=BigInt(paid),
        losses=[TokenLoss(token=token, amount=BigInt(amount)) for token, amount in sorted(lost.items()) if amount],
        payoff_usd8=BigInt(payoff),
        net_usd8=BigInt(payoff - paid),
        worst_health_bp=big(min(healths, default=None)),
        positions_under=under,
    )


def _checked_shocks(shocks: Sequence[int]) -> Sequence[int]:
    if len(shocks) > MOST_SHOCKS:
        raise ApiError(Code.LIMIT_EXCEEDED, f"At most {MOST_SHOCKS} moves can be asked for at once.")
    for shock in shocks:
        if not -BP <= shock <= MOST_SHOCK_BP:
            raise InputError(f"A move is -10000 to {MOST_SHOCK_BP} bp, not {shock}.")
    return shocks


def queries(types: Types) -> Sequence[StrawberryField]:
    """The field of `Query` about an address' risks."""

    async def resolve(
        root: Any, info: Info, *, address: str, shocks_bp: list[int] | None, assets: list[str] | None
    ) -> PortfolioRisk:
        session = info.context.session
        await known_burn(info)
        shocks = _checked_shocks(DEFAULT_SHOCKS if shocks_bp is None else shocks_bp)
        world = await _world(session, address)
        moved = world.insurable if assets is None else frozenset(assets)
        for asset in moved:
            _price_of(world.prices, asset)
        covered = world.covered
        by_policy = [policy.liability for policy in covered]
        by_expiry = sorted((policy.expiry_burn, policy.liability) for policy in covered)
        expiries = _exposures((str(expiry), liability) for expiry, liability in by_expiry)
        return PortfolioRisk(
            address=address,
            liability_usd8=BigInt(sum(by_policy)),
            protected_usd8=BigInt(sum(own.max_payout for own in world.owned)),
            by_tier=_exposures((policy.tier, policy.liability) for policy in covered),
            by_token=_exposures((policy.token, policy.liability) for policy in covered),
            by_expiry=expiries,
            largest_policy_bp=big(share_bp(max(by_policy, default=0), sum(by_policy))),
            policy_concentration_bp=big(concentration_bp(by_policy)),
            expiry_concentration_bp=big(concentration_bp(exposure.liability_usd8 for exposure in expiries)),
            stress=[_stress(world, shock, moved) for shock in shocks],
        )

    return [
        make_field(
            "portfolioRisk",
            PortfolioRisk,
            "What an address could lose or gain: what it owes by tier, token and expiry, how concentrated that is, and "
            "what moves of prices would do to what it backs and owns. Only active policies count.",
            resolver=with_arguments(
                about_principal(resolve),
                {
                    "address": (str, Parameter.empty, "Principal."),
                    "shocks_bp": (
                        list[int] | None,
                        None,
                        f"Moves of prices, each on its own, -10000 to {MOST_SHOCK_BP}; without it "
                        f"{', '.join(map(str, DEFAULT_SHOCKS))}. Unit: 1/10000.",
                    ),
                    "assets": (
                        list[str] | None,
                        None,
                        "Price feeds that move; without it those that policies can be on, collateral priced by them "
                        "included.",
                    ),
                },
            ),
        )
    ]
