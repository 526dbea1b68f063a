"""Writes the change log: one entry per row and block, as :class:`clarion.store.rows.Change` has it."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from struct import Struct
from typing import Any, Final

from psycopg import Connection

from clarion.chains.model import BlockRef, Chain
from clarion.store import copy
from clarion.store.rows import Change

CHANGE_COLUMNS: Final = (
    b'clarion.change (chain, sequence, height, block_hash, "table", key, op, before, after, retraction)'
)
_sequence = Struct(">iq").pack
_OPS: Final = {op: copy.text(op) for op in ("insert", "update", "delete")}


def change_rows(
    chain: Chain,
    changes: Iterable[tuple[int, BlockRef, Change]],
    final_height: int | None,
    *,
    retraction: bool = False,
) -> list[bytes]:
    """Rows of the change log, packed with ``CHANGE_COLUMNS``, of changes with their sequences.

    The rows before are left out where the block is final.
    """
    head = copy.row_head(10) + copy.text(chain)
    last = copy.TRUE if retraction else copy.FALSE
    final = -1 if final_height is None else final_height
    rows: list[bytes] = []
    at: BlockRef | None = None
    place, is_final = b"", False
    for sequence, ref, change in changes:
        if ref is not at:
            at, place, is_final = ref, copy.bigint(ref.height) + copy.bytea(ref.hash), ref.height <= final
        rows += (
            head,
            _sequence(8, sequence),
            place,
            _table(change.table),
            copy.jsonb(change.key_json),
            _OPS[change.op],
            copy.NULL if is_final else copy.jsonb(change.before_json),
            copy.jsonb(change.after_json),
            last,
        )
    return rows


def copy_changes(
    connection: Connection[Any],
    chain: Chain,
    changes: Iterable[tuple[int, BlockRef, Change]],
    final_height: int | None,
) -> None:
    """Write changes to the change log; see :func:`change_rows`."""
    copy.copy_rows(connection, CHANGE_COLUMNS, change_rows(chain, changes, final_height))


@cache
def _table(name: str) -> bytes:
    return copy.text(name)
