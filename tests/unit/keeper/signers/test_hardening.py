"""A process that holds a key keeps its memory and environment from others of the same user."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from clarion_keeper.signers.hardening import PR_SET_DUMPABLE, hide_memory

NOBODY = 65_534


def in_a_process(work: Callable[[], object]) -> int:
    """The process id of one that does this, as a user who is not root, and ends."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            if os.geteuid() == 0:
                os.setgid(NOBODY)
                os.setuid(NOBODY)
                ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)  # to become another user takes it away
            work()
            code = 0
        finally:
            os._exit(code)
    return pid


@pytest.mark.skipif(sys.platform != "linux", reason="other systems show no process's environment as a file")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # the children call nothing that takes a lock
@pytest.mark.parametrize("hides", [False, True])
def test_others_of_the_same_user_see_nothing(hides: bool) -> None:
    ready, is_ready = os.pipe()
    wait, go_on = os.pipe()

    def hold() -> None:
        if hides:
            hide_memory()
        os.write(is_ready, b"!")
        os.close(go_on)
        os.read(wait, 1)

    holder = in_a_process(hold)
    assert os.read(ready, 1) == b"!"
    reader = in_a_process(Path(f"/proc/{holder}/environ").read_bytes)
    _, status = os.waitpid(reader, 0)
    os.close(go_on)
    assert os.waitpid(holder, 0)[1] == 0
    for descriptor in (ready, is_ready, wait):
        os.close(descriptor)
    assert (os.waitstatus_to_exitcode(status) == 0) is not hides
