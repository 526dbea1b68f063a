"""Child processes that do not outlive the process that started them."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Callable
from typing import Final

PR_SET_PDEATHSIG: Final = 1
"""Of `prctl(2)`: which signal a process gets when the thread that started it ends. Linux alone has it."""
STOPS_WITH_PARENT: Final = sys.platform == "linux"


def stop_with_parent(number: signal.Signals) -> Callable[[], None] | None:
    """What a new process runs before it becomes the child (`preexec_fn`), for the kernel to end it with its parent.

    None where the system cannot do that. `number` is the signal that ends the child.
    """
    if not STOPS_WITH_PARENT:
        return None
    prctl = ctypes.CDLL(None).prctl  # looked up here, because between fork and exec nothing may be loaded
    parent = os.getpid()

    def ask_kernel() -> None:
        prctl(PR_SET_PDEATHSIG, number)
        if os.getppid() != parent:  # it died before the call
            os._exit(1)

    return ask_kernel


def end_with(parent: int) -> None:
    """Have the kernel end this process with `parent`, whose child it is; at once where that has ended already."""
    if STOPS_WITH_PARENT:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
