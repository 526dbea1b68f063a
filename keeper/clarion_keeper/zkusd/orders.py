"""What a spell is to do, as an intent's item carries it: enough to build it from what the chain says by then."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from clarion.protocols.zkusd.units import Base, Sats
from clarion_keeper.intents import Item


class Operation(StrEnum):
    """What the keeper does on zkUSD."""

    LIQUIDATE = "liquidate"
    REDEEM = "redeem"
    RESCUE = "rescue"


class SpellOrder(msgspec.Struct, frozen=True, kw_only=True):
    """An operation on one vault.

    ``amount`` is the zkUSD to redeem, ``collateral`` what a rescue adds. ``known``: the apps are
    those whose contracts come with Clarion; a spell of others is not built here.
    """

    operation: Operation
    app_set: str
    vault: str
    """The vault's genesis outpoint."""
    amount: Base = Base(0)
    collateral: Sats = Sats(0)
    known: bool = True

    def item(self) -> Item:
        """What an intent carries."""
        return {
            "operation": self.operation.value,
            "app_set": self.app_set,
            "vault": self.vault,
            "amount": self.amount,
            "collateral": self.collateral,
            "known": int(self.known),
        }

    @property
    def key(self) -> str:
        """What tells it from others: an operation on a vault is ordered once at a time."""
        return f"zkusd:{self.operation.value}:{self.app_set}:{self.vault}"


def order_of(item: Item) -> SpellOrder:
    """The order that an intent's item carries. Raises KeyError, ValueError."""
    return SpellOrder(
        operation=Operation(str(item["operation"])),
        app_set=str(item["app_set"]),
        vault=str(item["vault"]),
        amount=Base(int(item["amount"])),
        collateral=Sats(int(item["collateral"])),
        known=bool(int(item["known"])),
    )
