"""Identical subscriptions as one: read, executed and serialised once, then written to every member.

A group stands at one position of its source and writes what comes after it to all members that stand there too. Who
comes with an older position, or does not take what is written, is brought up alone, at its own pace: from what the
group still has or else from the log. Then it is a member, and has missed nothing.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Sequence
from contextvars import Context
from dataclasses import dataclass, replace
from typing import Any, Final

import psycopg
import structlog
from graphql import GraphQLError

from clarion_graphql.change_log import FinalBlock
from clarion_graphql.errors import ApiError, Code
from clarion_graphql.feed import Feed
from clarion_graphql.live.frames import Message
from clarion_graphql.live.members import GoneError, InStep, Member, TooSlowError
from clarion_graphql.live.sources import LogSource, Source, StateSource
from clarion_graphql.live.touched import TouchedTables
from clarion_graphql.metrics import SUBSCRIPTIONS
from clarion_graphql.shared_reads import SharedReads

log = structlog.get_logger(__name__)

#: How long is waited before the database is asked again after it did not answer, in seconds.
RETRY_S: Final = 1.0
#: How long a client may take nothing of what waits for it, in seconds. Then it is told, and its connection ends.
STALL_S: Final = 15.0
#: Most messages, and bytes of them, that a group keeps for those who come with a position that is not long ago.
KEPT_MESSAGES: Final = 512
KEPT_BYTES: Final = 1 << 20

Render = Callable[[Any], Awaitable[bytes]]
#: What the feed had said when the log was read, up to where it was read, and the messages.
_Found = tuple[int | None, int, Sequence[Message]]
#: What a part was like, and the message that told of it.
_Told = tuple[Hashable, Message]


class Group(ABC):
    """The members of one subscription, and what is written to them."""

    def __init__(self, feed: Feed, render: Render, *, stall_s: float, abandoned: Callable[[], None]) -> None:
        self._feed = feed
        self._render = render
        self._stall_s = stall_s
        self._abandoned = abandoned
        self._in_step = InStep(self._fall_behind)
        self._coming: set[Member] = set()
        self._running: asyncio.Task[None] | None = None

    def admit(self, member: Member) -> None:
        """Send a member what it has not had, and then everything that comes."""
        SUBSCRIPTIONS.inc()
        self._coming.add(member)
        if not self._welcome(member):
            self._bring_up_later(member)

    def leave(self, member: Member) -> None:
        """Send a member nothing more."""
        if member.task is not None:
            member.task.cancel()
        if member.in_step is not None:
            self._in_step.remove(member)
        elif member in self._coming:
            self._coming.remove(member)
        else:
            return
        SUBSCRIPTIONS.dec()
        if not self._in_step and not self._coming:
            self._end()

    def _end(self) -> None:
        if self._running is not None:
            self._running.cancel()
        self._abandoned()

    def _bring_up_later(self, member: Member) -> None:
        member.task = asyncio.create_task(self._admit(member))

    async def _admit(self, member: Member) -> None:
        try:
            while not self._welcome(member):
                await member.until_ready(self._stall_s)
                await self._bring_up(member)
        except GoneError:
            return  # the connection's end makes it leave
        except TooSlowError:
            self._tell_too_slow(member)
        except Exception as error:  # whatever it is, the client is told, and the log where it is a defect
            member.task = None
            self.leave(member)
            member.fail([_as_graphql_error(error)])

    def _welcome(self, member: Member) -> bool:
        """Make it a member where everything that it has not had is at hand and it takes it."""
        waiting = self.after(member)
        if waiting is None:
            return False
        for message in waiting:
            if not member.outlet.ready:
                return False
            member.send(message)
        if member.position is None:
            member.position = 0
        self._coming.discard(member)
        self._in_step.add(member)
        member.task = None
        return True

    def _tell_too_slow(self, member: Member) -> None:
        sequence = None if member.sequence is None else str(member.sequence)
        member.task = None
        self.leave(member)
        where = "" if sequence is None else f" The last message was of sequence {sequence}: go on with since."
        member.fail(
            [
                ApiError(
                    Code.TOO_SLOW,
                    f"Nothing was read from this connection for {self._stall_s:g} seconds.{where}",
                    sequence=sequence,
                )
            ],
            too_slow=True,
        )

    def _fail(self, error: Exception) -> None:
        self._reset()
        members = self._in_step.all()
        for member in members:
            self.leave(member)
        for member in members:
            member.fail([_as_graphql_error(error)])

    def _fall_behind(self, member: Member) -> None:
        self._coming.add(member)
        self._bring_up_later(member)

    @abstractmethod
    def after(self, member: Member) -> Sequence[Message] | None:
        """The messages after a member's position up to the group's; None where they are not at hand."""

    @abstractmethod
    async def _bring_up(self, member: Member) -> None:
        """Send a member some of what it has not had, or wait until that is at hand."""

    @abstractmethod
    def _reset(self) -> None:
        """Be as before it had begun: those who come find out themselves."""


@dataclass(frozen=True, slots=True)
class _Final:
    """Which block was final when a group stood ``at`` its position, and the message that tells of it."""

    at: int
    block: bytes | None
    message: Message | None


class LogGroup(Group):
    """Members that follow a chain's log."""

    def __init__(
        self,
        source: LogSource[Any],
        feed: Feed,
        reads: SharedReads,
        touched: TouchedTables,
        render: Render,
        **options: Any,
    ) -> None:
        super().__init__(feed, render, **options)
        self._touched = touched
        self._source = source
        self._reads = reads
        self._head: int | None = None
        self._low = 0
        self._kept: deque[Message] = deque()
        self._kept_bytes = 0
        self._start: tuple[int, Message] | None = None
        self._final: _Final | None = None
        self._ahead: FinalBlock | None = None
        """What was found to be final where the log stood further than the group does."""
        self._found: FinalBlock | None = None
        """What was last found to be final."""
        self._told_final: bytes | None = None
        """The final block that all who are in step were told of."""
        self._moved = asyncio.get_running_loop().create_future()
        """Done when the group stands elsewhere, or has found out what is final there; failed when the group has."""

    def after(self, member: Member) -> Sequence[Message] | None:
        """The messages after a member's position up to the group's; None where they are not at hand."""
        head, position, messages = self._head, member.position, list[Message]()
        if head is None:
            return None
        if position is None:
            if self._start is None or self._start[0] != self._feed.turn(self._source.chain):
                return None
            messages.append(self._start[1])
            position = self._start[1].position
        if not self._low <= position <= head:  # above it stands who heard of a commit before the group did
            return None
        if self._kept and self._kept[-1].position > position:
            messages += (message for message in self._kept if message.position > position)
        if self._source.final is not None:
            if self._final is None or self._final.at != head:
                return None
            if self._final.message is not None and self._final.block != member.final:
                messages.append(self._final.message)
        return messages

    async def _bring_up(self, member: Member) -> None:
        if member.position is None:
            member.send(await self._read_start())
            return
        began_at, sent = member.position, deque[Message](maxlen=KEPT_MESSAGES)
        while self.after(member) is None:
            position = member.position
            if self._head is not None and (position == self._head or (position > self._head and member.checked)):
                # the group has still to come there, or to find out what is final there
                member.checked = False
                await asyncio.shield(self._moved)
                continue
            found = await self._read(position)
            if found is None:
                continue
            _, up_to, messages = found
            for message in messages:
                await member.until_ready(self._stall_s)
                if len(sent) == KEPT_MESSAGES:
                    began_at = sent[0].position
                member.send(message)
                sent.append(message)
            member.position, member.checked = up_to, True
            if self._head is None and up_to == position:
                self._begin(up_to, began_at, sent)

    async def _read_start(self) -> Message:
        """The message that says where a subscription begins. The group begins there where it has not."""
        chain = self._source.chain
        turn = self._feed.turn(chain)

        async def load() -> tuple[int, Message]:
            at = await self._source.start()
            body = await self._render(self._source.show_start(at))
            return turn, Message(at.sequence, at.sequence, body)

        self._start = await self._reads.read((self, "start", turn), load)
        if self._head is None:
            position = self._start[1].position
            self._begin(position, position, ())
        return self._start[1]

    def _welcome(self, member: Member) -> bool:
        welcome = super()._welcome(member)
        if welcome and self._final is not None:
            member.final = self._final.block
        return welcome

    def _fall_behind(self, member: Member) -> None:
        member.final = self._told_final
        super()._fall_behind(member)

    def _fail(self, error: Exception) -> None:
        self._wake(error)  # who waits for the group would only make it fail again
        super()._fail(error)

    def _reset(self) -> None:
        self._head, self._start, self._final, self._ahead, self._found = None, None, None, None, None
        self._kept.clear()
        self._kept_bytes = 0
        self._wake()

    def _wake(self, error: Exception | None = None) -> None:
        moved, self._moved = self._moved, asyncio.get_running_loop().create_future()
        if error is None:
            moved.set_result(None)
        else:
            moved.set_exception(error)
            moved.exception()  # nobody may wait

    def _begin(self, head: int, low: int, kept: Sequence[Message]) -> None:
        self._head, self._low = head, low
        self._keep(kept)
        self._running = asyncio.create_task(self._run(), context=Context())

    async def _read(self, position: int) -> _Found | None:
        """What the feed had said, up to where the log was read, and the messages; None: ask again."""

        async def load() -> _Found:
            # what the feed had said when the read began: the read may have begun for another member, long ago
            known = self._feed.sequence(self._source.chain)
            piece = await self._source.read(position)
            messages = [
                Message(entry.sequence, entry.sequence, await self._render(self._source.show(entry)))
                for entry in piece.entries
            ]
            return known, piece.up_to, messages

        try:
            return await self._reads.read((self, position), load)
        except psycopg.OperationalError as error:
            await _database_is_away(error)
            return None

    async def _run(self) -> None:
        chain = self._source.chain
        assert self._head is not None
        try:
            while True:
                head, turn = self._head, self._feed.turn(chain)
                found = await self._nothing(head) or await self._read(head)
                if found is None:
                    continue
                known, up_to, messages = found
                self._keep(messages)
                self._head = up_to
                if up_to == head:
                    self._ahead = None
                self._wake()
                if messages:
                    await self._in_step.publish(messages)
                if self._source.final is not None:
                    if await self._tell_final(turn):
                        await self._feed.turned(chain, turn)
                elif up_to == head:
                    await self._feed.changed(chain, known)
                elif self._feed.sequence(chain) == up_to:
                    await self._feed.changed(chain, up_to)
        except Exception as error:  # the members are told what it is, and the log where it is a defect
            self._fail(error)

    async def _tell_final(self, turn: int) -> bool:
        """Tell which block is final where that is another; False: the log stands elsewhere, read that first."""
        head, chain = self._head, self._source.chain
        assert head is not None
        assert self._source.final is not None
        found, known_before = self._ahead, self._ahead is not None
        if found is None:
            try:
                found = await self._reads.read(("final", chain, turn), self._source.final)
            except psycopg.OperationalError as error:
                await _database_is_away(error)
                return False
        if found.sequence > head:  # what is final stays so: it is told once the group has come there
            self._ahead = found
            return False
        if self._found is not None and found.sequence < self._found.sequence:
            found = self._found  # a read that another group began long ago
        self._ahead, self._found = None, found
        message, block = None, None if found.block is None else found.block.hash
        if found.block is not None:
            # who comes is told at the head: as `since` this message goes back behind no other
            body = await self._render(self._source.show_final(replace(found, sequence=head)))
            message = Message(head, head, body)
        before, self._final = self._final, _Final(head, block, message)
        self._wake()
        if message is not None and (before is None or before.block != block):
            await self._in_step.publish([message])
        self._told_final = block
        return not known_before  # there may be another by now

    async def _nothing(self, head: int) -> _Found | None:
        """That nothing came after the head, where none of the source's tables changed since; None: that it may have."""
        tables, chain = self._source.tables, self._source.chain
        known = self._feed.sequence(chain)
        if tables is None or known == head:
            return None
        try:
            touched = await self._touched.since(chain, head)
        except psycopg.OperationalError:
            return None
        if touched.sequence < head:  # the index was made anew: reading on says so
            return None
        return None if touched.any_of(tables) else (known, touched.sequence, ())

    def _keep(self, messages: Sequence[Message]) -> None:
        self._kept.extend(messages)
        self._kept_bytes += sum(len(message.body) for message in messages)
        while len(self._kept) > KEPT_MESSAGES or self._kept_bytes > KEPT_BYTES:
            gone = self._kept.popleft()
            self._kept_bytes -= len(gone.body)
            self._low = gone.position


class StateGroup(Group):
    """Members that are told what is so now. Who takes nothing for a while is told what is so then."""

    def __init__(self, source: StateSource, feed: Feed, reads: SharedReads, render: Render, **options: Any) -> None:
        super().__init__(feed, render, **options)
        self._source = source
        self._reads = reads
        self._told: dict[str, _Told] = {}
        self._version = 0
        self._known: asyncio.Future[None] | None = None

    def after(self, member: Member) -> Sequence[Message] | None:
        """The latest message of every part that came after a member's position; None before anything is known."""
        position = member.position
        if self._known is None or not self._known.done():
            return None
        messages = [message for _, message in self._told.values() if position is None or message.position > position]
        return sorted(messages, key=lambda message: message.position)

    async def _bring_up(self, member: Member) -> None:
        if self._known is None:
            self._known = asyncio.get_running_loop().create_future()
            self._running = asyncio.create_task(self._run(self._known), context=Context())
        await asyncio.shield(self._known)

    def _reset(self) -> None:
        self._known = None
        self._told.clear()

    async def _run(self, known: asyncio.Future[None]) -> None:
        try:
            while True:
                turns = {name: self._feed.turn(name) for name in self._source.heard_of}
                try:
                    told, messages = await self._reads.read((self, "state"), self._load)
                except psycopg.OperationalError as error:
                    await _database_is_away(error)
                    continue
                # from here on who comes is told of it, and until here nobody is: nothing may be said twice
                self._told = told
                if not known.done():
                    known.set_result(None)
                await self._in_step.publish(messages)
                await self._any_turned(turns)
        except Exception as error:  # the members are told what it is, and the log where it is a defect
            if not known.done():
                known.set_exception(error)
            self._fail(error)

    async def _load(self) -> tuple[dict[str, _Told], Sequence[Message]]:
        """What is to be told of every part now, and the messages that are new."""
        told: dict[str, _Told] = {}
        messages = []
        for state in await self._source.read():  # what is no longer told of may be of any number
            before = self._told.get(state.part)
            if before is None or before[0] != state.fingerprint:
                body = await self._render(state.root)
                self._version += 1
                before = state.fingerprint, Message(self._version, state.sequence, body)
                messages.append(before[1])
            told[state.part] = before
        return told, messages

    async def _any_turned(self, turns: dict[str, int]) -> None:
        waiting = [asyncio.create_task(self._feed.turned(name, turn)) for name, turn in turns.items()]
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waiting:
                task.cancel()


def _as_graphql_error(error: Exception) -> GraphQLError:
    if isinstance(error, GraphQLError):
        return error
    return GraphQLError(str(error), original_error=error)


async def _database_is_away(error: psycopg.OperationalError) -> None:
    log.warning("subscription.database_unavailable", error=str(error).strip(), retry_in_s=RETRY_S)
    await asyncio.sleep(RETRY_S)


def group_of(
    source: Source, feed: Feed, reads: SharedReads, touched: TouchedTables, render: Render, **options: Any
) -> Group:
    """The group that serves a source."""
    if isinstance(source, LogSource):
        return LogGroup(source, feed, reads, touched, render, **options)
    assert isinstance(source, StateSource)
    return StateGroup(source, feed, reads, render, **options)
