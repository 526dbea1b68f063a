"""bh-oracle as GraphQL tells it at one block: its rules, and the assets as a provider sees them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from clarion_keeper.feed.rules import SWITCH, AssetState, OpenRound, OracleRules
from clarion_keeper.graph import Receipt, Snapshot

#: Most tokens and assets that are read.
PAGE: Final = 500

_ORACLE: Final = """
query OracleRules($provider: String!, $assets: [String!]!, $height: Int!, $switch: String!, $first: Int!) {
  block(height: $height) { time }
  switch(name: $switch) { isOpen }
  oracleProvider(provider: $provider) { weight }
  maxAge: parameter(key: "price-max-age") { value }
  timeout: parameter(key: "round-timeout") { value }
  tokens(first: $first) { nodes { token asset } }
  assets(filter: {asset: {in: $assets}}, first: $first) {
    nodes { asset active nextRound lastRound priceUsd8 openedBurn candidateUsd8 }
  }
}
"""

_ASSET: Final = """
query OracleAsset(
  $provider: String!, $asset: String!, $round: Int!, $tokens: [String!]!, $opened: Int!, $burn: Int!
) {
  priceRound(asset: $asset, round: $round) { state openedBurn }
  submission: priceSubmission(asset: $asset, round: $round, provider: $provider) { round }
  priceSubmissions(
    filter: {asset: {eq: $asset}, provider: {eq: $provider}}, orderBy: [{field: ROUND, direction: DESC}], first: 1
  ) { nodes { observedBurn } }
  policies(
    filter: {
      state: {eq: "active"}
      expiryBurn: {gt: $opened, lte: $burn}
      or: [{asset: {eq: $asset}}, {token: {in: $tokens}}]
    }
    first: 1
  ) { nodes { id } }
}
"""


@dataclass(frozen=True, slots=True)
class OracleState:
    """The oracle at ``receipt``. ``tip_ms``: time of that block in Unix milliseconds; None where it is not known.

    ``assets``: those that were asked for and that the oracle has.
    """

    receipt: Receipt
    tip_ms: int | None
    rules: OracleRules
    assets: tuple[AssetState, ...]


async def read_oracle(snapshot: Snapshot, *, provider: str, assets: Sequence[str]) -> OracleState:
    """The oracle as ``provider`` sees it. Raises GraphError, MovedError."""
    receipt = snapshot.receipt
    data = await snapshot.ask(
        _ORACLE,
        {"provider": provider, "assets": [*assets], "height": receipt.height, "switch": SWITCH, "first": PAGE},
    )
    rows = data["assets"]["nodes"]
    tokens = [(node["token"], node["asset"]) for node in data["tokens"]["nodes"]]
    states = await asyncio.gather(
        *(_asset(snapshot, row, provider, [token for token, asset in tokens if asset == row["asset"]]) for row in rows)
    )
    return OracleState(
        receipt=receipt,
        tip_ms=None if data["block"] is None or data["block"]["time"] is None else _unix_ms(data["block"]["time"]),
        rules=OracleRules(
            is_open=data["switch"] is not None and bool(data["switch"]["isOpen"]),
            weight=_number(data["oracleProvider"], "weight"),
            max_age_burn=_number(data["maxAge"], "value"),
            timeout_burn=_number(data["timeout"], "value"),
        ),
        assets=tuple(sorted(states, key=lambda state: state.asset)),
    )


async def _asset(snapshot: Snapshot, row: Mapping[str, Any], provider: str, tokens: list[str]) -> AssetState:
    data = await snapshot.ask(
        _ASSET,
        {
            "provider": provider,
            "asset": row["asset"],
            "round": row["nextRound"],
            "tokens": tokens,
            "opened": row["openedBurn"] if row["lastRound"] else -1,
            "burn": snapshot.receipt.burn_height,
        },
    )
    opened, own = data["priceRound"], data["priceSubmissions"]["nodes"]
    return AssetState(
        asset=row["asset"],
        active=bool(row["active"]),
        next_round=row["nextRound"],
        price_usd8=int(row["priceUsd8"]) if row["lastRound"] else None,
        opened_burn=row["openedBurn"],
        candidate_usd8=None if row["candidateUsd8"] is None else int(row["candidateUsd8"]),
        open_round=(
            None
            if opened is None or opened["state"] != "open"
            else OpenRound(opened_burn=opened["openedBurn"], has_own=data["submission"] is not None)
        ),
        own_burn=own[0]["observedBurn"] if own else None,
        waiting=bool(data["policies"]["nodes"]),
    )


def _number(row: Mapping[str, Any] | None, name: str) -> int:
    return 0 if row is None or row[name] is None else int(row[name])


def _unix_ms(time: str) -> int:
    return (datetime.fromisoformat(time) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
