"""Outgoing transactions and their attempts: signed bytes are stored before they are sent, and kept for good."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from psycopg import AsyncConnection

from clarion_keeper.executor import Attempt, Broadcast, Outgoing, Seen, Signed, Taken
from clarion_keeper.graph import Receipt
from clarion_keeper.intents import Lane, Outcome, Verdict
from clarion_keeper.store import intents as intent_store
from clarion_keeper.store import steps

LIVE: Final = ("signed", "broadcast", "mined")
"""States of what has its nonce or coins to itself, and is not final."""
FOLLOWED: Final = (*LIVE, "displaced")
"""States of what may change yet."""


class OvertakenError(RuntimeError):
    """An intent was ended, or carried by another transaction, while this one was being signed: it is thrown away."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """Where a new transaction goes: whose it is, and on Stacks its nonce."""

    chain: str
    account: str
    sender: str
    nonce: int | None
    lane: Lane
    job: str
    contract: str
    function: str
    deadline_burn: int | None


async def store_signed(
    connection: AsyncConnection[Any], slot: Slot, signed: Signed, intents: Sequence[int], receipt: Receipt
) -> int:
    """Store a signed transaction and bind its intents to it, before it is sent. Gives the outgoing's id.

    Raises:
        OvertakenError: an intent is not waiting any more, or an input is reserved.
        psycopg.errors.UniqueViolation: the nonce is taken.
    """
    cursor = await connection.execute(
        """
        INSERT INTO keeper.outgoing (chain, account, sender, nonce, lane, job, contract, function, state, height, burn,
            first_burn, seen_sequence, deadline_burn)
        VALUES (%s, %s, %s, %s, %s, %s, %s, %s, 'signed', %s, %s, %s, %s, %s) RETURNING id
        """,
        (
            slot.chain,
            slot.account,
            slot.sender,
            slot.nonce,
            slot.lane.value,
            slot.job,
            slot.contract,
            slot.function,
            receipt.height,
            receipt.burn_height,
            receipt.burn_height,
            receipt.sequence,
            slot.deadline_burn,
        ),
    )
    row = await cursor.fetchone()
    assert row is not None
    outgoing_id = int(row[0])
    bound = await connection.execute(
        "UPDATE keeper.intent SET state = 'sent', outgoing_id = %s, waiting = NULL "
        "WHERE id = ANY(%s) AND state = 'planned'",
        (outgoing_id, list(intents)),
    )
    if bound.rowcount != len(intents):
        raise OvertakenError(f"{len(intents) - bound.rowcount} intents of {slot.job} are not waiting any more")
    await _add_attempt(connection, outgoing_id, 1, signed, intents)
    about = {"outgoing": outgoing_id, "nonce": slot.nonce, "fee": signed.fee, "tx": signed.tx_id.hex()}
    await steps.add(connection, intents, "signed", about)
    return outgoing_id


async def store_replacement(
    connection: AsyncConnection[Any],
    outgoing: Outgoing,
    signed: Signed,
    intents: Sequence[int],
    receipt: Receipt,
    reason: str,
) -> None:
    """Store another signed version of an outgoing. ``intents`` is what is left of what it carries."""
    number = outgoing.newest.number + 1
    await connection.execute(
        "UPDATE keeper.attempt SET state = 'replaced' WHERE outgoing_id = %s AND state IN ('signed', 'broadcast')",
        (outgoing.id,),
    )
    await _add_attempt(connection, outgoing.id, number, signed, intents)
    await connection.execute(
        "UPDATE keeper.outgoing SET state = 'signed', height = %s, burn = %s, error = NULL WHERE id = %s",
        (receipt.height, receipt.burn_height, outgoing.id),
    )
    about = {
        "outgoing": outgoing.id,
        "nonce": outgoing.nonce,
        "attempt": number,
        "fee": signed.fee,
        "tx": signed.tx_id.hex(),
        "reason": reason,
    }
    await steps.add(connection, await carried(connection, outgoing.id), "replaced", about)


async def _add_attempt(
    connection: AsyncConnection[Any], outgoing_id: int, number: int, signed: Signed, intents: Sequence[int]
) -> None:
    cursor = await connection.execute(
        """
        INSERT INTO keeper.attempt AS a (tx_id, outgoing_id, number, fee, raw, intents, state)
        VALUES (%s, %s, %s, %s, %s, %s, 'signed')
        ON CONFLICT (tx_id) DO UPDATE SET outgoing_id = excluded.outgoing_id, number = excluded.number,
            intents = excluded.intents, state = 'signed', signed_at = clock_timestamp(), first_sent_at = NULL,
            last_error = NULL
        WHERE EXISTS (SELECT FROM keeper.outgoing o WHERE o.id = a.outgoing_id AND o.state = 'rejected')
        """,
        (signed.tx_id, outgoing_id, number, signed.fee, signed.raw, list(intents)),
    )
    if cursor.rowcount != 1:
        raise OvertakenError(f"the very same transaction {signed.tx_id.hex()} is stored already")
    for outpoint in signed.coins:
        cursor = await connection.execute(
            "INSERT INTO keeper.coin AS c (outpoint, outgoing_id) VALUES (%s, %s) "
            "ON CONFLICT (outpoint) DO UPDATE SET outgoing_id = c.outgoing_id "
            "WHERE c.outgoing_id = excluded.outgoing_id",
            (outpoint, outgoing_id),
        )
        if cursor.rowcount != 1:
            raise OvertakenError(f"the coin {outpoint} is reserved for another transaction")


async def live(connection: AsyncConnection[Any], account: str) -> list[Outgoing]:
    """An account's transactions in one of the states `LIVE`, by nonce and age."""
    return await _read(connection, f"o.account = %s AND o.state IN {LIVE}", (account,))  # as the index has them


async def followed(connection: AsyncConnection[Any], account: str) -> list[Outgoing]:
    """An account's transactions in one of the states `FOLLOWED`, by nonce and age."""
    return await _read(connection, f"o.account = %s AND o.state IN {FOLLOWED}", (account,))


async def by_ids(connection: AsyncConnection[Any], ids: Sequence[int]) -> list[Outgoing]:
    """These outgoings."""
    return await _read(connection, "o.id = ANY(%s)", (list(ids),))


async def _read(connection: AsyncConnection[Any], where: str, arguments: Sequence[Any]) -> list[Outgoing]:
    cursor = await connection.execute(
        f"""
        SELECT o.id, o.account, o.sender, o.nonce, o.lane, o.job, o.state, o.height, o.burn, o.first_burn,
            o.deadline_burn, o.tx_id, o.block_height, o.block_hash, a.tx_id, a.number, a.fee, a.raw, a.state
        FROM keeper.outgoing o JOIN keeper.attempt a ON a.outgoing_id = o.id
        WHERE {where} ORDER BY o.nonce, o.id, a.number
        """,
        arguments,
    )
    rows: dict[int, list[Any]] = {}
    for row in await cursor.fetchall():
        rows.setdefault(row[0], []).append(row)
    return [
        Outgoing(
            id=first[0],
            account=first[1],
            sender=first[2],
            nonce=first[3],
            lane=Lane(first[4]),
            job=first[5],
            state=first[6],
            height=first[7],
            burn=first[8],
            first_burn=first[9],
            deadline_burn=first[10],
            tx_id=first[11],
            block_height=first[12],
            block_hash=first[13],
            attempts=tuple(
                Attempt(tx_id=row[14], number=row[15], fee=row[16], raw=row[17], state=row[18]) for row in group
            ),
        )
        for group in rows.values()
        for first in (group[0],)
    ]


async def carried(connection: AsyncConnection[Any], outgoing_id: int) -> list[int]:
    """Ids of all intents that an outgoing was bound to and that it still stands for."""
    cursor = await connection.execute(
        "SELECT id FROM keeper.intent WHERE outgoing_id = %s AND state = 'sent' ORDER BY id", (outgoing_id,)
    )
    return [id_ for (id_,) in await cursor.fetchall()]


async def of_attempt(connection: AsyncConnection[Any], tx_id: bytes) -> list[int]:
    """Ids of the intents that an attempt carries, in the order of its arguments."""
    cursor = await connection.execute("SELECT intents FROM keeper.attempt WHERE tx_id = %s", (tx_id,))
    row = await cursor.fetchone()
    assert row is not None
    return list(row[0])


async def answered(connection: AsyncConnection[Any], outgoing: Outgoing, attempt: Attempt, answer: Broadcast) -> None:
    """What the nodes said to an attempt."""
    took = answer.taken is Taken.SENT
    await connection.execute(
        """
        UPDATE keeper.attempt SET last_error = %s,
            state = CASE WHEN %s THEN 'broadcast' WHEN %s AND state = 'signed' THEN 'refused' ELSE state END,
            first_sent_at = CASE WHEN %s THEN coalesce(first_sent_at, clock_timestamp()) ELSE first_sent_at END
        WHERE tx_id = %s
        """,
        (None if took else answer.reason, took, answer.taken in (Taken.REPLACE, Taken.STOP), took, attempt.tx_id),
    )
    await connection.execute(
        "UPDATE keeper.outgoing SET state = CASE WHEN %s AND state = 'signed' THEN 'broadcast' ELSE state END, "
        "error = %s WHERE id = %s",
        (took, None if took else answer.reason, outgoing.id),
    )
    if took and attempt.state == "signed":
        about = {"tx": attempt.tx_id.hex(), "nodes": list(answer.nodes), "attempt": attempt.number}
        await steps.add(connection, await carried(connection, outgoing.id), "sent", about)
    elif not took:
        about = {"tx": attempt.tx_id.hex(), "answer": answer.taken.value, "reason": answer.reason}
        await steps.add_once(connection, await carried(connection, outgoing.id), "refused", about)


async def mined(
    connection: AsyncConnection[Any],
    outgoing: Outgoing,
    seen: Seen,
    outcomes: Mapping[int, Outcome],
    left_out: Sequence[int],
    receipt: Receipt,
) -> None:
    """One attempt is in a canonical block: its intents get their outcomes, those it did not carry are released."""
    assert seen.tx_id is not None
    await connection.execute(
        """
        UPDATE keeper.outgoing SET state = 'mined', tx_id = %s, block_height = %s, block_hash = %s, fee_paid = %s,
            seen_sequence = %s, error = NULL WHERE id = %s
        """,
        (seen.tx_id, seen.height, seen.block_hash, seen.fee, receipt.sequence, outgoing.id),
    )
    await connection.execute(
        "UPDATE keeper.attempt SET state = CASE WHEN tx_id = %s THEN 'mined' ELSE 'replaced' END "
        "WHERE outgoing_id = %s AND (tx_id = %s OR state IN ('signed', 'broadcast', 'mined'))",
        (seen.tx_id, outgoing.id, seen.tx_id),
    )
    about = {"tx": seen.tx_id.hex(), "height": seen.height, "block": seen.block_hash.hex(), "fee": seen.fee}
    await steps.add(connection, list(outcomes), "mined", {**about, "status": seen.status})
    if outgoing.state == "displaced":
        await intent_store.supersede(connection, list(outcomes))
    await intent_store.end(connection, outcomes, {"height": seen.height})
    released = Outcome(Verdict.AGAIN, "another version of its transaction was mined, which does not carry it")
    await intent_store.end(connection, dict.fromkeys(left_out, released), {"height": seen.height})


async def final(connection: AsyncConnection[Any], outgoing: Outgoing) -> None:
    """The block that mined it is final; its coins need not be kept."""
    await connection.execute(
        "UPDATE keeper.outgoing SET state = 'final', ended_at = clock_timestamp() WHERE id = %s", (outgoing.id,)
    )
    await _free_coins(connection, outgoing)


async def orphaned(connection: AsyncConnection[Any], outgoing: Outgoing, receipt: Receipt) -> None:
    """The block that mined it is no longer canonical, or what displaced it: it waits again, and its intents are open.

    Raises:
        psycopg.errors.UniqueViolation: of a displaced one, another has its nonce.
    """
    lost = "what took its place" if outgoing.state == "displaced" else f"block {outgoing.block_height}"
    reason = f"{lost} is no longer canonical at {receipt.height}"
    await connection.execute(
        """
        UPDATE keeper.outgoing SET state = 'broadcast', tx_id = NULL, block_height = NULL, block_hash = NULL,
            fee_paid = NULL, height = %s, burn = %s, seen_sequence = %s, error = %s WHERE id = %s
        """,
        (receipt.height, receipt.burn_height, receipt.sequence, reason, outgoing.id),
    )
    await connection.execute(
        "UPDATE keeper.attempt SET state = 'broadcast' WHERE outgoing_id = %s AND state = 'mined'", (outgoing.id,)
    )
    cursor = await connection.execute("SELECT id FROM keeper.intent WHERE outgoing_id = %s", (outgoing.id,))
    await intent_store.reopen(connection, [id_ for (id_,) in await cursor.fetchall()], reason)


async def displaced(connection: AsyncConnection[Any], outgoing: Outgoing, outcome: Outcome, receipt: Receipt) -> None:
    """Another transaction took its place: its nonce and coins are free, and what it carried ends with ``outcome``."""
    ids = await carried(connection, outgoing.id)
    await steps.add(connection, ids, "displaced", {"reason": outcome.reason, "nonce": outgoing.nonce})
    await connection.execute(
        "UPDATE keeper.outgoing SET state = 'displaced', height = %s, error = %s WHERE id = %s",
        (receipt.height, outcome.reason, outgoing.id),
    )
    await _free_coins(connection, outgoing)
    await intent_store.end(connection, dict.fromkeys(ids, outcome))


async def not_displaced_before(connection: AsyncConnection[Any], outgoing: Outgoing, receipt: Receipt) -> None:
    """It is displaced by something that is in no block by now: where that is mined, it counts from here."""
    await connection.execute(
        "UPDATE keeper.outgoing SET height = %s WHERE id = %s AND height < %s",
        (receipt.height, outgoing.id, receipt.height),
    )


async def rejected(connection: AsyncConnection[Any], outgoing: Outgoing, outcome: Outcome) -> None:
    """It can never be mined: what it carries still ends with ``outcome``."""
    ids = await carried(connection, outgoing.id)
    await steps.add(connection, ids, "refused", {"reason": outcome.reason, "nonce": outgoing.nonce})
    await connection.execute(
        "UPDATE keeper.outgoing SET state = 'rejected', error = %s, ended_at = clock_timestamp() WHERE id = %s",
        (outcome.reason, outgoing.id),
    )
    await connection.execute(
        "UPDATE keeper.attempt SET state = 'refused', last_error = %s "
        "WHERE outgoing_id = %s AND state IN ('signed', 'broadcast')",
        (outcome.reason, outgoing.id),
    )
    await _free_coins(connection, outgoing)
    await intent_store.end(connection, dict.fromkeys(ids, outcome))


async def seen_at(connection: AsyncConnection[Any], ids: Sequence[int], receipt: Receipt) -> None:
    """These were found where the keeper had them, at this point of the index."""
    await connection.execute(
        "UPDATE keeper.outgoing SET seen_sequence = %s WHERE id = ANY(%s) AND seen_sequence < %s AND state = 'mined'",
        (receipt.sequence, list(ids), receipt.sequence),
    )


async def _free_coins(connection: AsyncConnection[Any], outgoing: Outgoing) -> None:
    await connection.execute("DELETE FROM keeper.coin WHERE outgoing_id = %s", (outgoing.id,))
