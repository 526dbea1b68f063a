"""Signs partially signed transactions with one key, within limits: what a signer does that holds the key of a wallet.

The signatures are the Bitcoin Development Kit's (bdkpython): the key path of taproot, and P2WPKH, each of everything in
the transaction (SIGHASH_DEFAULT, SIGHASH_ALL). Whatever is signed was read here first, field by field.
"""

from __future__ import annotations

import base64
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Final

from coincurve import PrivateKey

from clarion.chains.bitcoin.key_scripts import secret_text, segwit_script, taproot_script
from clarion.chains.bitcoin.networks import BitcoinNetwork
from clarion.chains.bitcoin.units import Sats
from clarion_keeper.charms.psbt import Psbt, PsbtError, is_taproot, read_psbt, write_psbt

_LEFT_ALONE: Final = (b"",)
"""The witness of an input that the library is not to look at."""


class PsbtRefusedError(ValueError):
    """A transaction is not signed. ``limit`` names what it is over; empty where its form is wrong."""

    def __init__(self, message: str, limit: str = "") -> None:
        super().__init__(message)
        self.limit = limit


@dataclass(frozen=True, slots=True, kw_only=True)
class BitcoinLimits:
    """What a signature may cost. Bitcoin knows no charms: what else lies on the key's outputs is not limited by this.

    Attributes:
        most_fee: of a transaction, whoever pays it.
        most_spent: what a transaction may take from the key's outputs without giving it back to them, fee included.
    """

    most_fee: Sats
    most_spent: Sats


def own_scripts(public: bytes) -> dict[bytes, str]:
    """The scripts that a public key (33 bytes) spends alone here, each with what descriptors call it."""
    return {taproot_script(public): "tr", segwit_script(public): "wpkh"}


def sign_psbt(secret: bytes, data: bytes, limits: BitcoinLimits, network: BitcoinNetwork) -> bytes:
    """Sign every input that spends an output of this key alone; others stay as they are.

    Args:
        secret: the private key, 32 bytes.
        data: the PSBT (version 0), with what each input spends, and for inputs of the key that are not taproot the
            transaction that made it.
        limits: what it may cost.
        network: whose addresses are meant.

    Returns:
        The PSBT, with a witness on each of the key's inputs.

    Raises:
        PsbtRefusedError: it is of a wrong form, has nothing to sign for this key, or is over a limit.
    """
    scripts = own_scripts(PrivateKey(secret).public_key.format())
    psbt = checked_psbt(data, scripts, limits)
    signed = psbt
    for script, descriptor in scripts.items():
        mine = [place for place in psbt.unsigned if psbt.inputs[place].script == script]
        if mine:
            signed = _signed(signed, mine, f"{descriptor}({secret_text(secret, network)})", network)
    return write_psbt(signed)


def checked_psbt(data: bytes, scripts: Collection[bytes], limits: BitcoinLimits) -> Psbt:
    """The PSBT, where it may be signed for these scripts. Raises PsbtRefusedError."""
    try:
        psbt = read_psbt(data)
    except PsbtError as error:
        raise PsbtRefusedError(str(error)) from error
    mine = [one for one in psbt.inputs if one.script in scripts]
    if not any(psbt.inputs[place].script in scripts for place in psbt.unsigned):
        raise PsbtRefusedError("no input that is not signed yet spends an output of this key")
    for place, one in enumerate(psbt.inputs):
        # such a signature is of its own input's amount alone: two of them for two lies make one that pays a huge fee
        if one.script in scripts and not is_taproot(one.script) and one.made_by is None:
            raise PsbtRefusedError(f"input {place} needs the transaction that made it, to show what it holds")
    if psbt.fee < 0:
        raise PsbtRefusedError(f"the outputs have {-psbt.fee} satoshis more than the inputs")
    if psbt.fee > limits.most_fee:
        raise PsbtRefusedError(
            f"the fee is {psbt.fee} satoshis, and may be {limits.most_fee}: raise the limit most_fee, or wait until "
            "fees have fallen",
            "most_fee",
        )
    back = sum(output.amount for output in psbt.transaction.outputs if output.script in scripts)
    spent = sum(one.amount for one in mine) - back
    if spent > limits.most_spent:
        raise PsbtRefusedError(
            f"it takes {spent} satoshis from the key's outputs, and may take {limits.most_spent}: raise the limit "
            "most_spent",
            "most_spent",
        )
    return psbt


def _signed(psbt: Psbt, mine: Sequence[int], descriptor: str, network: BitcoinNetwork) -> Psbt:
    """With signatures on these inputs, which all are of the descriptor."""
    # it takes a third of a second, and who signs nothing does not need it
    import bdkpython as bdk

    # the library takes every input without a witness for one of its descriptor
    shown = [one if place in mine else replace(one, witness=_LEFT_ALONE) for place, one in enumerate(psbt.inputs)]
    theirs = bdk.Psbt(base64.b64encode(write_psbt(Psbt(psbt.transaction, tuple(shown)))).decode())
    on_main = network is BitcoinNetwork.MAINNET
    wallet = bdk.Wallet.create_single(
        bdk.Descriptor(descriptor, bdk.NetworkKind.MAIN if on_main else bdk.NetworkKind.TEST),
        bdk.Network.BITCOIN if on_main else bdk.Network.REGTEST,
        bdk.Persister.new_in_memory(),
        0,
    )
    options = bdk.SignOptions(
        trust_witness_utxo=True,  # checked_psbt has seen the transactions that made them
        assume_height=None,
        allow_all_sighashes=False,
        try_finalize=True,
        sign_with_tap_internal_key=True,
        allow_grinding=True,
    )
    wallet.sign(theirs, options)
    found = theirs.input()
    inputs = list(psbt.inputs)
    for place in mine:
        witness = found[place].final_script_witness
        if witness is None:
            raise PsbtRefusedError(f"input {place} could not be signed with {descriptor.partition('(')[0]}")
        inputs[place] = replace(inputs[place], witness=tuple(witness))
    return Psbt(psbt.transaction, tuple(inputs))
