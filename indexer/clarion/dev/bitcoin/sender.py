"""Sends for a regtest's cast: asks the contracts, builds, signs, hands over to the node, and sees the result."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Final

from clarion.chains.bitcoin.charms.drafts import SpellDraft, SpellInput, check
from clarion.chains.bitcoin.coins import Coin
from clarion.chains.bitcoin.rpc import RpcError
from clarion.chains.bitcoin.transactions import BitcoinTransaction, Output, write_transaction
from clarion.chains.bitcoin.units import Sats
from clarion.dev.bitcoin import rpc_errors
from clarion.dev.bitcoin.chain_view import Call, ChainView
from clarion.dev.bitcoin.keys import Key
from clarion.dev.bitcoin.rpc_methods import RpcMethods
from clarion.dev.bitcoin.signing import keys_by_script, sign
from clarion.dev.bitcoin.spell_builder import spell_transaction, with_change

FEERATE: Final = 2_000
"""Satoshis per 1,000 virtual bytes."""


def call_of(methods: RpcMethods) -> Call:
    """Asks a node in this process, without a connection; raises what a client of one elsewhere raises (RpcError)."""

    async def call(method: str, *parameters: object) -> object:
        try:
            answer = getattr(methods, method)(*parameters)
            return await answer if inspect.isawaitable(answer) else answer
        except rpc_errors.RpcError as error:
            raise RpcError(error.message, error.code) from None

    return call


class Sender:
    """Sends for everybody whose key it has.

    Every method raises RpcError where the node refuses a transaction.
    """

    def __init__(self, call: Call, view: ChainView, keys: Sequence[Key], contracts: Mapping[bytes, bytes]) -> None:
        self._call = call
        self._view = view
        self._keys = keys_by_script(keys)
        self._contracts = contracts

    async def cast(self, draft: SpellDraft, payer: Key) -> BitcoinTransaction:
        """Send a spell; the change goes to ``payer``.

        Raises:
            DraftError, SpellNotAllowedError, AppRefusedError: it would not be accepted; nothing is sent.
        """
        check(draft, self._contracts)
        return await self.cast_unchecked(draft, payer)

    async def cast_unchecked(self, draft: SpellDraft, payer: Key) -> BitcoinTransaction:
        """Send a spell, whatever it says. Raises DraftError where the coins do not pay for it."""
        unsigned = spell_transaction(draft, change=payer.taproot_script, feerate=FEERATE)
        return await self.send(unsigned, draft.coins)

    async def pay(self, coins: Sequence[SpellInput], payments: Sequence[tuple[bytes, Sats]], payer: Key) -> bytes:
        """Send satoshis to scripts, without a spell: charms on ``coins`` are destroyed. Gives the transaction's id.

        Raises:
            DraftError: the coins do not pay for it.
        """
        outputs = [Output(amount, script) for script, amount in payments]
        spent = [one.coin for one in coins]
        outpoints = [one.outpoint for one in coins]
        unsigned = with_change(outpoints, spent, outputs, change=payer.taproot_script, feerate=FEERATE)
        return (await self.send(unsigned, spent)).id

    async def send(self, unsigned: BitcoinTransaction, spent: Sequence[Coin]) -> BitcoinTransaction:
        """Sign with the keys that there are and send."""
        signed = sign(unsigned, spent, self._keys)
        await self._call("sendrawtransaction", write_transaction(signed).hex())
        self._view.add(signed)
        return signed
