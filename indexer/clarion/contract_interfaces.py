"""Asks the node for the interfaces of contracts that came without one.

A node's post of a block carries the interface of every contract that it deploys. Other sources do not, and contracts
that were there before the index are only called. What the node answers goes to ``clarion.contract_interface``.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any, Final

import psycopg
import structlog
from psycopg.types.json import Jsonb
from psycopg_pool import AsyncConnectionPool

from clarion.chains.stacks.node_client import NodeClient, NodeError
from clarion.chains.stacks.node_payloads import interface_form
from clarion.store.database import make_pool

POLL_SECONDS: Final = 15.0
LONGEST_PAUSE_SECONDS: Final = 600.0
"""Between attempts while the node does not answer, and before a contract is asked for again that it does not have."""
CALLS_OF_BLOCKS: Final = 1_000
"""Contracts that were not deployed in an indexed block are asked for where one of so many last blocks calls them."""
OVERLAP_BLOCKS: Final = 100
"""How far below the tip blocks are looked at once more: a reorg may have put others in their place."""
AT_ONCE: Final = 100

_MISSING: Final = """
SELECT t.contract FROM (
    SELECT chain, height, block_hash, contract FROM clarion.transaction
    WHERE chain = 'stacks' AND kind = 'smart_contract' AND status = 'success' AND height > %(since)s
    UNION ALL
    SELECT chain, height, block_hash, contract FROM clarion.transaction
    WHERE chain = 'stacks' AND kind = 'contract_call' AND height > greatest(%(since)s, %(tip)s - %(calls)s)
) t
JOIN clarion.canonical_block c ON c.chain = t.chain AND c.height = t.height AND c.hash = t.block_hash
WHERE t.contract <> ALL(%(absent)s)
AND NOT EXISTS (SELECT FROM clarion.contract_interface i WHERE i.contract = t.contract)
GROUP BY t.contract LIMIT %(at_once)s
"""

log = structlog.get_logger(__name__)


class InterfaceFetcher:
    """Fills in missing interfaces. Run :meth:`run` as a task until it is cancelled; ``node`` is open meanwhile."""

    def __init__(self, database_url: str, node: NodeClient) -> None:
        self._url = database_url
        self._node = node
        self._since = -1
        self._absent: dict[str, float] = {}

    async def run(self) -> None:
        """Ask for what is missing, again and again. While the node or the database does not answer, wait longer."""
        pause = POLL_SECONDS
        async with make_pool(self._url, min_size=0, max_size=1, application_name="clarion interfaces") as pool:
            while True:
                try:
                    fetched = await self.fetch_missing(pool)
                    pause = POLL_SECONDS
                    if fetched:
                        log.info("contract_interfaces_fetched", contracts=fetched)
                except (NodeError, ValueError, psycopg.Error) as error:
                    if pause == POLL_SECONDS:
                        log.warning("contract_interfaces_wait", error=str(error).strip())
                    pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
                await asyncio.sleep(pause)

    async def fetch_missing(self, pool: AsyncConnectionPool) -> int:
        """Ask once for everything that is missing now; how many interfaces came.

        Raises NodeError where the node does not answer.
        """
        fetched = 0
        async with pool.connection() as connection:
            cursor = await connection.execute("SELECT height FROM clarion.cursor WHERE chain = 'stacks'")
            row = await cursor.fetchone()
            if row is None or row[0] is None:
                return 0
            tip: int = row[0]
            while missing := await self._missing(connection, tip):
                for contract in missing:
                    fetched += await self._fetch(connection, contract)
        self._since = max(-1, tip - OVERLAP_BLOCKS)
        return fetched

    async def _missing(self, connection: psycopg.AsyncConnection[Any], tip: int) -> list[str]:
        now = time.monotonic()
        self._absent = {contract: until for contract, until in self._absent.items() if until > now}
        cursor = await connection.execute(
            _MISSING,
            {
                "absent": list(self._absent),
                "since": self._since,
                "tip": tip,
                "calls": CALLS_OF_BLOCKS,
                "at_once": AT_ONCE,
            },
        )
        return [contract for (contract,) in await cursor.fetchall()]

    async def _fetch(self, connection: psycopg.AsyncConnection[Any], contract: str) -> bool:
        interface = interface_form(await self._node.contract_interface(contract))
        if interface is None:
            self._absent[contract] = time.monotonic() + LONGEST_PAUSE_SECONDS
            return False
        await connection.execute(
            "INSERT INTO clarion.contract_interface (contract, interface) VALUES (%s, %s) ON CONFLICT DO NOTHING",
            (contract, Jsonb(interface)),
        )
        return True
