"""The node's mempool as a table: what waits, what was dropped and why. Part of no block and of no digest.

A transaction is in the table or mined on the canonical chain, never both. One whose block lost goes back into the
table, because the node still holds it and says nothing about it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from psycopg import Connection

from clarion.chains.model import Chain
from clarion.chains.stacks.node_payloads import MempoolDrop, MempoolEntry

_IS_MINED: Final = """
    SELECT FROM clarion.transaction mined JOIN clarion.canonical_block c
    ON c.chain = mined.chain AND c.height = mined.height AND c.hash = mined.block_hash
    WHERE mined.chain = %(chain)s AND mined.tx_id = """

_ENTER: Final = f"""
    INSERT INTO clarion.mempool_transaction (tx_id, raw, sender, nonce, fee)
    SELECT %(tx_id)s, %(raw)s, %(sender)s, %(nonce)s, %(fee)s WHERE NOT EXISTS ({_IS_MINED} %(tx_id)s)
    ON CONFLICT (tx_id) DO UPDATE SET dropped_reason = NULL, replaced_by = NULL
"""

_DROP: Final = """
    UPDATE clarion.mempool_transaction SET dropped_reason = %s, replaced_by = %s WHERE tx_id = ANY(%s)
"""

#: Payloads a miner puts into its own block are good for that block alone.
_RETURN_ORPHANED: Final = f"""
    INSERT INTO clarion.mempool_transaction (tx_id, raw, sender, nonce, fee)
    SELECT DISTINCT ON (t.tx_id) t.tx_id, t.raw, t.sender, t.nonce, t.fee
    FROM clarion.step s JOIN clarion.transaction t
    ON t.chain = s.chain AND t.height = s.height AND t.block_hash = s.hash
    WHERE s.chain = %(chain)s AND s.sequence > %(since)s AND s.op = 'retract'
    AND t.kind IN ('token_transfer', 'contract_call', 'smart_contract')
    AND NOT EXISTS ({_IS_MINED} t.tx_id)
    ON CONFLICT (tx_id) DO UPDATE SET dropped_reason = NULL, replaced_by = NULL
"""

#: OFFSET 0 makes Postgres look up the new blocks' transactions, whatever it thinks of the tables' sizes.
_REMOVE_MINED: Final = """
    DELETE FROM clarion.mempool_transaction WHERE tx_id = ANY(ARRAY(
        SELECT t.tx_id FROM clarion.canonical_block c CROSS JOIN LATERAL (
            SELECT t.tx_id FROM clarion.transaction t
            WHERE t.chain = c.chain AND t.height = c.height AND t.block_hash = c.hash OFFSET 0
        ) t
        WHERE c.chain = %s AND c.sequence > %s AND EXISTS (SELECT FROM clarion.mempool_transaction)
    ))
"""


def update(
    connection: Connection[Any],
    chain: Chain,
    items: Sequence[MempoolEntry | MempoolDrop],
    *,
    since: int,
    rolled_back: bool,
) -> None:
    """Bring the table up to the chain's new tip and to what the node said, in the caller's transaction.

    ``since`` is the change sequence before the blocks of this transaction; they are written already.
    """
    if rolled_back:
        connection.execute(_RETURN_ORPHANED, {"chain": chain, "since": since})
    for item in items:
        if isinstance(item, MempoolDrop):
            connection.execute(_DROP, (item.reason, item.replaced_by, list(item.tx_ids)))
        else:
            connection.execute(
                _ENTER,
                {
                    "chain": chain,
                    "tx_id": item.tx_id,
                    "raw": item.raw,
                    "sender": item.sender,
                    "nonce": item.nonce,
                    "fee": item.fee,
                },
            )
    connection.execute(_REMOVE_MINED, (chain, since))
