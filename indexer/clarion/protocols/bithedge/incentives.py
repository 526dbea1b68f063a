"""Who gets how much of an epoch of an incentives programme: the rule that a posted root must agree with.

An epoch is the Bitcoin blocks from ``start_burn`` up to and without ``end_burn``. Everything that counts happened
before ``end_burn``, so the result is final as soon as that block is.

* Premium points of a user: the premiums, in usd8, of their policies whose cancel window ended in the epoch and that
  were not cancelled. A policy counts in the epoch of the first block in which it can no longer be cancelled.
* Capital points of a provider: the sum over the epoch's blocks of the capital on offer after each, in base units, times
  the token's price, over 10^decimals, rounded down once per token. The price is that of the last round of the token's
  asset that closed before ``end_burn``. Capital that comes and goes within one Bitcoin block counts nothing.
* Of the epoch's total, the part floor(total x premium-bp / 10000) is shared by premium points, the rest by capital
  points, each share rounded down. What rounding leaves, and the part of points that nobody has, is not given out.

Points cannot be had for nothing: a premium paid to oneself still pays the platform's and the reserve's parts. Whoever
sets a programme's cap keeps an epoch's total below what these fees bring in.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from clarion.protocols.bithedge.events import (
    AutomatchSet,
    Event,
    PolicyCancelled,
    PolicyCreated,
    PositionEvent,
    RoundClosed,
    TokenSet,
)
from clarion.protocols.bithedge.merkle import Reward
from clarion.protocols.bithedge.payoff import value_usd8
from clarion.protocols.bithedge.units import BP, BasisPoints, BurnBlocks, BurnHeight, TokenAmount, Usd8


@dataclass(frozen=True, slots=True)
class Epoch:
    """The Bitcoin blocks from ``start_burn`` up to and without ``end_burn``."""

    start_burn: BurnHeight
    end_burn: BurnHeight

    def __contains__(self, height: BurnHeight) -> bool:
        return self.start_burn <= height < self.end_burn


def epoch_of(program_start: BurnHeight, length: BurnBlocks, number: int) -> Epoch:
    """Epoch ``number``, from 1, of a programme."""
    start = program_start + (number - 1) * length
    return Epoch(BurnHeight(start), BurnHeight(start + length))


@dataclass(frozen=True, slots=True)
class PolicyPremium:
    """What the rule reads of a policy, as it is at the epoch's end."""

    owner: str
    premium_usd8: Usd8
    cancel_until_burn: BurnHeight
    cancelled: bool


@dataclass(frozen=True, slots=True)
class OfferedCapital:
    """What a position has on offer (:func:`on_offer`) from a Bitcoin block on, until the position's next one."""

    burn_height: BurnHeight
    provider: str
    tier: str
    token: str
    amount: TokenAmount


@dataclass(frozen=True, slots=True)
class TokenPrice:
    """A token's decimal places and its price at the epoch's end."""

    decimals: int
    price_usd8: Usd8


class MissingPriceError(ValueError):
    """A token that counts in the epoch has no price before its end."""


def on_offer(available: TokenAmount, locked: TokenAmount, requested: TokenAmount, auto_match: bool) -> TokenAmount:
    """The part of a position that earns points: what backs policies and what new policies can lock."""
    return TokenAmount(locked + (available - requested if auto_match else 0))


def capital_history(events: Iterable[tuple[BurnHeight, Event]]) -> Iterator[OfferedCapital]:
    """What positions had on offer, from bh-vault's events with the Bitcoin block of each, in order from the first one.

    A provider takes policies until they say otherwise.
    """
    images: dict[str, dict[tuple[str, str], PositionEvent]] = defaultdict(dict)
    off: set[str] = set()

    def offered(height: BurnHeight, image: PositionEvent) -> OfferedCapital:
        auto_match = image.provider not in off
        amount = on_offer(image.available_after, image.locked_after, image.requested_after, auto_match)
        return OfferedCapital(height, image.provider, image.tier, image.token, amount)

    for height, event in events:
        if isinstance(event, PositionEvent):
            images[event.provider][event.tier, event.token] = event
            yield offered(height, event)
        elif isinstance(event, AutomatchSet):
            (off.discard if event.on else off.add)(event.provider)
            for image in images[event.provider].values():
                yield offered(height, image)


def premium_points(epoch: Epoch, policies: Iterable[PolicyPremium]) -> dict[str, int]:
    """Premium points by owner; nobody has zero."""
    points: dict[str, int] = defaultdict(int)
    for policy in policies:
        if not policy.cancelled and policy.premium_usd8 and BurnHeight(policy.cancel_until_burn + 1) in epoch:
            points[policy.owner] += policy.premium_usd8
    return dict(points)


def capital_points(epoch: Epoch, capital: Iterable[OfferedCapital], prices: Mapping[str, TokenPrice]) -> dict[str, int]:
    """Capital points by provider; nobody has zero.

    ``capital`` is every change before the epoch's end, in the order in which they happened, those from before the
    epoch included; later ones are ignored.

    Raises:
        MissingPriceError: a token on offer in the epoch has no price.
    """
    since: dict[tuple[str, str, str], tuple[BurnHeight, TokenAmount]] = {}
    amount_blocks: dict[tuple[str, str], int] = defaultdict(int)

    def count(key: tuple[str, str, str], until: BurnHeight) -> None:
        begun, amount = since[key]
        provider, _, token = key
        amount_blocks[provider, token] += amount * max(0, until - max(begun, epoch.start_burn))

    for change in capital:
        if change.burn_height >= epoch.end_burn:
            continue
        key = (change.provider, change.tier, change.token)
        if key in since:
            count(key, change.burn_height)
        since[key] = (change.burn_height, change.amount)
    for key in since:
        count(key, epoch.end_burn)

    points: dict[str, int] = defaultdict(int)
    for (provider, token), blocks in amount_blocks.items():
        if not blocks:
            continue
        price = prices.get(token)
        if price is None:
            raise MissingPriceError(f"{token} was on offer and has no price before Bitcoin block {epoch.end_burn}")
        points[provider] += value_usd8(TokenAmount(blocks), price.decimals, price.price_usd8)
    return {provider: sum_ for provider, sum_ in points.items() if sum_}


def epoch_points(epoch: Epoch, events: Iterable[tuple[BurnHeight, Event]]) -> tuple[dict[str, int], dict[str, int]]:
    """Premium points and capital points, from all contracts' events with the Bitcoin block of each.

    ``events`` are in order from the first one; those at or after the epoch's end count nothing.

    Raises:
        MissingPriceError: a token on offer in the epoch has no price.
    """
    before = [(height, event) for height, event in events if height < epoch.end_burn]
    policies: dict[int, PolicyPremium] = {}
    tokens: dict[str, TokenSet] = {}
    closed: dict[str, Usd8] = {}
    for _, event in before:
        match event:
            case PolicyCreated():
                policies[event.policy] = PolicyPremium(
                    event.owner, event.premium_usd8, event.cancel_until_burn, cancelled=False
                )
            case PolicyCancelled():
                policies[event.policy] = replace(policies[event.policy], cancelled=True)
            case TokenSet():
                tokens[event.token] = event
            case RoundClosed():
                closed[event.asset] = event.price_usd8
    prices = {
        token: TokenPrice(row.decimals, closed[row.asset]) for token, row in tokens.items() if row.asset in closed
    }
    return premium_points(epoch, policies.values()), capital_points(epoch, capital_history(before), prices)


def share_out(total: TokenAmount, points: Mapping[str, int]) -> dict[str, TokenAmount]:
    """``total`` in proportion to points, each part rounded down."""
    whole = sum(points.values())
    return {who: TokenAmount(total * own // whole) for who, own in points.items()}


def rewards(
    total: TokenAmount, premium_bp: BasisPoints, premium: Mapping[str, int], capital: Mapping[str, int]
) -> list[Reward]:
    """What everybody gets of an epoch's total, by address; nobody gets zero, and the sum is at most ``total``."""
    by_premium = TokenAmount(total * premium_bp // BP)
    amounts: dict[str, int] = defaultdict(int)
    for part, points in ((by_premium, premium), (total - by_premium, capital)):
        for who, amount in share_out(TokenAmount(part), points).items():
            amounts[who] += amount
    return sorted(Reward(who, TokenAmount(amount)) for who, amount in amounts.items() if amount)
