"""What tokens are worth, as the price feeds of the chain say: for comparing a reward with a fee, and for that alone."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from clarion_keeper.graph import MovedError, Reader, Snapshot
from clarion_keeper.intents import Amount

STX: Final = "STX"
BTC: Final = "BTC"
#: Decimals of the coins that fees are paid in.
COIN_DECIMALS: Final = {STX: 6, BTC: 8}

#: How often they are read again because a block came meanwhile.
READS: Final = 4

_DOCUMENT: Final = """
query KeeperRates($first: Int!, $after: String) {
  tokens(first: $first, after: $after) {
    nodes { token decimals feed { priceUsd8 } }
    pageInfo { hasNextPage endCursor }
  }
  assets(filter: {asset: {in: ["STX", "BTC"]}}, first: 2) { nodes { asset priceUsd8 } }
}
"""


@dataclass(frozen=True, slots=True)
class Rate:
    """A token's price: ``usd8`` (10^-8 US dollars) for 10^``decimals`` of its smallest unit."""

    usd8: int
    decimals: int

    @property
    def _unit(self) -> int:
        unit: int = 10**self.decimals
        return unit

    def floor(self, amount: int) -> int:
        """What an amount is worth in 10^-8 US dollars, rounded down: for what comes in."""
        return amount * self.usd8 // self._unit

    def ceil(self, amount: int) -> int:
        """The same, rounded up: for what goes out."""
        return -(-amount * self.usd8 // self._unit)


Rates: TypeAlias = Mapping[str, Rate]
"""By token's principal, ``STX`` and ``BTC``."""


async def read_rates(reader: Reader) -> dict[str, Rate]:
    """The rates at the tip. What has no price yet is not in them. Raises GraphError."""
    for _ in range(READS):
        with contextlib.suppress(MovedError):
            return await _read(await reader.snapshot())
    return await _read(await reader.snapshot())


async def _read(snapshot: Snapshot) -> dict[str, Rate]:
    rates: dict[str, Rate] = {}
    coins: dict[str, Any] = await snapshot.ask(_DOCUMENT, {"first": 1, "after": None})
    for node in coins["assets"]["nodes"]:
        if int(node["priceUsd8"]):
            rates[node["asset"]] = Rate(int(node["priceUsd8"]), COIN_DECIMALS[node["asset"]])
    for node in await snapshot.pages(_DOCUMENT, "tokens"):
        if node["feed"] and int(node["feed"]["priceUsd8"]):
            rates[node["token"]] = Rate(int(node["feed"]["priceUsd8"]), int(node["decimals"]))
    return rates


def profit_usd8(rewards: tuple[Amount, ...], fee: Amount, rates: Rates) -> int | None:
    """What is left of the rewards after the fee, in 10^-8 US dollars; None where a price is missing."""
    total = 0
    for reward in rewards:
        rate = rates.get(reward.token)
        if rate is None:
            return None
        total += rate.floor(reward.amount)
    rate = rates.get(fee.token)
    return None if rate is None else total - rate.ceil(fee.amount)
