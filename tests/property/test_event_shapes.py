"""What is read by its layout is what is read in the general way, and what is refused there is not accepted here."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from clarion.chains.stacks import clarity as cl
from clarion.chains.stacks.clarity_forms import decode_json
from clarion.chains.stacks.codec_errors import DecodeError
from clarion.event_shapes import MOST_LAYOUTS, MOST_OF_A_LENGTH, Shape


class Printed(msgspec.Struct, frozen=True, rename="kebab", forbid_unknown_fields=True):
    topic: str
    v: Literal[1]
    amount: Annotated[int, msgspec.Meta(ge=0)]
    seq: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
    who: str
    is_on: bool
    limit: Annotated[int, msgspec.Meta(ge=0)] | None = None
    note: str | None = None


class Bounded(msgspec.Struct):
    amount: Annotated[int, msgspec.Meta(le=100)]


class Checked(msgspec.Struct):
    amount: int

    def __post_init__(self) -> None:
        if self.amount > 1:
            raise ValueError("more than 1")


ACCOUNT = cl.StandardPrincipal(26, bytes(range(20)))
accounts = st.builds(cl.StandardPrincipal, st.integers(0, 31), st.binary(min_size=20, max_size=20))
names = st.sampled_from(["a", "vault", "token"])
numbers = st.one_of(st.integers(0, 5), st.integers(2**62, 2**64), st.integers(0, cl.UINT_MAX)).map(cl.UInt)
texts = st.one_of(
    st.text(st.sampled_from("abc"), max_size=3).map(cl.StringAscii),
    st.binary(max_size=3).map(cl.Buffer),
    st.sampled_from(["x", "é", "\x00"]).map(cl.StringUtf8),
    st.just(cl.StringAscii("y" * 300)),
    accounts,
    st.builds(cl.ContractPrincipal, accounts, names),
)


def optional(of: st.SearchStrategy[cl.Value]) -> st.SearchStrategy[cl.Value]:
    return st.one_of(st.just(cl.NONE), of.map(cl.Some), of.map(cl.Some).map(cl.Some))


anything = st.one_of(numbers, texts, st.integers(-3, 3).map(cl.Int), st.booleans().map(cl.Bool))
fitting = st.fixed_dictionaries(
    {
        "topic": st.sampled_from(["moved", "ended"]).map(cl.StringAscii),
        "v": st.one_of(st.just(cl.UInt(1)), st.integers(0, 2).map(cl.UInt)),
        "amount": numbers,
        "seq": numbers,
        "who": texts,
        "is-on": st.booleans().map(cl.Bool),
    },
    optional={"limit": optional(numbers), "note": optional(texts)},
)
odd = st.dictionaries(st.sampled_from(["topic", "v", "amount", "seq", "who", "is-on", "more"]), anything, min_size=1)
prints = st.one_of(fitting, fitting, odd).map(cl.Tuple)


def generally(raw: bytes, payload: type[Any] = Printed) -> Any:
    """The struct, or None where it is refused."""
    try:
        return msgspec.convert(decode_json(raw), payload)
    except (DecodeError, msgspec.ValidationError):
        return None


@given(values=st.lists(prints, min_size=2, max_size=12), data=st.data())
def test_a_layout_gives_what_the_general_way_gives(values: list[cl.Value], data: st.DataObject) -> None:
    shape = Shape(Printed)
    raws = [cl.encode(value) for value in values]
    for raw in raws:
        if generally(raw) is not None:
            shape.learn(raw)
    for raw in raws:
        damaged = bytearray(raw)
        for place in data.draw(st.lists(st.integers(0, len(raw) - 1), max_size=3)):
            damaged[place] = data.draw(st.integers(0, 255))
        for seen in (raw, bytes(damaged), raw[:-1], raw + b"\x00"):
            read = shape.read(seen)
            assert read is None or read == generally(seen)


@given(amount=st.integers(0, 2**63 - 1), who=accounts, is_on=st.booleans())
@example(amount=2**63 - 1, who=ACCOUNT, is_on=False)
def test_a_known_layout_is_read(amount: int, who: cl.StandardPrincipal, is_on: bool) -> None:
    shape = Shape(Printed)
    shape.learn(printed())
    raw = printed(amount=cl.UInt(amount), who=who, **{"is-on": cl.Bool(is_on)})
    assert shape.read(raw) == generally(raw)
    assert shape.read(raw).amount == amount


def printed(**fields: cl.Value) -> bytes:
    usual: dict[str, cl.Value] = {
        "topic": cl.StringAscii("moved"),
        "v": cl.UInt(1),
        "amount": cl.UInt(7),
        "seq": cl.UInt(1),
        "who": ACCOUNT,
        "is-on": cl.TRUE,
    }
    return cl.encode(cl.Tuple(usual | fields))


@pytest.mark.parametrize(
    "raw",
    [
        printed(v=cl.UInt(2)),
        printed(amount=cl.UInt(2**63)),
        printed(amount=cl.Int(-1)),
        printed(who=cl.ContractPrincipal(ACCOUNT, "a")),
        printed(topic=cl.StringAscii("mov\x7f\x7f".replace("\x7f", "e"))).replace(b"movee", b"mov\xff\xff"),
        printed(**{"is-on": cl.NONE}),
        printed(limit=cl.NONE),
        printed()[:-1],
        b"",
    ],
)
def test_what_differs_in_more_than_contents_goes_the_general_way(raw: bytes) -> None:
    shape = Shape(Printed)
    shape.learn(printed())
    assert shape.read(raw) is None


@pytest.mark.parametrize("payload", [Bounded, Checked])
def test_a_struct_that_checks_contents_is_always_read_the_general_way(payload: type[msgspec.Struct]) -> None:
    raw = cl.encode(cl.Tuple({"amount": cl.UInt(1)}))
    shape = Shape(payload)
    assert generally(raw, payload) is not None
    shape.learn(raw)
    assert shape.read(raw) is None


@pytest.mark.parametrize("value", [cl.Some(cl.Tuple({"amount": cl.UInt(1)})), cl.UInt(1)])
def test_what_is_no_tuple_has_no_layout(value: cl.Value) -> None:
    class Amount(msgspec.Struct):
        amount: int

    raw = cl.encode(value)
    shape = Shape(Amount)
    shape.learn(raw)
    assert shape.read(raw) is None


def test_layouts_are_bounded() -> None:
    shape = Shape(Printed)
    raws = [
        printed(topic=cl.StringAscii("t" * length), note=note)
        for length in range(1, MOST_LAYOUTS // 2 + 2)
        for note in (cl.NONE, cl.Some(ACCOUNT))
    ]
    for raw in raws:
        shape.learn(raw)
    assert [shape.read(raw) is None for raw in raws] == [False] * MOST_LAYOUTS + [True, True]
    other = Shape(Printed)
    same_length = [
        printed(topic=cl.StringAscii("t" * length), who=cl.ContractPrincipal(ACCOUNT, "n" * (20 - length)))
        for length in range(1, MOST_OF_A_LENGTH + 2)
    ]
    assert len({len(raw) for raw in same_length}) == 1
    for raw in same_length:
        other.learn(raw)
    assert [other.read(raw) is None for raw in same_length] == [False] * MOST_OF_A_LENGTH + [True]
