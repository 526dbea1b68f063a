"""The text that a wallet shows and signs to sign in, in the form of EIP-4361 with a Stacks address.

The server keeps nothing for a text that it hands out: its nonce ends with a code that only the server can make, over
everything else that the text says.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

#: How long a text can be signed in with.
VALID_FOR: Final = timedelta(minutes=10)
NONCE_BYTES: Final = 16

_TEMPLATE: Final = """\
{host} wants you to sign in with your Stacks account:
{address}

Sign in to Clarion. This sends no transaction and costs nothing.

Version: 1
Chain ID: {chain_id}
Nonce: {nonce}{code}
Issued At: {issued_at}
Expiration Time: {expires_at}"""
_FORM: Final = re.compile(
    re.escape(_TEMPLATE)
    .replace(r"\{host\}", r"(?P<host>[a-z0-9.:\[\]-]{1,253})")
    .replace(r"\{address\}", r"(?P<address>S[0-9A-Z]{7,40})")
    .replace(r"\{chain_id\}", r"(?P<chain_id>[0-9]{1,10})")
    .replace(r"\{nonce\}\{code\}", r"(?P<nonce>[0-9a-f]{32})(?P<code>[0-9a-f]{32})")
    .replace(r"\{issued_at\}", r"(?P<issued_at>[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z)")
    .replace(r"\{expires_at\}", r"(?P<expires_at>[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z)"),
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class SignInMessage:
    """What a text to be signed says."""

    host: str
    """Host and port of the page that the user signs in on."""
    address: str
    chain_id: int
    nonce: bytes
    issued_at: datetime
    expires_at: datetime

    def text(self, secret: bytes) -> str:
        """The text, with the code that ``secret`` makes for it."""
        return self._with_code(_code(secret, self._with_code("")))

    def _with_code(self, code: str) -> str:
        return _TEMPLATE.format(
            host=self.host,
            address=self.address,
            chain_id=self.chain_id,
            nonce=self.nonce.hex(),
            code=code,
            issued_at=_time_text(self.issued_at),
            expires_at=_time_text(self.expires_at),
        )


def new_message(host: str, address: str, chain_id: int, now: datetime) -> SignInMessage:
    """A text nobody has seen."""
    issued_at = now.astimezone(UTC).replace(microsecond=0)
    return SignInMessage(host, address, chain_id, secrets.token_bytes(NONCE_BYTES), issued_at, issued_at + VALID_FOR)


def read_message(text: str, secret: bytes) -> SignInMessage | None:
    """What a text says; None where it was not made with ``secret``, or was changed since."""
    found = _FORM.fullmatch(text)
    if found is None:
        return None
    try:
        message = SignInMessage(
            found["host"],
            found["address"],
            int(found["chain_id"]),
            bytes.fromhex(found["nonce"]),
            datetime.fromisoformat(found["issued_at"]),
            datetime.fromisoformat(found["expires_at"]),
        )
    except ValueError:  # a time that no clock shows
        return None
    return message if hmac.compare_digest(message.text(secret), text) else None


def _code(secret: bytes, text: str) -> str:
    return hmac.new(secret, text.encode(), hashlib.sha256).hexdigest()[:32]


def _time_text(time: datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")
