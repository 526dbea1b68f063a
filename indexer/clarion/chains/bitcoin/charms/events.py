"""What Bitcoin's chain log says of a transaction that matters to Charms: a spell, or a spend of charms without one.

Both are stored as the JSON of the structs here. They follow from the transaction's bytes and the network alone (a spend
also from which outpoints bear charms), so every source gives the same.

Charm data is JSON: integers are exact at any size, a byte string is ``{"bytes": "0x.."}``, a map whose keys are not all
text ``{"map": [[key, value], ..]}``, a float ``{"float": "0x<its CBOR bytes>"}``, any other tagged value
``{"tag": number, "value": ..}``: see :mod:`clarion.chains.bitcoin.charms.values`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from msgspec import Struct

if TYPE_CHECKING:
    from clarion.chains.model import JsonValue
else:
    # msgspec resolves no alias that names itself
    JsonValue = Any

#: ``verified``: its proof holds. ``mock``: it says that its proof means nothing, and that is accepted here.
#: ``invalid``: a step of the verification failed. ``unsupported``: of a version that this release cannot verify.
SpellStatus = Literal["verified", "mock", "invalid", "unsupported"]


class Output(Struct, frozen=True):
    """An output of the transaction."""

    amount: int
    """In satoshis."""
    script: str
    """The locking script, as ``0x`` hex text."""
    address: str | None = None
    """What the script pays to on the network; None where it has no address form."""


class AppUse(Struct, frozen=True, omit_defaults=True):
    """An app in a spell's table."""

    tag: str
    """One character: ``t`` a token, ``n`` an NFT; others are legal."""
    identity: str
    """32 bytes as 64 hex digits."""
    vk: str
    """The verification key that is its contract, 32 bytes as 64 hex digits."""
    public_input: JsonValue = None
    wasm_hash: str | None = None
    """Of a versioned app (spells from version 15 on): the hash of its program, 64 hex digits."""
    version: int | None = None
    """Of a versioned app."""

    @property
    def id(self) -> str:
        """``tag/identity/vk``."""
        return f"{self.tag}/{self.identity}/{self.vk}"


class SpellEvent(Struct, frozen=True):
    """A transaction with a spell, of whatever status."""

    inputs: list[str]
    """The outpoints it spends (``txid:vout``), all of them, in order."""
    outputs: list[Output]
    """All of them, in order."""
    status: SpellStatus
    failed_step: str | None
    """For an invalid spell what failed, for an unsupported one why."""
    version: int | None
    """None where nothing of the spell could be read."""
    location: Literal["op_return", "witness"]
    mock: bool
    """Whether it says of itself that its proof means nothing."""
    apps: list[AppUse]
    """Its table of apps, in its order."""
    outs: list[dict[str, JsonValue]]
    """By output of the transaction, as far as the spell goes: place in :attr:`apps` (as text) to charm data."""
    beamed_outs: dict[str, str]
    """Output (as text) to the hash of the place on another chain that its charms are beamed to."""
    refs: list[str] | None
    """The outpoints it refers to without spending them; None where it does not say."""
    scrolls: list[int]
    """Outputs that are controlled by the Scrolls canister."""

    @property
    def acceptable(self) -> bool:
        """Whether its charms exist."""
        return self.status in ("verified", "mock")

    def charms(self, output: int) -> list[tuple[AppUse, JsonValue]]:
        """The charms of an output with their apps, in the order of the table of apps."""
        if output >= len(self.outs):
            return []
        of_output = self.outs[output]
        places = sorted(int(place) for place in of_output)
        return [(self.apps[place], of_output[str(place)]) for place in places if place < len(self.apps)]


class SpendEvent(Struct, frozen=True):
    """A transaction without a spell that spends outputs with charms: these are destroyed."""

    inputs: list[str]
    """The outpoints it spends (``txid:vout``), all of them, in order."""
    outputs: list[Output]
    """All of them, in order."""
    spent: list[int]
    """Which inputs bear charms, or did on some branch of the chain."""
