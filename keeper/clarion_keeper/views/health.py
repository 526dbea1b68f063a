"""``/healthz``, ``/readyz`` and ``/metrics`` of the keeper's process, and its alerts while it runs."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Final

import psycopg
import structlog
from psycopg import AsyncConnection
from starlette.applications import Starlette

from clarion.chains.model import JsonValue
from clarion.config import Settings
from clarion.health import Reasons, probe_routes
from clarion.serving import Server, listen, url_of
from clarion.store.database import with_server_settings
from clarion_keeper.views.alerts import Limits, alerts
from clarion_keeper.views.metrics import AlertLog, Metrics, set_breakers, set_watch
from clarion_keeper.views.watch import Watch, read_watch

log = structlog.get_logger()

#: How often it is looked whether there is something to tell.
LOOK_SECONDS: Final = 5.0
#: An engine of which nothing is heard for so long is stuck: a job may read for a minute.
SILENT_SECONDS: Final = 180.0
CONNECT_SECONDS: Final = 5
STATEMENT_MS: Final = 10_000


class Health:
    """Reads where the keeper stands over a connection of its own, made when needed and again after it was lost."""

    def __init__(
        self, database_url: str, metrics: Metrics, limits: Limits, breakers: Callable[[], Mapping[str, str]]
    ) -> None:
        self._url = with_server_settings(database_url, statement_timeout=STATEMENT_MS)
        self._metrics = metrics
        self._limits = limits
        self._breakers = breakers
        self._alerts = AlertLog()
        self._connection: AsyncConnection[Any] | None = None
        self._lock = asyncio.Lock()

    async def run(self) -> None:
        """Tell of alerts and keep the metrics up to date, until cancelled."""
        try:
            while True:
                try:
                    await self.measure()
                except psycopg.Error as error:
                    log.warning("keeper.database_unavailable", error=str(error).strip())
                await asyncio.sleep(LOOK_SECONDS)
        finally:
            if self._connection is not None:
                await self._connection.close()

    async def measure(self) -> Watch:
        """Where the keeper stands, told to Prometheus and the log. Raises psycopg.Error."""
        async with self._lock:
            if self._connection is None or self._connection.closed:
                self._connection = await AsyncConnection.connect(
                    self._url,
                    autocommit=True,
                    connect_timeout=CONNECT_SECONDS,
                    application_name="clarion keeper health",
                )
            watch = await read_watch(self._connection)
        set_watch(watch)
        set_breakers(self._breakers())
        self._alerts.tell(alerts(watch, self._limits))
        return watch

    async def alive(self) -> tuple[Reasons, dict[str, JsonValue]]:
        """Whether the engine's loop turns."""
        silent = round(self._metrics.silent_seconds)
        reasons = [f"nothing has been heard of the engine for {silent} s"] if silent > SILENT_SECONDS else []
        return reasons, {"silent_seconds": silent}

    async def ready(self) -> tuple[Reasons, dict[str, JsonValue]]:
        """Whether what is due is done: somebody leads, and nothing is stopped."""
        try:
            watch = await self.measure()
        except psycopg.Error as error:
            log.warning("keeper.database_unavailable", error=str(error).strip())
            return ["the database does not answer"], {}
        found = alerts(watch, self._limits)
        facts: list[JsonValue] = [{"alert": one.alert, "subject": one.subject, "message": one.message} for one in found]
        stopped = [one.message for one in found if one.alert in ("no_leader", "everything_stopped")]
        return stopped, {"leader": None if watch.leader is None else watch.leader.holder, "alerts": facts}


@contextlib.asynccontextmanager
async def watching(
    settings: Settings, database_url: str, metrics: Metrics, breakers: Callable[[], Mapping[str, str]] = dict
) -> AsyncIterator[str | None]:
    """Tell of alerts, and serve the probes where ``metrics.port`` is set, while the context lasts; gives their URL.

    Raises:
        ServiceError: the address cannot be listened on.
    """
    limits = Limits(
        runway_hours=settings.keeper.alert_runway_hours,
        budget_percent=settings.keeper.alert_budget_percent,
        rescue_blocks=settings.keeper.alert_rescue_blocks,
    )
    health = Health(database_url, metrics, limits, breakers)
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(_ended, asyncio.create_task(health.run()))
        if settings.metrics.port is None:
            yield None
            return
        listening = listen(settings.metrics.host, settings.metrics.port, what="keeper's probes", section="METRICS")
        app = Starlette(routes=probe_routes(health.alive, health.ready, health.measure))
        server = Server(app, graceful_seconds=1)
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        url = url_of(listening)
        log.info("keeper.probes", url=url)
        try:
            yield url
        finally:
            server.should_exit = True
            await serving


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])
