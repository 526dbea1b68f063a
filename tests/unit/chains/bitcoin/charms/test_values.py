"""Charm data as JSON."""

import json

import pytest

from clarion.chains.bitcoin.charms.cbor import Float, Map, Tag, Value, encode
from clarion.chains.bitcoin.charms.values import from_json, to_json
from clarion.chains.model import JsonValue

DEEP: Value = 0
for _ in range(256):
    DEEP = [DEEP]


@pytest.mark.parametrize(
    ("value", "as_json"),
    [
        (None, None),
        (True, True),
        (2**64 - 1, 2**64 - 1),
        (-(2**100), -(2**100)),
        ("vault", "vault"),
        ("a\x00b", {"text": "0x610062"}),
        (b"\x01\xff", {"bytes": "0x01ff"}),
        ([1, "a"], [1, "a"]),
        (Float(0x3FF8000000000000), {"float": "0xf93e00"}),
        (Tag(1, 5), {"tag": 1, "value": 5}),
        (Tag(2, b"\x01" + bytes(16)), {"tag": 2, "value": {"bytes": "0x01" + "00" * 16}}),
        (Map([("b", 1), ("a", [2])]), {"b": 1, "a": [2]}),
        (Map([]), {}),
        (Map([(1, 2)]), {"map": [[1, 2]]}),
        (Map([("a", 1), ("a", 2)]), {"map": [["a", 1], ["a", 2]]}),
        (Map([("a\x00", 1)]), {"map": [[{"text": "0x6100"}, 1]]}),
        (Map([("bytes", "0x00")]), {"map": [["bytes", "0x00"]]}),
        (Map([("tag", 1), ("value", 2)]), {"map": [["tag", 1], ["value", 2]]}),
        (Map([("tag", 1)]), {"tag": 1}),
        (Map([("bytes", 1), ("more", 2)]), {"bytes": 1, "more": 2}),
    ],
)
def test_every_form(value: Value, as_json: JsonValue) -> None:
    assert to_json(value) == as_json
    assert encode(from_json(json.loads(json.dumps(as_json)))) == encode(value)


def test_what_is_nested_deeply_is_its_bytes() -> None:
    as_json = to_json(DEEP)
    inner = as_json
    for _ in range(32):
        assert isinstance(inner, list)
        (inner,) = inner
    assert isinstance(inner, dict)
    assert list(inner) == ["cbor"]
    assert from_json(as_json) == DEEP


@pytest.mark.parametrize(
    "wrong",
    [
        {"bytes": 1},
        {"bytes": "01"},
        {"bytes": "0xz"},
        {"text": "0xff"},
        {"float": "0x00"},
        {"float": "0xf93e"},
        {"map": 1},
        {"map": [1]},
        {"map": [[1, 2, 3]]},
        {"tag": "1", "value": 0},
        {"cbor": "0x"},
    ],
)
def test_what_is_the_json_of_nothing(wrong: JsonValue) -> None:
    with pytest.raises(ValueError):
        from_json(wrong)
