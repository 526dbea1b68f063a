"""Keeping what a process has in memory from core files and from other processes of the same user."""

from __future__ import annotations

import ctypes
import resource
import sys
from typing import Final

PR_SET_DUMPABLE: Final = 4
"""Of `prctl(2)`: 0 keeps core files, debuggers and /proc/PID/mem of the same user away. Linux alone has it."""


def no_core_file() -> None:
    """Let this process and those it becomes or starts leave no core file."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def hide_memory() -> None:
    """Let nobody but root look at this process's memory and environment. It does not outlive an exec."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
