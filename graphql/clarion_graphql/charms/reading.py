"""The tables of the protocol ``charms``, as views read them."""

from __future__ import annotations

from typing import Final

from clarion_graphql.reading import Tables

TABLES: Final = Tables("charms")
