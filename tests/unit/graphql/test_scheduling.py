"""The server gives way to the database, where the system knows how."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from clarion_graphql import scheduling

POLICY = "import os; from clarion_graphql.scheduling import give_way; give_way(); print(os.sched_getscheduler(0))"


@pytest.mark.skipif(not hasattr(os, "SCHED_BATCH"), reason="only Linux has it")
def test_the_process_is_a_batch_process() -> None:
    done = subprocess.run([sys.executable, "-c", POLICY], capture_output=True, text=True, check=True)

    assert int(done.stdout) == os.SCHED_BATCH


@pytest.mark.skipif(not hasattr(os, "SCHED_BATCH"), reason="only Linux has it")
def test_where_it_is_forbidden_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError("not here")

    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    scheduling.give_way()


def test_where_no_system_knows_it_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "SCHED_BATCH", raising=False)
    monkeypatch.delattr(os, "sched_setscheduler", raising=False)
    scheduling.give_way()
