"""A cursor over bytes for the parts of a transaction; Clarity values are read by ``clarity.read_value``."""

from enum import IntEnum
from typing import TypeVar

from clarion.chains.stacks.clarity import (
    ContractPrincipal,
    Principal,
    StandardPrincipal,
    Value,
    read_clarity_name,
    read_contract_name,
    read_value,
    standard_principal_from_wire,
    write_name,
    write_standard_principal,
)
from clarion.chains.stacks.codec_errors import DecodeError, EncodeError

E = TypeVar("E", bound=IntEnum)

MAX_CONTRACT_NAME_BYTES = 40
"""Longest contract name in a transaction; inside a Clarity value it may have 128 (stacks-core, for old blocks)."""


class Cursor:
    """Where in ``data`` reading has got to. Every method reads at ``at`` and moves it, or raises ``DecodeError``."""

    __slots__ = ("at", "data")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def take(self, count: int, what: str) -> bytes:
        """The next ``count`` bytes."""
        start = self.at
        end = start + count
        if end > len(self.data):
            raise DecodeError(f"{what} of {count} bytes", start, f"{len(self.data) - start} bytes")
        self.at = end
        return self.data[start:end]

    def integer(self, size: int, what: str) -> int:
        """An unsigned big-endian integer of ``size`` bytes."""
        start = self.at
        end = start + size
        if end > len(self.data):
            raise DecodeError(f"{what} of {size} bytes", start, f"{len(self.data) - start} bytes")
        self.at = end
        return int.from_bytes(self.data[start:end])

    def choice(self, options: dict[int, E], what: str) -> E:
        """One byte that must be a value of an enumeration."""
        at = self.at
        option = options.get(self.data[at]) if at < len(self.data) else None
        if option is None:
            known = ", ".join(f"0x{value:02x}" for value in options)
            raise DecodeError(f"{what} ({known})", at, f"0x{self.data[at]:02x}" if at < len(self.data) else "the end")
        self.at = at + 1
        return option

    def address(self) -> StandardPrincipal:
        """An address without type prefix: version and hash."""
        start = self.at
        raw = self.take(21, "an address")
        if raw[0] >= 32:
            raise DecodeError("an address version of 0 to 31", start, str(raw[0]))
        return standard_principal_from_wire(raw)

    def contract_name(self) -> str:
        """A contract name, at most 40 bytes."""
        start = self.at
        try:
            name, self.at = read_contract_name(self.data, start)
        except IndexError:
            raise DecodeError("a contract name", start, "the end") from None
        if len(name) > MAX_CONTRACT_NAME_BYTES:
            raise DecodeError(f"a contract name of at most {MAX_CONTRACT_NAME_BYTES} bytes", start, str(len(name)))
        return name

    def clarity_name(self) -> str:
        """A Clarity name."""
        start = self.at
        try:
            name, self.at = read_clarity_name(self.data, start)
        except IndexError:
            raise DecodeError("a Clarity name", start, "the end") from None
        return name

    def contract(self) -> ContractPrincipal:
        """An address and a contract name, without type prefix."""
        return ContractPrincipal(self.address(), self.contract_name())

    def value(self) -> Value:
        """A Clarity value."""
        try:
            value, self.at = read_value(self.data, self.at, 0)
        except IndexError:
            raise DecodeError("more bytes", len(self.data), "the end") from None
        return value

    def principal(self) -> Principal:
        """A Clarity value that is a principal."""
        start = self.at
        value = self.value()
        if not isinstance(value, StandardPrincipal | ContractPrincipal):
            raise DecodeError("a principal", start, type(value).__name__)
        return value

    def count(self, what: str) -> int:
        """A four-byte count of entries, each of which takes at least a byte."""
        start = self.at
        number = self.integer(4, f"a count of {what}")
        if number > len(self.data) - self.at:
            raise DecodeError(f"a count of {what} that follow", start, str(number))
        return number

    def finish(self) -> None:
        """Check that nothing is left."""
        left = len(self.data) - self.at
        if left:
            raise DecodeError("the end", self.at, f"{left} more bytes")


def unsigned(value: int, size: int, what: str) -> bytes:
    """``value`` in ``size`` big-endian bytes. Raises ``EncodeError`` where it does not fit."""
    if not 0 <= value < 1 << (8 * size):
        raise EncodeError(f"{what} must fit in {8 * size} bits unsigned, found {value}")
    return value.to_bytes(size, "big")


def fixed(value: bytes, size: int, what: str) -> bytes:
    """``value`` itself if it has ``size`` bytes; else ``EncodeError``."""
    if len(value) != size:
        raise EncodeError(f"{what} must be {size} bytes, found {len(value)}")
    return value


def write_contract(contract: ContractPrincipal, out: bytearray) -> None:
    """Append an address and a contract name, without type prefix."""
    write_standard_principal(contract.issuer, out)
    if len(contract.name) > MAX_CONTRACT_NAME_BYTES:
        raise EncodeError(f"a contract name has at most {MAX_CONTRACT_NAME_BYTES} characters: {contract.name!r}")
    write_name(contract.name, out)
