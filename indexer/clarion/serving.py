"""Servers that run beside other tasks of a process, which ends them in its own order."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import uvicorn
from starlette.types import ASGIApp


class ServiceError(RuntimeError):
    """The service cannot run. The message says why and what to do."""


class Server(uvicorn.Server):
    """Leaves signals to the service. ``graceful_seconds``: how long requests under way may take when it ends."""

    def __init__(self, app: ASGIApp, *, graceful_seconds: int) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                server_header=False,
                lifespan="off",
                loop="none",
                ws="none",
                timeout_graceful_shutdown=graceful_seconds,
            )
        )

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


def listen(host: str, port: int, *, what: str, section: str, also: str = "") -> socket.socket:
    """A socket that listens. Raises ServiceError, which names ``what`` and the settings' ``section``, and ``also``."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listening = socket.create_server((host, port), family=family, backlog=128)
        # accepted sockets take it over; asyncio sets it only on those that say their protocol, and without it an
        # answer's second part waits until the peer acknowledges the first, which takes 40 ms
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listening
    except OSError as error:
        raise ServiceError(
            f"the {what} cannot listen on {host}:{port}: {error.strerror or error}; is it running already? "
            f"Otherwise set CLARION_{section}__HOST and CLARION_{section}__PORT{also}"
        ) from error


def url_of(listening: socket.socket) -> str:
    """Where a listening socket is reached."""
    host, port = listening.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"
