"""Errors of Bitcoin Core's RPC interface (``rpc/protocol.h``)."""

from __future__ import annotations

from enum import IntEnum


class Code(IntEnum):
    """What kind of error it is."""

    PARSE_ERROR = -32700
    INVALID_REQUEST = -32600
    METHOD_NOT_FOUND = -32601
    MISC = -1
    TYPE = -3
    INVALID_ADDRESS_OR_KEY = -5
    INVALID_PARAMETER = -8
    DESERIALIZATION = -22
    VERIFY = -25
    VERIFY_REJECTED = -26
    VERIFY_ALREADY_IN_UTXO_SET = -27


class RpcError(Exception):
    """What a caller is answered."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
