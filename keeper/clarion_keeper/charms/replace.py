"""Raises the fee of a spell that waits, by lowering its change: no new proof is needed, as none commits to the change.

The rules are those of nodes (BIP 125, and Bitcoin Core's ``policy/rbf.cpp``): a replacement pays more for each virtual
byte, and in all at least what it replaces together with what relaying itself costs.
"""

from __future__ import annotations

from clarion.chains.bitcoin.scripts import dust_limit
from clarion.chains.bitcoin.units import Sats
from clarion_keeper.charms.answer import Proven
from clarion_keeper.charms.sizes import FeeRate, fee_for


class NewProofNeededError(ValueError):
    """The change is used up. A higher fee takes another coin, with it another spell and another proof of it."""


class FeeCapError(ValueError):
    """A replacement would have to pay more than may be paid."""


def raised_fee(
    proven: Proven,
    *,
    paid: Sats,
    rate: FeeRate,
    most_rate: FeeRate,
    incremental: FeeRate,
    replaced: Sats | None = None,
) -> Sats:
    """The fee of a transaction that replaces one of the same proven spell.

    Args:
        proven: the spell.
        paid: fee of the transaction that is replaced.
        rate: what is wanted for 1,000 virtual bytes.
        most_rate: what may be paid for them.
        incremental: what nodes want for relaying a replacement (Core's ``incrementalrelayfee``).
        replaced: fees of everything that goes with it, itself and what waits on top of it; ``paid`` where nothing does.

    Returns:
        A fee that :meth:`Proven.transaction` takes.

    Raises:
        NewProofNeededError: the change does not suffice.
        FeeCapError: it would be over ``most_rate``.
    """
    size = proven.size(change=True)
    least = max(paid if replaced is None else replaced, paid) + fee_for(size, incremental)
    fee = Sats(max(least, fee_for(size, rate)))
    spare = proven.spare
    if spare - fee < dust_limit(proven.change):
        # without change it is smaller; all that is left is the fee then
        size = proven.size(change=False)
        least = max(paid if replaced is None else replaced, paid) + fee_for(size, incremental)
        if spare < least:
            raise NewProofNeededError(
                f"the fee is {paid} satoshis and would have to be {least}, and the inputs leave {spare}: the change is "
                "used up. A coin that is added makes it another spell, which has to be proven anew"
            )
        fee = spare
    if fee > fee_for(size, most_rate):
        raise FeeCapError(
            f"a replacement would pay {fee} satoshis for {size} virtual bytes, over the cap of {most_rate} for 1,000"
        )
    return fee
