"""tokens of the chain, and what happened as views of the chain log.

Revision a48134af3191, after 48679b3a71bf.
"""

from collections.abc import Iterator

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "a48134af3191"
down_revision = "48679b3a71bf"
branch_labels = None
depends_on = None

# The views' columns: to the expressions over an event `e`. Indexes of the protocol `stacks` are on the same ones.
ASSET = "coalesce(e.value ->> 'asset', 'STX') AS asset"
SENDER = "e.value ->> 'sender' AS sender"
RECIPIENT = "e.value ->> 'recipient' AS recipient"
AMOUNT = "(e.value ->> 'amount')::numeric AS amount"
CONTRACT = "e.contract"
TOKEN = (
    "CASE WHEN length(e.raw) <= 256 THEN '0x' || encode(e.raw, 'hex') "
    "ELSE 'sha256:' || encode(sha256(e.raw), 'hex') END AS token"
)
VALUE = "e.value -> 'value' AS value"

ASSET_KINDS = {
    "stx_transfer": [SENDER, RECIPIENT, AMOUNT, "e.value ->> 'memo' AS memo"],
    "stx_mint": [RECIPIENT, AMOUNT],
    "stx_burn": [SENDER, AMOUNT],
    "ft_transfer": [ASSET, CONTRACT, SENDER, RECIPIENT, AMOUNT],
    "ft_mint": [ASSET, CONTRACT, RECIPIENT, AMOUNT],
    "ft_burn": [ASSET, CONTRACT, SENDER, AMOUNT],
    "nft_transfer": [ASSET, CONTRACT, TOKEN, VALUE, SENDER, RECIPIENT],
    "nft_mint": [ASSET, CONTRACT, TOKEN, VALUE, RECIPIENT],
    "nft_burn": [ASSET, CONTRACT, TOKEN, VALUE, SENDER],
}
LOCK = [
    "e.value ->> 'locked_address' AS locked_address",
    "(e.value ->> 'locked_amount')::numeric AS locked_amount",
    "(e.value ->> 'unlock_height')::bigint AS unlock_height",
    "e.value ->> 'contract_identifier' AS contract",
]
PRINT = [CONTRACT, "e.topic", "e.value", "e.raw", "x.sender"]
ASSET_EVENT = ["e.kind", ASSET, CONTRACT, SENDER, RECIPIENT, AMOUNT, TOKEN, VALUE]

EVENT_VIEW = """
CREATE VIEW clarion.{name} AS
SELECT e.chain, e.height, e.block_hash, e.tx_index, e.event_index, b.time AS block_time, x.tx_id, {columns}
FROM clarion.event e
JOIN clarion.canonical_block c ON c.chain = e.chain AND c.hash = e.block_hash
LEFT JOIN clarion.block b ON b.chain = e.chain AND b.hash = e.block_hash
LEFT JOIN clarion.transaction x ON x.chain = e.chain AND x.height = e.height AND x.block_hash = e.block_hash
    AND x.tx_index = e.tx_index
WHERE e.chain = 'stacks' AND e.kind {kinds}
"""

CONTRACT_CALL = """
CREATE VIEW clarion.contract_call AS
SELECT t.chain, t.height, t.block_hash, t.tx_index, b.time AS block_time, t.tx_id, t.sender, t.sponsor, t.nonce, t.fee,
    t.contract, t.function, t.payload -> 'arguments' AS arguments,
    (
        SELECT jsonb_object_agg(a.value ->> 'name', t.payload -> 'arguments' -> (a.ordinality - 1)::integer)
        FROM clarion.contract_interface i
        CROSS JOIN LATERAL jsonb_array_elements(i.interface -> 'functions') f
        CROSS JOIN LATERAL jsonb_array_elements(f.value -> 'args') WITH ORDINALITY a
        WHERE i.contract = t.contract AND f.value ->> 'name' = t.function
    ) AS named_arguments,
    t.status, t.result, t.vm_error
FROM clarion.transaction t
JOIN clarion.canonical_block c ON c.chain = t.chain AND c.hash = t.block_hash
LEFT JOIN clarion.block b ON b.chain = t.chain AND b.hash = t.block_hash
WHERE t.chain = 'stacks' AND t.kind = 'contract_call'
"""

CONTRACT_VIEW = """
CREATE VIEW clarion.contract AS
SELECT t.chain, t.contract, t.sender AS deployer, t.payload ->> 'name' AS name,
    (t.payload ->> 'clarity_version')::bigint AS clarity_version, t.payload ->> 'source' AS source, i.interface,
    t.height, t.block_hash, t.tx_index, b.time AS block_time, t.tx_id
FROM clarion.transaction t
JOIN clarion.canonical_block c ON c.chain = t.chain AND c.hash = t.block_hash
LEFT JOIN clarion.block b ON b.chain = t.chain AND b.hash = t.block_hash
LEFT JOIN clarion.contract_interface i ON i.contract = t.contract
WHERE t.chain = 'stacks' AND t.kind = 'smart_contract' AND t.status = 'success'
"""


def event_views() -> Iterator[tuple[str, str]]:
    for kind, columns in {**ASSET_KINDS, "stx_lock": LOCK, "print": PRINT}.items():
        yield kind, EVENT_VIEW.format(name=kind, columns=", ".join(columns), kinds=f"= '{kind}'")
    kinds = ", ".join(f"'{kind}'" for kind in ASSET_KINDS)
    yield "asset_event", EVENT_VIEW.format(name="asset_event", columns=", ".join(ASSET_EVENT), kinds=f"IN ({kinds})")


VIEWS = {**dict(event_views()), "contract_call": CONTRACT_CALL, "contract": CONTRACT_VIEW}


def upgrade() -> None:
    op.execute("CREATE SCHEMA stacks")
    op.create_table(
        "balance",
        sa.Column("updated_height", sa.BigInteger(), nullable=False),
        sa.Column("asset", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("received", sa.Numeric(precision=58, scale=0), nullable=False),
        sa.Column("sent", sa.Numeric(precision=58, scale=0), nullable=False),
        sa.Column("amount", sa.Numeric(precision=39, scale=0), nullable=True),
        sa.PrimaryKeyConstraint("asset", "address"),
        schema="stacks",
    )
    op.create_index("balance_by_address", "balance", ["address"], unique=False, schema="stacks")
    op.create_index("balance_by_amount", "balance", ["asset", "amount"], unique=False, schema="stacks")
    op.create_table(
        "fungible_token",
        sa.Column("updated_height", sa.BigInteger(), nullable=False),
        sa.Column("asset", sa.Text(), nullable=False),
        sa.Column("contract", sa.Text(), nullable=True),
        sa.Column("complete", sa.Boolean(), nullable=False),
        sa.Column("minted", sa.Numeric(precision=58, scale=0), nullable=False),
        sa.Column("burned", sa.Numeric(precision=58, scale=0), nullable=False),
        sa.Column("supply", sa.Numeric(precision=39, scale=0), nullable=True),
        sa.PrimaryKeyConstraint("asset"),
        schema="stacks",
    )
    op.create_index("fungible_token_by_contract", "fungible_token", ["contract"], unique=False, schema="stacks")
    op.create_table(
        "nft",
        sa.Column("updated_height", sa.BigInteger(), nullable=False),
        sa.Column("asset", sa.Text(), nullable=False),
        sa.Column("token", sa.Text(), nullable=False),
        sa.Column("value", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("owner", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("asset", "token"),
        schema="stacks",
    )
    op.create_index("nft_by_owner", "nft", ["owner", "asset"], unique=False, schema="stacks")
    for definition in VIEWS.values():
        op.execute(definition)


def downgrade() -> None:
    for name in VIEWS:
        op.execute(f"DROP VIEW clarion.{name}")
    op.execute("DROP SCHEMA stacks CASCADE")
