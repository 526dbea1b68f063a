"""Reads printed tuples straight into a handler's struct, without the JSON form in between.

A contract prints the same tuple again and again: the same names in the same order, integers of sixteen bytes, texts and
principals of mostly the same lengths. Of such bytes all but the contents is known beforehand. A :class:`Shape` learns
these layouts from the prints it sees. Whether another print has a known layout is one comparison of all the bytes that
are not contents; its integers are then read in one go, and what else there is, principals and short texts mostly, is
looked up by its bytes.

Only what was decoded and checked in the general way first becomes a layout, and what fits none, or holds an integer of
63 bits and more, goes the general way each time. So what is accepted and what comes of it is the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from struct import Struct
from typing import Any, Final

import msgspec
from msgspec import inspect

from clarion.chains.model import JsonValue
from clarion.chains.stacks.clarity_forms import decode_json, read_json
from clarion.chains.stacks.codec_errors import DecodeError

MOST_LAYOUTS: Final = 256
"""Of one shape: whoever prints may choose lengths of texts, and thereby layouts."""
MOST_OF_A_LENGTH: Final = 8
_MOST_TEXT_BYTES: Final = 256
"""Of a value that is looked up by its bytes."""
_LEAST_LIMIT: Final = 2**63 - 1
"""An integer of a layout is at most this; a struct that allows less has no layouts."""
_HEAD_BYTES: Final = 5
_NAME_LENGTH_AT: Final = 22
"""Within a contract's principal: behind the type, the address' version and hash."""
_INT_BYTES: Final = 17
_INTS: Final = (0, 1)
_BUFFER, _TRUE, _FALSE, _STANDARD, _CONTRACT, _NONE, _SOME, _TUPLE, _ASCII = 2, 3, 4, 5, 6, 9, 10, 12, 13
_TEXTS: Final = (_BUFFER, _STANDARD, _CONTRACT, _ASCII)
"""Clarity types whose JSON form is a text whatever they hold."""
_BOOLS: Final[Mapping[bytes, bool]] = {bytes([_TRUE]): True, bytes([_FALSE]): False}

_text_of = lru_cache(maxsize=65_536)(decode_json)


@dataclass(frozen=True, slots=True)
class _Layout:
    """Prints of one length that differ in their contents only."""

    mask: int
    """Has the bits that are the same in all of them, of the whole print as one integer."""
    same: int
    """What these bits are."""
    unpack: Callable[[bytes], tuple[Any, ...]]
    """Gives the contents that differ: integers, and the bytes of other values."""
    names: tuple[str, ...]
    """The struct's fields that these are."""
    lookups: tuple[tuple[int, Callable[[bytes], JsonValue]], ...]
    """Which of them are bytes, and how they are read."""
    constants: dict[str, JsonValue]
    """The struct's fields, those that are the same in all of them with what they are."""


class Shape:
    """What prints that become one struct look like."""

    def __init__(self, payload: type[msgspec.Struct]) -> None:
        self._payload = payload
        self._fields = _fields(payload)
        self._layouts: dict[int, list[_Layout]] = {}
        self._count = 0

    def read(self, raw: bytes) -> Any:
        """The struct that the print with these wire bytes becomes, or None where it has to be read the general way."""
        layouts = self._layouts.get(len(raw))
        if layouts is None:
            return None
        content = int.from_bytes(raw)
        for layout in layouts:
            if content & layout.mask == layout.same:
                values = list(layout.unpack(raw))
                try:
                    for place, look_up in layout.lookups:
                        values[place] = look_up(values[place])
                except (KeyError, DecodeError):
                    return None
                fields = layout.constants.copy()
                fields.update(zip(layout.names, values, strict=False))
                return self._payload(**fields)
        return None

    def learn(self, raw: bytes) -> None:
        """Take over the layout of a print that was read the general way and became the struct."""
        layouts = self._layouts.get(len(raw), [])
        if self._fields is None or self._count >= MOST_LAYOUTS or len(layouts) >= MOST_OF_A_LENGTH:
            return
        layout = _layout(raw, self._fields)
        if layout is not None:
            self._layouts[len(raw)] = [*layouts, layout]
            self._count += 1


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    """The struct's."""
    is_literal: bool
    """Whether its content says if the print becomes the struct."""


def _fields(payload: type[msgspec.Struct]) -> Mapping[str, _Field] | None:
    """The struct's fields by their names in prints; None where more than their types decides what is accepted."""
    info = inspect.type_info(payload)
    assert isinstance(info, inspect.StructType)
    if info.array_like or info.tag is not None or hasattr(payload, "__post_init__"):
        return None
    if not all(_is_plain(field.type) for field in info.fields):
        return None
    return {field.encode_name: _Field(field.name, _has_literal(field.type)) for field in info.fields}


def _is_plain(kind: inspect.Type) -> bool:
    match kind:
        case inspect.UnionType():
            return all(map(_is_plain, kind.types))
        case inspect.IntType():
            at_least = kind.ge is None or kind.ge <= 0
            at_most = kind.le is None or kind.le >= _LEAST_LIMIT
            return at_least and at_most and kind.gt is None and kind.lt is None and kind.multiple_of is None
        case inspect.StrType():
            return kind.min_length is None and kind.max_length is None and kind.pattern is None
        case inspect.BoolType() | inspect.NoneType() | inspect.AnyType() | inspect.LiteralType():
            return True
    return False


def _has_literal(kind: inspect.Type) -> bool:
    if isinstance(kind, inspect.UnionType):
        return any(map(_has_literal, kind.types))
    return isinstance(kind, inspect.LiteralType)


def _layout(raw: bytes, fields: Mapping[str, _Field]) -> _Layout | None:
    """The layout of a print that can be decoded, or None where it is no tuple or holds what no layout can."""
    if raw[0] != _TUPLE:
        return None
    mask = bytearray(b"\xff" * len(raw))
    code: list[str] = []
    names: list[str] = []
    lookups: list[tuple[int, Callable[[bytes], JsonValue]]] = []
    constants: dict[str, JsonValue] = {}
    at, taken = _HEAD_BYTES, 0
    while at < len(raw):
        start = at + 1 + raw[at]
        field = fields.get(raw[at + 1 : start].decode())
        value, at = read_json(raw, start, 1)
        if field is None:
            return None
        tag = raw[start]
        if tag == _NONE or field.is_literal:
            constants[field.name] = value
            continue
        if tag == _SOME:
            start += 1
            tag = raw[start]
        if tag in _INTS:
            content = start + _INT_BYTES - 8
            if any(raw[start + 1 : content]) or raw[content] >> 7:
                return None
            mask[content:at] = b"\x80" + bytes(7)
            code.append(f"{content - taken}xQ")
        elif tag in (_TRUE, _FALSE):
            mask[start] = 0
            lookups.append((len(names), _BOOLS.__getitem__))
            code.append(f"{start - taken}x1s")
        elif tag in _TEXTS and at - start <= _MOST_TEXT_BYTES:
            mask[start:at] = _text_mask(raw[start:at])
            lookups.append((len(names), _text_of))
            code.append(f"{start - taken}x{at - start}s")
        else:
            return None
        names.append(field.name)
        taken = at
    unpack = Struct(f">{''.join(code)}{len(raw) - taken}x").unpack
    bits = int.from_bytes(mask)
    # a dict that has its keys already is filled faster than it grows
    constants = dict.fromkeys(names) | constants
    return _Layout(bits, int.from_bytes(raw) & bits, unpack, tuple(names), tuple(lookups), constants)


def _text_mask(raw: bytes) -> bytes:
    """The mask of a text or principal: its type and lengths stay the same."""
    if raw[0] in (_BUFFER, _ASCII):
        return b"\xff" * 5 + bytes(len(raw) - 5)
    mask = bytearray(len(raw))
    mask[0] = 0xFF
    if raw[0] == _CONTRACT:
        mask[_NAME_LENGTH_AT] = 0xFF
    return bytes(mask)
