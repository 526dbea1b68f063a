"""The roles that BitHedge's registry gives an address."""

from __future__ import annotations

from collections.abc import Sequence

from clarion_graphql.accounts.roles import HeldRole
from clarion_graphql.bithedge.reading import read
from clarion_graphql.session import Session


async def read_roles(session: Session, address: str) -> Sequence[HeldRole]:
    """The roles an address holds at the receipt's Bitcoin block, by name."""
    rows = await read(
        session,
        "SELECT r.role, r.until_burn FROM {role} r "
        "WHERE r.who = %s AND (r.until_burn IS NULL OR r.until_burn >= {burn_now}) ORDER BY r.role",
        address,
    )
    return [HeldRole("bithedge", role, until_burn) for role, until_burn in rows]
