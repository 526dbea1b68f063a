"""Clarity values: one frozen type per Clarity type, and their wire format both ways.

The format is that of SIP-005's Clarity value representation, with the limits of the node's own codec
(stacks-core, ``clarity-types/src/types/serialization.rs``): values nest 32 types deep at most, sequences hold at most
1 MiB, and one value takes at most 2 MiB on the wire. Decoding accepts exactly the canonical form, so
``encode(decode(raw)) == raw`` for whatever decodes.

>>> value = Tuple({"amount": UInt(5), "owner": principal("ST1PQHQKV0RJXZFY1DGX8MNSNYVE3VGZJSRTPGZGM")})
>>> decode(encode(value)) == value
True
"""

import re
from binascii import unhexlify
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, TypeAlias, TypeVar

from msgspec import Struct
from msgspec.structs import force_setattr

from clarion.chains.stacks import c32
from clarion.chains.stacks.codec_errors import DecodeError, EncodeError

MAX_SEQUENCE_BYTES: Final = 1 << 20
"""Most bytes in a buffer or string-ascii, and most entries in a list or tuple."""
MAX_UTF8_CHARACTERS: Final = MAX_SEQUENCE_BYTES // 4
MAX_VALUE_DEPTH: Final = 32
"""Most types above and including the innermost one; ``none`` and an empty list count the type they leave open."""
MAX_WIRE_BYTES: Final = 2 << 20
MAX_NAME_BYTES: Final = 128

INT_MIN: Final = -(1 << 127)
INT_MAX: Final = (1 << 127) - 1
UINT_MAX: Final = (1 << 128) - 1

_CLARITY_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_\-!?+<>=/*]*|[-+=/*]|[<>]=?")
_CONTRACT_NAME = re.compile(r"[a-zA-Z][a-zA-Z0-9_\-]*|__transient")
_NOT_CLARITY_ASCII = re.compile(r"[^\t\n\x0c\r\x20-\x7e]")
_NOT_CLARITY_ASCII_BYTES = re.compile(rb"[^\t\n\x0c\r\x20-\x7e]")


@lru_cache(maxsize=8192)
def check_clarity_name(name: str) -> str:
    """``name`` itself if it can name a function, asset or tuple key; else ``EncodeError``."""
    if len(name) > MAX_NAME_BYTES or not _CLARITY_NAME.fullmatch(name):
        raise EncodeError(f"not a Clarity name: {name[:140]!r}")
    return name


@lru_cache(maxsize=8192)
def check_contract_name(name: str) -> str:
    """``name`` itself if it can name a contract; else ``EncodeError``."""
    if len(name) > MAX_NAME_BYTES or not _CONTRACT_NAME.fullmatch(name):
        raise EncodeError(f"not a contract name: {name[:140]!r}")
    return name


class Value(Struct, frozen=True, gc=False):
    """Base of all Clarity values."""


class Int(Value, frozen=True, gc=False):
    """``int``: a signed 128-bit integer."""

    value: int

    def __post_init__(self) -> None:
        if not INT_MIN <= self.value <= INT_MAX:
            raise EncodeError(f"int must fit in 128 bits signed, found {self.value}")


class UInt(Value, frozen=True, gc=False):
    """``uint``: an unsigned 128-bit integer."""

    value: int

    def __post_init__(self) -> None:
        if not 0 <= self.value <= UINT_MAX:
            raise EncodeError(f"uint must be 0 to 2^128 - 1, found {self.value}")


class Bool(Value, frozen=True, gc=False):
    """``true`` or ``false``."""

    value: bool


class Buffer(Value, frozen=True, gc=False):
    """``(buff n)``: bytes."""

    value: bytes

    def __post_init__(self) -> None:
        if len(self.value) > MAX_SEQUENCE_BYTES:
            raise EncodeError(f"a buffer holds at most {MAX_SEQUENCE_BYTES} bytes, found {len(self.value)}")


class StringAscii(Value, frozen=True, gc=False):
    """``(string-ascii n)``: printable ASCII and white space."""

    value: str

    def __post_init__(self) -> None:
        if len(self.value) > MAX_SEQUENCE_BYTES:
            raise EncodeError(f"string-ascii holds at most {MAX_SEQUENCE_BYTES} characters, found {len(self.value)}")
        wrong = _NOT_CLARITY_ASCII.search(self.value)
        if wrong:
            raise EncodeError(f"string-ascii cannot hold {wrong.group()!r} (character {wrong.start()})")


class StringUtf8(Value, frozen=True, gc=False):
    """``(string-utf8 n)``: Unicode text; its length counts code points."""

    value: str

    def __post_init__(self) -> None:
        if len(self.value) > MAX_UTF8_CHARACTERS:
            raise EncodeError(f"string-utf8 holds at most {MAX_UTF8_CHARACTERS} characters, found {len(self.value)}")
        if not self.value.isascii():
            try:
                self.value.encode()
            except UnicodeEncodeError as error:
                raise EncodeError(f"string-utf8 cannot hold a lone surrogate (character {error.start})") from None


class StandardPrincipal(Value, frozen=True, gc=False):
    """An account: address version and 20-byte hash. ``str()`` gives the c32check address."""

    version: int
    hash160: bytes

    def __post_init__(self) -> None:
        if not 0 <= self.version < 32:
            raise EncodeError(f"address version must be 0 to 31, found {self.version}")
        if len(self.hash160) != c32.HASH_LENGTH:
            raise EncodeError(f"address hash must be {c32.HASH_LENGTH} bytes, found {len(self.hash160)}")

    @property
    def address(self) -> str:
        """The c32check address."""
        return c32.encode_address(self.version, self.hash160)

    def __str__(self) -> str:
        return self.address


class ContractPrincipal(Value, frozen=True, gc=False):
    """A contract: who deployed it and its name. ``str()`` gives ``ADDRESS.name``."""

    issuer: StandardPrincipal
    name: str

    def __post_init__(self) -> None:
        check_contract_name(self.name)

    def __str__(self) -> str:
        return f"{self.issuer.address}.{self.name}"


class Ok(Value, frozen=True, gc=False):
    """``(ok value)``."""

    value: Value


class Err(Value, frozen=True, gc=False):
    """``(err value)``."""

    value: Value


class OptionalNone(Value, frozen=True, gc=False):
    """``none``; use the constant ``NONE``."""


class Some(Value, frozen=True, gc=False):
    """``(some value)``."""

    value: Value


class List(Value, frozen=True, gc=False):
    """``(list ...)``. The node also wants all entries to be of one type; that is not checked here."""

    values: Sequence[Value]

    def __post_init__(self) -> None:
        if type(self.values) is not tuple:
            force_setattr(self, "values", tuple(self.values))
        if len(self.values) > MAX_SEQUENCE_BYTES:
            raise EncodeError(f"a list holds at most {MAX_SEQUENCE_BYTES} entries, found {len(self.values)}")

    def __iter__(self) -> Iterator[Value]:
        return iter(self.values)

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, index: int) -> Value:
        return self.values[index]


class Tuple(Value, frozen=True, gc=False):
    """``{key: value, ...}``, at least one key; whatever order the keys are given in, they are kept in byte order."""

    fields: Mapping[str, Value]

    def __post_init__(self) -> None:
        names = list(self.fields)
        if not names:
            raise EncodeError("a tuple has at least one key")
        for name in names:
            check_clarity_name(name)
        ordered = sorted(names)
        if ordered != names or type(self.fields) is not dict:
            force_setattr(self, "fields", {name: self.fields[name] for name in ordered})

    def __iter__(self) -> Iterator[str]:
        return iter(self.fields)

    def __len__(self) -> int:
        return len(self.fields)

    def __getitem__(self, name: str) -> Value:
        return self.fields[name]

    def __hash__(self) -> int:
        return hash(tuple(self.fields.items()))


Principal: TypeAlias = StandardPrincipal | ContractPrincipal

NONE: Final = OptionalNone()
TRUE: Final = Bool(True)
FALSE: Final = Bool(False)


@lru_cache(maxsize=65_536)
def principal(text: str) -> Principal:
    """The principal that ``ADDRESS`` or ``ADDRESS.contract-name`` names. Raises ``AddressError`` or ``EncodeError``."""
    address, dot, name = text.partition(".")
    issuer = StandardPrincipal(*c32.decode_address(address))
    return ContractPrincipal(issuer, name) if dot else issuer


def contract_principal(text: str) -> ContractPrincipal:
    """The contract that ``ADDRESS.contract-name`` names."""
    found = principal(text)
    if not isinstance(found, ContractPrincipal):
        raise EncodeError(f"expected ADDRESS.contract-name, found {text!r}")
    return found


# Reading. One reader serves several outputs (typed values here, plain forms in clarity_forms): it knows the format and
# is given what to make of each type. Positions are passed and returned as plain integers, which in Python is faster
# than a cursor object; an index past the end raises IndexError, which read_exactly turns into a DecodeError.

T = TypeVar("T")
Read: TypeAlias = Callable[[bytes, int, int], tuple[T, int]]


# Big-endian is its default. Looking it up once makes reading an integer a third faster.
_from_bytes = int.from_bytes


class _Names(dict[bytes, str]):
    """Checked names by their wire bytes, so that a name seen before costs one look-up."""

    _MOST = 8192

    def __init__(self, check: Callable[[str], str]) -> None:
        super().__init__()
        self._check = check

    def __missing__(self, raw: bytes) -> str:
        name = self._check(raw.decode("ascii"))
        if len(self) < self._MOST:
            self[raw] = name
        return name


_CLARITY_NAMES = _Names(check_clarity_name)
_CONTRACT_NAMES = _Names(check_contract_name)


def _read_name(data: bytes, at: int, names: _Names, what: str) -> tuple[str, int]:
    start = at + 1
    end = start + data[at]
    raw = data[start:end]
    if len(raw) != end - start:
        raise DecodeError(f"{what} of {end - start} bytes", start, f"{len(raw)} bytes")
    try:
        return names[raw], end
    except ValueError:
        raise DecodeError(what, start, repr(raw)) from None


def read_clarity_name(data: bytes, at: int) -> tuple[str, int]:
    """A Clarity name at ``at``: the name and the position after it."""
    return _read_name(data, at, _CLARITY_NAMES, "a Clarity name")


def read_contract_name(data: bytes, at: int) -> tuple[str, int]:
    """A contract name at ``at``: the name and the position after it."""
    return _read_name(data, at, _CONTRACT_NAMES, "a contract name")


#: Texts that contracts print again and again, by their bytes.
_SHORT_TEXTS: Final[dict[bytes, str]] = {}
_SHORT_TEXT_BYTES: Final = 32
_MOST_SHORT_TEXTS: Final = 8192


def build_reader(
    *,
    int_: Callable[[int], T],
    uint: Callable[[int], T],
    buffer: Callable[[bytes], T],
    true: T,
    false: T,
    standard_principal: Callable[[bytes], T],
    contract_principal: Callable[[bytes, str], T],
    ok: Callable[[T], T],
    err: Callable[[T], T],
    none: T,
    some: Callable[[T, bool], T],
    list_: Callable[[list[T]], T],
    tuple_: Callable[[dict[str, T]], T],
    ascii_: Callable[[str], T],
    utf8: Callable[[str], T],
) -> Read[T]:
    """A reader of one wire value, ``(data, at, depth) -> (output, position after it)``.

    Principals are given as the 21 bytes of version and hash; ``some`` is also told whether it holds an optional.
    """

    def sized(data: bytes, at: int, what: str) -> tuple[bytes, int]:
        start = at + 4
        length = _from_bytes(data[at:start])
        if start > len(data) or length > MAX_SEQUENCE_BYTES:
            raise DecodeError(f"the length of {what}, at most {MAX_SEQUENCE_BYTES}", at, data[at:start].hex())
        end = start + length
        if end > len(data):
            raise DecodeError(f"{what} of {length} bytes", start, f"{len(data) - start} bytes")
        return data[start:end], end

    def read_int(data: bytes, at: int, depth: int) -> tuple[T, int]:
        end = at + 16
        if end > len(data):
            raise DecodeError("an int of 16 bytes", at, f"{len(data) - at} bytes")
        return int_(_from_bytes(data[at:end], signed=True)), end

    def read_uint(data: bytes, at: int, depth: int) -> tuple[T, int]:
        end = at + 16
        if end > len(data):
            raise DecodeError("a uint of 16 bytes", at, f"{len(data) - at} bytes")
        return uint(_from_bytes(data[at:end])), end

    def read_buffer(data: bytes, at: int, depth: int) -> tuple[T, int]:
        raw, end = sized(data, at, "a buffer")
        return buffer(raw), end

    def read_true(data: bytes, at: int, depth: int) -> tuple[T, int]:
        return true, at

    def read_false(data: bytes, at: int, depth: int) -> tuple[T, int]:
        return false, at

    def principal_bytes(data: bytes, at: int) -> tuple[bytes, int]:
        end = at + 21
        if end > len(data):
            raise DecodeError("an address of 21 bytes", at, f"{len(data) - at} bytes")
        if data[at] >= 32:
            raise DecodeError("an address version of 0 to 31", at, str(data[at]))
        return data[at:end], end

    def read_standard(data: bytes, at: int, depth: int) -> tuple[T, int]:
        raw, end = principal_bytes(data, at)
        return standard_principal(raw), end

    def read_contract(data: bytes, at: int, depth: int) -> tuple[T, int]:
        raw, end = principal_bytes(data, at)
        name, end = read_contract_name(data, end)
        return contract_principal(raw, name), end

    def inner(data: bytes, at: int, depth: int) -> tuple[T, int]:
        if depth >= MAX_VALUE_DEPTH:
            raise DecodeError(f"at most {MAX_VALUE_DEPTH} nested types", at)
        return readers[data[at]](data, at + 1, depth)

    def read_ok(data: bytes, at: int, depth: int) -> tuple[T, int]:
        value, end = inner(data, at, depth + 1)
        return ok(value), end

    def read_err(data: bytes, at: int, depth: int) -> tuple[T, int]:
        value, end = inner(data, at, depth + 1)
        return err(value), end

    def read_none(data: bytes, at: int, depth: int) -> tuple[T, int]:
        if depth >= MAX_VALUE_DEPTH - 1:
            raise DecodeError(f"at most {MAX_VALUE_DEPTH} nested types", at)
        return none, at

    def read_some(data: bytes, at: int, depth: int) -> tuple[T, int]:
        value, end = inner(data, at, depth + 1)
        return some(value, data[at] in _OPTIONAL_TAGS), end

    def entries(data: bytes, at: int, depth: int, what: str) -> tuple[int, int]:
        start = at + 4
        count = _from_bytes(data[at:start])
        # Every entry takes at least a byte, so a count beyond the input is refused before anything is allocated.
        if start > len(data) or count > MAX_SEQUENCE_BYTES or count > len(data) - start:
            raise DecodeError(f"a count of {what} that follow", at, data[at:start].hex())
        if depth >= MAX_VALUE_DEPTH - 1:
            raise DecodeError(f"at most {MAX_VALUE_DEPTH} nested types", at)
        return count, start

    def read_list(data: bytes, at: int, depth: int) -> tuple[T, int]:
        count, at = entries(data, at, depth, "list entries")
        depth += 1
        values: list[T] = []
        append = values.append
        for _ in range(count):
            value, at = readers[data[at]](data, at + 1, depth)
            append(value)
        return list_(values), at

    def read_tuple(data: bytes, at: int, depth: int) -> tuple[T, int]:
        count, at = entries(data, at, depth, "tuple keys")
        if not count:
            raise DecodeError("a tuple with at least one key", at)
        depth += 1
        fields: dict[str, T] = {}
        names = _CLARITY_NAMES
        size = len(data)
        before = ""
        for _ in range(count):
            start = at + 1
            end = start + data[at]
            try:
                name = names[data[start:end]]
            except ValueError:
                raise DecodeError("a Clarity name", start, repr(data[start:end])) from None
            if name <= before:
                raise DecodeError(f"tuple keys in order, each once, after {before!r}", start, repr(name))
            before = name
            # Integers are most of what is printed; the call of their own reader is half its cost.
            if data[end] == _UINT_TAG and (at := end + 17) <= size:
                fields[name] = uint(_from_bytes(data[end + 1 : at]))
            else:
                fields[name], at = readers[data[end]](data, end + 1, depth)
        return tuple_(fields), at

    def read_ascii(data: bytes, at: int, depth: int) -> tuple[T, int]:
        raw, end = sized(data, at, "a string-ascii")
        text = _SHORT_TEXTS.get(raw)
        if text is None:
            wrong = _NOT_CLARITY_ASCII_BYTES.search(raw)
            if wrong:
                raise DecodeError("printable ASCII or white space", at + 4 + wrong.start(), wrong.group().hex())
            text = raw.decode("ascii")
            if len(raw) <= _SHORT_TEXT_BYTES and len(_SHORT_TEXTS) < _MOST_SHORT_TEXTS:
                _SHORT_TEXTS[raw] = text
        return ascii_(text), end

    def read_utf8(data: bytes, at: int, depth: int) -> tuple[T, int]:
        raw, end = sized(data, at, "a string-utf8")
        try:
            text = raw.decode()
        except UnicodeDecodeError as error:
            raise DecodeError("UTF-8", at + 4 + error.start, raw[error.start : error.end].hex()) from None
        if len(text) > MAX_UTF8_CHARACTERS:
            raise DecodeError(f"at most {MAX_UTF8_CHARACTERS} characters", at, str(len(text)))
        return utf8(text), end

    def bad_tag(data: bytes, at: int, depth: int) -> tuple[T, int]:
        raise DecodeError("a Clarity type prefix of 0x00 to 0x0e", at - 1, f"0x{data[at - 1]:02x}")

    known: tuple[Read[T], ...] = (
        read_int,
        read_uint,
        read_buffer,
        read_true,
        read_false,
        read_standard,
        read_contract,
        read_ok,
        read_err,
        read_none,
        read_some,
        read_list,
        read_tuple,
        read_ascii,
        read_utf8,
    )
    readers: tuple[Read[T], ...] = known + (bad_tag,) * (256 - len(known))

    def read(data: bytes, at: int, depth: int) -> tuple[T, int]:
        return readers[data[at]](data, at + 1, depth)

    return read


_UINT_TAG = 1
_OPTIONAL_TAGS = (9, 10)


@lru_cache(maxsize=65_536)
def standard_principal_from_wire(raw: bytes) -> StandardPrincipal:
    """The account of 21 wire bytes: version and hash."""
    return StandardPrincipal(raw[0], raw[1:])


@lru_cache(maxsize=65_536)
def _contract_principal_from_wire(raw: bytes, name: str) -> ContractPrincipal:
    return ContractPrincipal(standard_principal_from_wire(raw), name)


def _some(value: Value, _holds_optional: bool) -> Value:
    return Some(value)


read_value: Final[Read[Value]] = build_reader(
    int_=Int,
    uint=UInt,
    buffer=Buffer,
    true=TRUE,
    false=FALSE,
    standard_principal=standard_principal_from_wire,
    contract_principal=_contract_principal_from_wire,
    ok=Ok,
    err=Err,
    none=NONE,
    some=_some,
    list_=List,
    tuple_=Tuple,
    ascii_=StringAscii,
    utf8=StringUtf8,
)


def read_exactly(read: Read[T], raw: bytes) -> T:
    """Read one value that takes the whole input. Raises ``DecodeError``, also where bytes are left over."""
    if len(raw) > MAX_WIRE_BYTES:
        raise DecodeError(f"at most {MAX_WIRE_BYTES} bytes", MAX_WIRE_BYTES, f"{len(raw)} bytes")
    try:
        value, end = read(raw, 0, 0)
    except IndexError:
        raise DecodeError("more bytes", len(raw), "the end") from None
    if end != len(raw):
        raise DecodeError("the end", end, f"{len(raw) - end} more bytes")
    return value


def decode(raw: bytes) -> Value:
    """The value whose wire bytes are ``raw``. Raises ``DecodeError``."""
    return read_exactly(read_value, raw)


def decode_hex(text: str) -> Value:
    """The value whose wire bytes are given in hexadecimal, with or without ``0x``. Raises ``DecodeError``."""
    return decode(bytes_from_hex(text))


def bytes_from_hex(text: str) -> bytes:
    """The bytes of a hexadecimal text, with or without ``0x``. Raises ``DecodeError``."""
    digits = text[2:] if text[:2] in ("0x", "0X") else text
    try:
        return unhexlify(digits)
    except ValueError as error:
        raise DecodeError("hexadecimal digits, two per byte", 0, f"{digits[:20]!r}: {error}") from None


def encode(value: Value) -> bytes:
    """The wire bytes of ``value``. Raises ``EncodeError`` where it is too deep or too large."""
    out = bytearray()
    write_value(value, out)
    return bytes(out)


def encode_hex(value: Value) -> str:
    """The wire bytes of ``value`` in hexadecimal with ``0x``, as nodes and wallets exchange them."""
    return "0x" + encode(value).hex()


def write_value(value: Value, out: bytearray) -> None:
    """Append the wire bytes of ``value`` to ``out``."""
    start = len(out)
    _write(value, out, 0)
    if len(out) - start > MAX_WIRE_BYTES:
        raise EncodeError(f"a value takes at most {MAX_WIRE_BYTES} bytes, found {len(out) - start}")


def write_name(name: str, out: bytearray) -> None:
    """Append a Clarity or contract name with its one-byte length to ``out``."""
    out.append(len(name))
    out += name.encode("ascii")


def write_standard_principal(address: StandardPrincipal, out: bytearray) -> None:
    """Append an address without type prefix: version and hash."""
    out.append(address.version)
    out += address.hash160


def _write(value: Value, out: bytearray, depth: int) -> None:
    writer = _WRITERS.get(type(value))
    if writer is None:
        raise EncodeError(f"not a Clarity value: {type(value).__name__}")
    if depth >= MAX_VALUE_DEPTH:
        raise EncodeError(f"a value nests at most {MAX_VALUE_DEPTH} types")
    writer(value, out, depth)


def _write_int(value: Any, out: bytearray, depth: int) -> None:
    out.append(0)
    out += value.value.to_bytes(16, "big", signed=True)


def _write_uint(value: Any, out: bytearray, depth: int) -> None:
    out.append(1)
    out += value.value.to_bytes(16, "big")


def _write_buffer(value: Any, out: bytearray, depth: int) -> None:
    out.append(2)
    out += len(value.value).to_bytes(4, "big")
    out += value.value


def _write_bool(value: Any, out: bytearray, depth: int) -> None:
    out.append(3 if value.value else 4)


def _write_standard(value: Any, out: bytearray, depth: int) -> None:
    out.append(5)
    write_standard_principal(value, out)


def _write_contract(value: Any, out: bytearray, depth: int) -> None:
    out.append(6)
    write_standard_principal(value.issuer, out)
    write_name(value.name, out)


def _write_ok(value: Any, out: bytearray, depth: int) -> None:
    out.append(7)
    _write(value.value, out, depth + 1)


def _write_err(value: Any, out: bytearray, depth: int) -> None:
    out.append(8)
    _write(value.value, out, depth + 1)


def _leaves_type_open(depth: int) -> None:
    if depth >= MAX_VALUE_DEPTH - 1:
        raise EncodeError(f"a value nests at most {MAX_VALUE_DEPTH} types")


def _write_none(value: Any, out: bytearray, depth: int) -> None:
    _leaves_type_open(depth)
    out.append(9)


def _write_some(value: Any, out: bytearray, depth: int) -> None:
    out.append(10)
    _write(value.value, out, depth + 1)


def _write_list(value: Any, out: bytearray, depth: int) -> None:
    _leaves_type_open(depth)
    out.append(11)
    out += len(value.values).to_bytes(4, "big")
    for entry in value.values:
        _write(entry, out, depth + 1)


def _write_tuple(value: Any, out: bytearray, depth: int) -> None:
    out.append(12)
    out += len(value.fields).to_bytes(4, "big")
    for name, field in value.fields.items():
        write_name(name, out)
        _write(field, out, depth + 1)


def _write_ascii(value: Any, out: bytearray, depth: int) -> None:
    out.append(13)
    out += len(value.value).to_bytes(4, "big")
    out += value.value.encode("ascii")


def _write_utf8(value: Any, out: bytearray, depth: int) -> None:
    raw = value.value.encode()
    out.append(14)
    out += len(raw).to_bytes(4, "big")
    out += raw


_WRITERS: dict[type[Value], Callable[[Any, bytearray, int], None]] = {
    Int: _write_int,
    UInt: _write_uint,
    Buffer: _write_buffer,
    Bool: _write_bool,
    StandardPrincipal: _write_standard,
    ContractPrincipal: _write_contract,
    Ok: _write_ok,
    Err: _write_err,
    OptionalNone: _write_none,
    Some: _write_some,
    List: _write_list,
    Tuple: _write_tuple,
    StringAscii: _write_ascii,
    StringUtf8: _write_utf8,
}
