"""Keys of a regtest's cast. They are public knowledge: never use one where money is real."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from coincurve import PrivateKey

from clarion.chains.bitcoin.addresses import address_of
from clarion.chains.bitcoin.key_scripts import (
    segwit_script,
    tagged_hash,
    taproot_script,
    taproot_tweak,
    tweaked_public,
)
from clarion.chains.bitcoin.networks import BitcoinNetwork
from clarion.chains.bitcoin.transactions import write_compact_size

_CURVE_ORDER: Final = 0xFFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFE_BAAEDCE6_AF48A03B_BFD25E8C_D0364141
_EVEN: Final = b"\x02"
LEAF_VERSION: Final = 0xC0
"""Of the taproot leaves that hold today's scripts (BIP 342)."""


def leaf_hash(leaf: bytes) -> bytes:
    """Hash of a taproot tree of this one script (BIP 341)."""
    return tagged_hash("TapLeaf", bytes((LEAF_VERSION,)), write_compact_size(len(leaf)), leaf)


@dataclass(frozen=True)
class Key:
    """A named private key with the scripts that it spends alone. ``secret`` is 32 bytes."""

    name: str
    secret: bytes

    @cached_property
    def public(self) -> bytes:
        """The public key, 33 bytes."""
        return PrivateKey(self.secret).public_key.format()

    @property
    def x_only(self) -> bytes:
        """The public key as taproot writes it, 32 bytes."""
        return self.public[1:]

    @cached_property
    def segwit_script(self) -> bytes:
        """Pays to the key's hash (P2WPKH)."""
        return segwit_script(self.public)

    @cached_property
    def taproot_script(self) -> bytes:
        """Pays to the key by taproot (P2TR), without scripts beneath (BIP 86)."""
        return self.taproot_script_over(None)

    def taproot_script_over(self, leaf: bytes | None) -> bytes:
        """Pays to the key by taproot with the one script ``leaf`` beneath."""
        return taproot_script(self.public, _tree(leaf))

    @property
    def address(self) -> str:
        """Of `taproot_script`."""
        return str(address_of(self.taproot_script, BitcoinNetwork.REGTEST))

    @property
    def segwit_address(self) -> str:
        """Of `segwit_script`."""
        return str(address_of(self.segwit_script, BitcoinNetwork.REGTEST))

    def tweaked_secret(self) -> bytes:
        """The private key that spends `taproot_script` (BIP 341)."""
        number = int.from_bytes(self.secret)
        even = number if self.public.startswith(_EVEN) else _CURVE_ORDER - number
        tweaked = (even + int.from_bytes(taproot_tweak(self.public))) % _CURVE_ORDER
        return tweaked.to_bytes(32)

    def control_block(self, leaf: bytes) -> bytes:
        """What shows that ``leaf`` is the one script beneath the key (BIP 341), 33 bytes."""
        odd = not tweaked_public(self.public, _tree(leaf)).startswith(_EVEN)
        return bytes((LEAF_VERSION | odd,)) + self.x_only


def _tree(leaf: bytes | None) -> bytes:
    return b"" if leaf is None else leaf_hash(leaf)


def key(name: str) -> Key:
    """The key of this name: the same in every run and on every machine."""
    return Key(name, hashlib.sha256(f"clarion regtest key {name}".encode()).digest())
