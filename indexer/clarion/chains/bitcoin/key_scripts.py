"""What a key can spend alone: its two locking scripts, and the text form of the key itself."""

from __future__ import annotations

import hashlib
from typing import Final

from coincurve import PublicKey

from clarion.chains.bitcoin.addresses import base58check
from clarion.chains.bitcoin.networks import BitcoinNetwork

PUBLIC_KEY_BYTES: Final = 33
_EVEN: Final = b"\x02"
_COMPRESSED: Final = b"\x01"
_MAINNET_SECRET, _TEST_SECRET = 0x80, 0xEF


def tagged_hash(tag: str, *parts: bytes) -> bytes:
    """SHA-256 that is told apart by a tag (BIP 340)."""
    prefix = hashlib.sha256(tag.encode()).digest()
    return hashlib.sha256(prefix + prefix + b"".join(parts)).digest()


def segwit_script(public: bytes) -> bytes:
    """Pays to the hash of a public key of 33 bytes (P2WPKH, BIP 141)."""
    return b"\x00\x14" + hashlib.new("ripemd160", hashlib.sha256(public).digest()).digest()


def taproot_script(public: bytes, tree: bytes = b"") -> bytes:
    """Pays to a public key of 33 bytes by taproot (P2TR, BIP 341).

    ``tree``: the root of the scripts beneath; nothing for none (BIP 86).
    """
    return b"\x51\x20" + tweaked_public(public, tree)[1:]


def tweaked_public(public: bytes, tree: bytes = b"") -> bytes:
    """The key that a taproot output names, 33 bytes: the public key tweaked by the scripts beneath (BIP 341)."""
    return PublicKey(_EVEN + public[1:]).add(taproot_tweak(public, tree)).format()


def taproot_tweak(public: bytes, tree: bytes = b"") -> bytes:
    """What a key of 33 bytes is tweaked by in taproot (BIP 341)."""
    return tagged_hash("TapTweak", public[1:], tree)


def secret_text(secret: bytes, network: BitcoinNetwork) -> str:
    """A private key of 32 bytes as wallets read it (WIF), for a compressed public key."""
    version = _MAINNET_SECRET if network is BitcoinNetwork.MAINNET else _TEST_SECRET
    return base58check(version, secret + _COMPRESSED)
