"""A node whose chain grows, forks and loses Bitcoin blocks by chance, over the toy protocol."""

from __future__ import annotations

import random
from collections.abc import Callable

from clarion.chains.model import Block, BurnBlock, JsonValue
from clarion.store.store import FINAL_DEPTH
from support import toy
from support.node_posts import body, burn_payload, moves_payload


class SimulatedNode:
    """A chain with its Bitcoin chain; ``posted`` is called with every post."""

    def __init__(self, chance: random.Random, posted: Callable[[str, bytes], None]) -> None:
        self.chance = chance
        self.posted = posted
        self.forks = 0
        self.highest = 0
        """Height of the highest block of a branch that lost."""
        self.burns: list[BurnBlock] = []
        self.chain: list[Block] = []
        self.payloads: dict[bytes, bytes] = {}
        self.burn()
        self.mine()

    def burn(self) -> None:
        parent = self.burns[-1].hash if self.burns else bytes(32)
        height = len(self.burns) + 1
        self.burns.append(BurnBlock(height, toy.digest_of("burn", height, parent, self.forks), parent, height * 600))
        self.posted("/new_burn_block", body(burn_payload(self.burns[-1])))

    def mine(self) -> None:
        parent = self.chain[-1] if self.chain else None
        block = toy.block(parent, branch=str(self.forks), burn=self.burns[-1])
        moves: list[dict[str, JsonValue]] = [
            toy.move(f"owner-{self.chance.randrange(6)}", self.chance.randrange(2**70))
            for _ in range(self.chance.randrange(4))
        ]
        if self.chance.random() < 0.2:
            moves.append(toy.close(f"owner-{self.chance.randrange(6)}"))
        self.payloads[block.hash] = body(moves_payload(block, moves))
        self.chain.append(block)
        self.posted("/new_block", self.payloads[block.hash])

    def fork(self) -> None:
        """Another branch, longer than what it replaces; it leaves above what may be final by now."""
        depth = self.chance.randrange(1, min(8, len(self.chain)))
        while self.burns[-1].height - self.burn_height_under(depth) >= FINAL_DEPTH:
            depth -= 1
        height = len(self.chain)
        self.highest = max(self.highest, height)
        del self.chain[-depth:]
        self.forks += 1
        while len(self.chain) <= height:
            self.mine()

    def burn_height_under(self, depth: int) -> int:
        """Height of the Bitcoin block that the lowest of the last ``depth`` blocks is anchored to."""
        burn = self.chain[-depth].burn
        assert burn is not None
        return burn.height

    def burn_fork(self) -> None:
        """Other Bitcoin blocks, and with them other Stacks blocks, perhaps fewer."""
        depth = self.chance.randrange(1, min(4, len(self.burns)))
        self.highest = max(self.highest, len(self.chain))
        del self.burns[-depth:]
        kept = {burn.hash for burn in self.burns}
        self.forks += 1
        while self.chain[-1].burn is None or self.chain[-1].burn.hash not in kept:
            self.chain.pop()
        for _ in range(depth + self.chance.randrange(2)):
            self.burn()
            for _ in range(self.chance.randrange(3)):
                self.mine()

    def step(self) -> None:
        """Something that happens to a chain."""
        draw = self.chance.random()
        if draw < 0.6 or len(self.chain) < 3:
            self.mine()
        elif draw < 0.8 or len(self.burns) < 3:
            self.burn()
            self.mine()
        elif draw < 0.92:
            self.fork()
        else:
            self.burn_fork()

    def win(self) -> None:
        """A Bitcoin block, and blocks until no other branch there ever was is as high."""
        self.burn()
        self.mine()
        while len(self.chain) <= self.highest:
            self.mine()
