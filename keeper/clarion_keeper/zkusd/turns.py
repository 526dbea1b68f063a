"""Whose turn it is: of all orders that want the same states, one is drafted to the end, the most urgent first.

What was drafted and then not signed (it would be at a loss by its exact fee, or others have to sign) keeps its turn
until the next block, and then lets the others go first. So nothing stands in the way of the rest for long.
"""

from __future__ import annotations


class Turns:
    """Kept in memory alone: who loses it begins with the most urgent one again."""

    def __init__(self) -> None:
        self._height = -1
        self._asked: set[str] = set()
        self._chosen: str | None = None
        self._passed_over: set[str] = set()

    def new_round(self) -> None:
        """Orders are about to be asked for anew."""
        self._asked.clear()

    def ask(self, key: str) -> None:
        """There is such an order in this round."""
        self._asked.add(key)

    def why_not(self, key: str, height: int) -> str:
        """Why it is not an order's turn at the index's height; empty where it is."""
        if height != self._height:
            self._begin(height)
        if self._chosen is not None and self._chosen != key and self._chosen in self._asked:
            return f"it would spend the same states as {self._chosen}"
        if key in self._passed_over and not self._asked <= self._passed_over:
            return "it was drafted before and was not signed: the others come first"
        return ""

    def drafted(self, key: str, *, proven: bool) -> None:
        """An order was drafted, to the end or in vain."""
        if proven:
            self._chosen = key
        elif self._chosen == key:
            self._chosen = None

    def signed(self) -> None:
        """The chosen one is on its way."""
        self._chosen = None

    def _begin(self, height: int) -> None:
        self._height = height
        if self._chosen is None:
            self._passed_over.clear()
        else:
            self._passed_over.add(self._chosen)
            self._chosen = None
