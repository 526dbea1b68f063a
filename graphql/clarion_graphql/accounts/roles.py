"""Roles: what contracts say that an address may do."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from clarion_graphql.session import Session


@dataclass(frozen=True, slots=True)
class HeldRole:
    """A role that an address holds at the receipt's Bitcoin block."""

    protocol: str
    role: str
    until_burn: int | None
    """Last Bitcoin block it is held in; None: without end."""


RoleReader = Callable[[Session, str], Awaitable[Sequence[HeldRole]]]
"""Reads the roles of an address in an operation's snapshot, from rows that a protocol projects of its events."""
