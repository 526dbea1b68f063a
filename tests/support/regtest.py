"""Indexes of a regtest's blocks: zkUSD and Charms."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import psycopg
from psycopg import sql

from clarion.chains.bitcoin.charms.verify import read_spells
from clarion.chains.bitcoin.networks import BitcoinNetwork
from clarion.chains.bitcoin.scanner import Scanner, scan
from clarion.chains.model import Block
from clarion.dev.bitcoin.chain import ChainBlock
from clarion.dev.bitcoin.premine import zkusd_apps
from clarion.protocols import charms, zkusd
from clarion.store.store import Store

NETWORK = BitcoinNetwork.REGTEST
DEEPEST = 120
"""Blocks that a fork may go back."""
PROTOCOLS = (charms.protocol, zkusd.protocol)


def opened(connection: psycopg.Connection[Any], *, seed: int) -> Store:
    """A store of the two protocols for a regtest of this seed, in which no test's fork is too deep."""
    given = {"zkusd": zkusd_apps(seed).parameters("regtest")}
    deployed = [p.deployed_on(NETWORK.value, parameters=given.get(p.name, {})) for p in PROTOCOLS]
    store = Store(connection, "bitcoin", deployed, final_depth=DEEPEST)
    store.open()
    return store


def scanned(scanner: Scanner, blocks: Sequence[ChainBlock]) -> list[Block]:
    """A node's blocks as the chain log holds them; parents first."""
    reader = partial(read_spells, network=NETWORK, accept_mock=True)
    return [scanner.block(block.raw, scan(block.raw, reader), block.height) for block in blocks]


def state(connection: psycopg.Connection[Any]) -> dict[str, Any]:
    """Every row of both protocols, and the chain with its digests."""
    found: dict[str, Any] = {
        row_type.name: connection.execute(
            sql.SQL("SELECT to_jsonb(t)::text FROM {} t ORDER BY 1").format(sql.Identifier(*row_type.name.split(".")))
        ).fetchall()
        for protocol in PROTOCOLS
        for row_type in protocol.row_types
    }
    found["chain"] = connection.execute(
        "SELECT height, hash, clarion.digest_at(chain, height) FROM clarion.canonical_block "
        "WHERE chain = 'bitcoin' ORDER BY height"
    ).fetchall()
    return found
