"""Runs `signing_process.py` as a keeper's stand-in, and finds its agents."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import psutil

from clarion_keeper.signers.processes import AGENT_MODULE
from support.signing import ADDRESS, DEPLOYER

SIGNING_PROCESS: Final = Path(__file__).with_name("signing_process.py")
WAIT_SECONDS: Final = 120


def agents_of(process: psutil.Process) -> list[psutil.Process]:
    """The agents under a process: of a guarded one first the guard, then the one that signs."""
    found = []
    for child in process.children(recursive=True):
        try:
            if AGENT_MODULE in child.cmdline():
                found.append(child)
        except psutil.Error:
            continue
    return found


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)


class SigningProcess:
    """`tests/support/signing_process.py` with one account."""

    def __init__(self, folder: Path, signer: str, environment: dict[str, str]) -> None:
        settings = {
            "CLARION_STATE_DIR": str(folder / "state"),
            "CLARION_LOG__LEVEL": "debug",
            "CLARION_DEPLOYERS__BITHEDGE": DEPLOYER,
            "CLARION_KEEPER__ACCOUNTS": json.dumps({"keeper": {"signer": signer}}),
            "PYTHONPATH": os.pathsep.join(sys.path),
        }
        self.log = folder / "log"
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, str(SIGNING_PROCESS)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=folder,
                text=True,
                env={**os.environ, **settings, **environment},
                preexec_fn=allow_core_files,
            )
        self.process = psutil.Process(self._process.pid)
        self.may_leave_core_files = resource.getrlimit(resource.RLIMIT_CORE)[1] != 0
        assert self._said() == f"ready keeper={ADDRESS}"

    def sign(self, nonce: int, fee: int = 1_000) -> str:
        assert self._process.stdin is not None
        self._process.stdin.write(f"keeper {nonce} {fee}\n")
        self._process.stdin.flush()
        return self._said()

    def _said(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, self.log.read_text()
        return line.strip()

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


def allow_core_files() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (most, most))


@contextlib.contextmanager
def running_signers(folder: Path) -> Iterator[Callable[..., SigningProcess]]:
    """Starts them: with a signer, and variables for their environment. They end with the context."""
    running: list[SigningProcess] = []

    def start(signer: str, **environment: str) -> SigningProcess:
        running.append(SigningProcess(folder, signer, environment))
        return running[-1]

    try:
        yield start
    finally:
        for one in running:
            one.close()
