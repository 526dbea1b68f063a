"""Whether bytes have the structure of Clarity values, without decoding them: for what is stored and not looked at.

The structure is all types, lengths, counts, the names of tuple keys and their order, versions of addresses, how deep
values nest, and where they end. Not part of it is what a text or the name of a contract within a value says: what
decoding refuses of those (no UTF-8, say) is found by whoever decodes.

Contracts print the same few shapes again and again. So the bytes that the structure depends on are remembered
(:class:`Structures`): of bytes that are the same in all these places, the structure is the same.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Final, Generic, TypeVar

from clarion.chains.stacks.clarity import (
    MAX_SEQUENCE_BYTES,
    MAX_VALUE_DEPTH,
    MAX_WIRE_BYTES,
    read_clarity_name,
)
from clarion.chains.stacks.clarity_forms import decode_json, read_json
from clarion.chains.stacks.codec_errors import DecodeError

#: Fields of a printed tuple that name what happened, in order of preference.
TOPIC_FIELDS: Final = ("topic", "event", "action", "notification")
MAX_TOPIC_CHARACTERS: Final = 128
"""A longer text is no topic. Whoever prints decides about it, and it must fit into an index."""
NO_TOPIC: Final = "print"

_INT, _UINT, _BUFFER, _TRUE, _FALSE, _STANDARD, _CONTRACT, _OK, _ERR, _NONE, _SOME, _LIST, _TUPLE, _ASCII, _UTF8 = (
    range(15)
)
_ADDRESS_BYTES: Final = 21
_ADDRESS_VERSIONS: Final = 32
#: Types whose JSON form may be a text.
_TEXTS: Final = frozenset((_BUFFER, _STANDARD, _CONTRACT, _SOME, _ASCII, _UTF8))

_from_bytes = int.from_bytes

T = TypeVar("T")


class Structures(Generic[T]):
    """What ``examine`` finds in bytes, remembered by their structure.

    ``examine`` gives what it found, never None, and the spans (from, to) whose bytes it does not depend on; it may
    depend on all others. What it raises is not remembered.
    """

    _MOST: Final = 16_384
    _MOST_ALIKE: Final = 8
    """How many structures are kept of one owner and length, apart from what the bytes are that do not vary: each is
    compared with.
    """
    _LONGEST: Final = 1024
    """Longer bytes are examined anew each time, so that the memory is bounded."""

    def __init__(self, examine: Callable[[bytes], tuple[T, Sequence[tuple[int, int]]]]) -> None:
        self._examine = examine
        self._known: dict[tuple[Hashable, int], list[tuple[int, dict[int, T]]]] = {}
        """By owner and length: masks of what does not vary, each with what was found, by what these bytes are."""
        self._count = 0

    def found(self, owner: Hashable, raw: bytes) -> T:
        """What ``examine`` finds in ``raw``. ``owner`` is whose bytes are likely to have the same structure."""
        key = owner, len(raw)
        known = self._known.get(key)
        if known is not None:
            number = _from_bytes(raw)
            for mask, found_in in known:
                remembered = found_in.get(number & mask)
                if remembered is not None:
                    return remembered
        found, free = self._examine(raw)
        if len(raw) <= self._LONGEST:
            self._remember(key, raw, found, free)
        return found

    def _remember(self, key: tuple[Hashable, int], raw: bytes, found: T, free: Sequence[tuple[int, int]]) -> None:
        if self._count >= self._MOST:
            self._known.clear()
            self._count = 0
        mask_bytes = bytearray(b"\xff" * len(raw))
        for start, end in free:
            mask_bytes[start:end] = bytes(end - start)
        mask = _from_bytes(mask_bytes)
        alike = self._known.setdefault(key, [])
        found_in = next((found_in for other, found_in in alike if other == mask), None)
        if found_in is None:
            if len(alike) == self._MOST_ALIKE:
                self._count -= len(alike.pop(0)[1])
            alike.append((mask, found_in := {}))
        found_in[_from_bytes(raw) & mask] = found
        self._count += 1


def _skip(
    data: bytes, at: int, depth: int, free: list[tuple[int, int]], places: dict[str, tuple[int, int]] | None = None
) -> int:
    """The position after the value at ``at``, as its lengths say, which may be beyond the end of ``data``.

    Adds to ``free`` the spans whose bytes are of no importance to this, in order, and to ``places`` where the fields of
    a tuple (or of some tuple) are. Raises ``DecodeError``, or ``IndexError`` where the bytes end before.
    """
    tag = data[at]
    at += 1
    if tag <= _UINT:
        free.append((at, at + 16))
        return at + 16
    if tag in (_ASCII, _UTF8, _BUFFER):
        start = at + 4
        end = start + _count(data, at)
        free.append((start, end))
        return end
    if tag in (_STANDARD, _CONTRACT):
        if data[at] >= _ADDRESS_VERSIONS:
            raise DecodeError("an address version of 0 to 31", at, str(data[at]))
        end = at + _ADDRESS_BYTES
        free.append((at + 1, end))
        if tag == _CONTRACT:
            start = end + 1
            end = start + data[end]
            free.append((start, end))
        return end
    if tag in (_TRUE, _FALSE):
        return at
    if tag == _TUPLE:
        return _skip_tuple(data, at, depth, free, places)
    if tag in (_SOME, _OK, _ERR):
        _check_depth(depth + 1, at)
        return _skip(data, at, depth + 1, free, places if tag == _SOME and data[at] == _TUPLE else None)
    if tag == _NONE:
        _check_depth(depth + 1, at)
        return at
    if tag == _LIST:
        count = _count_that_follow(data, at)
        _check_depth(depth + 1, at)
        at += 4
        for _ in range(count):
            at = _skip(data, at, depth + 1, free)
        return at
    raise DecodeError("a Clarity type prefix of 0x00 to 0x0e", at - 1, f"0x{tag:02x}")


def _skip_tuple(
    data: bytes, at: int, depth: int, free: list[tuple[int, int]], places: dict[str, tuple[int, int]] | None
) -> int:
    count = _count_that_follow(data, at)
    if not count:
        raise DecodeError("a tuple with at least one key", at)
    _check_depth(depth + 1, at)
    at += 4
    before = ""
    for _ in range(count):
        name, start = read_clarity_name(data, at)
        if name <= before:
            raise DecodeError(f"tuple keys in order, each once, after {before!r}", at + 1, repr(name))
        before = name
        at = _skip(data, start, depth + 1, free)
        if places is not None:
            places[name] = start, at
    return at


def _check_depth(depth: int, at: int) -> None:
    if depth >= MAX_VALUE_DEPTH:
        raise DecodeError(f"at most {MAX_VALUE_DEPTH} nested types", at)


def _count(data: bytes, at: int) -> int:
    count = _from_bytes(data[at : at + 4])
    if at + 4 > len(data) or count > MAX_SEQUENCE_BYTES:
        raise DecodeError(f"a length of at most {MAX_SEQUENCE_BYTES}", at, data[at : at + 4].hex())
    return count


def _count_that_follow(data: bytes, at: int) -> int:
    count = _count(data, at)
    if count > len(data) - at - 4:
        raise DecodeError("a count of entries that follow", at, str(count))
    return count


def examine_value(raw: bytes) -> tuple[str, list[tuple[int, int]]]:
    """The topic of a printed value; the spans of which nothing depends."""
    free: list[tuple[int, int]] = []
    places: dict[str, tuple[int, int]] = {}
    try:
        end = _skip(raw, 0, 0, free, places)
    except (IndexError, DecodeError):
        end = -1
    if end != len(raw) or end > MAX_WIRE_BYTES:
        decode_json(raw)  # says what is wrong
        raise DecodeError("a Clarity value", 0)
    for name in TOPIC_FIELDS:
        start, end = places.get(name, (0, 0))
        if raw[start] not in _TEXTS or not end:
            continue
        free = [span for span in free if not start <= span[0] < end]
        try:
            topic, _ = read_json(raw, start, 0)
        except DecodeError:
            continue
        if isinstance(topic, str) and len(topic) <= MAX_TOPIC_CHARACTERS:
            return topic, free
    return NO_TOPIC, free


def skip_arguments(raw: bytes, at: int, free: list[tuple[int, int]]) -> int:
    """The position after a count of values and these. Adds to ``free`` the spans of which nothing depends.

    Raises ``DecodeError``, or ``IndexError`` where the bytes end before.
    """
    count = _count_that_follow(raw, at)
    at += 4
    for _ in range(count):
        at = _skip(raw, at, 0, free)
    return at


_values: Final = Structures(examine_value)


def topic_of_value(owner: str, raw: bytes) -> str:
    """The topic of what the contract ``owner`` printed: its first topic field that is a text, or ``print``.

    Raises ``DecodeError`` where ``raw`` has not the structure of a Clarity value. Where only a topic field cannot be
    decoded, it is no topic.
    """
    return _values.found(owner, raw)


def check_value(owner: str, raw: bytes) -> None:
    """Raise ``DecodeError`` where ``raw`` has not the structure of a Clarity value."""
    _values.found(owner, raw)
