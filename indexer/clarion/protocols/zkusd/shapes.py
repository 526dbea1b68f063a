"""What zkUSD's charms say: their data read into values, whichever generation of the apps wrote it.

One app has charms of several kinds; which one it is shows in its fields. Enumerations come as text or as a number,
128-bit integers also as decimal text, 32-byte values as lists of numbers, byte strings or hex; the pool's state comes
flat or as ``config`` and ``state``; fields that older generations lack are zero. Fields not known are left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from clarion.chains.model import JsonValue
from clarion.protocols.zkusd.app_sets import Role
from clarion.protocols.zkusd.units import Base, Bps, Price8, Sats

U64: Final = 2**64
U128: Final = 2**128

STATUSES: Final = ("Active", "Liquidating", "Closed", "Liquidated")
"""What a vault's status can be, in the order of its numbers."""

SOURCES: Final = ("Mock", "Aggregated", "Chainlink", "DIA", "Custom")
"""Where a price can come from, in the order of its numbers."""

ZERO: Final = "00" * 32
"""A 32-byte value that is not set."""


class ShapeError(ValueError):
    """A charm's data is nothing that the app is known to write."""


class VaultManagerState(msgspec.Struct, frozen=True):
    """The vault manager's state: the protocol's totals as it reports them."""

    total_collateral: Sats
    total_debt: Base
    active_vault_count: int
    base_rate_bps: Bps
    last_fee_update_height: int
    admin: str
    is_paused: bool
    zkusd_token_id: str
    stability_pool_id: str
    price_oracle_id: str
    active_pool: str
    default_pool: str
    fee_receiver: str
    """Tag of who gets the fees; zero: the apps charge none."""
    min_debt: Base | None
    liquidation_reserve: Base | None
    """None in generations whose programs hold these figures."""


class VaultCharm(msgspec.Struct, frozen=True):
    """A vault."""

    id: str
    owner: str
    collateral: Sats
    debt: Base
    created_at: int
    last_updated: int
    status: str
    interest_rate_bps: Bps
    accrued_interest: Base
    redistributed_debt: Base
    redistributed_collateral: Sats
    insurance_balance: Sats

    @property
    def entire_debt(self) -> Base:
        """Debt, interest and debt taken over from other vaults."""
        return Base(self.debt + self.accrued_interest + self.redistributed_debt)

    @property
    def entire_collateral(self) -> Sats:
        """Collateral and collateral taken over from other vaults."""
        return Sats(self.collateral + self.redistributed_collateral)


class TokenState(msgspec.Struct, frozen=True):
    """The token's state. ``authorized_minter`` zero: not set yet."""

    admin: str
    authorized_minter: str
    total_supply: Base


class Price(msgspec.Struct, frozen=True):
    """A price and what it says of itself."""

    price: Price8
    timestamp_block: int
    source: str
    confidence: int


class OracleState(msgspec.Struct, frozen=True):
    """The oracle's state."""

    price: Price
    operator: str
    admin: str
    is_active: bool
    last_valid_price: Price8


class PoolState(msgspec.Struct, frozen=True):
    """The stability pool's state."""

    total_zkusd: Base
    total_btc: Sats
    product_p: int
    sum_s: int
    current_epoch: int
    current_scale: int
    depositor_count: int
    zkusd_token_id: str
    vault_manager_id: str
    admin: str


class DepositCharm(msgspec.Struct, frozen=True):
    """A deposit in the stability pool. Snapshots are None where the charm has none."""

    owner: str
    initial_value: Base
    snapshot_p: int | None
    snapshot_s: int | None
    snapshot_epoch: int
    snapshot_scale: int
    last_updated: int


State = VaultManagerState | TokenState | OracleState | PoolState
Charm = State | VaultCharm | DepositCharm


def read_charm(role: Role, data: JsonValue) -> Charm | None:
    """What a charm of an app says; None for a token's metadata (CHIP-420), which is not the protocol's.

    Raises ShapeError where it is nothing that the app is known to write.
    """
    fields = _object(data, "the charm")
    if role == "vault_manager":
        if "protocol" in fields:
            return _vault_manager_state(fields)
        if "collateral" in fields and "debt" in fields:
            return _vault(fields)
    elif role == "stability_pool":
        if "snapshot_p" in fields or "snapshot_epoch" in fields:
            return _deposit(fields)
        if "product_p" in fields or "state" in fields:
            return _pool_state(fields)
    elif role == "oracle":
        if "price" in fields:
            return _oracle_state(fields)
    elif "total_supply" in fields:
        return TokenState(
            _b32(fields, "admin", older=True), _b32(fields, "authorized_minter"), Base(_u64(fields, "total_supply"))
        )
    elif "name" in fields or "ticker" in fields:
        return None
    raise ShapeError(f"no known charm of the {role} has the fields {_shown(sorted(fields))}")


def read_amount(data: JsonValue) -> Base:
    """A token's amount: a number, or ``amount`` of an object. Raises ShapeError where it is none, or nought."""
    if isinstance(data, dict):
        data = data.get("amount")
    amount = _integer(data, "the amount", U64)
    if not amount:
        raise ShapeError("the amount is 0, which no token may have")
    return Base(amount)


def read_price(data: JsonValue) -> Price | None:
    """The price in an app's public input; None where it is something else than a price."""
    if isinstance(data, dict) and isinstance(data.get("price"), dict):
        data = data["price"]
    if not isinstance(data, dict) or not {"price", "timestamp_block"} <= data.keys():
        return None
    try:
        return _price(data)
    except ShapeError:
        return None


def _vault_manager_state(fields: Mapping[str, JsonValue]) -> VaultManagerState:
    protocol = _object(fields["protocol"], "protocol")
    return VaultManagerState(
        Sats(_u64(protocol, "total_collateral")),
        Base(_u64(protocol, "total_debt")),
        _u64(protocol, "active_vault_count"),
        Bps(_u64(protocol, "base_rate", older=True)),
        _u64(protocol, "last_fee_update_block", older=True),
        _b32(protocol, "admin", older=True),
        _bool(protocol, "is_paused", older=False),
        _b32(fields, "zkusd_token_id", older=True),
        _b32(fields, "stability_pool_id", older=True),
        _b32(fields, "price_oracle_id", older=True),
        _b32(fields, "active_pool", older=True),
        _b32(fields, "default_pool", older=True),
        _b32(fields, "fee_receiver", older=True),
        Base(_u64(fields, "min_debt")) if "min_debt" in fields else None,
        Base(_u64(fields, "liquidation_reserve")) if "liquidation_reserve" in fields else None,
    )


def _vault(fields: Mapping[str, JsonValue]) -> VaultCharm:
    return VaultCharm(
        _b32(fields, "id"),
        _b32(fields, "owner"),
        Sats(_u64(fields, "collateral")),
        Base(_u64(fields, "debt")),
        _u64(fields, "created_at", older=True),
        _u64(fields, "last_updated", older=True),
        _enum(fields, "status", STATUSES),
        Bps(_u64(fields, "interest_rate_bps", older=True)),
        Base(_u64(fields, "accrued_interest", older=True)),
        Base(_u64(fields, "redistributed_debt", older=True)),
        Sats(_u64(fields, "redistributed_collateral", older=True)),
        Sats(_u64(fields, "insurance_balance", older=True)),
    )


def _oracle_state(fields: Mapping[str, JsonValue]) -> OracleState:
    return OracleState(
        _price(_object(fields["price"], "price")),
        _b32(fields, "operator", older=True),
        _b32(fields, "admin", older=True),
        _bool(fields, "is_active", older=True),
        Price8(_u64(fields, "last_valid_price", older=True)),
    )


def _price(fields: Mapping[str, JsonValue]) -> Price:
    confidence = _u64(fields, "confidence", older=True)
    if confidence > 255:
        raise ShapeError(f"confidence is {confidence}, which is no 8-bit number")
    source = _enum(fields, "source", SOURCES) if "source" in fields else SOURCES[0]
    return Price(Price8(_u64(fields, "price")), _u64(fields, "timestamp_block"), source, confidence)


def _pool_state(fields: Mapping[str, JsonValue]) -> PoolState:
    state, config = fields, fields
    if "state" in fields:
        state = _object(fields["state"], "state")
        config = _object(fields.get("config", {}), "config")
    return PoolState(
        Base(_u64(state, "total_zkusd")),
        Sats(_u64(state, "total_btc")),
        _u128(state, "product_p"),
        _u128(state, "sum_s", older=True),
        _u64(state, "current_epoch", older=True),
        _u64(state, "current_scale", older=True),
        _u64(state, "depositor_count", older=True),
        _b32(config, "zkusd_token_id", older=True),
        _b32(config, "vault_manager_id", older=True),
        _b32(config, "admin", older=True),
    )


def _deposit(fields: Mapping[str, JsonValue]) -> DepositCharm:
    """Three namings are about: the contract's, that of its spell templates, and that of its client library."""
    owner = _first(fields, "owner", "depositor")
    initial = _first(fields, "initial_value", "initial_deposit", "deposit")
    updated = _first(fields, "last_updated", "deposit_time")
    return DepositCharm(
        _b32(fields, owner),
        Base(_u64(fields, initial)),
        _u128(fields, "snapshot_p") if "snapshot_p" in fields else None,
        _u128(fields, "snapshot_s") if "snapshot_s" in fields else None,
        _u64(fields, "snapshot_epoch", older=True),
        _u64(fields, "snapshot_scale", older=True),
        _u64(fields, updated, older=True),
    )


def _first(fields: Mapping[str, JsonValue], *names: str) -> str:
    return next((name for name in names if name in fields), names[0])


def _object(data: JsonValue, what: str) -> Mapping[str, JsonValue]:
    if not isinstance(data, dict):
        raise ShapeError(f"{what} is no map with names: {_shown(data)}")
    return data


def _u64(fields: Mapping[str, JsonValue], name: str, *, older: bool = False) -> int:
    """A 64-bit number; where ``older`` generations lack it, 0."""
    if older and name not in fields:
        return 0
    return _integer(fields.get(name), name, U64)


def _u128(fields: Mapping[str, JsonValue], name: str, *, older: bool = False) -> int:
    if older and name not in fields:
        return 0
    value = fields.get(name)
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= len(str(U128)):
        value = int(value)
    return _integer(value, name, U128)


def _integer(value: JsonValue, what: str, end: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < end:
        raise ShapeError(f"{what} is no number from 0 below 2^{end.bit_length() - 1}: {_shown(value)}")
    return value


def _bool(fields: Mapping[str, JsonValue], name: str, *, older: bool) -> bool:
    """A flag; ``older``: what it is where it lacks."""
    value = fields.get(name, older)
    if not isinstance(value, bool):
        raise ShapeError(f"{name} is neither true nor false: {_shown(value)}")
    return value


def _enum(fields: Mapping[str, JsonValue], name: str, members: tuple[str, ...]) -> str:
    value = fields.get(name)
    if isinstance(value, str) and value in members:
        return value
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(members):
        return members[value]
    raise ShapeError(f"{name} is none of {', '.join(members)}: {_shown(value)}")


def _b32(fields: Mapping[str, JsonValue], name: str, *, older: bool = False) -> str:
    """32 bytes as hex; where ``older`` generations lack them, zeros."""
    if older and name not in fields:
        return ZERO
    value = fields.get(name)
    for read in (_of_numbers, _of_bytes, _of_hex):
        found = read(value)
        if found is not None and len(found) == 32:
            return found.hex()
    raise ShapeError(f"{name} is no 32 bytes: {_shown(value)}")


def _of_numbers(value: JsonValue) -> bytes | None:
    if not isinstance(value, list) or not all(type(part) is int and 0 <= part < 256 for part in value):
        return None
    return bytes(part for part in value if isinstance(part, int))


def _of_bytes(value: JsonValue) -> bytes | None:
    inside = value.get("bytes") if isinstance(value, dict) and len(value) == 1 else None
    return _of_hex(inside[2:]) if isinstance(inside, str) and inside.startswith("0x") else None


def _of_hex(value: JsonValue) -> bytes | None:
    if not isinstance(value, str) or len(value) != 64:
        return None
    try:
        return bytes.fromhex(value)
    except ValueError:
        return None


def _shown(value: object) -> str:
    """A value for a message: printable, and not longer than a line."""
    shown = ascii(value)
    return shown if len(shown) <= 80 else f"{shown[:77]}..."
