import io
import json
import logging
import urllib.request
from collections.abc import Iterator

import pytest
import structlog
from prometheus_client import CollectorRegistry, Counter

from clarion.config import Log, LogFormat, LogLevel, Metrics
from clarion.telemetry import configure_logging, serve_metrics


@pytest.fixture(autouse=True)
def restored_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def test_both_kinds_of_loggers_write_one_json_object_a_line() -> None:
    stream = io.StringIO()
    configure_logging(Log(format=LogFormat.JSON), stream)
    structlog.get_logger("clarion.follower").info("block applied", chain="stacks", height=7)
    logging.getLogger("uvicorn.error").warning("socket %s is busy", 3)
    ours, theirs = (json.loads(line) for line in stream.getvalue().splitlines())
    assert (ours["event"], ours["level"], ours["chain"], ours["height"]) == ("block applied", "info", "stacks", 7)
    assert ours["logger"] == "clarion.follower"
    assert (theirs["event"], theirs["level"], theirs["logger"]) == ("socket 3 is busy", "warning", "uvicorn.error")
    assert ours["timestamp"].endswith("Z")


@pytest.mark.parametrize("library", ["websockets.client", "httpcore.http11", "uvicorn.error"])
def test_headers_are_not_written_even_for_debugging(library: str) -> None:
    stream = io.StringIO()
    configure_logging(Log(level=LogLevel.DEBUG), stream)
    logging.getLogger("clarion").debug("for debugging")
    logging.getLogger(library).debug("> Authorization: Bearer secret")
    assert "for debugging" in stream.getvalue()
    assert "secret" not in stream.getvalue()


def test_what_is_less_serious_than_the_level_is_not_written() -> None:
    stream = io.StringIO()
    configure_logging(Log(level=LogLevel.WARNING), stream)
    structlog.get_logger().info("quiet")
    logging.getLogger("uvicorn").info("quiet")
    structlog.get_logger().warning("loud")
    assert "quiet" not in stream.getvalue()
    assert "loud" in stream.getvalue()


@pytest.mark.parametrize("form", list(LogFormat))
def test_tracebacks_do_not_show_local_variables(form: LogFormat) -> None:
    stream = io.StringIO()
    configure_logging(Log(format=form), stream)
    private_key = "gehe" + "im"
    try:
        raise ValueError("broken")
    except ValueError:
        structlog.get_logger().exception("failed")
    assert private_key not in stream.getvalue()
    assert "ValueError" in stream.getvalue()
    assert "test_tracebacks_do_not_show_local_variables" in stream.getvalue()


def test_configuring_again_replaces_the_output() -> None:
    first, second = io.StringIO(), io.StringIO()
    configure_logging(Log(), first)
    configure_logging(Log(), second)
    structlog.get_logger().info("once")
    assert first.getvalue() == ""
    assert second.getvalue().count("once") == 1


def test_metrics_are_served_where_a_port_is_set() -> None:
    registry = CollectorRegistry()
    Counter("clarion_blocks", "Blocks applied.", registry=registry).inc(3)
    with (
        serve_metrics(Metrics(port=0), registry) as port,
        urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as response,
    ):
        assert "clarion_blocks_total 3.0" in response.read().decode()
    with serve_metrics(Metrics(), registry) as none:
        assert none is None
