"""How the API names where a position stands between its tier's ratios."""

from __future__ import annotations

from typing import Any, Final

from clarion.protocols.bithedge.health import Margin
from clarion_graphql.enums import graphql_enum

MARGIN: Final[Any] = graphql_enum(
    Margin,
    {
        "IDLE": "It backs nothing.",
        "HEALTHY": "At or above its tier's warning ratio.",
        "WARNING": "Below the warning ratio: a margin call is soft.",
        "UNDER": "Below the tier's least ratio: a margin call is hard.",
        "INSOLVENT": "It no longer covers what it owes: it can be liquidated at once.",
    },
)
