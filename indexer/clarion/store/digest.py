"""The digest of a block: a hash over what it changed, chained to the block before.

Two indexes of the same chain with the same protocols have the same digest at every block; the first block where they
differ is where one of them went wrong.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import msgspec

from clarion.chains.model import BlockRef
from clarion.store.rows import Change

#: What the first block's digest is chained to.
EMPTY_DIGEST = bytes(32)

_encode = msgspec.json.Encoder(order="sorted").encode


def block_digest(previous: bytes, block: BlockRef, changes: Iterable[Change]) -> bytes:
    """SHA-256 over the previous digest, the block's height and hash, and its changes in canonical JSON.

    ``changes`` must be in the order :meth:`clarion.store.rows.Rows.end_block` gives (table, then key). Each is encoded
    as ``[table, key, op, before, after]`` with object keys sorted and no white space, followed by a newline.
    """
    sha = hashlib.sha256(previous)
    sha.update(block.height.to_bytes(8, "big"))
    sha.update(block.hash)
    for change in changes:
        sha.update(_encode((change.table, change.key, change.op, change.before, change.after)))
        sha.update(b"\n")
    return sha.digest()
