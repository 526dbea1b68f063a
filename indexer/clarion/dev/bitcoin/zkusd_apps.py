"""zkUSD on regtest: which apps, whose keys, and what the charms look like.

The contracts are those that come with Clarion. What lies on outputs of the Scrolls canister elsewhere lies here on
those of a key that stands in for it. Fields and their order are those that the contracts read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from clarion.chains.bitcoin.charms.apps import module_key, packaged_apps
from clarion.chains.bitcoin.charms.drafts import outpoint_identity
from clarion.chains.bitcoin.charms.spells import App
from clarion.chains.bitcoin.coins import OutPoint
from clarion.chains.model import JsonValue
from clarion.dev.bitcoin.keys import Key, key

Data = dict[str, Any]
"""A charm's data."""

UNIT: Final = 100_000_000
"""Base units of a zkUSD; also of a dollar in prices, and satoshis of a bitcoin."""
PRODUCT_UNIT: Final = 10**18
MINIMUM_DEBT: Final = 10 * UNIT
LIQUIDATION_RESERVE: Final = 2 * UNIT
POOL_BASE_SATS: Final = 1_000
"""Satoshis of the pool's output that are nobody's."""
FIRST_PRICE: Final = 100_000 * UNIT
ZERO: Final[list[int]] = [0] * 32

DEPLOYER: Final = key("zkusd deployer")
"""Deploys the apps and is the vault manager's admin."""
ORACLE: Final = key("zkusd oracle operator")
SCROLLS: Final = key("zkusd scrolls")
"""Stands in for the Scrolls canister: signs what the contracts accept."""
FEES: Final = key("zkusd fee receiver")


def owner_of(script: bytes) -> list[int]:
    """Whose charm it is, as the contracts write it: SHA-256 of the script."""
    return list(hashlib.sha256(script).digest())


@cache
def contracts() -> dict[bytes, bytes]:
    """The contracts' modules by verification key."""
    return {module_key(module): module for module in packaged_apps("zkusd").values()}


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
        named = {
            "oracle": self.oracle,
            "token": self.token,
            "vault_manager": self.vault_manager,
            "stability_pool": self.stability_pool,
        }
        apps = {role: {"identity": app.identity.hex(), "vk": app.vk.hex()} for role, app in named.items()}
        return {"app_sets": [{"name": name, **apps, "rules": {"recovery_below_total": True}}]}


def apps_deployed_by(oracle: OutPoint, token: OutPoint, vault_manager: OutPoint, stability_pool: OutPoint) -> ZkUsdApps:
    """The apps that come to be when these outpoints are spent to deploy them."""
    modules = packaged_apps("zkusd")
    where = {
        "oracle": oracle,
        "token": token,
        "vault_manager": vault_manager,
        "stability_pool": stability_pool,
    }
    return ZkUsdApps(
        **{name: App("s", outpoint_identity(spent), module_key(modules[name])) for name, spent in where.items()}
    )


def oracle_state(price: int, *, block: int, last_valid: int) -> Data:
    """The oracle's state; the price in base units a bitcoin."""
    return {
        "price": {"price": price, "timestamp_block": block, "source": "Mock", "confidence": 100},
        "operator": owner_of(ORACLE.taproot_script),
        "admin": owner_of(DEPLOYER.taproot_script),
        "is_active": True,
        "last_valid_price": last_valid,
    }


def token_state(apps: ZkUsdApps, supply: int) -> Data:
    """The token's state."""
    return {
        "admin": ZERO,
        "authorized_minter": list(apps.vault_manager.identity),
        "authorized_minter_vk": list(apps.vault_manager.vk),
        "total_supply": supply,
    }


def token_description() -> Data:
    """What wallets show of the token (CHIP-420)."""
    return {"name": "zkUSD", "description": "A dollar backed by bitcoin, on regtest", "ticker": "zkUSD", "decimals": 8}


def vault_manager_state(apps: ZkUsdApps) -> Data:
    """The vault manager's first state."""
    return {
        "protocol": {
            "total_collateral": 0,
            "total_debt": 0,
            "active_vault_count": 0,
            "base_rate": 0,
            "last_fee_update_block": 0,
            "admin": owner_of(DEPLOYER.taproot_script),
            "is_paused": False,
        },
        **_sister("zkusd_token", apps.token),
        **_sister("stability_pool", apps.stability_pool),
        **_sister("price_oracle", apps.oracle),
        "active_pool": ZERO,
        "default_pool": ZERO,
        "fee_receiver": owner_of(FEES.taproot_script),
        "min_debt": MINIMUM_DEBT,
        "liquidation_reserve": LIQUIDATION_RESERVE,
    }


def vault(identity: bytes, owner: Key, *, collateral: int, debt: int, block: int) -> Data:
    """A new vault."""
    return {
        "id": list(identity),
        "owner": owner_of(owner.taproot_script),
        "collateral": collateral,
        "debt": debt,
        "created_at": block,
        "last_updated": block,
        "status": "Active",
        "interest_rate_bps": 0,
        "accrued_interest": 0,
        "redistributed_debt": 0,
        "redistributed_collateral": 0,
        "insurance_balance": 0,
    }


def pool_state(apps: ZkUsdApps) -> Data:
    """The stability pool's first state."""
    return {
        **_sister("zkusd_token", apps.token),
        **_sister("vault_manager", apps.vault_manager),
        "admin": ZERO,
        "total_zkusd": 0,
        "total_btc": 0,
        "product_p": PRODUCT_UNIT,
        "sum_s": 0,
        "current_epoch": 0,
        "current_scale": 0,
        "depositor_count": 0,
        "past_sums": [],
    }


def deposit(owner: Key, value: int, pool: Mapping[str, Any]) -> Data:
    """A deposit, made when the pool is in this state."""
    return {
        "owner": owner_of(owner.taproot_script),
        "initial_value": value,
        "snapshot_p": pool["product_p"],
        "snapshot_s": pool["sum_s"],
        "snapshot_epoch": 0,
        "snapshot_scale": pool["current_scale"],
        "last_updated": 0,
    }


def is_vault(data: JsonValue) -> bool:
    """Whether a charm of the vault manager is a vault; otherwise it is its state."""
    return isinstance(data, dict) and "id" in data


def _sister(name: str, app: App) -> Data:
    return {f"{name}_id": list(app.identity), f"{name}_vk": list(app.vk)}
