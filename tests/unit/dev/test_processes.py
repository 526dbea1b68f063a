from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from clarion.dev.processes import Change, ProcessTree, State

DEADLINE_SECONDS = 120
WAITS = [sys.executable, "-c", "import signal; signal.pause()"]


def wait_for(holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[ProcessTree]:
    made = ProcessTree(tmp_path)
    yield made
    made.stop()


def changes_of(tree: ProcessTree) -> list[Change]:
    """The next changes, waited for."""
    found: list[Change] = []
    wait_for(lambda: found.extend(tree.poll()) or found)
    return found


def test_a_child_runs_until_it_is_stopped(tree: ProcessTree) -> None:
    child = tree.start("a", WAITS, os.environ)
    assert child.state is State.RUNNING
    assert tree.poll() == []
    pid = child.pid
    assert pid is not None
    tree.stop()
    assert child.state is State.STOPPED
    assert not psutil.pid_exists(pid)


def test_a_killed_child_is_started_again(tree: ProcessTree) -> None:
    child = tree.start("a", WAITS, os.environ)
    first = child.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    (crashed,) = changes_of(tree)
    assert crashed.failed
    assert "was ended by SIGKILL, starts again in 0.5 s" in crashed.text
    assert child.state is State.WAITING
    assert child.pid is None
    (restarted,) = changes_of(tree)
    assert restarted == Change("a", "started again (restart 1)", failed=False)
    assert child.pid not in (None, first)


def test_a_child_that_fails_says_why_and_waits_longer_each_time(tree: ProcessTree) -> None:
    tree.start("a", [sys.executable, "-c", "raise SystemExit('no port')"], os.environ)
    texts = []
    while len(texts) < 2:
        texts += [change.text for change in changes_of(tree) if change.failed]
    assert texts == [
        "ended with exit code 1, starts again in 0.5 s; it said: no port",
        "ended with exit code 1, starts again in 1 s; it said: no port",
    ]


def test_children_end_in_reverse_order(tree: ProcessTree, tmp_path: Path) -> None:
    program = (
        "import pathlib, signal, sys\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(open(sys.argv[1], 'a').write(sys.argv[2]) and 0))\n"
        "pathlib.Path(sys.argv[1] + sys.argv[2]).touch()\n"
        "signal.pause()"
    )
    for name in "abc":
        tree.start(name, [sys.executable, "-c", program, str(tmp_path / "ended"), name], os.environ)
    wait_for(lambda: all((tmp_path / f"ended{name}").exists() for name in "abc"))
    tree.stop()
    assert (tmp_path / "ended").read_text() == "cba"


def test_children_are_started_from_the_main_thread_only(tree: ProcessTree) -> None:
    errors: list[Exception] = []

    def start() -> None:
        try:
            tree.start("a", WAITS, os.environ)
        except RuntimeError as error:
            errors.append(error)

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    assert len(errors) == 1


PARENT = """
import os, signal, sys
from pathlib import Path
from clarion.dev.processes import ProcessTree
tree = ProcessTree(Path(sys.argv[1]))
tree.start("child", [sys.executable, "-c", "import signal; signal.pause()"], os.environ)
print(tree.children["child"].pid, flush=True)
signal.pause()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends the children of a killed parent")
def test_children_die_with_a_killed_parent(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT, str(tmp_path)], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert psutil.pid_exists(pid)
        parent.kill()
    wait_for(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)


def test_what_a_killed_run_left_is_ended_and_nothing_else(tree: ProcessTree, tmp_path: Path) -> None:
    with subprocess.Popen(WAITS) as leftover, subprocess.Popen(WAITS) as stranger:
        entries = [
            {"name": "left", "pid": leftover.pid, "created": psutil.Process(leftover.pid).create_time()},
            {"name": "reused", "pid": stranger.pid, "created": psutil.Process(stranger.pid).create_time() - 3600},
        ]
        (tmp_path / "processes.json").write_text(json.dumps(entries))
        try:
            assert tree.end_leftovers() == ["left"]
            assert leftover.poll() is not None
            assert stranger.poll() is None
        finally:
            leftover.kill()
            stranger.kill()


def test_no_list_of_leftovers_is_no_error(tree: ProcessTree, tmp_path: Path) -> None:
    assert tree.end_leftovers() == []
    (tmp_path / "processes.json").write_text("[{")
    assert tree.end_leftovers() == []
