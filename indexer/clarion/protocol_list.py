"""What ``clarion protocols`` shows: which protocols are installed, and how far an index has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import Connection, sql
from rich.table import Table

from clarion.chains.model import Chain, JsonValue
from clarion.protocol import Protocol


@dataclass(frozen=True, slots=True)
class Listed:
    """A protocol as an index has it.

    ``state``: live; filling (the first generation is being made); rebuilding (the next one is being made beside the
    live one); replacing (the same beside one that stands still, as its package has changed); ready (the indexer is
    about to switch); waiting (enabled, nothing is done yet); stopped (not enabled any more) or installed (not enabled).
    ``version`` is that of the installed package, None without one. ``height`` is how far the rows are, None where they
    stand still; ``filled`` is how far the next generation is, of ``final_height``.
    """

    name: str
    chain: Chain
    version: int | None
    state: str
    generation: int
    height: int | None
    filled: int | None
    final_height: int | None
    rows: Mapping[str, int]


def read_protocols(
    connection: Connection[Any], chain: Chain, installed: Mapping[str, Protocol], enabled: Sequence[str]
) -> list[Listed]:
    """Every protocol of a chain that is installed or that the index knows, by name."""
    installed = {name: protocol for name, protocol in installed.items() if protocol.chain == chain}
    cursor = connection.execute("SELECT height, final_height FROM clarion.cursor WHERE chain = %s", (chain,)).fetchone()
    height, final_height = cursor or (None, None)
    known = {
        name: rest
        for name, *rest in connection.execute(
            "SELECT name, generation, stopped_sequence IS NOT NULL, next_generation IS NOT NULL, next_ready, "
            "next_height FROM clarion.protocol WHERE chain = %s",
            (chain,),
        )
    }
    listed = []
    for name in sorted(installed.keys() | known.keys()):
        generation, stopped, filling, ready, filled = known.get(name, (0, False, False, False, None))
        state = state_of(generation, stopped=stopped, filling=filling, ready=ready, enabled=name in enabled)
        protocol = installed.get(name)
        listed.append(
            Listed(
                name=name,
                chain=chain,
                version=None if protocol is None else protocol.version,
                state=state,
                generation=generation,
                height=height if generation and not stopped else None,
                filled=filled,
                final_height=final_height,
                rows={} if protocol is None or not generation else _count(connection, protocol),
            )
        )
    return listed


def state_of(generation: int, *, stopped: bool, filling: bool, ready: bool, enabled: bool) -> str:
    """The state of a protocol, as :class:`Listed` names it."""
    if ready:
        return "ready"
    if filling:
        return "filling" if not generation else "replacing" if stopped else "rebuilding"
    if generation and not stopped:
        return "live"
    if enabled:
        return "waiting"
    return "stopped" if generation else "installed"


def _count(connection: Connection[Any], protocol: Protocol) -> dict[str, int]:
    counts = {}
    for row_type in protocol.row_types:
        if connection.execute("SELECT to_regclass(%s)", (row_type.name,)).fetchone() == (None,):
            continue
        table = sql.Identifier(*row_type.name.split("."))
        found = connection.execute(sql.SQL("SELECT count(*) FROM {}").format(table)).fetchone()
        assert found is not None
        counts[row_type.name.partition(".")[2]] = found[0]
    return counts


def protocols_json(listed: Sequence[Listed]) -> list[JsonValue]:
    """The list for programs."""
    return [
        {
            "name": one.name,
            "chain": one.chain,
            "version": one.version,
            "state": one.state,
            "generation": one.generation,
            "height": one.height,
            "filled_height": one.filled,
            "final_height": one.final_height,
            "rows": dict(one.rows),
        }
        for one in listed
    ]


def protocols_table(listed: Sequence[Listed]) -> Table:
    """The list for people."""
    table = Table("protocol", "chain", "version", "state", "generation", "height", "filled", "rows")
    for one in listed:
        filled = "" if one.filled is None else f"{one.filled:,} of {one.final_height or 0:,}"
        table.add_row(
            one.name,
            one.chain,
            "not installed" if one.version is None else str(one.version),
            one.state,
            str(one.generation or ""),
            "" if one.height is None else f"{one.height:,}",
            filled,
            f"{sum(one.rows.values()):,} in {len(one.rows)} tables" if one.rows else "",
        )
    return table
