"""What the live view shows, read from the database and the devnet a few times a second."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import httpx
from psycopg import Connection

from clarion.chains.stacks.clarity_forms import decode_json
from clarion.status import ask_node_height

RATE_WINDOW_S: Final = 10.0
RECENT_EVENTS: Final = 10
RECENT_TRANSACTIONS: Final = 5
_TUPLE: Final = b"\x0c"
"""What a serialised Clarity tuple begins with (SIP-005)."""
LOOK_BACK_BLOCKS: Final = 30
SETTLED_STATES: Final = ("settled-itm", "expired-otm")


@dataclass(frozen=True, slots=True)
class RecentEvent:
    """A print of a contract in a canonical block."""

    height: int
    tx_index: int
    event_index: int
    topic: str
    value: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class KeeperTransaction:
    """A transaction the keeper signed."""

    function: str
    state: str
    height: int | None
    problem: str | None


@dataclass(frozen=True, slots=True)
class ZkUsdSnapshot:
    """zkUSD as the index has it. ``height`` is its Bitcoin's; what is not deployed yet is None or 0."""

    height: int
    price8: int | None
    ratio_percent: int | None
    """Of all vaults."""
    vaults: int
    liquidated: int
    supply_base: int
    anomalies: int
    """Events that tell of broken rules."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One moment of a dev run. Heights are None while nothing is indexed."""

    height: int | None
    burn_height: int | None
    node_height: int | None
    waiting: int
    """Posts that are stored and not yet applied."""
    failed: int
    anomalies: int
    reorgs: int
    blocks_per_s: float
    events_per_s: float
    prices_usd8: Mapping[str, int]
    policies: Mapping[str, int]
    """How many policies are in each state."""
    keeper: Mapping[str, int]
    """How many of the keeper's transactions are in each state."""
    keeper_recent: tuple[KeeperTransaction, ...]
    events: tuple[RecentEvent, ...]
    """The newest last."""
    zkusd: ZkUsdSnapshot | None = None
    """None while nothing of Bitcoin is indexed."""

    @property
    def settled(self) -> int:
        """Policies that were settled at their expiry."""
        return sum(self.policies.get(state, 0) for state in SETTLED_STATES)

    @property
    def behind(self) -> int | None:
        """How many blocks the index is behind the node."""
        return None if self.node_height is None or self.height is None else max(0, self.node_height - self.height)


class SnapshotReader:
    """Reads snapshots over one connection each, and remembers enough to give rates."""

    def __init__(self, connection: Connection[Any], node_url: str) -> None:
        self._connection = connection
        self._node_url = node_url
        self._client = httpx.Client()  # making one takes longer than asking
        self._counted_height = -1
        self._blocks = self._events = 0
        self._marks: deque[tuple[float, int, int]] = deque()

    def close(self) -> None:
        """Close the connections."""
        self._client.close()
        self._connection.close()

    def read(self) -> Snapshot:
        """The run as it is now.

        Raises:
            psycopg.OperationalError: the database does not answer.
        """
        height, burn_height = self._row(
            "SELECT c.height, b.burn_height FROM (SELECT) one LEFT JOIN clarion.cursor c ON c.chain = 'stacks' "
            "LEFT JOIN clarion.block b ON b.chain = c.chain AND b.hash = c.hash"
        )
        waiting, failed = self._row(
            "SELECT count(*) FILTER (WHERE error IS NULL), count(*) FILTER (WHERE error IS NOT NULL) FROM clarion.inbox"
        )
        blocks_per_s, events_per_s = self._rates()
        return Snapshot(
            height=height,
            burn_height=burn_height,
            node_height=ask_node_height(self._client, self._node_url),
            waiting=waiting,
            failed=failed,
            anomalies=self._row("SELECT count(*) FROM clarion.anomaly")[0],
            reorgs=self._row(
                "SELECT count(*) FROM clarion.step s WHERE s.op = 'retract' AND NOT EXISTS (SELECT FROM clarion.step p "
                "WHERE p.chain = s.chain AND p.op = 'retract' AND p.sequence = s.sequence - 1)"
            )[0],
            blocks_per_s=blocks_per_s,
            events_per_s=events_per_s,
            prices_usd8=dict(self._rows("SELECT asset, price_usd8 FROM bithedge.asset WHERE price_usd8 > 0")),
            policies=dict(self._rows("SELECT state, count(*) FROM bithedge.policy GROUP BY state ORDER BY state")),
            keeper=dict(self._rows("SELECT state, count(*) FROM keeper.outgoing GROUP BY state ORDER BY state")),
            keeper_recent=tuple(
                KeeperTransaction(*row)
                for row in self._rows(
                    "SELECT function, state, block_height, error FROM keeper.outgoing ORDER BY id DESC LIMIT %s",
                    RECENT_TRANSACTIONS,
                )
            ),
            events=self._recent_events(height),
            zkusd=self._zkusd(),
        )

    def _zkusd(self) -> ZkUsdSnapshot | None:
        rows = self._rows(
            "SELECT c.height, p.price8::bigint, p.tcr_percent, coalesce(p.active_vaults, 0), "
            "coalesce(p.liquidated_vaults, 0), coalesce(p.token_supply, 0)::bigint, "
            "(SELECT count(*) FROM zkusd.event WHERE severity IN ('warning', 'critical')) "
            "FROM clarion.cursor c LEFT JOIN zkusd.protocol p ON true "
            "WHERE c.chain = 'bitcoin' AND c.height IS NOT NULL"
        )
        return ZkUsdSnapshot(*rows[0]) if rows else None

    def _rates(self) -> tuple[float, float]:
        blocks, events, highest = self._row(
            "SELECT count(*), coalesce(sum(event_count), 0)::bigint, max(height) FROM clarion.block "
            "WHERE chain = 'stacks' AND height > %s",
            self._counted_height,
        )
        self._blocks, self._events = self._blocks + blocks, self._events + events
        self._counted_height = self._counted_height if highest is None else highest
        now = time.monotonic()
        self._marks.append((now, self._blocks, self._events))
        while now - self._marks[0][0] > RATE_WINDOW_S:
            self._marks.popleft()
        then, old_blocks, old_events = self._marks[0]
        elapsed = max(now - then, 1.0)
        return (self._blocks - old_blocks) / elapsed, (self._events - old_events) / elapsed

    def _recent_events(self, height: int | None) -> tuple[RecentEvent, ...]:
        if height is None:
            return ()
        rows = self._rows(
            "SELECT e.height, e.tx_index, e.event_index, e.topic, e.raw FROM clarion.canonical_block k "
            "JOIN clarion.event e ON e.chain = k.chain AND e.height = k.height AND e.block_hash = k.hash "
            "WHERE k.chain = 'stacks' AND k.height > %s AND e.kind = 'print' AND substr(e.raw, 1, 1) = %s "
            "ORDER BY e.height DESC, e.tx_index DESC, e.event_index DESC LIMIT %s",
            height - LOOK_BACK_BLOCKS,
            _TUPLE,
            RECENT_EVENTS,
        )
        events = [(*place, decode_json(raw)) for *place, raw in reversed(rows)]
        return tuple(RecentEvent(*event) for event in events)

    def _rows(self, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
        return self._connection.execute(query, parameters).fetchall()

    def _row(self, query: str, *parameters: Any) -> tuple[Any, ...]:
        (row,) = self._rows(query, *parameters)
        return row
