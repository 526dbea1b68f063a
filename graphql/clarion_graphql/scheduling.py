"""How the operating system divides processors between the server and the database beside it."""

from __future__ import annotations

import contextlib
import os


def give_way() -> None:
    """Let what is running go on when an answer or a request wakes this process, where processors are all in use.

    Each answer of the database wakes the server. Where they share processors, the server would take one away from
    the next statement, and both would then work with caches that the other has filled. As a batch process (Linux;
    nothing elsewhere) it waits for its turn instead, and does what has come meanwhile in one go: see
    https://man7.org/linux/man-pages/man7/sched.7.html. Where a processor is idle it changes nothing.
    """
    if hasattr(os, "SCHED_BATCH"):
        with contextlib.suppress(OSError):  # a container may forbid it
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
