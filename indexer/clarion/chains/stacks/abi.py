"""Clarity types as a contract interface names them, and values made from plain Python with their help.

A type is the JSON of a node's contract interface: ``"uint128"``, ``{"optional": "principal"}``,
``{"list": {"type": "bool", "length": 5}}``, ``{"tuple": [{"name": "a", "type": "int128"}]}`` and so on.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias, TypeVar

from clarion.chains.stacks.clarity import (
    NONE,
    Bool,
    Buffer,
    ContractPrincipal,
    Err,
    Int,
    List,
    Ok,
    OptionalNone,
    Some,
    StandardPrincipal,
    StringAscii,
    StringUtf8,
    Tuple,
    UInt,
    Value,
    bytes_from_hex,
    principal,
)
from clarion.chains.stacks.codec_errors import CodecError, EncodeError

ClarityType: TypeAlias = str | Mapping[str, Any]

T = TypeVar("T")
V = TypeVar("V")


def from_python(value: Any, clarity_type: ClarityType) -> Value:
    """The Clarity value of ``clarity_type`` that ``value`` stands for.

    Takes what ``to_python`` and ``to_json`` give: a buffer is bytes or ``"0x.."``, ``None`` is ``none`` and anything
    else fills an optional, a response is ``{"ok": x}`` or ``{"err": x}``. A typed value is taken as it is if it has the
    type. Raises ``EncodeError``, which names the place within the value, where it does not fit.
    """
    return _convert(value, clarity_type, "value")


def function_arguments(interface: Mapping[str, Any], function: str, arguments: Mapping[str, Any]) -> tuple[Value, ...]:
    """The values to call ``function`` with, in order, from arguments by name.

    ``interface`` is a node's contract interface (``{"functions": [{"name", "access", "args"}]}``); its parameter names
    must all be given, and no others.
    """
    for candidate in interface.get("functions", ()):
        if candidate["name"] == function:
            break
    else:
        raise EncodeError(f"the contract has no function {function!r}")
    parameters = candidate["args"]
    expected = [parameter["name"] for parameter in parameters]
    if set(arguments) != set(expected):
        raise EncodeError(f"{function} takes ({', '.join(expected)}), found ({', '.join(arguments)})")
    return tuple(_convert(arguments[p["name"]], p["type"], f"{function}: {p['name']}") for p in parameters)


def _convert(value: Any, clarity_type: ClarityType, where: str) -> Value:
    if isinstance(clarity_type, str):
        converter = _SIMPLE.get(clarity_type)
        if converter is None:
            raise EncodeError(f"{where}: unknown Clarity type {clarity_type!r}")
        return converter(value, where)
    if len(clarity_type) != 1:
        raise EncodeError(f"{where}: unknown Clarity type {dict(clarity_type)!r}")
    ((name, detail),) = clarity_type.items()
    compound = _COMPOUND.get(name)
    if compound is None:
        raise EncodeError(f"{where}: unknown Clarity type {name!r}")
    return compound(value, detail, where)


def _mismatch(where: str, expected: str, value: object) -> EncodeError:
    found = type(value).__name__ if value is not None else "None"
    return EncodeError(f"{where}: expected {expected}, found {found}")


def _integer(value: Any, where: str, expected: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise _mismatch(where, expected, value)
    return value


def _made(make: Callable[[T], V], value: T, where: str) -> V:
    try:
        return make(value)
    except CodecError as error:
        raise EncodeError(f"{where}: {error}") from error


def _int(value: Any, where: str) -> Value:
    return value if isinstance(value, Int) else _made(Int, _integer(value, where, "int"), where)


def _uint(value: Any, where: str) -> Value:
    return value if isinstance(value, UInt) else _made(UInt, _integer(value, where, "uint"), where)


def _bool(value: Any, where: str) -> Value:
    if isinstance(value, Bool):
        return value
    if not isinstance(value, bool):
        raise _mismatch(where, "bool", value)
    return Bool(value)


def _principal(value: Any, where: str) -> Value:
    if isinstance(value, StandardPrincipal | ContractPrincipal):
        return value
    if not isinstance(value, str):
        raise _mismatch(where, "principal", value)
    return _made(principal, value, where)


def _contract(value: Any, where: str) -> Value:
    found = _principal(value, where)
    if not isinstance(found, ContractPrincipal):
        raise EncodeError(f"{where}: expected a contract (ADDRESS.name), found {value}")
    return found


def _nothing(value: Any, where: str) -> Value:
    if value is not None and not isinstance(value, OptionalNone):
        raise _mismatch(where, "none", value)
    return NONE


def _limited(length: int, limit: int, where: str, unit: str) -> None:
    if length > limit:
        raise EncodeError(f"{where}: at most {limit} {unit}, found {length}")


def _buffer(value: Any, detail: Mapping[str, int], where: str) -> Value:
    if isinstance(value, Buffer):
        raw = value.value
    elif isinstance(value, bytes | bytearray | memoryview):
        raw = bytes(value)
    elif isinstance(value, str) and value.startswith("0x"):
        raw = _made(bytes_from_hex, value, where)
    else:
        raise _mismatch(where, 'bytes or "0x.."', value)
    _limited(len(raw), detail["length"], where, "bytes")
    return _made(Buffer, raw, where)


def _string_ascii(value: Any, detail: Mapping[str, int], where: str) -> Value:
    text = value.value if isinstance(value, StringAscii) else value
    if not isinstance(text, str):
        raise _mismatch(where, "string-ascii", value)
    _limited(len(text), detail["length"], where, "characters")
    return _made(StringAscii, text, where)


def _string_utf8(value: Any, detail: Mapping[str, int], where: str) -> Value:
    text = value
    if isinstance(value, StringUtf8):
        text = value.value
    elif isinstance(value, Mapping) and isinstance(value.get("utf8"), str) and len(value) == 1:
        try:
            text = _made(bytes_from_hex, value["utf8"], where).decode()
        except UnicodeDecodeError as error:
            raise EncodeError(f"{where}: not UTF-8: {error}") from error
    if not isinstance(text, str):
        raise _mismatch(where, "string-utf8", value)
    _limited(len(text), detail["length"], where, "characters")
    return _made(StringUtf8, text, where)


def _is_optional(clarity_type: ClarityType) -> bool:
    return not isinstance(clarity_type, str) and "optional" in clarity_type


def _optional(value: Any, inner: ClarityType, where: str) -> Value:
    if value is None or isinstance(value, OptionalNone):
        return NONE
    if isinstance(value, Some):
        value = value.value
    elif _is_optional(inner):
        if not isinstance(value, Mapping) or set(value) != {"some"}:
            raise _mismatch(where, 'None or {"some": ..} for an optional of an optional', value)
        value = value["some"]
    return Some(_convert(value, inner, where))


def _response(value: Any, detail: Mapping[str, ClarityType], where: str) -> Value:
    if isinstance(value, Ok):
        return Ok(_convert(value.value, detail["ok"], where))
    if isinstance(value, Err):
        return Err(_convert(value.value, detail["error"], where))
    if isinstance(value, Mapping) and set(value) == {"ok"}:
        return Ok(_convert(value["ok"], detail["ok"], where))
    if isinstance(value, Mapping) and set(value) == {"err"}:
        return Err(_convert(value["err"], detail["error"], where))
    raise _mismatch(where, '{"ok": ..} or {"err": ..}', value)


def _list(value: Any, detail: Mapping[str, Any], where: str) -> Value:
    entries = value.values if isinstance(value, List) else value
    if not isinstance(entries, Sequence) or isinstance(entries, str | bytes):
        raise _mismatch(where, "a list", value)
    _limited(len(entries), detail["length"], where, "entries")
    return List([_convert(entry, detail["type"], f"{where}[{index}]") for index, entry in enumerate(entries)])


def _tuple(value: Any, detail: Sequence[Mapping[str, Any]], where: str) -> Value:
    fields = value.fields if isinstance(value, Tuple) else value
    if not isinstance(fields, Mapping):
        raise _mismatch(where, "a dict", value)
    expected = [entry["name"] for entry in detail]
    if set(fields) != set(expected):
        raise EncodeError(f"{where}: expected the keys {sorted(expected)}, found {sorted(fields)}")
    return Tuple(
        {entry["name"]: _convert(fields[entry["name"]], entry["type"], f"{where}.{entry['name']}") for entry in detail}
    )


_SIMPLE: dict[str, Callable[[Any, str], Value]] = {
    "int128": _int,
    "uint128": _uint,
    "bool": _bool,
    "principal": _principal,
    "trait_reference": _contract,
    "none": _nothing,
}
_COMPOUND: dict[str, Callable[[Any, Any, str], Value]] = {
    "buffer": _buffer,
    "string-ascii": _string_ascii,
    "string-utf8": _string_utf8,
    "optional": _optional,
    "response": _response,
    "list": _list,
    "tuple": _tuple,
}
