"""The rewards of an epoch as a Merkle tree: bh-incentives is given its root, users claim with its proofs.

The form is that of ``docs/contracts.md``, section "Incentives": leaf = sha256(0x00 || consensus bytes of the tuple
``{program, epoch, who, amt}``), node = sha256(0x01 || left || right), leaves filled up to a power of two with 32 zero
bytes each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from clarion.chains.stacks.clarity import Tuple, UInt, encode, principal
from clarion.protocols.bithedge.units import TokenAmount

MAX_LEAVES: Final = 2**20
"""Most rewards of an epoch."""
_LEAF: Final = b"\x00"
_NODE: Final = b"\x01"
_NOBODY: Final = bytes(32)


@dataclass(frozen=True, slots=True, order=True)
class Reward:
    """What one user gets of an epoch, in the programme's token."""

    who: str
    amount: TokenAmount


def leaf_hash(program: int, epoch: int, reward: Reward) -> bytes:
    """The leaf of a reward.

    Raises:
        AddressError, EncodeError: ``who`` is not a principal, or a number is not a uint.
    """
    fields = {
        "program": UInt(program),
        "epoch": UInt(epoch),
        "who": principal(reward.who),
        "amt": UInt(reward.amount),
    }
    return sha256(_LEAF + encode(Tuple(fields))).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """What two neighbours are one level up."""
    return sha256(_NODE + left + right).digest()


def depth(leaves: int) -> int:
    """Length of a proof: the least d with 2^d >= ``leaves``."""
    return (leaves - 1).bit_length()


def root_of(leaf: bytes, index: int, proof: Sequence[bytes]) -> bytes:
    """The root that a leaf leads to by its siblings, lowest first; bit k of ``index`` puts the one of level k left."""
    found = leaf
    for level, sibling in enumerate(proof):
        found = node_hash(sibling, found) if index >> level & 1 else node_hash(found, sibling)
    return found


class RewardTree:
    """All rewards of an epoch, in the given order."""

    def __init__(self, program: int, epoch: int, rewards: Sequence[Reward]) -> None:
        """Hash the rewards.

        Raises:
            ValueError: there is no reward, more than :data:`MAX_LEAVES`, or two of one user.
        """
        if not 1 <= len(rewards) <= MAX_LEAVES:
            raise ValueError(f"an epoch has 1 to {MAX_LEAVES} rewards, found {len(rewards)}")
        if len({reward.who for reward in rewards}) < len(rewards):
            raise ValueError(f"epoch {epoch} of programme {program} has two rewards of one user")
        self.rewards: Final = tuple(rewards)
        leaves = [leaf_hash(program, epoch, reward) for reward in rewards]
        self._levels: Final = [leaves + [_NOBODY] * (2 ** depth(len(leaves)) - len(leaves))]
        while len(below := self._levels[-1]) > 1:
            self._levels.append([node_hash(below[i], below[i + 1]) for i in range(0, len(below), 2)])

    @property
    def root(self) -> bytes:
        """What is posted for the epoch."""
        return self._levels[-1][0]

    @property
    def total(self) -> TokenAmount:
        """Sum of the rewards, posted with the root."""
        return TokenAmount(sum(reward.amount for reward in self.rewards))

    def proof(self, index: int) -> list[bytes]:
        """The siblings of reward ``index`` from its level up.

        Raises:
            IndexError: there is no such reward.
        """
        if not 0 <= index < len(self.rewards):
            raise IndexError(f"reward {index} of {len(self.rewards)}")
        return [level[(index >> height) ^ 1] for height, level in enumerate(self._levels[:-1])]
