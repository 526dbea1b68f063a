"""The agent: a process that holds one key, and signs what its limits allow for whoever holds its socket.

Started as ``python -m clarion_keeper.signers.agent OPTIONS``, where OPTIONS is `AgentOptions` as JSON. It imports
little, writes no core file, and hides its memory. Connections come over its standard input, a socket over which its
owner passes one end of each (SCM_RIGHTS), or from a socket in the file system where ``listen`` names one.
"""

from __future__ import annotations

import asyncio
import contextlib
import grp
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NoReturn, Protocol, TypeAlias

import msgspec

from clarion.chains.stacks.keys import PrivateKey
from clarion.chains.stacks.networks import Network
from clarion.chains.stacks.signing import sign
from clarion.chains.stacks.transactions import decode_transaction_hex
from clarion.child import end_with
from clarion_keeper.signers.agent_options import PASS, READY, AgentOptions
from clarion_keeper.signers.errors import MAX_HOURLY, KeySourceError, SigningRefusedError
from clarion_keeper.signers.exhaustion import Exhaustion
from clarion_keeper.signers.hardening import hide_memory, no_core_file
from clarion_keeper.signers.key_sources import read_key
from clarion_keeper.signers.ledger import Ledger, LedgerError, OverBudgetError
from clarion_keeper.signers.limits import Limits, Spending, StacksLimits, check_stacks
from clarion_keeper.signers.protocol import (
    MAX_LINE_BYTES,
    VERSION,
    BadRequestError,
    ErrorCode,
    Hello,
    Identity,
    Request,
    SignBitcoin,
    SignedBitcoin,
    SignedStacks,
    SignStacks,
    decode_request,
    encode_failure,
    encode_result,
)

log: Final = logging.getLogger("clarion.signer")

MAX_CONNECTIONS: Final = 64
SECRET_BYTES: Final = 32

Result: TypeAlias = Identity | SignedStacks | SignedBitcoin


class Key(Protocol):
    """A key of one chain with its limits."""

    identity: Identity

    def sign(self, request: SignStacks | SignBitcoin, reserve: Callable[[Spending], None]) -> Result:
        """What the request asks for. ``reserve`` is called before anything is signed.

        Raises SigningRefusedError, and ValueError where the request cannot be decoded.
        """
        ...


class Agent:
    """A key with its limits and its ledger. Answers one request at a time."""

    def __init__(self, account: str, key: Key, limits: Limits, ledger: Ledger) -> None:
        self._account = account
        self._key = key
        self._limits = limits
        self._ledger = ledger
        self._exhaustion = Exhaustion()

    def answer(self, line: bytes) -> bytes:
        """The line that answers a line. Never raises, and nothing of the key gets into it but signatures."""
        try:
            request = decode_request(line)
        except BadRequestError as error:
            return encode_failure(error.id, error.code, str(error))
        try:
            result = self._carry_out(request)
        except SigningRefusedError as error:
            if error.limit != MAX_HOURLY or self._exhaustion.refused():
                log.warning("%s refused (%s): %s; asked by %s", self._account, error.limit, error, _asked_by(request))
            return encode_failure(request.id, ErrorCode.REFUSED, str(error), error.limit)
        except BadRequestError as error:
            return encode_failure(request.id, error.code, str(error))
        except ValueError as error:
            return encode_failure(request.id, ErrorCode.BAD_REQUEST, str(error))
        except LedgerError as error:
            log.error("%s signs nothing: %s", self._account, error)
            return encode_failure(request.id, ErrorCode.FAILED, str(error))
        except Exception as error:  # a defect: its text could be of anything, so only its kind is told
            log.error("%s could not sign: %s", self._account, type(error).__name__)
            return encode_failure(request.id, ErrorCode.FAILED, f"the agent failed with {type(error).__name__}")
        if not isinstance(request, Hello):
            if self._exhaustion.signed():
                log.warning("%s signs again: its limit of an hour is not used up any more", self._account)
            log.info("%s signed; asked by %s", self._account, _asked_by(request))
        return encode_result(request.id, result)

    def _carry_out(self, request: Request) -> Result:
        if not isinstance(request, Hello):
            return self._key.sign(request, self._reserve)
        if request.version < VERSION:
            raise BadRequestError(request.id, ErrorCode.UNSUPPORTED, f"this signer speaks version {VERSION}")
        return self._key.identity

    def _reserve(self, spending: Spending) -> None:
        budget = self._limits.max_hourly
        try:
            self._ledger.reserve(spending.slot, spending.amount, budget)
        except OverBudgetError as error:
            free = "" if error.free_at is None else f"; some come free at {_time(error.free_at)}"
            raise SigningRefusedError(
                MAX_HOURLY,
                f"{spending.amount} more would be over the {budget} of an hour, of which {error.spent} are spent{free}",
            ) from None


class StacksKey:
    """A key that signs Stacks transactions."""

    def __init__(self, key: PrivateKey, limits: StacksLimits) -> None:
        self._key = key
        self._limits = limits
        self._address = key.address(Network(limits.network))
        self.identity = Identity(VERSION, "clarion", "stacks", str(self._address), key.public_key.hex())

    def sign(self, request: SignStacks | SignBitcoin, reserve: Callable[[Spending], None]) -> SignedStacks:
        """As `Key.sign`."""
        if isinstance(request, SignBitcoin):
            raise SigningRefusedError("network", "this signer's account is on Stacks")
        transaction = decode_transaction_hex(request.transaction)
        reserve(check_stacks(transaction, self._address, self._limits))
        return SignedStacks(sign(transaction, self._key).encode().hex())


def open_key(source: str, limits: Limits) -> Key:
    """The key at ``source``. Raises KeySourceError."""
    secret = read_key(source)
    if isinstance(limits, StacksLimits):
        return StacksKey(PrivateKey(secret), limits)
    from clarion_keeper.signers.bitcoin import BitcoinKey  # its library takes long to load, and few accounts need it

    return BitcoinKey(secret[:SECRET_BYTES], limits)


def _time(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _asked_by(request: Request) -> str:
    purpose = None if isinstance(request, Hello) else request.purpose
    return "nobody says whom" if purpose is None else f"{purpose.job[:100]} ({purpose.lane[:40]})"


async def serve(agent: Agent, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer the lines of one connection until it ends."""
    with contextlib.closing(writer), contextlib.suppress(ConnectionError):
        while True:
            try:
                line = await reader.readuntil()
            except asyncio.IncompleteReadError:
                return
            except asyncio.LimitOverrunError:
                too_long = f"a line has at most {MAX_LINE_BYTES} bytes"
                writer.write(encode_failure(None, ErrorCode.BAD_REQUEST, too_long))
                await writer.drain()
                while await reader.read(MAX_LINE_BYTES):  # to hang up on what is unread could cost the answer
                    pass
                return
            writer.write(agent.answer(line))
            await writer.drain()


async def serve_owner(agent: Agent, owner: socket.socket) -> None:
    """Serve the connections that are passed over ``owner``, until its other end is closed."""
    loop = asyncio.get_running_loop()
    gone = asyncio.Event()
    serving: set[asyncio.Task[None]] = set()

    async def serve_passed(connection: socket.socket) -> None:
        await serve(agent, *await asyncio.open_unix_connection(sock=connection, limit=MAX_LINE_BYTES))

    def take() -> None:
        try:
            message, descriptors, _, _ = socket.recv_fds(owner, len(PASS), 1)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            message, descriptors = b"", []
        if not message:
            loop.remove_reader(owner)
            gone.set()
        for descriptor in descriptors:
            connection = socket.socket(fileno=descriptor)
            if len(serving) >= MAX_CONNECTIONS:
                connection.close()
                continue
            task = loop.create_task(serve_passed(connection))
            serving.add(task)
            task.add_done_callback(serving.discard)

    owner.setblocking(False)
    loop.add_reader(owner, take)
    await gone.wait()


async def serve_socket(agent: Agent, listening: socket.socket) -> None:
    """Serve whoever may connect to a listening socket, until SIGTERM or SIGINT."""
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    serving = 0

    async def serve_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal serving
        if serving >= MAX_CONNECTIONS:
            writer.close()
            return
        serving += 1
        try:
            await serve(agent, reader, writer)
        finally:
            serving -= 1

    server = await asyncio.start_unix_server(serve_one, sock=listening, limit=MAX_LINE_BYTES)
    log.info("listening on %s", listening.getsockname())
    await stopping.wait()
    server.close()


def listen(path: Path, group: str | None) -> socket.socket:
    """A socket at ``path`` that its user alone may connect to, or the members of ``group``. Raises KeySourceError."""
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    if path.is_socket():
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other:
            if other.connect_ex(str(path)) == 0:
                raise KeySourceError(f"Another signer listens on {path}")
        path.unlink()
    before = os.umask(0o177)  # nobody may connect between its making and a chmod
    try:
        listening.bind(str(path))
        if group is not None:
            os.chown(path, -1, grp.getgrnam(group).gr_gid)
            path.chmod(0o660)
    except (OSError, KeyError) as error:
        raise KeySourceError(f"The socket {path} cannot be made: {error}") from None
    finally:
        os.umask(before)
    return listening


def restart_when_killed() -> None:
    """Return in a child process, again in a new one whenever a signal ends it, and never in this one.

    Whoever cannot read its key again has to keep it: this process does nothing but wait.
    """
    while True:
        guard = os.getpid()
        child = os.fork()
        if child == 0:
            end_with(guard)
            hide_memory()
            return
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status):
            os._exit(os.WEXITSTATUS(status))
        log.error("the agent was ended by signal %d; starting it again", os.WTERMSIG(status))


def main(arguments: list[str]) -> None:
    """Be an agent. With an owner, its first line to it is `READY`, or says why it cannot be."""
    no_core_file()
    hide_memory()
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s [signer] %(levelname)s %(message)s")
    options = msgspec.json.decode(arguments[0], type=AgentOptions)
    owner = None if options.listen is not None else socket.socket(fileno=sys.stdin.fileno())
    try:
        key = open_key(options.source, options.limits)
        ledger_path = Path(options.ledger.format(key=key.identity.address))
        Ledger(ledger_path).close()
        if owner is not None:
            owner.sendall(READY)
        if options.guarded:
            restart_when_killed()
        agent = Agent(options.account, key, options.limits, Ledger(ledger_path))
        if owner is not None:
            asyncio.run(serve_owner(agent, owner))
        elif options.listen is not None:
            path = Path(options.listen)
            asyncio.run(serve_socket(agent, listen(path, options.group)))
            path.unlink(missing_ok=True)
    except (KeySourceError, LedgerError) as error:
        _give_up(owner, str(error))


def _give_up(owner: socket.socket | None, reason: str) -> NoReturn:
    if owner is None:
        sys.exit(reason)
    with contextlib.suppress(OSError):
        owner.sendall(f"{' '.join(reason.split())}\n".encode())
    sys.exit(1)


if __name__ == "__main__":
    main(sys.argv[1:])
