"""The protocol object: its name, its tables, and which contracts it follows on which network."""

from __future__ import annotations

from typing import Final

from clarion.protocol import Protocol

from clarion_sbtc.tables import TABLES

DEPLOYER: Final = "SM3VDXK3WZZSA84XXFKAFAF15NNZX32CTSG82JFQ4"
"""Who deployed sBTC on the main network. Local chains have it at the same address."""
TOKEN: Final = "sbtc-token"
REGISTRY: Final = "sbtc-registry"

protocol: Final = Protocol(
    "sbtc",
    tables=TABLES,
    title="sBTC",
    version=1,
    contracts={
        name: dict.fromkeys(("mainnet", "devnet", "mocknet"), f"{DEPLOYER}.{name}") for name in (TOKEN, REGISTRY)
    },
)
