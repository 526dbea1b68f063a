"""Prices that a seed decides: a random walk that is pulled back to where it began, with drops now and then."""

from __future__ import annotations

from random import Random
from typing import Final

BASIS: Final = 10_000
EPISODE: Final = 10
"""Bitcoin blocks in an episode; most episodes but the first hold one drop."""
PULL: Final = 24
"""One part in this many of the distance to the first price is made good per block."""


class Market:
    """One asset's market price by Bitcoin height: a pure function of seed, asset and first price.

    Moves stay below the oracle's largest deviation (5 %) except for rare jumps, which the oracle has to confirm.
    """

    def __init__(self, seed: int, asset: str, first_usd8: int) -> None:
        self._key = f"{seed}/{asset}"
        self._first_usd8 = first_usd8
        self._prices = [first_usd8]

    def price(self, burn_height: int) -> int:
        """The price at a Bitcoin height, in USD x 10^8."""
        while len(self._prices) <= burn_height:
            self._prices.append(self._next())
        return self._prices[burn_height]

    def _next(self) -> int:
        height, price = len(self._prices), self._prices[-1]
        pull_bp = (self._first_usd8 - price) * BASIS // (self._first_usd8 * PULL)
        drop_bp = self._drop_bp(height)
        step_bp = -drop_bp if drop_bp else pull_bp + _noise_bp(Random(f"{self._key}/{height}"))
        return max(1, price * (BASIS + step_bp) // BASIS)

    def _drop_bp(self, height: int) -> int:
        """How far the price drops at this height, in basis points; mostly 0."""
        episode, offset = divmod(height, EPISODE)
        random = Random(f"{self._key}/episode/{episode}")
        kind = random.random()
        first, length = random.randrange(2, EPISODE - 3), random.randint(1, 3)
        depth_bp = random.randint(150, 420)
        if episode == 0 or kind < 0.3 or not first <= offset < first + length:
            return 0
        if kind > 0.92:
            return 800 if offset == first else 0
        return depth_bp


def _noise_bp(random: Random) -> int:
    return sum(random.randint(-40, 40) for _ in range(4))
