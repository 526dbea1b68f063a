"""Bytes on the wire, read back by who else reads them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Opcode
from websockets.protocol import CLIENT, OPEN, Protocol

from clarion_graphql.live.frames import Envelope, EventStreamEnvelope, Message, WebSocketEnvelope, text_frame


def payloads(data: bytes) -> list[bytes]:
    """The text messages in what a server sends, as a client reads them."""
    client = Protocol(CLIENT, state=OPEN, max_size=None)
    client.receive_data(data)
    frames = client.events_received()
    assert client.parser_exc is None
    assert all(frame.opcode is Opcode.TEXT and frame.fin for frame in frames)  # type: ignore[union-attr]
    return [bytes(frame.data) for frame in frames]  # type: ignore[union-attr]


def written(envelope: Envelope, messages: list[Message]) -> list[bytes]:
    """The pieces that a member with this envelope is written."""
    return [envelope.name.join(piece) for piece in envelope.segments(messages)]


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65_535, 65_536, 200_000])
def test_frames_of_every_length(size: int) -> None:
    text = b"x" * size
    assert payloads(text_frame(text) + text_frame(b"next")) == [text, b"next"]


@given(name=st.text(min_size=1), bodies=st.lists(st.dictionaries(st.text(), st.text()), min_size=1, max_size=5))
def test_messages_under_any_id(name: str, bodies: list[dict[str, str]]) -> None:
    messages = [Message(number, number, json.dumps({"data": body}).encode()) for number, body in enumerate(bodies)]
    envelope = WebSocketEnvelope(name, framed=True)
    (whole,) = written(envelope, messages)
    said = [json.loads(text) for text in payloads(whole + envelope.complete())]
    assert said == [
        *({"id": name, "type": "next", "payload": {"data": body}} for body in bodies),
        {"id": name, "type": "complete"},
    ]
    unframed = WebSocketEnvelope(name, framed=False)
    assert [json.loads(text) for text in written(unframed, messages)] == said[:-1]
    assert envelope.shape != unframed.shape


@given(
    names=st.lists(st.text(min_size=1, max_size=3), min_size=2, max_size=5),
    sizes=st.lists(st.sampled_from([2, 60, 70, 80, 90, 65_400, 65_480, 65_500, 65_536]), min_size=1, max_size=3),
    framed=st.booleans(),
)
def test_envelopes_of_one_shape_differ_in_their_names_alone(names: list[str], sizes: list[int], framed: bool) -> None:
    messages = [Message(number, number, b"x" * size) for number, size in enumerate(sizes)]
    segments: dict[bytes, Any] = {}
    for name in names:
        envelope = WebSocketEnvelope(name, framed=framed)
        alike = segments.setdefault(envelope.shape, envelope.segments(messages))
        assert [envelope.name.join(piece) for piece in alike] == written(envelope, messages)
        assert b"".join(map(envelope.next, messages)) == b"".join(written(envelope, messages))


def test_events_and_their_chunks() -> None:
    message = Message(1, 77, b'{"data":{}}')
    event = EventStreamEnvelope(chunked=False).next(message)
    assert event == b'event: next\nid: 77\ndata: {"data":{}}\n\n'
    assert EventStreamEnvelope(chunked=True).next(message) == b"%x\r\n%b\r\n" % (len(event), event)


def test_several_events_are_one_piece() -> None:
    envelope = EventStreamEnvelope(chunked=True)
    messages = [Message(number, number, b"{}") for number in (1, 2)]
    assert written(envelope, messages) == [b"".join(map(envelope.next, messages))]
