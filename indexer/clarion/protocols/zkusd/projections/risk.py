"""Which vaults are at risk since when, without looking at every vault whenever the price moves.

A vault is at risk where its ratio at the oracle's price is below what liquidation asks for. That holds for all vaults
whose *even price*, at which debt equals collateral, is above ``price x 100 / threshold``. Active vaults are kept in
bands of even prices, 256 to a power of two, so that a new price or threshold looks only at the bands it passed.
"""

from __future__ import annotations

from clarion.protocols.zkusd.projections.reading import View
from clarion.protocols.zkusd.ratios import is_below
from clarion.protocols.zkusd.tables import RiskBand, Vault
from clarion.protocols.zkusd.units import SATS_PER_BITCOIN, Percent, Price8

_BITS = 8
_HIGHEST = 128 << _BITS
"""Above every band of an even price: debt without collateral."""

_TINY = -1
"""Debts so small that the apps' rounding moves them by more than a band; looked at every time."""
_TINY_DEBT = 1000


def band_of(even_price8: int) -> int:
    """The band of an even price: its number of bits and the eight bits after the first."""
    bits = even_price8.bit_length()
    return bits << _BITS | ((even_price8 << _BITS >> bits - 1) & (1 << _BITS) - 1 if bits else 0)


def enter(view: View, vault: Vault) -> None:
    """Put an active vault in its band and judge it."""
    band = _band_of_vault(vault)
    if band is not None:
        row = view.rows.get(RiskBand, vault.app_set, band)
        if row is None:
            view.rows.insert(RiskBand, app_set=vault.app_set, band=band, vaults=[vault.genesis])
        else:
            row.vaults = sorted({*row.vaults, vault.genesis})
    judge(view, vault)


def leave(view: View, vault: Vault) -> None:
    """Take a vault that was active out of its band."""
    band = _band_of_vault(vault)
    row = None if band is None else view.rows.get(RiskBand, vault.app_set, band)
    if row is not None:
        row.vaults = [genesis for genesis in row.vaults if genesis != vault.genesis]
        if not row.vaults:
            view.rows.delete(RiskBand, row.app_set, row.band)


def judge(view: View, vault: Vault) -> None:
    """Note since when a vault is at risk, at the price and threshold last judged by."""
    price8, percent = view.protocol.risk_price8, view.protocol.risk_percent
    at_risk = (
        vault.active
        and price8 is not None
        and percent is not None
        and is_below(collateral=vault.entire_collateral, debt=vault.entire_debt, price8=price8, percent=percent)
    )
    if not at_risk:
        vault.at_risk_since_height = None
    elif vault.at_risk_since_height is None:
        vault.at_risk_since_height = view.at.height


def judge_all(view: View, price8: Price8 | None, percent: Percent) -> None:
    """Judge by another price or threshold the vaults for which it makes a difference."""
    protocol = view.protocol
    old = _boundary(protocol.risk_price8, protocol.risk_percent)
    new = _boundary(price8, percent)
    protocol.risk_price8, protocol.risk_percent = price8, None if price8 is None else percent
    if not protocol.active_vaults:
        return
    low, high = sorted((old, new))
    # the apps round twice, and so do bands: a vault may be two bands off
    for band in (_TINY, *range(low - 2, high + 3)):
        row = view.rows.get(RiskBand, view.app_set.name, band)
        for genesis in row.vaults if row else ():
            vault = view.rows.get(Vault, view.app_set.name, genesis)
            if vault is not None:  # else it is about to be loaded, and all this done again
                judge(view, vault)


def _boundary(price8: int | None, percent: int | None) -> int:
    """The band above which vaults are at risk; without a price none is."""
    if price8 is None or percent is None:
        return _HIGHEST
    return band_of(price8 * 100 // percent)


def _band_of_vault(vault: Vault) -> int | None:
    """None without debt: it is never at risk."""
    if not vault.entire_debt:
        return None
    if vault.entire_debt < _TINY_DEBT:
        return _TINY
    if not vault.entire_collateral:
        return _HIGHEST
    return band_of(vault.entire_debt * SATS_PER_BITCOIN // vault.entire_collateral)
