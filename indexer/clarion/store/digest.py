"""Digests: hashes over what blocks changed.

A protocol's digest is chained over the blocks in which it changed rows. The digest of a block (of the receipt) combines
the block's hash, which names the whole chain below it, with the latest digest of every protocol at or below it. Two
indexes of the same chain with the same protocols have the same digest at every block, whenever a protocol was added;
the first block where they differ is where one of them went wrong.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Final

import msgspec

from clarion.chains.model import BlockRef
from clarion.store.rows import Change

#: What a protocol's first digest is chained to, and the digest of an index without blocks.
EMPTY_DIGEST = bytes(32)

_encode = msgspec.json.Encoder(order="sorted").encode


def protocol_digest(previous: bytes, block: BlockRef, changes: Iterable[Change]) -> bytes:
    """SHA-256 over the previous digest, the block's height and hash, and a protocol's changes in canonical JSON.

    ``changes`` must be in the order :meth:`clarion.store.rows.Rows.end_block` gives (table, then key). Each is encoded
    as ``[table, key, op, after]`` with object keys sorted and no white space, followed by a newline.
    """
    parts = [previous, block.height.to_bytes(8, "big"), block.hash]
    for change in changes:
        parts += (_head(change.table), change.key_json, _OPS[change.op], change.after_json or b"null", b"]\n")
    return hashlib.sha256(b"".join(parts)).digest()


_OPS: Final[Mapping[str, bytes]] = {op: b',"%b",' % op.encode() for op in ("insert", "update", "delete")}


@cache
def _head(table: str) -> bytes:
    """What every change of a table begins with."""
    return b"[%b," % _encode(table)


def combined_digest(block_hash: bytes, digests: Mapping[str, bytes]) -> bytes:
    """SHA-256 over a block's hash and, for each protocol in the order of names, its name, a zero byte and its digest.

    ``digests`` maps a live protocol's name to its latest digest at or below the block (``EMPTY_DIGEST`` for none). The
    SQL function ``clarion.digest_at`` is the same.
    """
    sha = hashlib.sha256(block_hash)
    for name in sorted(digests):
        sha.update(name.encode())
        sha.update(b"\0")
        sha.update(digests[name])
    return sha.digest()
