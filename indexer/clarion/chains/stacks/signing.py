"""Building, signing and verifying transactions (SIP-005; order-independent multisig: SIP-027).

Most callers need two functions: ``signed_transaction`` and ``verify``.

A signature covers the transaction with an emptied authorization, then the fee and nonce of whoever signs; in
sequential multisig also the signature before it, and a sponsor's also the origin's. So a changed fee or nonce takes
new signatures.
"""

from collections.abc import Iterable, Sequence

from msgspec import Struct
from msgspec.structs import replace

from clarion.chains.stacks.authorization import (
    EMPTY_SIGNATURE,
    AuthField,
    Authorization,
    AuthType,
    HashMode,
    KeyEncoding,
    MultiSig,
    PublicKeyField,
    SignatureField,
    SingleSig,
    SpendingCondition,
)
from clarion.chains.stacks.clarity import StandardPrincipal
from clarion.chains.stacks.codec_errors import SignatureError
from clarion.chains.stacks.hashing import sha512_256
from clarion.chains.stacks.keys import (
    PrivateKey,
    encoding_of_public_key,
    format_public_key,
    recover_public_key,
    signer_hash,
)
from clarion.chains.stacks.networks import Network
from clarion.chains.stacks.payloads import Payload
from clarion.chains.stacks.post_conditions import PostCondition, PostConditionMode
from clarion.chains.stacks.transactions import Transaction, signer_address
from clarion.chains.stacks.wire import unsigned

_NO_SPONSOR_YET = SingleSig(HashMode.P2PKH, bytes(20), 0, 0)
"""What the origin of a sponsored transaction signs in place of the sponsor."""


class Signers(Struct, frozen=True):
    """Whose signatures a transaction carries."""

    origin: StandardPrincipal
    sponsor: StandardPrincipal | None


def single_sig(public_key: bytes, *, nonce: int, fee: int, hash_mode: HashMode = HashMode.P2PKH) -> SingleSig:
    """An unsigned spending condition for one key. ``fee`` in micro-STX."""
    signer = signer_hash(hash_mode, (public_key,), 1)
    return SingleSig(hash_mode, signer, nonce, fee, encoding_of_public_key(public_key))


def multi_sig(
    public_keys: Sequence[bytes],
    signatures_required: int,
    *,
    nonce: int,
    fee: int,
    hash_mode: HashMode = HashMode.P2SH_NON_SEQUENTIAL,
) -> MultiSig:
    """An unsigned spending condition for several keys, whose order is part of the address. ``fee`` in micro-STX."""
    signer = signer_hash(hash_mode, public_keys, signatures_required)
    return MultiSig(hash_mode, signer, nonce, fee, (), signatures_required)


def unsigned_transaction(
    payload: Payload,
    origin: SpendingCondition,
    *,
    network: Network,
    post_conditions: Iterable[PostCondition] = (),
    post_condition_mode: PostConditionMode = PostConditionMode.DENY,
    sponsored: bool = False,
    chain_id: int | None = None,
) -> Transaction:
    """A transaction to sign. ``sponsored`` leaves the fee to a sponsor, who signs after the origin."""
    return Transaction(
        network,
        network.chain_id if chain_id is None else chain_id,
        Authorization(origin, _NO_SPONSOR_YET if sponsored else None),
        payload,
        tuple(post_conditions),
        post_condition_mode,
    )


def signed_transaction(
    payload: Payload,
    key: PrivateKey,
    *,
    nonce: int,
    fee: int,
    network: Network,
    post_conditions: Iterable[PostCondition] = (),
    post_condition_mode: PostConditionMode = PostConditionMode.DENY,
    sponsored: bool = False,
    chain_id: int | None = None,
) -> Transaction:
    """A transaction of one key, signed and ready to send (or, if ``sponsored``, for ``sign_as_sponsor``)."""
    transaction = unsigned_transaction(
        payload,
        single_sig(key.public_key, nonce=nonce, fee=fee),
        network=network,
        post_conditions=post_conditions,
        post_condition_mode=post_condition_mode,
        sponsored=sponsored,
        chain_id=chain_id,
    )
    return sign(transaction, key)


def sign(transaction: Transaction, key: PrivateKey) -> Transaction:
    """The transaction signed by the one key of its origin. Raises ``SignatureError`` if it is another key's."""
    origin = transaction.authorization.origin
    if isinstance(origin, MultiSig):
        raise SignatureError("the origin has several keys: use sign_multisig")
    signed = _sign_single(origin, origin_sighash(transaction), AuthType.STANDARD, key)
    return _with_origin(transaction, signed)


def sign_multisig(transaction: Transaction, public_keys: Sequence[bytes], keys: Iterable[PrivateKey]) -> Transaction:
    """The transaction signed by those of its origin's ``public_keys`` whose private keys are given.

    ``public_keys`` are all keys of the address, in its order. Signatures that are there already are kept, so signers
    can take turns: in non-sequential modes in any order, in sequential modes each after the keys before it. Raises
    ``SignatureError`` where the keys do not make the origin's address or would sign out of order.
    """
    origin = transaction.authorization.origin
    if not isinstance(origin, MultiSig):
        raise SignatureError("the origin has one key: use sign")
    signed = _sign_multi(origin, origin_sighash(transaction), AuthType.STANDARD, public_keys, keys)
    return _with_origin(transaction, signed)


def sign_as_sponsor(
    transaction: Transaction, key: PrivateKey, *, nonce: int, fee: int, hash_mode: HashMode = HashMode.P2PKH
) -> Transaction:
    """The sponsored transaction with the sponsor's account, ``nonce`` and ``fee`` (micro-STX) filled in and signed.

    Raises ``SignatureError`` where the origin has not signed, or did not sign for being sponsored.
    """
    sponsor = single_sig(key.public_key, nonce=nonce, fee=fee, hash_mode=hash_mode)
    signed = _sign_single(sponsor, _sponsor_sighash(transaction), AuthType.SPONSORED, key)
    return _with_sponsor(transaction, signed)


def sign_multisig_as_sponsor(
    transaction: Transaction, sponsor: MultiSig, public_keys: Sequence[bytes], keys: Iterable[PrivateKey]
) -> Transaction:
    """As ``sign_as_sponsor``, for a sponsor with several keys; to go on signing, pass the condition signed so far."""
    signed = _sign_multi(sponsor, _sponsor_sighash(transaction), AuthType.SPONSORED, public_keys, keys)
    return _with_sponsor(transaction, signed)


def verify(transaction: Transaction) -> Signers:
    """Check every signature of a transaction as a node does, and give the addresses that signed.

    Raises ``SignatureError`` where a signature is missing, malformed or not the named signer's.
    """
    sighash = _verify(transaction.authorization.origin, origin_sighash(transaction), AuthType.STANDARD)
    sponsor = transaction.authorization.sponsor
    if sponsor is not None:
        _verify(sponsor, sighash, AuthType.SPONSORED)
    network = transaction.network
    return Signers(
        signer_address(transaction.authorization.origin, network),
        None if sponsor is None else signer_address(sponsor, network),
    )


def origin_sighash(transaction: Transaction) -> bytes:
    """The 32 bytes the origin's signatures start from: the id of the transaction with an emptied authorization."""
    sponsor = transaction.authorization.sponsor
    emptied = Authorization(_emptied(transaction.authorization.origin), None if sponsor is None else _NO_SPONSOR_YET)
    return replace(transaction, authorization=emptied).txid


def _emptied(condition: SpendingCondition) -> SpendingCondition:
    if isinstance(condition, SingleSig):
        return replace(condition, nonce=0, fee=0, signature=EMPTY_SIGNATURE)
    return replace(condition, nonce=0, fee=0, fields=())


def _with_origin(transaction: Transaction, origin: SpendingCondition) -> Transaction:
    return replace(transaction, authorization=replace(transaction.authorization, origin=origin))


def _with_sponsor(transaction: Transaction, sponsor: SpendingCondition) -> Transaction:
    return replace(transaction, authorization=replace(transaction.authorization, sponsor=sponsor))


def _sponsor_sighash(transaction: Transaction) -> bytes:
    if transaction.authorization.sponsor is None:
        raise SignatureError("the transaction is not sponsored: its origin pays the fee itself")
    return _verify(transaction.authorization.origin, origin_sighash(transaction), AuthType.STANDARD)


def _digest_to_sign(sighash: bytes, role: AuthType, condition: SpendingCondition) -> bytes:
    fee, nonce = unsigned(condition.fee, 8, "a fee"), unsigned(condition.nonce, 8, "a nonce")
    return sha512_256(sighash + bytes((role,)) + fee + nonce)


def _sighash_after(digest: bytes, key_encoding: KeyEncoding, signature: bytes) -> bytes:
    return sha512_256(digest + bytes((key_encoding,)) + signature)


def _sign_single(condition: SingleSig, sighash: bytes, role: AuthType, key: PrivateKey) -> SingleSig:
    if signer_hash(condition.hash_mode, (key.public_key,), 1) != condition.signer:
        raise SignatureError("the key is not that of the account the transaction names")
    return replace(condition, signature=key.sign_digest(_digest_to_sign(sighash, role, condition)))


def _sign_multi(
    condition: MultiSig,
    sighash: bytes,
    role: AuthType,
    public_keys: Sequence[bytes],
    keys: Iterable[PrivateKey],
) -> MultiSig:
    mode = condition.hash_mode
    if signer_hash(mode, public_keys, condition.signatures_required) != condition.signer:
        raise SignatureError("the public keys, in this order, do not make the account the transaction names")
    by_public_key = {key.public_key: key for key in keys}
    if strangers := by_public_key.keys() - set(public_keys):
        raise SignatureError(f"{len(strangers)} of the given keys are not among the account's public keys")
    present = {place.public_key: place.signature for place in _signatures(condition, sighash, role) if place.signature}
    fields: list[AuthField] = []
    current = sighash
    new_before = False
    for public_key in public_keys:
        digest = _digest_to_sign(current, role, condition)
        encoding = encoding_of_public_key(public_key)
        signature = present.get(public_key)
        if signature is not None and new_before and mode.is_sequential:
            raise SignatureError("in a sequential mode a key cannot sign before one that has signed already")
        if signature is None and public_key in by_public_key:
            signature = by_public_key[public_key].sign_digest(digest)
            new_before = True
        if signature is None:
            fields.append(PublicKeyField(encoding, format_public_key(public_key, KeyEncoding.COMPRESSED)))
        else:
            fields.append(SignatureField(encoding, signature))
            if mode.is_sequential:
                current = _sighash_after(digest, encoding, signature)
    return replace(condition, fields=tuple(fields))


class _Place(Struct, frozen=True):
    """One key of a multisig account as a transaction shows it, and the sighash once its field is counted."""

    public_key: bytes
    signature: bytes | None
    sighash: bytes


def _signatures(condition: MultiSig, sighash: bytes, role: AuthType) -> list[_Place]:
    places = []
    for field in condition.fields:
        if isinstance(field, PublicKeyField):
            places.append(_Place(format_public_key(field.public_key, field.key_encoding), None, sighash))
            continue
        digest = _digest_to_sign(sighash, role, condition)
        public_key = recover_public_key(digest, field.signature, field.key_encoding)
        if condition.hash_mode.is_sequential:
            sighash = _sighash_after(digest, field.key_encoding, field.signature)
        places.append(_Place(public_key, field.signature, sighash))
    return places


def _verify(condition: SpendingCondition, sighash: bytes, role: AuthType) -> bytes:
    if isinstance(condition, SingleSig):
        if condition.signature == EMPTY_SIGNATURE:
            raise SignatureError(f"the {_role_name(role)} has not signed")
        digest = _digest_to_sign(sighash, role, condition)
        public_keys = [recover_public_key(digest, condition.signature, condition.key_encoding)]
        required = 1
        after = _sighash_after(digest, condition.key_encoding, condition.signature)
    else:
        places = _signatures(condition, sighash, role)
        public_keys = [place.public_key for place in places]
        required = condition.signatures_required
        given = sum(place.signature is not None for place in places)
        if given < required or (condition.hash_mode.is_sequential and given != required):
            raise SignatureError(f"the {_role_name(role)} needs {required} signatures, found {given}")
        after = places[-1].sighash if places else sighash
    if signer_hash(condition.hash_mode, public_keys, required) != condition.signer:
        raise SignatureError(f"the signature is not that of the {_role_name(role)} the transaction names")
    return after


def _role_name(role: AuthType) -> str:
    return "origin" if role is AuthType.STANDARD else "sponsor"
