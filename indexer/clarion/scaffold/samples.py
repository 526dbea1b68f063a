"""What a contract has and has said lately: from the index, or else from a Stacks Blockchain API."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from psycopg import Connection

from clarion.chains.model import EventKind, JsonValue
from clarion.chains.stacks.clarity import bytes_from_hex
from clarion.chains.stacks.clarity_forms import decode_json
from clarion.chains.stacks.derived import event_value
from clarion.chains.stacks.structure import topic_of_value
from hiro_api_client import HiroApiClient

MOST_SAMPLES: Final = 2_000
"""How many of a contract's latest events are looked at."""
API_PAGE: Final = 50
API_PAGES: Final = 10


@dataclass(frozen=True, slots=True)
class Sample:
    """An event of the contract. ``raw`` is what it printed, in consensus bytes; None for asset events."""

    kind: EventKind
    topic: str
    value: JsonValue
    raw: bytes | None


def indexed_samples(connection: Connection[Any], contract: str) -> list[Sample]:
    """The contract's latest events in the chain log, the oldest first."""
    found = connection.execute(
        "SELECT e.kind, e.topic, e.value, e.raw FROM clarion.event e JOIN clarion.canonical_block k "
        "ON k.chain = e.chain AND k.height = e.height AND k.hash = e.block_hash WHERE e.contract = %s "
        "AND e.kind <> %s ORDER BY e.height DESC, e.tx_index DESC, e.event_index DESC LIMIT %s",
        (contract, EventKind.UNKNOWN.value, MOST_SAMPLES),
    ).fetchall()
    return [
        Sample(EventKind(kind), topic, event_value(kind, value, raw), raw)
        for kind, topic, value, raw in reversed(found)
    ]


def indexed_interface(connection: Connection[Any], contract: str) -> Any:
    """The contract's interface as a source told it when the contract was deployed, or None."""
    found = connection.execute(
        "SELECT interface FROM clarion.contract_interface WHERE contract = %s", (contract,)
    ).fetchone()
    return None if found is None else found[0]


async def told_samples(api: HiroApiClient, contract: str) -> list[Sample]:
    """The contract's latest prints as an API tells them, the oldest first. Raises HiroApiError."""
    samples: list[Sample] = []
    cursor: str | None = None
    for _ in range(API_PAGES):
        page = await api.contract_logs(contract, limit=API_PAGE, cursor=cursor)
        for told in page.results:
            if told.contract_log is not None:
                raw = bytes_from_hex(told.contract_log.value.hex)
                value = decode_json(raw)
                samples.append(Sample(EventKind.PRINT, topic_of_value(contract, raw), value, raw))
        cursor = page.older
        if cursor is None:
            break
    return samples[::-1]


def few_of_each(samples: Sequence[Sample], count: int) -> list[Sample]:
    """The latest ``count`` samples of each topic, in their order."""
    left: dict[tuple[EventKind, str], int] = {}
    chosen = []
    for sample in reversed(samples):
        key = (sample.kind, sample.topic)
        left[key] = left.get(key, count) - 1
        if left[key] >= 0:
            chosen.append(sample)
    return chosen[::-1]
