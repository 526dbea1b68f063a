import itertools
import pickle

import pytest
from msgspec.structs import replace

from clarion.chains.stacks import clarity as cl
from clarion.chains.stacks.authorization import Authorization, HashMode, KeyEncoding, MultiSig, SingleSig
from clarion.chains.stacks.codec_errors import AddressError, SignatureError
from clarion.chains.stacks.keys import (
    PrivateKey,
    address_of_public_key,
    address_of_public_keys,
    encoding_of_public_key,
    format_public_key,
    recover_public_key,
    signer_hash,
)
from clarion.chains.stacks.messages import (
    hash_structured_data,
    recover_message_signer,
    sign_message,
    structured_data_domain,
    verify_message,
)
from clarion.chains.stacks.networks import Network
from clarion.chains.stacks.payloads import TokenTransfer
from clarion.chains.stacks.signing import (
    multi_sig,
    sign,
    sign_as_sponsor,
    sign_multisig,
    sign_multisig_as_sponsor,
    signed_transaction,
    single_sig,
    unsigned_transaction,
    verify,
)
from clarion.chains.stacks.transactions import Transaction, decode_transaction

SECRET = "edf9aee84d9b7abc145504dde6726c64f369d37ee34ded868fabd876c26570bc01"
KEY = PrivateKey.from_hex(SECRET)
KEYS = [PrivateKey(bytes([number]) * 32 + b"\x01") for number in range(1, 5)]
LONG_KEYS = [PrivateKey(bytes([number]) * 32) for number in range(1, 4)]
PUBLIC_KEYS = [key.public_key for key in KEYS]
TRANSFER = TokenTransfer(cl.principal("ST000000000000000000002AMW42H"), 5)
MULTISIG_MODES = [mode for mode in HashMode if mode.is_multisig]
CURVE_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


def transfer(sponsored: bool = False) -> Transaction:
    return signed_transaction(TRANSFER, KEY, nonce=1, fee=200, network=Network.TESTNET, sponsored=sponsored)


def shared(mode: HashMode, required: int = 2) -> Transaction:
    account = multi_sig(PUBLIC_KEYS, required, nonce=1, fee=200, hash_mode=mode)
    return unsigned_transaction(TRANSFER, account, network=Network.TESTNET)


def test_a_key_never_shows_itself() -> None:
    for text in (repr(KEY), str(KEY), f"{KEY}", f"{KEY!r}"):
        assert SECRET[:8] not in text
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(KEY)
    assert not hasattr(KEY, "__dict__")


@pytest.mark.parametrize(
    "text",
    ["", "zz" * 32, SECRET[:-2] + "02", SECRET + "01", "00" * 32, f"{CURVE_ORDER:064x}01", SECRET[:-3], "ff" * 33],
)
def test_what_is_no_key_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(SignatureError) as caught:
        PrivateKey.from_hex(text)
    assert not text or text not in str(caught.value)
    assert caught.value.__cause__ is None


def test_keys_say_how_they_are_hashed() -> None:
    compressed, long = PrivateKey.from_hex(SECRET), PrivateKey.from_hex("0x" + SECRET[:64])
    assert (len(compressed.public_key), len(long.public_key)) == (33, 65)
    assert compressed.address(Network.MAINNET) != long.address(Network.MAINNET)
    assert format_public_key(long.public_key, KeyEncoding.COMPRESSED) == compressed.public_key
    assert address_of_public_key(long.public_key, Network.MAINNET) == long.address(Network.MAINNET)


def test_networks_are_known_by_their_addresses() -> None:
    for network in Network:
        assert Network.of_address_version(KEY.address(network).version) is network
        shared_address = address_of_public_keys(PUBLIC_KEYS, 2, network)
        assert Network.of_address_version(shared_address.version) is network
    with pytest.raises(AddressError):
        Network.of_address_version(0)


def test_a_signed_transaction_names_and_proves_its_signer() -> None:
    made = transfer()
    signers = verify(decode_transaction(made.encode()))
    assert (signers.origin, signers.sponsor) == (KEY.address(Network.TESTNET), None)


@pytest.mark.parametrize("part", ["nonce", "fee", "amount", "chain", "signer", "mode"])
def test_any_change_breaks_the_signature(part: str) -> None:
    made = transfer()
    origin = made.authorization.origin
    changed = {
        "nonce": lambda: replace(made, authorization=Authorization(replace(origin, nonce=2))),
        "fee": lambda: replace(made, authorization=Authorization(replace(origin, fee=201))),
        "amount": lambda: replace(made, payload=replace(TRANSFER, amount=6)),
        "chain": lambda: replace(made, chain_id=1),
        "signer": lambda: replace(made, authorization=Authorization(replace(origin, signer=bytes(20)))),
        "mode": lambda: replace(made, authorization=Authorization(replace(origin, hash_mode=HashMode.P2WPKH_P2SH))),
    }[part]()
    with pytest.raises(SignatureError):
        verify(changed)


def test_an_unsigned_transaction_does_not_verify() -> None:
    account = single_sig(KEY.public_key, nonce=0, fee=0)
    with pytest.raises(SignatureError, match="origin has not signed"):
        verify(unsigned_transaction(TRANSFER, account, network=Network.TESTNET))


def test_another_accounts_key_does_not_sign() -> None:
    account = single_sig(KEY.public_key, nonce=0, fee=0)
    unsigned = unsigned_transaction(TRANSFER, account, network=Network.TESTNET)
    with pytest.raises(SignatureError, match="not that of the account"):
        sign(unsigned, KEYS[0])


def test_a_sponsor_pays_and_both_signatures_count() -> None:
    waiting = transfer(sponsored=True)
    with pytest.raises(SignatureError, match="sponsor has not signed"):
        verify(waiting)
    paid = sign_as_sponsor(waiting, KEYS[0], nonce=9, fee=777)
    assert (paid.fee, paid.nonce) == (777, 1)
    signers = verify(paid)
    assert (signers.origin, signers.sponsor) == (KEY.address(Network.TESTNET), KEYS[0].address(Network.TESTNET))
    # The origin's signature does not cover who sponsors it, so another sponsor can take over.
    other = sign_as_sponsor(paid, KEYS[1], nonce=0, fee=778)
    assert verify(other).sponsor == KEYS[1].address(Network.TESTNET)
    sponsor = other.authorization.sponsor
    assert isinstance(sponsor, SingleSig)
    dearer = replace(other, authorization=replace(other.authorization, sponsor=replace(sponsor, fee=779)))
    with pytest.raises(SignatureError, match="sponsor"):
        verify(dearer)


def test_nobody_sponsors_what_did_not_ask_for_it_or_is_not_signed() -> None:
    with pytest.raises(SignatureError, match="not sponsored"):
        sign_as_sponsor(transfer(), KEYS[0], nonce=0, fee=1)
    account = single_sig(KEY.public_key, nonce=0, fee=0)
    unsigned = unsigned_transaction(TRANSFER, account, network=Network.TESTNET, sponsored=True)
    with pytest.raises(SignatureError, match="origin has not signed"):
        sign_as_sponsor(unsigned, KEYS[0], nonce=0, fee=1)


@pytest.mark.parametrize("mode", MULTISIG_MODES)
def test_any_two_of_four_keys_sign(mode: HashMode) -> None:
    expected = address_of_public_keys(PUBLIC_KEYS, 2, Network.TESTNET, mode)
    for pair in itertools.combinations(KEYS, 2):
        made = sign_multisig(shared(mode), PUBLIC_KEYS, pair)
        assert verify(decode_transaction(made.encode())).origin == expected


@pytest.mark.parametrize("mode", MULTISIG_MODES)
def test_signers_take_turns(mode: HashMode) -> None:
    first = sign_multisig(shared(mode), PUBLIC_KEYS, [KEYS[1]])
    with pytest.raises(SignatureError, match="needs 2 signatures, found 1"):
        verify(first)
    # What one signer sends the next is bytes.
    second = sign_multisig(decode_transaction(first.encode()), PUBLIC_KEYS, [KEYS[3]])
    assert second == sign_multisig(shared(mode), PUBLIC_KEYS, [KEYS[1], KEYS[3]])
    assert verify(second)


def test_order_matters_in_sequential_modes_only() -> None:
    for mode in MULTISIG_MODES:
        last = sign_multisig(shared(mode), PUBLIC_KEYS, [KEYS[3]])
        if mode.is_sequential:
            with pytest.raises(SignatureError, match="cannot sign before"):
                sign_multisig(last, PUBLIC_KEYS, [KEYS[0]])
        else:
            assert verify(sign_multisig(last, PUBLIC_KEYS, [KEYS[0]]))


def test_surplus_signatures_are_allowed_in_non_sequential_modes_only() -> None:
    for mode in MULTISIG_MODES:
        made = sign_multisig(shared(mode), PUBLIC_KEYS, KEYS[:3])
        if mode.is_sequential:
            with pytest.raises(SignatureError, match="needs 2 signatures, found 3"):
                verify(made)
        else:
            assert verify(made)


@pytest.mark.parametrize("mode", [HashMode.P2SH, HashMode.P2SH_NON_SEQUENTIAL])
def test_uncompressed_keys_share_accounts(mode: HashMode) -> None:
    public_keys = [key.public_key for key in LONG_KEYS]
    account = multi_sig(public_keys, 2, nonce=0, fee=0, hash_mode=mode)
    unsigned = unsigned_transaction(TRANSFER, account, network=Network.TESTNET)
    made = sign_multisig(unsigned, public_keys, [LONG_KEYS[0], LONG_KEYS[2]])
    assert verify(decode_transaction(made.encode())).origin == address_of_public_keys(
        public_keys, 2, Network.TESTNET, mode
    )


def test_segwit_accounts_take_compressed_keys_only() -> None:
    public_keys = [key.public_key for key in LONG_KEYS]
    for mode in HashMode:
        if mode.is_segwit:
            keys = public_keys if mode.is_multisig else public_keys[:1]
            with pytest.raises(SignatureError, match="compressed keys only"):
                signer_hash(mode, keys, 1)


def test_several_keys_can_sponsor() -> None:
    account = multi_sig(PUBLIC_KEYS, 2, nonce=3, fee=900)
    half = sign_multisig_as_sponsor(transfer(sponsored=True), account, PUBLIC_KEYS, [KEYS[3]])
    with pytest.raises(SignatureError, match="sponsor needs 2"):
        verify(half)
    waiting = half.authorization.sponsor
    assert isinstance(waiting, MultiSig)
    paid = sign_multisig_as_sponsor(half, waiting, PUBLIC_KEYS, [KEYS[0]])
    assert verify(paid).sponsor == address_of_public_keys(PUBLIC_KEYS, 2, Network.TESTNET, HashMode.P2SH_NON_SEQUENTIAL)


def test_wrong_keys_do_not_sign_for_a_shared_account() -> None:
    unsigned = shared(HashMode.P2SH)
    with pytest.raises(SignatureError, match="in this order"):
        sign_multisig(unsigned, PUBLIC_KEYS[::-1], KEYS)
    with pytest.raises(SignatureError, match="not among"):
        sign_multisig(unsigned, PUBLIC_KEYS, [KEY])
    with pytest.raises(SignatureError, match="use sign_multisig"):
        sign(unsigned, KEYS[0])
    with pytest.raises(SignatureError, match="use sign"):
        sign_multisig(transfer(), PUBLIC_KEYS, KEYS)


@pytest.mark.parametrize(("keys", "required"), [(0, 0), (1, 0), (2, 3), (16, 1)])
def test_shared_accounts_have_limits(keys: int, required: int) -> None:
    with pytest.raises(SignatureError, match="multisig takes"):
        signer_hash(HashMode.P2SH, [PUBLIC_KEYS[0]] * keys, required)


def test_single_key_accounts_take_one_key() -> None:
    with pytest.raises(SignatureError, match="takes one key"):
        signer_hash(HashMode.P2PKH, PUBLIC_KEYS, 1)


@pytest.mark.parametrize("key", [b"", bytes(33), b"\x04" + bytes(32), b"\x02" + bytes(64)])
def test_what_is_no_public_key_is_refused(key: bytes) -> None:
    with pytest.raises(SignatureError):
        encoding_of_public_key(key)
    with pytest.raises(SignatureError):
        format_public_key(key, KeyEncoding.COMPRESSED)


def test_malformed_and_malleable_signatures_are_refused() -> None:
    digest = bytes(range(32))
    signature = KEY.sign_digest(digest)
    assert recover_public_key(digest, signature, KeyEncoding.COMPRESSED) == KEY.public_key
    s = int.from_bytes(signature[33:], "big")
    high = bytes([signature[0] ^ 1]) + signature[1:33] + (CURVE_ORDER - s).to_bytes(32, "big")
    wrong = {
        "high S": high,
        "65 bytes": signature[:-1],
        "recovery id": b"\x04" + signature[1:],
        "no public key fits": b"\x00" + bytes(64),
    }
    for reason, bad in wrong.items():
        with pytest.raises(SignatureError, match=reason):
            recover_public_key(digest, bad, KeyEncoding.COMPRESSED)


def test_messages_are_checked_against_an_address() -> None:
    signature = sign_message("hello", KEY)
    for network in Network:
        assert verify_message("hello", signature, str(KEY.address(network)))
        assert recover_message_signer(b"hello", signature, network) == KEY.address(network)
    assert not verify_message("hello", signature, str(KEYS[0].address(Network.TESTNET)))
    assert not verify_message("hello", signature[:-1], str(KEY.address(Network.TESTNET)))
    assert not verify_message("hello", signature, "nobody")
    assert not verify_message("hello", signature, f"{KEY.address(Network.TESTNET)}.contract")
    with pytest.raises(SignatureError):
        recover_message_signer("hello", signature + b"\x00", Network.TESTNET)


def test_messages_signed_with_an_uncompressed_key_are_checked() -> None:
    key = LONG_KEYS[0]
    assert verify_message("hello", sign_message("hello", key), str(key.address(Network.TESTNET)))


def test_a_structured_message_needs_a_whole_domain() -> None:
    domain = structured_data_domain("app", "1", 1)
    for key in domain:
        rest = cl.Tuple({name: field for name, field in domain.fields.items() if name != key})
        with pytest.raises(ValueError, match=key):
            hash_structured_data(rest, cl.TRUE)
        with pytest.raises(ValueError, match=key):
            hash_structured_data(cl.Tuple({**domain.fields, key: cl.NONE}), cl.TRUE)
