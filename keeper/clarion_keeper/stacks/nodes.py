"""Several Stacks nodes as one: each behind a circuit breaker, asked in turn or all at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

from clarion.chains.stacks.node_client import (
    Account,
    FeeEstimate,
    NodeAnswerError,
    NodeClient,
    NodeError,
    NodeInfo,
    Simulated,
    SimulationRefusedError,
)
from clarion.config import BreakerPreset
from clarion_keeper.breakers import Breakers, LeftAloneError

T = TypeVar("T")

GRACE_SECONDS: Final = 0.5
"""How long the other nodes are waited for once one has answered. One that stalls delays nothing more than that."""


class Nodes:
    """The nodes of the settings, the preferred one first."""

    def __init__(self, clients: Sequence[NodeClient], preset: BreakerPreset = BreakerPreset.DEFAULT) -> None:
        if not clients:
            raise ValueError("at least one node is needed")
        self._clients = tuple(clients)
        self._breakers = Breakers(preset, answers=(NodeAnswerError,))
        self._asking: set[asyncio.Task[Any]] = set()

    @property
    def breaker_states(self) -> Mapping[str, str]:
        """Circuit breakers by node: ``closed``, ``opened``, ``half-opened``."""
        return self._breakers.states

    async def aclose(self) -> None:
        """Give up on nodes that were asked and have not answered yet."""
        for task in self._asking:
            task.cancel()
        await asyncio.gather(*self._asking, return_exceptions=True)

    async def account(self, address: str) -> Account:
        """Balance and next nonce, as the node that is furthest says. Raises NodeError."""
        accounts = _answers(await self._all(lambda node: node.account(address)))
        return max(accounts, key=lambda account: account.nonce)

    async def tip_height(self) -> int:
        """The highest tip that any node has. Raises NodeError."""
        infos: list[NodeInfo] = _answers(await self._all(lambda node: node.info()))
        return max(info.stacks_tip_height for info in infos)

    async def first_tip_height(self) -> int:
        """The tip of the first node that answers, which is the one that simulates if it can. Raises NodeError."""
        return (await self._first(lambda node: node.info())).stacks_tip_height

    async def estimate_fees(self, payload: bytes, size: int) -> FeeEstimate | None:
        """What a transaction would pay; None where no node says: they are new, estimate nothing, or do not answer."""
        try:
            return await self._first(lambda node: node.estimate_fees(payload, size))
        except NodeError:
            return None

    async def simulate(self, raw: bytes) -> Simulated:
        """How a signed transaction would end at the tip.

        Raises SimulationRefusedError where it could not be in a block at all, NodeError where no node simulates for us.
        """
        return await self._first(lambda node: node.simulate(raw))

    async def is_waiting(self, tx_id: bytes) -> bool:
        """Whether any node has a transaction in its mempool. Raises NodeError where none says."""
        return any(_answers(await self._all(lambda node: node.has_transaction(tx_id))))

    async def send(self, raw: bytes) -> Mapping[str, NodeError | None]:
        """Give a transaction to all nodes at once: by node, None where it was taken, else why not."""
        answers = await self._all(lambda node: node.send(raw))
        return {
            url: answer if isinstance(answer, NodeError) else None
            for url, answer in zip((client.url for client in self._clients), answers, strict=True)
        }

    async def _first(self, ask: Callable[[NodeClient], Awaitable[T]]) -> T:
        """The first answer. Raises the last node's NodeError where there is none."""
        problem: NodeError | None = None
        for client in self._clients:
            try:
                return await self._ask(client, ask)
            except SimulationRefusedError:
                raise
            except NodeError as error:
                problem = error
        assert problem is not None
        raise problem

    async def _all(self, ask: Callable[[NodeClient], Awaitable[T]]) -> list[T | NodeError]:
        """What each node says. One that is late is heard no more, but its breaker learns how it ends."""
        tasks = [asyncio.create_task(self._try(client, ask)) for client in self._clients]
        for task in tasks:
            self._asking.add(task)
            task.add_done_callback(self._asking.discard)
        waiting = set(tasks)
        while waiting:
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if any(not isinstance(task.result(), NodeError) for task in done):
                break
        if waiting:
            await asyncio.wait(waiting, timeout=GRACE_SECONDS)
        return [
            task.result() if task.done() else NodeError(f"{client.url} has not answered yet")
            for client, task in zip(self._clients, tasks, strict=True)
        ]

    async def _try(self, client: NodeClient, ask: Callable[[NodeClient], Awaitable[T]]) -> T | NodeError:
        try:
            return await self._ask(client, ask)
        except NodeError as error:
            return error

    async def _ask(self, client: NodeClient, ask: Callable[[NodeClient], Awaitable[T]]) -> T:
        async def asked() -> T:
            try:
                return await ask(client)
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                raise NodeError(f"{client.url} gave an answer of another form: {error!r}") from error

        try:
            return await self._breakers.call(client.url, asked)
        except LeftAloneError as error:
            raise NodeError(str(error)) from None


def _answers(given: Sequence[T | NodeError]) -> list[T]:
    """Those that answered. Raises NodeError with every node's reason where none did."""
    answers = [answer for answer in given if not isinstance(answer, NodeError)]
    if not answers:
        raise NodeError("; ".join(str(answer) for answer in given))
    return answers
