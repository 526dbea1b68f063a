"""CBOR as ciborium reads and writes it. Examples marked RFC are of RFC 8949, appendix A."""

import pytest

from clarion.chains.bitcoin.charms import cbor
from clarion.chains.bitcoin.charms.cbor import MOST_NESTED, CborError, Float, Map, Reader, Tag, Value, decode, encode


def bits(data: str) -> Float:
    return Float(int(data, 16))


@pytest.mark.parametrize(
    ("data", "value"),
    [
        ("00", 0),  # RFC
        ("17", 23),  # RFC
        ("1818", 24),  # RFC
        ("1903e8", 1000),  # RFC
        ("1a000f4240", 1000000),  # RFC
        ("1bffffffffffffffff", 18446744073709551615),  # RFC
        ("c249010000000000000000", 18446744073709551616),  # RFC
        ("3bffffffffffffffff", -18446744073709551616),  # RFC
        ("c349010000000000000000", -18446744073709551617),  # RFC
        ("20", -1),  # RFC
        ("3863", -100),  # RFC
        ("f90000", bits("0000000000000000")),  # RFC
        ("f98000", bits("8000000000000000")),  # RFC
        ("f93e00", bits("3ff8000000000000")),  # RFC
        ("f97bff", bits("40effc0000000000")),  # RFC
        ("fa47c35000", bits("40f86a0000000000")),  # RFC
        ("fa7f7fffff", bits("47efffffe0000000")),  # RFC
        ("fb7e37e43c8800759c", bits("7e37e43c8800759c")),  # RFC
        ("f90001", bits("3e70000000000000")),  # RFC
        ("fbc010666666666666", bits("c010666666666666")),  # RFC
        ("f97c00", bits("7ff0000000000000")),  # RFC
        ("f97e00", bits("7ff8000000000000")),  # RFC
        ("f9fc00", bits("fff0000000000000")),  # RFC
        ("fa7fc00001", bits("7ff8000020000000")),
        ("fb7ff0000000000001", bits("7ff0000000000001")),
        ("f4", False),  # RFC
        ("f5", True),  # RFC
        ("f6", None),  # RFC
        ("c11a514b67b0", Tag(1, 1363896240)),  # RFC
        ("d818456449455446", Tag(24, b"dIETF")),  # RFC
        ("40", b""),  # RFC
        ("4401020304", b"\x01\x02\x03\x04"),  # RFC
        ("62c3bc", "\u00fc"),  # RFC
        ("64f0908591", "\U00010151"),  # RFC
        ("8301820203820405", [1, [2, 3], [4, 5]]),  # RFC
        ("a201020304", Map([(1, 2), (3, 4)])),  # RFC
        ("a26161016162820203", Map([("a", 1), ("b", [2, 3])])),  # RFC
        ("a2616201616101", Map([("b", 1), ("a", 1)])),
        ("a2616101616102", Map([("a", 1), ("a", 2)])),
        ("a181f600", Map([([None], 0)])),
    ],
)
def test_what_is_written_in_one_way(data: str, value: Value) -> None:
    assert decode(bytes.fromhex(data)) == value
    assert encode(value) == bytes.fromhex(data)


@pytest.mark.parametrize(
    ("data", "value", "anew"),
    [
        ("1800", 0, "00"),
        ("1b0000000000000001", 1, "01"),
        ("3800", -1, "20"),
        ("fb3ff8000000000000", bits("3ff8000000000000"), "f93e00"),
        ("fa7fc00000", bits("7ff8000000000000"), "f97e00"),
        ("fa7f800001", bits("7ff8000020000000"), "fa7fc00001"),
        ("f814", False, "f4"),
        ("5f42010243030405ff", b"\x01\x02\x03\x04\x05", "450102030405"),  # RFC
        ("5f5f4101ff4102ff", b"\x01\x02", "420102"),
        ("7f657374726561646d696e67ff", "streaming", "6973747265616d696e67"),  # RFC
        ("9fff", [], "80"),  # RFC
        ("9f018202039f0405ffff", [1, [2, 3], [4, 5]], "8301820203820405"),  # RFC
        ("bf6161019f02ff03ff", Map([("a", 1), ([2], 3)]), "a2616101810203"),
        ("9a0000000101", [1], "8101"),
        ("c24105", 5, "05"),
        ("c25f41004105ff", 5, "05"),
        ("c34105", -6, "25"),
        (
            "c2510100000000000000000000000000000000",
            Tag(2, b"\x01" + bytes(16)),
            "c2510100000000000000000000000000000000",
        ),
        ("d8000f", Tag(0, 15), "c00f"),
    ],
)
def test_what_is_read_in_other_forms_is_written_in_one(data: str, value: Value, anew: str) -> None:
    assert decode(bytes.fromhex(data)) == value
    assert encode(value).hex() == anew


@pytest.mark.parametrize(
    "data",
    [
        "",
        "18",
        "1901",
        "1c",
        "1f",
        "3f",
        "df00",
        "ff",
        "81",
        "9f00",
        "a100",
        "bf00ff",
        "5f6161ff",
        "5f41",
        "7f4161ff",
        "62ff80",
        "7f61c361bcff",
        "5bffffffffffffffff",
        "9bffffffffffffffff",
        "bbffffffffffffffff00",
        "e0",
        "f7",
        "f817",
        "f820",
        "f8ff",
        "c2",
        "c201",
        "c26161",
        "c35080000000000000000000000000000000",
        "c0",
        "0000",
    ],
)
def test_what_is_refused(data: str) -> None:
    with pytest.raises(CborError, match="at byte"):
        decode(bytes.fromhex(data))


@pytest.mark.parametrize("begin", ["81", "9f", "a100", "c6"])
def test_nesting_ends_somewhere(begin: str) -> None:
    begun = bytes.fromhex(begin)
    ends = b"\xff" if begin == "9f" else b""
    deepest = begun * MOST_NESTED + b"\x00" + ends * MOST_NESTED
    assert decode(encode(decode(deepest))) == decode(deepest)
    with pytest.raises(CborError, match="nested more than 256"):
        decode(begun + deepest + ends)


@pytest.mark.parametrize("data", ["850001020304", "8200a3000102030405", "9fa0a0a0a0a0ff", "9f0081000101ff"])
def test_there_are_only_so_many_values(monkeypatch: pytest.MonkeyPatch, data: str) -> None:
    monkeypatch.setattr(cbor, "MOST_VALUES", 4)
    assert decode(bytes.fromhex("8400010203")) == [0, 1, 2, 3]
    with pytest.raises(CborError, match="more than 4 values"):
        decode(bytes.fromhex(data))


def test_values_too_deep_to_be_read_are_not_written() -> None:
    value: Value = 0
    for _ in range(MOST_NESTED + 1):
        value = [value]
    with pytest.raises(CborError, match="nested"):
        encode(value)


def test_errors_survive_processes() -> None:
    error = CborError("expected an array", 7)
    kind, arguments = error.__reduce__()
    assert str(kind(*arguments)) == str(error) == "expected an array at byte 7"


# Typed reading: what Rust's types take beyond one form.


def test_tags_before_what_has_a_type_are_skipped() -> None:
    assert Reader(bytes.fromhex("c105")).unsigned(255) == 5
    assert Reader(bytes.fromhex("c1f5")).boolean() is True
    assert Reader(bytes.fromhex("c16174")).character() == "t"
    assert Reader(bytes.fromhex("c1420102")).fixed_bytes(2) == b"\x01\x02"
    assert Reader(bytes.fromhex("c1820102")).fixed_octets(2) == b"\x01\x02"
    assert Reader(bytes.fromhex("c1820102")).octets() == b"\x01\x02"
    assert Reader(bytes.fromhex("c1a10102")).map(lambda: 1, lambda: 2) == [(1, 2)]


def test_bytes_are_an_array_or_a_byte_string() -> None:
    assert Reader(bytes.fromhex("43010203")).octets() == b"\x01\x02\x03"
    assert Reader(bytes.fromhex("5f41014102ff")).octets() == b"\x01\x02"
    assert Reader(bytes.fromhex("9f0102ff")).octets() == b"\x01\x02"


@pytest.mark.parametrize("data", ["420102", "8101", "83010203", "9f01ff", "f6"])
def test_where_their_number_is_fixed_they_are_an_array(data: str) -> None:
    with pytest.raises(CborError):
        Reader(bytes.fromhex(data)).fixed_octets(2)


@pytest.mark.parametrize(
    ("data", "problem"),
    [("190100", "from 0 to 255"), ("20", "from 0 to 255"), ("f5", "an integer"), ("6131", "an integer"), ("c1", "end")],
)
def test_numbers_out_of_range_are_refused(data: str, problem: str) -> None:
    with pytest.raises(CborError, match=problem):
        Reader(bytes.fromhex(data)).unsigned(255)


@pytest.mark.parametrize("data", ["626161", "60", "61", "7f6161ff", "4161", "64f09085", "65f0908591ff"])
def test_what_is_no_character_is_refused(data: str) -> None:
    with pytest.raises(CborError):
        Reader(bytes.fromhex(data)).character()


def test_fields_by_name() -> None:
    seen: list[int] = []

    def read(data: str) -> set[str]:
        reader = Reader(bytes.fromhex(data))
        return reader.fields({"a": lambda: seen.append(reader.unsigned(9))})

    assert read("a26161016162820203") == {"a"}
    assert read("bf616103ff") == {"a"}
    assert seen == [1, 3]
    with pytest.raises(CborError, match="the field a comes twice"):
        read("a2616101616102")
    for other in ("a10001", "a1416102"):
        with pytest.raises(CborError, match="a field's name"):
            read(other)


def test_items_of_an_array_are_exactly_so_many() -> None:
    seen: list[int] = []

    def read(data: str) -> None:
        reader = Reader(bytes.fromhex(data))
        reader.items(lambda: seen.append(reader.integer()), lambda: seen.append(reader.integer()))
        assert reader.integer() == 9

    read("82010209")
    read("9f0304ff09")
    assert seen == [1, 2, 3, 4]
    for other in ("80", "8101", "8301020309", "9f01ff", "9f010203ff", "9f0102"):
        with pytest.raises(CborError):
            read(other)
    with pytest.raises(CborError, match="says so"):
        Reader(bytes.fromhex("9f01ff")).items(lambda: None, definite=True)


def test_null_is_nothing() -> None:
    assert Reader(b"\xf6").optional(lambda: 1) is None
    assert Reader(b"\x00").optional(lambda: 1) == 1
    assert Reader(b"\xf7").optional(lambda: 1) == 1
