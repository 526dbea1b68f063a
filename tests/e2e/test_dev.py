"""`clarion dev` as a person runs it: it starts, survives kills, leaves nothing behind, continues what was kept."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from clarion.store.embedded import EmbeddedPostgres

DEADLINE_SECONDS = 200
FREE_PORTS = ("--graphql-port", "0", "--devnet-port", "0", "--bitcoin-port", "0")


class Dev:
    """A dev run in a folder, and what it has said so far."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.output = folder / "output"
        self.folder = folder / "dev"
        with self.output.open("w") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "clarion", "dev", "--headless", *FREE_PORTS, *options],
                env=os.environ | {"CLARION_STATE_DIR": str(folder)},
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait_for(self, text: str) -> None:
        """Wait until it has said this."""
        wait_until(lambda: text in self.output.read_text(), f"{text!r} in {self.output}")

    def children(self) -> dict[str, psutil.Process]:
        """The child processes by name."""
        entries = json.loads((self.folder / "logs" / "processes.json").read_text())
        return {entry["name"]: psutil.Process(entry["pid"]) for entry in entries}

    def family(self) -> list[psutil.Process]:
        """Every process of the run but the first, Postgres included."""
        return psutil.Process(self.process.pid).children(recursive=True)


def wait_until(holds: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not holds():
        assert time.monotonic() < deadline, f"no {what} after {DEADLINE_SECONDS} s"
        time.sleep(0.05)


def are_gone(processes: list[psutil.Process]) -> bool:
    return not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in processes)


@pytest.fixture
def run_dev(tmp_path: Path) -> Iterator[Callable[..., Dev]]:
    """Function that starts a dev run in this test's folder; everything of it is gone when the test ends."""
    runs = []

    def start(*options: str) -> Dev:
        runs.append(Dev(tmp_path, *options))
        return runs[-1]

    yield start
    for run in runs:
        if run.process.poll() is None:
            for process in run.family():
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            run.process.kill()
            run.process.wait()
    EmbeddedPostgres(tmp_path / "dev" / "postgres").remove()


def test_a_run_survives_kills_and_leaves_nothing(run_dev: Callable[..., Dev]) -> None:
    run = run_dev("--no-scenario", "--observer-port", "0", "--block-interval-ms", "200")
    run.wait_for("first block indexed")
    index = run.children()["index"]
    index.kill()
    run.wait_for("index was ended by SIGKILL, starts again in 0.5 s")
    run.wait_for("index started again (restart 1)")

    second = subprocess.run(
        [sys.executable, "-m", "clarion", "dev", "--headless"],
        env=os.environ | {"CLARION_STATE_DIR": str(run.folder.parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert second.returncode == 1
    assert second.stderr.startswith(f"clarion: Another `clarion dev` runs in {run.folder}.")

    family = run.family()
    assert len(family) >= 5
    run.process.send_signal(signal.SIGINT)
    assert run.process.wait(DEADLINE_SECONDS) == 0
    wait_until(lambda: are_gone(family), "end of every process")
    assert not (run.folder / "logs" / "processes.json").exists()


def test_a_busy_port_names_its_option(run_dev: Callable[..., Dev], tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        run = run_dev("--observer-port", str(port))
        assert run.process.wait(DEADLINE_SECONDS) == 1
    said = run.output.read_text()
    assert f"Port {port} of 127.0.0.1, for the indexer, cannot be used" in said
    assert "--observer-port" in said
    assert "Traceback" not in said


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_keeper_settles_and_a_killed_run_is_continued(run_dev: Callable[..., Dev]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    first = run_dev("--observer-port", port)
    first.wait_for("first policy settled")
    family = first.family()
    first.process.kill()
    first.process.wait()
    if sys.platform == "linux":
        wait_until(lambda: are_gone(family), "end of every process")

    other_seed = run_dev("--keep", "--observer-port", port, "--seed", "2")
    assert other_seed.process.wait(DEADLINE_SECONDS) == 1
    assert "What was kept comes from a run with --seed 1" in other_seed.output.read_text()

    second = run_dev("--keep", "--observer-port", port, "--exit-after-settlements", "12")
    second.wait_for("continuing the last run's chain and index")
    assert second.process.wait(DEADLINE_SECONDS) == 0
    said = second.output.read_text()
    assert "policies are settled" in said
    assert "first block" not in said
