"""A key that signs partially signed Bitcoin transactions."""

from __future__ import annotations

from collections.abc import Callable

from coincurve import PrivateKey

from clarion.chains.bitcoin.addresses import address_of
from clarion.chains.bitcoin.key_scripts import taproot_script
from clarion.chains.bitcoin.networks import BitcoinNetwork
from clarion.chains.bitcoin.units import Sats
from clarion_keeper.charms import signing
from clarion_keeper.charms.psbt import Psbt
from clarion_keeper.signers.errors import SigningRefusedError
from clarion_keeper.signers.limits import BitcoinLimits, Spending
from clarion_keeper.signers.protocol import VERSION, Identity, SignBitcoin, SignedBitcoin, SignStacks

_LIMIT_NAMES = {"most_fee": "max_fee", "most_spent": "max_spent"}
"""What settings call the limits of `clarion_keeper.charms.signing`."""


class BitcoinKey:
    """A key that signs Bitcoin transactions."""

    def __init__(self, secret: bytes, limits: BitcoinLimits) -> None:
        """``secret`` is 32 bytes."""
        self._secret = secret
        self._network = BitcoinNetwork(limits.network)
        self._limits = signing.BitcoinLimits(most_fee=Sats(limits.max_fee), most_spent=Sats(limits.max_spent))
        public = PrivateKey(secret).public_key.format()
        self._scripts = signing.own_scripts(public)
        address = address_of(taproot_script(public), self._network)
        assert address is not None
        self.identity = Identity(VERSION, "clarion", "bitcoin", address, public.hex())

    def sign(self, request: SignStacks | SignBitcoin, reserve: Callable[[Spending], None]) -> SignedBitcoin:
        """As `clarion_keeper.signers.agent.Key.sign`."""
        if isinstance(request, SignStacks):
            raise SigningRefusedError("network", "this signer's account is on Bitcoin")
        try:
            reserve(self._spending(signing.checked_psbt(request.psbt, self._scripts, self._limits)))
            return SignedBitcoin(signing.sign_psbt(self._secret, request.psbt, self._limits, self._network))
        except signing.PsbtRefusedError as error:
            if not error.limit:
                raise  # a ValueError: not a limit, but its form
            raise SigningRefusedError(_LIMIT_NAMES[error.limit], str(error)) from None

    def _spending(self, psbt: Psbt) -> Spending:
        """What it takes from the key's outputs. Two transactions that spend one of them exclude each other."""
        mine = [place for place, one in enumerate(psbt.inputs) if one.script in self._scripts]
        back = sum(output.amount for output in psbt.transaction.outputs if output.script in self._scripts)
        slot = min(psbt.transaction.inputs[place].outpoint for place in mine)
        return Spending(f"coin {slot}", sum(psbt.inputs[place].amount for place in mine) - back)
