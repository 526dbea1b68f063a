"""Scalars of the API and how they look as JSON."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any, Final, NewType

import strawberry
from graphql import GraphQLError, ValueNode, value_from_ast_untyped
from strawberry.schema.types.base_scalars import DateTimeDefinition
from strawberry.types.scalar import ScalarDefinition

from clarion_graphql.errors import InputError

BigInt = NewType("BigInt", int)
Bytes = NewType("Bytes", bytes)
Decimal = NewType("Decimal", str)
Json = NewType("Json", object)

#: Most digits of an integer that comes as a string: those of 2^256.
MAX_DIGITS: Final = 78
_DIGITS = re.compile(rf"-?[0-9]{{1,{MAX_DIGITS}}}\Z")
#: Most characters of a value that an error repeats.
_MAX_REPEATED: Final = 80
#: Bytes of a transaction's id, on every chain.
TX_ID_BYTES: Final = 32


def parse_big_int(value: object) -> int:
    """An integer from a string of digits or a JSON integer. Raises InputError for anything else."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and _DIGITS.match(value):
        return int(value)
    raise InputError(f"BigInt is an integer or a string of digits, at most {MAX_DIGITS}, not {_repeated(value)}.")


def parse_bytes(value: object) -> bytes:
    """Bytes from ``0x`` hex. Raises InputError for anything else."""
    if isinstance(value, str) and value.startswith(("0x", "0X")):
        try:
            return bytes.fromhex(value[2:])
        except ValueError:
            pass
    raise InputError(f"Bytes are written in hexadecimal after 0x, two digits a byte, not {_repeated(value)}.")


def parse_tx_id(value: bytes) -> bytes:
    """A transaction's id. Raises InputError for bytes that cannot be one."""
    if len(value) != TX_ID_BYTES:
        raise InputError(f"A transaction's id has {TX_ID_BYTES} bytes, not {len(value)}.")
    return value


def _repeated(value: object) -> str:
    """A value as an error repeats it: in JSON's words, and not all of a long one."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = repr(value)
    return text if len(text) <= _MAX_REPEATED else f"{text[:_MAX_REPEATED]}…"


def _literal(parse: Callable[[Any], Any]) -> Callable[[ValueNode, dict[str, Any] | None], Any]:
    """Reads a literal in a document as ``parse`` reads a variable; an error says where the literal stands."""

    def parse_literal(node: ValueNode, variables: dict[str, Any] | None = None) -> Any:
        try:
            return parse(value_from_ast_untyped(node, variables))
        except GraphQLError as error:
            raise GraphQLError(error.message, node, extensions=error.extensions) from None

    return parse_literal


def hex_text(value: bytes) -> str:
    """Bytes as ``0x`` hex."""
    return f"0x{value.hex()}"


def exact_json(value: Any) -> Any:
    """JSON with every integer as a string: a JSON number loses digits above 2^53 in most clients."""
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return value
    if isinstance(value, int):
        return str(value)
    if isinstance(value, dict):
        return {key: exact_json(inside) for key, inside in value.items()}
    if isinstance(value, list):
        return [exact_json(inside) for inside in value]
    raise TypeError(f"not JSON of a chain: {type(value).__name__}")


assert DateTimeDefinition.parse_value is not None

SCALARS: Final[dict[object, ScalarDefinition]] = {
    datetime: replace(DateTimeDefinition, parse_literal=_literal(DateTimeDefinition.parse_value)),
    BigInt: strawberry.scalar(
        name="BigInt",
        description="An integer of any size as a string of digits; integers are accepted too. The field says its unit.",
        serialize=str,
        parse_value=parse_big_int,
        parse_literal=_literal(parse_big_int),
    ),
    Decimal: strawberry.scalar(
        name="Decimal",
        description="A decimal number of any size as a string, such as `-12.5`, without zeros at the end.",
        serialize=str,
    ),
    Bytes: strawberry.scalar(
        name="Bytes",
        description="Bytes in hexadecimal after `0x`.",
        serialize=hex_text,
        parse_value=parse_bytes,
        parse_literal=_literal(parse_bytes),
    ),
    Json: strawberry.scalar(
        name="JSON",
        description=(
            "Any JSON. Integers in it are strings of digits, since JSON numbers lose digits above 2^53; byte strings "
            "are `0x` hexadecimal."
        ),
        specified_by_url="https://ecma-international.org/publications-and-standards/standards/ecma-404/",
        serialize=exact_json,
    ),
}

Scalar = str | int | bool | bytes | datetime | None
