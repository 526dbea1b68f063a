"""Who may do what: the checks of roles that many actions share."""

from __future__ import annotations

from clarion.protocols.bithedge.actions.declaration import Call
from clarion.protocols.bithedge.outcomes import Check


def check_role(call: Call, code: int, *roles: str) -> Check[None]:
    """The sender holds one of these roles."""
    if not any(call.state.has_role(role, call.sender) for role in roles):
        yield code


def check_governance(call: Call, code: int) -> Check[None]:
    """The sender is governance."""
    yield from check_role(call, code, "governance")
