"""Sets of apps that work together, and the rules each decides by.

Apps are told apart by verification key and identity, but what a set is follows from where its states began: whoever
knows a verification key can make states under it. An app's first state may carry the identity zero. ``genesis`` names
the outpoint of an app's first state; where it is left out, the identity has to be the SHA-256 of an outpoint
(``txid:vout``) that the deploying transaction spends, and the first state is the one that such a transaction makes.

What the package knows by itself is in ``<network>.json`` beside this module; a deployment can bring its own.
"""

from __future__ import annotations

import importlib.resources
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, get_args

import msgspec

from clarion.chains.bitcoin.units import parse_outpoint
from clarion.protocols.zkusd.units import Base, Bps, Percent, Sats

Role = Literal["oracle", "token", "vault_manager", "stability_pool"]

ROLES: Final[tuple[Role, ...]] = get_args(Role)

ZERO_IDENTITY: Final = "00" * 32
"""The identity that the apps of 2026 deploy their first state under."""

_HEX64: Final = re.compile(r"[0-9a-f]{64}")
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,39}")


class App(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One app of a set."""

    identity: str
    vk: str
    genesis: str | None = None
    """Outpoint of its first state; None: see the module."""


class Rules(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a version of the apps decides by, as figures. Defaults are those of the apps on testnet4."""

    mcr_percent: Percent = Percent(110)
    """Ratio below which a vault can be liquidated."""
    ccr_percent: Percent = Percent(150)
    """Total ratio below which recovery mode holds, and then the ratio below which a vault can be liquidated."""
    recommended_percent: Percent = Percent(200)
    min_debt: Base = Base(10 * 10**8)
    max_debt: Base = Base(10_000_000 * 10**8)
    debt_ceiling: Base | None = None
    liquidation_reserve: Base = Base(2 * 10**8)
    """Part of every vault's debt that nobody was given; it pays who liquidates."""
    min_collateral: Sats = Sats(100_000)
    borrow_fee_floor_bps: Bps = Bps(50)
    borrow_fee_cap_bps: Bps = Bps(500)
    redemption_fee_bps: Bps = Bps(75)
    liquidator_bonus_bps: Bps = Bps(50)
    pool_min_deposit: Base = Base(10**8)
    recovery_below_total: bool = False
    """In recovery mode only what is below the total ratio can be liquidated, not all that is below ``ccr_percent``."""
    max_price_age_blocks: int = 6
    max_price_age_seconds: int = 3600
    max_price_step_bps: Bps = Bps(500)

    def threshold_percent(self, *, recovery: bool, total_percent: Percent | None = None) -> Percent:
        """The ratio below which a vault can be liquidated; ``total_percent``: that of all vaults, None without debt."""
        if not recovery:
            return self.mcr_percent
        if self.recovery_below_total and total_percent is not None:
            return max(self.mcr_percent, min(self.ccr_percent, total_percent))
        return self.ccr_percent


class AppSet(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Four apps that work together."""

    name: str
    oracle: App
    token: App
    vault_manager: App
    stability_pool: App
    title: str = ""
    rules: Rules = Rules()

    def app(self, role: Role) -> App:
        """The app of that role."""
        found: App = getattr(self, role)
        return found


class Parameters(msgspec.Struct, frozen=True):
    """What the handlers find in their context: the sets that are followed."""

    app_sets: tuple[AppSet, ...]

    def of_vk(self, vk: str) -> Sequence[tuple[AppSet, Role]]:
        """The sets, with the app's role in each, of an app with this verification key."""
        return [(found, role) for found in self.app_sets for role in ROLES if found.app(role).vk == vk]

    def named(self, name: str) -> AppSet:
        """The set of that name. Raises LookupError."""
        for found in self.app_sets:
            if found.name == name:
                return found
        raise LookupError(f"no set of apps is called {name}")


class _File(msgspec.Struct):
    app_sets: tuple[AppSet, ...]


def parameters(network: str, given: Mapping[str, Any]) -> Parameters:
    """The sets that a deployment follows: those it brings (``{"app_sets": [..]}``), or else those of the network.

    Raises ValueError where it brings something else, or brings none and the package knows none for the network.
    """
    unknown = given.keys() - {"app_sets"}
    if unknown:
        raise ValueError(f"zkusd takes the parameter app_sets; not {', '.join(sorted(unknown))}")
    if "app_sets" in given:
        try:
            found = msgspec.convert(given["app_sets"], tuple[AppSet, ...])
        except msgspec.ValidationError as error:
            raise ValueError(f"zkusd's app_sets: {error}") from error
    else:
        found = packaged_sets(network)
        if not found:
            raise ValueError(
                f"zkusd knows no apps on {network or 'a network that is not named'}; say which in its parameter "
                "app_sets: see docs/zkusd.md"
            )
    _check(found)
    return Parameters(found)


def packaged_sets(network: str) -> tuple[AppSet, ...]:
    """The sets that the package knows on a network; none where it knows none."""
    file = importlib.resources.files(__package__).joinpath(f"{network}.json")
    if not re.fullmatch(r"[a-z0-9]+", network) or not file.is_file():
        return ()
    return msgspec.json.decode(file.read_bytes(), type=_File).app_sets


def _check(app_sets: Sequence[AppSet]) -> None:
    if not app_sets:
        raise ValueError("zkusd's app_sets: there is none")
    seen: set[object] = set()
    for app_set in app_sets:
        if not _NAME.fullmatch(app_set.name):
            raise ValueError(f"zkusd's app_sets: {app_set.name!r} cannot be a name: use up to 40 of a-z 0-9 . _ -")
        if app_set.name in seen:
            raise ValueError(f"zkusd's app_sets: two are called {app_set.name}")
        seen.add(app_set.name)
        for role in ROLES:
            app = app_set.app(role)
            where = f"zkusd's app_sets: {role} of {app_set.name}"
            if not _HEX64.fullmatch(app.identity) or not _HEX64.fullmatch(app.vk):
                raise ValueError(f"{where}: identity and vk are 64 lower-case hexadecimal digits each")
            if app.genesis is not None:
                try:
                    parse_outpoint(app.genesis)
                except ValueError as error:
                    raise ValueError(f"{where}: {error}") from error
            if (app.identity, app.vk) in seen:
                raise ValueError(f"{where}: another app has the same identity and vk")
            seen.add((app.identity, app.vk))
