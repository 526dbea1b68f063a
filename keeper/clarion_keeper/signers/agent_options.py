"""What an agent and whoever starts it have to agree on."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from clarion_keeper.signers.limits import Limits

READY: Final = b"ready\n"
"""First line of an agent to its owner, where it has a key; otherwise that line says why not."""
PASS: Final = b"+"
"""Goes along with each connection that the owner passes."""


class AgentOptions(Struct, frozen=True, kw_only=True):
    """What an agent is told at its start. There is no secret in it.

    Attributes:
        account: the account's name, for messages.
        source: where the key is: ``file:``, ``env:`` or ``keyring:``.
        limits: what is signed.
        ledger: path of the file that remembers what was spent within the hour; ``{key}`` in it stands for the key's
            address, so that two names of one key share a budget.
        guarded: start again by itself where it is killed; for keys that nobody could read again.
        listen: path of a socket to listen on, instead of the owner's.
        group: name of the group whose members may connect to ``listen``; None: its own user alone.
    """

    account: str
    source: str
    limits: Limits
    ledger: str
    guarded: bool = False
    listen: str | None = None
    group: str | None = None
