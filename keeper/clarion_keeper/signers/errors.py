"""What signing raises."""

from __future__ import annotations

from typing import Final

MAX_HOURLY: Final = "max_hourly"
"""The limit of all that is signed within an hour. It refuses everything alike, until some comes free."""


class SignerError(Exception):
    """A signer did not give a signature."""


class SigningRefusedError(SignerError):
    """The signer will not sign this. ``limit`` names the limit that forbids it, as settings and docs/signers.md do."""

    def __init__(self, limit: str, message: str) -> None:
        super().__init__(message)
        self.limit = limit


class SignerUnavailableError(SignerError):
    """The signer cannot be reached, has no key or did not answer in time. It may pass: try again later."""


class SignerProtocolError(SignerError):
    """The signer does not keep to the protocol, is another one than before, or signed something else."""


class KeySourceError(Exception):
    """There is no usable key where one was said to be. The message never holds any of what was found there."""
