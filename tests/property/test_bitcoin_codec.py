"""Bitcoin's transactions and blocks: round trips, every truncation, rubbish, and what two ways of reading agree on."""

from __future__ import annotations

import hashlib
import json
import random
import struct
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.bitcoin_chain import coinbase, common_transaction, full_block

from clarion.chains.bitcoin.blocks import (
    BlockHeader,
    check_transactions,
    merkle_root,
    new_block,
    parse_header,
    target_of,
    transactions_of,
    work_of,
    write_header,
)
from clarion.chains.bitcoin.outline import outline
from clarion.chains.bitcoin.transactions import (
    MAX_SATS,
    BitcoinTransaction,
    Input,
    Output,
    TransactionError,
    new_transaction,
    parse_transaction,
    read_compact_size,
    write_compact_size,
    write_transaction,
)
from clarion.chains.bitcoin.units import Sats, outpoint_text, parse_outpoint

uint32 = st.integers(0, 2**32 - 1)
long_bytes = st.builds(lambda length: b"\x01" * length, st.sampled_from([252, 253, 254, 300, 0xFFFF, 0x10000]))
scripts = st.binary(max_size=60) | long_bytes
inputs = st.builds(
    Input, st.binary(min_size=32, max_size=32), uint32, scripts, uint32, st.lists(scripts, max_size=4).map(tuple)
)
outputs = st.builds(Output, st.integers(0, MAX_SATS).map(Sats), scripts)
transactions = st.builds(
    new_transaction,
    st.lists(inputs, min_size=1, max_size=4).map(tuple),
    st.lists(outputs, max_size=4).map(tuple),
    version=uint32,
    lock_time=uint32,
)


@given(transactions)
def test_a_transaction_comes_back_from_its_bytes(transaction: BitcoinTransaction) -> None:
    data = write_transaction(transaction)
    assert parse_transaction(data) == transaction
    assert len(data) == transaction.size
    stripped = write_transaction(transaction, witness=False)
    assert transaction.id == hashlib.sha256(hashlib.sha256(stripped).digest()).digest()[::-1]
    assert transaction.weight == 3 * len(stripped) + len(data)
    assert transaction.virtual_size == (transaction.weight + 3) // 4
    without = parse_transaction(stripped)
    assert without.id == transaction.id
    assert not without.has_witness


@given(transactions, st.data())
def test_a_transaction_that_is_cut_off_is_refused(transaction: BitcoinTransaction, data: st.DataObject) -> None:
    whole = write_transaction(transaction)
    cut = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(TransactionError):
        parse_transaction(whole[:cut])
    with pytest.raises(TransactionError, match="follow"):
        parse_transaction(whole + b"\x00")


def test_every_truncation_of_a_transaction_is_refused() -> None:
    choose = random.Random(1)
    for _ in range(5):
        whole = write_transaction(common_transaction(choose))
        for cut in range(len(whole)):
            with pytest.raises(TransactionError):
                parse_transaction(whole[:cut])


@given(st.binary(max_size=400))
@example(b"")
@example(b"\x02\x00\x00\x00\x00\x01\x01" + b"\xff" * 60)
def test_rubbish_is_refused_or_is_a_transaction(data: bytes) -> None:
    try:
        transaction = parse_transaction(data)
    except TransactionError:
        return
    assert write_transaction(transaction) == data


@given(transactions, st.data())
def test_a_flipped_byte_is_refused_or_another_transaction(transaction: BitcoinTransaction, data: st.DataObject) -> None:
    whole = bytearray(write_transaction(transaction))
    whole[data.draw(st.integers(0, len(whole) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        other = parse_transaction(bytes(whole))
    except TransactionError:
        return
    assert other != transaction
    assert write_transaction(other) == whole


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (bytes(4_000_001), "no block holds it"),
        (b"\x02\0\0\0\xff" + b"\xff" * 8, "do not fit"),
        (b"\x02\0\0\0\xfd\x01\x00", "more bytes than it needs"),
        (b"\x02\0\0\0\x00\x02" + bytes(50), "unknown flag"),
        (b"\x02\0\0\0\x01" + bytes(36) + b"\x00" + bytes(4) + b"\x01" + b"\xff" * 8 + b"\x00" + bytes(4), "satoshis"),
        (b"\x02\0\0\0\x00\x01\x01" + bytes(36) + b"\x00" + bytes(4) + b"\x00\x00" + bytes(4), "has none"),
    ],
)
def test_what_is_wrong_is_said(data: bytes, message: str) -> None:
    with pytest.raises(TransactionError, match=message):
        parse_transaction(data)


@given(st.integers(0, 2**64 - 1))
@example(252)
@example(253)
@example(0xFFFF)
@example(0x10000)
@example(0xFFFFFFFF)
@example(0x100000000)
def test_compact_sizes(value: int) -> None:
    data = write_compact_size(value)
    assert read_compact_size(data, 0) == (value, len(data))
    assert len(data) == (1 if value < 253 else 3 if value < 2**16 else 5 if value < 2**32 else 9)


@given(st.lists(transactions, min_size=1, max_size=6), st.integers(0, 2**32 - 1))
def test_a_blocks_outline_agrees_with_reading_it_whole(found: list[BitcoinTransaction], time: int) -> None:
    data = new_block(bytes(32), found, time=time)
    header, read, whole = parse_header(data), outline(data), transactions_of(data)
    assert whole == found
    assert header.time == time
    assert write_header(header) == data[:80]
    assert header.hash == hashlib.sha256(hashlib.sha256(data[:80]).digest()).digest()[::-1]
    assert [data[start:end] for start, end in zip(read.starts, read.starts[1:], strict=False)] == [
        write_transaction(transaction) for transaction in found
    ]
    spent = [[given.tx_id[::-1] + struct.pack("<I", given.vout) for given in tx.inputs] for tx in found]
    assert read.outpoints == [outpoint for of_one in spent for outpoint in of_one]
    assert list(read.first_inputs) == [sum(map(len, spent[:place])) for place in range(len(spent))]
    assert read.weight == 4 * (80 + len(write_compact_size(len(found)))) + sum(tx.weight for tx in found)


@given(st.lists(transactions, min_size=1, max_size=3), st.data())
def test_a_block_that_is_cut_off_is_refused(found: list[BitcoinTransaction], data: st.DataObject) -> None:
    whole = new_block(bytes(32), found, time=1)
    cut = whole[: data.draw(st.integers(0, len(whole) - 1))]
    with pytest.raises(TransactionError):
        outline(cut)
    with pytest.raises(TransactionError):
        outline(whole + b"\x00")


@given(st.binary(max_size=600), st.booleans())
def test_rubbish_has_an_outline_or_is_refused(data: bytes, begins_as_one: bool) -> None:
    if begins_as_one:
        data = bytes(80) + data
    try:
        read = outline(data)
    except TransactionError:
        return
    assert read.starts[-1] == len(data)


@given(st.lists(transactions, min_size=1, max_size=3), st.data())
def test_a_changed_block_is_refused_or_read_alike(found: list[BitcoinTransaction], data: st.DataObject) -> None:
    changed = bytearray(new_block(bytes(32), found, time=1))
    for _ in range(data.draw(st.integers(1, 3))):
        changed[data.draw(st.integers(80, len(changed) - 1))] = data.draw(st.integers(0, 255))
    try:
        whole = transactions_of(bytes(changed))
    except TransactionError:
        return  # the outline says nothing of amounts and empty witnesses
    read = outline(bytes(changed))
    assert len(read.first_inputs) == len(whole)
    assert read.outpoints == [
        given.tx_id[::-1] + struct.pack("<I", given.vout) for transaction in whole for given in transaction.inputs
    ]


def test_what_is_too_long_for_a_block_is_refused() -> None:
    with pytest.raises(TransactionError, match="too many"):
        outline(bytes(4_000_001))


def test_a_full_block() -> None:
    made = full_block(None, random.Random(2), size=400_000)
    read, whole = outline(made.data), transactions_of(made.data)
    assert len(whole) == len(read.first_inputs) > 500
    assert len(read.outpoints) == sum(len(transaction.inputs) for transaction in whole)
    check_transactions(made.data)


def test_the_root_of_a_real_block() -> None:
    """Block 170 of mainnet, the first with a payment: figures from any explorer."""
    ids = [
        "b1fea52486ce0c62bb442b530a3f0132b826c74e473d1f2c220bfa78111c5082",
        "f4184fc596403b9d638783cf57adfe4c75c605f6356fbc91338530e9831e9e16",
    ]
    root = "7dac2c5666815c17a3b36427de37bb9d2e2c5ccec3f8633eb91a4205cb4c10ff"
    assert merkle_root([bytes.fromhex(text) for text in ids]).hex() == root
    header = BlockHeader(
        hash=bytes.fromhex("00000000d1145790a8694403d4063f323d499e655c83426834d4ce2f8dd4a2ee"),
        version=1,
        parent_hash=bytes.fromhex("000000002a22cfee1f2c846adbd12b3e183d4f97683f85dad08a79780a84bd55"),
        merkle_root=bytes.fromhex(root),
        time=1231731025,
        bits=0x1D00FFFF,
        nonce=1889418792,
    )
    assert parse_header(write_header(header)) == header


@pytest.mark.parametrize(
    ("bits", "target"),
    [
        (0x01123456, 0x12),
        (0x02123456, 0x1234),
        (0x03123456, 0x123456),
        (0x05009234, 0x92340000),
        (0x1D00FFFF, 0xFFFF << 208),
        (0x04923456, 0),  # a negative number
        (0xFF123456, 0),  # one of more than 256 bits
        (0x00000000, 0),
    ],
)
def test_targets(bits: int, target: int) -> None:
    assert target_of(bits) == target


def test_work() -> None:
    """What Bitcoin Core says of the chain's work up to the first blocks of mainnet and regtest."""
    assert work_of(0x1D00FFFF) == 0x100010001
    assert work_of(0x207FFFFF) == 2
    assert work_of(0) == 0


def test_transactions_that_are_not_the_headers_are_refused() -> None:
    choose = random.Random(3)
    one, other = common_transaction(choose), common_transaction(choose)
    data = new_block(bytes(32), [coinbase(0, 0), one], time=1)
    swapped = data[:80] + new_block(bytes(32), [coinbase(0, 0), other], time=1)[80:]
    doubled = new_block(bytes(32), [coinbase(0, 0), one, one, one], time=1)
    check_transactions(data)
    for wrong in (swapped, doubled):
        with pytest.raises(TransactionError, match="not those of its header"):
            check_transactions(wrong)


@given(st.binary(min_size=32, max_size=32), uint32)
def test_outpoints_as_text(tx_id: bytes, vout: int) -> None:
    assert parse_outpoint(outpoint_text(tx_id, vout)) == (tx_id, vout)


@pytest.mark.parametrize("text", ["", "00:1", f"{'0' * 64}", f"{'0' * 64}:", f"{'0' * 64}:4294967296", f"{'0' * 64}:x"])
def test_what_is_no_outpoint(text: str) -> None:
    with pytest.raises(ValueError, match="no outpoint"):
        parse_outpoint(text)


def test_genuine_transactions(chain_data: Path) -> None:
    genuine = json.loads((chain_data / "charms" / "genuine-spells.json").read_text())
    for found in genuine:
        data = bytes.fromhex(found["hex"])
        transaction = parse_transaction(data)
        assert transaction.id.hex() == found["txid"]
        assert write_transaction(transaction) == data
