"""Where an index stands: tips, finality, what waits and what could not be understood, read from its database."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import httpx
from psycopg import Connection
from psycopg.errors import UndefinedTable
from rich.table import Table

from clarion.chains.model import Finality
from clarion.follower import REWRITES_FINAL, finality

NODE_TIMEOUT_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class ChainStatus:
    """One chain's index. Heights are None while it is empty; ``time`` is Unix seconds of the tip's block."""

    chain: str
    height: int | None
    hash: bytes | None
    time: int | None
    burn_height: int | None
    """Bitcoin block that the tip is anchored to."""
    finality: Finality | None
    """The tip's."""
    final_height: int | None
    """The highest block that was ever final: what is below is not rolled back."""
    digest: bytes
    sequence: int
    """Number of the last change."""
    idle_seconds: int
    """Since the index was last written."""


@dataclass(frozen=True, slots=True)
class AnomalyCount:
    """How many things of a kind in canonical blocks could not be understood, and where the newest is."""

    kind: str
    count: int
    last_height: int
    last_detail: str


@dataclass(frozen=True, slots=True)
class SourceStatus:
    """What a source of blocks last said, and how it stands to the index; ``seen_seconds`` is since then."""

    chain: str
    name: str
    height: int | None
    state: str
    detail: str | None
    seen_seconds: int


@dataclass(frozen=True, slots=True)
class Status:
    """Everything `clarion status` shows."""

    chains: tuple[ChainStatus, ...]
    burn_tip: int | None
    """Height of the highest canonical Bitcoin block."""
    inbox_pending: int
    """Payloads of the node that are stored and not yet applied."""
    inbox_oldest_seconds: int | None
    """How long the oldest of them has been waiting."""
    inbox_failed: int
    """Payloads that could not be applied."""
    inbox_error: str | None
    """Why the newest of those could not."""
    sources: tuple[SourceStatus, ...]
    anomalies: tuple[AnomalyCount, ...]
    refused: tuple[str, ...]
    """Branches that were not followed because they would have replaced final blocks."""
    protocols: tuple[str, ...]
    """Protocols that have tables here."""


class NoIndexError(Exception):
    """The database holds no index."""

    def __init__(self) -> None:
        super().__init__("The database holds no index yet. Start `clarion index`, or `clarion db migrate`.")


def read_status(connection: Connection[Any], *, protocols: Sequence[str] = ()) -> Status:
    """The index's status.

    Raises:
        NoIndexError: the database has not been migrated.
    """
    try:
        burn_tip = _one(connection, "SELECT max(height) FROM clarion.canonical_burn_block")
    except UndefinedTable:
        raise NoIndexError from None
    pending, oldest = _row(
        connection,
        "SELECT count(*), extract(epoch FROM now() - min(received_at))::bigint FROM clarion.inbox WHERE error IS NULL",
    )
    return Status(
        chains=_chains(connection),
        burn_tip=burn_tip,
        inbox_pending=pending,
        inbox_oldest_seconds=oldest,
        inbox_failed=_one(connection, "SELECT count(*) FROM clarion.inbox WHERE error IS NOT NULL"),
        inbox_error=_one(
            connection, "SELECT (SELECT error FROM clarion.inbox WHERE error IS NOT NULL ORDER BY id DESC LIMIT 1)"
        ),
        sources=_sources(connection),
        anomalies=_anomalies(connection),
        refused=_refused(connection),
        protocols=tuple(name for name in protocols if _one(connection, "SELECT to_regnamespace(%s) IS NOT NULL", name)),
    )


def _chains(connection: Connection[Any]) -> tuple[ChainStatus, ...]:
    rows = connection.execute(
        """
        SELECT c.chain, c.height, c.hash, b.time, b.burn_height,
            c.chain = 'bitcoin' OR EXISTS (SELECT FROM clarion.canonical_burn_block k WHERE k.hash = b.burn_hash),
            c.final_height, c.digest, c.sequence, extract(epoch FROM now() - c.updated_at)::bigint
        FROM clarion.cursor c LEFT JOIN clarion.block b ON b.chain = c.chain AND b.hash = c.hash
        ORDER BY c.chain
        """
    ).fetchall()
    return tuple(
        ChainStatus(
            chain=chain,
            height=height,
            hash=block_hash,
            time=time,
            burn_height=burn_height,
            finality=None if height is None else finality(height, final_height=final_height, anchored=anchored),
            final_height=final_height,
            digest=digest,
            sequence=sequence,
            idle_seconds=idle,
        )
        for chain, height, block_hash, time, burn_height, anchored, final_height, digest, sequence, idle in rows
    )


def _sources(connection: Connection[Any]) -> tuple[SourceStatus, ...]:
    rows = connection.execute(
        "SELECT chain, name, height, state, detail, extract(epoch FROM now() - seen_at)::bigint FROM clarion.source "
        "ORDER BY chain, name"
    )
    return tuple(SourceStatus(*row) for row in rows)


def _refused(connection: Connection[Any]) -> tuple[str, ...]:
    rows = connection.execute(
        "SELECT detail FROM clarion.anomaly WHERE kind = %s ORDER BY height, block_hash", (REWRITES_FINAL,)
    )
    return tuple(detail for (detail,) in rows)


def _anomalies(connection: Connection[Any]) -> tuple[AnomalyCount, ...]:
    rows = connection.execute(
        """
        SELECT a.kind, count(*), max(a.height), (array_agg(a.detail ORDER BY a.height DESC))[1]
        FROM clarion.anomaly a JOIN clarion.canonical_block k ON k.chain = a.chain AND k.hash = a.block_hash
        WHERE a.kind <> %s GROUP BY a.kind ORDER BY a.kind
        """,
        (REWRITES_FINAL,),
    ).fetchall()
    return tuple(AnomalyCount(*row) for row in rows)


def _row(connection: Connection[Any], query: str, *parameters: Any) -> tuple[Any, ...]:
    found = connection.execute(query, parameters).fetchone()
    assert found is not None
    return tuple(found)


def _one(connection: Connection[Any], query: str, *parameters: Any) -> Any:
    return _row(connection, query, *parameters)[0]


def ask_node_height(client: httpx.Client, url: str) -> int | None:
    """Height of the node's tip, or None where no node answers."""
    try:
        answer = client.get(f"{url}/v2/info", timeout=NODE_TIMEOUT_S)
        return int(answer.raise_for_status().json()["stacks_tip_height"])
    except (httpx.HTTPError, ValueError, KeyError):
        return None


def status_json(status: Status, node_height: int | None) -> dict[str, Any]:
    """The status for programs: hashes as ``0x`` hex, and how many blocks each index is behind the node."""

    def plain(value: Any) -> Any:
        return f"0x{value.hex()}" if isinstance(value, bytes) else value

    answer: dict[str, Any] = asdict(status)
    answer["node_height"] = node_height
    for found, chain in zip(status.chains, answer["chains"], strict=True):
        chain.update({name: plain(value) for name, value in chain.items()})
        chain["behind"] = _behind(found, node_height)
    return answer


def status_tables(status: Status, node_height: int | None) -> list[Table]:
    """The status for people."""
    tables = []
    for chain in status.chains:
        behind = _behind(chain, node_height)
        of_stacks = chain.chain == "stacks"
        table = _pairs(chain.chain)
        table.add_row("tip", _text(chain.height))
        table.add_row("hash", "-" if chain.hash is None else f"0x{chain.hash.hex()}")
        if of_stacks:
            table.add_row("behind the node", "the node does not answer" if behind is None else f"{behind} blocks")
            table.add_row("Bitcoin block", _text(chain.burn_height))
        table.add_row("finality", _text(chain.finality))
        table.add_row("final up to", _text(chain.final_height))
        table.add_row("last change", str(chain.sequence))
        table.add_row("digest", chain.digest.hex())
        table.add_row("written", f"{chain.idle_seconds} s ago")
        tables.append(table)
    rest = _pairs("index")
    rest.add_row("Bitcoin tip of Stacks", _text(status.burn_tip))
    waits = "" if status.inbox_oldest_seconds is None else f", the oldest for {status.inbox_oldest_seconds} s"
    rest.add_row("posts waiting", f"{status.inbox_pending}{waits}")
    rest.add_row("posts that failed", f"{status.inbox_failed}{f': {status.inbox_error}' if status.inbox_error else ''}")
    rest.add_row("protocols", ", ".join(status.protocols) or "none")
    for anomaly in status.anomalies:
        last = f"the last in block {anomaly.last_height}: {anomaly.last_detail}"
        rest.add_row(f"anomaly {anomaly.kind}", f"{anomaly.count}, {last}")
    if not status.anomalies:
        rest.add_row("anomalies", "none")
    for detail in status.refused:
        rest.add_row("refused", f"{detail}: see docs/operations.md")
    return [*tables, _source_table(status.sources), rest] if status.sources else [*tables, rest]


def _source_table(sources: Sequence[SourceStatus]) -> Table:
    table = Table("source", "chain", "block", "state", "heard", title="sources", title_justify="left")
    for source in sources:
        state = source.state if source.detail is None else f"{source.state}: {source.detail}"
        table.add_row(source.name, source.chain, _text(source.height), state, f"{source.seen_seconds} s ago")
    return table


def _pairs(title: str) -> Table:
    table = Table(title=title, show_header=False, title_justify="left")
    table.add_column()
    table.add_column(overflow="fold")
    return table


def _behind(chain: ChainStatus, node_height: int | None) -> int | None:
    if node_height is None or chain.chain != "stacks":
        return None
    return max(0, node_height - (-1 if chain.height is None else chain.height))


def _text(value: object) -> str:
    return "-" if value is None else str(value)
