"""What BitHedge's contracts printed on a devnet, read back block by block from its node."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import msgspec

from clarion.chains.model import EventKind
from clarion.chains.stacks.hashing import index_block_hash
from clarion.chains.stacks.node_client import NodeClient
from clarion.protocols.bithedge.events import EVENTS, Event
from clarion.protocols.bithedge.units import BurnHeight


@dataclass(frozen=True, slots=True)
class _Block:
    hash: bytes
    events: tuple[tuple[BurnHeight, Event], ...]


class Printed:
    """The events of one deployment on the node's canonical chain, in order, with the Bitcoin block of each."""

    def __init__(self, node: NodeClient, deployer: str) -> None:
        self._node: Final = node
        self._deployer: Final = deployer
        self._blocks: list[_Block] = []

    @property
    def events(self) -> list[tuple[BurnHeight, Event]]:
        """Everything up to the tip of the last :meth:`follow`."""
        return [event for block in self._blocks for event in block.events]

    async def follow(self) -> bool:
        """Read the blocks since the last time; True where a fork took some back.

        Raises:
            NodeError: the node cannot be reached or does not give its blocks.
        """
        info = await self._node.info()
        at = index_block_hash(info.stacks_tip, info.stacks_tip_consensus_hash)
        known = {block.hash for block in self._blocks}
        new: list[_Block] = []
        while at not in known and (found := await self._node.block(at)) is not None:
            burn = BurnHeight(found.burn.height if found.burn else 0)
            prints = [
                (burn, msgspec.convert(event.value, EVENTS[name, event.topic]))
                for event in found.events
                if event.kind is EventKind.PRINT and (name := self._name(event.contract)) is not None
            ]
            new.append(_Block(at, tuple(prints)))
            at = found.ref.parent_hash
        kept = len(self._blocks)
        while self._blocks and self._blocks[-1].hash != at:
            self._blocks.pop()
        forked = len(self._blocks) < kept
        self._blocks += reversed(new)
        return forked

    def _name(self, contract: str | None) -> str | None:
        """The short name of one of the deployment's contracts that print events."""
        deployer, _, name = (contract or "").partition(".")
        return name if deployer == self._deployer and any(name == known for known, _ in EVENTS) else None
