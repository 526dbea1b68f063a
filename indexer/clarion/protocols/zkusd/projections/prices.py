"""Prices: the oracle's own, and those that transactions give to the vault manager beside it."""

from __future__ import annotations

from clarion.protocols.zkusd.events import PriceInputUsed, PriceNotOracle, PriceUpdated
from clarion.protocols.zkusd.projections.reading import View
from clarion.protocols.zkusd.shapes import OracleState
from clarion.protocols.zkusd.tables import Contract, OraclePrice, PriceInput
from clarion.protocols.zkusd.units import BPS, Bps, Price8


def follow_prices(view: View) -> None:
    """Take up the oracle's price and compare with it the prices in public inputs."""
    step = view.steps["oracle"]
    old = view.protocol.price8
    if isinstance(step.after, OracleState):
        before = step.before.price if isinstance(step.before, OracleState) else None
        if step.after.price != before:
            _take(view, step.after, old)
    elif step.before is not None:
        protocol = view.protocol
        protocol.price8 = protocol.claimed_price_height = protocol.price_height = protocol.price_time = None
    for app, price in view.prices:
        current = view.protocol.price8
        matches = None if current is None and old is None else price.price in (old, current)
        view.rows.insert(
            PriceInput,
            app_set=view.app_set.name,
            tx_id=view.at.tx_text,
            app=app.id,
            price8=price.price,
            claimed_height=price.timestamp_block,
            source=price.source,
            confidence=price.confidence,
            oracle_price8=current,
            matches=matches,
            height=view.at.height,
            time=view.at.time,
        )
        kind = PriceInputUsed if matches else PriceNotOracle
        view.emit(kind(price8=price.price, claimed_height=price.timestamp_block, oracle_price8=current))


def used_price8(view: View) -> Price8 | None:
    """The price that the transaction gave to the vault manager; None: none."""
    return view.prices[0][1].price if view.prices else None


def _take(view: View, state: OracleState, old: Price8 | None) -> None:
    contract = view.rows.get(Contract, view.app_set.name, "oracle")
    assert contract is not None
    at, price, protocol = view.at, state.price, view.protocol
    change = Bps((price.price - old) * BPS // old) if old else None
    view.rows.insert(
        OraclePrice,
        app_set=view.app_set.name,
        number=contract.version,
        price8=price.price,
        claimed_height=price.timestamp_block,
        source=price.source,
        confidence=price.confidence,
        operator=state.operator,
        active=state.is_active,
        last_valid_price8=state.last_valid_price,
        change_bps=change,
        height=at.height,
        time=at.time,
        tx_id=at.tx_text,
        outpoint=contract.outpoint,
    )
    protocol.price8, protocol.claimed_price_height = price.price, price.timestamp_block
    protocol.price_height, protocol.price_time = at.height, at.time
    view.emit(
        PriceUpdated(
            old_price8=old,
            new_price8=price.price,
            source=price.source,
            claimed_height=price.timestamp_block,
            change_bps=change,
        )
    )
