"""The constants that tell Stacks networks apart (SIP-005)."""

from enum import Enum

from clarion.chains.stacks.codec_errors import AddressError


class Network(Enum):
    """Mainnet, or testnet whose constants local devnets share."""

    MAINNET = "mainnet"
    TESTNET = "testnet"

    @property
    def transaction_version(self) -> int:
        """First byte of a transaction."""
        return 0x00 if self is Network.MAINNET else 0x80

    @property
    def chain_id(self) -> int:
        """Chain id a transaction is bound to. A private network may choose another."""
        return 0x00000001 if self is Network.MAINNET else 0x80000000

    @property
    def single_sig_version(self) -> int:
        """Address version of one key: SP or ST."""
        return 22 if self is Network.MAINNET else 26

    @property
    def multi_sig_version(self) -> int:
        """Address version of a script: SM or SN."""
        return 20 if self is Network.MAINNET else 21

    @staticmethod
    def of_address_version(version: int) -> "Network":
        """The network whose addresses have this version. Raises ``AddressError`` for any other version."""
        for network in Network:
            if version in (network.single_sig_version, network.multi_sig_version):
                return network
        raise AddressError(f"address version {version} belongs to no known network")
