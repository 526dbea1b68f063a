"""The codec and the JavaScript library that wallets use must agree byte for byte, in both directions.

Nothing is stored: the library makes new vectors from a new seed in every run, and the seed is in every failure.
"""

import json
import secrets
from typing import Any

import pytest

from clarion.chains.stacks import clarity as cl
from clarion.chains.stacks.authorization import HashMode, SingleSig, SpendingCondition
from clarion.chains.stacks.c32 import decode_address, encode_address
from clarion.chains.stacks.clarity_forms import to_json, to_python
from clarion.chains.stacks.keys import PrivateKey
from clarion.chains.stacks.messages import (
    hash_structured_data,
    recover_message_signer,
    recover_structured_data_signer,
    sign_message,
    sign_structured_data,
    structured_data_domain,
    verify_message,
    verify_structured_data,
)
from clarion.chains.stacks.networks import Network
from clarion.chains.stacks.payloads import (
    Coinbase,
    CoinbaseToAltRecipient,
    ContractCall,
    NakamotoCoinbase,
    Payload,
    SmartContract,
    TenureChange,
    TenureChangeCause,
    TokenTransfer,
    memo_bytes,
)
from clarion.chains.stacks.post_conditions import (
    ORIGIN,
    AmountCode,
    FtPostCondition,
    NftCode,
    NftPostCondition,
    PostCondition,
    PostConditionMode,
    PoxCode,
    PoxPostCondition,
    StakingPostCondition,
    StxPostCondition,
    asset,
)
from clarion.chains.stacks.signing import (
    multi_sig,
    sign,
    sign_as_sponsor,
    sign_multisig,
    sign_multisig_as_sponsor,
    single_sig,
    unsigned_transaction,
    verify,
)
from clarion.chains.stacks.transactions import Transaction, decode_transaction_hex

from .conftest import AskStacksJs

AMOUNT_CODES = {
    "eq": AmountCode.EQUAL,
    "gt": AmountCode.GREATER,
    "gte": AmountCode.GREATER_OR_EQUAL,
    "lt": AmountCode.LESS,
    "lte": AmountCode.LESS_OR_EQUAL,
}
NFT_CODES = {"sent": NftCode.SENT, "not-sent": NftCode.NOT_SENT, "maybe-sent": NftCode.MAYBE_SENT}
POX_CODES = {
    "will-not-perform": PoxCode.WILL_NOT_PERFORM,
    "may-perform": PoxCode.MAY_PERFORM,
    "will-perform": PoxCode.WILL_PERFORM,
}


@pytest.fixture(scope="module")
def vectors(ask_stacks_js: AskStacksJs) -> dict[str, Any]:
    seed = secrets.token_hex(8)
    print(f"vectors of seed {seed}")
    made: dict[str, Any] = ask_stacks_js("generate", seed)
    return made


def built_value(described: dict[str, Any]) -> cl.Value:
    ((kind, detail),) = described.items()
    match kind:
        case "int":
            return cl.Int(int(detail))
        case "uint":
            return cl.UInt(int(detail))
        case "buffer":
            return cl.Buffer(bytes.fromhex(detail))
        case "bool":
            return cl.Bool(detail)
        case "principal":
            return cl.principal(detail)
        case "ascii":
            return cl.StringAscii(detail)
        case "utf8":
            return cl.StringUtf8(detail)
        case "none":
            return cl.NONE
        case "some":
            return cl.Some(built_value(detail))
        case "ok":
            return cl.Ok(built_value(detail))
        case "err":
            return cl.Err(built_value(detail))
        case "list":
            return cl.List([built_value(entry) for entry in detail])
        case "tuple":
            return cl.Tuple({name: built_value(field) for name, field in detail.items()})
    raise AssertionError(kind)


def built_payload(told: dict[str, Any]) -> Payload:
    match told["kind"]:
        case "token_transfer":
            return TokenTransfer(cl.principal(told["recipient"]), int(told["amount"]), memo_bytes(told["memo"]))
        case "contract_call":
            arguments = tuple(cl.decode_hex(argument) for argument in told["arguments"])
            return ContractCall(cl.contract_principal(told["contract"]), told["function"], arguments)
        case "smart_contract":
            return SmartContract(told["name"], told["source"], told["clarity_version"])
        case "coinbase":
            return Coinbase(bytes.fromhex(told["data"]))
        case "coinbase_to_alt_recipient":
            return CoinbaseToAltRecipient(bytes.fromhex(told["data"]), cl.principal(told["recipient"]))
        case "nakamoto_coinbase":
            recipient = told["recipient"] and cl.principal(told["recipient"])
            return NakamotoCoinbase(bytes.fromhex(told["data"]), recipient, bytes.fromhex(told["vrf_proof"]))
        case "tenure_change":
            return TenureChange(
                bytes.fromhex(told["tenure_consensus_hash"]),
                bytes.fromhex(told["previous_tenure_consensus_hash"]),
                bytes.fromhex(told["burn_view_consensus_hash"]),
                bytes.fromhex(told["previous_tenure_end"]),
                told["previous_tenure_blocks"],
                TenureChangeCause(told["cause"]),
                bytes.fromhex(told["public_key_hash"]),
            )
    raise AssertionError(told["kind"])


def built_condition(told: dict[str, Any]) -> PostCondition:
    subject = ORIGIN if told["address"] == "origin" else cl.principal(told["address"])
    match told["type"]:
        case "stx-postcondition":
            return StxPostCondition(subject, AMOUNT_CODES[told["condition"]], int(told["amount"]))
        case "ft-postcondition":
            code = AMOUNT_CODES[told["condition"]]
            return FtPostCondition(subject, asset(told["asset"]), code, int(told["amount"]))
        case "nft-postcondition":
            token = cl.decode_hex(told["assetId"])
            return NftPostCondition(subject, asset(told["asset"]), token, NFT_CODES[told["condition"]])
        case "staking-postcondition":
            return StakingPostCondition(subject, AMOUNT_CODES[told["condition"]], int(told["amount"]))
        case "pox-postcondition":
            return PoxPostCondition(subject, POX_CODES[told["condition"]])
    raise AssertionError(told["type"])


def signers(told: dict[str, Any]) -> tuple[SpendingCondition, list[PrivateKey], list[PrivateKey]]:
    """The unsigned spending condition of an account, all its keys, and those of them that sign."""
    keys = [PrivateKey.from_hex(key) for key in told["keys"]]
    mode, nonce, fee = HashMode(told["mode"]), int(told["nonce"]), int(told["fee"])
    if not mode.is_multisig:
        return single_sig(keys[0].public_key, nonce=nonce, fee=fee, hash_mode=mode), keys, keys
    public_keys = [key.public_key for key in keys]
    condition = multi_sig(public_keys, told["required"], nonce=nonce, fee=fee, hash_mode=mode)
    return condition, keys, [keys[at] for at in told["signing"]]


def built_transaction(told: dict[str, Any]) -> Transaction:
    condition, keys, signing = signers(told["origin"])
    transaction = unsigned_transaction(
        built_payload(told["payload"]),
        condition,
        network=Network(told["network"]),
        post_conditions=[built_condition(entry) for entry in told["post_conditions"]],
        post_condition_mode=PostConditionMode[told["post_condition_mode"].upper()],
        sponsored=told["sponsor"] is not None,
    )
    if condition.hash_mode.is_multisig:
        transaction = sign_multisig(transaction, [key.public_key for key in keys], signing)
    else:
        transaction = sign(transaction, keys[0])
    return transaction if told["sponsor"] is None else sponsored(transaction, told["sponsor"])


def sponsored(transaction: Transaction, told: dict[str, Any]) -> Transaction:
    condition, keys, signing = signers(told)
    if isinstance(condition, SingleSig):
        return sign_as_sponsor(
            transaction, keys[0], nonce=condition.nonce, fee=condition.fee, hash_mode=condition.hash_mode
        )
    return sign_multisig_as_sponsor(transaction, condition, [key.public_key for key in keys], signing)


def test_keys_make_the_same_addresses(vectors: dict[str, Any]) -> None:
    for vector in vectors["keys"]:
        key = PrivateKey.from_hex(vector["private"])
        assert key.public_key.hex() == vector["public"]
        assert str(key.address(Network.MAINNET)) == vector["mainnet"]
        assert str(key.address(Network.TESTNET)) == vector["testnet"]


def test_addresses_have_the_same_text(vectors: dict[str, Any]) -> None:
    for vector in vectors["addresses"]:
        parts = vector["version"], bytes.fromhex(vector["hash160"])
        assert encode_address(*parts) == vector["address"]
        assert decode_address(vector["address"]) == parts


def test_values_have_the_same_bytes(vectors: dict[str, Any]) -> None:
    kinds = set()
    for vector in vectors["values"]:
        value = built_value(vector["described"])
        assert cl.encode(value).hex() == vector["hex"], vector
        assert cl.decode_hex(vector["hex"]) == value, vector
        kinds.add(type(value))
    assert len(kinds) >= 13


def test_transactions_are_read_and_signed_the_same(vectors: dict[str, Any]) -> None:
    modes, kinds = set(), set()
    for told in vectors["transactions"]:
        transaction = decode_transaction_hex(told["hex"])
        expected = built_transaction(told)
        assert transaction == expected, json.dumps(told)
        assert expected.encode().hex() == told["hex"], json.dumps(told)
        assert expected.txid.hex() == told["txid"]
        assert verify(transaction).origin == transaction.sender
        modes |= {condition["mode"] for condition in (told["origin"], told["sponsor"]) if condition}
        kinds.add(transaction.payload.kind)
    assert modes == {0, 1, 2, 3, 5, 7}
    assert len(kinds) == 7


def test_messages_have_the_same_signatures(vectors: dict[str, Any]) -> None:
    for vector in vectors["messages"]:
        signature = sign_message(vector["message"], PrivateKey.from_hex(vector["private"]))
        assert signature.hex() == vector["signature"]
        signer = recover_message_signer(vector["message"], signature, Network.TESTNET)
        assert str(signer) == vector["address"]
        assert verify_message(vector["message"], signature, vector["address"])
        assert not verify_message(vector["message"] + "!", signature, vector["address"])


def test_structured_data_has_the_same_signatures(vectors: dict[str, Any]) -> None:
    for vector in vectors["structured"]:
        told = vector["domain"]
        domain = structured_data_domain(told["name"], told["version"], told["chain_id"])
        message = cl.decode_hex(vector["message"])
        assert hash_structured_data(domain, message).hex() == vector["hash"]
        signature = sign_structured_data(domain, message, PrivateKey.from_hex(vector["private"]))
        assert signature.hex() == vector["signature"]
        signer = recover_structured_data_signer(domain, message, signature, Network.TESTNET)
        assert str(signer) == vector["address"]
        assert verify_structured_data(domain, message, signature, vector["address"])
        other = structured_data_domain(told["name"], "another", told["chain_id"])
        assert not verify_structured_data(other, message, signature, vector["address"])


def test_the_library_reads_what_the_codec_writes(vectors: dict[str, Any], ask_stacks_js: AskStacksJs) -> None:
    """Values and transactions changed here, so that these bytes never came from the library."""
    values = [cl.encode(changed(built_value(v["described"]))).hex() for v in vectors["values"]]
    transactions = [rebuilt_with_other_nonces(told) for told in vectors["transactions"]]
    answer = ask_stacks_js(
        "check", request={"values": values, "transactions": [made.encode().hex() for made in transactions]}
    )
    assert answer["values"] == values
    for made, read in zip(transactions, answer["transactions"], strict=True):
        assert read == {"hex": made.encode().hex(), "txid": made.txid.hex(), "origin": "verified"}


def changed(value: cl.Value) -> cl.Value:
    return cl.Tuple({"z": cl.List([value, value]), "a-1": cl.Some(value), "m": cl.StringUtf8(f"✓ {to_json(value)}")})


def rebuilt_with_other_nonces(told: dict[str, Any]) -> Transaction:
    other = json.loads(json.dumps(told))
    for account in (other["origin"], other["sponsor"]):
        if account:
            account["nonce"] = str(int(account["nonce"]) // 2 + 1)
    return built_transaction(other)


def test_plain_forms_agree_with_what_was_described(vectors: dict[str, Any]) -> None:
    for vector in vectors["values"]:
        described = vector["described"]
        plain = to_python(built_value(described))
        if "uint" in described:
            assert plain == int(described["uint"])
        if "principal" in described:
            assert plain == described["principal"]
        if "tuple" in described:
            assert set(plain) == set(described["tuple"])
        if "none" in described:
            assert plain is None
