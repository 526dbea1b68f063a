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
