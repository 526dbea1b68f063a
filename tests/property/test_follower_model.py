"""A model of fork choice drives the store and the follower: any forks, duplicates, gaps, failures and takeovers.

The model knows the tree of blocks and the rules, and nothing of how they are kept. After every step the canonical chain
and the rows must be what it says; in the end rows and digests must be those of a fresh index of that chain, and whoever
followed the change log must hold the same rows.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import dataclass, field
from typing import Any, TypeVar

import psycopg
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from support import toy
from support.index import truncate_index

from clarion.chains.model import Block, BurnBlock, JsonValue
from clarion.follower import Follower
from clarion.ingest import ingest
from clarion.store.database import connect, create_database, drop_database, with_database
from clarion.store.store import FencedOutError, FinalBlockError, Store, UnknownBlockError

Accounts = dict[str, tuple[int, str, int]]
"""Balance, note and height of the last change, by owner."""

SOURCES = ("node", "other")
T = TypeVar("T")

NEVER_FINAL = 1_000
# a failure is printed with how to repeat it; making it smaller would take minutes
PHASES = (Phase.explicit, Phase.reuse, Phase.generate)
OWNERS = st.sampled_from(["alice", "bob", "carol"])
EVENTS = st.lists(
    st.one_of(st.builds(toy.move, OWNERS, st.integers(0, 2**128 - 1)), st.builds(toy.close, OWNERS)), max_size=3
)


@dataclass
class Model:
    """What is known, and what follows from it."""

    final_depth: int
    delivered: dict[bytes, Block] = field(default_factory=dict)
    burns: dict[bytes, BurnBlock] = field(default_factory=dict)
    burn_chain: list[bytes] = field(default_factory=list)
    """Bitcoin blocks that count, the lowest first; the first has height 1."""
    last_word: dict[str, bytes | None] = field(default_factory=dict)
    """The Bitcoin block that each source announced last; None where this process has not heard it."""
    tips: set[bytes | None] = field(default_factory=lambda: {None})
    """The canonical tip; several where the rules leave it open."""
    final: bytes | None = None
    """The highest block that was ever final."""

    def copy(self) -> Model:
        other = copy(self)
        other.delivered, other.burns, other.tips = dict(self.delivered), dict(self.burns), set(self.tips)
        other.burn_chain, other.last_word = list(self.burn_chain), dict(self.last_word)
        return other

    def chain(self, tip: bytes | None) -> list[Block]:
        """The blocks up to ``tip``, the lowest first."""
        blocks = []
        while (block := self.delivered.get(tip or b"")) is not None:
            blocks.append(block)
            tip = block.ref.parent_hash
        return blocks[::-1]

    def accounts(self, tip: bytes | None) -> Accounts:
        """The rows after the blocks up to ``tip``."""
        rows: Accounts = {}
        for block in self.chain(tip):
            assert block.burn is not None
            before = dict(rows)
            for event in block.events:
                assert isinstance(event.value, dict)
                owner = str(event.value["owner"])
                if event.topic == "account.closed":
                    rows.pop(owner, None)
                    before.pop(owner, None)
                    continue
                now = (int(str(event.value["balance-after"])), f"burn {block.burn.height}")
                was = before.get(owner)
                rows[owner] = (*now, block.height if was is None or was[:2] != now else was[2])
        return rows

    def deliver(self, item: Block | BurnBlock, source: str) -> None:
        if isinstance(item, BurnBlock):
            self._announce(item, source)
        else:
            self.delivered.setdefault(item.hash, item)
        self.choose()

    def _announce(self, burn: BurnBlock, source: str) -> None:
        self.burns[burn.hash] = burn
        last = self.last_word.get(source)
        alone = not self.last_word.keys() - {source}
        if last is None:
            own_word = alone
        else:
            own_word = last in self.burn_chain and (alone or self.burns[last].height >= burn.height)
        self.last_word[source] = burn.hash
        if burn.hash in self.burn_chain:
            return
        branch = [burn.hash]
        while (parent := self.burns[branch[-1]].parent_hash) in self.burns and parent not in self.burn_chain:
            branch.append(parent)
        fork = self.burn_chain.index(parent) + 1 if parent in self.burn_chain else 0
        if fork < len(self.burn_chain):
            if not own_word and burn.height <= len(self.burn_chain):
                return
            final = self.delivered[self.final].burn if self.final is not None else None
            if final is not None and final.height > fork:
                return
        self.burn_chain[fork:] = branch[::-1]

    def choose(self) -> None:
        """The highest valid block is the tip, and the one that was stays where none is higher."""
        valid = self._valid()
        best = max((self.delivered[block_hash].height for block_hash in valid), default=0)
        highest = {block_hash for block_hash in valid if self.delivered[block_hash].height == best} or {None}
        self.tips = set().union(*({tip} if tip in highest else highest for tip in self.tips))

    def _valid(self) -> set[bytes]:
        """Blocks that may be canonical: ancestors known, nothing final left, no Bitcoin block replaced."""
        final_chain = {block.hash for block in self.chain(self.final)}
        good: set[bytes] = set()
        for block in sorted(self.delivered.values(), key=lambda block: block.height):
            assert block.burn is not None
            known = block.height == 1 or block.ref.parent_hash in good
            replaced = block.burn.hash in self.burns and block.burn.hash not in self.burn_chain
            if block.hash in final_chain or (known and not replaced):
                good.add(block.hash)
        if self.final is None:
            return good
        return {block_hash for block_hash in good if self.final in {block.hash for block in self.chain(block_hash)}}

    def settle(self, tip: bytes | None) -> None:
        """The batch is committed and this is the tip: what lies deep enough is final."""
        self.tips = {tip}
        chain = self.chain(tip)
        if not chain or not self.burn_chain:
            return
        top = min(len(self.burn_chain), _burn_height(chain[-1]))
        for block in chain:
            assert block.burn is not None
            if block.burn.hash in self.burn_chain and block.burn.height <= top - self.final_depth:
                self.final = max(self.final, block.hash, key=self._height)

    def _height(self, block_hash: bytes | None) -> int:
        return 0 if block_hash is None else self.delivered[block_hash].height


def _burn_height(block: Block) -> int:
    assert block.burn is not None
    return block.burn.height


def pick(data: st.DataObject, sequence: Sequence[T]) -> T:
    """An element, shown as its place."""
    return sequence[data.draw(st.integers(0, len(sequence) - 1))]


class InterruptedBatchError(RuntimeError):
    """A batch that fails in the middle."""


class Subscriber:
    """Somebody who held the rows at a sequence and applies the changes after it."""

    def __init__(self, sequence: int, rows: Accounts) -> None:
        self.sequence = sequence
        self.rows = {json.dumps([owner]): row for owner, row in rows.items()}

    def rows_now(self, connection: psycopg.Connection[Any]) -> Accounts:
        rows = dict(self.rows)
        for key, after in connection.execute(
            "SELECT key, after FROM clarion.change WHERE sequence > %s ORDER BY sequence", (self.sequence,)
        ):
            if after is None:
                del rows[json.dumps(key)]
            else:
                rows[json.dumps(key)] = (int(after["balance"]), after["note"], after["updated_height"])
        return {json.loads(key)[0]: row for key, row in rows.items()}


class FollowerMachine(RuleBasedStateMachine):
    """Steps that a chain, its sources and the processes that follow it may take."""

    def __init__(self, connection: psycopg.Connection[Any], *, final_depth: int, batches: int) -> None:
        super().__init__()
        self.connection = connection
        self.final_depth = final_depth
        self.batches = batches
        self.undone = connection.transaction(force_rollback=True)
        self.undone.__enter__()
        self.model = Model(final_depth)
        self.blocks: list[Block] = []
        self.burns: list[BurnBlock] = []
        self.unsent: list[Block] = []
        self.subscribers = [Subscriber(0, {})]
        self.store = self.open_store()
        self.follower = Follower()
        self.sound = False

    def open_store(self) -> Store:
        store = Store(self.connection, "stacks", [toy.deployed()], final_depth=self.final_depth)
        store.open()
        return store

    @initialize()
    def begin(self) -> None:
        first = BurnBlock(1, toy.digest_of("burn", 1), bytes(32), 600)
        self.burns.append(first)
        self.ingest([first], "node")

    def ingest(self, items: Sequence[Block | BurnBlock], source: str) -> None:
        self.sound = False
        for item in items:
            self.model.deliver(item, source)
        ingest(self.store, self.follower, items, source=source)
        assert self.store.tip.hash in self.model.tips
        self.model.settle(self.store.tip.hash)
        self.sound = True

    @rule(data=st.data(), source=st.sampled_from(SOURCES))
    def new_burn_block(self, data: st.DataObject, source: str) -> None:
        """Bitcoin goes on, or another branch of it does."""
        self.ingest([self.burn_on(pick(data, self.burns[-1:] * 3 + self.burns[-4:]))], source)

    def burn_on(self, parent: BurnBlock) -> BurnBlock:
        height = parent.height + 1
        burn = BurnBlock(height, toy.digest_of("burn", height, len(self.burns)), parent.hash, height * 600)
        self.burns.append(burn)
        return burn

    @rule(data=st.data(), source=st.sampled_from(SOURCES))
    def known_burn_block(self, data: st.DataObject, source: str) -> None:
        """A Bitcoin block is announced again: by a source that repeats itself, or by one that is behind."""
        self.ingest([pick(data, self.burns[-5:])], source)

    @rule(data=st.data(), values=EVENTS, count=st.integers(1, 4), sent=st.booleans())
    def mine(self, data: st.DataObject, values: list[dict[str, JsonValue]], count: int, sent: bool) -> None:
        """Blocks on any block, of which nobody may have heard yet."""
        parent = pick(data, [*self.blocks[-1:] * 4, *self.blocks[-8:], None])
        mined = []
        for _ in range(count):
            burn = self.burn_for(data, parent)
            parent = toy.block(parent, values, branch=str(len(self.blocks)), burn=burn)
            self.blocks.append(parent)
            mined.append(parent)
        if sent:
            self.in_batches(mined)
        else:
            self.unsent += mined

    def burn_for(self, data: st.DataObject, parent: Block | None) -> BurnBlock:
        """A Bitcoin block that descends from the one of the parent, or that one."""
        if parent is None:
            return pick(data, self.burns[:3])
        known = {burn.hash: burn for burn in self.burns}
        assert parent.burn is not None
        descendants = []
        for burn in self.burns[-6:]:
            at: BurnBlock | None = burn
            while at is not None and at.hash != parent.burn.hash:
                at = known.get(at.parent_hash or b"")
            if at is not None:
                descendants.append(burn)
        return pick(data, [parent.burn, *descendants[-1:], *descendants])

    def in_batches(self, blocks: Sequence[Block], source: str = "node") -> None:
        for start in range(0, len(blocks), self.batches):
            self.ingest(blocks[start : start + self.batches], source)

    @rule(data=st.data(), source=st.sampled_from(SOURCES))
    def late(self, data: st.DataObject, source: str) -> None:
        """Blocks that were held back come, in any order, and not all of them."""
        if not self.unsent:
            return
        order = data.draw(st.permutations(range(len(self.unsent))))[: data.draw(st.integers(1, len(self.unsent)))]
        blocks = [self.unsent[place] for place in order]
        self.unsent = [block for block in self.unsent if block not in blocks]
        self.in_batches(blocks, source)

    @rule(data=st.data())
    def again(self, data: st.DataObject) -> None:
        """Blocks come again."""
        if self.model.delivered:
            known = list(self.model.delivered.values())
            self.in_batches([pick(data, known) for _ in range(data.draw(st.integers(1, 4)))])

    @rule()
    def restart(self) -> None:
        """The process ends, and another one goes on."""
        self.store = self.open_store()
        self.forget_last_words()

    def forget_last_words(self) -> None:
        self.model.last_word = dict.fromkeys(self.model.last_word)
        self.follower = Follower(known_sources=self.model.last_word)

    @rule(data=st.data(), source=st.sampled_from(SOURCES))
    def fails_and_is_tried_again(self, data: st.DataObject, source: str) -> None:
        """A batch fails at its end, as when the database goes away, and comes again later or at once."""
        items: list[Block | BurnBlock] = [*self.unsent[: self.batches]]
        if data.draw(st.booleans()):
            items = [self.burn_on(pick(data, self.burns[-4:]))]
        before = self.model.copy()
        with pytest.raises(InterruptedBatchError), self.connection.transaction():
            ingest(self.store, self.follower, items, source=source, settle=self.interrupt)
        self.model = before
        if any(isinstance(item, BurnBlock) for item in items):
            self.ingest(items, source)
        assert (self.store.tip.hash,) == tuple(self.model.tips)

    @staticmethod
    def interrupt(connection: psycopg.Connection[Any]) -> None:
        raise InterruptedBatchError

    @rule()
    def another_takes_over(self) -> None:
        """A second writer opens the chain; the first is refused and changes nothing."""
        second = self.open_store()
        with pytest.raises(FencedOutError):
            ingest(self.store, self.follower, self.unsent[:2], source="node")
        self.store = second
        self.forget_last_words()

    @rule(data=st.data())
    def final_blocks_are_not_rolled_back(self, data: st.DataObject) -> None:
        height = data.draw(st.integers(-1, self.model._height(self.model.final)))
        if self.model.final is None or height == self.model._height(self.model.final):
            return
        with pytest.raises((FinalBlockError, UnknownBlockError)), self.store.batch() as batch:
            batch.rollback(height)

    @rule()
    def somebody_subscribes(self) -> None:
        self.subscribers.append(Subscriber(self.store.tip.sequence, self.rows()))

    def rows(self) -> Accounts:
        found = self.connection.execute("SELECT owner, balance, note, updated_height FROM toy.account").fetchall()
        return {owner: (int(balance), note, height) for owner, balance, note, height in found}

    def canonical(self) -> list[tuple[int, bytes, bytes]]:
        return self.connection.execute(
            "SELECT height, hash, clarion.digest_at(chain, height) FROM clarion.canonical_block ORDER BY height"
        ).fetchall()

    def digests(self) -> list[tuple[Any, ...]]:
        return self.connection.execute(
            "SELECT protocol, generation, height, digest FROM clarion.digest ORDER BY protocol, height"
        ).fetchall()

    @invariant()
    def is_what_the_model_says(self) -> None:
        (tip,) = self.model.tips
        hashes = self.connection.execute("SELECT hash FROM clarion.canonical_block ORDER BY height").fetchall()
        assert [block_hash for (block_hash,) in hashes] == [block.hash for block in self.model.chain(tip)]
        assert self.rows() == self.model.accounts(tip)
        burns = self.connection.execute("SELECT hash FROM clarion.canonical_burn_block ORDER BY height").fetchall()
        assert [burn_hash for (burn_hash,) in burns] == self.model.burn_chain
        final = None if self.model.final is None else self.model.delivered[self.model.final].height
        assert self.store.final_height == final

    def teardown(self) -> None:
        try:
            if self.sound:
                self.check_the_end()
        finally:
            self.undone.__exit__(None, None, None)

    def check_the_end(self) -> None:
        (tip,) = self.model.tips
        for subscriber in self.subscribers:
            assert subscriber.rows_now(self.connection) == self.rows()
        assert self.applied_and_retracted() == [block.hash for block in self.model.chain(tip)]
        assert self.connection.execute("SELECT count(*) FROM clarion.block").fetchone() == (len(self.model.delivered),)
        held = (self.rows(), self.canonical(), self.digests())
        assert self.connection.execute("SELECT digest FROM clarion.cursor").fetchone() == (self.store.tip.digest,)
        if held[1]:
            assert held[1][-1][2] == self.store.tip.digest
        with self.connection.transaction(force_rollback=True):
            truncate_index(self.connection, "toy.account")
            ingest(self.open_store(), Follower(), self.model.chain(tip))
            assert (self.rows(), self.canonical(), self.digests()) == held

    def applied_and_retracted(self) -> list[bytes]:
        """The chain as somebody has it who follows the steps."""
        chain: list[bytes] = []
        for op, block_hash in self.connection.execute("SELECT op, hash FROM clarion.step ORDER BY sequence"):
            if op == "apply":
                chain.append(block_hash)
            else:
                assert chain.pop() == block_hash
        return chain


@pytest.fixture(scope="module")
def connection(postgres_url: str, template_database: str) -> Iterator[psycopg.Connection[Any]]:
    url = with_database(postgres_url, f"{template_database}_model")
    create_database(url, template=template_database)
    with connect(url, autocommit=True) as opened:
        toy.create_tables(opened)
        yield opened
    drop_database(url)


#: How deep a block is final, and how many blocks make a batch at most. What is final within a batch is left open by the
#: rules, so there are batches only where nothing is.
WORLDS = [pytest.param(NEVER_FINAL, 5, id="any depth"), pytest.param(2, 1, id="final at two")]


def run(connection: psycopg.Connection[Any], final_depth: int, batches: int, *, examples: int, steps: int) -> None:
    run_state_machine_as_test(
        lambda: FollowerMachine(connection, final_depth=final_depth, batches=batches),
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            phases=PHASES,
            suppress_health_check=list(HealthCheck),
            print_blob=True,
        ),
    )


@pytest.mark.parametrize(("final_depth", "batches"), WORLDS)
def test_the_index_is_what_the_model_says(connection: psycopg.Connection[Any], final_depth: int, batches: int) -> None:
    run(connection, final_depth, batches, examples=25, steps=20)


@pytest.mark.slow
@pytest.mark.parametrize(("final_depth", "batches"), WORLDS)
def test_the_index_is_what_the_model_says_after_long(
    connection: psycopg.Connection[Any], final_depth: int, batches: int
) -> None:
    run(connection, final_depth, batches, examples=300, steps=40)
