"""A regtest node: a chain, a mempool, and a miner that makes blocks and forks on request.

Nothing happens by itself and no clock is read: times are arguments. With the same seed the same calls make the same
blocks, byte for byte.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from clarion.chains.bitcoin.transactions import BitcoinTransaction
from clarion.chains.bitcoin.units import Sats
from clarion.dev.bitcoin.chain import BlockChain, ChainBlock, Switch
from clarion.dev.bitcoin.mempool import Mempool, Policy
from clarion.dev.bitcoin.miner import MAX_BLOCK_WEIGHT, make_block

COINBASE_ROOM: Final = 4_000
"""Weight that a block's own transaction is left."""


def block_tag(seed: int, number: int) -> bytes:
    """What stands in the coinbase of the ``number``-th block that a node has seen: it makes the coinbase unique."""
    return f"clarion {seed} {number}".encode()


class RegtestNode:
    """A node on its own. Blocks are kept in ``folder`` where one is given, and continued from there.

    Raises:
        KernelMissingError: the consensus library is not installed.
    """

    def __init__(self, folder: Path | None = None, *, seed: int = 0, policy: Policy | None = None) -> None:
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        self.chain = BlockChain(folder / "blocks.log" if folder else None)
        self.mempool = Mempool(self.chain, policy or Policy())
        self._seed = seed

    def close(self) -> None:
        """End the node."""
        self.chain.close()

    def submit(self, raw: bytes, *, time: int) -> Switch:
        """Take a serialized block. Raises BlockRejectedError."""
        return self._followed(self.chain.submit(raw), time)

    def mine(self, count: int, script: bytes, *, time: int) -> list[ChainBlock]:
        """Mine blocks of what waits, on the tip, with the rewards under ``script``."""
        blocks = []
        for _ in range(count):
            chosen = self.mempool.selection(MAX_BLOCK_WEIGHT - COINBASE_ROOM)
            transactions = [entry.transaction for entry in chosen]
            blocks.append(self.mine_on(self.chain.tip.hash, transactions, script, time=time))
        return blocks

    def mine_on(
        self, parent: bytes, transactions: Sequence[BitcoinTransaction], script: bytes, *, time: int
    ) -> ChainBlock:
        """Mine one block of exactly these transactions, in this order, on any block.

        ``time`` is raised to what the rules ask for.

        Raises:
            BlockRejectedError: the consensus rules refuse it.
            UnknownBlockError: there is no such parent.
        """
        height = self.chain.block(parent).height + 1
        raw = make_block(
            parent=parent,
            height=height,
            time=max(time, self.chain.median_time(parent) + 1),
            script=script,
            transactions=transactions,
            fees=self._fees(transactions),
            tag=block_tag(self._seed, len(self.chain.blocks)),
        )
        self.submit(raw, time=time)
        return list(self.chain.blocks.values())[-1]

    def fork(
        self, depth: int, script: bytes, *, time: int, blocks: int | None = None, keep_transactions: bool = True
    ) -> Switch:
        """Replace the newest ``depth`` blocks by a longer branch of ``blocks`` (one more by default).

        What was in them waits again and is in the branch's blocks beyond ``depth + 1``, or is dropped without
        ``keep_transactions``.

        Raises:
            ValueError: the chain is shorter than that, or the branch is not longer.
        """
        length = depth + 1 if blocks is None else blocks
        if not 1 <= depth <= self.chain.height:
            raise ValueError(f"cannot replace {depth} of {self.chain.height} blocks")
        if length <= depth:
            raise ValueError(f"a branch of {length} blocks does not replace {depth}")
        parent = self.chain.active[-1 - depth]
        before = len(self.chain.active)
        old = [self.chain.blocks[digest] for digest in reversed(self.chain.active[-depth:])]
        for _ in range(depth + 1):
            parent = self.mine_on(parent, (), script, time=time).hash
        if not keep_transactions:
            for block in old:
                for transaction in block.transactions:
                    if transaction.id in self.mempool.entries:
                        self.mempool.remove(self.mempool.entries[transaction.id])
        self.mine(length - depth - 1, script, time=time)
        return Switch(old, [self.chain.blocks[digest] for digest in self.chain.active[before - depth :]])

    def invalidate(self, digest: bytes, *, time: int) -> Switch:
        """Leave the branch of this block. Raises UnknownBlockError."""
        return self._followed(self.chain.invalidate(digest), time)

    def reconsider(self, digest: bytes, *, time: int) -> Switch:
        """Take back `invalidate`. Raises UnknownBlockError."""
        return self._followed(self.chain.reconsider(digest), time)

    def transaction(self, tx_id: bytes) -> BitcoinTransaction | None:
        """A transaction that waits, or of any block."""
        entry = self.mempool.entries.get(tx_id)
        return entry.transaction if entry else self.chain.transaction(tx_id)

    def _followed(self, switch: Switch, time: int) -> Switch:
        self.mempool.follow(switch, time=time)
        return switch

    def _fees(self, transactions: Sequence[BitcoinTransaction]) -> Sats:
        """What the transactions pay; 0 for one that spends what nobody knows: the kernel will refuse it anyway."""
        given = {transaction.id: transaction for transaction in transactions}
        total = 0
        for transaction in transactions:
            amounts = []
            for spent in transaction.inputs:
                source = given.get(spent.tx_id) or self.transaction(spent.tx_id)
                if source is None or spent.vout >= len(source.outputs):
                    break
                amounts.append(source.outputs[spent.vout].amount)
            else:
                total += max(sum(amounts) - sum(output.amount for output in transaction.outputs), 0)
        return Sats(total)
