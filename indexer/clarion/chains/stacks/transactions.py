"""Stacks transactions (SIP-005): one frozen type, decoded from and encoded to wire bytes exactly.

>>> raw = bytes.fromhex("00000000010400" + "00" * 20 + "00" * 8 + "00" * 8 + "00" + "00" * 65 + "0302" + "00000000"
...                     + "0005" + "16" + "00" * 20 + "0000000000000005" + "00" * 34)
>>> transaction = decode_transaction(raw)
>>> transaction.payload.amount, transaction.encode() == raw
(5, True)
"""

from enum import IntEnum
from typing import Final

from msgspec import Struct

from clarion.chains.stacks.authorization import (
    Authorization,
    HashMode,
    SpendingCondition,
    read_authorization,
    write_authorization,
)
from clarion.chains.stacks.clarity import StandardPrincipal, bytes_from_hex
from clarion.chains.stacks.codec_errors import DecodeError, EncodeError
from clarion.chains.stacks.hashing import sha512_256
from clarion.chains.stacks.networks import Network
from clarion.chains.stacks.payloads import Payload, read_payload, write_payload
from clarion.chains.stacks.post_conditions import (
    PostCondition,
    PostConditionMode,
    read_mode,
    read_post_condition,
    write_post_condition,
)
from clarion.chains.stacks.wire import Cursor, unsigned

MAX_TRANSACTION_BYTES: Final = 2 << 20


class AnchorMode(IntEnum):
    """Which kind of block a transaction may go into; without meaning since Stacks 2.5, but part of the format."""

    ON_CHAIN_ONLY = 1
    OFF_CHAIN_ONLY = 2
    ANY = 3


_ANCHOR_MODES: Final = {mode.value: mode for mode in AnchorMode}
_NETWORKS: Final = {network.transaction_version: network for network in Network}


class Transaction(Struct, frozen=True, gc=False):
    """A transaction, signed or not. ``chain_id`` is the network's unless a private network chose its own."""

    network: Network
    chain_id: int
    authorization: Authorization
    payload: Payload
    post_conditions: tuple[PostCondition, ...] = ()
    post_condition_mode: PostConditionMode = PostConditionMode.DENY
    anchor_mode: AnchorMode = AnchorMode.ANY

    def encode(self) -> bytes:
        """The wire bytes. Raises ``EncodeError`` where a part cannot be expressed."""
        out = bytearray((self.network.transaction_version,))
        out += unsigned(self.chain_id, 4, "a chain id")
        write_authorization(self.authorization, out)
        out.append(self.anchor_mode)
        out.append(self.post_condition_mode)
        out += unsigned(len(self.post_conditions), 4, "a count of post-conditions")
        for condition in self.post_conditions:
            write_post_condition(condition, out)
        write_payload(self.payload, out)
        if len(out) > MAX_TRANSACTION_BYTES:
            raise EncodeError(f"a transaction takes at most {MAX_TRANSACTION_BYTES} bytes, found {len(out)}")
        return bytes(out)

    @property
    def txid(self) -> bytes:
        """The 32-byte id; it changes with every signature."""
        return transaction_id(self.encode())

    @property
    def sender(self) -> StandardPrincipal:
        """Whose account this acts for, as claimed: ``signing.verify`` checks that the signatures agree."""
        return signer_address(self.authorization.origin, self.network)

    @property
    def sponsor(self) -> StandardPrincipal | None:
        """Who else pays the fee, as claimed."""
        sponsor = self.authorization.sponsor
        return None if sponsor is None else signer_address(sponsor, self.network)

    @property
    def nonce(self) -> int:
        """The sender's nonce."""
        return self.authorization.origin.nonce

    @property
    def fee(self) -> int:
        """What is paid to the miner, in micro-STX: by the sponsor if there is one, else by the sender."""
        return (self.authorization.sponsor or self.authorization.origin).fee


def transaction_id(raw: bytes) -> bytes:
    """The 32-byte id of a transaction's wire bytes: their SHA-512/256."""
    return sha512_256(raw)


def signer_address(condition: SpendingCondition, network: Network) -> StandardPrincipal:
    """The address a spending condition names: single-key addresses are P2PKH only, all others are script addresses."""
    single = condition.hash_mode is HashMode.P2PKH
    version = network.single_sig_version if single else network.multi_sig_version
    return StandardPrincipal(version, condition.signer)


def decode_transaction(raw: bytes) -> Transaction:
    """The transaction whose wire bytes are ``raw``. Raises ``DecodeError``, also where bytes are left over."""
    if len(raw) > MAX_TRANSACTION_BYTES:
        raise DecodeError(f"at most {MAX_TRANSACTION_BYTES} bytes", MAX_TRANSACTION_BYTES, f"{len(raw)} bytes")
    cursor = Cursor(raw)
    version = cursor.integer(1, "a transaction version")
    network = _NETWORKS.get(version)
    if network is None:
        raise DecodeError("a transaction version (0x00, 0x80)", 0, f"0x{version:02x}")
    chain_id = cursor.integer(4, "a chain id")
    authorization = read_authorization(cursor)
    anchor_mode = cursor.choice(_ANCHOR_MODES, "an anchor mode")
    mode = read_mode(cursor)
    conditions = tuple([read_post_condition(cursor) for _ in range(cursor.count("post-conditions"))])
    payload = read_payload(cursor)
    cursor.finish()
    return Transaction(network, chain_id, authorization, payload, conditions, mode, anchor_mode)


def decode_transaction_hex(text: str) -> Transaction:
    """The transaction whose wire bytes are given in hexadecimal, with or without ``0x``. Raises ``DecodeError``."""
    return decode_transaction(bytes_from_hex(text))
