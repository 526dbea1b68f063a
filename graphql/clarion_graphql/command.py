"""The `clarion serve` command."""

from __future__ import annotations

import contextlib
import resource
import signal
import socket
from collections.abc import Iterator
from typing import Annotated, Any, Final

import psycopg
import structlog
import typer
import uvicorn

from clarion.bitcoin_nodes import rpc_of
from clarion.config import BitcoinSourceName, ConfigurationError, Settings, load_settings
from clarion.protocol import installed_protocols
from clarion.serving import listen, url_of
from clarion.store.database import connect, migrate, open_database
from clarion.store.roles import require_role
from clarion.telemetry import configure_logging, serve_metrics
from clarion_graphql.app import GRAPHQL_PATH, make_app
from clarion_graphql.connection import Connection
from clarion_graphql.scheduling import give_way

log = structlog.get_logger(__name__)

#: How long open requests may take after SIGTERM, in seconds.
SHUTDOWN_S: Final = 5
#: How many files are asked for where the system sets no limit.
MOST_FILES: Final = 65_536


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0: any free one.")] = None,
) -> None:
    """Serve GraphQL: queries with receipts, and subscriptions that resume."""
    given: dict[str, Any] = {"host": host, "port": port}
    settings = load_settings({"graphql": {name: value for name, value in given.items() if value is not None}})
    configure_logging(settings.log)
    with prepared_database(settings) as database_url, serve_metrics(settings.metrics):
        run(settings, database_url)


@contextlib.contextmanager
def prepared_database(settings: Settings) -> Iterator[str]:
    """URL of the database that the indexer writes, with this version's tables and the roles that settings name.

    While that is away, a replica that is read in its place is served as it is.

    Raises:
        DatabaseError: the database cannot be used or made, or not as these roles.
    """
    replica = settings.graphql.database_url
    if settings.database_url is not None and replica is not None:
        url = settings.database_url.get_secret_value()
        try:
            connect(url).close()
        except psycopg.OperationalError as error:  # what the replica has can be read all the same
            log.warning("serve.primary_unavailable", error=str(error).strip())
            yield url
            return
    with open_database(settings) as url:
        migrate(url)
        read_url = url if replica is None else replica.get_secret_value()
        kept_in = settings.accounts.database_url
        account_url = url if kept_in is None else kept_in.get_secret_value()
        for role, where in ((settings.graphql.reader_role, read_url), (settings.accounts.role, account_url)):
            if role is not None:
                require_role(where, role)
        yield url


def run(settings: Settings, database_url: str) -> None:
    """Serve until SIGINT or SIGTERM."""
    installed = installed_protocols()
    missing = [name for name in settings.protocols if name not in installed]
    if missing:
        raise ConfigurationError(
            f"protocols names {', '.join(missing)}, which no installed package provides. There are: "
            f"{', '.join(sorted(installed)) or 'none'}."
        )
    app = make_app(
        database_url,
        protocols=[installed[name] for name in settings.protocols],
        deployed={name: installed[name].deployed_by(address) for name, address in settings.deployers.items()},
        network=settings.network.constants,
        node_url=settings.node.url,
        bitcoin=rpc_of(settings.bitcoin) if BitcoinSourceName.RPC in settings.bitcoin.sources else None,
        graphql=settings.graphql,
        accounts=settings.accounts,
        quota=settings.quota,
        ready=settings.ready,
    )
    _allow_many_connections()
    give_way()
    where = settings.graphql
    listening = listen(where.host, where.port, what="GraphQL server", section="GRAPHQL", also=", or give --port")
    config = uvicorn.Config(
        app,
        http=Connection,
        ws="websockets-sansio",
        ws_per_message_deflate=False,
        ws_ping_interval=None,  # it pings everybody, whatever else was sent; see live/keep_alive.py
        access_log=False,
        proxy_headers=False,  # it believes what anybody on this machine says; see accounts/client.py
        log_config=None,
        log_level="warning",
        timeout_graceful_shutdown=SHUTDOWN_S,
    )
    # uvicorn raises the signal that ended it once more; without a handler that would be the process's exit status
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    _Server(config).run(sockets=[listening])


def _allow_many_connections() -> None:
    """Let the process open as many files as it may: every connection is one, and 1,024 is a common limit."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_FILES if most == resource.RLIM_INFINITY else most
    with contextlib.suppress(OSError, ValueError):  # macOS has a lower limit than it says
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


class _Server(uvicorn.Server):
    """Says where it is once it answers."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then log the address."""
        await super().startup(sockets)
        for listening in sockets or ():
            log.info("graphql.ready", url=f"{url_of(listening)}{GRAPHQL_PATH}")
