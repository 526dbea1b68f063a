"""Logs and metrics. Every process calls `configure_logging` once; modules log with `structlog.get_logger()`.

What libraries log through the standard library (uvicorn, Alembic, APScheduler) comes out in the same form. Metrics are
prometheus-client's own objects, defined beside the code they measure and served by `serve_metrics`.
"""

import contextlib
import logging
import sys
from collections.abc import Iterator
from typing import TextIO

import structlog
from prometheus_client import REGISTRY, CollectorRegistry, start_http_server
from structlog.typing import Processor

from clarion.config import Log, LogFormat, Metrics

QUIET_LIBRARIES = ("httpx", "httpcore", "websockets", "alembic")
"""Their informational messages tell an operator nothing; warnings do."""
TALKATIVE_LIBRARIES = ("uvicorn.error",)
"""What they write for debugging holds headers and what comes over WebSockets, keys and tokens among them."""


def configure_logging(settings: Log, stream: TextIO | None = None) -> None:
    """Send all logging to `stream` (standard error) in the form that `settings` names. May be called again."""
    output = stream or sys.stderr
    level = logging.getLevelNamesMapping()[settings.level.upper()]
    for_all: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    renderers: list[Processor]  # neither shows local variables, which can hold keys
    if settings.format is LogFormat.JSON:
        tracebacks = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
        renderers = [structlog.processors.ExceptionRenderer(tracebacks), structlog.processors.JSONRenderer()]
    else:
        plain = structlog.dev.plain_traceback
        renderers = [structlog.dev.ConsoleRenderer(colors=output.isatty(), exception_formatter=plain)]

    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *for_all,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(output)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=for_all,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderers],
        )
    )
    logging.basicConfig(handlers=[handler], level=level, force=True)
    for name in QUIET_LIBRARIES:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))
    for name in TALKATIVE_LIBRARIES:
        logging.getLogger(name).setLevel(max(level, logging.INFO))


@contextlib.contextmanager
def serve_metrics(settings: Metrics, registry: CollectorRegistry = REGISTRY) -> Iterator[int | None]:
    """Serve `registry` for Prometheus while the context lasts; gives the port, or None where no port is set.

    Raises:
        OSError: the address cannot be listened on.
    """
    if settings.port is None:
        yield None
        return
    server, thread = start_http_server(settings.port, addr=settings.host, registry=registry)
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
