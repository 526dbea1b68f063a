import pytest

from clarion.chains.stacks.c32 import decode_address, encode_address
from clarion.chains.stacks.codec_errors import AddressError

# Boot addresses every Stacks network is born with: a hash of zeros.
ZERO = "SP000000000000000000002Q6VF78"
ZERO_TESTNET = "ST000000000000000000002AMW42H"


def test_zero_addresses() -> None:
    assert encode_address(22, bytes(20)) == ZERO
    assert encode_address(26, bytes(20)) == ZERO_TESTNET
    assert decode_address(ZERO) == (22, bytes(20))


def test_look_alike_letters_and_lower_case_are_read() -> None:
    mangled = ZERO.replace("0", "o").lower()
    assert decode_address(mangled) == (22, bytes(20))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not a Stacks address"),
        ("S", "not a Stacks address"),
        ("bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq", "not a Stacks address"),
        ("SP000000000000000000002Q6VF7U", "holds 'U'"),
        ("SP000000000000000000002Q6VF79", "checksum"),
        ("SP00000000000000000002Q6VF78", "length"),
        ("SP0000000000000000000002Q6VF78", "length"),
        ("ST000000000000000000002Q6VF78", "checksum"),
        ("SP" + "Z" * 39, "longer than 24 bytes"),
        ("SP" + "0" * 500, "not a Stacks address"),
        ("\uff33P000000000000000000002Q6VF78", "not a Stacks address"),
    ],
)
def test_what_is_not_an_address_is_refused(text: str, reason: str) -> None:
    with pytest.raises(AddressError, match=reason):
        decode_address(text)


@pytest.mark.parametrize(("version", "length"), [(32, 20), (-1, 20), (22, 19), (22, 21)])
def test_what_cannot_be_an_address_is_not_written(version: int, length: int) -> None:
    with pytest.raises(AddressError):
        encode_address(version, bytes(length))
