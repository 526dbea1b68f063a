"""Builds transactions with spells for regtest: well-formed, and with a proof that says of itself that it is a mock.

`spell_transaction` writes a draft down without asking, so that tests can also write what nobody should accept.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from clarion.chains.bitcoin.charms.drafts import DraftError, SpellDraft, SpellInput, spell_of
from clarion.chains.bitcoin.charms.locate import MARKER, push, spell_output
from clarion.chains.bitcoin.charms.spells import write_payload
from clarion.chains.bitcoin.coins import Coin, OutPoint
from clarion.chains.bitcoin.scripts import dust_limit
from clarion.chains.bitcoin.transactions import BitcoinTransaction, Input, Output, new_transaction
from clarion.chains.bitcoin.units import Sats
from clarion.dev.bitcoin.keys import Key
from clarion.dev.bitcoin.signing import sign_leaf

MAX_PUSH_BYTES: Final = 520
FINAL_BUT_REPLACEABLE: Final = 0xFFFFFFFD

MOCK_PROOF: Final = bytes.fromhex(
    "97f1d3a73197d7942695638c4fa9ac0fc3688c4f9774b905a14e3a3f171bac586c55e83ff97a1aeffb3af00adb22c6bb"
    "93e02b6052719f607dacd3a088274f65596bd0d09920b61ab5da61bbdc7f5049334cf11213945d57e5ac7d055d042b7e"
    "024aa2b2f08f0a91260805272dc51051c6e47ad4fa403b02b4510b647ae3d1770bac0326a805bbefd48056c8c121bdb8"
    "97f1d3a73197d7942695638c4fa9ac0fc3688c4f9774b905a14e3a3f171bac586c55e83ff97a1aeffb3af00adb22c6bb"
)
"""Three points of BLS12-381, its generators, compressed: what a mock proof has to be to be read. It proves nothing."""

_OP_IF, _OP_ENDIF, _OP_CHECKSIG = b"\x63", b"\x68", b"\xac"
_TAPROOT_WITNESS: Final = (bytes(64),)
_SEGWIT_WITNESS: Final = (bytes(72), bytes(33))


def payload(draft: SpellDraft, *, mock: bool = True) -> bytes:
    """The spell and its mock proof, as they stand in a transaction; without ``mock`` it claims to be proven."""
    return write_payload(spell_of(draft, mock=mock), MOCK_PROOF)


def spell_transaction(draft: SpellDraft, *, change: bytes, feerate: int) -> BitcoinTransaction:
    """The unsigned transaction of a spell in an output (from version 9 on): its outputs, the spell, the change.

    ``feerate`` is in satoshis per 1,000 virtual bytes.

    Raises:
        DraftError: what is spent does not pay for what is made and the fee.
    """
    made = [*(Output(output.amount, output.script) for output in draft.outputs), spell_output(payload(draft))]
    return with_change([spent.outpoint for spent in draft.inputs], draft.coins, made, change=change, feerate=feerate)


def witness_transactions(
    draft: SpellDraft, funding: SpellInput, committer: Key, *, change: bytes, feerate: int
) -> tuple[BitcoinTransaction, BitcoinTransaction]:
    """The transactions of a spell in a witness (before version 9): one that commits to it, and the spell's own.

    The first spends ``funding`` and is unsigned; the second ends with an input that spends the first by the script with
    the spell, which ``committer`` has signed, and is otherwise unsigned. That input pays the fee.

    Raises:
        DraftError: the funding is too little.
    """
    leaf = _leaf(payload(draft), committer)
    script = committer.taproot_script_over(leaf)
    made = [Output(output.amount, output.script) for output in draft.outputs]
    missing = sum(output.amount for output in made) - sum(coin.amount for coin in draft.coins)
    size = sum(len(output.script) + 9 for output in made) + 110 * (len(draft.inputs) + 1) + len(leaf) // 4
    needed = Sats(max(missing, 0) + size * feerate // 1_000 + dust_limit(change))
    commit = with_change([funding.outpoint], [funding.coin], [Output(needed, script)], change=change, feerate=feerate)
    committed = Coin(needed, script, None, coinbase=False)
    outpoints = [spent.outpoint for spent in draft.inputs] + [OutPoint(commit.id, 0)]
    coins = [*draft.coins, committed]
    given = sum(coin.amount for coin in coins)
    left = Sats(given - sum(output.amount for output in made) - size * feerate // 1_000)
    unsigned = new_transaction(
        tuple(Input(*outpoint, b"", FINAL_BUT_REPLACEABLE) for outpoint in outpoints), (*made, Output(left, change))
    )
    return commit, sign_leaf(unsigned, len(outpoints) - 1, coins, committer, leaf)


def with_change(
    outpoints: Sequence[OutPoint], coins: Sequence[Coin], outputs: Sequence[Output], *, change: bytes, feerate: int
) -> BitcoinTransaction:
    """An unsigned transaction that pays ``feerate`` (satoshis per 1,000 virtual bytes); the rest goes to ``change``.

    Raises:
        DraftError: the coins do not pay for the outputs and the fee.
    """
    inputs = tuple(
        Input(*outpoint, b"", FINAL_BUT_REPLACEABLE, _witness_size(coin.script))
        for outpoint, coin in zip(outpoints, coins, strict=True)
    )
    rest = sum(coin.amount for coin in coins) - sum(output.amount for output in outputs)
    made = (*outputs, Output(Sats(0), change))
    left = rest - _fee(new_transaction(inputs, made), feerate)
    if left >= dust_limit(change):
        made = (*outputs, Output(Sats(left), change))
    else:
        made = tuple(outputs)
        if rest < _fee(new_transaction(inputs, made), feerate):
            raise DraftError(f"the coins leave {rest} satoshis, which do not pay the fee")
    return new_transaction(tuple(msgspec.structs.replace(one, witness=()) for one in inputs), made)


def _fee(transaction: BitcoinTransaction, feerate: int) -> int:
    return -(-transaction.virtual_size * feerate // 1_000)


def _witness_size(script: bytes) -> tuple[bytes, ...]:
    return _SEGWIT_WITNESS if script.startswith(b"\x00") else _TAPROOT_WITNESS


def _leaf(data: bytes, owner: Key) -> bytes:
    pieces = [data[at : at + MAX_PUSH_BYTES] for at in range(0, len(data), MAX_PUSH_BYTES)]
    body = push(MARKER) + b"".join(push(piece) for piece in pieces)
    return b"\x00" + _OP_IF + body + _OP_ENDIF + push(owner.x_only) + _OP_CHECKSIG
