"""Bitcoin's networks: what tells them apart in addresses, in a node's words and by their first block."""

from __future__ import annotations

from enum import StrEnum
from typing import Final, NamedTuple


class BitcoinNetwork(StrEnum):
    """A Bitcoin network."""

    MAINNET = "mainnet"
    TESTNET4 = "testnet4"
    SIGNET = "signet"
    REGTEST = "regtest"

    @property
    def constants(self) -> NetworkConstants:
        """What is different on it."""
        return _CONSTANTS[self]


class NetworkConstants(NamedTuple):
    """What is different on a network (Bitcoin Core's ``chainparams.cpp`` and
    ``chainparamsbase.cpp``, BIP 173, BIP 94)."""

    core_name: str
    """What Bitcoin Core's ``getblockchaininfo`` calls it."""
    segwit_prefix: str
    """The human-readable part of segwit addresses."""
    key_hash_version: int
    """First byte of a P2PKH address."""
    script_hash_version: int
    """First byte of a P2SH address."""
    rpc_port: int
    """Where a node listens for RPC unless told otherwise."""
    genesis: str
    """Hash of block 0, in display order as hexadecimal."""


_CONSTANTS: Final = {
    BitcoinNetwork.MAINNET: NetworkConstants(
        "main", "bc", 0x00, 0x05, 8332, "000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f"
    ),
    BitcoinNetwork.TESTNET4: NetworkConstants(
        "testnet4", "tb", 0x6F, 0xC4, 48332, "00000000da84f2bafbbc53dee25a72ae507ff4914b867c565be350b0da8bf043"
    ),
    BitcoinNetwork.SIGNET: NetworkConstants(
        "signet", "tb", 0x6F, 0xC4, 38332, "00000008819873e925422c1ff0f99f7cc9bbb232af63a077a480a3633bee1ef6"
    ),
    BitcoinNetwork.REGTEST: NetworkConstants(
        "regtest", "bcrt", 0x6F, 0xC4, 18443, "0f9188f13cb7b2c71f2a335e3a4fc328bf5beb436012afca590b1a11466e2206"
    ),
}
