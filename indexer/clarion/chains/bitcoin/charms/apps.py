"""Runs app contracts: the programs that say whether a spell may do with an app's charms what it does.

A contract is a WebAssembly module for WASI preview 1. It reads the CBOR array ``[app, tx, x, w]`` (the app that is
asked, the transaction, the app's public and private input) from standard input; not trapping is consent. What is run
when is as in the Charms protocol (charms-client and charms-app-runner 15.1): a token whose sum is kept and an NFT whose
states are kept need no consent, unless the spell gives the app an input; every other app of the spell does.

A proven spell carries the proof that its contracts consented; what is here is for spells that are yet to be proven.
"""

from __future__ import annotations

import atexit
import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from importlib import resources
from typing import Any, Final

import wasmtime
from msgspec import Struct

from clarion.chains.bitcoin.charms.cbor import Map, Value, encode
from clarion.chains.bitcoin.charms.spells import App, Coin

DEFAULT_FUEL: Final = 1_000_000_000
"""Most units of work (about a machine instruction each) of one run, as in the protocol's own runner."""
MEMORY_LIMIT: Final = 64 << 20
"""Most bytes of a module's memory."""

Charms = Mapping[App, Value]

_TOKEN, _NFT = "t", "n"
_WASI: Final = "wasi_snapshot_preview1"
_STANDARD_INPUT, _STANDARD_ERROR = 0, 2
_SUCCESS, _FAILURE = 0, -1
_MOST_REASON_BYTES: Final = 4096
_PACKAGED: Final = "charms_apps"


class AppRefusedError(Exception):
    """An app's contract does not consent to the transaction. ``reason`` is what it wrote to standard error."""

    def __init__(self, app: App, reason: str) -> None:
        self.app = app
        self.reason = reason
        super().__init__(f"the app {app_text(app)} refuses the transaction: {reason}")

    def __reduce__(self) -> tuple[type[AppRefusedError], tuple[App, str]]:
        return (AppRefusedError, (self.app, self.reason))


class InvalidModuleError(ValueError):
    """Bytes that are not a module of an app contract, or one that needs what no runner of apps gives."""


class SpellNotAllowedError(ValueError):
    """A transaction that the protocol refuses whatever its contracts say."""


class _OutOfMemoryBoundsError(Exception):
    """A call of the module names memory that it does not have."""


class AppInput(Struct, frozen=True):
    """An input of a transaction, as app contracts see it."""

    outpoint: bytes
    """36 bytes: the transaction's id in internal order, and the output's index in 4 bytes little-endian."""
    coin: Coin
    """What it spends."""
    charms: Charms = {}


class AppOutput(Struct, frozen=True):
    """An output of a transaction, as app contracts see it."""

    coin: Coin
    charms: Charms = {}


class AppTransaction(Struct, frozen=True):
    """A transaction with a spell, as app contracts see it: all inputs, and the outputs that the spell goes to."""

    ins: Sequence[AppInput]
    outs: Sequence[AppOutput]
    public_inputs: Charms
    """Every app of the spell, with its public input: None for nothing."""
    refs: Sequence[tuple[bytes, Charms]] = ()
    """Outpoints that are referred to and not spent, with their charms."""
    previous: Sequence[tuple[bytes, Value]] = ()
    """The transactions that made the inputs: id in internal order, and what Charms says of it."""


def app_text(app: App) -> str:
    """``tag/identity/vk``."""
    return f"{app.tag}/{app.identity.hex()}/{app.vk.hex()}"


def run_app(
    wasm: bytes, app: App, tx: AppTransaction, x: Value = None, w: Value = None, *, fuel: int = DEFAULT_FUEL
) -> int:
    """Ask the contract of ``app`` for consent to ``tx``; gives the units of work that this took.

    Args:
        wasm: the contract's module; compiled once for each process.
        app: whose contract it is.
        tx: the transaction.
        x: the app's public input.
        w: the app's private input.
        fuel: most units of work.

    Raises:
        AppRefusedError: the contract traps, or needs more work or memory than it may have.
        InvalidModuleError: ``wasm`` is no such module.
    """
    return run_encoded(wasm, app, encoded_call(app, tx, x, w), fuel=fuel)


def encoded_call(app: App, tx: AppTransaction, x: Value, w: Value) -> bytes:
    """What the contract of ``app`` reads from standard input: CBOR of ``[app, tx, x, w]``."""
    return encode([_app(app), _transaction(tx), x, w])


def run_encoded(wasm: bytes, app: App, given: bytes, *, fuel: int = DEFAULT_FUEL) -> int:
    """As :func:`run_app`, of a call that is encoded already."""
    module = _compiled(wasm)
    run = _Run(given)
    store = wasmtime.Store(_engine())
    store.set_fuel(fuel)
    store.set_limits(memory_size=MEMORY_LIMIT)
    try:
        start = run.linker().instantiate(store, module).exports(store)["_start"]
    except wasmtime.Trap as trap:
        raise AppRefusedError(app, run.reason(trap)) from trap
    except (wasmtime.WasmtimeError, KeyError) as error:
        raise InvalidModuleError(f"the module cannot be run: {error}") from error
    if not isinstance(start, wasmtime.Func):
        raise InvalidModuleError("the module's _start is not a function")
    try:
        start(store)
    except wasmtime.Trap as trap:
        raise AppRefusedError(app, run.reason(trap)) from trap
    except _OutOfMemoryBoundsError as error:
        raise AppRefusedError(app, str(error)) from error
    return fuel - store.get_fuel()


def check_contracts(
    tx: AppTransaction,
    modules: Mapping[bytes, bytes],
    private_inputs: Charms | None = None,
    *,
    fuel: int = DEFAULT_FUEL,
) -> list[App]:
    """Ask every contract whose consent a spell needs; gives the apps that were asked, in the order of the spell.

    Args:
        tx: the transaction.
        modules: contracts by the keys of their apps (``vk``).
        private_inputs: of apps that have one.
        fuel: most units of work of one contract.

    Raises:
        SpellNotAllowedError: the spell lacks an app of a charm that it spends or makes, has a token of no amount,
            or ``modules`` lacks a contract that is needed.
        AppRefusedError: a contract refuses.
        InvalidModuleError: a contract is no module.
    """
    given = private_inputs or {}
    for what, sides in (("spends", tx.ins), ("makes", tx.outs)):
        for app in sorted({app for side in sides for app in side.charms}):
            if app not in tx.public_inputs:
                raise SpellNotAllowedError(f"the spell {what} a charm of {app_text(app)}, which it does not list")
    asked = []
    for app in sorted(tx.public_inputs):
        x, w = tx.public_inputs[app], given.get(app)
        if x is None and w is None and is_simple_transfer(app, tx):
            continue
        if app.vk not in modules:
            raise SpellNotAllowedError(f"the contract of {app_text(app)} is needed")
        run_app(modules[app.vk], app, tx, x, w, fuel=fuel)
        asked.append(app)
    return asked


def is_simple_transfer(app: App, tx: AppTransaction) -> bool:
    """Whether the transaction keeps the sum of a token, or the states of an NFT. Raises SpellNotAllowedError."""
    if app.tag == _TOKEN:
        return _token_sum(app, tx.ins) == _token_sum(app, tx.outs)
    return app.tag == _NFT and _states(app, tx.ins) == _states(app, tx.outs)


def _token_sum(app: App, sides: Sequence[AppInput] | Sequence[AppOutput]) -> int:
    total = 0
    for side in sides:
        if app in side.charms:
            amount = side.charms[app]
            if not isinstance(amount, int) or isinstance(amount, bool) or not 0 < amount < 1 << 64:
                raise SpellNotAllowedError(f"{amount!r} is no amount of the token {app_text(app)}")
            total += amount
    return total


def _states(app: App, sides: Sequence[AppInput] | Sequence[AppOutput]) -> Counter[bytes]:
    return Counter(encode(side.charms[app]) for side in sides if app in side.charms)


def packaged_apps(protocol: str) -> dict[str, bytes]:
    """The app contracts that come with Clarion for a protocol (``zkusd``): their modules by name.

    The SHA-256 of a module is its key (``vk``). Their sources are in ``contracts/charms``.

    Raises:
        LookupError: none come for this protocol.
    """
    folder = resources.files("clarion") / _PACKAGED / protocol
    record = folder / "sha256.json"
    if not record.is_file():
        raise LookupError(f"no app contracts are packaged for {protocol!r}")
    modules = {}
    for name, expected in json.loads(record.read_bytes()).items():
        modules[name] = (folder / f"{name}.wasm").read_bytes()
        if hashlib.sha256(modules[name]).hexdigest() != expected:
            raise LookupError(f"the packaged module {protocol}/{name}.wasm is not the one of sha256.json; reinstall")
    return modules


def module_key(wasm: bytes) -> bytes:
    """The key (``vk``) of the apps whose contract this module is: its SHA-256."""
    return hashlib.sha256(wasm).digest()


def _app(app: App) -> Value:
    return [app.tag, list(app.identity), list(app.vk)]


def _charms(charms: Charms) -> Value:
    return Map([(_app(app), charms[app]) for app in sorted(charms)])


def _coin(coin: Coin) -> Value:
    return Map([("amount", coin.amount), ("dest", list(coin.script))])


def _transaction(tx: AppTransaction) -> Value:
    return Map(
        [
            ("ins", [[one.outpoint, _charms(one.charms)] for one in tx.ins]),
            ("refs", [[outpoint, _charms(charms)] for outpoint, charms in tx.refs]),
            ("outs", [_charms(one.charms) for one in tx.outs]),
            ("coin_ins", [_coin(one.coin) for one in tx.ins]),
            ("coin_outs", [_coin(one.coin) for one in tx.outs]),
            ("prev_txs", Map([(tx_id, data) for tx_id, data in tx.previous])),
            ("app_public_inputs", _charms(tx.public_inputs)),
        ]
    )


@cache
def _engine() -> wasmtime.Engine:
    # What is left for the interpreter's end is freed when the library's own functions are gone already.
    atexit.register(_engine.cache_clear)
    atexit.register(_compiled.cache_clear)
    config = wasmtime.Config()
    config.consume_fuel = True
    return wasmtime.Engine(config)


@lru_cache(maxsize=64)
def _compiled(wasm: bytes) -> wasmtime.Module:
    try:
        return wasmtime.Module(_engine(), wasm)
    except wasmtime.WasmtimeError as error:
        raise InvalidModuleError(f"this is no WebAssembly module: {error}") from error


class _Run:
    """What the host does for one run: gives the input, keeps what is written, and refuses everything else."""

    def __init__(self, given: bytes) -> None:
        self._given = given
        self._read = 0
        self._written = bytearray()
        self._seed = hashlib.sha256(given).digest()
        self._random_blocks = 0
        self._random = b""

    def linker(self) -> wasmtime.Linker:
        linker = wasmtime.Linker(_engine())
        i32 = wasmtime.ValType.i32()
        for name, parameters, results, function in (
            ("fd_read", 4, 1, self._fd_read),
            ("fd_write", 4, 1, self._fd_write),
            ("environ_get", 2, 1, self._environ_get),
            ("environ_sizes_get", 2, 1, self._environ_sizes_get),
            ("random_get", 2, 1, self._random_get),
            # it returns, as in the protocol's runner: whoever exits has not trapped yet
            ("proc_exit", 1, 0, lambda caller, code: None),
        ):
            form = wasmtime.FuncType([i32] * parameters, [i32] * results)
            linker.define_func(_WASI, name, form, function, access_caller=True)
        return linker

    def reason(self, trap: wasmtime.Trap) -> str:
        """What the module wrote, or else why it stopped."""
        written = self._written.decode(errors="replace").strip()
        if written:
            return written
        if trap.trap_code is wasmtime.TrapCode.OUT_OF_FUEL:
            return "it needs more work than it may do"
        return str(trap.message).splitlines()[-1].strip()

    def _fd_read(self, caller: wasmtime.Caller, descriptor: int, vectors: int, count: int, told: int) -> int:
        if descriptor != _STANDARD_INPUT:
            return _FAILURE
        memory = _memory(caller)
        total = 0
        for address, length in _vectors(caller, memory, vectors, count):
            piece = self._given[self._read : self._read + length]
            if not piece:
                break
            memory.write(caller, piece, address)
            self._read += len(piece)
            total += len(piece)
        _write(caller, memory, told, total.to_bytes(4, "little"))
        return _SUCCESS

    def _fd_write(self, caller: wasmtime.Caller, descriptor: int, vectors: int, count: int, told: int) -> int:
        if descriptor != _STANDARD_ERROR:
            return _FAILURE
        memory = _memory(caller)
        total = 0
        for address, length in _vectors(caller, memory, vectors, count):
            total += length
            room = _MOST_REASON_BYTES - len(self._written)
            self._written += memory.read(caller, address, address + min(length, room))
        _write(caller, memory, told, _unsigned(total).to_bytes(4, "little"))
        return _SUCCESS

    def _environ_get(self, caller: wasmtime.Caller, variables: int, characters: int) -> int:
        return _SUCCESS

    def _environ_sizes_get(self, caller: wasmtime.Caller, variables: int, characters: int) -> int:
        memory = _memory(caller)
        for told in (variables, characters):
            _write(caller, memory, told, bytes(4))
        return _SUCCESS

    def _random_get(self, caller: wasmtime.Caller, address: int, length: int) -> int:
        """The same for the same input: SHA-256 of the input's SHA-256 and a counter of 64 bits, as in the protocol."""
        memory = _memory(caller)
        wanted = _unsigned(length)
        if wanted > memory.data_len(caller):
            return _FAILURE
        while len(self._random) < wanted:
            counter = self._random_blocks.to_bytes(8, "little")
            self._random += hashlib.sha256(self._seed + counter).digest()
            self._random_blocks += 1
        _write(caller, memory, address, self._random[:wanted])
        self._random = self._random[wanted:]
        return _SUCCESS


def _memory(caller: wasmtime.Caller) -> wasmtime.Memory:
    memory: Any = caller.get("memory")
    if not isinstance(memory, wasmtime.Memory):
        raise InvalidModuleError("the module exports no memory")
    return memory


def _write(caller: wasmtime.Caller, memory: wasmtime.Memory, address: int, data: bytes) -> None:
    start = _unsigned(address)
    if start + len(data) > memory.data_len(caller):
        raise _OutOfMemoryBoundsError("what a call writes to is not in memory")
    memory.write(caller, data, start)


def _unsigned(address: int) -> int:
    return address & 0xFFFF_FFFF


def _vectors(caller: wasmtime.Caller, memory: wasmtime.Memory, address: int, count: int) -> list[tuple[int, int]]:
    """Addresses and lengths of the pieces of memory that a call names; they lie in memory, or the call traps."""
    start, size = _unsigned(address), memory.data_len(caller)
    end = start + 8 * _unsigned(count)
    if end > size:
        raise _OutOfMemoryBoundsError("the list of pieces is not in memory")
    listed = memory.read(caller, start, end)
    numbers = [int.from_bytes(listed[at : at + 4], "little") for at in range(0, len(listed), 4)]
    pieces = list(zip(numbers[::2], numbers[1::2], strict=True))
    if any(place + length > size for place, length in pieces):
        raise _OutOfMemoryBoundsError("a piece is not in memory")
    return pieces
