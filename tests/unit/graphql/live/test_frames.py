"""Bytes on the wire, read back by who else reads them."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Opcode
from websockets.protocol import CLIENT, OPEN, Protocol

from clarion_graphql.live.frames import EventStreamEnvelope, Message, WebSocketEnvelope, text_frame


def payloads(data: bytes) -> list[bytes]:
    """The text messages in what a server sends, as a client reads them."""
    client = Protocol(CLIENT, state=OPEN, max_size=None)
    client.receive_data(data)
    frames = client.events_received()
    assert client.parser_exc is None
    assert all(frame.opcode is Opcode.TEXT and frame.fin for frame in frames)  # type: ignore[union-attr]
    return [bytes(frame.data) for frame in frames]  # type: ignore[union-attr]


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65_535, 65_536, 200_000])
def test_frames_of_every_length(size: int) -> None:
    text = b"x" * size
    assert payloads(text_frame(text) + text_frame(b"next")) == [text, b"next"]


@given(name=st.text(min_size=1), bodies=st.lists(st.dictionaries(st.text(), st.text()), min_size=1, max_size=5))
def test_messages_under_any_id(name: str, bodies: list[dict[str, str]]) -> None:
    messages = [Message(number, number, json.dumps({"data": body}).encode()) for number, body in enumerate(bodies)]
    envelope = WebSocketEnvelope(name, framed=True)
    (whole,) = envelope.packet(messages)
    said = [json.loads(text) for text in payloads(whole + envelope.complete())]
    assert said == [
        *({"id": name, "type": "next", "payload": {"data": body}} for body in bodies),
        {"id": name, "type": "complete"},
    ]
    unframed = WebSocketEnvelope(name, framed=False)
    assert [json.loads(text) for text in unframed.packet(messages)] == said[:-1]
    assert envelope.key != unframed.key


def test_events_and_their_chunks() -> None:
    message = Message(1, 77, b'{"data":{}}')
    event = EventStreamEnvelope(chunked=False).next(message)
    assert event == b'event: next\nid: 77\ndata: {"data":{}}\n\n'
    assert EventStreamEnvelope(chunked=True).next(message) == b"%x\r\n%b\r\n" % (len(event), event)
