"""The agent of an account on Bitcoin: what it signs of a PSBT, and by which limit it refuses."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from coincurve import PrivateKey
from support.signing import PURPOSE, SECRET, key_file, unsigned

from clarion.chains.bitcoin.coins import Coin
from clarion.chains.bitcoin.key_scripts import segwit_script, taproot_script
from clarion.chains.bitcoin.transactions import BitcoinTransaction, Input, Output, new_transaction
from clarion.chains.bitcoin.units import Sats
from clarion_keeper.charms.psbt import Psbt, psbt_of, read_psbt, write_psbt
from clarion_keeper.signers import Signer, SignerProtocolError, SigningRefusedError, open_signer
from clarion_keeper.signers.limits import BitcoinLimits

PUBLIC = PrivateKey(SECRET[:32]).public_key.format()
TAPROOT, SEGWIT = taproot_script(PUBLIC), segwit_script(PUBLIC)
STRANGER = b"\x51\x20" + bytes(31) + b"\x01"
LIMITS = BitcoinLimits("regtest", max_fee=3_000, max_spent=10_000, max_hourly=20_000)


@pytest.fixture
async def signer(tmp_path: Path) -> AsyncIterator[Signer]:
    opened = await open_signer(
        f"file:{key_file(tmp_path)}", LIMITS, account="btc", ledger=tmp_path / "{key}.sqlite", timeout_seconds=60
    )
    yield opened
    await opened.aclose()


def made(script: bytes, amount: int, number: int = 1) -> BitcoinTransaction:
    """A transaction that made an output."""
    return new_transaction((Input(bytes((number,)) * 32, 0, b"", 0),), (Output(Sats(amount), script),))


def spending(previous: BitcoinTransaction, *outputs: tuple[bytes, int], shown: bool = True) -> Psbt:
    taken = Input(previous.id, 0, b"", 0xFFFFFFFD)
    transaction = new_transaction((taken,), tuple(Output(Sats(amount), script) for script, amount in outputs))
    coin = Coin(previous.outputs[0].amount, previous.outputs[0].script, 5, False)
    return psbt_of(transaction, [coin], {previous.id: previous} if shown else {})


async def limit_of(signer: Signer, psbt: Psbt) -> str:
    with pytest.raises(SigningRefusedError) as caught:
        await signer.sign_bitcoin(write_psbt(psbt), purpose=PURPOSE)
    return caught.value.limit


async def check_signs(signer: Signer, psbt: Psbt) -> None:
    signed = read_psbt(await signer.sign_bitcoin(write_psbt(psbt), purpose=PURPOSE), strict=False)
    assert signed.transaction == psbt.transaction
    assert signed.unsigned == []


@pytest.mark.parametrize("script", [TAPROOT, SEGWIT])
async def test_it_signs_inputs_of_both_kinds(signer: Signer, script: bytes) -> None:
    assert signer.address.startswith("bcrt1p")
    assert signer.public_key == PUBLIC
    await check_signs(signer, spending(made(script, 100_000), (TAPROOT, 91_000), (STRANGER, 7_000)))


async def test_it_refuses_what_is_over_a_limit(signer: Signer) -> None:
    coin = made(TAPROOT, 100_000)
    assert await limit_of(signer, spending(coin, (TAPROOT, 96_999))) == "max_fee"
    assert await limit_of(signer, spending(coin, (TAPROOT, 89_999), (STRANGER, 9_001))) == "max_spent"
    assert await limit_of(signer, spending(coin, (STRANGER, 99_000))) == "max_spent"


async def test_the_hour_counts_each_coin_once(signer: Signer) -> None:
    for number in (1, 2):
        coin = made(TAPROOT, 100_000, number)
        for fee in (1_000, 2_000, 2_000):  # replacements
            await check_signs(signer, spending(coin, (TAPROOT, 90_000), (STRANGER, 10_000 - fee)))
    assert await limit_of(signer, spending(made(TAPROOT, 100_000, 3), (TAPROOT, 99_999))) == "max_hourly"


async def test_what_is_not_for_it_is_not_signed(signer: Signer) -> None:
    with pytest.raises(SignerProtocolError, match="spends an output of this key"):
        await signer.sign_bitcoin(write_psbt(spending(made(STRANGER, 9_000), (TAPROOT, 8_000))), purpose=PURPOSE)
    unseen = spending(made(SEGWIT, 100_000), (TAPROOT, 99_000), shown=False)
    with pytest.raises(SignerProtocolError, match="needs the transaction that made it"):
        await signer.sign_bitcoin(write_psbt(unseen), purpose=PURPOSE)
    with pytest.raises(SignerProtocolError, match="do not begin"):
        await signer.sign_bitcoin(b"something", purpose=PURPOSE)
    with pytest.raises(SigningRefusedError) as caught:
        await signer.sign_stacks(unsigned().encode(), purpose=PURPOSE)
    assert caught.value.limit == "network"
