"""The blocks that a regtest node has, which of them are its chain, and the coins that exist at its tip.

The kernel decides; here is what it does not tell: coins by outpoint, transactions by id, and what is to be replayed
after a restart.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from clarion.chains.bitcoin.blocks import BlockHeader, parse_header, transactions_of
from clarion.chains.bitcoin.coins import Coin, OutPoint
from clarion.chains.bitcoin.scripts import is_unspendable
from clarion.chains.bitcoin.transactions import BitcoinTransaction, TransactionError, write_transaction
from clarion.dev.bitcoin.kernel import BlockRejectedError, Kernel

MEDIAN_BLOCKS: Final = 11
"""The time of a block is to be after the median of this many blocks before it (BIP 113)."""

_RECORD: Final = struct.Struct("<cI")
_BLOCK, _INVALIDATED, _RECONSIDERED = b"B", b"I", b"R"


@dataclass(slots=True)
class ChainBlock:
    """A block that the kernel took. ``spent`` is what its transactions spend, input by input; empty until it was on the
    chain.
    """

    hash: bytes
    height: int
    header: BlockHeader
    transactions: tuple[BitcoinTransaction, ...]
    raw: bytes
    spent: list[list[Coin]] = field(default_factory=list)

    @property
    def parent(self) -> bytes:
        """Hash of the block before."""
        return self.header.parent_hash


class Switch(NamedTuple):
    """What a step did to the chain: blocks taken off it, the highest first, and put on it, the lowest first."""

    disconnected: list[ChainBlock]
    connected: list[ChainBlock]


class UnknownBlockError(Exception):
    """No block of this hash is known."""


class BlockChain:
    """A regtest chain, kept in ``file`` where one is given: what is there already is continued."""

    def __init__(self, file: Path | None = None) -> None:
        self._folder = file.parent if file else None
        self._kernel = Kernel(self._folder)
        self.blocks: dict[bytes, ChainBlock] = {}
        """Every block, on whichever branch, in the order in which they came."""
        self.active: list[bytes] = []
        """Hashes of the chain, by height."""
        self.coins: dict[OutPoint, Coin] = {}
        """What can be spent at the tip."""
        self.mined: dict[bytes, bytes] = {}
        """The chain's transactions: id to the hash of their block."""
        self._transactions: dict[bytes, BitcoinTransaction] = {}
        self._invalid: set[bytes] = set()
        genesis = self._kernel.genesis()
        header = parse_header(genesis)
        self.blocks[header.hash] = ChainBlock(header.hash, 0, header, tuple(transactions_of(genesis)), genesis, [[]])
        self.active.append(header.hash)
        self._file = None
        if file is not None:
            self._replay(file)
            self._file = file.open("ab")

    def close(self) -> None:
        """Let go of the kernel and the file."""
        self._kernel.close()
        if self._file is not None:
            self._file.close()

    @property
    def height(self) -> int:
        """Of the tip."""
        return len(self.active) - 1

    @property
    def tip(self) -> ChainBlock:
        """The highest block of the chain."""
        return self.blocks[self.active[-1]]

    def block(self, digest: bytes) -> ChainBlock:
        """The block of this hash, on the chain or not. Raises UnknownBlockError."""
        try:
            return self.blocks[digest]
        except KeyError:
            raise UnknownBlockError(digest.hex()) from None

    def on_chain(self, block: ChainBlock) -> bool:
        """Whether it is one of the chain's."""
        return block.height < len(self.active) and self.active[block.height] == block.hash

    def transaction(self, tx_id: bytes) -> BitcoinTransaction | None:
        """A transaction of any block, on the chain or not."""
        return self._transactions.get(tx_id)

    def ancestors(self, digest: bytes) -> Iterator[ChainBlock]:
        """The block and those before it, down to the first."""
        block = self.block(digest)
        yield block
        while block.height:
            block = self.blocks[block.parent]
            yield block

    def median_time(self, digest: bytes) -> int:
        """The median time of the block and the ten before it: the next block's time is later."""
        times = sorted(
            block.header.time for block, _ in zip(self.ancestors(digest), range(MEDIAN_BLOCKS), strict=False)
        )
        return times[len(times) // 2]

    def tips(self) -> list[ChainBlock]:
        """The last block of every branch."""
        parents = {block.parent for block in self.blocks.values()}
        return [block for block in self.blocks.values() if block.hash not in parents]

    def is_invalid(self, block: ChainBlock) -> bool:
        """Whether it, or a block before it, was declared invalid."""
        return bool(self._invalid) and any(ancestor.hash in self._invalid for ancestor in self.ancestors(block.hash))

    def script_error(self, transaction: BitcoinTransaction, spent: Sequence[Coin]) -> str | None:
        """Why the transaction may not spend these coins by their scripts, or None where it may."""
        return self._kernel.script_error(write_transaction(transaction), spent)

    def submit(self, raw: bytes) -> Switch:
        """Take a serialized block; it becomes the chain's if its branch is the longest.

        Raises:
            BlockRejectedError: a rule refuses it, or it was taken before (``duplicate``). Nothing changes.
        """
        switch = self._take(raw)
        self._keep(_BLOCK, raw)
        return switch

    def invalidate(self, digest: bytes) -> Switch:
        """Treat the block and what follows it as invalid. Raises UnknownBlockError."""
        if self.block(digest).height == 0:
            raise BlockRejectedError("the first block cannot be invalid")
        self._invalid.add(digest)
        self._keep(_INVALIDATED, digest)
        return self._start_again()

    def reconsider(self, digest: bytes) -> Switch:
        """Take back `invalidate` of the block, of those before it and of those after it. Raises UnknownBlockError."""
        line = {block.hash for block in self.ancestors(digest)}
        self._invalid -= line | {bad for bad in self._invalid if digest in {b.hash for b in self.ancestors(bad)}}
        self._keep(_RECONSIDERED, digest)
        return self._start_again()

    def _take(self, raw: bytes) -> Switch:
        try:
            header, transactions = parse_header(raw), tuple(transactions_of(raw))
        except (TransactionError, IndexError, struct.error):
            raise BlockRejectedError("block decode failed") from None
        if header.hash in self.blocks:
            raise BlockRejectedError("duplicate")
        parent = self.blocks.get(header.parent_hash)
        if parent is None:
            raise BlockRejectedError("prev-blk-not-found")
        if self._invalid and self.is_invalid(parent):
            raise BlockRejectedError("bad-prevblk")
        self._kernel.submit(raw)
        self.blocks[header.hash] = ChainBlock(header.hash, parent.height + 1, header, transactions, raw)
        self._transactions.update((transaction.id, transaction) for transaction in transactions)
        return self._follow()

    def _start_again(self) -> Switch:
        """Give a new kernel every block that is not invalid: the interface has no other way to leave a branch."""
        self._kernel.close()
        self._kernel = Kernel(self._folder)
        for block in self.blocks.values():
            if block.height and not self.is_invalid(block):
                self._kernel.submit(block.raw)
        return self._follow()

    def _follow(self) -> Switch:
        """Go where the kernel is."""
        switch = Switch([], [])
        missing: list[bytes] = []
        height = self._kernel.height
        while height >= len(self.active) or self._kernel.hash_at(height) != self.active[height]:
            missing.append(self._kernel.hash_at(height))
            height -= 1
        while len(self.active) > height + 1:
            switch.disconnected.append(self._disconnect())
        for digest in reversed(missing):
            switch.connected.append(self._connect(self.blocks[digest]))
        return switch

    def _connect(self, block: ChainBlock) -> ChainBlock:
        block.spent = []
        for transaction in block.transactions:
            gone = []
            if not transaction.is_coinbase:
                gone = [self.coins.pop(OutPoint(spent.tx_id, spent.vout)) for spent in transaction.inputs]
            block.spent.append(gone)
            for index, output in enumerate(transaction.outputs):
                coin = Coin(output.amount, output.script, block.height, transaction.is_coinbase)
                if not is_unspendable(output.script):
                    self.coins[OutPoint(transaction.id, index)] = coin
            self.mined[transaction.id] = block.hash
        self.active.append(block.hash)
        return block

    def _disconnect(self) -> ChainBlock:
        block = self.blocks[self.active.pop()]
        for transaction, spent in zip(reversed(block.transactions), reversed(block.spent), strict=True):
            for index in range(len(transaction.outputs)):
                self.coins.pop(OutPoint(transaction.id, index), None)
            for taken, coin in zip(transaction.inputs, spent, strict=bool(spent)):
                self.coins[OutPoint(taken.tx_id, taken.vout)] = coin
            del self.mined[transaction.id]
        return block

    def _keep(self, kind: bytes, data: bytes) -> None:
        if self._file is not None:
            self._file.write(_RECORD.pack(kind, len(data)) + data)
            self._file.flush()

    def _replay(self, file: Path) -> None:
        """Do again what the file says; a record that a kill cut short is cut off."""
        data = file.read_bytes() if file.exists() else b""
        at = 0
        while at + _RECORD.size <= len(data):
            kind, size = _RECORD.unpack_from(data, at)
            end = at + _RECORD.size + size
            if end > len(data):
                break
            record = data[at + _RECORD.size : end]
            if kind == _BLOCK:
                self._take(record)
            elif kind == _INVALIDATED:
                self.invalidate(record)
            else:
                self.reconsider(record)
            at = end
        if at < len(data):
            with file.open("r+b") as kept:
                kept.truncate(at)


def block_fees(block: ChainBlock) -> list[int]:
    """What each transaction of a block that was on the chain pays, in satoshis; the coinbase 0."""
    return [
        0 if transaction.is_coinbase else transaction_fee(transaction, spent)
        for transaction, spent in zip(block.transactions, block.spent, strict=True)
    ]


def transaction_fee(transaction: BitcoinTransaction, spent: Sequence[Coin]) -> int:
    """Inputs less outputs, in satoshis."""
    return sum(coin.amount for coin in spent) - sum(output.amount for output in transaction.outputs)
