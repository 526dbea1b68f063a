"""The tables of the protocol ``zkusd``, as views read them."""

from __future__ import annotations

from typing import Final

from psycopg import sql

from clarion_graphql.bitcoin_columns import TIP_HEIGHT
from clarion_graphql.reading import CURSOR, Tables

TIP_TIME: Final = sql.SQL(
    "(SELECT b.time FROM {} c JOIN clarion.block b ON b.chain = c.chain AND b.hash = c.hash WHERE c.chain = 'bitcoin')"
).format(CURSOR)
"""Unix seconds of the block that an answer is read at."""

TABLES: Final = Tables("zkusd", {"tip_height": TIP_HEIGHT, "tip_time": TIP_TIME}, own=("event",))
