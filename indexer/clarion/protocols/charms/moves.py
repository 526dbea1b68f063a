"""Who got what from whom, from what a transaction spends and makes of one app. Pure.

The chain does not say it. Of a token, what each script has less is set against what each script has more, in the order
of inputs and outputs, so that change is no transfer. Of what is no token, a charm that is made continues one that is
spent: the first with the same data, else the first that is left.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Generic, TypeVar

import msgspec

from clarion.chains.model import JsonValue


class Holder(msgspec.Struct, frozen=True):
    """A script, and its address where it has one."""

    script: str
    address: str | None


class Part(msgspec.Struct, frozen=True):
    """An amount that a transaction spends or makes; ``holder`` is None where it is beamed to another chain."""

    holder: Holder | None
    amount: int


class Move(msgspec.Struct, frozen=True):
    """An amount that went from one to another. ``beamed``: to another chain."""

    sender: Holder | None
    """None: it was made."""
    recipient: Holder | None
    """None: it was beamed or burned."""
    amount: int
    beamed: bool = False


_State = TypeVar("_State")


class Continued(msgspec.Struct, Generic[_State], frozen=True):
    """A charm that is no token, before and after: None where it was made or burned."""

    spent: _State | None
    made: _State | None


def token_moves(spent: Sequence[Part], made: Sequence[Part]) -> list[Move]:
    """The moves of one token in one transaction."""
    more: dict[Holder, int] = {}
    for sign, parts in ((-1, spent), (1, made)):
        for part in parts:
            if part.holder is not None:
                more[part.holder] = more.get(part.holder, 0) + sign * part.amount
    senders = deque((holder, -amount) for holder, amount in more.items() if amount < 0)
    moves: list[Move] = []
    for recipient, amount in _recipients(made, more):
        left = amount
        while left and senders:
            sender, has = senders.popleft()
            given = min(left, has)
            moves.append(Move(sender, recipient, given, beamed=recipient is None))
            left -= given
            if given < has:
                senders.appendleft((sender, has - given))
        if left:
            moves.append(Move(None, recipient, left, beamed=recipient is None))
    return moves + [Move(sender, None, amount) for sender, amount in senders]


def _recipients(made: Sequence[Part], more: dict[Holder, int]) -> Iterator[tuple[Holder | None, int]]:
    seen: set[Holder] = set()
    for part in made:
        if part.holder is None:
            yield None, part.amount
        elif part.holder not in seen and more[part.holder] > 0:
            seen.add(part.holder)
            yield part.holder, more[part.holder]


def continued(
    spent: Sequence[tuple[JsonValue, _State]], made: Sequence[tuple[JsonValue, _State]]
) -> list[Continued[_State]]:
    """Which of the charms that are made continue which of those that are spent, each given with its data.

    In the order of what is made; then what is burned.
    """
    waiting: dict[bytes, deque[int]] = {}
    for place, (data, _) in enumerate(spent):
        waiting.setdefault(_canonical(data), deque()).append(place)
    same: dict[int, int] = {}
    for place, (data, _) in enumerate(made):
        places = waiting.get(_canonical(data))
        if places:
            same[place] = places.popleft()
    left = deque(sorted(set(range(len(spent))) - set(same.values())))
    found: list[Continued[_State]] = []
    for place, (_, state) in enumerate(made):
        before = same.get(place)
        if before is None and left:
            before = left.popleft()
        found.append(Continued(None if before is None else spent[before][1], state))
    return found + [Continued(spent[place][1], None) for place in left]


def _canonical(data: JsonValue) -> bytes:
    return msgspec.json.encode(data, order="sorted")
