"""bh-oracle: providers, rounds, prices."""

from __future__ import annotations

from clarion.protocol import EventContext
from clarion.protocols.bithedge.events import (
    AssetSet,
    ExpiryPriceFixed,
    FallbackCancelled,
    FallbackSet,
    PriceSubmitted,
    ProviderSet,
    RoundClosed,
    RoundRejected,
)
from clarion.protocols.bithedge.protocol import on, tx_text
from clarion.protocols.bithedge.tables import Asset, ExpiryPrice, OracleProvider, PriceRound, PriceSubmission
from clarion.protocols.bithedge.units import BurnHeight
from clarion.store.rows import Rows


@on(AssetSet)
def asset_set(event: AssetSet, at: EventContext, rows: Rows) -> None:
    """A price feed exists, or is set otherwise."""
    asset = _asset(event.asset, rows)
    asset.active = event.active
    asset.insurable = event.insurable
    asset.reference_usd8 = event.reference_usd8


@on(ProviderSet)
def provider_set(event: ProviderSet, at: EventContext, rows: Rows) -> None:
    """A provider has this weight."""
    _provider(event.provider, rows).weight = event.weight


@on(PriceSubmitted)
def price_submitted(event: PriceSubmitted, at: EventContext, rows: Rows) -> None:
    """A provider's price is in; the first of a round opens it."""
    _asset(event.asset, rows).next_round = event.round
    current = _round(event.asset, event.round, event.opened_burn, rows)
    current.count = event.count_after
    current.weight = event.weight_after
    rows.delete(PriceSubmission, event.asset, event.round, event.provider)
    rows.insert(
        PriceSubmission,
        asset=event.asset,
        round=event.round,
        provider=event.provider,
        place=event.count_after,
        price_usd8=event.price_usd8,
        weight=event.weight,
        observed_burn=event.observed_burn,
        height=at.height,
        tx_id=tx_text(at),
    )
    provider = _provider(event.provider, rows)
    provider.weight = event.weight
    provider.submissions += 1
    provider.last_observed_burn = BurnHeight(max(provider.last_observed_burn or 0, event.observed_burn))
    provider.last_submitted_height = at.height


@on(RoundClosed)
def round_closed(event: RoundClosed, at: EventContext, rows: Rows) -> None:
    """A round gave the asset a new price."""
    closed = _round(event.asset, event.round, event.opened_burn, rows)
    closed.state = "closed"
    closed.mode = event.mode
    closed.count = event.count
    closed.weight = event.weight
    closed.price_usd8 = event.price_usd8
    closed.before_usd8 = event.price_before
    closed.deviation_bp = event.deviation_bp
    closed.spread_bp = event.spread_bp
    closed.var_e12 = event.var_e12
    closed.prev_round = event.prev_round
    closed.prev_opened_burn = event.prev_opened_burn
    closed.closed_burn = event.closed_burn
    closed.closed_height = at.height
    closed.closed_time = at.time
    asset = _asset(event.asset, rows)
    asset.next_round = event.round + 1
    asset.last_round = event.round
    asset.price_usd8 = event.price_usd8
    asset.opened_burn = event.opened_burn
    asset.var_e12 = event.var_e12
    asset.candidate_usd8 = None
    if event.mode == "fallback":
        _drop_fallback(asset)


@on(RoundRejected)
def round_rejected(event: RoundRejected, at: EventContext, rows: Rows) -> None:
    """A round ended without a price that counts."""
    rejected = _round(event.asset, event.round, event.opened_burn, rows)
    rejected.state = "rejected"
    rejected.mode = event.reason
    rejected.count = event.count
    rejected.weight = event.weight
    had_quorum = event.reason == "deviation"
    rejected.price_usd8 = event.price_usd8 if had_quorum else None
    rejected.deviation_bp = event.deviation_bp if had_quorum else None
    rejected.before_usd8 = event.price_before
    rejected.closed_burn = event.closed_burn
    rejected.closed_height = at.height
    rejected.closed_time = at.time
    asset = _asset(event.asset, rows)
    asset.next_round = event.round + 1
    asset.candidate_usd8 = event.candidate_usd8


@on(ExpiryPriceFixed)
def expiry_price_fixed(event: ExpiryPriceFixed, at: EventContext, rows: Rows) -> None:
    """What expires there settles at this price."""
    rows.delete(ExpiryPrice, event.asset, event.expiry_burn)
    rows.insert(
        ExpiryPrice,
        asset=event.asset,
        expiry_burn=event.expiry_burn,
        round=event.round,
        price_usd8=event.price_usd8,
        fixed_height=at.height,
    )


@on(FallbackSet)
def fallback_set(event: FallbackSet, at: EventContext, rows: Rows) -> None:
    """The guardian announced a price."""
    asset = _asset(event.asset, rows)
    asset.fallback_usd8 = event.price_usd8
    asset.fallback_from_burn = event.from_burn
    asset.fallback_reason = event.reason


@on(FallbackCancelled)
def fallback_cancelled(event: FallbackCancelled, at: EventContext, rows: Rows) -> None:
    """An announced price was withdrawn."""
    _drop_fallback(_asset(event.asset, rows))


def _asset(name: str, rows: Rows) -> Asset:
    return rows.get(Asset, name) or rows.insert(Asset, asset=name)


def _provider(principal: str, rows: Rows) -> OracleProvider:
    return rows.get(OracleProvider, principal) or rows.insert(OracleProvider, provider=principal)


def _round(asset: str, number: int, opened_burn: BurnHeight, rows: Rows) -> PriceRound:
    return rows.get(PriceRound, asset, number) or rows.insert(
        PriceRound, asset=asset, round=number, state="open", mode="open", opened_burn=opened_burn
    )


def _drop_fallback(asset: Asset) -> None:
    asset.fallback_usd8 = asset.fallback_from_burn = asset.fallback_reason = None
