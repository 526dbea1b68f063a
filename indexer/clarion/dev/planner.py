"""Decides what the cast does next: a pure function of the seed and of what the cast sees.

Everybody acts for themselves. The oracle's submitters follow the market; providers keep their positions filled, ask
some of it back and claim what they earned; buyers buy, exercise and cancel; somebody makes a mistake now and then.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from random import Random
from typing import Final

from clarion.dev.accounts import Account, Cast
from clarion.dev.calls import SBTC_TOKEN, BitHedgeCalls, Call, PolicyTerms
from clarion.dev.market import BASIS, Market
from clarion.dev.world import ASSETS, TIERS, AssetView, Holding, PolicyView, World

FIRST_PRICES_USD8: Final = {"BTC": 100_000 * 10**8, "STX": 80_000_000}
INSURED: Final = "BTC"
NOISE_BP: Final = 15
"""How far a submitter's price strays from the market's."""
STX_TARGET: Final = 400_000 * 10**6
SBTC_TARGET: Final = 3 * 10**8
STRIKE_BANDS_BP: Final = {"aggressive": (9_650, 9_990), "balanced": (8_100, 8_990), "conservative": (7_100, 7_990)}
"""How far in or out of the money buyers ask, as a put's strike in parts of the price; calls mirror it."""
NOTIONAL_STEP_SAT: Final = 100_000
OPENING_BLOCKS: Final = 40
HOLDINGS_AT_ONCE: Final = 4
MOST_ACTIVE: Final = 14
"""Active policies above which nobody buys."""
FEW_ACTIVE: Final = 3
"""Active policies below which every buyer buys, for a short time."""
LONGEST_POLICY: Final = 9
SHORTEST_POLICY: Final = 3
"""Bitcoin blocks from planning to expiry; one may pass before the purchase is mined, and the contract wants two."""


@dataclass(frozen=True, slots=True)
class Purchase:
    """A buyer wants a policy; its price and its cover are still to be found."""

    buyer: Account
    terms: PolicyTerms


Action = Call | Purchase


class Planner:
    """The cast's decisions. ``plan`` depends on its arguments and on the seed alone."""

    def __init__(self, seed: int, cast: Cast, calls: BitHedgeCalls) -> None:
        self._seed = seed
        self._cast = cast
        self._calls = calls
        self._accounts = {account.address: account for account in cast.everyone()}
        self._markets = {asset: Market(seed, asset, FIRST_PRICES_USD8[asset]) for asset in ASSETS}
        self.holdings = tuple(
            Holding(provider, TIERS[(place + shift) % len(TIERS)], token, target)
            for place, provider in enumerate(cast.providers)
            for shift, (token, target) in enumerate(((calls.stx_token, STX_TARGET), (SBTC_TOKEN, SBTC_TARGET)))
        )

    def market_price(self, asset: str, burn_height: int) -> int:
        """What the market pays at a Bitcoin height, in USD x 10^8."""
        return self._markets[asset].price(burn_height)

    def look_at(self, height: int) -> tuple[Holding, ...]:
        """The holdings whose providers think about them at a Stacks height: in the beginning all, then some."""
        if height < OPENING_BLOCKS:
            return self.holdings
        return tuple(Random(f"{self._seed}/holdings/{height}").sample(self.holdings, HOLDINGS_AT_ONCE))

    def plan(self, world: World, busy: Collection[str]) -> list[Action]:
        """What to send now, at most one action per account. Accounts in ``busy`` (addresses) wait."""
        actions: list[Action] = []
        taken = set(busy)
        for who, group in self._wishes(world):
            if who.address not in taken:
                taken.add(who.address)
                actions += group
        return actions

    def _wishes(self, world: World) -> Iterator[tuple[Account, list[Action]]]:
        """Who wants what, the most urgent first."""
        random = Random(f"{self._seed}/{world.height}")
        yield from self._oracle(world)
        yield from self._withdrawals(world)
        yield from self._owners(world, random)
        yield from self._providers(world, random)
        if all(view.priced_burn >= 0 for view in world.assets.values()):
            yield from self._mistakes(world, random)
            yield from self._buyers(world, random)

    def _oracle(self, world: World) -> Iterator[tuple[Account, list[Action]]]:
        """Each submitter's prices of all assets, then the closing of the rounds that are complete."""
        open_rounds = {name: view for name, view in world.assets.items() if view.submitted or self._is_due(view, world)}
        for submitter in self._cast.submitters:
            prices: list[Action] = [
                self._calls.submit_price(
                    submitter,
                    name,
                    view.next_round,
                    self._price_of(submitter, name, view.next_round, world.burn_height),
                    world.burn_height,
                )
                for name, view in open_rounds.items()
                if submitter.address not in view.submitted and not self._skips(submitter, name, view.next_round)
            ]
            if prices:
                yield submitter, prices
        for name, view in open_rounds.items():
            expected = {who.address for who in self._cast.submitters if not self._skips(who, name, view.next_round)}
            if view.submitted >= expected:
                closer = self._cast.submitters[(view.next_round + ASSETS.index(name)) % len(self._cast.submitters)]
                yield closer, [self._calls.close_round(closer, name, view.next_round)]

    @staticmethod
    def _is_due(view: AssetView, world: World) -> bool:
        return view.confirming or view.priced_burn < world.burn_height

    def _skips(self, submitter: Account, asset: str, round_number: int) -> bool:
        """Whether a submitter misses a round; at most one does, so that there is a quorum."""
        missing = Random(f"{self._seed}/{asset}/{round_number}").randrange(len(self._cast.submitters) * 4)
        submitters = self._cast.submitters
        return len(submitters) > 3 and missing < len(submitters) and submitters[missing] == submitter

    def _price_of(self, submitter: Account, asset: str, round_number: int, burn_height: int) -> int:
        random = Random(f"{self._seed}/{submitter.name}/{asset}/{round_number}")
        return self.market_price(asset, burn_height) * (BASIS + random.randint(-NOISE_BP, NOISE_BP)) // BASIS

    def _withdrawals(self, world: World) -> Iterator[tuple[Account, list[Action]]]:
        for request in world.requests:
            provider = self._accounts.get(request.provider)
            if provider and request.unlock_burn <= world.burn_height:
                yield provider, [self._calls.withdraw(provider, request.number, request.token)]

    def _owners(self, world: World, random: Random) -> Iterator[tuple[Account, list[Action]]]:
        """Owners exercise what pays, and cancel what they regret."""
        for policy in world.policies:
            owner = self._accounts.get(policy.owner)
            if owner is None:
                continue
            if _can_exercise(policy, world) and random.random() < 0.2:
                yield owner, [self._calls.end_policy(owner, "exercise", policy.number, policy.token)]
            elif _can_cancel(policy, world) and random.random() < 0.02:
                yield owner, [self._calls.end_policy(owner, "cancel", policy.number, policy.token)]

    def _providers(self, world: World, random: Random) -> Iterator[tuple[Account, list[Action]]]:
        for holding in self.look_at(world.height):
            provider = holding.provider
            position = world.positions[provider.address, holding.tier, holding.token]
            earned = world.yields[provider.address, holding.token]
            mood = random.random()
            if position.available + position.locked < holding.target * 6 // 10:
                amount = holding.target * random.randint(40, 100) // 100
                yield provider, [self._calls.deposit(provider, holding.token, holding.tier, amount)]
            elif mood < 0.08 and position.requested == 0:
                amount = position.free * random.randint(5, 25) // 100
                if amount:
                    yield provider, [self._calls.request_withdraw(provider, holding.token, holding.tier, amount)]
            elif mood > 0.8 and earned:
                yield provider, [self._calls.claim_yield(provider, holding.token)]

    def _buyers(self, world: World, random: Random) -> Iterator[tuple[Account, list[Action]]]:
        room = MOST_ACTIVE - len(world.policies)
        eager = len(world.policies) < FEW_ACTIVE
        for buyer in random.sample(self._cast.buyers, len(self._cast.buyers)):
            wanted = self._terms(world, random, longest=SHORTEST_POLICY if eager else LONGEST_POLICY)
            if room > 0 and (eager or random.random() < 0.35):
                room -= 1
                yield buyer, [Purchase(buyer, wanted)]

    def _terms(self, world: World, random: Random, *, longest: int) -> PolicyTerms:
        kind = "put" if random.random() < 0.65 else "call"
        low, high = STRIKE_BANDS_BP[random.choices(TIERS, weights=(15, 25, 60))[0]]
        strike_bp = random.randint(low, high)
        strike_bp = strike_bp if kind == "put" else 2 * BASIS - strike_bp
        spot = world.assets[INSURED].price_usd8
        return PolicyTerms(
            type=kind,
            style=random.choice(("european", "american")),
            asset=INSURED,
            strike_usd8=spot * strike_bp // BASIS // 10**8 * 10**8,
            notional_sat=random.randint(5, 60) * NOTIONAL_STEP_SAT,
            expiry_burn=world.burn_height + min(random.randint(SHORTEST_POLICY, longest) for _ in range(2)),
            token=self._calls.stx_token if random.random() < 0.65 else SBTC_TOKEN,
        )

    def _mistakes(self, world: World, random: Random) -> Iterator[tuple[Account, list[Action]]]:
        """Now and then a transaction that the contract refuses or that a post-condition stops."""
        holding = random.choice(self.holdings)
        provider, buyer = holding.provider, random.choice(self._cast.buyers)
        mistake = random.randrange(60)
        if mistake == 0:
            yield provider, [self._calls.deposit(provider, holding.token, holding.tier, 0)]
        elif mistake == 1:
            amount = holding.target // 20
            yield provider, [self._calls.deposit(provider, holding.token, holding.tier, amount, promised=amount - 1)]
        elif mistake == 2:
            yield buyer, [self._calls.set_params(buyer, {"cancel-fee-bp": 0})]
        elif mistake == 3 and world.policies:
            policy = random.choice(world.policies)
            yield buyer, [self._calls.end_policy(buyer, "exercise", policy.number, policy.token)]
        elif mistake == 4:
            asset = random.choice(ASSETS)
            yield buyer, [self._calls.close_round(buyer, asset, world.assets[asset].next_round + 1)]


def _can_exercise(policy: PolicyView, world: World) -> bool:
    view = world.assets[policy.asset]
    return (
        policy.style == "american"
        and world.burn_height < policy.expiry_burn
        and min(asset.priced_burn for asset in world.assets.values()) > policy.created_burn
        and policy.in_the_money(view.price_usd8)
    )


def _can_cancel(policy: PolicyView, world: World) -> bool:
    in_window = world.burn_height <= policy.cancel_until_burn
    return in_window and not policy.in_the_money(world.assets[policy.asset].price_usd8)
