"""Who is told of what the engine does: nobody here, metrics and alerts where the command puts them in.

Nothing depends on what an observer does with it. What people need to know is in the tables too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from clarion_keeper.executor import Fate
from clarion_keeper.intents import Amount, Lane, Outcome
from clarion_keeper.planner import Means
from clarion_keeper.store.intents import Stored

STAGES: Final = (
    "read",
    "decided",
    "followed",
    "applied",
    "drafted",
    "signed",
    "stored",
    "sent",
    "answered",
    "replacement drafted",
    "replacement signed",
    "replacement stored",
    "replacement sent",
    "replacement answered",
)
"""Every boundary of the engine's work, in order: between any two of them the process may die."""


class Observer:
    """Hears of everything and does nothing. Subclass it and override what is wanted."""

    async def stage(self, name: str, job: str = "") -> None:
        """One of `STAGES` has been reached. ``job``: whose work it is, where it is one's."""

    def leads(self, leading: bool) -> None:
        """This keeper leads now, or stands by."""

    def looked(self, job: str, due: int, seconds: float) -> None:
        """A job has looked at the chain and found so many intents due."""

    def look_failed(self, job: str, reason: str) -> None:
        """A job could not read its state, or its check raised. It is tried again."""

    def account(self, means: Means, pending: int) -> None:
        """What an account has, and how many of its transactions are in no block yet."""

    def turn_failed(self, account: str, reason: str) -> None:
        """An account's turn ended early: nodes, signer or the index do not answer. It is tried again."""

    def failed(self, what: str, reason: str) -> None:
        """An error that nobody expected ended one round of a task (``job NAME``, ``account NAME``). It goes on."""

    def signed(self, account: str, lane: Lane, job: str, *, fee: int, attempt: int) -> None:
        """A transaction was signed and stored. ``attempt`` is 1 for the first version."""

    def refused(self, account: str, job: str, reason: str) -> None:
        """The signer refused to sign."""

    def mined(self, account: str, ended: Sequence[tuple[Stored, Outcome]]) -> None:
        """A transaction is in a block: what became of its intents, with their age. A reorganisation may undo it."""

    def final(self, account: str, fee: int, earned: Sequence[Amount]) -> None:
        """The block of a transaction is final: its fee, and what its intents earned. Told once of each."""

    def lost(self, account: str, job: str, fate: Fate, reason: str) -> None:
        """A transaction left its block, or another one took its place."""

    def job_stopped(self, job: str, reason: str) -> None:
        """A job met something unknown and is stopped until people resume it."""
