"""The accounts of a devnet's cast. Their keys are public knowledge: never use one where money is real."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final

from clarion.chains.stacks.keys import PrivateKey
from clarion.chains.stacks.networks import Network

NETWORK: Final = Network.TESTNET
"""Devnets share testnet's constants."""

_COMPRESSED: Final = b"\x01"


@dataclass(frozen=True, slots=True)
class Account:
    """A named key of the cast. ``secret`` is 33 bytes, as Stacks wallets export keys; ``address`` is a devnet's."""

    name: str
    secret: bytes
    address: str

    @property
    def key(self) -> PrivateKey:
        """The private key."""
        return PrivateKey(self.secret)


def account(name: str) -> Account:
    """The account of this name: the same key in every run and on every machine."""
    secret = hashlib.sha256(f"clarion devnet account {name}".encode()).digest() + _COMPRESSED
    return Account(name, secret, str(PrivateKey(secret).address(NETWORK)))


DEPLOYER: Final = account("deployer")
"""Deploys the contracts and holds the governance role."""
GUARDIAN: Final = account("guardian")
KEEPER: Final = account("keeper")


@dataclass(frozen=True, slots=True)
class Cast:
    """Everybody who sends transactions."""

    deployer: Account
    guardian: Account
    keeper: Account
    submitters: tuple[Account, ...]
    """Oracle providers, of equal weight."""
    providers: tuple[Account, ...]
    buyers: tuple[Account, ...]
    steward: Account
    """Looks after the insurance fund, decides claims, and calls on positions that fall behind."""
    gambler: Account
    """A provider whose positions stand at the edge."""
    punter: Account
    """Buys what the gambler covers."""
    treasurer: Account
    """Collects fees, has them shared out, and posts what an epoch gives."""

    def everyone(self) -> tuple[Account, ...]:
        """Every account, in a fixed order."""
        return (
            self.deployer,
            self.guardian,
            self.keeper,
            *self.submitters,
            *self.providers,
            *self.buyers,
            self.steward,
            self.gambler,
            self.punter,
            self.treasurer,
        )


def _numbered(name: str, count: int) -> tuple[Account, ...]:
    return tuple(account(f"{name}-{number}") for number in range(1, count + 1))


def make_cast(*, submitters: int = 4, providers: int = 8, buyers: int = 6) -> Cast:
    """A cast with this many of each. ``submitters`` is 3 to 10: an oracle round needs three prices."""
    if not 3 <= submitters <= 10:
        raise ValueError(f"an oracle round takes 3 to 10 submitters, found {submitters}")
    return Cast(
        DEPLOYER,
        GUARDIAN,
        KEEPER,
        _numbered("submitter", submitters),
        _numbered("provider", providers),
        _numbered("buyer", buyers),
        account("steward"),
        account("gambler"),
        account("punter"),
        account("treasurer"),
    )
