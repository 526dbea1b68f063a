"""How many posts make a batch: one transaction's work, neither so small that commits cost most nor so large that others
wait for it.
"""

from __future__ import annotations

from typing import Final

MOST_BYTES: Final = 32 << 20
"""Of posts in a batch. In memory a batch takes some ten times as much."""
LEAST_SECONDS: Final = 0.5
MOST_SECONDS: Final = 2.0


class BatchSize:
    """Grows while full batches are quick, and shrinks when one took long. At the tip a batch is what has come."""

    def __init__(self, *, posts: int = 500, most_posts: int = 5_000) -> None:
        self._least = min(posts, most_posts)
        self._most = most_posts
        self.posts = self._least
        """How many posts the next batch may have."""

    def took(self, seconds: float, posts: int) -> None:
        """Learn that a batch of so many posts took so long."""
        if seconds > MOST_SECONDS:
            self.posts = max(self.posts // 2, self._least)
        elif seconds < LEAST_SECONDS and posts >= self.posts:
            self.posts = min(self.posts * 2, self._most)
