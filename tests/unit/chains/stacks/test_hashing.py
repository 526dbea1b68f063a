import hashlib

import pytest

from clarion.chains.stacks import hashing

# From the RIPEMD-160 specification's appendix B.
SPECIFIED = {
    b"": "9c1185a5c5e9fc54612808977ee8f548b2258d31",
    b"a": "0bdc9d2d256b3ee9daae347be6f4dc835a467ffe",
    b"abc": "8eb208f7e05d987a9b044a8e98c6b087f15a0bfc",
    b"message digest": "5d0689ef49d2fae572b881b123a85ffa21595f36",
    b"1234567890" * 8: "9b752e45573d4b39f4dbd3323cab82bf63326bfb",
}


@pytest.mark.parametrize("data", SPECIFIED, ids=repr)
def test_portable_ripemd160_gives_the_specified_hashes(data: bytes) -> None:
    assert hashing.ripemd160_portable(data).hex() == SPECIFIED[data]


def test_portable_ripemd160_pads_every_length() -> None:
    if "ripemd160" not in hashlib.algorithms_available:
        pytest.skip("nothing to compare with: OpenSSL lacks ripemd160 here")
    for length in range(200):
        data = bytes(range(length))
        assert hashing.ripemd160_portable(data) == hashlib.new("ripemd160", data).digest()


def test_the_portable_hash_stands_in_where_openssl_lacks_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def without_ripemd160(name: str, data: bytes = b"") -> object:
        raise ValueError(f"unsupported hash type {name}")

    monkeypatch.setattr(hashlib, "new", without_ripemd160)
    chosen = hashing.choose_ripemd160()
    assert chosen(b"abc").hex() == SPECIFIED[b"abc"]


def test_hash160_and_sha512_256() -> None:
    # The public key 1·G's address hash, and NIST's SHA-512/256 example.
    generator = bytes.fromhex("0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798")
    assert hashing.hash160(generator).hex() == "751e76e8199196d454941c45d1b3a323f1433bd6"
    assert hashing.sha512_256(b"abc").hex() == "53048e2681941ef99b2e29b76b4c7dabe4c2d0c634fc6d46e0e2f13107e7af23"
