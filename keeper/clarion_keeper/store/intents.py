"""Intents: what jobs found due, until the chain says that it is done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from psycopg import AsyncConnection

from clarion_keeper.graph import Receipt
from clarion_keeper.intents import Amount, Intent, Item, Lane, Outcome, Verdict
from clarion_keeper.store import steps
from clarion_keeper.store.steps import json_text

STATES: Final = {Verdict.DONE: "done", Verdict.AGAIN: "cancelled", Verdict.FAILED: "failed"}
"""What a verdict makes of an intent."""
SIGNER_REFUSES: Final = "the signer refuses"
"""How the reason begins for which what a signer does not sign waits."""
HOUR_USED_UP: Final = "the hourly limit of the signer is used up"
"""How it begins where the limit of an hour is why: it is the account's, whatever the intent is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """An intent. ``setbacks``: how often it was mined and found not due; ``age_seconds``: since it was decided."""

    id: int
    key: str
    job: str
    lane: Lane
    chain: str
    item: Item
    state: str
    value_usd8: int
    reward: Amount | None
    deadline_burn: int | None
    entity: str
    decided_sequence: int
    first_burn: int
    outgoing_id: int | None
    waiting: str | None
    setbacks: int = 0
    age_seconds: int = 0


@dataclass(frozen=True, slots=True)
class Decided:
    """How many intents a look added and cancelled."""

    new: int
    cancelled: int


_COLUMNS: Final = """
    i.id, i.key, i.job, i.lane, i.chain, i.item, i.state, i.value_usd8, i.reward_token, i.reward_amount,
    i.deadline_burn, i.entity, i.decided_sequence, i.first_burn, i.outgoing_id, i.waiting,
    (SELECT count(*) FROM keeper.intent e JOIN keeper.outgoing o ON o.id = e.outgoing_id
        WHERE e.key = i.key AND e.state = 'cancelled' AND o.state IN ('mined', 'final')),
    extract(epoch FROM clock_timestamp() - i.created_at)::bigint
"""


async def decide(
    connection: AsyncConnection[Any], *, job: str, lane: Lane, chain: str, due: Sequence[Intent], receipt: Receipt
) -> Decided:
    """Store what a job found due at a block, and end what it did not find any more and that nothing carries.

    A key that was ended by a transaction which was seen in a block later than ``receipt`` is left alone: the job
    looked too early to know of it.
    """
    keys = [intent.key for intent in due]
    known = await _known(connection, keys, receipt)
    new = [intent for intent in due if intent.key not in known]
    again = [(known[intent.key], intent) for intent in due if known.get(intent.key) is not None]
    async with connection.cursor() as cursor:
        if again:
            await cursor.executemany(
                """
                UPDATE keeper.intent SET value_usd8 = %s, reward_token = %s, reward_amount = %s, deadline_burn = %s,
                    cause = %s, item = CASE WHEN state = 'planned' THEN %s::jsonb ELSE item END, decided_height = %s,
                    decided_hash = %s, decided_burn = %s, decided_sequence = %s, first_burn = least(first_burn, %s)
                WHERE id = %s
                """,
                [
                    (
                        intent.value_usd8,
                        intent.reward and intent.reward.token,
                        intent.reward and intent.reward.amount,
                        intent.deadline_burn,
                        intent.cause,
                        json_text(intent.item),
                        receipt.height,
                        receipt.hash,
                        receipt.burn_height,
                        receipt.sequence,
                        receipt.burn_height,
                        id_,
                    )
                    for id_, intent in again
                ],
            )
    for intent in new:
        cursor_ = await connection.execute(
            """
            INSERT INTO keeper.intent (key, job, lane, chain, item, state, value_usd8, reward_token, reward_amount,
                deadline_burn, cause, entity, decided_height, decided_hash, decided_burn, decided_sequence, first_burn)
            VALUES (%s, %s, %s, %s, %s, 'planned', %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s) RETURNING id
            """,
            (
                intent.key,
                job,
                lane.value,
                chain,
                json_text(intent.item),
                intent.value_usd8,
                intent.reward and intent.reward.token,
                intent.reward and intent.reward.amount,
                intent.deadline_burn,
                intent.cause,
                intent.entity,
                receipt.height,
                receipt.hash,
                receipt.burn_height,
                receipt.sequence,
                receipt.burn_height,
            ),
        )
        row = await cursor_.fetchone()
        assert row is not None
        about = {"cause": intent.cause, "height": receipt.height, "burn": receipt.burn_height, "hash": receipt.hash}
        await steps.add(connection, [row[0]], "decided", about)
    return Decided(len(new), await _end_undue(connection, job, chain, keys, receipt))


async def _known(connection: AsyncConnection[Any], keys: Sequence[str], receipt: Receipt) -> dict[str, int | None]:
    """Open intents by key; None for a key that ended in a block which the look did not see."""
    cursor = await connection.execute(
        """
        SELECT DISTINCT ON (i.key) i.key, i.id, i.state IN ('planned', 'sent') AS open,
            o.state = 'mined' AND o.seen_sequence > %s AS later
        FROM keeper.intent i LEFT JOIN keeper.outgoing o ON o.id = i.outgoing_id
        WHERE i.key = ANY(%s)
        ORDER BY i.key, open DESC, later DESC NULLS LAST, i.id DESC
        """,
        (receipt.sequence, list(keys)),
    )
    known: dict[str, int | None] = {}
    for key, id_, is_open, later in await cursor.fetchall():
        if is_open:
            known[key] = id_
        elif later:
            known[key] = None
    return known


async def _end_undue(
    connection: AsyncConnection[Any], job: str, chain: str, due: Sequence[str], receipt: Receipt
) -> int:
    """End planned intents that are not due any more: done by somebody else, or taken back by a reorg."""
    cursor = await connection.execute(
        """
        UPDATE keeper.intent SET ended_at = clock_timestamp(), waiting = NULL,
            state = CASE WHEN benign OR chain = 'none' THEN 'done' ELSE 'cancelled' END,
            outcome = CASE WHEN benign THEN 'somebody else did it' WHEN chain = 'none' THEN 'over'
                ELSE 'no longer due' END
        WHERE job = %s AND state = 'planned' AND NOT key = ANY(%s)
        RETURNING id, outcome
        """,
        (job, list(due)),
    )
    ended = await cursor.fetchall()
    for id_, outcome in ended:
        about = {"reason": outcome, "height": receipt.height, "hash": receipt.hash}
        await steps.add(connection, [id_], "ended", about)
    return len(ended)


async def planned(connection: AsyncConnection[Any], chain: str) -> list[Stored]:
    """Intents of a chain's jobs that no transaction carries, oldest first."""
    return await _read(connection, "i.state = 'planned' AND i.chain = %s", (chain,))


async def no_longer_due(connection: AsyncConnection[Any], job: str, due: Sequence[str]) -> list[Stored]:
    """Planned intents of a job whose keys are not ``due``, and of which it is not known that somebody else did them."""
    return await _read(
        connection, "i.state = 'planned' AND NOT i.benign AND i.job = %s AND NOT i.key = ANY(%s)", (job, list(due))
    )


async def by_ids(connection: AsyncConnection[Any], ids: Sequence[int]) -> list[Stored]:
    """These intents, in this order."""
    found = {stored.id: stored for stored in await _read(connection, "i.id = ANY(%s)", (list(ids),))}
    return [found[id_] for id_ in ids]


async def sent_with(connection: AsyncConnection[Any], outgoings: Sequence[int]) -> dict[int, list[Stored]]:
    """What outgoings still stand for, by outgoing; those that stand for nothing are not in it."""
    found: dict[int, list[Stored]] = {}
    for stored in await _read(connection, "i.outgoing_id = ANY(%s) AND i.state = 'sent'", (list(outgoings),)):
        assert stored.outgoing_id is not None
        found.setdefault(stored.outgoing_id, []).append(stored)
    return found


async def earned_with(connection: AsyncConnection[Any], outgoing: int) -> list[Amount]:
    """What an outgoing's intents earned, by token."""
    cursor = await connection.execute(
        "SELECT earned_token, sum(earned_amount) FROM keeper.intent "
        "WHERE outgoing_id = %s AND state = 'done' AND earned_token IS NOT NULL GROUP BY earned_token ORDER BY 1",
        (outgoing,),
    )
    return [Amount(token=token, amount=int(amount)) for token, amount in await cursor.fetchall()]


async def renew(connection: AsyncConnection[Any], items: Mapping[int, Item]) -> None:
    """What the newest version of their transaction says of these intents, where it is not what the first one said."""
    await connection.execute(
        "UPDATE keeper.intent i SET item = n.item FROM unnest(%s::bigint[], %s::jsonb[]) AS n (id, item) "
        "WHERE i.id = n.id AND i.item <> n.item",
        (list(items), [json_text(item) for item in items.values()]),
    )


async def held_entities(connection: AsyncConnection[Any], jobs: Sequence[str]) -> dict[str, str]:
    """Entities that nothing may be done about, with the cause: those of open intents of these jobs."""
    cursor = await connection.execute(
        "SELECT entity, cause FROM keeper.intent WHERE state = 'planned' AND job = ANY(%s) AND entity <> ''",
        (list(jobs),),
    )
    return dict(await cursor.fetchall())


async def end_strays(connection: AsyncConnection[Any], jobs: Sequence[str]) -> None:
    """Cancel what is planned for jobs that are not among these: nobody looks after them."""
    cursor = await connection.execute(
        "UPDATE keeper.intent SET state = 'cancelled', outcome = 'its job is not enabled', waiting = NULL, "
        "ended_at = clock_timestamp() WHERE state = 'planned' AND NOT job = ANY(%s) RETURNING id",
        (list(jobs),),
    )
    ended = [id_ for (id_,) in await cursor.fetchall()]
    await steps.add(connection, ended, "ended", {"reason": "its job is not enabled"})


async def wait(connection: AsyncConnection[Any], reasons: Mapping[int, str]) -> None:
    """Say why these planned intents are not sent yet; a step for each whose reason is another one than before."""
    cursor = await connection.execute(
        """
        UPDATE keeper.intent i SET waiting = w.reason
        FROM unnest(%s::bigint[], %s::text[]) AS w (id, reason)
        WHERE i.id = w.id AND i.state = 'planned' AND i.waiting IS DISTINCT FROM w.reason
        RETURNING i.id, i.waiting
        """,
        (list(reasons), list(reasons.values())),
    )
    for id_, reason in await cursor.fetchall():
        await steps.add(connection, [id_], "waited", {"reason": reason})


async def wait_all(connection: AsyncConnection[Any], job: str, reason: str) -> None:
    """Say why nothing of a job is sent."""
    cursor = await connection.execute("SELECT id FROM keeper.intent WHERE job = %s AND state = 'planned'", (job,))
    await wait(connection, {id_: reason for (id_,) in await cursor.fetchall()})


async def simulated(connection: AsyncConnection[Any], outcomes: Mapping[int, Outcome]) -> None:
    """What simulations said. What somebody else did is noted: it ends as done once the index says it is not due."""
    await wait(connection, {id_: _reason(outcome) for id_, outcome in outcomes.items()})
    benign = [id_ for id_, outcome in outcomes.items() if outcome.verdict is Verdict.DONE]
    await connection.execute(
        "UPDATE keeper.intent SET benign = true WHERE id = ANY(%s) AND state = 'planned'", (benign,)
    )


def _reason(outcome: Outcome) -> str:
    if outcome.verdict is Verdict.DONE:
        return f"somebody else did it, says the node: {outcome.reason}"
    return f"simulated: {outcome.reason}"


async def end(
    connection: AsyncConnection[Any], outcomes: Mapping[int, Outcome], about: Mapping[str, Any] | None = None
) -> None:
    """End intents with what the chain says of them, whatever they ended with before."""
    for id_, outcome in outcomes.items():
        await connection.execute(
            """
            UPDATE keeper.intent SET state = %s, outcome = %s, benign = %s, earned_token = %s, earned_amount = %s,
                waiting = NULL, ended_at = clock_timestamp()
            WHERE id = %s
            """,
            (
                STATES[outcome.verdict],
                outcome.reason,
                outcome.benign,
                outcome.earned and outcome.earned.token,
                outcome.earned and outcome.earned.amount,
                id_,
            ),
        )
        earned = {"earned": outcome.earned.amount, "token": outcome.earned.token} if outcome.earned else {}
        said = {"verdict": outcome.verdict.value, "reason": outcome.reason, "benign": outcome.benign}
        await steps.add(connection, [id_], "ended", {**said, **earned, **(about or {})})


async def supersede(connection: AsyncConnection[Any], ids: Sequence[int]) -> None:
    """Cancel what was planned meanwhile for the keys of these intents: their own transaction carries them again."""
    cursor = await connection.execute(
        """
        UPDATE keeper.intent n SET state = 'cancelled', outcome = 'an earlier transaction carries it again',
            waiting = NULL, ended_at = clock_timestamp()
        FROM keeper.intent o
        WHERE o.id = ANY(%s) AND n.key = o.key AND n.id <> o.id AND n.state = 'planned' RETURNING n.id
        """,
        (list(ids),),
    )
    replaced = [id_ for (id_,) in await cursor.fetchall()]
    await steps.add(connection, replaced, "ended", {"reason": "an earlier transaction carries it again"})


async def reopen(connection: AsyncConnection[Any], ids: Sequence[int], reason: str) -> None:
    """The block that ended them is no longer canonical: their transaction carries them again.

    What was planned meanwhile for one of their keys is cancelled; where another transaction carries the key already,
    the intent stays ended.
    """
    await supersede(connection, ids)
    cursor = await connection.execute(
        """
        UPDATE keeper.intent i SET state = 'sent', outcome = NULL, benign = false, earned_token = NULL,
            earned_amount = NULL, ended_at = NULL
        WHERE id = ANY(%s) AND NOT EXISTS (
            SELECT FROM keeper.intent o WHERE o.key = i.key AND o.id <> i.id AND o.state IN ('planned', 'sent'))
        RETURNING id
        """,
        (list(ids),),
    )
    await steps.add(connection, [id_ for (id_,) in await cursor.fetchall()], "orphaned", {"reason": reason})


async def _read(connection: AsyncConnection[Any], where: str, arguments: Sequence[Any]) -> list[Stored]:
    cursor = await connection.execute(
        f"SELECT {_COLUMNS} FROM keeper.intent i WHERE {where} ORDER BY i.id",
        arguments,
    )
    return [
        Stored(
            id=row[0],
            key=row[1],
            job=row[2],
            lane=Lane(row[3]),
            chain=row[4],
            item=row[5],
            state=row[6],
            value_usd8=row[7],
            reward=None if row[8] is None else Amount(token=row[8], amount=row[9]),
            deadline_burn=row[10],
            entity=row[11],
            decided_sequence=row[12],
            first_burn=row[13],
            outgoing_id=row[14],
            waiting=row[15],
            setbacks=row[16],
            age_seconds=row[17],
        )
        for row in await cursor.fetchall()
    ]
