"""A server that keeps failing is left alone for a while, however the wall clock is set."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import NoReturn

import pytest

from clarion.config import BreakerPreset
from clarion_keeper.breakers import PRESETS, Breakers, LeftAloneError, Patience


class RefusalError(Exception):
    pass


class Server:
    def __init__(self) -> None:
        self.calls = 0
        self.now = 1000.0
        self.problem: BaseException | None = OSError("down")
        self.breakers = Breakers(BreakerPreset.STRICT, answers=(RefusalError,), clock=lambda: self.now)

    async def answer(self) -> str:
        self.calls += 1
        if self.problem is not None:
            raise self.problem
        return "here"

    async def ask(self) -> str:
        return await self.breakers.call("server", self.answer)

    async def fail(self, times: int) -> None:
        for _ in range(times):
            with pytest.raises(OSError, match="down"):
                await self.ask()

    @property
    def state(self) -> str:
        return self.breakers.states["server"]


def test_the_presets() -> None:
    assert {
        BreakerPreset.DEFAULT: Patience(5, 30),
        BreakerPreset.STRICT: Patience(3, 60),
        BreakerPreset.RELAXED: Patience(10, 15),
    } == PRESETS


async def test_after_so_many_failures_in_a_row_it_is_left_alone() -> None:
    server = Server()
    await server.fail(2)
    server.problem = None
    assert await server.ask() == "here"
    server.problem = OSError("down")
    await server.fail(3)
    for _ in range(3):
        with pytest.raises(LeftAloneError, match="server failed too often"):
            await server.ask()
    assert (server.calls, server.state) == (6, "opened")


async def test_after_a_while_one_call_decides() -> None:
    server = Server()
    await server.fail(3)
    server.now += 59
    with pytest.raises(LeftAloneError):
        await server.ask()
    server.now += 1
    await server.fail(1)
    with pytest.raises(LeftAloneError):
        await server.ask()
    server.now += 60
    server.problem = None
    assert await server.ask() == "here"
    assert server.state == "closed"


async def test_a_wall_clock_that_is_set_back_leaves_nobody_alone_for_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server()
    await server.fail(3)
    monkeypatch.setattr("purgatory.domain.model.time", SimpleNamespace(time=lambda: 0.0))
    server.now += 60
    server.problem = None
    assert await server.ask() == "here"


@pytest.mark.parametrize("problem", [RefusalError("no"), asyncio.CancelledError()])
async def test_an_answer_is_no_failure_and_nor_is_giving_up(problem: BaseException) -> None:
    server = Server()
    server.problem = problem
    for _ in range(5):
        with pytest.raises(type(problem)):
            await server.ask()
    assert server.state == "closed"


async def test_servers_do_not_answer_for_each_other() -> None:
    server = Server()
    await server.fail(3)

    async def other() -> int:
        return 7

    async def broken() -> NoReturn:
        raise OSError("down")

    assert await server.breakers.call("other", other) == 7
    with pytest.raises(OSError, match="down"):
        await server.breakers.call("third", broken)
    assert dict(server.breakers.states) == {"server": "opened", "other": "closed", "third": "closed"}
