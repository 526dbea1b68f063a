"""The coins that an account can pay with: its own, confirmed, not spent by what waits, and without charms.

A node knows nothing of charms. Whoever spends an output with charms as if it were money destroys them, so the
transaction that made a coin is looked at: where it has a spell that puts anything on the output, or one that nobody
here can read, the coin is left alone.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from clarion.chains.bitcoin.charms.verify import read_spell
from clarion.chains.bitcoin.coins import COINBASE_MATURITY, Coin, OutPoint
from clarion.chains.bitcoin.networks import BitcoinNetwork
from clarion.chains.bitcoin.transactions import BitcoinTransaction, parse_transaction

MOST_COINS: Final = 200
"""Of an account's coins the largest are looked at; so many pay for any spell."""


class Rpc(Protocol):
    """One Bitcoin node, or several as one (`clarion_keeper.charms.nodes`)."""

    async def call(self, method: str, *parameters: Any) -> Any:
        """What a method gives."""
        ...

    async def batch(self, calls: Sequence[tuple[str, list[Any]]]) -> list[Any]:
        """What several calls give, sent as one."""
        ...


@dataclass(frozen=True, slots=True)
class Purse:
    """Coins that can be spent, and the transactions that made them, by id (display order)."""

    coins: Mapping[OutPoint, Coin]
    made_by: Mapping[bytes, BitcoinTransaction]


class OwnCoins:
    """Looks for the coins of an account in a node's set of unspent outputs, once for each block.

    A node of a large network takes a minute or two for that (``scantxoutset``), and answers others meanwhile.
    """

    def __init__(self, rpc: Rpc, scripts: Collection[bytes], network: BitcoinNetwork) -> None:
        self._rpc = rpc
        self._scripts = sorted(scripts)
        self._network = network
        self._tip = ""
        self._found = Purse({}, {})

    async def read(self) -> Purse:
        """What can be spent now. Raises what the node's client does."""
        tip = str(await self._rpc.call("getbestblockhash"))
        if tip != self._tip:
            self._found = await self._scan()
            self._tip = tip
        waiting = await spent_by_waiting(self._rpc, list(self._found.coins))
        coins = {outpoint: coin for outpoint, coin in self._found.coins.items() if outpoint not in waiting}
        return Purse(coins, self._found.made_by)

    async def _scan(self) -> Purse:
        asked = [f"raw({script.hex()})" for script in self._scripts]
        found = await self._rpc.call("scantxoutset", "start", asked)
        height = int(found["height"])
        mature = [
            one
            for one in found["unspents"]
            if not one.get("coinbase") or height + 1 - int(one["height"]) >= COINBASE_MATURITY
        ]
        largest = sorted(mature, key=lambda one: one["amount"], reverse=True)[:MOST_COINS]
        made_by = await previous_transactions(
            self._rpc,
            [OutPoint(bytes.fromhex(one["txid"]), int(one["vout"])) for one in largest],
            {bytes.fromhex(one["txid"]): one["blockhash"] for one in largest if "blockhash" in one},
        )
        coins = {}
        for one in largest:
            outpoint = OutPoint(bytes.fromhex(one["txid"]), int(one["vout"]))
            if not bears_charms(made_by[outpoint.tx_id], outpoint.vout, self._network):
                output = made_by[outpoint.tx_id].outputs[outpoint.vout]
                coinbase = bool(one.get("coinbase"))
                coins[outpoint] = Coin(output.amount, output.script, int(one["height"]), coinbase)
        return Purse(coins, made_by)


def bears_charms(made_by: BitcoinTransaction, vout: int, network: BitcoinNetwork) -> bool:
    """Whether the transaction may have put charms on its output: so also where its spell is of an unknown version."""
    event = read_spell(made_by, network, accept_mock=True)
    if event is None:
        return False
    return event.status == "unsupported" or (vout < len(event.outs) and bool(event.outs[vout]))


async def previous_transactions(
    rpc: Rpc, outpoints: Sequence[OutPoint], blocks: Mapping[bytes, str] | None = None
) -> dict[bytes, BitcoinTransaction]:
    """The transactions that made these outputs, by id (display order).

    ``blocks``: hashes of the blocks that they are in, as far as they are known; a node without ``txindex`` finds only
    those, and what waits. Raises what the node's client does.
    """
    wanted = list(dict.fromkeys(outpoint.tx_id for outpoint in outpoints))
    known = blocks or {}
    calls: list[tuple[str, list[Any]]] = [
        ("getrawtransaction", [tx_id.hex(), 0, *([known[tx_id]] if tx_id in known else [])]) for tx_id in wanted
    ]
    raw = await rpc.batch(calls)
    return {tx_id: parse_transaction(bytes.fromhex(one)) for tx_id, one in zip(wanted, raw, strict=True)}


async def spent_by_waiting(rpc: Rpc, outpoints: Sequence[OutPoint]) -> dict[OutPoint, bytes]:
    """Which of these outputs a transaction in the node's mempool spends, and the id of that transaction."""
    if not outpoints:
        return {}
    asked = [{"txid": outpoint.tx_id.hex(), "vout": outpoint.vout} for outpoint in outpoints]
    found = await rpc.call("gettxspendingprevout", asked)
    return {
        outpoint: bytes.fromhex(one["spendingtxid"])
        for outpoint, one in zip(outpoints, found, strict=True)
        if "spendingtxid" in one
    }
