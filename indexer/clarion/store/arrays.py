"""Arrays in binary form as parameters of statements: ``= ANY(%b::bytea[])``, ``unnest(%b::text[])``.

They are put together of the fields that :mod:`clarion.store.copy` packs, which costs a tenth of what psycopg takes for
a list. Format: ``array_recv`` in PostgreSQL's ``arrayfuncs.c``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from struct import Struct
from typing import Final

import psycopg
from psycopg import pq
from psycopg.adapt import Dumper

from clarion.store import copy

#: Dimensions, whether there may be nulls, the elements' type, how many they are, the first one's number.
_head = Struct(">iiIii").pack
_head_of_none = Struct(">iiI").pack
_BYTEA: Final = psycopg.adapters.types["bytea"].oid


class PackedArray:
    """A parameter: an array of one dimension, in binary form."""

    __slots__ = ("content",)

    def __init__(self, element_oid: int, fields: Collection[bytes]) -> None:
        """``fields``: the elements as :mod:`clarion.store.copy` packs them."""
        self.content = (
            b"".join((_head(1, 1, element_oid, len(fields), 1), *fields))
            if fields
            else _head_of_none(0, 0, element_oid)
        )


class _PackedArrayDumper(Dumper):
    format = pq.Format.BINARY

    def dump(self, obj: PackedArray) -> bytes:
        return obj.content


psycopg.adapters.register_dumper(PackedArray, _PackedArrayDumper)


def of_hashes(hashes: Iterable[bytes]) -> PackedArray:
    """An array of type ``bytea[]``."""
    return PackedArray(_BYTEA, [copy.bytea(one) for one in hashes])
