"""Several Bitcoin nodes as one: each behind a circuit breaker, asked in turn or all at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from typing import Any, TypeVar

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
        """What each node gives, by its name, or why it does not; never raises."""

        async def tried(node: BitcoinRpc) -> T | BitcoinSourceError:
            try:
                return await self._ask(node, ask)
            except BitcoinSourceError as error:
                return error

        found = await asyncio.gather(*(tried(node) for node in self._clients))
        return dict(zip((node.name for node in self._clients), found, strict=True))

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
        problems: list[str] = []
        for node in self._clients:
            try:
                return await self._ask(node, ask)
            except RpcError:
                raise
            except BitcoinSourceError as error:
                problems.append(str(error))
        raise NodesUnavailableError("; ".join(problems))

    async def _ask(self, node: BitcoinRpc, ask: Callable[[BitcoinRpc], Awaitable[T]]) -> T:
        try:
            return await self._breakers.call(node.name, lambda: ask(node))
        except LeftAloneError as error:
            raise BitcoinSourceError(str(error)) from None


def _per_kvb(bitcoins: Decimal | int) -> FeeRate:
    return FeeRate(int((Decimal(bitcoins) * SATS_PER_BITCOIN).to_integral_value(ROUND_CEILING)))


def _sats(bitcoins: Decimal | int) -> Sats:
    return Sats(int(Decimal(bitcoins) * SATS_PER_BITCOIN))
