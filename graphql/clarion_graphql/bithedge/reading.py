"""How BitHedge's views read: its tables, and the Bitcoin block that an answer is read at."""

from __future__ import annotations

from typing import Final

from psycopg import sql

from clarion.protocols.bithedge.units import BurnHeight
from clarion_graphql.context import Info
from clarion_graphql.errors import ApiError, Code
from clarion_graphql.reading import CURSOR, MOST_ROWS, Tables, big, made
from clarion_graphql.session import Session

__all__ = ["BURN_NOW", "MOST_ROWS", "big", "burn_now", "composed", "known_burn", "made", "parameters", "read"]
__all__ += ["reading", "table"]

BURN_NOW: Final = sql.SQL(
    "(SELECT b.burn_height FROM {} c JOIN clarion.block b ON b.chain = c.chain AND b.hash = c.hash "
    "WHERE c.chain = 'stacks')"
).format(CURSOR)
"""The Bitcoin block of the receipt."""

_TABLES: Final = Tables("bithedge", {"burn_now": BURN_NOW})
table = _TABLES.table
composed = _TABLES.composed
reading = _TABLES.reading
read = _TABLES.read


async def burn_now(info: Info) -> BurnHeight | None:
    """The Bitcoin block that the answer is read at; None while that is not known."""
    receipt = (await info.context.session.receipts()).get("stacks")
    return None if receipt is None or receipt.burn_height is None else BurnHeight(receipt.burn_height)


async def known_burn(info: Info) -> BurnHeight:
    """The Bitcoin block that the answer is read at. Raises ApiError while that is not known."""
    now = await burn_now(info)
    if now is None:
        raise ApiError(
            Code.UNAVAILABLE, "The Bitcoin block of the index's tip is not known yet: ask again after the next block."
        )
    return now


async def parameters(session: Session) -> dict[str, int]:
    """The protocol's parameters by name."""
    return dict(await read(session, "SELECT p.key, p.value FROM {parameter} p"))
