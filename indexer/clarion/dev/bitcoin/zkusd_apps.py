"""zkUSD on regtest: which apps, whose keys, and what the charms look like.

The contracts are those that come with Clarion. What lies on outputs of the Scrolls canister elsewhere lies here on
those of a key that stands in for it. Fields and their order are those that the contracts read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from clarion.chains.bitcoin.charms.drafts import outpoint_identity
from clarion.chains.bitcoin.charms.spells import App
from clarion.chains.bitcoin.coins import OutPoint
from clarion.dev.bitcoin.keys import Key, key
from clarion.protocols.zkusd.app_sets import Role
from clarion.protocols.zkusd.apps import PRODUCT_UNIT, STATE_TAG, Data, ZkUsdApps, owner_of, verification_keys

UNIT: Final = 100_000_000
"""Base units of a zkUSD; also of a dollar in prices, and satoshis of a bitcoin."""
MINIMUM_DEBT: Final = 10 * UNIT
LIQUIDATION_RESERVE: Final = 2 * UNIT
FIRST_PRICE: Final = 100_000 * UNIT
ZERO: Final[list[int]] = [0] * 32

DEPLOYER: Final = key("zkusd deployer")
"""Deploys the apps and is the vault manager's admin."""
ORACLE: Final = key("zkusd oracle operator")
SCROLLS: Final = key("zkusd scrolls")
"""Stands in for the Scrolls canister: signs what the contracts accept."""
FEES: Final = key("zkusd fee receiver")


def apps_deployed_by(oracle: OutPoint, token: OutPoint, vault_manager: OutPoint, stability_pool: OutPoint) -> ZkUsdApps:
    """The apps that come to be when these outpoints are spent to deploy them."""
    keys = verification_keys()
    where: dict[Role, OutPoint] = {
        "oracle": oracle,
        "token": token,
        "vault_manager": vault_manager,
        "stability_pool": stability_pool,
    }
    return ZkUsdApps(**{name: App(STATE_TAG, outpoint_identity(spent), keys[name]) for name, spent in where.items()})


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


def _sister(name: str, app: App) -> Data:
    return {f"{name}_id": list(app.identity), f"{name}_vk": list(app.vk)}
