"""What a wallet with an eye for charms sees of the chain: coins, and the charms that lie on them.

It reads whole blocks from a node and follows it through reorganizations.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from clarion.chains.bitcoin.blocks import BlockHeader, parse_header, transactions_of
from clarion.chains.bitcoin.charms.drafts import SpellInput, charms_made
from clarion.chains.bitcoin.charms.spells import App
from clarion.chains.bitcoin.charms.verify import read_spells
from clarion.chains.bitcoin.coins import COINBASE_MATURITY, Coin, OutPoint
from clarion.chains.bitcoin.networks import BitcoinNetwork
from clarion.chains.bitcoin.scripts import is_unspendable
from clarion.chains.bitcoin.transactions import BitcoinTransaction, parse_transaction
from clarion.chains.model import JsonValue

Call = Callable[..., Awaitable[Any]]
"""Asks a node: a method of Bitcoin Core's RPC, and its parameters."""


@dataclass(slots=True)
class _Step:
    """What a block, or what waits to be mined, did to the outputs: so that it can be undone."""

    spent: dict[OutPoint, SpellInput] = field(default_factory=dict)
    made: list[OutPoint] = field(default_factory=list)


class ChainView:
    """Outputs and their charms as of the last `sync`: those of the chain, changed by what waits to be mined."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._headers: list[BlockHeader] = []
        self._steps: list[_Step] = []
        self._waiting = _Step()
        self.outputs: dict[OutPoint, SpellInput] = {}
        """Every output that can be spent."""

    @property
    def height(self) -> int:
        """Of the tip; -1 before the first `sync`."""
        return len(self._headers) - 1

    @property
    def tip(self) -> BlockHeader:
        """The last block. Raises IndexError before the first `sync`."""
        return self._headers[-1]

    async def sync(self) -> bool:
        """Go to the node's tip and mempool; gives whether the tip is another one than before."""
        self._undo(self._waiting)
        before = self._headers[-1:]
        await self._follow()
        self._waiting = _Step()
        waiting = [
            parse_transaction(bytes.fromhex(await self._call("getrawtransaction", tx_id)))
            for tx_id in await self._call("getrawmempool")
        ]
        self._apply(self._waiting, waiting, None)
        return self._headers[-1:] != before

    def add(self, transaction: BitcoinTransaction) -> None:
        """See a transaction that the node has just taken, without asking it."""
        self._apply(self._waiting, [transaction], None)

    def of_script(self, script: bytes) -> list[SpellInput]:
        """Outputs under a script."""
        return [output for output in self.outputs.values() if output.coin.script == script]

    def with_charm(self, app: App) -> list[tuple[SpellInput, JsonValue]]:
        """Outputs with a charm of an app, and its data."""
        return [(output, output.charms[app]) for output in self.outputs.values() if app in output.charms]

    def is_mature(self, output: SpellInput) -> bool:
        """Whether the next block may spend it."""
        coin = output.coin
        return not coin.coinbase or coin.height is None or self.height + 1 - coin.height >= COINBASE_MATURITY

    async def _follow(self) -> None:
        wanted = bytes.fromhex(await self._call("getbestblockhash"))
        known = {header.hash for header in self._headers}
        blocks: list[bytes] = []
        while wanted not in known and any(wanted):
            blocks.append(bytes.fromhex(await self._call("getblock", wanted.hex(), 0)))
            wanted = parse_header(blocks[-1]).parent_hash
        while self._headers and self._headers[-1].hash != wanted:
            self._headers.pop()
            self._undo(self._steps.pop())
        for block in reversed(blocks):
            step = _Step()
            self._apply(step, transactions_of(block), len(self._headers))
            self._headers.append(parse_header(block))
            self._steps.append(step)

    def _apply(self, step: _Step, transactions: Sequence[BitcoinTransaction], height: int | None) -> None:
        for transaction, charms in zip(transactions, _charms(transactions), strict=True):
            for spent in () if transaction.is_coinbase else transaction.inputs:
                outpoint = OutPoint(spent.tx_id, spent.vout)
                step.spent[outpoint] = self.outputs.pop(outpoint)
            for index, output in enumerate(transaction.outputs):
                if not is_unspendable(output.script):
                    outpoint = OutPoint(transaction.id, index)
                    coin = Coin(output.amount, output.script, height, transaction.is_coinbase)
                    self.outputs[outpoint] = SpellInput(outpoint, coin, charms.get(index, {}))
                    step.made.append(outpoint)

    def _undo(self, step: _Step) -> None:
        self.outputs |= step.spent
        for outpoint in step.made:
            self.outputs.pop(outpoint, None)


def _charms(transactions: Sequence[BitcoinTransaction]) -> list[Mapping[int, Mapping[App, JsonValue]]]:
    """By transaction: the charms of its outputs."""
    events = read_spells(transactions, BitcoinNetwork.REGTEST, accept_mock=True)
    return [{} if event is None else charms_made(event) for event in events]
