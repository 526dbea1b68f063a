"""How a dev run looks: a live screen in a terminal, plain lines everywhere else."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from types import TracebackType
from typing import Final, Protocol, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from clarion.config import Settings
from clarion.dev.amounts import usd
from clarion.dev.processes import Change, Child, State
from clarion.dev.snapshot import RecentEvent, Snapshot, ZkUsdSnapshot

LINES_EVERY_S: Final = 5.0
KEPT_MESSAGES: Final = 6
STATE_STYLES: Final = {State.RUNNING: "green", State.WAITING: "red", State.STOPPED: "dim"}
TOLD_TOPICS: Final = ("policy.", "round.rejected", "breaker.")
"""Topics that plain lines tell of."""
SHOWN_FIELDS: Final = ("policy", "asset", "price-usd8", "amt", "tier", "paid", "premium", "type", "expiry-burn")


class View(Protocol):
    """What a run reports to."""

    def __enter__(self) -> Self:
        """Begin to show."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the terminal back."""

    def say(self, message: str) -> None:
        """Tell what the run does."""

    def changed(self, change: Change) -> None:
        """Tell what a process did."""

    def show(self, snapshot: Snapshot, processes: Sequence[Child]) -> None:
        """Show how things are."""


def describe(event: RecentEvent) -> str:
    """An event in a line: its topic and the fields that a reader looks for."""
    fields = []
    for name in SHOWN_FIELDS:
        value = event.value.get(name)
        if value is not None:
            fields.append(f"{name.removesuffix('-usd8')} {usd(value) if name.endswith('-usd8') else value}")
    return f"{event.topic} {' '.join(fields)}".rstrip()


def _counts(counts: Sequence[tuple[str, int]]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts) or "none"


class Lines:
    """Plain lines on standard output: for logs, and for terminals that are none."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._next = 0.0
        self._told = (-1, -1, -1)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def say(self, message: str) -> None:
        """Print a line."""
        print(f"{time.monotonic() - self._started:7.1f} s  {message}", flush=True)

    def changed(self, change: Change) -> None:
        """Print what a process did."""
        self.say(f"{change.name} {change.text}")

    def show(self, snapshot: Snapshot, processes: Sequence[Child]) -> None:
        """Print new events of note, and now and then how things are."""
        for event in snapshot.events:
            place = (event.height, event.tx_index, event.event_index)
            if place > self._told:
                self._told = place
                if event.topic.startswith(TOLD_TOPICS):
                    self.say(f"block {event.height}: {describe(event)}")
        now = time.monotonic()
        if now < self._next:
            return
        if snapshot.height is not None:
            self._next = now + LINES_EVERY_S
            self.say(
                f"block {snapshot.height} (Bitcoin {snapshot.burn_height}), behind {snapshot.behind}, "
                f"{snapshot.events_per_s:.1f} events/s, policies: {_counts(list(snapshot.policies.items()))}, "
                f"keeper: {_counts(list(snapshot.keeper.items()))}"
            )
        if snapshot.zkusd is not None:
            self._next = now + LINES_EVERY_S
            self.say("zkUSD: " + ", ".join(f"{name} {value}" for name, value in _zkusd_pairs(snapshot.zkusd)))


class LiveView:
    """A screen that is drawn again with every snapshot."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._messages: deque[Text] = deque(maxlen=KEPT_MESSAGES)
        self._console = Console()
        self._live = Live(console=self._console, screen=True, auto_refresh=False)
        self._said: list[str] = []

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.__exit__(kind, error, trace)
        for message in self._said[-KEPT_MESSAGES:]:
            self._console.print(message, highlight=False, markup=False)

    def say(self, message: str) -> None:
        """Add a message to the screen; the last ones stay in the terminal when the screen is gone."""
        self._said.append(message)
        self._messages.append(Text(message))

    def changed(self, change: Change) -> None:
        """Add what a process did, in red where it failed."""
        self._messages.append(Text(f"{change.name} {change.text}", style="red" if change.failed else "green"))

    def show(self, snapshot: Snapshot, processes: Sequence[Child]) -> None:
        """Draw the screen."""
        self._live.update(self._screen(snapshot, processes), refresh=True)

    def _screen(self, snapshot: Snapshot, processes: Sequence[Child]) -> RenderableType:
        top = Table.grid(expand=True)
        top.add_column(ratio=1)
        top.add_column(ratio=1)
        top.add_row(
            Panel(_chain_table(snapshot), title="chain and index"),
            Panel(_process_table(processes), title="processes"),
        )
        top.add_row(
            Panel(_market_table(snapshot), title="BitHedge"),
            Panel(_keeper_table(snapshot), title="keeper's transactions"),
        )
        if snapshot.zkusd is not None:
            top.add_row(Panel(_pairs(*_zkusd_pairs(snapshot.zkusd)), title="zkUSD"), "")
        events = Text("\n").join(
            Text(f"{event.height:>6}  {describe(event)}", no_wrap=True) for event in snapshot.events
        )
        title = Text(f" Clarion   GraphQL {self._settings.keeper.graphql_url}   Ctrl-C stops everything", style="bold")
        return Group(
            title,
            top,
            Panel(events, title="recent events"),
            Panel(Text("\n").join(self._messages), title="messages"),
        )


def _pairs(*rows: tuple[str, str]) -> Table:
    table = Table.grid(padding=(0, 2))
    for row in rows:
        table.add_row(*row)
    return table


def _text(value: int | None) -> str:
    return "-" if value is None else str(value)


def _chain_table(snapshot: Snapshot) -> Table:
    return _pairs(
        ("Stacks block", _text(snapshot.height)),
        ("Bitcoin block", _text(snapshot.burn_height)),
        ("behind the node", f"{_text(snapshot.behind)} blocks, {snapshot.waiting} posts waiting"),
        ("rate", f"{snapshot.blocks_per_s:.1f} blocks/s, {snapshot.events_per_s:.1f} events/s"),
        ("trouble", f"{snapshot.failed} posts failed, {snapshot.anomalies} anomalies, {snapshot.reorgs} reorgs"),
    )


def _process_table(processes: Sequence[Child]) -> Table:
    table = Table.grid(padding=(0, 2))
    for child in processes:
        restarts = f"{child.restarts} restarts" if child.restarts else ""
        table.add_row(child.name, Text(child.state, style=STATE_STYLES[child.state]), _text(child.pid), restarts)
    return table


def _market_table(snapshot: Snapshot) -> Table:
    prices = [(f"{asset} price", f"{usd(price)} USD") for asset, price in snapshot.prices_usd8.items()]
    states = [(f"policies {state}", str(count)) for state, count in snapshot.policies.items()]
    return _pairs(*prices, *states)


def _zkusd_pairs(zkusd: ZkUsdSnapshot) -> list[tuple[str, str]]:
    return [
        ("block", str(zkusd.height)),
        ("BTC price", "-" if zkusd.price8 is None else f"{usd(zkusd.price8)} USD"),
        ("ratio", "-" if zkusd.ratio_percent is None else f"{zkusd.ratio_percent} %"),
        ("vaults", f"{zkusd.vaults} ({zkusd.liquidated} liquidated)"),
        ("supply", usd(zkusd.supply_base)),
        ("anomalies", str(zkusd.anomalies)),
    ]


def _keeper_table(snapshot: Snapshot) -> Table:
    rows = [(_counts(list(snapshot.keeper.items())), "")]
    for transaction in snapshot.keeper_recent:
        where = f"block {transaction.height}" if transaction.height is not None else transaction.problem or ""
        rows.append((transaction.function, f"{transaction.state} {where}"))
    return _pairs(*rows)
