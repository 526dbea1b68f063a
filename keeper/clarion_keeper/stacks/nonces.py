"""Which nonces an account may use: none twice, none skipped.

The allocator decides nothing by itself that is not stored: a nonce is taken when the outgoing that has it is stored, in
a transaction under the lease's fence, and the table allows no second one.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

MAX_CHAINED: Final = 25
"""Transactions that nodes take of an account beyond its next (stacks-core, ``MAXIMUM_MEMPOOL_TX_CHAINING``)."""


def free_nonces(confirmed: int, taken: Collection[int]) -> tuple[int, ...]:
    """The nonces that a new transaction may have, in the order in which they are to be given out.

    ``confirmed`` is the account's next nonce on the chain, ``taken`` are those of stored transactions that may still be
    mined. A gap comes before everything else: nothing after it can be mined. All of them are ones that nodes take.
    """
    return tuple(nonce for nonce in range(confirmed, confirmed + MAX_CHAINED) if nonce not in taken)
