"""Which protocols an index projects: the table ``clarion.protocol``, read and written when a writer opens the index."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from psycopg import Connection

from clarion.chains.model import Chain
from clarion.protocol import DeployedProtocol
from clarion.store.chain_log import json_text
from clarion.store.digest import EMPTY_DIGEST


@dataclass(frozen=True, slots=True)
class Registered:
    """The enabled protocols: those whose rows are at the index's tip, and those whose rows have to be made first."""

    live: tuple[DeployedProtocol, ...]
    waiting: tuple[DeployedProtocol, ...]


def fingerprint(deployed: DeployedProtocol) -> str:
    """What a projection is made of: SHA-256 over its name, version, tables, handlers and contracts, as hex."""
    tables = [
        [row_type.name, row_type.key_columns, [[c.name, str(c.type), c.nullable] for c in row_type.table.columns]]
        for row_type in deployed.protocol.row_types
    ]
    handled = sorted(deployed.protocol.topics())
    parts = (deployed.protocol.name, deployed.protocol.version, tables, handled, deployed.binding)
    return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()


def register(
    connection: Connection[Any], chain: Chain, protocols: Sequence[DeployedProtocol], *, sequence: int, empty: bool
) -> Registered:
    """Compare the enabled protocols with those the index has, in the caller's transaction.

    A protocol goes on where its fingerprint is the same and no block was applied without it. In an ``empty`` index
    (without blocks) every protocol is live from the first block on. Those that the index has and that are not enabled
    any more are marked as stopped. ``sequence`` is where the index stands.
    """
    known = {
        name: (generation, known_fingerprint, stopped)
        for name, generation, known_fingerprint, stopped in connection.execute(
            "SELECT name, generation, fingerprint, stopped_sequence FROM clarion.protocol WHERE chain = %s FOR UPDATE",
            (chain,),
        )
    }
    live: list[DeployedProtocol] = []
    waiting: list[DeployedProtocol] = []
    for deployed in protocols:
        name, now = deployed.protocol.name, fingerprint(deployed)
        generation, before, stopped = known.pop(name, (0, "", None))
        if empty or (generation > 0 and before == now and stopped in (None, sequence)):
            live.append(deployed)
            connection.execute(
                """
                INSERT INTO clarion.protocol (chain, name, generation, fingerprint, contracts, since_sequence)
                VALUES (%(chain)s, %(name)s, 1, %(fingerprint)s, %(contracts)s, %(sequence)s)
                ON CONFLICT (chain, name) DO UPDATE SET generation = greatest(protocol.generation, 1),
                    fingerprint = excluded.fingerprint, contracts = excluded.contracts, stopped_sequence = NULL,
                    since_sequence = CASE WHEN %(empty)s THEN excluded.since_sequence ELSE protocol.since_sequence END
                """,
                {
                    "chain": chain,
                    "name": name,
                    "fingerprint": now,
                    "contracts": json_text(dict(deployed.contracts)),
                    "sequence": sequence,
                    "empty": empty,
                },
            )
        else:
            waiting.append(deployed)
    connection.execute(
        "UPDATE clarion.protocol SET stopped_sequence = %s WHERE chain = %s AND name <> ALL(%s) "
        "AND stopped_sequence IS NULL AND generation > 0",
        (sequence, chain, [deployed.protocol.name for deployed in live]),
    )
    return Registered(tuple(live), tuple(waiting))


def latest_digests(
    connection: Connection[Any], chain: Chain, protocols: Sequence[DeployedProtocol]
) -> dict[str, bytes]:
    """The latest digest of each of these live protocols."""
    found = connection.execute(
        """
        SELECT p.name, d.digest FROM clarion.protocol p LEFT JOIN LATERAL (
            SELECT digest FROM clarion.digest d
            WHERE d.chain = p.chain AND d.protocol = p.name AND d.generation = p.generation
            ORDER BY d.height DESC LIMIT 1
        ) d ON true
        WHERE p.chain = %s AND p.name = ANY(%s)
        """,
        (chain, [deployed.protocol.name for deployed in protocols]),
    )
    return {name: digest or EMPTY_DIGEST for name, digest in found}
