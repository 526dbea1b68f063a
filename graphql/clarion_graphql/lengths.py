"""How long the lists are that are no pages: their fields say so, for what an operation costs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

#: Where a field's ``metadata`` has its :class:`Length`.
LENGTH: Final = "length"


@dataclass(frozen=True, slots=True)
class Length:
    """How many items the list of a field holds at most, or the lists within what it gives where that is no list."""

    most: int
    argument: str | None = None
    """The argument that asks for fewer: a number, or a list with something for each item."""
    only_with: str | None = None
    """The argument without which it is one item."""
