"""CBOR (RFC 8949) as the Charms protocol's own library, Rust's ciborium 0.2, reads and writes it.

What a spell's proof commits to is the spell written anew, so what is read has to be written exactly as ciborium would:
definite lengths, integers and floats in as few bytes as hold them, maps in the order they were read in. What is read
may be anything well-formed: indefinite lengths, integers that take more bytes than they need, tags before typed fields.

Four things that ciborium takes are refused. No encoder of the protocol writes them, and a byte of a spell could be
changed with nothing else being changed: the value ``undefined`` for null, an array that says it is longer than what is
read of it or that says no length and does not end, a field's name as a byte string, and a byte string for an array of
fixed length.

Values are ``None``, ``bool``, ``int``, ``str``, ``bytes``, ``list``, and :class:`Map`, :class:`Tag`, :class:`Float`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import Final, TypeVar, Union

from msgspec import Struct

Value = Union[None, bool, int, str, bytes, list["Value"], "Map", "Tag", "Float"]

MOST_NESTED: Final = 256
"""How deep arrays, maps and tags may be within each other, as in ciborium."""

MOST_VALUES: Final = 1_000_000
"""How many values there may be within others. A value of one byte takes up a hundred of memory, and a block may hold
millions of them; in what is relayed there is room for a tenth of this."""

_MOST_KEY_BYTES: Final = 4096
_BIGNUM_BYTES: Final = 16
_UNSIGNED, _NEGATIVE, _BYTES, _TEXT, _ARRAY, _MAP, _TAG, _OTHER = range(8)
_POSITIVE_BIGNUM, _NEGATIVE_BIGNUM = 2, 3
_FALSE, _TRUE, _NULL = 0xF4, 0xF5, 0xF6
_BREAK: Final = 0xFF
_INDEFINITE: Final = 31

_Read = TypeVar("_Read")
_Key = TypeVar("_Key")


class CborError(ValueError):
    """The bytes are not what is expected at a place. ``offset`` counts bytes from the start."""

    def __init__(self, problem: str, offset: int) -> None:
        self.problem = problem
        self.offset = offset
        super().__init__(f"{problem} at byte {offset}")

    def __reduce__(self) -> tuple[type[CborError], tuple[str, int]]:
        return (CborError, (self.problem, self.offset))


class Map(Struct, frozen=True):
    """A map: keys with values in the order of the bytes. A key may come twice."""

    pairs: list[tuple[Value, Value]]


class Tag(Struct, frozen=True):
    """A tagged value."""

    number: int
    value: Value


class Float(Struct, frozen=True):
    """A floating-point number: the 64 bits of it (IEEE 754), so that nothing is lost or rounded."""

    bits: int


class Reader:
    """Reads values off bytes, one after another, from the start. Every method raises CborError."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0
        self._nested = 0
        self._values = 0

    @property
    def offset(self) -> int:
        """Where the next value begins."""
        return self._at

    def value(self) -> Value:
        """Whatever comes."""
        start = self._at
        initial = self._peek()
        major = initial >> 5
        if major in (_UNSIGNED, _NEGATIVE):
            return self.integer()
        if major == _BYTES:
            return self._string(_BYTES)
        if major == _TEXT:
            return self._string(_TEXT).decode()
        if major == _ARRAY:
            length = self._open(_ARRAY, "an array")
            items: list[Value] = []
            while self._goes_on(length, len(items)):
                items.append(self.value())
            self._nested -= 1
            return items
        if major == _MAP:
            length = self._open(_MAP, "a map")
            pairs: list[tuple[Value, Value]] = []
            while self._goes_on(length, len(pairs)):
                pairs.append((self.value(), self.value()))
            self._nested -= 1
            return Map(pairs)
        if major == _TAG:
            return self._tagged(start)
        return self._simple_or_float(start)

    def integer(self) -> int:
        """An integer, tagged or not, also one as bytes (tags 2 and 3) of at most 128 bits."""
        while True:
            start = self._at
            major, argument = self._head()
            if major == _UNSIGNED and argument is not None:
                return argument
            if major == _NEGATIVE and argument is not None:
                return ~argument
            if major != _TAG:
                raise CborError("expected an integer", start)
            if argument in (_POSITIVE_BIGNUM, _NEGATIVE_BIGNUM):
                digits = self._bignum_digits()
                if len(digits) > _BIGNUM_BYTES:
                    raise CborError("an integer has more than 128 bits", start)
                magnitude = int.from_bytes(digits, "big")
                return ~magnitude if argument == _NEGATIVE_BIGNUM else magnitude

    def unsigned(self, most: int) -> int:
        """An integer of 0 to ``most``."""
        start = self._at
        number = self.integer()
        if not 0 <= number <= most:
            raise CborError(f"expected an integer from 0 to {most}", start)
        return number

    def boolean(self) -> bool:
        """True or false."""
        self._skip_tags()
        start = self._at
        initial = self._peek()
        if initial not in (_FALSE, _TRUE):
            raise CborError("expected true or false", start)
        self._at += 1
        return initial == _TRUE

    def character(self) -> str:
        """A text of one character."""
        self._skip_tags()
        start = self._at
        major, length = self._head()
        if major != _TEXT or length is None or length > 4:
            raise CborError("expected one character", start)
        text = self._decoded(self._take(length), start)
        if len(text) != 1:
            raise CborError("expected one character", start)
        return text

    def fixed_bytes(self, length: int) -> bytes:
        """A byte string of exactly this length, in one piece."""
        self._skip_tags()
        start = self._at
        major, found = self._head()
        if major != _BYTES or found != length:
            raise CborError(f"expected a byte string of {length}", start)
        return self._take(length)

    def octets(self) -> bytes:
        """Bytes as an array of integers, or as a byte string."""
        self._skip_tags()
        if self._peek() >> 5 == _BYTES:
            return self._string(_BYTES)
        return self._octet_array()

    def fixed_octets(self, length: int) -> bytes:
        """Bytes as an array of exactly this many integers."""
        start = self._at
        self._skip_tags()
        octets = self._octet_array()
        if len(octets) != length:
            raise CborError(f"expected {length} bytes, found {len(octets)}", start)
        return octets

    def array(self, read: Callable[[], _Read]) -> list[_Read]:
        """An array of what ``read`` reads."""
        self._skip_tags()
        remaining = self._open(_ARRAY, "an array")
        found: list[_Read] = []
        while self._goes_on(remaining, len(found)):
            found.append(read())
        self._nested -= 1
        return found

    def map(self, read_key: Callable[[], _Key], read: Callable[[], _Read]) -> list[tuple[_Key, _Read]]:
        """The keys and values of a map, in their order."""
        self._skip_tags()
        remaining = self._open(_MAP, "a map")
        found: list[tuple[_Key, _Read]] = []
        while self._goes_on(remaining, len(found)):
            found.append((read_key(), read()))
        self._nested -= 1
        return found

    def fields(self, read: Mapping[str, Callable[[], None]]) -> set[str]:
        """The fields of a map by their names, each by its own reader; others are skipped. Gives the names that came."""
        self._skip_tags()
        remaining = self._open(_MAP, "a map")
        found: set[str] = set()
        count = 0
        while self._goes_on(remaining, count):
            start = self._at
            name = self._key()
            if name in found:
                raise CborError(f"the field {name} comes twice", start)
            if name in read:
                found.add(name)
                read[name]()
            else:
                self.value()
            count += 1
        self._nested -= 1
        return found

    def items(self, *read: Callable[[], None], definite: bool = False) -> None:
        """An array of exactly so many items, each by its own reader.

        ``definite``: it has to say its length. Of a tuple that does not, ciborium leaves the end unread and takes it
        for what follows, so that it can read such a tuple only where nothing does.
        """
        self._skip_tags()
        start = self._at
        remaining = self._open(_ARRAY, "an array")
        if remaining is None and definite:
            raise CborError(f"expected an array of {len(read)} that says so", start)
        for count, read_item in enumerate(read):
            if not self._goes_on(remaining, count):
                raise CborError(f"expected an array of {len(read)}", start)
            read_item()
        if self._goes_on(remaining, len(read)):
            raise CborError(f"expected an array of {len(read)}", start)
        self._nested -= 1

    def optional(self, read: Callable[[], _Read]) -> _Read | None:
        """Null, or what ``read`` reads."""
        if self._peek() == _NULL:
            self._at += 1
            return None
        return read()

    def _key(self) -> str:
        self._skip_tags()
        start = self._at
        major, length = self._head()
        if major != _TEXT or length is None or length > _MOST_KEY_BYTES:
            raise CborError("expected a field's name", start)
        return self._decoded(self._take(length), start)

    def _octet_array(self) -> bytes:
        """An array of integers of one byte: most of a spell is in such arrays, so that they are read by themselves."""
        remaining = self._open(_ARRAY, "an array of bytes")
        data, at, end = self._data, self._at, len(self._data) - 1
        octets = bytearray()
        while remaining is None or len(octets) < remaining:
            initial = data[at] if at < end else _BREAK
            if initial < 24:
                octets.append(initial)
                at += 1
            elif initial == 24:
                octets.append(data[at + 1])
                at += 2
            else:
                self._at = at
                if not self._goes_on(remaining, len(octets)):
                    at = self._at
                    break
                octets.append(self.unsigned(0xFF))
                at = self._at
        self._at = at
        self._nested -= 1
        return bytes(octets)

    def _peek(self) -> int:
        try:
            return self._data[self._at]
        except IndexError:
            raise CborError("the bytes end", self._at) from None

    def _take(self, length: int) -> bytes:
        end = self._at + length
        if end > len(self._data):
            raise CborError(f"{length} bytes are expected, the bytes end", self._at)
        taken = self._data[self._at : end]
        self._at = end
        return taken

    def _head(self) -> tuple[int, int | None]:
        """The major type of what comes, and its argument: None where its length is not said."""
        start = self._at
        initial = self._peek()
        self._at += 1
        low = initial & 31
        if low < 24:
            return initial >> 5, low
        if low <= 27:
            return initial >> 5, int.from_bytes(self._take(1 << (low - 24)), "big")
        if low != _INDEFINITE or initial >> 5 in (_UNSIGNED, _NEGATIVE, _TAG):
            raise CborError(f"the byte {initial:#04x} begins no value", start)
        return initial >> 5, None

    def _skip_tags(self) -> None:
        while self._peek() >> 5 == _TAG:
            self._head()

    def _open(self, major: int, what: str) -> int | None:
        start = self._at
        found, length = self._head()
        if found != major:
            raise CborError(f"expected {what}", start)
        self._descend(start)
        return length

    def _descend(self, start: int) -> None:
        if self._nested >= MOST_NESTED:
            raise CborError(f"values are nested more than {MOST_NESTED} deep", start)
        self._nested += 1

    def _goes_on(self, length: int | None, count: int) -> bool:
        if length is None:
            goes_on = self._peek() != _BREAK
            self._at += not goes_on
        else:
            goes_on = count < length
        self._values += goes_on
        if self._values > MOST_VALUES:
            raise CborError(f"there are more than {MOST_VALUES} values", self._at)
        return goes_on

    def _string(self, major: int) -> bytes:
        """A byte or text string, whole or in pieces."""
        start = self._at
        pieces: list[bytes] = []
        open_pieces = 0
        while True:
            piece_start = self._at
            if open_pieces and self._peek() == _BREAK:
                self._at += 1
                open_pieces -= 1
            else:
                found, length = self._head()
                if found != major:
                    raise CborError("expected a piece of a string", piece_start)
                if length is None:
                    open_pieces += 1
                else:
                    pieces.append(self._take(length))
                    if major == _TEXT:
                        self._decoded(pieces[-1], start)
            if not open_pieces:
                return b"".join(pieces)

    def _decoded(self, taken: bytes, start: int) -> str:
        try:
            return taken.decode()
        except UnicodeDecodeError:
            raise CborError("a text is not UTF-8", start) from None

    def _bignum_digits(self) -> bytes:
        if self._peek() >> 5 != _BYTES:
            raise CborError("expected an integer's bytes", self._at)
        return self._string(_BYTES).lstrip(b"\x00")

    def _tagged(self, start: int) -> Value:
        _, number = self._head()
        assert number is not None
        if number in (_POSITIVE_BIGNUM, _NEGATIVE_BIGNUM):
            digits = self._bignum_digits()
            if len(digits) > _BIGNUM_BYTES:
                return Tag(number, digits)
            magnitude = int.from_bytes(digits, "big")
            if number == _POSITIVE_BIGNUM:
                return magnitude
            if magnitude >> 127:
                raise CborError("a negative integer has more than 128 bits", start)
            return ~magnitude
        self._descend(start)
        tagged = Tag(number, self.value())
        self._nested -= 1
        return tagged

    def _simple_or_float(self, start: int) -> Value:
        initial = self._data[start]
        _, argument = self._head()
        if argument is None:
            raise CborError("a value is expected, not an end", start)
        low = initial & 31
        if low == 25:
            return Float(_widened(argument, exponent_bits=5, fraction_bits=10))
        if low == 26:
            return Float(_widened(argument, exponent_bits=8, fraction_bits=23))
        if low == 27:
            return Float(argument)
        simple = 0xE0 | argument
        if argument > 31 or simple not in (_FALSE, _TRUE, _NULL):
            raise CborError(f"the simple value {argument} is not taken", start)
        return None if simple == _NULL else simple == _TRUE


def decode(data: bytes) -> Value:
    """The one value that the bytes are. Raises CborError, also where bytes follow it."""
    reader = Reader(data)
    value = reader.value()
    if reader.offset != len(data):
        raise CborError("bytes follow the value", reader.offset)
    return value


def encode(value: Value) -> bytes:
    """The value's bytes. Raises CborError where it is nested too deep to be read again."""
    parts: list[bytes] = []
    _write(value, parts, 0)
    return b"".join(parts)


def _write(value: Value, parts: list[bytes], nested: int) -> None:
    if nested > MOST_NESTED:
        raise CborError(f"a value is nested more than {MOST_NESTED} deep", 0)
    if value is None:
        parts.append(b"\xf6")
    elif value is True or value is False:
        parts.append(b"\xf5" if value else b"\xf4")
    elif isinstance(value, int):
        parts.append(_integer(value))
    elif isinstance(value, str):
        encoded = value.encode()
        parts += (head(_TEXT, len(encoded)), encoded)
    elif isinstance(value, bytes):
        parts += (head(_BYTES, len(value)), value)
    elif isinstance(value, list):
        parts.append(head(_ARRAY, len(value)))
        for item in value:
            _write(item, parts, nested + 1)
    elif isinstance(value, Map):
        parts.append(head(_MAP, len(value.pairs)))
        for key, item in value.pairs:
            _write(key, parts, nested + 1)
            _write(item, parts, nested + 1)
    elif isinstance(value, Tag):
        parts.append(head(_TAG, value.number))
        _write(value.value, parts, nested + 1)
    else:
        parts.append(_float(value.bits))


def head(major: int, argument: int) -> bytes:
    """The bytes that begin a value of a major type (0 to 7), with a length or number of up to 64 bits."""
    kind = major << 5
    if argument < 24:
        return bytes((kind | argument,))
    if argument <= 0xFF:
        return bytes((kind | 24, argument))
    if argument <= 0xFFFF:
        return bytes((kind | 25,)) + argument.to_bytes(2, "big")
    if argument <= 0xFFFFFFFF:
        return bytes((kind | 26,)) + argument.to_bytes(4, "big")
    return bytes((kind | 27,)) + argument.to_bytes(8, "big")


def _integer(number: int) -> bytes:
    major, magnitude = (_UNSIGNED, number) if number >= 0 else (_NEGATIVE, ~number)
    if magnitude < 1 << 64:
        return head(major, magnitude)
    digits = magnitude.to_bytes((magnitude.bit_length() + 7) // 8, "big")
    tag = _POSITIVE_BIGNUM if number >= 0 else _NEGATIVE_BIGNUM
    return head(_TAG, tag) + head(_BYTES, len(digits)) + digits


def _float(bits: int) -> bytes:
    """In 2, 4 or 8 bytes: the fewest that give the same 64 bits when they are read."""
    for initial, size, exponent_bits, fraction_bits in ((0xF9, 2, 5, 10), (0xFA, 4, 8, 23)):
        narrow = _narrowed(bits, size, fraction_bits)
        if narrow is not None and _widened(narrow, exponent_bits, fraction_bits) == bits:
            return bytes((initial,)) + narrow.to_bytes(size, "big")
    return b"\xfb" + bits.to_bytes(8, "big")


def _widened(bits: int, exponent_bits: int, fraction_bits: int) -> int:
    """The 64 bits of a smaller float. What is not a number keeps its bits and is made quiet."""
    size = (1 + exponent_bits + fraction_bits) // 8
    fraction = bits & ((1 << fraction_bits) - 1)
    if (bits >> fraction_bits) & ((1 << exponent_bits) - 1) == (1 << exponent_bits) - 1 and fraction:
        sign = bits >> (exponent_bits + fraction_bits)
        return (sign << 63) | (0x7FF << 52) | (1 << 51) | (fraction << (52 - fraction_bits))
    number = struct.unpack(">e" if size == 2 else ">f", bits.to_bytes(size, "big"))[0]
    return int.from_bytes(struct.pack(">d", number), "big")


def _narrowed(bits: int, size: int, fraction_bits: int) -> int | None:
    """A smaller float near to it, or None where there is none."""
    fraction = bits & ((1 << 52) - 1)
    if (bits >> 52) & 0x7FF == 0x7FF and fraction:
        infinity = 0x7C00 if size == 2 else 0x7F80_0000
        return (bits >> 63) << (8 * size - 1) | infinity | fraction >> (52 - fraction_bits)
    number = struct.unpack(">d", bits.to_bytes(8, "big"))[0]
    try:
        return int.from_bytes(struct.pack(">e" if size == 2 else ">f", number), "big")
    except OverflowError:
        return None
