"""A tree of child processes that lives and dies with its parent, and restarts a child that crashed.

Nothing happens by itself: the owner calls `poll` a few times a second and gets told what changed.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final

import psutil

from clarion.child import stop_with_parent

FIRST_BACKOFF_S: Final = 0.5
LONGEST_BACKOFF_S: Final = 15.0
STEADY_AFTER_S: Final = 30.0
"""A child that ran this long had not failed to start: its next crash is the first again."""
STOP_TIMEOUT_S: Final = 15.0
LOG_TAIL_BYTES: Final = 2_000


class State(StrEnum):
    """What a child is doing."""

    RUNNING = "running"
    WAITING = "waiting"
    """It crashed and is started again when its backoff is over."""
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Change:
    """A child was started, crashed, or ended."""

    name: str
    text: str
    failed: bool


@dataclass
class Child:
    """One process, whichever incarnation of it."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    log_path: Path
    state: State = State.STOPPED
    restarts: int = 0
    exit_code: int | None = None
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    _failures: int = 0
    _started_at: float = 0.0
    _start_at: float = 0.0

    @property
    def pid(self) -> int | None:
        """Process id while it runs."""
        return self.process.pid if self.process and self.state is State.RUNNING else None

    def start(self) -> None:
        """Run the command; what it writes goes to the log."""
        self.log_path.parent.mkdir(parents=True, exist_ok=True)
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                self.command,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for the parent, which stops the children in order
                preexec_fn=stop_with_parent(signal.SIGTERM),
            )
        self.state = State.RUNNING
        self._started_at = time.monotonic()

    def poll(self) -> Change | None:
        """See whether it ended, and start it again where its time has come."""
        now = time.monotonic()
        if self.state is State.WAITING and now >= self._start_at:
            self.restarts += 1
            self.start()
            return Change(self.name, f"started again (restart {self.restarts})", failed=False)
        if self.state is not State.RUNNING or self.process is None or self.process.poll() is None:
            return None
        self.exit_code = self.process.returncode
        if now - self._started_at >= STEADY_AFTER_S:
            self._failures = 0
        backoff = min(FIRST_BACKOFF_S * 2**self._failures, LONGEST_BACKOFF_S)
        self._failures += 1
        self._start_at = now + backoff
        self.state = State.WAITING
        said = "" if self.exit_code < 0 else self.last_words()  # one that was killed could not say why
        text = f"{_ending(self.exit_code)}, starts again in {backoff:g} s" + (f"; it said: {said}" if said else "")
        return Change(self.name, text, failed=True)

    def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> None:
        """Ask it to end, then insist."""
        process, self.state = self.process, State.STOPPED
        if process is None or process.poll() is not None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            for descendant in psutil.Process(process.pid).children(recursive=True):
                with contextlib.suppress(psutil.NoSuchProcess):
                    descendant.kill()
            process.kill()
            process.wait()

    def last_words(self) -> str:
        """The last line it wrote, for a reader who wants to know why it ended."""
        with contextlib.suppress(OSError), self.log_path.open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - LOG_TAIL_BYTES))
            lines = log.read().decode(errors="replace").split("\n")
            return next((line.strip() for line in reversed(lines) if line.strip()), "")
        return ""


class ProcessTree:
    """The children of this process, in the order they were started.

    Args:
        folder: where their logs go, and the list of processes by which the next run finds what a killed one left
            (the kernel ends the children of a killed parent on Linux only).
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.children: dict[str, Child] = {}

    def start(self, name: str, command: Sequence[str], environment: Mapping[str, str]) -> Child:
        """Start a child and keep it running until `stop`."""
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError("children are started from the main thread: on Linux they end with the thread that did")
        child = Child(name, command, environment, self._folder / f"{name}.log")
        child.start()
        self.children[name] = child
        self._remember()
        return child

    def poll(self) -> list[Change]:
        """What changed since the last call."""
        changes = [change for child in self.children.values() if (change := child.poll())]
        if changes:
            self._remember()
        return changes

    def stop(self) -> None:
        """End every child, the last started first."""
        for child in reversed(self.children.values()):
            child.stop()
        self._list_path().unlink(missing_ok=True)

    def end_leftovers(self) -> list[str]:
        """Kill what an earlier run left behind; gives the names. Nobody else's process is touched."""
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            entries = json.loads(self._list_path().read_text())
            return [entry["name"] for entry in entries if _kill_tree(entry["pid"], entry["created"])]
        return []

    def _remember(self) -> None:
        entries = []
        for child in self.children.values():
            with contextlib.suppress(psutil.NoSuchProcess):
                if child.pid is not None:
                    created = psutil.Process(child.pid).create_time()
                    entries.append({"name": child.name, "pid": child.pid, "created": created})
        unfinished = self._list_path().with_suffix(".tmp")
        unfinished.write_text(json.dumps(entries))
        unfinished.replace(self._list_path())

    def _list_path(self) -> Path:
        return self._folder / "processes.json"


def _kill_tree(pid: int, created: float) -> bool:
    """Kill the process and its descendants if it is still the one that was created then."""
    try:
        process = psutil.Process(pid)
        if abs(process.create_time() - created) > 1:
            return False
        family = [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return False
    for member in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            member.kill()
    psutil.wait_procs(family, STOP_TIMEOUT_S)
    return True


def _ending(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    with contextlib.suppress(ValueError):
        return f"was ended by {signal.Signals(-code).name}"
    return f"was ended by signal {-code}"
