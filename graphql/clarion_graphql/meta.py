"""The field ``_meta``: where an answer was read, in the words that subgraphs of The Graph use.

Names and meaning: https://thegraph.com/docs/en/subgraphs/querying/graphql-api/ (Subgraph metadata).
"""

from __future__ import annotations

import hashlib
from typing import Any, Final

import msgspec
import strawberry
from strawberry.types.base import StrawberryOptional
from strawberry.types.field import StrawberryField

from clarion.chains.model import Chain
from clarion_graphql.context import Info
from clarion_graphql.core import CHAIN
from clarion_graphql.enums import chain_of
from clarion_graphql.scalars import Bytes
from clarion_graphql.sql import literal
from clarion_graphql.status import MOST_PROTOCOLS
from clarion_graphql.types import make_field, with_arguments

_BLOCK: Final = "SELECT b.parent_hash, b.time FROM clarion.block b WHERE b.chain = %s AND b.hash = %s"
_HAS_ANOMALIES: Final = """
SELECT EXISTS (SELECT FROM clarion.anomaly a JOIN clarion.canonical_block c
    ON c.chain = a.chain AND c.height = a.height AND c.hash = a.block_hash WHERE a.chain = %s AND a.height <= %s)
"""
_FINGERPRINTS: Final = "SELECT name, fingerprint FROM clarion.protocol WHERE chain = %s ORDER BY name"


@strawberry.type(description="The block that an answer was read at.")
class MetaBlock:
    """A block by name."""

    number: int = strawberry.field(description="Height.")
    hash: Bytes = strawberry.field(description="Hash; for Stacks the index block hash.")
    parent_hash: Bytes = strawberry.field(description="Hash of the block it builds on.")
    timestamp: int | None = strawberry.field(description="When it was made, as its header says. Unit: Unix seconds.")


@strawberry.type(description="Where an answer was read, in the words of The Graph. `status` says more.")
class Meta:
    """Where an answer was read."""

    block: MetaBlock | None = strawberry.field(description="The block; null while the index is empty.")
    deployment: str = strawberry.field(
        description="Names the code, tables and contracts that rows are made of: another one after any of them changed."
    )
    has_indexing_errors: bool = strawberry.field(
        description="Whether something up to the block was not understood, or rows of a protocol are not the block's."
    )


def meta_field() -> StrawberryField:
    """The field of ``Query``."""

    async def resolve(root: Any, info: Info, *, chain: Any) -> Meta | None:
        return await _read(info, chain_of(chain))

    return make_field(
        "_meta",
        StrawberryOptional(Meta),
        "Where this answer was read, in the words of The Graph; null for a chain that is not indexed.",
        resolver=with_arguments(resolve, {"chain": (CHAIN.annotation, CHAIN.default, CHAIN.description)}),
    )


async def _read(info: Info, chain: Chain) -> Meta | None:
    session = info.context.session
    receipt = (await session.receipts()).get(chain)
    if receipt is None:
        return None
    known = await session.fetch(literal(_FINGERPRINTS, chain), at_most=MOST_PROTOCOLS)
    served = {protocol.name for protocol in info.context.service.protocols}
    deployment = hashlib.sha256(msgspec.json.encode([row for row in known if row[0] in served])).hexdigest()
    if receipt.height is None or receipt.hash is None:
        return Meta(block=None, deployment=deployment, has_indexing_errors=False)
    ((parent_hash, time),) = await session.fetch(literal(_BLOCK, chain, receipt.hash))
    outdated = served & set(receipt.outdated or ())
    return Meta(
        block=MetaBlock(number=receipt.height, hash=Bytes(receipt.hash), parent_hash=parent_hash, timestamp=time),
        deployment=deployment,
        has_indexing_errors=bool(outdated) or await session.value(literal(_HAS_ANOMALIES, chain, receipt.height)),
    )
