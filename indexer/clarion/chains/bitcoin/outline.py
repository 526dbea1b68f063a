"""Goes through a block without reading more of its transactions than their lengths and what they spend.

Every input of every transaction has to be looked at, some thousands in a block. The loop is a small WebAssembly
program, ``outline.wat`` beside this file: it takes a fraction of a millisecond, Python takes six.
"""

from __future__ import annotations

import atexit
import sys
import threading
from array import array
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final

from clarion.chains.bitcoin.blocks import MAX_BLOCK_BYTES
from clarion.chains.bitcoin.transactions import TransactionError

if TYPE_CHECKING:  # it takes a quarter of a second, and few commands go through blocks
    import wasmtime

OUTPOINT_BYTES: Final = 36
_PAGE: Final = 1 << 16
_LEAST_TRANSACTION: Final = 10
"""Bytes of one without inputs and outputs; none has less."""
_LEAST_INPUT: Final = 41


@dataclass(slots=True)
class Outline:
    """Where a block's transactions begin (and, last, where they end), and every outpoint that they spend, in order.

    An outpoint is as transactions hold it, 36 bytes: the id in internal order and the output's index, least byte first.
    """

    starts: array[int]
    first_inputs: array[int]
    """Of each transaction: which of :attr:`outpoints` is its first."""
    outpoints: list[bytes]
    weight: int
    """Of the block."""


def outline(data: bytes) -> Outline:
    """The outline of a block's bytes. Raises TransactionError where they do not end with the last transaction."""
    if len(data) > MAX_BLOCK_BYTES:
        raise TransactionError(f"{len(data)} bytes are too many for a block")
    return _program().run(data)


class _Program:
    """One thread's instance of the program."""

    def __init__(self) -> None:
        import wasmtime

        engine, module = _compiled()
        self._store = wasmtime.Store(engine)
        self._exports: Any = wasmtime.Instance(self._store, module, []).exports(self._store)
        self._memory: Any = self._exports["memory"]

    def run(self, data: bytes) -> Outline:
        store, exports, memory = self._store, self._exports, self._memory
        size = len(data)
        starts = size + -size % 8
        firsts = starts + 4 * (size // _LEAST_TRANSACTION + 1)
        outpoints = firsts + 4 * (size // _LEAST_TRANSACTION + 1)
        missing = outpoints + OUTPOINT_BYTES * (size // _LEAST_INPUT + 1) - memory.data_len(store)
        if missing > 0:
            memory.grow(store, -(-missing // _PAGE))
        memory.write(store, data, 0)
        if not exports["outline"](store, size, starts, firsts, outpoints):
            raise TransactionError(f"the block of {size} bytes is cut off, or goes on after its last transaction")
        transactions, inputs = exports["transactions"].value(store), exports["inputs"].value(store)
        spent = bytes(memory.read(store, outpoints, outpoints + OUTPOINT_BYTES * inputs))
        return Outline(
            self._numbers(starts, transactions + 1),
            self._numbers(firsts, transactions),
            [spent[place : place + OUTPOINT_BYTES] for place in range(0, len(spent), OUTPOINT_BYTES)],
            4 * size - 3 * exports["witness_bytes"].value(store),
        )

    def _numbers(self, at: int, count: int) -> array[int]:
        numbers = array("I", self._memory.read(self._store, at, at + 4 * count))
        if sys.byteorder == "big":
            numbers.byteswap()
        return numbers


@cache
def _compiled() -> tuple[wasmtime.Engine, wasmtime.Module]:
    import wasmtime

    # What is left for the interpreter's end is freed when the library's own functions are gone already.
    atexit.register(_compiled.cache_clear)
    atexit.register(lambda: vars(_of_thread).clear())
    engine = wasmtime.Engine()
    return engine, wasmtime.Module(engine, files(__package__).joinpath("outline.wat").read_text(encoding="ascii"))


_of_thread: Final = threading.local()


def _program() -> _Program:
    program: _Program | None = getattr(_of_thread, "program", None)
    if program is None:
        program = _of_thread.program = _Program()
    return program
