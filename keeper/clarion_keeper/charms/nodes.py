"""Several Bitcoin nodes as one: each behind a circuit breaker, asked in turn or all at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from typing import Any, Final, TypeVar

from clarion.chains.bitcoin.coins import OutPoint
from clarion.chains.bitcoin.rpc import BitcoinRpc, RpcError
from clarion.chains.bitcoin.source import BitcoinSourceError
from clarion.chains.bitcoin.units import SATS_PER_BITCOIN, Sats
from clarion.config import BreakerPreset
from clarion_keeper.breakers import Breakers, LeftAloneError
from clarion_keeper.charms.coins import spent_by_waiting
from clarion_keeper.charms.sizes import FeeRate
from clarion_keeper.executor import ExecutorError

T = TypeVar("T")

PATIENCE_SECONDS: Final = 3.0
"""After so long the next node is asked too."""
GRACE_SECONDS: Final = 0.5
"""How long the other nodes are waited for once one has answered."""


class NodesUnavailableError(ExecutorError):
    """No Bitcoin node answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """What nodes want, in satoshis for 1,000 virtual bytes.

    Attributes:
        estimate: to be mined in time; None where no node has an opinion.
        least: below this a transaction is not relayed for now.
        incremental: what a replacement pays on top.
    """

    estimate: FeeRate | None
    least: FeeRate
    incremental: FeeRate


@dataclass(frozen=True, slots=True)
class Contention:
    """Why outputs cannot be spent: by which waiting transactions they are, and which are gone for good."""

    waiting: Mapping[OutPoint, bytes]
    gone: tuple[OutPoint, ...]


class BitcoinNodes:
    """The nodes of the settings, the preferred one first. Every method raises NodesUnavailableError where none answers.

    A node's refusal (`clarion.chains.bitcoin.rpc.RpcError`) is an answer.
    """

    def __init__(self, clients: Sequence[BitcoinRpc], preset: BreakerPreset = BreakerPreset.DEFAULT) -> None:
        if not clients:
            raise ValueError("at least one node is needed")
        self._clients = tuple(clients)
        self._breakers = Breakers(preset, answers=(RpcError,))
        self._asking: set[asyncio.Task[Any]] = set()

    @property
    def breaker_states(self) -> Mapping[str, str]:
        """Circuit breakers by node: ``closed``, ``opened``, ``half-opened``."""
        return self._breakers.states

    async def call(self, method: str, *parameters: Any) -> Any:
        """What a method of the first node that answers gives. Raises RpcError."""
        return await self._first(lambda node: node.call(method, *parameters))

    async def batch(self, calls: Sequence[tuple[str, list[Any]]]) -> list[Any]:
        """What several calls give, of the first node that answers. Raises RpcError."""
        return await self._first(lambda node: node.batch(calls))

    async def on_all(self, ask: Callable[[BitcoinRpc], Awaitable[T]]) -> Mapping[str, T | BitcoinSourceError]:
        """What each node gives, by its name, or why it does not; never raises. One that is late is not waited for."""
        tasks = {node.name: self._asked(node, ask) for node in self._clients}
        waiting = set(tasks.values())
        while waiting:
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if any(_is_answer(task.result()) for task in done):
                break
        if waiting:
            await asyncio.wait(waiting, timeout=GRACE_SECONDS)
        late = BitcoinSourceError("it has not answered yet")
        return {name: task.result() if task.done() else late for name, task in tasks.items()}

    async def aclose(self) -> None:
        """Give up on nodes that were asked and have not answered yet."""
        for task in self._asking:
            task.cancel()
        await asyncio.gather(*self._asking, return_exceptions=True)

    async def rates(self, blocks: int) -> Rates:
        """What to pay to be mined within so many blocks. Raises RpcError."""
        info = await self.call("getmempoolinfo")
        said = await self.call("estimatesmartfee", blocks)
        least = max(_per_kvb(info["mempoolminfee"]), _per_kvb(info["minrelaytxfee"]))
        estimate = _per_kvb(said["feerate"]) if "feerate" in said else None
        return Rates(estimate=estimate, least=FeeRate(least), incremental=_per_kvb(info["incrementalrelayfee"]))

    async def replaced_fees(self, tx_id: bytes) -> Sats | None:
        """Fees of a waiting transaction and of all that waits on top of it: what replaces it pays more.

        None where it does not wait.
        """
        try:
            entry = await self.call("getmempoolentry", tx_id.hex())
        except RpcError:
            return None
        return _sats(entry["fees"]["descendant"])

    async def contention(self, outpoints: Sequence[OutPoint]) -> Contention:
        """Which of these outputs cannot be spent any more, and why. Raises RpcError."""
        waiting = await spent_by_waiting(self, outpoints)
        left = [outpoint for outpoint in outpoints if outpoint not in waiting]
        found = await self.batch([("gettxout", [outpoint.tx_id.hex(), outpoint.vout]) for outpoint in left])
        gone = tuple(outpoint for outpoint, output in zip(left, found, strict=True) if output is None)
        return Contention(waiting, gone)

    async def _first(self, ask: Callable[[BitcoinRpc], Awaitable[T]]) -> T:
        """The first answer: where a node takes long, the next one is asked too."""
        waiting: set[asyncio.Task[T | BitcoinSourceError]] = set()
        problems: list[str] = []
        left = list(self._clients)
        while left or waiting:
            if left:
                waiting.add(self._asked(left.pop(0), ask))
            done, waiting = await asyncio.wait(
                waiting, timeout=PATIENCE_SECONDS if left else None, return_when=asyncio.FIRST_COMPLETED
            )
            for task in done:
                found = task.result()
                if isinstance(found, RpcError):
                    raise found
                if not isinstance(found, BitcoinSourceError):
                    return found
                problems.append(str(found))
        raise NodesUnavailableError("; ".join(problems))

    def _asked(
        self, node: BitcoinRpc, ask: Callable[[BitcoinRpc], Awaitable[T]]
    ) -> asyncio.Task[T | BitcoinSourceError]:
        """A task that gives what the node gives, or why not. It goes on where nobody waits: its breaker learns."""

        async def tried() -> T | BitcoinSourceError:
            try:
                return await self._ask(node, ask)
            except BitcoinSourceError as error:
                return error
            except (LookupError, TypeError, ValueError) as error:
                return BitcoinSourceError(f"{node.name} answers what makes no sense: {error!r}")

        task = asyncio.create_task(tried())
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)
        return task

    async def _ask(self, node: BitcoinRpc, ask: Callable[[BitcoinRpc], Awaitable[T]]) -> T:
        try:
            return await self._breakers.call(node.name, lambda: ask(node))
        except LeftAloneError as error:
            raise BitcoinSourceError(str(error)) from None


def _is_answer(found: object) -> bool:
    return isinstance(found, RpcError) or not isinstance(found, BitcoinSourceError)


def _per_kvb(bitcoins: Decimal | int) -> FeeRate:
    return FeeRate(int((Decimal(bitcoins) * SATS_PER_BITCOIN).to_integral_value(ROUND_CEILING)))


def _sats(bitcoins: Decimal | int) -> Sats:
    return Sats(int(Decimal(bitcoins) * SATS_PER_BITCOIN))
