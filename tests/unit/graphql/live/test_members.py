"""Members that are in step: each is written everything once, whoever comes, goes or takes nothing meanwhile."""

from __future__ import annotations

import asyncio
from random import Random

import pytest
from support.written_outlet import Written

from clarion_graphql.live import members
from clarion_graphql.live.frames import Message, WebSocketEnvelope
from clarion_graphql.live.members import InStep, Member


class Group:
    """Members with their outlets."""

    def __init__(self) -> None:
        self.behind: list[Member] = []
        self.in_step = InStep(self.behind.append)

    def member(self, name: str = "1", *, direct: bool = True) -> tuple[Member, Written]:
        """One that is not in step yet."""
        outlet = Written(direct=direct)
        return Member(outlet, WebSocketEnvelope(name, framed=direct), lambda too_slow: None), outlet

    def another(self, outlet: Written, name: str) -> Member:
        """A further operation on a connection that is there, in step."""
        member = Member(outlet, WebSocketEnvelope(name, framed=outlet.direct), lambda too_slow: None)
        member.position = 0
        self.in_step.add(member)
        return member

    def joined(self, name: str = "1", *, direct: bool = True) -> tuple[Member, Written]:
        """One that is."""
        member, outlet = self.member(name, direct=direct)
        member.position = 0
        self.in_step.add(member)
        return member, outlet


@pytest.fixture
def group() -> Group:
    return Group()


@pytest.fixture
def one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(members, "_AT_ONCE", 1)


def messages(*positions: int, size: int = 2) -> list[Message]:
    return [Message(position, position + 100, b"%0*d" % (size, position)) for position in positions]


def heard(outlet: Written) -> list[int]:
    """Positions that a client was sent, from its frames' payloads."""
    whole = b"".join(outlet.written)
    return [int(part.split(b"}")[0]) for part in whole.split(b'"payload":')[1:]]


async def test_all_get_the_same_bytes_under_their_own_names(group: Group) -> None:
    outlets = [group.joined(name)[1] for name in ("a", "b", "a")]
    await group.in_step.publish(messages(1, 2))
    await group.in_step.publish(messages(3))
    assert [heard(outlet) for outlet in outlets] == [[1, 2, 3]] * 3
    assert outlets[0].written == outlets[2].written != outlets[1].written
    assert b'"id":"b"' in outlets[1].written[0]


@pytest.mark.parametrize("direct", [True, False])
async def test_operations_of_one_connection_are_written_to_each(group: Group, direct: bool) -> None:
    first, outlet = group.joined("a", direct=direct)
    group.another(outlet, "b")
    await group.in_step.publish(messages(1, 2))
    assert [b"".join(outlet.written).count(b'"id":"%b"' % name) for name in (b"a", b"b")] == [2, 2]
    group.in_step.remove(first)
    outlet.written.clear()
    await group.in_step.publish(messages(3))
    assert [b"".join(outlet.written).count(b'"id":"%b"' % name) for name in (b"a", b"b")] == [0, 1]


async def test_what_cannot_be_framed_is_written_message_by_message(group: Group) -> None:
    _, outlet = group.joined(direct=False)
    await group.in_step.publish(messages(1, 2, 3))
    assert [b'"payload":%02d' % position in outlet.written[position - 1] for position in (1, 2, 3)] == [True] * 3


async def test_a_member_knows_where_it_stands(group: Group) -> None:
    early, _ = group.joined()
    assert (early.position, early.sequence, early.started) == (0, None, False)
    await group.in_step.publish(messages(1, 2))
    late, _ = group.member()
    late.send(Message(7, 7, b"{}"))
    group.in_step.add(late)
    assert (early.position, early.sequence, early.started) == (2, 102, True)
    assert (late.position, late.sequence, late.started) == (7, 7, True)
    await group.in_step.publish(messages(8))
    group.in_step.remove(late)
    await group.in_step.publish(messages(9))
    assert (early.position, late.position, late.sequence) == (9, 8, 108)
    assert early.in_step is group.in_step
    assert late.in_step is None


async def test_one_that_takes_nothing_falls_behind_where_it_stood(group: Group) -> None:
    slow, outlet = group.joined()
    quick, taken = group.joined()
    await group.in_step.publish(messages(1))
    outlet.ready = False
    await group.in_step.publish(messages(2, 3))
    assert group.behind == [slow]
    assert (slow.position, slow.in_step, heard(outlet)) == (1, None, [1])
    assert (quick.position, heard(taken)) == (3, [1, 2, 3])
    assert group.in_step.all() == [quick]


@pytest.mark.usefixtures("one_at_a_time")
class TestMeanwhile:
    """While messages are written to one after the other."""

    async def test_who_comes_has_had_them(self, group: Group) -> None:
        _, taken = group.joined()
        group.joined()
        late, outlet = group.member()
        late.send(Message(2, 102, b"02"))  # as a group does: what is being written is kept for those who come
        writing = asyncio.create_task(group.in_step.publish(messages(1, 2)))
        await taken.some.wait()
        group.in_step.add(late)
        assert (late.position, late.sequence) == (2, 102)
        await writing
        assert (late.position, heard(outlet)) == (2, [2])
        await group.in_step.publish(messages(3))
        assert (late.position, heard(outlet)) == (3, [2, 3])

    async def test_who_comes_between_packets_has_had_them(self, group: Group, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(members, "_PACKET_BYTES", 1)
        first, taken = group.joined()
        group.joined()
        late, outlet = group.member()
        late.send(Message(3, 103, b"03"))
        writing = asyncio.create_task(group.in_step.publish(messages(1, 2, 3)))
        await taken.some.wait()
        group.in_step.add(late)
        await writing
        assert (heard(taken), heard(outlet)) == ([1, 2, 3], [3])
        assert (first.position, late.position) == (3, 3)

    async def test_who_comes_and_goes_is_sent_nothing(self, group: Group) -> None:
        _, taken = group.joined()
        group.joined()
        late, outlet = group.member()
        late.position = 1
        writing = asyncio.create_task(group.in_step.publish(messages(1)))
        await taken.some.wait()
        group.in_step.add(late)
        group.in_step.remove(late)
        await writing
        await group.in_step.publish(messages(2))
        assert outlet.written == []

    async def test_who_goes_is_sent_no_more(self, group: Group) -> None:
        outlets = [group.joined() for _ in range(3)]
        writing = asyncio.create_task(group.in_step.publish(messages(1)))
        await outlets[0][1].some.wait()
        group.in_step.remove(outlets[2][0])
        await writing
        assert [heard(outlet) for _, outlet in outlets] == [[1], [1], []]

    async def test_they_go_on_when_writing_was_ended(self, group: Group) -> None:
        member, outlet = group.joined()
        group.joined()
        late, _ = group.member()
        late.position = 1
        writing = asyncio.create_task(group.in_step.publish(messages(1)))
        await outlet.some.wait()
        group.in_step.add(late)
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing
        await group.in_step.publish(messages(2))
        assert {one.position for one in group.in_step.all()} == {2}
        assert len(group.in_step.all()) == 3
        assert member.position == 2


@pytest.mark.parametrize("seed", range(20))
async def test_whoever_comes_and_goes_each_is_written_everything_once(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Operations come and go on a few connections, some of which take nothing for a while, as messages are written."""
    random, last = Random(seed), 0
    monkeypatch.setattr(members, "_AT_ONCE", random.choice([1, 2, 5]))
    monkeypatch.setattr(members, "_PACKET_BYTES", random.choice([1, 8, 1_000]))
    group = Group()
    outlets = [Written(direct=random.random() < 0.8) for _ in range(6)]
    wanted: dict[Member, tuple[Written, bytes, list[int]]] = {}

    def come_or_go(kept: int) -> None:
        """``kept``: what is written now is kept for those who come; they have had it."""
        if wanted and random.random() < 0.4:
            member = random.choice(list(wanted))
            if member.in_step is not None:
                group.in_step.remove(member)
        else:
            name, outlet = f"{len(wanted):0{random.choice([3, 4])}}", random.choice(outlets)
            member = group.another(outlet, name)
            wanted[member] = outlet, name.encode(), []
            member.position = kept

    for _ in range(30):
        random.choice(outlets).ready = random.random() < 0.7
        for _ in range(random.randrange(4)):
            come_or_go(last)
        first, last = last + 1, last + random.randrange(1, 4)
        writing = asyncio.create_task(group.in_step.publish(messages(*range(first, last + 1))))
        before = set(group.in_step.all())
        while not writing.done():
            await asyncio.sleep(0)
            if random.random() < 0.3:
                come_or_go(last)
        for member in before & set(group.in_step.all()):
            wanted[member][2].extend(range(first, last + 1))
            assert member.position == last
    assert len(wanted) > 15
    for member, (outlet, name, expected) in wanted.items():
        parts = b"".join(outlet.written).split(b'{"id":"%b"' % name)[1:]
        got = [int(part.split(b"}")[0].split(b":")[-1]) for part in parts]
        assert got[: len(expected)] == expected, name
        if member.in_step is not None:
            assert got == expected, name
