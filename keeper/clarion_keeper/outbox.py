"""What the keeper decided and signed, in Postgres: every step is stored before it is acted on.

A crash at any instant leaves either a plan that is carried out at the next start, or signed bytes that are sent again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from psycopg import AsyncConnection

from clarion_keeper.jobs import Intent, Item, Outcome, Verdict
from clarion_keeper.state import Receipt


@dataclass(frozen=True, slots=True)
class Planned:
    """A stored intent that no transaction carries yet."""

    id: int
    job: str
    item: Item


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A stored transaction. ``state`` as in :class:`clarion_keeper.tables.OutgoingRow`."""

    tx_id: bytes
    job: str
    sender: str
    nonce: int
    raw: bytes
    state: str


class Outbox:
    """The keeper's tables over one connection in autocommit mode."""

    def __init__(self, connection: AsyncConnection[Any]) -> None:
        self._connection = connection

    async def take_over(self, sender: str) -> bool:
        """Become the one keeper of this account; False while another process is. Held until the connection ends."""
        cursor = await self._connection.execute("SELECT pg_try_advisory_lock(hashtextextended(%s, 0))", (sender,))
        found = await cursor.fetchone()
        return bool(found and found[0])

    async def plan(self, intents: Iterable[Intent], receipt: Receipt) -> int:
        """Store intents decided at a block; those whose key is open already are left alone. Gives how many are new."""
        new = 0
        async with self._connection.transaction():
            for intent in intents:
                cursor = await self._connection.execute(
                    "INSERT INTO keeper.intent (key, job, item, state, decided_height, decided_hash) "
                    "VALUES (%s, %s, %s, 'planned', %s, %s) "
                    "ON CONFLICT (key) WHERE state IN ('planned', 'sent') DO NOTHING",
                    (intent.key, intent.job, _json(intent.item), receipt.height, receipt.hash),
                )
                new += cursor.rowcount
        return new

    async def cancel_undue(self, due: Iterable[Intent]) -> None:
        """Cancel planned intents that are no longer due: done by somebody else, or taken back by a reorg."""
        await self._connection.execute(
            "UPDATE keeper.intent SET state = 'cancelled', outcome = 'no longer due' "
            "WHERE state = 'planned' AND NOT key = ANY(%s)",
            ([intent.key for intent in due],),
        )

    async def planned(self) -> list[Planned]:
        """Intents without a transaction, oldest first."""
        cursor = await self._connection.execute(
            "SELECT id, job, item FROM keeper.intent WHERE state = 'planned' ORDER BY id"
        )
        return [Planned(*row) for row in await cursor.fetchall()]

    async def next_nonce(self, sender: str, confirmed: int) -> int:
        """The next free nonce: after everything signed and not rejected, at least the node's ``confirmed``."""
        cursor = await self._connection.execute(
            "SELECT max(nonce) + 1 FROM keeper.outgoing WHERE sender = %s AND state <> 'rejected'", (sender,)
        )
        found = await cursor.fetchone()
        return max(confirmed, int(found[0]) if found and found[0] is not None else 0)

    async def store_signed(
        self, outgoing: Outgoing, *, fee: int, contract: str, function: str, intents: Sequence[Planned]
    ) -> None:
        """Store a signed transaction and bind its intents to it, at once and before it is sent."""
        async with self._connection.transaction():
            await self._connection.execute(
                "INSERT INTO keeper.outgoing (tx_id, job, sender, nonce, fee, contract, function, raw, state) "
                "VALUES (%s, %s, %s, %s, %s, %s, %s, %s, 'signed')",
                (outgoing.tx_id, outgoing.job, outgoing.sender, outgoing.nonce, fee, contract, function, outgoing.raw),
            )
            await self._connection.execute(
                "UPDATE keeper.intent SET state = 'sent', tx_id = %s WHERE id = ANY(%s)",
                (outgoing.tx_id, [intent.id for intent in intents]),
            )

    async def unfinished(self, sender: str) -> list[Outgoing]:
        """Transactions not yet final or rejected, by nonce."""
        cursor = await self._connection.execute(
            "SELECT tx_id, job, sender, nonce, raw, state FROM keeper.outgoing "
            "WHERE sender = %s AND state IN ('signed', 'broadcast', 'mined') ORDER BY nonce",
            (sender,),
        )
        return [Outgoing(*row) for row in await cursor.fetchall()]

    async def items(self, tx_id: bytes) -> list[Planned]:
        """The intents that a transaction carries, in the order of its arguments."""
        cursor = await self._connection.execute(
            "SELECT id, job, item FROM keeper.intent WHERE tx_id = %s ORDER BY id", (tx_id,)
        )
        return [Planned(*row) for row in await cursor.fetchall()]

    async def broadcast(self, tx_id: bytes) -> None:
        """A node took the transaction."""
        await self._connection.execute(
            "UPDATE keeper.outgoing SET state = 'broadcast', last_error = NULL WHERE tx_id = %s AND state = 'signed'",
            (tx_id,),
        )

    async def note_error(self, tx_id: bytes, error: str) -> None:
        """Keep why sending did not work this time; it will be tried again."""
        await self._connection.execute("UPDATE keeper.outgoing SET last_error = %s WHERE tx_id = %s", (error, tx_id))

    async def reject(self, tx_id: bytes, error: str, *, intents: Verdict) -> None:
        """No node takes these bytes. ``intents``: AGAIN lets what it carried be decided anew, FAILED does not."""
        state = "cancelled" if intents is Verdict.AGAIN else "failed"
        async with self._connection.transaction():
            await self._connection.execute(
                "UPDATE keeper.outgoing SET state = 'rejected', last_error = %s WHERE tx_id = %s", (error, tx_id)
            )
            await self._connection.execute(
                "UPDATE keeper.intent SET state = %s, outcome = %s WHERE tx_id = %s AND state = 'sent'",
                (state, error, tx_id),
            )

    async def mined(
        self, tx_id: bytes, *, height: int, block_hash: bytes, outcomes: Sequence[tuple[Planned, Outcome]], final: bool
    ) -> None:
        """The transaction is in a canonical block; its intents get their outcomes."""
        async with self._connection.transaction():
            await self._connection.execute(
                "UPDATE keeper.outgoing SET state = %s, block_height = %s, block_hash = %s, last_error = NULL "
                "WHERE tx_id = %s",
                ("final" if final else "mined", height, block_hash, tx_id),
            )
            for intent, outcome in outcomes:
                state = {Verdict.DONE: "done", Verdict.AGAIN: "cancelled", Verdict.FAILED: "failed"}[outcome.verdict]
                await self._connection.execute(
                    "UPDATE keeper.intent SET state = %s, outcome = %s WHERE id = %s",
                    (state, outcome.reason, intent.id),
                )

    async def orphaned(self, tx_id: bytes) -> None:
        """The block that mined the transaction is no longer canonical: the same bytes go out again.

        Its intents are open again, except those that a newer transaction carries already.
        """
        async with self._connection.transaction():
            await self._connection.execute(
                "UPDATE keeper.outgoing SET state = 'signed', block_height = NULL, block_hash = NULL WHERE tx_id = %s",
                (tx_id,),
            )
            await self._connection.execute(
                "UPDATE keeper.intent i SET state = 'sent', outcome = NULL WHERE tx_id = %s AND NOT EXISTS ("
                "SELECT FROM keeper.intent o WHERE o.key = i.key AND o.id <> i.id AND o.state IN ('planned', 'sent'))",
                (tx_id,),
            )


def _json(item: Item) -> str:
    return msgspec.json.encode(item, order="sorted").decode()
