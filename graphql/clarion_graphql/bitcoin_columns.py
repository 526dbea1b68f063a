"""What rows of Bitcoin's protocols have in common beyond their tables."""

from __future__ import annotations

from typing import LiteralString

from psycopg import sql

from clarion_graphql.decimals import Scale
from clarion_graphql.entities import Column, Kind
from clarion_graphql.reading import CURSOR

TIP_HEIGHT = sql.SQL("(SELECT c.height FROM {} c WHERE c.chain = 'bitcoin')").format(CURSOR)
"""Height of the block that an answer is read at."""

BITCOIN = Scale(8, "BTC", "_btc", ending="_sats")
"""Satoshis, shown in whole bitcoins as well."""


def confirmations(height: LiteralString, of: str) -> Column:
    """How deep the block of a row is, from its column ``height``."""
    return Column(
        "confirmations",
        Kind.INT,
        f"Blocks on the receipt's chain from {of}'s own to the tip, both counted.",
        nullable=True,
        expression=sql.SQL("({} - {} + 1)").format(TIP_HEIGHT, sql.SQL(height)),
        filterable=False,
        orderable=False,
    )
