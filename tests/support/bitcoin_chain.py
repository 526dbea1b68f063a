"""Generated Bitcoin chains: raw blocks with mock spells, spends of charms without one, and ordinary payments."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from types import TracebackType
from typing import Self

from clarion.chains.bitcoin.blocks import new_block, parse_header
from clarion.chains.bitcoin.charms.cbor import Value
from clarion.chains.bitcoin.charms.spells import App, Spell, write_payload
from clarion.chains.bitcoin.charms.verify import read_spells
from clarion.chains.bitcoin.networks import BitcoinNetwork
from clarion.chains.bitcoin.source import BitcoinSourceError, BlockGoneError, SourceTip
from clarion.chains.bitcoin.transactions import (
    BitcoinTransaction,
    Input,
    Output,
    new_transaction,
    write_compact_size,
)
from clarion.chains.bitcoin.units import Sats

NETWORK = BitcoinNetwork.REGTEST
TOKEN = App("t", b"\x11" * 32, b"\x22" * 32)
GENESIS_PARENT = bytes(32)
LEAST_BITS = 0x207FFFFF
"""The target that every second hash meets."""
HARDER_BITS = 0x201FFFFF
"""A quarter of that target: four times the work."""

read_mock_spells = partial(read_spells, network=NETWORK, accept_mock=True)

Coin = tuple[bytes, int, int]
"""A live output with charms: transaction, index, amount of the token."""


@dataclass(frozen=True)
class Made:
    """A generated block, and the charms that are live after it on its branch."""

    height: int
    data: bytes
    hash: bytes
    live: tuple[Coin, ...]


def spent(tx_id: bytes, vout: int, *, witness: Sequence[bytes] = (b"\x30" * 71, b"\x02" * 33)) -> Input:
    """An input that spends an output by a key's hash, whoever's."""
    return Input(tx_id, vout, b"", 0xFFFFFFFD, tuple(witness))


def owner(number: int) -> bytes:
    """A locking script."""
    return b"\x00\x14" + number.to_bytes(20, "big")


def coinbase(height: int, salt: int) -> BitcoinTransaction:
    """The first transaction of a block."""
    script = b"\x03" + height.to_bytes(3, "little") + salt.to_bytes(8, "little")
    given = Input(bytes(32), 0xFFFFFFFF, script, 0xFFFFFFFF, (bytes(32),))
    return new_transaction((given,), (Output(Sats(5_000_000_000), owner(height)),))


def spell_transaction(
    inputs: Sequence[tuple[bytes, int]], outs: Sequence[dict[int, Value]], *, owners: Sequence[int], version: int = 10
) -> BitcoinTransaction:
    """A transaction with a mock spell about the token, in an output of its own behind those with charms."""
    spell = Spell(
        version=version,
        inputs=None,
        refs=None,
        outs=list(outs),
        beamed_outs=None,
        coins=None,
        scrolls=None,
        apps=[(TOKEN, None)],
        versioned_apps=None,
        mock=True,
    )
    payload = write_payload(spell, bytes(192))
    script = b"\x6a\x05spell\x4d" + len(payload).to_bytes(2, "little") + payload
    outputs = [Output(Sats(547), owner(number)) for number in owners] + [Output(Sats(0), script)]
    return new_transaction(tuple(spent(*outpoint) for outpoint in inputs), tuple(outputs))


def payment(inputs: Sequence[tuple[bytes, int]], *, outputs: int = 2, salt: int = 0) -> BitcoinTransaction:
    """A transaction that has nothing to do with charms by itself."""
    made = tuple(Output(Sats(1_000 + salt % 997), owner(salt + place)) for place in range(outputs))
    return new_transaction(tuple(spent(*outpoint) for outpoint in inputs), made)


def block_of(
    parent: Made | None,
    transactions: Iterable[BitcoinTransaction],
    live: Iterable[Coin],
    salt: int,
    *,
    bits: int = LEAST_BITS,
) -> Made:
    """A block on top of ``parent`` (None: block 0)."""
    height = 0 if parent is None else parent.height + 1
    parent_hash = GENESIS_PARENT if parent is None else parent.hash
    data = new_block(parent_hash, [coinbase(height, salt), *transactions], time=1_700_000_000 + 600 * height, bits=bits)
    return Made(height, data, parse_header(data).hash, tuple(live))


def random_block(parent: Made | None, choose: random.Random, *, bits: int = LEAST_BITS) -> Made:
    """A block in which charms are made, passed on, and destroyed by spends without a spell, each now and then."""
    live = [] if parent is None else list(parent.live)
    transactions: list[BitcoinTransaction] = []
    for _ in range(choose.randrange(4)):
        what = choose.random()
        elsewhere = (choose.randbytes(32), choose.randrange(3))
        if what < 0.4 or not live:
            amount = choose.randrange(1, 1 << 60)
            made = spell_transaction([elsewhere], [{0: amount}], owners=[choose.randrange(9)])
            live.append((made.id, 0, amount))
        elif what < 0.75:
            coin = live.pop(choose.randrange(len(live)))
            part = choose.randrange(coin[2]) if coin[2] > 1 else 0
            outs: list[dict[int, Value]] = [{0: coin[2] - part}, {}]
            if part:
                outs.append({0: part})
            owners = [choose.randrange(9) for _ in outs]
            made = spell_transaction([elsewhere, coin[:2]], outs, owners=owners)
            live.append((made.id, 0, coin[2] - part))
            if part:
                live.append((made.id, 2, part))
        elif what < 0.9:
            coin = live.pop(choose.randrange(len(live)))
            made = payment([elsewhere, coin[:2]], salt=choose.randrange(1 << 30))
        else:
            made = payment([elsewhere], salt=choose.randrange(1 << 30))
        transactions.append(made)
    return block_of(parent, transactions, live, choose.getrandbits(63), bits=bits)


def random_chain(length: int, *, on: Made | None = None, seed: int, bits: int = LEAST_BITS) -> list[Made]:
    """So many blocks, one on top of the other and the first on ``on``, each with the work that ``bits`` ask for."""
    choose = random.Random(seed)
    blocks: list[Made] = []
    for _ in range(length):
        blocks.append(random_block(blocks[-1] if blocks else on, choose, bits=bits))
    return blocks


def common_transaction(choose: random.Random) -> BitcoinTransaction:
    """One as they are on mainnet: mostly one or two inputs by a key's hash or taproot, and two outputs."""
    inputs = choose.choices((1, 2, 3, 5, 12, 60), weights=(66, 17, 8, 5, 3, 1))[0]
    outputs = choose.choices((1, 2, 3, 6, 25), weights=(20, 64, 8, 5, 3))[0]
    witnesses = (
        (choose.randbytes(71), choose.randbytes(33)),
        (choose.randbytes(64),),
        (choose.randbytes(64), choose.randbytes(300), choose.randbytes(33)),
    )
    given = tuple(
        spent(choose.randbytes(32), choose.randrange(4), witness=choose.choices(witnesses, weights=(70, 25, 5))[0])
        for _ in range(inputs)
    )
    scripts = tuple(
        choose.choice((owner(choose.getrandbits(150)), b"\x51\x20" + choose.randbytes(32))) for _ in range(outputs)
    )
    return new_transaction(given, tuple(Output(Sats(choose.randrange(10**9)), script) for script in scripts))


def full_block(parent: Made | None, choose: random.Random, *, size: int) -> Made:
    """A block of about so many bytes, as they are on mainnet; nothing of it matters to charms."""
    transactions: list[BitcoinTransaction] = []
    held = len(write_compact_size(0))
    while held < size:
        transactions.append(common_transaction(choose))
        held += transactions[-1].size
    return block_of(parent, transactions, () if parent is None else parent.live, choose.getrandbits(63))


@dataclass
class ChainSource:
    """A source over generated blocks, whose best chain a test changes. It answers nothing while ``down`` says why."""

    chain: list[Made]
    name: str = "generated"
    down: str | None = None
    asked: list[int] = field(default_factory=list)
    """Heights of the blocks that were given."""

    def __post_init__(self) -> None:
        self._blocks = {made.hash: made for made in self.chain}
        self._changed = asyncio.Event()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def switch(self, chain: list[Made]) -> None:
        """Another best chain."""
        self.chain = chain
        self._blocks |= {made.hash: made for made in chain}
        self._changed.set()

    def _check(self) -> None:
        if self.down is not None:
            raise BitcoinSourceError(self.down)

    async def check(self) -> None:
        self._check()

    async def tip(self) -> SourceTip:
        self._check()
        return SourceTip(self.chain[-1].height, self.chain[-1].hash)

    async def hashes(self, heights: Sequence[int]) -> list[bytes]:
        self._check()
        first = self.chain[0].height
        if heights and heights[-1] - first >= len(self.chain):
            raise BlockGoneError(f"there is no block {heights[-1]}")
        return [self.chain[height - first].hash for height in heights]

    async def block(self, block_hash: bytes) -> bytes:
        self._check()
        made = self._blocks[block_hash]
        self.asked.append(made.height)
        return made.data

    async def wait(self, tip: SourceTip) -> None:
        await self._changed.wait()
        self._changed.clear()
