"""The tables of the protocol ``zkusd``, as views read them."""

from __future__ import annotations

from typing import Final

from psycopg import sql

from clarion.protocols.zkusd.app_sets import Rules
from clarion_graphql.bitcoin_columns import TIP_HEIGHT
from clarion_graphql.reading import CURSOR, Tables

TIP_TIME: Final = sql.SQL(
    "(SELECT b.time FROM {} c JOIN clarion.block b ON b.chain = c.chain AND b.hash = c.hash WHERE c.chain = 'bitcoin')"
).format(CURSOR)
"""Unix seconds of the block that an answer is read at."""

RULES: Final = tuple(Rules.__struct_fields__)
"""The rules of a set of apps, in the order of the columns ``{rules}`` of its row ``s``."""

TABLES: Final = Tables(
    "zkusd",
    {
        "tip_height": TIP_HEIGHT,
        "tip_time": TIP_TIME,
        "rules": sql.SQL(", ").join(sql.Identifier("s", name) for name in RULES),
    },
    own=("event",),
)
