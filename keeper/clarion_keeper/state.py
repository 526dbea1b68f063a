"""What the keeper decides on: the chain as GraphQL tells it at one block, in plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Receipt:
    """The block that an answer was read at. ``burn_height`` is its Bitcoin height, what contracts compare with."""

    height: int
    hash: str
    burn_height: int
    sequence: int


@dataclass(frozen=True, slots=True)
class DuePolicy:
    """An active policy whose expiry height has been reached."""

    policy: int
    asset: str
    token: str
    expiry_burn: int


@dataclass(frozen=True, slots=True)
class ClosedRound:
    """A price round that was closed. ``opened_burn`` never decreases from round to round."""

    asset: str
    round: int
    opened_burn: int


@dataclass(frozen=True, slots=True)
class BitHedgeState:
    """Everything the BitHedge jobs look at, all read at ``receipt``.

    ``token_assets``: which price feed values a token. ``fixed``: (asset, expiry height) whose price is fixed.
    """

    receipt: Receipt
    due: tuple[DuePolicy, ...]
    token_assets: Mapping[str, str]
    rounds: tuple[ClosedRound, ...]
    fixed: frozenset[tuple[str, int]]

    def needed_prices(self, policy: DuePolicy) -> tuple[tuple[str, int], ...]:
        """The (asset, expiry height) pairs that must be fixed before ``policy`` can be settled; no pair twice."""
        assets = {policy.asset: None}
        token_asset = self.token_assets.get(policy.token)
        if token_asset is not None:
            assets[token_asset] = None
        return tuple((asset, policy.expiry_burn) for asset in assets)
