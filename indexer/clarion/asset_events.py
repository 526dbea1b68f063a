"""What chain events about assets say: the payloads that handlers of kinds other than ``print`` take.

``asset`` is the asset's identifier, ``<contract id>::<asset name>``: one contract may define several. Principals are
addresses or contract ids. Amounts are in the asset's base units (micro-STX for STX).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

import msgspec

from clarion.chains.model import EventKind


class FtTransfer(msgspec.Struct, frozen=True):
    """A fungible token moved."""

    asset: str
    sender: str
    recipient: str
    amount: int


class FtMint(msgspec.Struct, frozen=True):
    """Fungible tokens came into being."""

    asset: str
    recipient: str
    amount: int


class FtBurn(msgspec.Struct, frozen=True):
    """Fungible tokens were destroyed."""

    asset: str
    sender: str
    amount: int


class NftTransfer(msgspec.Struct, frozen=True):
    """A token of its own kind moved; ``value`` is its identifier within the asset, in the JSON form of its type."""

    asset: str
    sender: str
    recipient: str
    value: Any


class NftMint(msgspec.Struct, frozen=True):
    """A token of its own kind came into being."""

    asset: str
    recipient: str
    value: Any


class NftBurn(msgspec.Struct, frozen=True):
    """A token of its own kind was destroyed."""

    asset: str
    sender: str
    value: Any


class StxTransfer(msgspec.Struct, frozen=True):
    """Micro-STX moved. ``memo`` is ``0x`` hexadecimal."""

    sender: str
    recipient: str
    amount: int
    memo: str | None = None


class StxMint(msgspec.Struct, frozen=True):
    """Micro-STX came into being (vesting at genesis, mining rewards are not events)."""

    recipient: str
    amount: int


class StxBurn(msgspec.Struct, frozen=True):
    """Micro-STX were destroyed."""

    sender: str
    amount: int


class StxLock(msgspec.Struct, frozen=True):
    """Micro-STX were locked for stacking until a Bitcoin height. Old nodes do not say by which contract."""

    locked_address: str
    locked_amount: int
    unlock_height: int
    contract_identifier: str | None = None


PAYLOADS: Final[Mapping[EventKind, type[Any]]] = MappingProxyType(
    {
        EventKind.FT_TRANSFER: FtTransfer,
        EventKind.FT_MINT: FtMint,
        EventKind.FT_BURN: FtBurn,
        EventKind.NFT_TRANSFER: NftTransfer,
        EventKind.NFT_MINT: NftMint,
        EventKind.NFT_BURN: NftBurn,
        EventKind.STX_TRANSFER: StxTransfer,
        EventKind.STX_MINT: StxMint,
        EventKind.STX_BURN: StxBurn,
        EventKind.STX_LOCK: StxLock,
    }
)
"""The payload of each kind of asset event."""
