import pickle
from typing import Any

import pytest
from msgspec.structs import replace

from clarion.chains.stacks import clarity as cl
from clarion.chains.stacks.authorization import (
    Authorization,
    HashMode,
    KeyEncoding,
    MultiSig,
    PublicKeyField,
    SignatureField,
    SingleSig,
)
from clarion.chains.stacks.codec_errors import DecodeError, EncodeError
from clarion.chains.stacks.networks import Network
from clarion.chains.stacks.payloads import (
    Coinbase,
    ContractCall,
    MicroblockHeader,
    NakamotoCoinbase,
    Payload,
    PoisonMicroblock,
    SmartContract,
    TenureChange,
    TenureChangeCause,
    TokenTransfer,
    encode_payload,
    memo_bytes,
)
from clarion.chains.stacks.post_conditions import ORIGIN, AmountCode, Asset, FtPostCondition, StxPostCondition, asset
from clarion.chains.stacks.transactions import (
    AnchorMode,
    Transaction,
    decode_transaction,
    decode_transaction_hex,
    transaction_id,
)

ALICE = cl.StandardPrincipal(26, bytes(range(20)))
TOKEN = cl.ContractPrincipal(ALICE, "token")
SINGLE = SingleSig(HashMode.P2PKH, bytes(20), 7, 300)


def transaction(payload: Payload | None = None, **parts: Any) -> Transaction:
    return Transaction(
        parts.pop("network", Network.TESTNET),
        parts.pop("chain_id", Network.TESTNET.chain_id),
        parts.pop("authorization", Authorization(SINGLE)),
        payload or TokenTransfer(ALICE, 5, memo_bytes("hi")),
        **parts,
    )


def microblock(sequence: int) -> MicroblockHeader:
    return MicroblockHeader(0, sequence, bytes(32), bytes(range(32)), bytes(65))


def test_poison_microblocks_come_back() -> None:
    made = transaction(PoisonMicroblock(microblock(1), microblock(2)), anchor_mode=AnchorMode.ON_CHAIN_ONLY)
    raw = made.encode()
    assert decode_transaction(raw) == made
    # Version, sequence, two hashes and a signature, twice, after the payload type.
    assert len(encode_payload(made.payload)) == 1 + 2 * (1 + 2 + 32 + 32 + 65)


def test_a_private_network_may_have_its_own_chain_id() -> None:
    made = transaction(chain_id=0x12345678)
    assert decode_transaction(made.encode()).chain_id == 0x12345678


def test_who_pays_what() -> None:
    plain = transaction()
    assert (plain.nonce, plain.fee, plain.sponsor) == (7, 300, None)
    assert str(plain.sender).startswith("ST")
    sponsor = MultiSig(HashMode.P2SH, bytes(20), 9, 50, (), 1)
    paid = transaction(authorization=Authorization(SINGLE, sponsor), network=Network.MAINNET)
    assert (paid.nonce, paid.fee) == (7, 50)
    assert str(paid.sender).startswith("SP")
    assert str(paid.sponsor).startswith("SM")


def test_ids_are_hashes_of_the_bytes() -> None:
    made = transaction()
    assert made.txid == transaction_id(made.encode())
    assert replace(made, chain_id=1).txid != made.txid
    assert decode_transaction_hex("0x" + made.encode().hex()) == made
    assert pickle.loads(pickle.dumps(made)) == made


def test_assets_are_named_by_contract_and_token() -> None:
    named = asset(f"{TOKEN}::coin")
    assert named == Asset(TOKEN, "coin")
    assert str(named) == f"{TOKEN}::coin"


@pytest.mark.parametrize("text", ["coin", f"{TOKEN}", f"{ALICE}::coin", f"{TOKEN}::", f"{TOKEN}::1"])
def test_what_names_no_asset_is_refused(text: str) -> None:
    with pytest.raises(EncodeError):
        asset(text)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: transaction(chain_id=1 << 32),
        lambda: transaction(TokenTransfer(ALICE, 1 << 64)),
        lambda: transaction(TokenTransfer(ALICE, -1)),
        lambda: transaction(TokenTransfer(ALICE, 1, b"short")),
        lambda: transaction(TokenTransfer(cl.UInt(1), 1)),  # type: ignore[arg-type]
        lambda: transaction(ContractCall(TOKEN, "not a name", ())),
        lambda: transaction(ContractCall(cl.ContractPrincipal(ALICE, "n" * 41), "f", ())),
        lambda: transaction(ContractCall(TOKEN, "f", (5,))),  # type: ignore[arg-type]
        lambda: transaction(SmartContract("n" * 41, "(ok u1)")),
        lambda: transaction(SmartContract("1", "(ok u1)")),
        lambda: transaction(SmartContract("name", "(ok u1) ;; é")),
        lambda: transaction(SmartContract("name", "(ok u1)\r\n")),
        lambda: transaction(SmartContract("name", "(ok u1) \ud800")),
        lambda: transaction(SmartContract("name", "(ok u1)", 0)),
        lambda: transaction(SmartContract("name", "(ok u1)", 7)),
        lambda: transaction(SmartContract("name", " " * (2 << 20))),
        lambda: transaction(Coinbase(bytes(31))),
        lambda: transaction(NakamotoCoinbase(bytes(32), None, bytes(79))),
        lambda: transaction(
            TenureChange(bytes(20), bytes(20), bytes(20), bytes(32), 1 << 32, TenureChangeCause.EXTENDED, bytes(20))
        ),
        lambda: transaction("payload"),  # type: ignore[arg-type]
        lambda: transaction(post_conditions=("condition",)),
        lambda: transaction(post_conditions=(StxPostCondition(ORIGIN, AmountCode.EQUAL, 1 << 64),)),
        lambda: transaction(authorization=Authorization(replace(SINGLE, nonce=1 << 64))),
        lambda: transaction(authorization=Authorization(replace(SINGLE, fee=-1))),
        lambda: transaction(authorization=Authorization(replace(SINGLE, signature=b""))),
        lambda: transaction(authorization=Authorization(replace(SINGLE, signer=b""))),
        lambda: transaction(authorization=Authorization(replace(SINGLE, hash_mode=HashMode.P2SH))),
        lambda: transaction(authorization=Authorization(MultiSig(HashMode.P2PKH, bytes(20), 0, 0, (), 1))),
        lambda: memo_bytes("m" * 35),
    ],
)
def test_what_has_no_wire_form_is_refused(wrong: Any) -> None:
    with pytest.raises(EncodeError):
        wrong().encode()


RAW = transaction(
    ContractCall(TOKEN, "transfer", (cl.UInt(1),)),
    post_conditions=(FtPostCondition(ALICE, Asset(TOKEN, "coin"), AmountCode.EQUAL, 1),),
).encode()
AUTH = 5
ANCHOR = AUTH + 1 + 1 + 20 + 8 + 8 + 1 + 65
CONDITION = ANCHOR + 2 + 4
PAYLOAD = CONDITION + 2 + 21 + 21 + 6 + 5 + 1 + 8


@pytest.mark.parametrize(
    ("offset", "byte", "expected"),
    [
        (0, 0x01, "transaction version"),
        (AUTH, 0x06, "authorization type"),
        (AUTH + 1, 0x04, "hash mode"),
        (AUTH + 1 + 37, 0x02, "key encoding"),
        (ANCHOR, 0x00, "anchor mode"),
        (ANCHOR + 1, 0x04, "post-condition mode"),
        (ANCHOR + 2, 0xFF, "count of post-conditions"),
        (CONDITION, 0x05, "post-condition type"),
        (CONDITION + 1, 0x00, "post-condition principal"),
        (CONDITION + 2, 0x20, "address version"),
        (PAYLOAD - 9, 0x06, "amount condition"),
        (PAYLOAD, 0x09, "payload type"),
        (PAYLOAD + 1, 0x20, "address version"),
        (PAYLOAD + 22, 0x29, "contract name"),
        (PAYLOAD + 23, 0x31, "contract name"),
        (PAYLOAD + 29, 0x20, "Clarity name"),
        (PAYLOAD + 37, 0x01, "count of arguments"),
        (PAYLOAD + 41, 0x0F, "type prefix"),
    ],
)
def test_a_wrong_byte_is_named_with_its_place(offset: int, byte: int, expected: str) -> None:
    assert RAW[PAYLOAD] == 2
    damaged = bytearray(RAW)
    damaged[offset] = byte
    with pytest.raises(DecodeError, match=expected) as caught:
        decode_transaction(bytes(damaged))
    assert abs(caught.value.offset - offset) <= 1


def test_every_truncation_is_an_error_of_the_codec() -> None:
    for length in range(len(RAW)):
        with pytest.raises(DecodeError):
            decode_transaction(RAW[:length])
    with pytest.raises(DecodeError, match="the end"):
        decode_transaction(RAW + b"\x00")


def test_a_transaction_is_limited_in_size() -> None:
    with pytest.raises(DecodeError, match="at most"):
        decode_transaction(RAW + bytes(2 << 20))


def test_segwit_accounts_have_compressed_keys() -> None:
    single = SingleSig(HashMode.P2WPKH_P2SH, bytes(20), 0, 0, KeyEncoding.UNCOMPRESSED)
    with pytest.raises(DecodeError, match="compressed"):
        decode_transaction(transaction(authorization=Authorization(single)).encode())
    for field in (SignatureField(KeyEncoding.UNCOMPRESSED, bytes(65)),):
        several = MultiSig(HashMode.P2WSH_P2SH, bytes(20), 0, 0, (field,), 1)
        with pytest.raises(DecodeError, match="compressed"):
            decode_transaction(transaction(authorization=Authorization(several)).encode())


@pytest.mark.parametrize(
    ("field", "expected"),
    [("04" + "00" * 65, "field type"), ("00" + "04" + "00" * 32, "0x02 or 0x03")],
)
def test_bad_authorization_fields_are_refused(field: str, expected: str) -> None:
    key = PublicKeyField(KeyEncoding.COMPRESSED, b"\x02" + bytes(32))
    several = MultiSig(HashMode.P2SH, bytes(20), 0, 0, (key, key), 1)
    raw = transaction(authorization=Authorization(several)).encode()
    assert decode_transaction(raw).authorization.origin == several
    start = AUTH + 1 + 1 + 20 + 8 + 8 + 4
    damaged = raw[:start] + bytes.fromhex(field) + raw[start + 34 :]
    with pytest.raises(DecodeError, match=expected):
        decode_transaction(damaged)


def test_a_coinbase_pays_a_principal() -> None:
    made = transaction(NakamotoCoinbase(bytes(32), ALICE, bytes(80)))
    raw = made.encode()
    assert decode_transaction(raw) == made
    recipient = b"\x0a" + cl.encode(ALICE)
    assert recipient in raw
    with pytest.raises(DecodeError, match="optional principal"):
        decode_transaction(raw.replace(recipient, b"\x0a\x03"))


def test_a_transfer_goes_to_a_principal() -> None:
    raw = transaction().encode()
    with pytest.raises(DecodeError, match="a principal"):
        decode_transaction(raw.replace(cl.encode(ALICE), cl.encode(cl.UInt(1))))


def test_contract_names_are_shorter_in_transactions_than_in_values() -> None:
    longest = transaction(ContractCall(cl.ContractPrincipal(ALICE, "n" * 40), "f", ()))
    raw = longest.encode()
    assert decode_transaction(raw) == longest
    with pytest.raises(DecodeError, match="at most 40 bytes"):
        decode_transaction(raw.replace(b"\x28" + b"n" * 40, b"\x29" + b"n" * 41))
    in_a_value = transaction(ContractCall(TOKEN, "f", (cl.ContractPrincipal(ALICE, "n" * 128),)))
    assert decode_transaction(in_a_value.encode()) == in_a_value


def test_a_contracts_source_is_printable_ascii() -> None:
    raw = transaction(SmartContract("name", "(ok u1)", 4)).encode()
    assert decode_transaction(raw).payload == SmartContract("name", "(ok u1)", 4)
    with pytest.raises(DecodeError, match="printable ASCII"):
        decode_transaction(raw.replace(b"(ok u1)", b"(ok\ru1)"))
    with pytest.raises(DecodeError, match="Clarity version"):
        decode_transaction(raw.replace(b"\x06\x04\x04name", b"\x06\x07\x04name"))
