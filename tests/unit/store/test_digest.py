"""The digest says whether two indexes hold the same."""

from __future__ import annotations

import hashlib
from typing import Any

from msgspec.structs import replace

from clarion.chains.model import BlockRef
from clarion.store.digest import EMPTY_DIGEST, combined_digest, protocol_digest
from clarion.store.rows import Change

BLOCK = BlockRef("stacks", 7, bytes([7]) * 32, bytes([6]) * 32)
CHANGE = Change("toy.account", ("alice",), "update", {"balance": 1, "owner": "alice"}, {"balance": 2, "owner": "alice"})


def changed(**parts: Any) -> Change:
    """``CHANGE`` with other parts."""
    return Change(**({name: getattr(CHANGE, name) for name in ("table", "key", "op", "before", "after")} | parts))


def test_the_order_of_columns_does_not_matter_and_everything_else_does() -> None:
    digest = protocol_digest(EMPTY_DIGEST, BLOCK, [CHANGE])
    turned = changed(after={"owner": "alice", "balance": 2})
    assert protocol_digest(EMPTY_DIGEST, BLOCK, [turned]) == digest
    others = [
        protocol_digest(digest, BLOCK, [CHANGE]),
        protocol_digest(EMPTY_DIGEST, replace(BLOCK, height=8), [CHANGE]),
        protocol_digest(EMPTY_DIGEST, replace(BLOCK, hash=bytes(32)), [CHANGE]),
        protocol_digest(EMPTY_DIGEST, BLOCK, []),
        protocol_digest(EMPTY_DIGEST, BLOCK, [CHANGE, CHANGE]),
        protocol_digest(EMPTY_DIGEST, BLOCK, [changed(op="insert")]),
        protocol_digest(EMPTY_DIGEST, BLOCK, [changed(key=("bob",))]),
        protocol_digest(EMPTY_DIGEST, BLOCK, [changed(after={"balance": 3, "owner": "alice"})]),
    ]
    assert len({digest, *others}) == len(others) + 1


def test_integers_of_any_size_are_exact() -> None:
    big, bigger = (changed(after={"balance": 2**128 - 2 + extra}) for extra in (0, 1))
    assert protocol_digest(EMPTY_DIGEST, BLOCK, [big]) != protocol_digest(EMPTY_DIGEST, BLOCK, [bigger])


def test_the_format_is_what_the_documentation_says() -> None:
    """The bytes hashed are part of the interface: another implementation must be able to check them."""
    text = b'["toy.account",["alice"],"update",{"balance":2,"owner":"alice"}]\n'
    expected = hashlib.sha256(EMPTY_DIGEST + (7).to_bytes(8, "big") + BLOCK.hash + text).digest()
    assert protocol_digest(EMPTY_DIGEST, BLOCK, [CHANGE]) == expected


def test_the_row_before_is_part_of_the_digest_before() -> None:
    assert protocol_digest(EMPTY_DIGEST, BLOCK, [changed(before=None)]) == protocol_digest(
        EMPTY_DIGEST, BLOCK, [CHANGE]
    )


def test_a_block_has_the_digest_of_its_hash_and_of_every_protocol() -> None:
    first, second = bytes([1]) * 32, bytes([2]) * 32
    expected = hashlib.sha256(BLOCK.hash + b"a\0" + first + b"b\0" + second).digest()
    assert combined_digest(BLOCK.hash, {"b": second, "a": first}) == expected
    assert combined_digest(BLOCK.hash, {}) == hashlib.sha256(BLOCK.hash).digest()
