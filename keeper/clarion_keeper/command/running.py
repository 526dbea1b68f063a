"""`clarion keeper run`: the engine with its metrics, probes and alerts, until it is told to stop."""

from __future__ import annotations

import asyncio
import signal

import stamina.instrumentation
import structlog
from stamina.instrumentation import PrometheusOnRetryHook, RetryDetails

from clarion.config import ConfigurationError, Settings
from clarion.telemetry import configure_logging
from clarion_keeper import engine
from clarion_keeper.breakers import states_of_all
from clarion_keeper.command.database import keeper_database
from clarion_keeper.signers.accounts import give_up_environment_keys
from clarion_keeper.views.health import watching
from clarion_keeper.views.metrics import Metrics

log = structlog.get_logger()


def run_keeper(settings: Settings) -> None:
    """Keep until SIGINT or SIGTERM.

    Raises:
        ConfigurationError, JobsError, SignerError, ServiceError: something in the settings cannot be used.
    """
    configure_logging(settings.log)
    stamina.instrumentation.set_on_retry_hooks([PrometheusOnRetryHook, _say_retry])
    if not settings.keeper.accounts:
        raise ConfigurationError("The keeper has no account: name one in keeper.accounts (docs/keeper.md says how)")
    # keys in the environment go to their agents, and this process begins anew without them
    give_up_environment_keys(settings)
    with keeper_database(settings) as url:
        asyncio.run(_run(settings, url))


async def _run(settings: Settings, database_url: str) -> None:
    stopping, metrics = asyncio.Event(), Metrics()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopping.set)
    async with watching(settings, database_url, metrics, states_of_all):
        await engine.run(settings, database_url, stopping=stopping, observer=metrics)


def _say_retry(details: RetryDetails) -> None:
    """For debugging alone: of an outage the keeper tells once, whoever asks and however often."""
    log.debug("asking again", what=details.name, attempt=details.retry_num, reason=repr(details.caused_by))
