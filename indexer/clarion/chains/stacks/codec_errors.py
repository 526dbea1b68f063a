"""What the Stacks codec raises. Every error is a ``ValueError``, so bad input can be caught as one."""


class CodecError(ValueError):
    """Base of every error the codec raises."""


class DecodeError(CodecError):
    """The bytes do not have the format that was asked for.

    ``offset`` is the position in the input, in bytes, where the mismatch was found; ``expected`` says what the
    format wants there.
    """

    def __init__(self, expected: str, offset: int, found: str = "") -> None:
        self.expected = expected
        self.offset = offset
        detail = f", found {found}" if found else ""
        super().__init__(f"at byte {offset}: expected {expected}{detail}")

    def __reduce__(self) -> tuple[type["DecodeError"], tuple[str, int], dict[str, object]]:
        return (DecodeError, (self.expected, self.offset), {"args": self.args})


class EncodeError(CodecError):
    """A value cannot be expressed in the format: out of range, too long, too deep or of the wrong type."""


class AddressError(CodecError):
    """The text is not a Stacks address or principal, or its checksum does not match."""


class SignatureError(CodecError):
    """A key or signature is malformed, or the signature was not made by the signer it claims."""
