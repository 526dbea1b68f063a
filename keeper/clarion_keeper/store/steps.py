"""Post-mortems: every step of every intent, as it happens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from psycopg import AsyncConnection


def json_text(value: Any) -> str:
    """JSON with sorted keys."""
    return msgspec.json.encode(value, order="sorted").decode()


async def add(
    connection: AsyncConnection[Any], intents: Sequence[int], what: str, detail: Mapping[str, Any] | None = None
) -> None:
    """The same step for each of these intents."""
    await connection.execute(
        "INSERT INTO keeper.step (intent_id, what, detail) SELECT i, %s, %s FROM unnest(%s::bigint[]) AS i",
        (what, json_text(detail or {}), list(intents)),
    )


async def add_once(
    connection: AsyncConnection[Any], intents: Sequence[int], what: str, about: Mapping[str, Any]
) -> None:
    """A step for those whose last step is another one: what is tried every few seconds is written down once."""
    cursor = await connection.execute(
        """
        SELECT i FROM unnest(%s::bigint[]) AS i WHERE NOT EXISTS (
            SELECT FROM (SELECT what, detail FROM keeper.step WHERE intent_id = i ORDER BY id DESC LIMIT 1) s
            WHERE s.what = %s AND s.detail = %s::jsonb)
        """,
        (list(intents), what, json_text(about)),
    )
    await add(connection, [id_ for (id_,) in await cursor.fetchall()], what, about)
