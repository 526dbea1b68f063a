"""Signatures from processes that hold the keys: the keeper's own process never has one.

`open_signer` gives a `Signer` for a URL; `clarion_keeper.signers.accounts` opens those of the settings. docs/signers.md
describes the sources of keys, the limits and the protocol.
"""

from clarion_keeper.signers.client import Signer, open_signer
from clarion_keeper.signers.errors import (
    SignerError,
    SignerProtocolError,
    SignerUnavailableError,
    SigningRefusedError,
)
from clarion_keeper.signers.protocol import Purpose

__all__ = [
    "Purpose",
    "Signer",
    "SignerError",
    "SignerProtocolError",
    "SignerUnavailableError",
    "SigningRefusedError",
    "open_signer",
]
