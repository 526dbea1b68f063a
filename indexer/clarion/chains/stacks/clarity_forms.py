"""Clarity values as plain Python, as JSON and as Clarity source.

The plain forms drop types, which a reader of events rarely needs:

| Clarity               | Python (``to_python``)        | JSON (``to_json``)                          |
|-----------------------|-------------------------------|---------------------------------------------|
| ``int``, ``uint``     | ``int``                       | number, exact at 128 bits                   |
| ``bool``              | ``bool``                      | boolean                                     |
| ``(buff n)``          | ``bytes``                     | ``"0x.."``                                  |
| strings               | ``str``                       | string; ``{"utf8": "0x.."}`` if it has NUL  |
| principal             | ``"ADDRESS"`` or ``"ADDRESS.name"`` | the same                              |
| ``none``              | ``None``                      | ``null``                                    |
| ``(some x)``          | x; ``{"some": x}`` if x is optional | the same                              |
| ``(ok x)``, ``(err x)`` | ``{"ok": x}``, ``{"err": x}`` | the same                                  |
| list, tuple           | ``list``, ``dict``            | array, object                               |

With the type at hand both forms read back exactly: see ``abi.from_python``. The exception for NUL is there because
Postgres cannot hold that character in ``jsonb``, and whoever can print a string must not be able to stop an indexer.

``decode_python`` and ``decode_json`` go from wire bytes straight to the plain form, without typed values in between:
the way to read events in bulk.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, TypeVar

from clarion.chains.stacks import c32
from clarion.chains.stacks.clarity import (
    Bool,
    Buffer,
    ContractPrincipal,
    Err,
    Int,
    List,
    Ok,
    OptionalNone,
    Read,
    Some,
    StandardPrincipal,
    StringAscii,
    StringUtf8,
    Tuple,
    UInt,
    Value,
    build_reader,
    encode,
    read_exactly,
)

if TYPE_CHECKING:  # the model derives values by these forms
    from clarion.chains.model import JsonValue

T = TypeVar("T")


def _same(value: T) -> T:
    return value


@lru_cache(maxsize=65_536)
def address_text(raw: bytes) -> str:
    """The address of 21 wire bytes: version and hash."""
    return c32.encode_address(raw[0], raw[1:])


@lru_cache(maxsize=65_536)
def contract_text(raw: bytes, name: str) -> str:
    """The id of a contract: the 21 wire bytes of its deployer's address, and its name."""
    return f"{address_text(raw)}.{name}"


def _ok(value: Any) -> Any:
    return {"ok": value}


def _err(value: Any) -> Any:
    return {"err": value}


def _some(value: Any, holds_optional: bool) -> Any:
    return {"some": value} if holds_optional else value


def _json_buffer(raw: bytes) -> str:
    return "0x" + raw.hex()


def _json_utf8(text: str) -> JsonValue:
    return {"utf8": "0x" + text.encode().hex()} if "\x00" in text else text


_read_python: Final[Read[Any]] = build_reader(
    int_=_same,
    uint=_same,
    buffer=_same,
    true=True,
    false=False,
    standard_principal=address_text,
    contract_principal=contract_text,
    ok=_ok,
    err=_err,
    none=None,
    some=_some,
    list_=_same,
    tuple_=_same,
    ascii_=_same,
    utf8=_same,
)

#: Reads the JSON form of a value within other bytes: see :func:`clarion.chains.stacks.clarity.build_reader`.
read_json: Final[Read[Any]] = build_reader(
    int_=_same,
    uint=_same,
    buffer=_json_buffer,
    true=True,
    false=False,
    standard_principal=address_text,
    contract_principal=contract_text,
    ok=_ok,
    err=_err,
    none=None,
    some=_some,
    list_=_same,
    tuple_=_same,
    ascii_=_same,
    utf8=_json_utf8,
)


def decode_python(raw: bytes) -> Any:
    """The plain Python form of the value whose wire bytes are ``raw``. Raises ``DecodeError``."""
    return read_exactly(_read_python, raw)


def decode_json(raw: bytes) -> JsonValue:
    """The JSON form of the value whose wire bytes are ``raw``. Raises ``DecodeError``."""
    form: JsonValue = read_exactly(read_json, raw)
    return form


def to_python(value: Value) -> Any:
    """The plain Python form of ``value``."""
    return decode_python(encode(value))


def to_json(value: Value) -> JsonValue:
    """The JSON form of ``value``."""
    return decode_json(encode(value))


_ASCII_ESCAPES: Final = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_ESCAPED_IN_ASCII = re.compile(r'[\\"\n\r\t]')
_ESCAPED_IN_UTF8 = re.compile(r'[^\x20-\x7e]|[\\"]')


def _escape_utf8(match: re.Match[str]) -> str:
    character = match.group()
    return _ASCII_ESCAPES.get(character) or f"\\u{{{ord(character):x}}}"


def to_repr(value: Value) -> str:
    """``value`` as Clarity source: evaluating it gives the value again.

    >>> to_repr(Tuple({"at": UInt(7), "note": StringUtf8("caf\\u00e9")}))
    '(tuple (at u7) (note u"caf\\\\u{e9}"))'
    """
    match value:
        case Int():
            return str(value.value)
        case UInt():
            return f"u{value.value}"
        case Bool():
            return "true" if value.value else "false"
        case Buffer():
            return f"0x{value.value.hex()}"
        case StringAscii():
            return '"' + _ESCAPED_IN_ASCII.sub(lambda found: _ASCII_ESCAPES[found.group()], value.value) + '"'
        case StringUtf8():
            return 'u"' + _ESCAPED_IN_UTF8.sub(_escape_utf8, value.value) + '"'
        case StandardPrincipal() | ContractPrincipal():
            return f"'{value}"
        case OptionalNone():
            return "none"
        case Some():
            return f"(some {to_repr(value.value)})"
        case Ok():
            return f"(ok {to_repr(value.value)})"
        case Err():
            return f"(err {to_repr(value.value)})"
        case List():
            return "(list" + "".join(f" {to_repr(entry)}" for entry in value.values) + ")"
        case Tuple():
            return "(tuple" + "".join(f" ({name} {to_repr(field)})" for name, field in value.fields.items()) + ")"
    raise TypeError(f"not a Clarity value: {type(value).__name__}")
