"""zkUSD's apps whose contracts come with Clarion: which they are, what they are called, and whom their charms name.

Fields and their order are those that the contracts in ``contracts/charms`` read.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from clarion.chains.bitcoin.charms.apps import module_key, packaged_apps
from clarion.chains.bitcoin.charms.spells import App
from clarion.chains.bitcoin.units import Sats
from clarion.chains.model import JsonValue
from clarion.protocols.zkusd.app_sets import ROLES, Role

Data = dict[str, Any]
"""A charm's data."""

STATE_TAG: Final = "s"
"""Of states and vaults: Charms lets them lie at outputs of the Scrolls canister alone."""
PRODUCT_UNIT: Final = 10**18
POOL_BASE_SATS: Final = Sats(1_000)
"""Satoshis of the pool's output that are nobody's."""


@cache
def contracts() -> dict[bytes, bytes]:
    """The contracts' modules by verification key."""
    return {module_key(module): module for module in packaged_apps("zkusd").values()}


@cache
def verification_keys() -> dict[Role, bytes]:
    """The verification keys of the four apps."""
    modules = packaged_apps("zkusd")
    return {role: module_key(modules[role]) for role in ROLES}


def owner_of(script: bytes) -> list[int]:
    """Whose charm it is, as the contracts write it: SHA-256 of the script."""
    return list(hashlib.sha256(script).digest())


@dataclass(frozen=True, slots=True)
class ZkUsdApps:
    """The four apps of one deployment, each under the tag of its state (``s``)."""

    oracle: App
    token: App
    vault_manager: App
    stability_pool: App

    @property
    def zkusd(self) -> App:
        """Amounts of zkUSD."""
        return App("t", self.token.identity, self.token.vk)

    @property
    def description(self) -> App:
        """The token's description for wallets (CHIP-420)."""
        return App("n", self.token.identity, self.token.vk)

    @property
    def deposit(self) -> App:
        """Deposits in the stability pool."""
        return App("n", self.stability_pool.identity, self.stability_pool.vk)

    def parameters(self, name: str) -> dict[str, Any]:
        """What the protocol ``zkusd`` is to be told so that it follows this deployment."""
        named: dict[Role, App] = {role: getattr(self, role) for role in ROLES}
        apps = {role: {"identity": app.identity.hex(), "vk": app.vk.hex()} for role, app in named.items()}
        return {"app_sets": [{"name": name, **apps, "rules": {"recovery_below_total": True}}]}

    @property
    def are_known(self) -> bool:
        """Whether they are those whose contracts come with Clarion."""
        return all(getattr(self, role).vk == vk for role, vk in verification_keys().items())


def is_vault(data: JsonValue) -> bool:
    """Whether a charm of the vault manager is a vault; otherwise it is its state."""
    return isinstance(data, dict) and "id" in data
