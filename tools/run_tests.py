"""Runs the tests, the slow ones left out: pytest on two cores, and Node's in the time that those wait for something.

Node's have a low priority. What they say is shown after pytest's.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NODE_NICENESS = 10
PYTEST = [sys.executable, "-m", "pytest", "--numprocesses", "2", "--dist", "worksteal", "--durations", "40"]
NODE = [sys.executable, "-m", "clarion.node", "npm", "--prefix", "contracts", "test"]


def main(options: Sequence[str]) -> int:
    """Run both, pytest with these options; returns the exit code of pytest, or of Node's where pytest's is 0."""
    with tempfile.TemporaryFile() as said:
        node = subprocess.Popen(
            NODE, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT, process_group=0
        )
        os.setpriority(os.PRIO_PGRP, node.pid, NODE_NICENESS)
        # pytest, which ends by itself when interrupted, is in this process's group; Node is in its own
        signal.signal(signal.SIGINT, lambda *_: _end(node))
        try:
            pytest = subprocess.run([*PYTEST, *options], cwd=ROOT, check=False)
            node.wait()
        finally:
            _end(node)
        said.seek(0)
        shutil.copyfileobj(said, sys.stdout.buffer)
    return pytest.returncode or node.returncode


def _end(node: subprocess.Popen[bytes]) -> None:
    if node.poll() is None:
        os.killpg(node.pid, signal.SIGTERM)
        node.wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
