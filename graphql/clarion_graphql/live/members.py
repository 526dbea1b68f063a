"""Who is sent a subscription's messages: members, and those of them that are in step.

Thousands of members get the same bytes at once, but for the names that their operations have, and what each of them
consists of has left the processor's caches since the last time. So what is the same for all that are in step is kept
once, and writing to one of them looks at its outlet alone.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import compress
from typing import Final

from graphql import GraphQLError

from clarion_graphql.errors import show_errors
from clarion_graphql.live.frames import Envelope, Message, Segments
from clarion_graphql.live.outlets import Outlet
from clarion_graphql.metrics import MESSAGES

#: Messages are written to a client together up to this size.
_PACKET_BYTES: Final = 32 * 1024
#: To how many members is written before others may go on.
_AT_ONCE: Final = 250

Offer = Callable[[bytes], bool]


class TooSlowError(Exception):
    """A client took nothing for too long."""


class GoneError(Exception):
    """A client's connection has ended."""


class Member:
    """One operation of one client.

    ``position``: it was sent everything up to there; None: it begins now. ``sequence``: of the last message it was
    sent. ``ended`` is called once, when no more will come, with whether that is because the client does not take it.
    """

    __slots__ = (
        "_joined",
        "_position",
        "_sequence",
        "_started",
        "checked",
        "ended",
        "envelope",
        "final",
        "in_step",
        "offer",
        "outlet",
        "task",
    )

    def __init__(self, outlet: Outlet, envelope: Envelope, ended: Callable[[bool], None]) -> None:
        self.outlet = outlet
        self.envelope = envelope
        self.ended = ended
        self.offer: Final[Offer] = outlet.offer
        self.in_step: InStep | None = None
        """Those that it is in step with; None where it is brought up alone."""
        self.checked = False
        """Whether the position is known to be one of this index; a client may name any."""
        self.final: bytes | None = None
        """The final block that it was told of, where it is brought up alone."""
        self.task: asyncio.Task[None] | None = None
        self._position: int | None = None
        self._sequence: int | None = None
        self._started = False
        self._joined = 0

    @property
    def position(self) -> int | None:
        """It was sent everything up to there; None: it begins now."""
        step = self._moved
        return self._position if step is None else step.position

    @position.setter
    def position(self, position: int | None) -> None:
        self._position = position

    @property
    def sequence(self) -> int | None:
        """Of the last message it was sent."""
        step = self._moved
        return self._sequence if step is None else step.sequence

    @property
    def started(self) -> bool:
        """Whether it was sent any message."""
        return self._started or self._moved is not None

    @property
    def _moved(self) -> InStep | None:
        """Those that it is in step with, where anything was sent since it joined them."""
        step = self.in_step
        return step if step is not None and step.packets > self._joined else None

    def join(self, in_step: InStep, packets: int) -> None:
        """It is sent what they are, once so many packets were."""
        self.in_step, self._joined = in_step, packets

    def part(self) -> None:
        """It stands alone, where they were."""
        self._position, self._sequence, self._started = self.position, self.sequence, self.started
        self.in_step = None

    def send(self, message: Message) -> None:
        """Write one message."""
        self.outlet.write(self.envelope.next(message))
        self._position, self._sequence = message.position, message.sequence
        self._started = self.checked = True
        MESSAGES.inc()

    def fail(self, errors: Sequence[GraphQLError], *, too_slow: bool = False) -> None:
        """Say why nothing more comes."""
        shown = list(errors)
        show_errors(shown)
        said = [dict(error.formatted) for error in shown]
        if self.started:
            self.outlet.write(self.envelope.failed(said))
            self.outlet.write(self.envelope.complete())
        else:
            self.outlet.write(self.envelope.refused(said))
        self.ended(too_slow)

    async def until_ready(self, stall_s: float) -> None:
        """Wait until it takes more. Raises TooSlowError, GoneError."""
        if self.outlet.ready:
            return
        if not self.outlet.closed:
            try:
                async with asyncio.timeout(stall_s):
                    await self.outlet.drained()
            except TimeoutError:
                raise TooSlowError from None
        if self.outlet.closed:
            raise GoneError


class _Alike:
    """Members that are written the same bytes but for their own names.

    By the identities of their offers, for those of two operations on one connection are equal.
    """

    def __init__(self) -> None:
        self.offers: dict[int, Offer] = {}
        self.names: dict[int, bytes] = {}
        self.members: dict[int, Member] = {}
        self._count = Counter[bytes]()

    def add(self, member: Member) -> None:
        """Take one in."""
        key, name = id(member.offer), member.envelope.name
        self.offers[key], self.names[key], self.members[key] = member.offer, name, member
        self._count[name] += 1

    def remove(self, member: Member) -> None:
        """Leave one out."""
        key, name = id(member.offer), member.envelope.name
        del self.offers[key], self.names[key], self.members[key]
        self._count[name] -= 1
        if not self._count[name]:
            del self._count[name]

    def segments(self, packet: Sequence[Message]) -> Sequence[Segments]:
        """What they are written, without their names."""
        return next(iter(self.members.values())).envelope.segments(packet)

    def write(self, offers: Sequence[Offer], names: Sequence[bytes], pieces: Sequence[Segments]) -> list[Member]:
        """Write pieces to some of them; those that do not take the first get none, and are given."""
        first = pieces[0]
        if len(self._count) == 1:
            data = names[0].join(first)
            refused = [offer for offer in offers if not offer(data)]
        else:
            refused = [offer for offer, name in zip(offers, names, strict=True) if not offer(name.join(first))]
        behind = {id(offer): self.members[id(offer)] for offer in refused}
        if len(pieces) > 1:
            for offer, name in zip(offers, names, strict=True):
                if id(offer) not in behind:
                    for piece in pieces[1:]:
                        self.members[id(offer)].outlet.write(name.join(piece))
        return list(behind.values())


class InStep:
    """Members that were sent everything there is. ``behind`` is called with one that does not take what comes.

    ``position`` and ``sequence`` are those of the last message that was written to all; ``packets``: how often was.
    """

    def __init__(self, behind: Callable[[Member], None]) -> None:
        self.position = self.sequence = self.packets = 0
        self._behind = behind
        self._members: dict[bytes, _Alike] = {}
        """By the shape of their envelopes."""
        self._coming: dict[Member, None] | None = None
        """Who joined while messages are written: it has had these. None while none are."""
        self._packets_then = 0
        """How many packets there will have been when those that are written now are."""
        self._removals = 0

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self._members or self._coming)

    def add(self, member: Member) -> None:
        """Take in one that was sent everything there is, those messages too that are being written now."""
        if self._coming is None:
            self._members.setdefault(member.envelope.shape, _Alike()).add(member)
            member.join(self, self.packets)
        else:
            self._coming[member] = None
            member.join(self, self._packets_then)

    def remove(self, member: Member) -> None:
        """Leave one out; it is one of them."""
        member.part()
        self._removals += 1
        if self._coming is not None and member in self._coming:
            del self._coming[member]
            return
        alike = self._members[member.envelope.shape]
        alike.remove(member)
        if not alike.members:
            del self._members[member.envelope.shape]

    def all(self) -> list[Member]:
        """All of them."""
        alike = (member for alike in self._members.values() for member in alike.members.values())
        return [*alike, *(self._coming or ())]

    async def publish(self, messages: Sequence[Message]) -> None:
        """Write messages to all of them."""
        assert self._coming is None, "messages are written one after the other"
        packets = _packets(messages)
        self._coming, self._packets_then = {}, self.packets + len(packets)
        try:
            for packet in packets:
                await self._write(packet)
        finally:
            coming, self._coming = self._coming, None
            for member in coming:
                self.add(member)

    async def _write(self, packet: Sequence[Message]) -> None:
        room = _AT_ONCE
        for alike in list(self._members.values()):
            if not alike.members:
                continue
            pieces = alike.segments(packet)
            offers, names = list(alike.offers.values()), list(alike.names.values())
            removals, done = self._removals, 0
            while done < len(offers):
                if not room:
                    await asyncio.sleep(0)
                    room = _AT_ONCE
                some, theirs = offers[done : done + room], names[done : done + room]
                done += len(some)
                room -= len(some)
                if self._removals != removals:
                    left = [id(offer) in alike.offers for offer in some]
                    some, theirs = list(compress(some, left)), list(compress(theirs, left))
                behind = alike.write(some, theirs, pieces) if some else []
                MESSAGES.inc(len(packet) * (len(some) - len(behind)))
                for member in behind:
                    self.remove(member)
                    self._behind(member)
        self.position, self.sequence = packet[-1].position, packet[-1].sequence
        self.packets += 1


def _packets(messages: Sequence[Message]) -> list[list[Message]]:
    """The messages in runs that are written together."""
    packets: list[list[Message]] = []
    room = 0
    for message in messages:
        size = len(message.body)
        if not packets or size > room:
            packets.append([])
            room = _PACKET_BYTES
        packets[-1].append(message)
        room -= size
    return packets
