"""Names and passwords in the addresses of servers (``https://user:password@host``), which are never shown.

Whoever asks a server splits its address once: one part is for messages, logs, metrics and records, the other signs in.
"""

from __future__ import annotations

from typing import TypeAlias
from urllib.parse import unquote, urlsplit

Credentials: TypeAlias = tuple[str, str]
"""User and password."""


def split_credentials(url: str) -> tuple[str, Credentials | None]:
    """An address without what signs in to it, and that; None where the address holds nothing of the kind."""
    parts = urlsplit(url)
    signed_in, at, host = parts.netloc.rpartition("@")
    if not at:
        return url, None
    user, _, password = signed_in.partition(":")
    return parts._replace(netloc=host).geturl(), (unquote(user), unquote(password))
