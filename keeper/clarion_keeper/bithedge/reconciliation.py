"""The index against the chain: rows of the projections are compared with read-only calls at the same tip.

A row that differs is never mended here. It is shown as an open intent, nobody acts on what it is about, and it is
looked at again with every block, until it agrees or somebody has indexed anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import structlog

from clarion.chains.stacks.clarity import StringAscii, UInt, Value, encode, principal
from clarion.chains.stacks.clarity_forms import decode_json
from clarion.chains.stacks.hashing import index_block_hash
from clarion.chains.stacks.node_client import NodeClient, NodeError
from clarion.protocols.bithedge.state import State
from clarion.protocols.bithedge.tables import (
    Asset,
    FundHolding,
    MarginCall,
    Policy,
    Position,
    Proposal,
    TokenPool,
    TreasuryHolding,
)
from clarion.store.rows import Row
from clarion_keeper.bithedge.calls import NoTransactions
from clarion_keeper.bithedge.margins import EVERY, open_calls, position_entity
from clarion_keeper.bithedge.reading import Index, Look
from clarion_keeper.graph import Reader, Receipt
from clarion_keeper.intents import Intent, Lane
from clarion_keeper.job import Job

log = structlog.get_logger()

#: Stacks blocks from one comparison to the next.
EVERY_BLOCKS: Final = 10
#: Most read-only calls of one comparison. Policies and positions take turns.
MOST_CALLS: Final = 100
#: Read-only calls that are under way at once.
AT_ONCE: Final = 8


@dataclass(frozen=True, slots=True)
class Subject:
    """A row and the read-only call that says what it should be. ``expected``: the answer's fields by Clarity name."""

    entity: str
    contract: str
    function: str
    arguments: tuple[Value, ...]
    expected: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Drift:
    """A row that is not what the contract says; ``fields`` has for each the row's value and the contract's."""

    subject: Subject
    fields: Mapping[str, tuple[Any, Any]]

    @property
    def in_words(self) -> str:
        """What differs."""
        parts = (f"{name} is {index} in the index, {chain} on chain" for name, (index, chain) in self.fields.items())
        return f"{self.subject.contract}.{self.subject.function}: {'; '.join(parts)}"


@dataclass(frozen=True, slots=True)
class ReconciliationState:
    """What was found so far; ``drifts`` by entity."""

    receipt: Receipt
    drifts: Mapping[str, Drift]


def subjects(chain: State) -> Iterator[Subject]:
    """Everything that was read and can be compared."""
    for row in _all(chain, Asset, "asset"):
        expected = _fields(row, "next-round", "last-round", "price-usd8", "opened-burn", "var-e12")
        yield Subject(f"asset:{row.asset}", "bh-oracle", "get-asset", (StringAscii(row.asset),), expected)
    for row in _all(chain, TokenPool, "token"):
        expected = _fields(row, "available", "locked", "unearned", "platform-fees", "reserve-fees")
        expected["yield"] = row.yield_payable
        yield Subject(f"token:{row.token}", "bh-vault", "get-buckets", (principal(row.token),), expected)
    for row in _all(chain, TreasuryHolding, "token"):
        expected = _fields(row, "collected", "shared", "programs")
        yield Subject(f"token:{row.token}", "bh-treasury", "get-holdings", (principal(row.token),), expected)
    for row in _all(chain, FundHolding, "token"):
        expected = _fields(row, "balance", "cover")
        yield Subject(f"token:{row.token}", "bh-fund", "get-holding", (principal(row.token),), expected)
    for row in _all(chain, Proposal, "id"):
        expected = _fields(row, "state", "for-power", "against-power", "abstain-power")
        yield Subject(f"proposal:{row.id}", "bh-gov", "get-proposal", (UInt(row.id),), expected)
    for row in open_calls(chain).values():
        expected = {"call": row.id, **_fields(row, "level", "deadline-burn", "round")}
        yield _of_position(row, "bh-liquidation", "get-call", expected)
    for row in _all(chain, Position, "provider"):
        expected = _fields(row, "available", "locked", "requested", "liability-usd8")
        yield _of_position(row, "bh-vault", "get-position", expected)
    for row in _all(chain, Policy, "id"):
        expected = _fields(row, "state", "owner", "expiry-burn", "max-payout-usd8", "paid", "unpaid-usd8")
        yield Subject(f"policy:{row.id}", "bh-policy", "get-policy", (UInt(row.id),), expected)


def _all(chain: State, model: type[Row], order: str) -> Sequence[Any]:
    return chain.select(model, order=[(order, False)], limit=EVERY)


def _fields(row: Any, *names: str) -> dict[str, Any]:
    return {name: getattr(row, name.replace("-", "_")) for name in names}


def _of_position(row: Any, contract: str, function: str, expected: Mapping[str, Any]) -> Subject:
    arguments = (principal(row.provider), StringAscii(row.tier), principal(row.token))
    return Subject(position_entity(row.provider, row.tier, row.token), contract, function, arguments, expected)


Ask = Callable[[str, str, Sequence[Value]], Awaitable[Any]]
"""A read-only call: short name of the contract, function, arguments. Gives the answer's JSON form."""


async def compare(found: Iterable[Subject], ask: Ask) -> list[Drift]:
    """The rows that are not what the contracts say. Raises what asking raises."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(subject: Subject) -> Drift | None:
        async with gate:
            answer = await ask(subject.contract, subject.function, subject.arguments)
        given = answer or {}
        differing = {
            name: (value, given.get(name)) for name, value in subject.expected.items() if given.get(name) != value
        }
        return Drift(subject, differing) if differing else None

    return [drift for drift in await asyncio.gather(*map(one, found)) if drift is not None]


class Reconcile(NoTransactions, Job[ReconciliationState]):
    """Compares rows with the contracts every few blocks. What differs is shown, and no job acts on it.

    Rows and answers are of one block: the node has to stand at the index's tip before the calls and after them, else
    the next look tries again.
    """

    name = "reconcile"
    lane = Lane.UPKEEP
    holds = True
    replayable = False

    def __init__(self, index: Index, connect: Callable[[], NodeClient]) -> None:
        self._index = index
        self._connect = connect
        self._drifts: dict[str, Drift] = {}
        self._compared_at: int | None = None
        self._turn = 0

    async def read(self, reader: Reader) -> ReconciliationState:
        """Compare, if it is time; gives what differs."""
        look = await self._index.look(reader)
        at = look.receipt.height
        due = self._compared_at is None or not 0 <= at - self._compared_at < EVERY_BLOCKS
        if due or self._drifts:
            await self._learn(look)
            chosen = self._chosen(list(subjects(look.state().chain)))
            found = await self._compared(look.receipt, chosen)
            if found is not None:
                looked_at = {subject.entity for subject in chosen}
                kept = {entity: drift for entity, drift in self._drifts.items() if entity not in looked_at}
                self._drifts = kept | {drift.subject.entity: drift for drift in found}
                self._compared_at = at
                self._turn += 1
        return ReconciliationState(look.receipt, dict(self._drifts))

    async def _learn(self, look: Look) -> None:
        for model in (TokenPool, TreasuryHolding, FundHolding):
            await look.learn(model)
        await look.learn(Proposal, {"state": {"in": ["active", "queued"]}})
        await look.learn(MarginCall, {"state": {"eq": "open"}})
        await look.learn(Position)
        await look.learn(Policy, {"or": [{"state": {"eq": "active"}}, {"unpaidUsd8": {"gt": 0}}]})

    def _chosen(self, found: Sequence[Subject]) -> list[Subject]:
        """What is known to differ, what is few, and of the rest as much as fits, from where the last turn ended."""
        many = [subject for subject in found if subject.function in ("get-position", "get-policy")]
        again = [subject for subject in many if subject.entity in self._drifts]
        few = [subject for subject in found if subject not in many]
        room = max(0, MOST_CALLS - len(few) - len(again))
        start = self._turn * room % len(many) if many else 0
        rest = [subject for subject in (many[start:] + many[:start])[:room] if subject not in again]
        return few + again + rest

    async def _compared(self, receipt: Receipt, chosen: Sequence[Subject]) -> list[Drift] | None:
        """What differs; None where the node was not at the receipt's block all the time, or did not answer."""
        async with self._connect() as node:

            async def ask(contract: str, function: str, arguments: Sequence[Value]) -> Any:
                deployer = self._index.deployer
                answer = await node.call_read_only(
                    f"{deployer}.{contract}", function, [encode(argument) for argument in arguments], sender=deployer
                )
                return decode_json(answer)

            try:
                if await _tip(node) != receipt.hash:
                    return None
                found = await compare(chosen, ask)
                return found if await _tip(node) == receipt.hash else None
            except NodeError as error:
                log.warning("reconciliation: the node gives no answer", reason=str(error))
                return None

    def check(self, state: ReconciliationState) -> Sequence[Intent]:
        """One intent for each entity that differs."""
        return [
            Intent(
                key=f"{self.name}:{entity}",
                job=self.name,
                item={"entity": entity, "contract": drift.subject.contract, "function": drift.subject.function},
                cause=drift.in_words,
                entity=entity,
            )
            for entity, drift in sorted(state.drifts.items())
        ]


async def _tip(node: NodeClient) -> str:
    """The block that the node stands at, as receipts name it."""
    info = await node.info()
    return f"0x{index_block_hash(info.stacks_tip, info.stacks_tip_consensus_hash).hex()}"
