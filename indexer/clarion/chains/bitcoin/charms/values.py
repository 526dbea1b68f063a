"""Charm data as JSON and back.

JSON holds what CBOR does, and no two values have the same JSON:

- integers are exact at any size, texts, true, false, null and arrays are themselves, a map with text keys is an object;
- a byte string is ``{"bytes": "0x.."}``, a text with a NUL character, which Postgres cannot hold, ``{"text": "0x.."}``;
- a float is ``{"float": "0x.."}`` with its CBOR bytes, another tagged value ``{"tag": number, "value": ..}``;
- what is nested deeper than anything real is ``{"cbor": "0x.."}``, its bytes;
- every other map (keys that are not text, keys that come twice, or keys that would read as one of these forms) is
  ``{"map": [[key, value], ..]}``.
"""

from __future__ import annotations

from typing import Final

from clarion.chains.bitcoin.charms.cbor import Float, Map, Tag, Value, decode, encode
from clarion.chains.model import JsonValue

_FORMS: Final = tuple(frozenset({form}) for form in ("bytes", "text", "float", "map", "cbor"))
_TAGGED: Final = frozenset({"tag", "value"})
_MOST_NESTED: Final = 32


def to_json(value: Value) -> JsonValue:
    """The JSON of a value."""
    return _to_json(value, 0)


def _to_json(value: Value, nested: int) -> JsonValue:
    if isinstance(value, str):
        return {"text": f"0x{value.encode().hex()}"} if "\x00" in value else value
    if value is None or isinstance(value, int):
        return value
    if isinstance(value, bytes):
        return {"bytes": f"0x{value.hex()}"}
    if isinstance(value, Float):
        return {"float": f"0x{encode(value).hex()}"}
    if nested == _MOST_NESTED:
        return {"cbor": f"0x{encode(value).hex()}"}
    if isinstance(value, list):
        return [_to_json(item, nested + 1) for item in value]
    if isinstance(value, Tag):
        return {"tag": value.number, "value": _to_json(value.value, nested + 1)}
    return _map_to_json(value, nested + 1)


def _map_to_json(value: Map, nested: int) -> JsonValue:
    plain = {key: item for key, item in value.pairs if isinstance(key, str) and "\x00" not in key}
    names = plain.keys()
    if len(plain) == len(value.pairs) and names not in _FORMS and names != _TAGGED:
        return {key: _to_json(item, nested) for key, item in plain.items()}
    return {"map": [[_to_json(key, nested), _to_json(item, nested)] for key, item in value.pairs]}


def from_json(value: JsonValue) -> Value:
    """The value whose JSON it is. Raises ValueError where it is the JSON of none.

    The order of an object's keys is that of the JSON, which a database may have changed.
    """
    if isinstance(value, list):
        return [from_json(item) for item in value]
    if not isinstance(value, dict):
        return value
    if value.keys() == _TAGGED:
        number = value["tag"]
        if not isinstance(number, int):
            raise ValueError(f"the number of a tag is an integer, not {number!r}")
        return Tag(number, from_json(value["value"]))
    if value.keys() not in _FORMS:
        return Map([(key, from_json(item)) for key, item in value.items()])
    ((form, content),) = value.items()
    if form == "map":
        return _map_from_json(content)
    data = _bytes(content)
    if form == "bytes":
        return data
    if form == "text":
        return data.decode()
    decoded = decode(data)
    if form == "float" and not isinstance(decoded, Float):
        raise ValueError(f"{content!r} is no float in CBOR")
    return decoded


def _map_from_json(content: JsonValue) -> Map:
    pairs: list[tuple[Value, Value]] = []
    for pair in content if isinstance(content, list) else [content]:
        if not isinstance(pair, list) or len(pair) != 2:
            raise ValueError(f"a map is a list of pairs, not {content!r}")
        pairs.append((from_json(pair[0]), from_json(pair[1])))
    return Map(pairs)


def _bytes(content: JsonValue) -> bytes:
    if not isinstance(content, str) or not content.startswith("0x"):
        raise ValueError(f"bytes are text of 0x and hexadecimal, not {content!r}")
    return bytes.fromhex(content[2:])
