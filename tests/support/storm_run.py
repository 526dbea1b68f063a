"""Plays a storm against the chain, the indexer and GraphQL as processes, and looks into the index what came of it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

import psycopg

from clarion.dev.accounts import Account
from support.stage import Stage, staged
from support.storm import Storm


@contextlib.asynccontextmanager
async def staged_storm(
    database_url: str,
    folder: Path,
    *,
    positions: int,
    due: int,
    seed: int,
    keeper: Mapping[str, Any],
    accounts: Sequence[Account],
    runs: bool,
) -> AsyncIterator[tuple[Stage, Storm]]:
    """A storm about to break. ``keeper``: the keeper's settings, and whether it ``runs``; ``accounts`` get money."""
    async with staged(database_url, folder, seed=seed, keeper=keeper) as stage:
        storm = Storm(stage.scenario, stage.devnet, stage.node, positions=positions, due=due, seed=seed)
        await storm.prepare(*(account.address for account in accounts))
        await stage.start_readers(keeper=runs)
        yield stage, storm


@dataclass(frozen=True)
class Deed:
    """Something that was done, worth ``value`` (usd8): in which transaction, block and place, for which bounty
    (micro-STX). ``about`` is the position or policy; ``since`` is the block that made it possible."""

    about: str | int
    value: int
    height: int
    place: int
    tx_id: bytes
    since: int
    bounty: int = 0

    @property
    def blocks(self) -> int:
        """How many blocks it took: 1 where it was mined in the first block that it could be."""
        return self.height - self.since


@dataclass(frozen=True)
class Outcome:
    """What became of a storm that ``began`` at a block. ``left``: what was due and has not been done."""

    began: int
    called: tuple[Deed, ...]
    liquidated: tuple[Deed, ...]
    settled: tuple[Deed, ...]
    left: int

    @property
    def deeds(self) -> tuple[Deed, ...]:
        """Everything that was done."""
        return (*self.called, *self.liquidated, *self.settled)


@dataclass(frozen=True)
class Sent:
    """A mined transaction of the keeper's."""

    tx_id: bytes
    status: str
    function: str
    fee: int
    nonce: int
    height: int


def sent_by(database: psycopg.Connection[Any], addresses: Sequence[str]) -> list[Sent]:
    """The mined contract calls of these accounts, in order."""
    rows = database.execute(
        "SELECT t.tx_id, t.status, t.function, t.fee::bigint, t.nonce::bigint, t.height "
        "FROM clarion.canonical_block c JOIN clarion.transaction t USING (chain, height) "
        "WHERE t.block_hash = c.hash AND t.sender = ANY(%s) AND t.kind = 'contract_call' ORDER BY t.height, t.tx_index",
        (list(addresses),),
    ).fetchall()
    return [Sent(*row) for row in rows]


def outcome(database: psycopg.Connection[Any], storm: Storm) -> Outcome:
    """What the index says of the positions and policies of a storm."""
    wrecks = {wreck.policy: wreck for wreck in storm.wrecks}
    providers = {wreck.provider: wreck for wreck in storm.wrecks}
    calls = database.execute(
        "SELECT provider, issued_height, issued_tx, round FROM bithedge.margin_call WHERE tier = 'storm' ORDER BY id"
    ).fetchall()
    takeovers = database.execute(
        "SELECT policy, provider, height, tx_id, liability_usd8::bigint, bounty::bigint FROM bithedge.liquidation "
        "WHERE tier = 'storm' ORDER BY id"
    ).fetchall()
    ended = database.execute(
        "SELECT id, settled_height, settled_tx, payoff_usd8::bigint FROM bithedge.policy "
        "WHERE id = ANY(%s) AND state <> 'active'",
        (storm.expiring,),
    ).fetchall()
    places = _places(database, [tx_id for _, _, tx_id, *_ in [*calls, *ended]] + [row[3] for row in takeovers])
    rounds = database.execute(
        "SELECT round, closed_height FROM bithedge.price_round WHERE asset = 'STX' AND state = 'closed' ORDER BY round"
    ).fetchall()
    rounds_of = {provider: number for provider, _, _, number in calls}
    called = [
        Deed(provider, providers[provider].liability_usd8, height, *places[tx_id], storm.crash_height)
        for provider, height, tx_id, _ in calls
    ]
    liquidated = [
        Deed(policy, liability, height, *places[tx_id], _closed_after(rounds, rounds_of[provider]), bounty)
        for policy, provider, height, tx_id, liability, bounty in takeovers
        if policy in wrecks
    ]
    settled = [
        Deed(policy, payoff, height, *places[tx_id], storm.crash_height) for policy, height, tx_id, payoff in ended
    ]
    done = len({row[0] for row in takeovers}) + len(settled)
    return Outcome(
        storm.crash_height, tuple(called), tuple(liquidated), tuple(settled), len(wrecks) + len(storm.expiring) - done
    )


def out_of_order(deeds: Sequence[Deed]) -> int:
    """How often something worth more was mined after something worth less that had become possible no earlier."""
    found = 0
    for _, together in groupby(sorted(deeds, key=lambda deed: deed.since), key=lambda deed: deed.since):
        mined = sorted(together, key=lambda deed: (deed.height, deed.place))
        values = [[deed.value for deed in group] for _, group in groupby(mined, key=lambda deed: deed.tx_id)]
        found += sum(max(later) > min(earlier) for earlier, later in pairwise(values))
    return found


def twice(deeds: Sequence[Deed]) -> int:
    """How many of these were done before."""
    return len(deeds) - len({deed.about for deed in deeds})


def _places(database: psycopg.Connection[Any], tx_ids: Sequence[str]) -> dict[str, tuple[int, bytes]]:
    rows = database.execute(
        "SELECT t.tx_id, t.tx_index FROM clarion.canonical_block c JOIN clarion.transaction t USING (chain, height) "
        "WHERE t.block_hash = c.hash AND t.tx_id = ANY(%s)",
        ([bytes.fromhex(tx_id.removeprefix("0x")) for tx_id in tx_ids],),
    ).fetchall()
    by_hex = {tx_id.hex(): (place, tx_id) for tx_id, place in rows}
    return {tx_id: by_hex[tx_id.removeprefix("0x")] for tx_id in tx_ids}


def _closed_after(rounds: Sequence[tuple[int, int]], number: int) -> int:
    return next(height for later, height in rounds if later > number)
