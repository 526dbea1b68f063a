"""Partially signed transactions: what is written is read again, and nothing that is not looked at is taken."""

from __future__ import annotations

import base64

import bdkpython
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clarion.chains.bitcoin.coins import Coin
from clarion.chains.bitcoin.key_scripts import secret_text
from clarion.chains.bitcoin.networks import BitcoinNetwork
from clarion.chains.bitcoin.transactions import BitcoinTransaction, Input, Output, new_transaction
from clarion.chains.bitcoin.units import Sats
from clarion.dev.bitcoin.keys import key
from clarion_keeper.charms.psbt import MAGIC, Psbt, PsbtError, PsbtInput, psbt_of, read_psbt, write_psbt

ALICE = key("alice")
SCRIPTS = (ALICE.taproot_script, ALICE.segwit_script)
MADE_BY = new_transaction(
    (Input(b"\x07" * 32, 3, b"", 0xFFFFFFFD),), (Output(Sats(5_000), SCRIPTS[0]), Output(Sats(6_000), SCRIPTS[1]))
)
COINS = [Coin(output.amount, output.script, 1, coinbase=False) for output in MADE_BY.outputs]
UNSIGNED = new_transaction(
    tuple(Input(MADE_BY.id, vout, b"", 0xFFFFFFFD) for vout in range(2)), (Output(Sats(9_000), SCRIPTS[0]),)
)

outputs = st.builds(Output, st.integers(0, 10**9).map(Sats), st.binary(max_size=90))
amounts = st.integers(0, 2_100_000_000_000_000).map(Sats)
witnesses = st.none() | st.lists(st.binary(max_size=80), max_size=3).map(tuple)


@st.composite
def psbts(draw: st.DrawFn) -> Psbt:
    inputs, shown = [], []
    for number in range(draw(st.integers(1, 4))):
        output = Output(draw(amounts), draw(st.binary(max_size=90)))
        made_by = new_transaction((Input(bytes((number,)) * 32, 0, b"", 1),), (output,))
        inputs.append(Input(made_by.id, 0, b"", draw(st.integers(0, 0xFFFFFFFF))))
        known = draw(st.booleans())
        shown.append(PsbtInput(output.amount, output.script, made_by if known else None, draw(witnesses)))
    made = tuple(draw(st.lists(outputs, min_size=1, max_size=4)))
    return Psbt(new_transaction(tuple(inputs), made, lock_time=draw(st.integers(0, 0xFFFFFFFF))), tuple(shown))


@given(psbts())
def test_what_is_written_is_read_again(psbt: Psbt) -> None:
    assert read_psbt(write_psbt(psbt)) == psbt


def test_the_library_reads_the_same() -> None:
    theirs = bdkpython.Psbt(base64.b64encode(write_psbt(psbt_of(UNSIGNED, COINS, {MADE_BY.id: MADE_BY}))).decode())
    assert theirs.fee() == 2_000
    assert [one.witness_utxo.value.to_sat() for one in theirs.input()] == [5_000, 6_000]
    assert read_psbt(base64.b64decode(theirs.serialize()), strict=False).transaction == UNSIGNED


@given(st.data())
def test_cut_off_bytes_are_none(data: st.DataObject) -> None:
    whole = write_psbt(psbt_of(UNSIGNED, COINS, {MADE_BY.id: MADE_BY}))
    with pytest.raises(PsbtError):
        read_psbt(whole[: data.draw(st.integers(0, len(whole) - 1))])


@given(st.binary(max_size=200))
def test_any_bytes_are_a_psbt_or_refused(data: bytes) -> None:
    for given_bytes in (data, MAGIC + data):
        try:
            read_psbt(given_bytes)
        except PsbtError:
            continue


def _with(extra: bytes, *, after: bytes) -> bytes:
    whole = write_psbt(psbt_of(UNSIGNED, COINS, {}))
    at = whole.index(after) + len(after)
    return whole[:at] + extra + whole[at:]


def test_fields_that_are_not_looked_at_are_refused() -> None:
    # a type of signature (PSBT_IN_SIGHASH_TYPE) in the first input: SIGHASH_NONE
    end_of_global = write_psbt(psbt_of(UNSIGNED, COINS, {})).split(b"\x01\x01", 1)[0]
    changed = _with(b"\x01\x03\x04\x02\x00\x00\x00", after=end_of_global)
    with pytest.raises(PsbtError, match="input 0 has fields that are not looked at here: 03"):
        read_psbt(changed)
    assert read_psbt(changed, strict=False).transaction == UNSIGNED


def test_a_field_does_not_come_twice() -> None:
    whole = write_psbt(psbt_of(UNSIGNED, COINS, {}))
    field = whole[5 : whole.index(b"\x01\x01") - 1]
    with pytest.raises(PsbtError, match="comes twice"):
        read_psbt(MAGIC + field + whole[5:])


def test_what_made_an_input_has_to_say_the_same() -> None:
    lied = [COINS[0], COINS[1]._replace(amount=Sats(1_000_000))]
    with pytest.raises(PsbtError, match="does not spend what it says"):
        read_psbt(write_psbt(psbt_of(UNSIGNED, lied, {MADE_BY.id: MADE_BY})))
    other = new_transaction(MADE_BY.inputs, MADE_BY.outputs[:1])
    with pytest.raises(PsbtError, match="did not make"):
        read_psbt(write_psbt(psbt_of(UNSIGNED, COINS, {MADE_BY.id: other})))


def test_a_signed_transaction_is_none() -> None:
    signed = new_transaction((Input(MADE_BY.id, 0, b"\x51", 0),), UNSIGNED.outputs)
    with pytest.raises(PsbtError, match="has signatures"):
        read_psbt(write_psbt(psbt_of(signed, COINS[:1], {})))


def test_a_transaction_is_signed_when_all_inputs_are() -> None:
    first, second = psbt_of(UNSIGNED, COINS, {}).inputs
    half = Psbt(UNSIGNED, (PsbtInput(first.amount, first.script, None, (b"a",)), second))
    with pytest.raises(PsbtError, match="inputs 1 are not signed"):
        half.signed_transaction()
    whole = Psbt(UNSIGNED, (half.inputs[0], PsbtInput(second.amount, second.script, None, (b"b", b"c"))))
    signed: BitcoinTransaction = whole.signed_transaction()
    assert [spent.witness for spent in signed.inputs] == [(b"a",), (b"b", b"c")]
    assert signed.id == UNSIGNED.id


@pytest.mark.parametrize("finish", [False, True])
def test_signers_may_leave_the_witness_to_be_put_together(finish: bool) -> None:
    """As the library does where it is told so; each of its wallets is given the inputs that are its own."""
    for place, descriptor in ((0, "tr"), (1, "wpkh")):
        transaction = new_transaction((UNSIGNED.inputs[place],), (Output(Sats(4_000), SCRIPTS[0]),))
        theirs = bdkpython.Psbt(
            base64.b64encode(write_psbt(psbt_of(transaction, [COINS[place]], {MADE_BY.id: MADE_BY}))).decode()
        )
        wallet = bdkpython.Wallet.create_single(
            bdkpython.Descriptor(
                f"{descriptor}({secret_text(ALICE.secret, BitcoinNetwork.REGTEST)})", bdkpython.NetworkKind.TEST
            ),
            bdkpython.Network.REGTEST,
            bdkpython.Persister.new_in_memory(),
            0,
        )
        wallet.sign(
            theirs,
            bdkpython.SignOptions(
                trust_witness_utxo=True,
                assume_height=None,
                allow_all_sighashes=False,
                try_finalize=finish,
                sign_with_tap_internal_key=True,
                allow_grinding=True,
            ),
        )
        found = read_psbt(base64.b64decode(theirs.serialize()), strict=False)
        assert found.transaction == transaction
        sizes = [len(item) for item in found.signed_transaction().inputs[0].witness]
        assert sizes == ([64] if place == 0 else [71, 33])
