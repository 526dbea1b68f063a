"""The thread of an indexing service."""

from __future__ import annotations

import asyncio
import threading

import pytest

from clarion.worker_thread import WorkerThread


async def test_functions_are_called_one_after_the_other_elsewhere() -> None:
    in_thread = WorkerThread("work", max_seconds=10)
    seen: list[tuple[int, str]] = []
    try:
        await asyncio.gather(
            *(in_thread(lambda number: seen.append((number, threading.current_thread().name)), n) for n in range(5))
        )
    finally:
        in_thread.close()
    assert seen == [(number, "work_0") for number in range(5)]


async def test_what_a_function_raises_comes_back_and_the_next_one_is_called() -> None:
    in_thread = WorkerThread("work", max_seconds=10)
    try:
        with pytest.raises(ValueError, match="'x'"):
            await in_thread(int, "x")
        assert await in_thread(int, "7") == 7
        assert in_thread.reasons() == []
    finally:
        in_thread.close()


async def test_a_function_that_does_not_end_counts_as_stuck_while_it_runs() -> None:
    in_thread = WorkerThread("work", max_seconds=0)
    runs, go_on = threading.Event(), threading.Event()

    def stuck() -> None:
        runs.set()
        go_on.wait(60)

    working = asyncio.create_task(in_thread(stuck))
    try:
        assert await asyncio.to_thread(runs.wait, 60)
        (reason,) = in_thread.reasons()
        assert "max_batch_seconds" in reason
    finally:
        go_on.set()
        await working
        in_thread.close()
    assert in_thread.reasons() == []
