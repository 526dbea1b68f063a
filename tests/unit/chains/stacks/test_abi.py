from typing import Any

import pytest

from clarion.chains.stacks import clarity as cl
from clarion.chains.stacks.abi import ClarityType, from_python, function_arguments
from clarion.chains.stacks.clarity_forms import to_json, to_python
from clarion.chains.stacks.codec_errors import EncodeError

ALICE = "ST1PQHQKV0RJXZFY1DGX8MNSNYVE3VGZJSRTPGZGM"
BUFFER: ClarityType = {"buffer": {"length": 4}}
LIST: ClarityType = {"list": {"type": "uint128", "length": 3}}
TUPLE: ClarityType = {"tuple": [{"name": "id", "type": "uint128"}, {"name": "who", "type": {"optional": "principal"}}]}
RESPONSE: ClarityType = {"response": {"ok": "bool", "error": "uint128"}}
TWICE: ClarityType = {"optional": {"optional": "uint128"}}

FITTING: list[tuple[ClarityType, cl.Value]] = [
    ("uint128", cl.UInt(5)),
    ("int128", cl.Int(-5)),
    ("bool", cl.TRUE),
    ("principal", cl.principal(ALICE)),
    ("principal", cl.principal(f"{ALICE}.token")),
    ("trait_reference", cl.principal(f"{ALICE}.token")),
    ("none", cl.NONE),
    (BUFFER, cl.Buffer(b"\x00\x01")),
    ({"string-ascii": {"length": 5}}, cl.StringAscii("hello")),
    ({"string-utf8": {"length": 5}}, cl.StringUtf8("hé\x00✓")),
    ({"optional": BUFFER}, cl.NONE),
    ({"optional": BUFFER}, cl.Some(cl.Buffer(b"x"))),
    (TWICE, cl.NONE),
    (TWICE, cl.Some(cl.NONE)),
    (TWICE, cl.Some(cl.Some(cl.UInt(1)))),
    (RESPONSE, cl.Ok(cl.FALSE)),
    (RESPONSE, cl.Err(cl.UInt(404))),
    (LIST, cl.List([cl.UInt(1), cl.UInt(2)])),
    (LIST, cl.List([])),
    (TUPLE, cl.Tuple({"id": cl.UInt(1), "who": cl.Some(cl.principal(ALICE))})),
]


@pytest.mark.parametrize(("clarity_type", "value"), FITTING)
def test_all_forms_of_a_value_give_the_value(clarity_type: ClarityType, value: cl.Value) -> None:
    assert from_python(value, clarity_type) == value
    assert from_python(to_python(value), clarity_type) == value
    assert from_python(to_json(value), clarity_type) == value


@pytest.mark.parametrize(
    ("value", "clarity_type", "reason"),
    [
        (True, "uint128", "expected uint, found bool"),
        ("5", "uint128", "expected uint, found str"),
        (5.0, "int128", "expected int, found float"),
        (cl.Int(5), "uint128", "expected uint, found Int"),
        (-1, "uint128", "value: uint must be"),
        (1, "bool", "expected bool, found int"),
        (None, "principal", "expected principal, found None"),
        (ALICE, "trait_reference", "expected a contract"),
        (1, "none", "expected none"),
        ("00", BUFFER, "expected bytes"),
        (b"12345", BUFFER, "at most 4 bytes, found 5"),
        ("0x0", BUFFER, "hexadecimal"),
        ("hello!", {"string-ascii": {"length": 5}}, "at most 5 characters"),
        ("é", {"string-ascii": {"length": 5}}, "cannot hold"),
        (b"x", {"string-ascii": {"length": 5}}, "expected string-ascii"),
        ({"utf8": "0xff"}, {"string-utf8": {"length": 5}}, "not UTF-8"),
        ({"utf8": 5}, {"string-utf8": {"length": 5}}, "expected string-utf8"),
        (5, TWICE, "optional of an optional"),
        (True, RESPONSE, 'expected {"ok": ..}'),
        ({"ok": True, "err": 1}, RESPONSE, 'expected {"ok": ..}'),
        ([1, 2, 3, 4], LIST, "at most 3 entries"),
        ([1, "2"], LIST, r"value\[1\]: expected uint"),
        ("123", LIST, "expected a list"),
        ({"id": 1}, TUPLE, "expected the keys"),
        ({"id": 1, "who": None, "why": None}, TUPLE, "expected the keys"),
        ({"id": 1, "who": 5}, TUPLE, "value.who: expected principal"),
        ([], TUPLE, "expected a dict"),
        (1, "uint256", "unknown Clarity type"),
        (1, {"map": {}}, "unknown Clarity type"),
        (1, {}, "unknown Clarity type"),
    ],
)
def test_what_does_not_fit_is_refused_and_named(value: Any, clarity_type: ClarityType, reason: str) -> None:
    with pytest.raises(EncodeError, match=reason):
        from_python(value, clarity_type)


def test_a_mistyped_principal_is_refused() -> None:
    with pytest.raises(EncodeError, match="value: checksum"):
        from_python(ALICE[:-1] + "X", "principal")


INTERFACE = {
    "functions": [
        {
            "name": "transfer",
            "access": "public",
            "args": [{"name": "amount", "type": "uint128"}, {"name": "memo", "type": {"optional": BUFFER}}],
        }
    ]
}


def test_arguments_are_put_in_the_functions_order() -> None:
    arguments = function_arguments(INTERFACE, "transfer", {"memo": None, "amount": 5})
    assert arguments == (cl.UInt(5), cl.NONE)


@pytest.mark.parametrize(
    ("function", "arguments", "reason"),
    [
        ("burn", {}, "no function 'burn'"),
        ("transfer", {"amount": 5}, r"takes \(amount, memo\), found \(amount\)"),
        ("transfer", {"amount": 5, "memo": None, "to": 1}, "takes"),
        ("transfer", {"amount": "5", "memo": None}, "transfer: amount: expected uint"),
    ],
)
def test_wrong_arguments_are_refused(function: str, arguments: dict[str, Any], reason: str) -> None:
    with pytest.raises(EncodeError, match=reason):
        function_arguments(INTERFACE, function, arguments)
