"""Signatures with the library, and what is not signed."""

from __future__ import annotations

import pytest
from coincurve import PublicKey, PublicKeyXOnly

from clarion.chains.bitcoin.addresses import address_of
from clarion.chains.bitcoin.coins import Coin
from clarion.chains.bitcoin.networks import BitcoinNetwork
from clarion.chains.bitcoin.transactions import Input, Output, new_transaction
from clarion.chains.bitcoin.units import Sats
from clarion.dev.bitcoin.keys import Key, key
from clarion.dev.bitcoin.signing import segwit_digest, taproot_digest
from clarion_keeper.charms.psbt import Psbt, psbt_of, read_psbt, write_psbt
from clarion_keeper.charms.signing import BitcoinLimits, PsbtRefusedError, own_scripts, sign_psbt

ALICE, BOB = key("alice"), key("bob")
REGTEST = BitcoinNetwork.REGTEST
LIMITS = BitcoinLimits(most_fee=Sats(1_000), most_spent=Sats(2_000))
MADE_BY = new_transaction(
    (Input(b"\x07" * 32, 3, b"", 0xFFFFFFFD),),
    (
        Output(Sats(5_000), ALICE.taproot_script),
        Output(Sats(6_000), ALICE.segwit_script),
        Output(Sats(7_000), BOB.taproot_script),
        Output(Sats(8_000), BOB.segwit_script),
        Output(Sats(9_000), ALICE.taproot_script),
    ),
)
COINS = [Coin(output.amount, output.script, 1, coinbase=False) for output in MADE_BY.outputs]


def unsigned(*outputs: Output, spends: tuple[int, ...] = (0, 1, 2, 3, 4), known: bool = True) -> Psbt:
    transaction = new_transaction(tuple(Input(MADE_BY.id, vout, b"", 0xFFFFFFFD) for vout in spends), outputs)
    return psbt_of(transaction, [COINS[vout] for vout in spends], {MADE_BY.id: MADE_BY} if known else {})


def sign(psbt: Psbt, who: Key = ALICE, limits: BitcoinLimits = LIMITS, network: BitcoinNetwork = REGTEST) -> Psbt:
    return read_psbt(sign_psbt(who.secret, write_psbt(psbt), limits, network))


BACK = Output(Sats(19_500), ALICE.taproot_script)
TO_BOB = Output(Sats(15_000), BOB.taproot_script)


@pytest.mark.parametrize("network", list(BitcoinNetwork))
def test_each_input_of_the_key_is_signed_and_no_other(network: BitcoinNetwork) -> None:
    psbt = sign(unsigned(BACK, TO_BOB), network=network)
    assert psbt.unsigned == [2, 3]
    transaction = psbt.transaction
    coins = [COINS[taken.vout] for taken in transaction.inputs]
    for place in (0, 4):
        (signature,) = psbt.inputs[place].witness or ()
        output_key = PublicKeyXOnly(ALICE.taproot_script[2:])
        assert output_key.verify(signature, taproot_digest(transaction, place, coins))
    signature, public = psbt.inputs[1].witness or ()
    assert public == ALICE.public
    assert signature.endswith(b"\x01")
    digest = segwit_digest(transaction, 1, ALICE.segwit_script, 6_000)
    assert PublicKey(public).verify(signature[:-1], digest, hasher=None)


def test_two_keys_sign_one_after_the_other() -> None:
    complete = sign(sign(unsigned(BACK, TO_BOB)), BOB)
    assert not complete.unsigned
    assert len(complete.signed_transaction().inputs[3].witness) == 2


def test_the_scripts_of_a_key_are_those_of_its_addresses() -> None:
    assert [address_of(script, REGTEST) for script in own_scripts(ALICE.public)] == [
        ALICE.address,
        ALICE.segwit_address,
    ]


def test_fees_over_the_limit_are_refused() -> None:
    assert sign(unsigned(BACK, Output(Sats(14_500), BOB.taproot_script))).fee == 1_000
    with pytest.raises(PsbtRefusedError, match="the fee is 1001 satoshis, and may be 1000") as refused:
        sign(unsigned(BACK, Output(Sats(14_499), BOB.taproot_script)))
    assert refused.value.limit == "most_fee"


def test_what_leaves_the_key_is_limited_whoever_it_is_paid_to() -> None:
    sign(unsigned(Output(Sats(18_000), ALICE.segwit_script), Output(Sats(17_000), BOB.taproot_script)))
    with pytest.raises(PsbtRefusedError, match="takes 2001 satoshis") as refused:
        sign(unsigned(Output(Sats(17_999), ALICE.segwit_script), Output(Sats(17_001), BOB.taproot_script)))
    assert refused.value.limit == "most_spent"


def test_what_is_signed_already_counts_too() -> None:
    half = sign(unsigned(BACK, TO_BOB))
    spends = half.transaction.inputs
    stolen = new_transaction(spends, (Output(Sats(34_500), BOB.taproot_script),))
    with pytest.raises(PsbtRefusedError, match="takes 20000 satoshis"):
        sign(Psbt(stolen, (half.inputs[0], *unsigned(BACK, TO_BOB).inputs[1:])))


def test_an_amount_that_is_only_claimed_is_not_signed_for() -> None:
    """Of P2WPKH a signature is of its own amount alone."""
    with pytest.raises(PsbtRefusedError, match="input 1 needs the transaction that made it"):
        sign(unsigned(BACK, TO_BOB, known=False))
    taproot = unsigned(Output(Sats(13_500), ALICE.taproot_script), spends=(0, 4), known=False)
    assert not sign(taproot).unsigned


def test_nothing_to_sign_is_refused() -> None:
    with pytest.raises(PsbtRefusedError, match="no input"):
        sign(unsigned(Output(Sats(14_900), BOB.taproot_script), spends=(2, 3)))
    complete = sign(unsigned(Output(Sats(13_500), ALICE.taproot_script), spends=(0, 4)))
    with pytest.raises(PsbtRefusedError, match="no input"):
        sign(complete)


def test_more_out_than_in_is_refused() -> None:
    with pytest.raises(PsbtRefusedError, match="1 satoshis more"):
        sign(unsigned(Output(Sats(14_001), ALICE.taproot_script), spends=(0, 4)))


@pytest.mark.parametrize("data", [b"", b"psbt\xff", b"psbt\xff\x00", b"no psbt"])
def test_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(PsbtRefusedError):
        sign_psbt(ALICE.secret, data, LIMITS, REGTEST)
