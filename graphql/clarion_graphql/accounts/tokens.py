"""Secrets that callers show: ``clarion_session_ID_SECRET`` and ``clarion_key_ID_SECRET``.

The id finds the row and may be shown to anyone; the secret is 32 random bytes of which only the SHA-256 is kept. A hash
that is slow on purpose would add nothing: nobody guesses 256 bits.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass, field
from typing import Final

from clarion_graphql.accounts.caller import CallerKind

ID_BYTES: Final = 9
SECRET_BYTES: Final = 32
PREFIXES: Final = {CallerKind.SESSION: "clarion_session", CallerKind.API_KEY: "clarion_key"}

_KINDS: Final = {prefix: kind for kind, prefix in PREFIXES.items()}
_FORM: Final = re.compile(r"(clarion_session|clarion_key)_([0-9a-f]{18})_([0-9A-Za-z_-]{43})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Token:
    """A session's token or an API key. Its text and its secret do not show in ``repr``."""

    kind: CallerKind
    id: str
    secret: str = field(repr=False)

    @property
    def text(self) -> str:
        """What the caller sends after ``Bearer``."""
        return f"{PREFIXES[self.kind]}_{self.id}_{self.secret}"

    @property
    def secret_hash(self) -> bytes:
        """SHA-256 of the secret: what is kept of it."""
        return hashlib.sha256(self.secret.encode()).digest()

    def fits(self, secret_hash: bytes) -> bool:
        """Whether this is the token that hash was kept of. Takes the same time however much of it is right."""
        return hmac.compare_digest(self.secret_hash, secret_hash)


def new_token(kind: CallerKind) -> Token:
    """A token nobody has seen."""
    return Token(kind, secrets.token_hex(ID_BYTES), secrets.token_urlsafe(SECRET_BYTES))


def parse_token(text: str) -> Token | None:
    """The token that a text is; None where it has not the form of one."""
    found = _FORM.fullmatch(text)
    return None if found is None else Token(_KINDS[found[1]], found[2], found[3])
