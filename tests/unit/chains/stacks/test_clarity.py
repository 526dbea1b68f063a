import pickle
from typing import Any

import pytest

from clarion.chains.stacks import clarity as cl
from clarion.chains.stacks.clarity_forms import decode_json, decode_python, to_json, to_python, to_repr
from clarion.chains.stacks.codec_errors import AddressError, CodecError, DecodeError, EncodeError

from .conftest import AskStacksJs

ALICE = cl.principal("ST1PQHQKV0RJXZFY1DGX8MNSNYVE3VGZJSRTPGZGM")
TOKEN = cl.contract_principal("ST1PQHQKV0RJXZFY1DGX8MNSNYVE3VGZJSRTPGZGM.token")
SOME_OF_EVERYTHING = cl.Tuple(
    {
        "uint": cl.UInt(cl.UINT_MAX),
        "int": cl.Int(cl.INT_MIN),
        "yes": cl.TRUE,
        "no": cl.FALSE,
        "buffer": cl.Buffer(b"\x00\xff"),
        "ascii": cl.StringAscii('say "hi"\\\n\t\r'),
        "utf8": cl.StringUtf8('caf\u00e9 \U0001f9e1 "\\\n'),
        "alice": ALICE,
        "token": TOKEN,
        "none": cl.NONE,
        "some": cl.Some(cl.UInt(1)),
        "deeper": cl.Some(cl.Some(cl.NONE)),
        "ok": cl.Ok(cl.TRUE),
        "err": cl.Err(cl.UInt(404)),
        "list": cl.List([cl.UInt(1), cl.UInt(2)]),
        "tuple": cl.Tuple({"b": cl.Int(-1), "a": cl.Int(0)}),
    }
)


def nested(depth: int, leaf: cl.Value = cl.TRUE) -> cl.Value:
    for _ in range(depth - 1):
        leaf = cl.Some(leaf)
    return leaf


def wire_nested(depth: int, leaf: bytes = b"\x03") -> bytes:
    return b"\x0a" * (depth - 1) + leaf


def test_everything_comes_back() -> None:
    assert cl.decode(cl.encode(SOME_OF_EVERYTHING)) == SOME_OF_EVERYTHING
    assert cl.decode_hex(cl.encode_hex(SOME_OF_EVERYTHING)) == SOME_OF_EVERYTHING
    assert cl.decode_hex(cl.encode_hex(SOME_OF_EVERYTHING)[2:]) == SOME_OF_EVERYTHING


def test_values_are_frozen_hashable_and_can_go_to_another_process() -> None:
    with pytest.raises(AttributeError):
        cl.UInt(1).value = 2  # type: ignore[misc]
    again = pickle.loads(pickle.dumps(SOME_OF_EVERYTHING))
    assert again == SOME_OF_EVERYTHING
    assert len({again, SOME_OF_EVERYTHING}) == 1
    distinct: list[cl.Value] = [cl.Int(1), cl.UInt(1), cl.Ok(cl.TRUE), cl.Err(cl.TRUE), cl.Some(cl.TRUE)]
    assert len(set(distinct)) == len(distinct)


def test_tuples_are_kept_in_byte_order() -> None:
    made = cl.Tuple({"b": cl.TRUE, "A": cl.TRUE, "a": cl.TRUE, "a-b": cl.TRUE, "a_b": cl.TRUE, "a0": cl.TRUE})
    assert list(made) == ["A", "a", "a-b", "a0", "a_b", "b"]
    assert made == cl.Tuple(dict(reversed(list(made.fields.items()))))
    assert made["a-b"] == cl.TRUE
    assert len(made) == 6


def test_lists_behave_as_sequences() -> None:
    made = cl.List([cl.UInt(1), cl.UInt(2)])
    assert (len(made), made[1], list(made)) == (2, cl.UInt(2), [cl.UInt(1), cl.UInt(2)])
    assert made == cl.List((cl.UInt(1), cl.UInt(2)))


@pytest.mark.parametrize(
    "make",
    [
        lambda: cl.UInt(-1),
        lambda: cl.UInt(1 << 128),
        lambda: cl.Int(1 << 127),
        lambda: cl.Int(-(1 << 127) - 1),
        lambda: cl.Buffer(bytes(cl.MAX_SEQUENCE_BYTES + 1)),
        lambda: cl.StringAscii("é"),
        lambda: cl.StringAscii("\x00"),
        lambda: cl.StringAscii("\x7f"),
        lambda: cl.StringAscii("a" * (cl.MAX_SEQUENCE_BYTES + 1)),
        lambda: cl.StringUtf8("\ud800"),
        lambda: cl.StringUtf8("a" * (cl.MAX_UTF8_CHARACTERS + 1)),
        lambda: cl.StandardPrincipal(32, bytes(20)),
        lambda: cl.StandardPrincipal(22, bytes(21)),
        lambda: cl.ContractPrincipal(cl.StandardPrincipal(22, bytes(20)), "1st"),
        lambda: cl.ContractPrincipal(cl.StandardPrincipal(22, bytes(20)), "a" * 129),
        lambda: cl.Tuple({}),
        lambda: cl.Tuple({"": cl.TRUE}),
        lambda: cl.Tuple({"a b": cl.TRUE}),
        lambda: cl.Tuple({"a" * 129: cl.TRUE}),
        lambda: cl.List([cl.TRUE] * (cl.MAX_SEQUENCE_BYTES + 1)),
        lambda: cl.contract_principal("ST1PQHQKV0RJXZFY1DGX8MNSNYVE3VGZJSRTPGZGM"),
    ],
)
def test_what_clarity_cannot_hold_is_refused(make: Any) -> None:
    with pytest.raises(EncodeError):
        make()


@pytest.mark.parametrize("text", ["", "ST1PQHQKV0RJXZFY1DGX8MNSNYVE3VGZJSRTPGZGN", ".token", "hello.token"])
def test_mistyped_principals_are_refused(text: str) -> None:
    with pytest.raises(AddressError):
        cl.principal(text)


def test_a_contract_needs_a_name() -> None:
    with pytest.raises(EncodeError, match="contract name"):
        cl.principal("ST1PQHQKV0RJXZFY1DGX8MNSNYVE3VGZJSRTPGZGM.")


def test_only_values_are_encoded() -> None:
    with pytest.raises(EncodeError, match="int"):
        cl.encode(cl.Some(5))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("raw", "offset", "expected"),
    [
        ("", 0, "more bytes"),
        ("0f", 0, "type prefix"),
        ("ff", 0, "type prefix"),
        ("00ff", 1, "int of 16"),
        ("01" + "00" * 15, 1, "uint of 16"),
        ("02000000", 1, "length of a buffer"),
        ("0200000002aa", 5, "buffer of 2 bytes"),
        ("0200100001", 1, "length of a buffer"),
        ("0303", 1, "the end"),
        ("0516" + "00" * 19, 1, "address of 21"),
        ("0520" + "00" * 20, 1, "address version"),
        ("0616" + "00" * 20, 22, "more bytes"),
        ("0616" + "00" * 20 + "0130", 23, "contract name"),
        ("0616" + "00" * 20 + "0461", 23, "contract name of 4"),
        ("0616" + "00" * 20 + "00", 23, "contract name"),
        ("0b0000", 1, "count of list entries"),
        ("0b00000002" + "03", 1, "count of list entries"),
        ("0bffffffff", 1, "count of list entries"),
        ("0c00000000", 5, "at least one key"),
        ("0c00000001" + "0161" + "0f", 7, "type prefix"),
        ("0c00000001" + "0120" + "03", 6, "Clarity name"),
        ("0c00000001" + "01ff" + "03", 6, "Clarity name"),
        ("0c00000001" + "00" + "03", 6, "Clarity name"),
        ("0c00000002" + "016103" + "016103", 9, "after 'a'"),
        ("0c00000002" + "016203" + "016103", 9, "after 'b'"),
        ("0d00000001" + "00", 5, "printable ASCII"),
        ("0d00000002" + "6180", 6, "printable ASCII"),
        ("0e00000002" + "61ff", 6, "UTF-8"),
        ("0e00000003" + "eda080", 5, "UTF-8"),
        ("0e00000002" + "c080", 5, "UTF-8"),
        ("0a", 1, "more bytes"),
        ("07", 1, "more bytes"),
    ],
)
def test_bad_bytes_are_refused_where_they_go_wrong(raw: str, offset: int, expected: str) -> None:
    with pytest.raises(DecodeError, match=expected) as caught:
        cl.decode_hex(raw)
    assert caught.value.offset == offset
    for decode in (decode_json, decode_python):
        with pytest.raises(DecodeError, match=expected):
            decode(bytes.fromhex(raw))


@pytest.mark.parametrize("text", ["0x0", "zz", "0x03 ", " 03", "0x\uff103", "03\n"])
def test_bad_hexadecimal_is_refused(text: str) -> None:
    with pytest.raises(DecodeError, match="hexadecimal"):
        cl.decode_hex(text)


def test_depth_is_limited_as_in_the_node() -> None:
    assert cl.decode(wire_nested(32)) == nested(32)
    assert cl.encode(nested(32)) == wire_nested(32)
    with pytest.raises(DecodeError, match="32 nested types"):
        cl.decode(wire_nested(33))
    with pytest.raises(EncodeError, match="32 types"):
        cl.encode(nested(33))


@pytest.mark.parametrize(("leaf", "wire"), [(cl.NONE, "09"), (cl.List([]), "0b00000000")])
def test_what_leaves_its_type_open_counts_twice(leaf: cl.Value, wire: str) -> None:
    raw = bytes.fromhex(wire)
    assert cl.decode(wire_nested(31, raw)) == nested(31, leaf)
    assert cl.encode(nested(31, leaf)) == wire_nested(31, raw)
    with pytest.raises(DecodeError):
        cl.decode(wire_nested(32, raw))
    with pytest.raises(EncodeError):
        cl.encode(nested(32, leaf))


@pytest.mark.parametrize("prefix", [b"\x0a", b"\x07", b"\x08", b"\x0b\x00\x00\x00\x01", b"\x0c\x00\x00\x00\x01\x01a"])
def test_hostile_nesting_is_an_error_of_the_codec(prefix: bytes) -> None:
    with pytest.raises(DecodeError):
        cl.decode(prefix * 100_000)


def test_size_is_limited() -> None:
    megabyte = cl.Buffer(bytes(cl.MAX_SEQUENCE_BYTES))
    assert cl.decode(cl.encode(megabyte)) == megabyte
    with pytest.raises(EncodeError, match="at most"):
        cl.encode(cl.List([megabyte, megabyte]))
    with pytest.raises(DecodeError, match="at most"):
        cl.decode(bytes(cl.MAX_WIRE_BYTES + 1))
    longest = cl.StringUtf8("é" * cl.MAX_UTF8_CHARACTERS)
    assert cl.decode(cl.encode(longest)) == longest
    too_long = b"a" * (cl.MAX_UTF8_CHARACTERS + 1)
    with pytest.raises(DecodeError, match="characters"):
        cl.decode(b"\x0e" + len(too_long).to_bytes(4, "big") + too_long)


def test_names_beyond_the_cache_are_still_read() -> None:
    for number in range(10_000):
        made = cl.Tuple({f"key-{number}": cl.TRUE})
        assert cl.decode(cl.encode(made)) == made


def test_errors_are_value_errors_and_survive_pickling() -> None:
    assert issubclass(CodecError, ValueError)
    with pytest.raises(DecodeError) as caught:
        cl.decode(b"\x0f")
    again = pickle.loads(pickle.dumps(caught.value))
    assert (str(again), again.offset, again.expected) == (str(caught.value), 0, caught.value.expected)


def test_plain_python_form() -> None:
    assert to_python(SOME_OF_EVERYTHING) == {
        "uint": cl.UINT_MAX,
        "int": cl.INT_MIN,
        "yes": True,
        "no": False,
        "buffer": b"\x00\xff",
        "ascii": 'say "hi"\\\n\t\r',
        "utf8": 'café 🧡 "\\\n',
        "alice": "ST1PQHQKV0RJXZFY1DGX8MNSNYVE3VGZJSRTPGZGM",
        "token": "ST1PQHQKV0RJXZFY1DGX8MNSNYVE3VGZJSRTPGZGM.token",
        "none": None,
        "some": 1,
        "deeper": {"some": {"some": None}},
        "ok": {"ok": True},
        "err": {"err": 404},
        "list": [1, 2],
        "tuple": {"a": 0, "b": -1},
    }


def test_json_form_writes_buffers_as_hexadecimal_and_keeps_nul_out_of_strings() -> None:
    assert to_json(cl.Buffer(b"\x00\xff")) == "0x00ff"
    assert to_json(cl.StringUtf8("a\x00é")) == {"utf8": "0x6100c3a9"}
    assert to_json(cl.StringUtf8("aé")) == "aé"
    assert to_json(cl.List([TOKEN])) == ["ST1PQHQKV0RJXZFY1DGX8MNSNYVE3VGZJSRTPGZGM.token"]


def test_nested_optionals_stay_apart() -> None:
    some = cl.Some
    values = [cl.NONE, some(cl.NONE), some(some(cl.NONE)), some(some(cl.UInt(1))), some(some(some(cl.UInt(1))))]
    forms = [to_json(value) for value in values]
    assert forms == [None, {"some": None}, {"some": {"some": None}}, {"some": 1}, {"some": {"some": 1}}]


def test_source_form() -> None:
    assert to_repr(cl.Tuple({"b": cl.List([]), "a": cl.Some(ALICE)})) == (
        "(tuple (a (some 'ST1PQHQKV0RJXZFY1DGX8MNSNYVE3VGZJSRTPGZGM)) (b (list)))"
    )
    assert to_repr(cl.StringUtf8("é\x00")) == 'u"\\u{e9}\\u{0}"'


def test_clarity_evaluates_the_source_form_to_the_value(ask_stacks_js: AskStacksJs) -> None:
    values = [
        SOME_OF_EVERYTHING,
        *SOME_OF_EVERYTHING.fields.values(),
        cl.Int(cl.INT_MAX),
        cl.Buffer(b""),
        cl.StringAscii(""),
        cl.StringAscii("".join(map(chr, range(0x20, 0x7F)))),
        cl.StringAscii("form\x0cfeed"),
        cl.StringUtf8("".join(map(chr, range(0x250)))),
        cl.StringUtf8("\\u{41} \U0010ffff"),
        cl.List([cl.Ok(cl.StringAscii("a")), cl.Ok(cl.StringAscii("b"))]),
    ]
    answer = ask_stacks_js("evaluate", request=[to_repr(value) for value in values])
    assert answer == [cl.encode(value).hex() for value in values]
