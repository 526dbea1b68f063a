"""What a signer and its client say to each other: one JSON object a line. docs/signers.md is the specification."""

from __future__ import annotations

from enum import StrEnum
from typing import Final, TypeAlias

import msgspec
from msgspec import Struct

VERSION: Final = 1
MAX_LINE_BYTES: Final = 5 << 20
"""A line, its newline included. The largest Stacks transaction is 2 MiB, twice that in hexadecimal."""


class ErrorCode(StrEnum):
    """Why a request was not carried out."""

    REFUSED = "refused"
    """A limit forbids it; ``limit`` names it. The same request is refused again until something changes."""
    BAD_REQUEST = "bad_request"
    """The line is no request, or what it carries cannot be decoded."""
    UNSUPPORTED = "unsupported"
    """The signer does not know this method or version."""
    FAILED = "failed"
    """The signer could not do it for a reason of its own. Trying again may help."""


class Purpose(Struct, frozen=True):
    """What a signature is for, for the signer's log. A signer does not believe it."""

    job: str
    lane: str
    intents: tuple[str, ...]


class Hello(Struct, frozen=True, tag_field="method", tag="hello"):
    """Asks who the signer is. ``version`` is the highest that the client speaks."""

    id: int
    version: int


class SignStacks(Struct, frozen=True, tag_field="method", tag="sign-stacks"):
    """Asks for an unsigned transaction, in hexadecimal, to be signed."""

    id: int
    transaction: str
    purpose: Purpose | None = None


class SignBitcoin(Struct, frozen=True, tag_field="method", tag="sign-bitcoin"):
    """Asks for the signer's inputs of a PSBT (BIP-174, in base64 on the wire) to be signed."""

    id: int
    psbt: bytes
    purpose: Purpose | None = None


Request: TypeAlias = Hello | SignStacks | SignBitcoin


class Identity(Struct, frozen=True):
    """Who a signer is.

    ``chain``: ``stacks`` or ``bitcoin``. ``public_key`` in hexadecimal: on Stacks as its address hashes it (33 or 65
    bytes), on Bitcoin compressed. ``address``: of that key on the signer's network; on Bitcoin its taproot address.
    """

    version: int
    name: str
    chain: str
    address: str
    public_key: str


class SignedStacks(Struct, frozen=True):
    """The signed transaction in hexadecimal."""

    transaction: str


class SignedBitcoin(Struct, frozen=True):
    """The PSBT with the signer's signatures."""

    psbt: bytes


class Failure(Struct, frozen=True, omit_defaults=True):
    """Why not, in a code for programs and a sentence for people."""

    code: str
    message: str
    limit: str | None = None


class Response(Struct, frozen=True, omit_defaults=True):
    """The answer to the request of this id (None where it could not be read): a result or an error."""

    id: int | None
    result: msgspec.Raw = msgspec.Raw()
    error: Failure | None = None


class _Envelope(Struct):
    id: int | None = None
    method: str | None = None


_requests: Final[msgspec.json.Decoder[Request]] = msgspec.json.Decoder(Request)
_envelopes: Final = msgspec.json.Decoder(_Envelope)
_METHODS: Final = frozenset({"hello", "sign-stacks", "sign-bitcoin"})


class BadRequestError(Exception):
    """A line is no request. ``id`` is the request's where it could be read."""

    def __init__(self, request: int | None, code: ErrorCode, message: str) -> None:
        super().__init__(message)
        self.id = request
        self.code = code


def decode_request(line: bytes) -> Request:
    """The request in a line. Raises `BadRequestError`."""
    try:
        return _requests.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        problem = str(error)
    try:
        envelope = _envelopes.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise BadRequestError(None, ErrorCode.BAD_REQUEST, problem) from None
    if envelope.method is not None and envelope.method not in _METHODS:
        known = ", ".join(sorted(_METHODS))
        raise BadRequestError(
            envelope.id, ErrorCode.UNSUPPORTED, f"unknown method {envelope.method[:40]!r}; there are: {known}"
        )
    raise BadRequestError(envelope.id, ErrorCode.BAD_REQUEST, problem)


def encode_result(request: int, result: Struct) -> bytes:
    """The line that answers a request."""
    return encode_line(Response(request, msgspec.Raw(msgspec.json.encode(result))))


def encode_failure(request: int | None, code: ErrorCode, message: str, limit: str | None = None) -> bytes:
    """The line that says why a request was not carried out."""
    return encode_line(Response(request, error=Failure(code, message, limit)))


def encode_line(message: Struct) -> bytes:
    """A message as the line that is sent."""
    return msgspec.json.encode(message) + b"\n"
