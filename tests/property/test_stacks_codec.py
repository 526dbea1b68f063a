"""Whatever can be built comes back from its bytes; whatever bytes arrive, the codec answers or refuses them."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from clarion.chains.stacks import clarity as cl
from clarion.chains.stacks.abi import ClarityType, from_python
from clarion.chains.stacks.authorization import (
    Authorization,
    HashMode,
    KeyEncoding,
    MultiSig,
    PublicKeyField,
    SignatureField,
    SingleSig,
)
from clarion.chains.stacks.c32 import decode_address, encode_address
from clarion.chains.stacks.clarity_forms import decode_json, decode_python, to_json, to_python, to_repr
from clarion.chains.stacks.codec_errors import AddressError, CodecError, DecodeError, SignatureError
from clarion.chains.stacks.keys import PrivateKey
from clarion.chains.stacks.networks import Network
from clarion.chains.stacks.payloads import (
    COINBASE_LENGTH,
    MAX_CLARITY_VERSION,
    MEMO_LENGTH,
    VRF_PROOF_LENGTH,
    Coinbase,
    CoinbaseToAltRecipient,
    ContractCall,
    MicroblockHeader,
    NakamotoCoinbase,
    PoisonMicroblock,
    SmartContract,
    TenureChange,
    TenureChangeCause,
    TokenTransfer,
)
from clarion.chains.stacks.post_conditions import (
    ORIGIN,
    AmountCode,
    Asset,
    FtPostCondition,
    NftCode,
    NftPostCondition,
    PostConditionMode,
    PoxCode,
    PoxPostCondition,
    StakingPostCondition,
    StxPostCondition,
)
from clarion.chains.stacks.signing import multi_sig, sign_multisig, signed_transaction, unsigned_transaction, verify
from clarion.chains.stacks.structure import (
    MAX_TOPIC_CHARACTERS,
    TOPIC_FIELDS,
    Structures,
    examine_value,
    skip_arguments,
    topic_of_value,
)
from clarion.chains.stacks.summaries import Summary, summarise
from clarion.chains.stacks.transactions import AnchorMode, Transaction, decode_transaction

u64 = st.integers(0, 2**64 - 1)
hashes = st.binary(min_size=20, max_size=20)
clarity_names = st.from_regex(r"[a-zA-Z_][a-zA-Z0-9_\-!?+<>=/*]{0,127}|[-+=/*]|[<>]=?", fullmatch=True)
contract_names = st.from_regex(r"[a-zA-Z][a-zA-Z0-9_\-]{0,39}", fullmatch=True)
accounts = st.builds(cl.StandardPrincipal, st.integers(0, 31), hashes)
contracts = st.builds(cl.ContractPrincipal, accounts, contract_names)
principals = accounts | contracts
clarity_ascii = st.text(st.sampled_from("\t\n\x0c\r" + "".join(map(chr, range(0x20, 0x7F)))), max_size=40)
clarity_utf8 = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)

simple_values: dict[str, st.SearchStrategy[cl.Value]] = {
    "int128": st.builds(cl.Int, st.integers(cl.INT_MIN, cl.INT_MAX)),
    "uint128": st.builds(cl.UInt, st.integers(0, cl.UINT_MAX)),
    "bool": st.builds(cl.Bool, st.booleans()),
    "principal": principals,
    "buffer": st.builds(cl.Buffer, st.binary(max_size=40)),
    "string-ascii": st.builds(cl.StringAscii, clarity_ascii),
    "string-utf8": st.builds(cl.StringUtf8, clarity_utf8),
}
simple_types: list[ClarityType] = [
    "int128",
    "uint128",
    "bool",
    "principal",
    {"buffer": {"length": 40}},
    {"string-ascii": {"length": 40}},
    {"string-utf8": {"length": 40}},
]
types: st.SearchStrategy[ClarityType] = st.recursive(
    st.sampled_from(simple_types),
    lambda inner: st.one_of(
        st.builds(lambda entry: {"optional": entry}, inner),
        st.builds(lambda ok, error: {"response": {"ok": ok, "error": error}}, inner, inner),
        st.builds(lambda entry: {"list": {"type": entry, "length": 4}}, inner),
        st.builds(
            lambda fields: {"tuple": [{"name": name, "type": field} for name, field in fields.items()]},
            st.dictionaries(clarity_names, inner, min_size=1, max_size=4),
        ),
    ),
    max_leaves=8,
)


def value_of(draw: st.DrawFn, clarity_type: ClarityType) -> cl.Value:
    if isinstance(clarity_type, str):
        return draw(simple_values[clarity_type])
    ((kind, detail),) = clarity_type.items()
    match kind:
        case "optional":
            return cl.Some(value_of(draw, detail)) if draw(st.booleans()) else cl.NONE
        case "response":
            ok = draw(st.booleans())
            return cl.Ok(value_of(draw, detail["ok"])) if ok else cl.Err(value_of(draw, detail["error"]))
        case "list":
            return cl.List([value_of(draw, detail["type"]) for _ in range(draw(st.integers(0, detail["length"])))])
        case "tuple":
            return cl.Tuple({field["name"]: value_of(draw, field["type"]) for field in detail})
    return draw(simple_values[kind])


@st.composite
def typed_values(draw: st.DrawFn) -> tuple[ClarityType, cl.Value]:
    clarity_type = draw(types)
    return clarity_type, value_of(draw, clarity_type)


values = typed_values().map(lambda typed: typed[1])


@given(typed_values())
def test_values_come_back_from_every_form(typed: tuple[ClarityType, cl.Value]) -> None:
    clarity_type, value = typed
    raw = cl.encode(value)
    assert cl.decode(raw) == value
    assert from_python(to_python(value), clarity_type) == value
    stored = json.dumps(to_json(value))
    assert "\\u0000" not in stored
    assert from_python(json.loads(stored), clarity_type) == value
    assert to_repr(value).isascii()


def refuses_or_rewrites(raw: bytes) -> None:
    """Bytes either are the canonical form of a value or raise one of the codec's own errors, for every reader alike."""
    try:
        value = cl.decode(raw)
    except CodecError:
        for decode in (decode_python, decode_json):
            with pytest.raises(CodecError):
                decode(raw)
    else:
        assert cl.encode(value) == raw
        assert decode_python(raw) == to_python(value)


@given(values, st.data())
def test_damaged_values_are_refused_or_are_other_values(value: cl.Value, data: st.DataObject) -> None:
    raw = bytearray(cl.encode(value))
    with pytest.raises(CodecError):
        cl.decode(bytes(raw[: data.draw(st.integers(0, len(raw) - 1))]))
    with pytest.raises(CodecError):
        cl.decode(bytes(raw) + data.draw(st.binary(min_size=1, max_size=3)))
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    refuses_or_rewrites(bytes(raw))


@given(st.lists(st.sampled_from([bytes([tag]) for tag in range(16)]) | st.binary(max_size=6)).map(b"".join))
def test_arbitrary_bytes_are_refused_or_are_values(raw: bytes) -> None:
    refuses_or_rewrites(raw)


#: What decoding expects of texts, which is no part of a value's structure.
TEXT_RULES = (
    "printable ASCII or white space",
    "UTF-8",
    f"at most {cl.MAX_UTF8_CHARACTERS} characters",
    "a contract name",
)


def topic_when_decoded(raw: bytes) -> str:
    form: Any = decode_json(raw)
    for name in TOPIC_FIELDS if isinstance(form, dict) else ():
        topic = form.get(name)
        if isinstance(topic, str) and len(topic) <= MAX_TOPIC_CHARACTERS:
            return topic
    return "print"


topic_values = st.one_of(
    values,
    simple_values["string-ascii"],
    simple_values["string-utf8"],
    st.integers(60, 64).map(lambda length: cl.Buffer(bytes(length))),
    st.integers(127, 129).map(lambda length: cl.StringAscii("t" * length)),
    st.just(cl.StringUtf8("\0")),
)
topic_tuples = st.dictionaries(
    st.sampled_from(["about", *TOPIC_FIELDS, "zero"]), topic_values | topic_values.map(cl.Some), min_size=1
).map(cl.Tuple)
printed = st.one_of(topic_tuples, topic_tuples.map(cl.Some), topic_tuples.map(cl.Ok), values)


@given(printed)
def test_the_topic_found_by_structure_is_that_of_the_decoded_value(value: cl.Value) -> None:
    raw = cl.encode(value)
    assert examine_value(raw)[0] == topic_when_decoded(raw)
    assert topic_of_value("", raw) == topic_when_decoded(raw)


def refusal_of(read: Callable[[bytes], object], raw: bytes) -> DecodeError | None:
    try:
        read(raw)
    except DecodeError as error:
        return error
    return None


def agrees_with_decoding(raw: bytes) -> None:
    """The structure is refused where decoding refuses it; what decoding alone refuses are texts."""
    refused, undecodable = refusal_of(examine_value, raw), refusal_of(decode_json, raw)
    if undecodable is None:
        assert refused is None
        assert examine_value(raw)[0] == topic_when_decoded(raw)
    elif refused is None:
        assert undecodable.expected in TEXT_RULES
    else:
        assert str(refused) == str(undecodable)


@given(printed, st.data())
def test_damaged_structures_are_refused_as_decoding_refuses_them(value: cl.Value, data: st.DataObject) -> None:
    raw = bytearray(cl.encode(value))
    for broken in (raw[: data.draw(st.integers(0, len(raw) - 1))], raw + data.draw(st.binary(min_size=1, max_size=3))):
        with pytest.raises(DecodeError):
            examine_value(bytes(broken))
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    agrees_with_decoding(bytes(raw))


@given(st.lists(st.sampled_from([bytes([tag]) for tag in range(16)]) | st.binary(max_size=6)).map(b"".join))
def test_arbitrary_bytes_have_the_structure_that_decoding_finds(raw: bytes) -> None:
    agrees_with_decoding(raw)


@given(value=printed, data=st.data())
def test_what_is_remembered_is_what_would_be_found_again(value: cl.Value, data: st.DataObject) -> None:
    examine = examine_value
    structures = Structures(examine)
    raw = cl.encode(value)
    assert structures.found("", raw) == examine(raw)[0]
    damaged = bytearray(raw)
    for _ in range(data.draw(st.integers(0, 3))):
        damaged[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    other = bytes(damaged)
    expected = refusal_of(examine, other)
    if expected is None:
        assert structures.found("", other) == examine(other)[0]
    else:
        assert str(refusal_of(lambda raw: structures.found("", raw), other)) == str(expected)


@given(st.lists(values, max_size=4), st.binary(max_size=2))
def test_arguments_end_where_the_last_of_them_does(arguments: list[cl.Value], more: bytes) -> None:
    raw = len(arguments).to_bytes(4, "big") + b"".join(map(cl.encode, arguments))
    assert skip_arguments(raw + more, 0, []) == len(raw)


@pytest.mark.parametrize("depth", [31, 32])
@pytest.mark.parametrize("innermost", [cl.UInt(1), cl.NONE, cl.List([]), cl.Tuple({"a": cl.TRUE})])
def test_depth_is_limited_as_in_decoding(depth: int, innermost: cl.Value) -> None:
    raw = b"\x0a" * (depth - 1) + cl.encode(innermost)
    agrees_with_decoding(raw)


def test_structures_are_remembered_within_bounds() -> None:
    examined = 0

    def examine(raw: bytes) -> tuple[int, list[tuple[int, int]]]:
        nonlocal examined
        examined += 1
        return raw[0], []

    structures = Structures(examine)
    for number in (*range(20), *range(20)):
        assert structures.found("a", bytes((number,))) == number
    assert examined == 20
    long = bytes(5000)
    assert (structures.found("a", long), structures.found("a", long)) == (0, 0)
    assert examined == 22


def test_of_each_owner_and_length_few_structures_are_remembered() -> None:
    examined = 0

    def examine(raw: bytes) -> tuple[int, list[tuple[int, int]]]:
        nonlocal examined
        examined += 1
        return raw[0], [(raw[0] + 1, len(raw))]

    structures = Structures(examine)
    for number in range(20):
        assert structures.found("a", bytes((number, *range(39)))) == number
    assert structures.found("a", bytes((19, *range(39)))) == 19
    assert structures.found("b", bytes((19, *range(39)))) == 19
    assert examined == 21
    assert structures.found("a", bytes((0, *range(39)))) == 0
    assert examined == 22


@given(accounts)
def test_addresses_come_back(account: cl.StandardPrincipal) -> None:
    assert decode_address(str(account)) == (account.version, account.hash160)
    assert cl.principal(str(account)) == account


@given(accounts, st.data())
def test_a_mistyped_character_is_noticed(account: cl.StandardPrincipal, data: st.DataObject) -> None:
    address = encode_address(account.version, account.hash160)
    place = data.draw(st.integers(1, len(address) - 1))
    other = data.draw(st.sampled_from("0123456789ABCDEFGHJKMNPQRSTVWXYZ").filter(lambda c: c != address[place]))
    with pytest.raises(AddressError):
        decode_address(address[:place] + other + address[place + 1 :])


@given(st.text(max_size=45))
def test_arbitrary_text_is_refused_as_an_address(text: str) -> None:
    with pytest.raises(AddressError):
        decode_address(text)


signatures = st.binary(min_size=65, max_size=65)
public_keys = st.binary(min_size=32, max_size=32).map(lambda key: b"\x03" + key)
call_arguments = st.lists(values, max_size=3).map(tuple)
subjects = st.just(ORIGIN) | principals
assets = st.builds(Asset, contracts, clarity_names)
post_conditions = st.one_of(
    st.builds(StxPostCondition, subjects, st.sampled_from(AmountCode), u64),
    st.builds(FtPostCondition, subjects, assets, st.sampled_from(AmountCode), u64),
    st.builds(NftPostCondition, subjects, assets, values, st.sampled_from(NftCode)),
    st.builds(StakingPostCondition, subjects, st.sampled_from(AmountCode), u64),
    st.builds(PoxPostCondition, subjects, st.sampled_from(PoxCode)),
)
coinbase_data = st.binary(min_size=COINBASE_LENGTH, max_size=COINBASE_LENGTH)
ids = st.binary(min_size=32, max_size=32)
microblocks = st.builds(MicroblockHeader, st.integers(0, 255), st.integers(0, 65535), ids, ids, signatures)
payloads = st.one_of(
    st.builds(TokenTransfer, principals, u64, st.binary(min_size=MEMO_LENGTH, max_size=MEMO_LENGTH)),
    st.builds(ContractCall, contracts, clarity_names, call_arguments),
    st.builds(
        SmartContract,
        contract_names,
        st.text(st.sampled_from("\t\n" + "".join(map(chr, range(0x20, 0x7F)))), max_size=80),
        st.none() | st.integers(1, MAX_CLARITY_VERSION),
    ),
    st.builds(PoisonMicroblock, microblocks, microblocks),
    st.builds(Coinbase, coinbase_data),
    st.builds(CoinbaseToAltRecipient, coinbase_data, principals),
    st.builds(
        NakamotoCoinbase,
        coinbase_data,
        st.none() | principals,
        st.binary(min_size=VRF_PROOF_LENGTH, max_size=VRF_PROOF_LENGTH),
    ),
    st.builds(
        TenureChange,
        hashes,
        hashes,
        hashes,
        ids,
        st.integers(0, 2**32 - 1),
        st.sampled_from(TenureChangeCause),
        hashes,
    ),
)


@st.composite
def conditions(draw: st.DrawFn) -> SingleSig | MultiSig:
    mode = draw(st.sampled_from(HashMode))
    encodings = st.just(KeyEncoding.COMPRESSED) if mode.is_segwit else st.sampled_from(KeyEncoding)
    if not mode.is_multisig:
        return draw(st.builds(SingleSig, st.just(mode), hashes, u64, u64, encodings, signatures))
    fields = st.builds(SignatureField, encodings, signatures) | st.builds(PublicKeyField, encodings, public_keys)
    several = st.lists(fields, max_size=4).map(tuple)
    return draw(st.builds(MultiSig, st.just(mode), hashes, u64, u64, several, st.integers(0, 65535)))


transactions = st.builds(
    Transaction,
    st.sampled_from(Network),
    st.integers(0, 2**32 - 1),
    st.builds(Authorization, conditions(), st.none() | conditions()),
    payloads,
    st.lists(post_conditions, max_size=3).map(tuple),
    st.sampled_from(PostConditionMode),
    st.sampled_from(AnchorMode),
)


@given(transactions)
def test_transactions_come_back(transaction: Transaction) -> None:
    assert decode_transaction(transaction.encode()) == transaction


@given(transactions, st.data())
def test_damaged_transactions_are_refused_or_are_other_transactions(transaction: Transaction, data: Any) -> None:
    raw = bytearray(transaction.encode())
    with pytest.raises(CodecError):
        decode_transaction(bytes(raw[: data.draw(st.integers(0, len(raw) - 1))]))
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    damaged = bytes(raw)
    try:
        read = decode_transaction(damaged)
    except CodecError:
        return
    assert read != transaction
    assert read.encode() == damaged
    # Random signatures and keys belong to nobody; checking them must not fail in any other way.
    with pytest.raises(SignatureError):
        verify(read)


simple_transactions = st.builds(
    Transaction,
    st.sampled_from(Network),
    st.integers(0, 2**32 - 1),
    st.builds(
        Authorization,
        st.builds(SingleSig, st.just(HashMode.P2PKH), hashes, u64, u64, st.sampled_from(KeyEncoding), signatures),
    ),
    st.one_of(
        st.builds(TokenTransfer, principals, u64, st.binary(min_size=MEMO_LENGTH, max_size=MEMO_LENGTH)),
        st.builds(ContractCall, contracts, clarity_names, call_arguments),
    ),
    st.lists(
        st.builds(StxPostCondition, subjects, st.sampled_from(AmountCode), u64)
        | st.builds(FtPostCondition, subjects, assets, st.sampled_from(AmountCode), u64),
        max_size=3,
    ).map(tuple),
    st.sampled_from(PostConditionMode),
    st.sampled_from(AnchorMode),
)


def decoded_in_full(raw: bytes) -> Summary:
    read = decode_transaction(raw)
    contract = function = None
    if isinstance(read.payload, ContractCall):
        contract, function = str(read.payload.contract), read.payload.function
    return Summary(read.payload.kind, str(read.sender), read.nonce, read.fee, contract, function)


@given(simple_transactions)
def test_simple_transactions_are_summarised_as_decoding_them_in_full_does(transaction: Transaction) -> None:
    raw = transaction.encode()
    assert summarise(raw) == decoded_in_full(raw)


@given(simple_transactions | transactions, st.data())
def test_what_is_summarised_is_a_valid_transaction_and_says_the_same(transaction: Transaction, data: Any) -> None:
    raw = bytearray(transaction.encode())
    place = data.draw(st.integers(0, len(raw) - 1))
    raw[place] ^= data.draw(st.integers(0, 255))
    damaged = bytes(raw[: data.draw(st.sampled_from([len(raw), place]))])
    summarise(transaction.encode())  # which is remembered
    summary = summarise(damaged)
    if summary is None:
        return
    undecodable = refusal_of(decode_transaction, damaged)
    if undecodable is None:
        assert summary == decoded_in_full(damaged)
    else:
        assert summary.kind == ContractCall.kind
        assert undecodable.expected in TEXT_RULES


private_keys = st.builds(
    PrivateKey, st.builds(lambda key, tail: key + tail, ids.filter(any), st.sampled_from([b"", b"\x01"]))
)


@given(private_keys, payloads, u64, u64, st.sampled_from(Network))
@settings(max_examples=50)
def test_signed_transactions_prove_their_signer(
    key: PrivateKey, payload: Any, nonce: int, fee: int, network: Network
) -> None:
    made = signed_transaction(payload, key, nonce=nonce, fee=fee, network=network)
    assert verify(decode_transaction(made.encode())).origin == key.address(network)
    dearer = replace(made.authorization.origin, fee=fee ^ 1)
    with pytest.raises(SignatureError):
        verify(replace(made, authorization=Authorization(dearer)))


@given(
    st.lists(st.integers(1, 2**128), min_size=1, max_size=6, unique=True),
    st.sampled_from([mode for mode in HashMode if mode.is_multisig]),
    st.data(),
)
@settings(max_examples=50)
def test_shared_accounts_sign_with_any_sufficient_keys(numbers: list[int], mode: HashMode, data: Any) -> None:
    keys = [PrivateKey(number.to_bytes(32, "big") + b"\x01") for number in numbers]
    known = [key.public_key for key in keys]
    required = data.draw(st.integers(1, len(keys)))
    signing = data.draw(st.permutations(keys))[:required]
    account = multi_sig(known, required, nonce=0, fee=0, hash_mode=mode)
    payload = TokenTransfer(cl.StandardPrincipal(26, bytes(20)), 1)
    made = unsigned_transaction(payload, account, network=Network.TESTNET)
    turns = sorted(signing, key=lambda key: known.index(key.public_key)) if mode.is_sequential else signing
    for key in turns:
        with pytest.raises(SignatureError):
            verify(made)
        made = decode_transaction(sign_multisig(made, known, [key]).encode())
    assert verify(made).origin.hash160 == account.signer
