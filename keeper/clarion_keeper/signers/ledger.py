"""What an account has let go of within the last hour, kept in a file so that a restart does not forget it.

The file is an SQLite database: agents of one account, such as those of a keeper and of its standby, share one budget.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

HOUR_SECONDS: Final = 3600
_BUSY_SECONDS: Final = 10.0


class LedgerError(Exception):
    """The file cannot be used, so nothing may be signed."""


class OverBudgetError(Exception):
    """The hour's budget does not allow it.

    ``spent``: within the last hour. ``free_at``: when some of it comes free, in seconds since 1970; None where
    nothing is spent.
    """

    def __init__(self, spent: int, free_at: int | None) -> None:
        super().__init__(f"{spent} spent within the hour")
        self.spent = spent
        self.free_at = free_at


class Ledger:
    """The file. ``clock`` gives seconds since 1970."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        """Open the file, or make it, readable by its user alone. Raises `LedgerError`."""
        self._path = path
        self._clock = clock
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.touch(mode=0o600)
            self._database = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None)
            self._database.execute(
                "CREATE TABLE IF NOT EXISTS signed (slot TEXT PRIMARY KEY, at INTEGER, amount INTEGER)"
            )
        except (OSError, sqlite3.Error) as error:
            raise LedgerError(f"The ledger {path} cannot be used: {error}") from error

    def reserve(self, slot: str, amount: int, budget: int) -> None:
        """Count ``amount`` for ``slot``, unless the hour would then exceed ``budget``; on disk when this returns.

        At most one transaction of a slot (a nonce, a coin) can be mined. So of those signed for one slot only the
        dearest counts, and signing the same bytes again costs nothing.

        Raises:
            OverBudgetError: it would exceed the budget; nothing was counted.
            LedgerError: the file cannot be used.
        """
        now = int(self._clock())
        with self._transaction() as database:
            # A clock that was ahead must not keep the budget used up for as long as it was wrong.
            database.execute("UPDATE signed SET at = ? WHERE at > ?", (now, now))
            database.execute("DELETE FROM signed WHERE at <= ?", (now - HOUR_SECONDS,))
            spent, oldest = database.execute("SELECT coalesce(sum(amount), 0), min(at) FROM signed").fetchone()
            found = database.execute("SELECT amount FROM signed WHERE slot = ?", (slot,)).fetchone()
            counted = 0 if found is None else found[0]
            over = amount > counted and spent - counted + amount > budget
            if not over:
                database.execute(
                    "INSERT INTO signed VALUES (?, ?, ?) ON CONFLICT (slot) DO UPDATE SET at = ?2, amount = ?3",
                    (slot, now, max(amount, counted)),
                )
        if over:
            raise OverBudgetError(spent, None if oldest is None else oldest + HOUR_SECONDS)

    def spent(self) -> int:
        """What counts within the last hour."""
        with self._transaction() as database:
            since = int(self._clock()) - HOUR_SECONDS
            found = database.execute("SELECT coalesce(sum(amount), 0) FROM signed WHERE at > ?", (since,)).fetchone()
            return int(found[0])

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        try:
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield self._database
            except BaseException:
                self._database.execute("ROLLBACK")
                raise
            self._database.execute("COMMIT")
        except sqlite3.Error as error:
            raise LedgerError(f"The ledger {self._path} cannot be used: {error}") from error
