"""What the cast can see of BitHedge: heights, prices, positions and policies, read from the contracts at one tip."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from clarion.chains.stacks.clarity import StringAscii, UInt, Value, encode, principal
from clarion.chains.stacks.clarity_forms import decode_python
from clarion.chains.stacks.node_client import NodeClient
from clarion.dev.accounts import Account
from clarion.dev.calls import BitHedgeCalls, PolicyTerms

ASSETS: Final = ("BTC", "STX")
TIERS: Final = ("conservative", "balanced", "aggressive")
REQUESTS_AHEAD: Final = 2
"""Withdrawal requests looked for beyond the last one known."""
FIRST_REQUESTS: Final = 256
"""The same for the first look at a vault in use: the contract does not say how many there were."""
CALLS_AT_ONCE: Final = 4


@dataclass(frozen=True, slots=True)
class Holding:
    """A position that a provider of the cast keeps filled. ``target`` in base units of the token."""

    provider: Account
    tier: str
    token: str
    target: int


@dataclass(frozen=True, slots=True)
class AssetView:
    """An oracle asset. Prices in USD x 10^8; 0 and -1 where there is none yet."""

    next_round: int
    price_usd8: int
    priced_burn: int
    """Bitcoin height at which the last closed round was opened."""
    confirming: bool
    """Whether a rejected price waits for a second round to confirm it."""
    submitted: frozenset[str]
    """Addresses that have submitted to the open round; empty where none is open."""


@dataclass(frozen=True, slots=True)
class PositionView:
    """One provider's capital in one tier and token, in base units of the token."""

    provider: str
    tier: str
    token: str
    available: int
    locked: int
    requested: int
    liability_usd8: int

    @property
    def free(self) -> int:
        """What can still be locked or asked back."""
        return self.available - self.requested


@dataclass(frozen=True, slots=True)
class PolicyView:
    """A policy as the contract tells it."""

    number: int
    owner: str
    type: str
    style: str
    asset: str
    token: str
    tier: str
    strike_usd8: int
    created_burn: int
    expiry_burn: int
    cancel_until_burn: int
    state: str
    unpaid_usd8: int
    """What its collateral could not pay at its end."""

    def in_the_money(self, price_usd8: int) -> bool:
        """Whether it would pay at this price."""
        return price_usd8 < self.strike_usd8 if self.type == "put" else price_usd8 > self.strike_usd8


@dataclass(frozen=True, slots=True)
class RequestView:
    """A withdrawal that a provider asked for."""

    number: int
    provider: str
    token: str
    unlock_burn: int


@dataclass(frozen=True, slots=True)
class World:
    """Everything the cast decides from."""

    height: int
    burn_height: int
    assets: Mapping[str, AssetView]
    positions: Mapping[tuple[str, str, str], PositionView]
    """By (provider, tier, token), of the holdings that were looked at."""
    yields: Mapping[tuple[str, str], int]
    """What can be claimed by (provider, token), of the same holdings."""
    policies: tuple[PolicyView, ...]
    """Those not ended yet, by number."""
    requests: tuple[RequestView, ...]
    owed: tuple[PolicyView, ...]
    """Policies that ended with something unpaid, by number."""


class WorldReader:
    """Reads the contracts through a node's read-only calls."""

    def __init__(self, node: NodeClient, calls: BitHedgeCalls) -> None:
        self._node = node
        self._calls = calls
        self._last_policy = 0
        self._open: dict[int, PolicyView] = {}
        self._owed: dict[int, PolicyView] = {}
        self._last_request = 0
        self._ahead: int | None = None
        self._turn = asyncio.Semaphore(CALLS_AT_ONCE)
        self._requests: dict[int, RequestView] = {}

    async def ask(self, contract: str, function: str, *arguments: Value) -> Any:
        """The plain form of a read-only function's result.

        Raises:
            NodeError: the node cannot be reached or the call failed.
        """
        encoded = [encode(value) for value in arguments]
        async with self._turn:
            raw = await self._node.call_read_only(
                self._calls.contract(contract), function, encoded, sender=self._calls.deployer
            )
        return decode_python(raw)

    async def read(self, look_at: Callable[[int], Sequence[Holding]]) -> World:
        """The world at the node's tip; ``look_at`` says which holdings matter at its height."""
        info = await self._node.info()
        holdings = look_at(info.stacks_tip_height)
        keys = [(holding.provider.address, holding.tier, holding.token) for holding in holdings]
        pairs = sorted({(provider, token) for provider, _, token in keys})
        assets, positions, yields, policies, requests = await asyncio.gather(
            asyncio.gather(*(self._asset(name) for name in ASSETS)),
            asyncio.gather(*(self.position(*key) for key in keys)),
            asyncio.gather(
                *(self.ask("bh-vault", "get-yield", principal(who), principal(token)) for who, token in pairs)
            ),
            self._policies(),
            self._withdrawals(),
        )
        return World(
            height=info.stacks_tip_height,
            burn_height=info.burn_block_height,
            assets=dict(zip(ASSETS, assets, strict=True)),
            positions=dict(zip(keys, positions, strict=True)),
            yields=dict(zip(pairs, yields, strict=True)),
            policies=policies,
            requests=requests,
            owed=tuple(self._owed[number] for number in sorted(self._owed)),
        )

    async def quote(self, terms: PolicyTerms, buyer: Account) -> Any:
        """The contract's quote for a policy: a dict of its fields, or None where it sells none on these terms."""
        answer = await self.ask(
            "bh-policy",
            "quote",
            StringAscii(terms.type),
            StringAscii(terms.asset),
            UInt(terms.strike_usd8),
            UInt(terms.notional_sat),
            UInt(terms.expiry_burn),
            principal(terms.token),
            principal(buyer.address),
        )
        return answer.get("ok")

    async def _asset(self, name: str) -> AssetView:
        row = await self.ask("bh-oracle", "get-asset", StringAscii(name))
        number = row["next-round"]
        submissions = await self.ask("bh-oracle", "get-submissions", StringAscii(name), UInt(number))
        return AssetView(
            next_round=number,
            price_usd8=row["price-usd8"],
            priced_burn=row["opened-burn"] if row["last-round"] else -1,
            confirming=row["candidate-usd8"] is not None,
            submitted=frozenset(submission["provider"] for submission in submissions),
        )

    async def position(self, provider: str, tier: str, token: str) -> PositionView:
        """A provider's position; all zero where there is none."""
        row = await self.ask("bh-vault", "get-position", principal(provider), StringAscii(tier), principal(token))
        return PositionView(
            provider, tier, token, row["available"], row["locked"], row["requested"], row["liability-usd8"]
        )

    async def _policies(self) -> tuple[PolicyView, ...]:
        last = await self.ask("bh-policy", "get-last-policy")
        if last < self._last_policy:  # a fork took policies back
            self._open.clear()
            self._owed.clear()
            self._last_policy = 0
        numbers = [*self._open, *self._owed, *range(self._last_policy + 1, last + 1)]
        found = await asyncio.gather(*(self._policy(number) for number in numbers))
        self._open = {policy.number: policy for policy in found if policy and policy.state == "active"}
        self._owed = {policy.number: policy for policy in found if policy and policy.unpaid_usd8}
        self._last_policy = last
        return tuple(self._open[number] for number in sorted(self._open))

    async def _policy(self, number: int) -> PolicyView | None:
        row = await self.ask("bh-policy", "get-policy", UInt(number))
        if row is None:
            return None
        return PolicyView(
            number=number,
            owner=row["owner"],
            type=row["type"],
            style=row["style"],
            asset=row["asset"],
            token=row["token"],
            tier=row["tier"],
            strike_usd8=row["strike-usd8"],
            created_burn=row["created-burn"],
            expiry_burn=row["expiry-burn"],
            cancel_until_burn=row["cancel-until-burn"],
            state=row["state"],
            unpaid_usd8=row["unpaid-usd8"],
        )

    async def _withdrawals(self) -> tuple[RequestView, ...]:
        if self._ahead is None:
            self._ahead = FIRST_REQUESTS if await self.ask("bh-vault", "get-seq") else REQUESTS_AHEAD
        ahead = range(self._last_request + 1, self._last_request + 1 + self._ahead)
        self._ahead = REQUESTS_AHEAD
        numbers = [*self._requests, *ahead]
        found = await asyncio.gather(*(self._request(number) for number in numbers))
        self._requests = {request.number: request for request in found if request}
        self._last_request = max([self._last_request, *self._requests])
        return tuple(self._requests[number] for number in sorted(self._requests))

    async def _request(self, number: int) -> RequestView | None:
        row = await self.ask("bh-vault", "get-request", UInt(number))
        return row and RequestView(number, row["provider"], row["token"], row["unlock-burn"])
