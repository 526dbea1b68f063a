"""How signers are reached: agents that the keeper starts, processes of others, and sockets."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, Protocol, TypeAlias

import msgspec

from clarion.child import stop_with_parent
from clarion_keeper.signers.agent_options import PASS, READY, AgentOptions
from clarion_keeper.signers.errors import SignerUnavailableError
from clarion_keeper.signers.hardening import no_core_file
from clarion_keeper.signers.protocol import MAX_LINE_BYTES

INHERITED_VARIABLE: Final = "CLARION_SIGNER_SOCKETS"
"""Where a process finds the agents that were started before it: their sockets' numbers by account, as JSON."""
START_SECONDS: Final = 60.0
"""How long an agent may take to start."""
_MAX_REASON_BYTES: Final = 2000

AGENT_MODULE: Final = "clarion_keeper.signers.agent"

Streams: TypeAlias = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Started: TypeAlias = tuple[subprocess.Popen[bytes], socket.socket]
"""An agent's process, and the socket over which it is passed connections."""


class Links(Protocol):
    """A way to connect to one signer, over and over."""

    async def connect(self) -> Streams:
        """A new connection. Raises OSError or SignerUnavailableError."""
        ...

    def reset(self) -> None:
        """The signer hangs: end it where it is ours, so that the next connection is to a new one."""
        ...

    def close(self) -> None:
        """End the signer where it is ours."""
        ...


class SocketSigner:
    """A signer that listens on a Unix socket."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def connect(self) -> Streams:
        """As `Links.connect`."""
        return await asyncio.open_unix_connection(self._path, limit=MAX_LINE_BYTES)

    def reset(self) -> None:
        """It is not ours."""

    def close(self) -> None:
        """It is not ours."""


class ChildSigner:
    """A command that speaks over its standard input and output, started anew for each connection."""

    def __init__(self, command: Sequence[str]) -> None:
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None

    async def connect(self) -> Streams:
        """As `Links.connect`."""
        self.close()
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                self._process = subprocess.Popen(  # noqa: ASYNC220 - the operator's command; forking takes no time
                    self._command,
                    stdin=theirs.fileno(),
                    stdout=theirs.fileno(),
                    preexec_fn=stop_with_parent(signal.SIGTERM),
                    process_group=0,
                )
            except OSError:
                ours.close()
                raise
        return await asyncio.open_unix_connection(sock=ours, limit=MAX_LINE_BYTES)

    def reset(self) -> None:
        """As `Links.reset`."""
        self.close()

    def close(self) -> None:
        """As `Links.close`."""
        if self._process is not None:
            _end(self._process)
            self._process = None


class OwnAgent:
    """An agent of ours, whose key can be read again: where it has ended, it is started again."""

    def __init__(self, options: AgentOptions) -> None:
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None

    async def connect(self) -> Streams:
        """As `Links.connect`."""
        if self._process is not None and self._process.poll() is None and self._socket is not None:
            with contextlib.suppress(OSError):
                return await _passed_connection(self._socket)
        self.close()
        self._process, self._socket = start_agent(self._options)
        await asyncio.to_thread(wait_until_ready, self._socket)
        return await _passed_connection(self._socket)

    def reset(self) -> None:
        """As `Links.reset`."""
        self.close()

    def close(self) -> None:
        """As `Links.close`."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if self._process is not None:
            _end(self._process)
            self._process = None


class InheritedAgent:
    """An agent that was started before this process became what it is. Its key cannot be read again."""

    def __init__(self, account: str, owner: socket.socket) -> None:
        self._account = account
        self._owner = owner

    async def connect(self) -> Streams:
        """As `Links.connect`."""
        try:
            return await _passed_connection(self._owner)
        except OSError as error:
            raise SignerUnavailableError(
                f"The agent of {self._account} has ended, and its key was in the environment, which this process gave "
                "up: start the keeper again"
            ) from error

    def reset(self) -> None:
        """It starts again by itself where it is killed."""

    def close(self) -> None:
        """It ends with this process."""


def inherited_agent(account: str) -> InheritedAgent:
    """The agent of an account whose key was in the environment. Raises SignerUnavailableError."""
    found = _inherited().get(account)
    if found is None:
        raise SignerUnavailableError(
            f"The key of {account} is in the environment, and no agent was started with it: "
            "clarion_keeper.signers.environment.give_up_keys has to be called first"
        )
    return InheritedAgent(account, found)


def start_agent(options: AgentOptions, environment: Mapping[str, str] | None = None) -> Started:
    """Start an agent that ends with this process; `wait_until_ready` tells whether it has its key.

    ``environment``: the variables that it gets; None: this process's.
    """
    ours, theirs = socket.socketpair()
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", AGENT_MODULE, msgspec.json.encode(options).decode()],
            stdin=theirs.fileno(),
            stdout=subprocess.DEVNULL,
            env=environment,
            preexec_fn=_before_agent(),
            process_group=0,  # an interrupt from the keyboard is for the keeper, which may still need signatures
        )
    return process, ours


def wait_until_ready(owner: socket.socket) -> None:
    """Wait until an agent has its key.

    Raises:
        SignerUnavailableError: it cannot have it; the message is the agent's.
        ConnectionResetError: the agent ended without a word.
    """
    said = b""
    owner.settimeout(START_SECONDS)
    try:
        while not said.endswith(b"\n") and len(said) < _MAX_REASON_BYTES:
            more = owner.recv(1)
            if not more:
                break
            said += more
    except TimeoutError:
        raise SignerUnavailableError(f"The agent did not start within {START_SECONDS:g} seconds") from None
    owner.setblocking(False)
    if not said.endswith(b"\n"):
        raise ConnectionResetError("the agent ended before it had a key")
    if said != READY:
        raise SignerUnavailableError(said.decode(errors="replace").strip())


def _before_agent() -> Callable[[], None]:
    end_with_us = stop_with_parent(signal.SIGTERM)

    def prepare() -> None:
        no_core_file()
        if end_with_us is not None:
            end_with_us()

    return prepare


async def _passed_connection(owner: socket.socket) -> Streams:
    ours, theirs = socket.socketpair()
    with theirs:
        try:
            socket.send_fds(owner, [PASS], [theirs.fileno()])
        except OSError:
            ours.close()
            raise
    return await asyncio.open_unix_connection(sock=ours, limit=MAX_LINE_BYTES)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


@functools.cache
def _inherited() -> dict[str, socket.socket]:
    numbers = json.loads(os.environ.get(INHERITED_VARIABLE, "{}"))
    sockets = {account: socket.socket(fileno=number) for account, number in numbers.items()}
    for one in sockets.values():
        one.set_inheritable(False)
        one.setblocking(False)
    return sockets
