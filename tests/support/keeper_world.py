"""A chain in one row of Postgres, that a keeper in another process works on and that outlives it.

Things get due in blocks; a transaction does some of them. It has a node's rules: nonces in order, twenty-five chained,
a strictly higher fee to replace, a mempool, reorganisations that take back blocks and what they caused.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import psycopg
from psycopg.types.json import Jsonb

from clarion.config import Keeper, KeeperAccount, Lane, Settings
from clarion_keeper.engine import Engine, Parts
from clarion_keeper.executor import (
    Attempt,
    Broadcast,
    Declined,
    Draft,
    ExecutorError,
    Fate,
    Outgoing,
    Room,
    Seen,
    Signed,
    Taken,
    Work,
)
from clarion_keeper.graph import GraphError, MinedTransaction, Reader, Receipt
from clarion_keeper.intents import Amount, Intent, Item, Outcome, Verdict
from clarion_keeper.job import Job
from clarion_keeper.observer import Observer

CHAINED: Final = 25
FINAL_AFTER: Final = 6
FEE: Final = 100
FEE_CAP: Final = 10_000
FUNDS: Final = 10**9
"""What every account has in the beginning."""
STUCK_AFTER: Final = 3
ALREADY: Final = "done already"
UNKNOWN: Final = "no such thing"
BROKEN: Final = "nobody expected that"

State = dict[str, Any]


def _hash(*parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


class World:
    """The chain; every method is one transaction on its row, over one connection. Close it in the end."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.connection = psycopg.connect(url, autocommit=True)

    def close(self) -> None:
        """Let go of the connection; the chain stays."""
        self.connection.close()

    def query(self, statement: str) -> list[Any]:
        """What a statement gives, such as one on the keeper's tables."""
        return self.connection.execute(statement).fetchall()

    def create(self) -> World:
        """Make the row: an empty chain with one block."""
        state: State = {
            "burn": 100,
            "sequence": 1,
            "salt": 0,
            "blocks": [{"hash": _hash("genesis"), "height": 0, "burn": 100, "txs": [], "things": {}}],
            "mempool": [],
            "txs": {},
            "down": False,
            "min_fee": 0,
            "capacity": 100,
            "silent": False,
            "unsendable": [],
            "price": 0,
        }
        self.connection.execute("CREATE TABLE toy_world (state jsonb)")
        self.connection.execute("INSERT INTO toy_world VALUES (%s)", (Jsonb(state),))
        return self

    @contextlib.contextmanager
    def changing(self) -> Iterator[State]:
        """The state, stored again at the end."""
        with self.connection.transaction():
            row = self.connection.execute("SELECT state FROM toy_world FOR UPDATE").fetchone()
            assert row is not None
            yield row[0]
            self.connection.execute("UPDATE toy_world SET state = %s", (Jsonb(row[0]),))

    def read(self) -> State:
        """The state as it is."""
        row = self.connection.execute("SELECT state FROM toy_world").fetchone()
        assert row is not None
        return dict(row[0])

    def sequence(self) -> int:
        """Rises with every block that comes or goes."""
        row = self.connection.execute("SELECT state->'sequence' FROM toy_world").fetchone()
        assert row is not None
        return int(row[0])

    def mine(self, *, blocks: int = 1, things: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        """Mine what the mempool has, most fee first; ``things`` get due with the first block."""
        with self.changing() as state:
            for number in range(blocks):
                _mine(state, dict(things or {}) if number == 0 else {})

    def reorganise(self, depth: int, *, drop: bool = False, keep_things: bool = True) -> None:
        """Take ``depth`` blocks back and mine as many again, empty, and one more.

        ``drop``: their transactions do not go back to the mempool. ``keep_things``: what got due in them gets due in
        the first new one; otherwise it never was.
        """
        with self.changing() as state:
            taken, state["blocks"] = state["blocks"][-depth:], state["blocks"][:-depth]
            state["salt"] += 1
            state["sequence"] += depth
            state["burn"] = state["blocks"][-1]["burn"]
            things: dict[str, Any] = {}
            returning = []
            for block in taken:
                things |= block["things"]
                returning += [tx["id"] for tx in block["txs"]]
            if not drop:
                state["mempool"] = [*returning, *state["mempool"]]
            waiting, state["mempool"] = state["mempool"], []
            for number in range(depth + 1):
                _mine(state, things if keep_things and number == 0 else {})
            state["mempool"] = waiting

    def rival(self, things: Sequence[str]) -> None:
        """Somebody else does these things in a block of its own."""
        with self.changing() as state:
            nonce = sum(tx["sender"] == "RIVAL" for tx in state["txs"].values())
            body = {"sender": "RIVAL", "nonce": nonce, "fee": 10**9, "items": list(things)}
            tx_id = _hash(body)
            state["txs"][tx_id] = body
            waiting, state["mempool"] = state["mempool"], [tx_id]
            _mine(state, {})
            state["mempool"] = [other for other in waiting if other in state["mempool"] or other != tx_id]

    def usurp(self, sender: str) -> None:
        """A transaction that is not the keeper's takes an account's next nonce, in a block of its own."""
        with self.changing() as state:
            body = {"sender": sender, "nonce": _confirmed(state, sender), "fee": FEE, "items": []}
            tx_id = _hash(body, state["sequence"])
            state["txs"][tx_id] = body
            waiting, state["mempool"] = state["mempool"], [tx_id]
            _mine(state, {})
            state["mempool"] = [
                other
                for other in waiting
                if (state["txs"][other]["sender"], state["txs"][other]["nonce"]) != (sender, body["nonce"])
            ]

    def drop_mempool(self) -> None:
        """The nodes forget what is not mined."""
        with self.changing() as state:
            state["mempool"] = []

    def set(self, **values: Any) -> None:
        """``down`` (the node), ``silent`` (the index, to jobs), ``min_fee``, ``capacity``, ``price``, ``unsendable``
        (things that nodes refuse for good).
        """
        with self.changing() as state:
            state.update(values)

    def balance(self, sender: str) -> int:
        """What an account has at the tip: fees go off, rewards come in."""
        return _balance(self.read(), sender)

    def done(self) -> dict[str, list[str]]:
        """By thing, the canonical transactions that did it."""
        found: dict[str, list[str]] = {}
        for block in self.read()["blocks"]:
            for tx in block["txs"]:
                for thing, result in tx["results"].items():
                    if result == "ok":
                        found.setdefault(thing, []).append(tx["id"])
        return found

    def due(self) -> list[str]:
        """Things that are due and not done."""
        return sorted(_due(self.read()))


def _mine(state: State, things: Mapping[str, Any]) -> None:
    tip = state["blocks"][-1]
    state["burn"] += 1
    state["sequence"] += 1
    height = tip["height"] + 1
    block: State = {
        "hash": _hash(tip["hash"], height, state["salt"], sorted(state["mempool"])),
        "height": height,
        "burn": state["burn"],
        "txs": [],
        "things": dict(things),
    }
    state["blocks"].append(block)
    while len(block["txs"]) < state["capacity"]:
        ready = [
            (-state["txs"][tx_id]["fee"], tx_id)
            for tx_id in state["mempool"]
            if state["txs"][tx_id]["nonce"] == _confirmed(state, state["txs"][tx_id]["sender"])
            and state["txs"][tx_id]["fee"] >= state["min_fee"]
        ]
        if not ready:
            break
        _, tx_id = min(ready)
        state["mempool"].remove(tx_id)
        body = state["txs"][tx_id]
        results = {thing: _would(state, thing) for thing in body["items"]}
        paid = {thing: _about(state, thing).get("reward", 0) for thing, word in results.items() if word == "ok"}
        block["txs"].append({"id": tx_id, "results": results, "paid": paid})
        state["mempool"] = [
            other
            for other in state["mempool"]
            if (state["txs"][other]["sender"], state["txs"][other]["nonce"]) != (body["sender"], body["nonce"])
        ]


def _canonical(state: State) -> Iterator[tuple[State, State]]:
    for block in state["blocks"]:
        for tx in block["txs"]:
            yield block, tx


def _confirmed(state: State, sender: str) -> int:
    return sum(state["txs"][tx["id"]]["sender"] == sender for _, tx in _canonical(state))


def _balance(state: State, sender: str) -> int:
    mine = [tx for _, tx in _canonical(state) if state["txs"][tx["id"]]["sender"] == sender]
    changes: list[int] = [sum(tx["paid"].values()) - state["txs"][tx["id"]]["fee"] for tx in mine]
    return FUNDS + sum(changes)


def _about(state: State, thing: str) -> dict[str, Any]:
    return next((block["things"][thing] for block in state["blocks"] if thing in block["things"]), {})


def _would(state: State, thing: str) -> str:
    if any(tx["results"].get(thing) == "ok" for _, tx in _canonical(state)):
        return ALREADY
    known = _about(state, thing)
    if not known:
        return UNKNOWN
    return BROKEN if known.get("broken") else "ok"


def _due(state: State) -> dict[str, Any]:
    done = {thing for _, tx in _canonical(state) for thing, result in tx["results"].items() if result == "ok"}
    return {thing: about for block in state["blocks"] for thing, about in block["things"].items() if thing not in done}


def _receipt(state: State) -> Receipt:
    tip = state["blocks"][-1]
    return Receipt(height=tip["height"], hash=tip["hash"], burn_height=tip["burn"], sequence=state["sequence"])


class ToyReader(Reader):
    """Reads the world in place of GraphQL."""

    def __init__(self, world: World) -> None:
        super().__init__("http://toy.test/graphql")
        self._world = world

    async def query(
        self, document: str, variables: Mapping[str, Any] | None = None, *, as_of: str | None = None
    ) -> tuple[dict[str, Any], Receipt]:
        raise GraphError("the toy chain has no GraphQL")

    async def tip(self) -> Receipt:
        return _receipt(self._world.read())

    async def new_blocks(self) -> AsyncIterator[None]:
        known = -1
        while True:
            sequence = self._world.sequence()
            if sequence != known:
                known = sequence
                yield
            await asyncio.sleep(0.03)

    async def transactions(self, ids: Sequence[bytes]) -> tuple[dict[bytes, MinedTransaction], Receipt]:
        raise GraphError("the toy executor reads the world itself")


@dataclass(frozen=True)
class ToyState:
    """What is due, and the price of now."""

    receipt: Receipt
    due: Mapping[str, Any]
    price: int


class ToyJob(Job[ToyState]):
    """Does the things that name it."""

    def __init__(self, world: World, name: str, lane: Lane, batch_size: int, *, depth: int = 0) -> None:
        self._world = world
        self.name = name
        self.lane = lane
        self.batch_size = batch_size
        self.depth = depth

    async def read(self, reader: Reader) -> ToyState:
        state = self._world.read()
        if state["silent"]:
            raise GraphError("the index does not answer")
        return ToyState(_receipt(state), _due(state), state["price"])

    def check(self, state: ToyState) -> list[Intent]:
        return [
            Intent(
                key=f"{self.name}:{thing}",
                job=self.name,
                item={"thing": thing, "price": state.price} if self.renews else {"thing": thing},
                value_usd8=about.get("value", 0),
                reward=Amount(token="STX", amount=about["reward"]) if "reward" in about else None,
                cause="it is due",
                entity=about.get("entity", ""),
            )
            for thing, about in state.due.items()
            if about["job"] == self.name
        ]

    def outcomes(self, items: Sequence[Item], result: Any) -> list[Outcome]:
        results, paid = result
        return [_outcome(results[thing], paid.get(thing, 0)) for thing in (str(item["thing"]) for item in items)]


class ToyPrice(ToyJob):
    """Says the price of now in its transactions."""

    renews = True


class ToyNotice(ToyJob):
    """Things for people to see; nothing is done about their entities."""

    chain = "none"
    holds = True


def _outcome(result: str, paid: int = 0) -> Outcome:
    match result:
        case "ok":
            return Outcome(Verdict.DONE, "done", earned=Amount(token="STX", amount=paid) if paid else None)
        case "done already":
            return Outcome(Verdict.DONE, ALREADY, benign=True)
        case "no such thing":
            return Outcome(Verdict.AGAIN, UNKNOWN)
        case _:
            return Outcome(Verdict.FAILED, result)


class ToyExecutor:
    """One account on the toy chain."""

    chain: Final = "stacks"

    def __init__(self, world: World, address: str) -> None:
        self._world = world
        self.address = address
        #: Height of the tip at which what was signed was simulated last, by transaction.
        self.simulated_at: dict[bytes, int] = {}

    def _state(self) -> State:
        state = self._world.read()
        if state["down"]:
            raise ExecutorError("the node does not answer")
        return state

    async def room(self, live: Sequence[Outgoing]) -> Room:
        state = self._state()
        confirmed = _confirmed(state, self.address)
        taken = {one.nonce for one in live}
        free = tuple(nonce for nonce in range(confirmed, confirmed + CHAINED) if nonce not in taken)
        pending = sum(one.newest.fee for one in live if one.nonce is not None and one.nonce >= confirmed)
        return Room(balance=_balance(state, self.address) - pending, nonces=free, confirmed=confirmed)

    async def draft(self, work: Work, receipt: Receipt, *, nonce: int | None) -> Draft | Declined:
        state = self._state()
        return self._declined(state, work) or Draft(
            fee=FEE,
            contract="toy",
            function="do",
            unsigned=_body(work),
            outcomes=_foretold(state, work),
        )

    async def over(self, work: Work) -> Sequence[Outcome | None]:
        return [outcome if outcome.benign else None for outcome in _foretold(self._state(), work)]

    async def sign(self, draft: Draft, work: Work, *, nonce: int | None) -> Signed | Declined:
        state = self._state()
        if declined := self._declined(state, work):
            return declined
        signed = self._signed(draft, nonce)
        self.simulated_at[signed.tx_id] = state["blocks"][-1]["height"]
        return signed

    async def sign_release(self, draft: Draft, outgoing: Outgoing) -> Signed:
        return self._signed(draft, outgoing.nonce)

    def _signed(self, draft: Draft, nonce: int | None) -> Signed:
        body = {"sender": self.address, "nonce": nonce, "fee": draft.fee, **draft.unsigned}
        return Signed(tx_id=bytes.fromhex(_hash(body)), raw=json.dumps(body).encode(), fee=draft.fee)

    async def broadcast(self, signed: Signed | Attempt) -> Broadcast:
        body, tx_id = json.loads(signed.raw), signed.tx_id.hex()
        self._state()
        with self._world.changing() as state:
            confirmed = _confirmed(state, self.address)
            if set(body["items"]) & set(state["unsendable"]):
                return Broadcast(taken=Taken.STOP, reason="BadFunctionArgument")
            if body["nonce"] < confirmed:
                return Broadcast(taken=Taken.SPENT, reason="BadNonce")
            if body["nonce"] >= confirmed + CHAINED:
                return Broadcast(taken=Taken.LATER, reason="TooMuchChaining")
            rivals = [
                other
                for other in state["mempool"]
                if state["txs"][other]["sender"] == self.address and state["txs"][other]["nonce"] == body["nonce"]
            ]
            if tx_id not in rivals:
                if any(state["txs"][other]["fee"] >= body["fee"] for other in rivals):
                    return Broadcast(taken=Taken.REPLACE, reason="ConflictingNonceInMempool")
                state["txs"][tx_id] = body
                state["mempool"] = [other for other in state["mempool"] if other not in rivals] + [tx_id]
        return Broadcast(taken=Taken.SENT, nodes=("toy",))

    async def follow(self, outgoings: Sequence[Outgoing]) -> tuple[Mapping[int, Seen], Receipt]:
        state = self._state()
        receipt = _receipt(state)
        mined = {tx["id"]: (block, tx) for block, tx in _canonical(state)}
        confirmed = _confirmed(state, self.address)
        seen = {}
        for one in outgoings:
            attempt = next((a for a in one.attempts if a.tx_id.hex() in mined), None)
            if attempt is not None:
                block, tx = mined[attempt.tx_id.hex()]
                seen[one.id] = Seen(
                    fate=Fate.MINED,
                    tx_id=attempt.tx_id,
                    height=block["height"],
                    block_hash=bytes.fromhex(block["hash"]),
                    final=receipt.height - block["height"] >= FINAL_AFTER,
                    status="success",
                    result=(tx["results"], tx["paid"]),  # type: ignore[arg-type]
                    fee=attempt.fee,
                )
            elif one.nonce is not None and one.nonce < confirmed:
                seen[one.id] = Seen(
                    fate=Fate.DISPLACED,
                    reason=f"nonce {one.nonce} was used by another transaction",
                    final=one.state == "displaced" and receipt.height - one.height >= FINAL_AFTER,
                )
            elif any(a.tx_id.hex() in state["mempool"] for a in one.attempts):
                seen[one.id] = Seen(fate=Fate.PENDING)
            else:
                seen[one.id] = Seen(fate=Fate.DROPPED)
        return seen, receipt

    async def replacement(
        self, outgoing: Outgoing, work: Work | None, receipt: Receipt, *, wanted: bool
    ) -> Draft | Declined | None:
        highest = max(attempt.fee for attempt in outgoing.attempts)
        if not (wanted or receipt.height - outgoing.height >= STUCK_AFTER) or highest * 2 > FEE_CAP:
            return None
        if work is None:
            return Draft(fee=highest * 2, contract="toy", function="release", unsigned={"items": []})
        return self._declined(self._state(), work) or Draft(
            fee=highest * 2, contract="toy", function="do", unsigned=_body(work)
        )

    @staticmethod
    def _declined(state: State, work: Work) -> Declined | None:
        """Where it would do nothing."""
        outcomes = _foretold(state, work)
        would_do = any(outcome.verdict is Verdict.DONE and not outcome.benign for outcome in outcomes)
        return None if would_do else Declined(outcomes=outcomes)


def _body(work: Work) -> dict[str, Any]:
    said: dict[str, Any] = {"items": [item["thing"] for item in work.items]}
    return {**said, "prices": [item["price"] for item in work.items]} if work.job.renews else said


def _foretold(state: State, work: Work) -> tuple[Outcome, ...]:
    return tuple(_outcome(_would(state, str(item["thing"]))) for item in work.items)


#: Who has which lane.
ACCOUNTS: Final = {"hurry": [Lane.RESCUE], "rest": [Lane.SETTLE, Lane.UPKEEP]}


def settings(*, lease_seconds: int = 2, hourly_budget: int | None = None, **given: Any) -> Settings:
    """Settings of a keeper with two accounts."""
    accounts = {
        name: KeeperAccount(signer=f"file:/{name}", lanes=lanes, hourly_budget=hourly_budget)
        for name, lanes in ACCOUNTS.items()
    }
    return Settings(keeper=Keeper(accounts=accounts, lease_seconds=lease_seconds, **given))


def toy_jobs(world: World) -> list[Job[Any]]:
    """Three kinds of work in three lanes, and one that people have to look at."""
    return [
        ToyNotice(world, "watch", Lane.UPKEEP, 1),
        ToyJob(world, "rescue", Lane.RESCUE, 1),
        ToyJob(world, "settle", Lane.SETTLE, 3),
        ToyJob(world, "upkeep", Lane.UPKEEP, 2),
        ToyPrice(world, "price", Lane.UPKEEP, 1),
    ]


def toy_engine(
    world: World,
    observer: Observer | None = None,
    *,
    jobs: Sequence[Job[Any]] | None = None,
    executors: Mapping[str, ToyExecutor] | None = None,
    **given: Any,
) -> Engine:
    """An engine on the toy chain."""
    parts = Parts(
        jobs=toy_jobs(world) if jobs is None else jobs,
        readers={"stacks": ToyReader(world)},
        executors=executors or {name: ToyExecutor(world, name.upper()) for name in ACCOUNTS},
    )
    return Engine(settings(**given), world.url, parts, observer or Observer(), wake_seconds=0.5)
