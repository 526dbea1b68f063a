"""core and keeper tables.

Revision c77735d7a759, after .
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "c77735d7a759"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("CREATE SCHEMA clarion")
    op.execute("CREATE SCHEMA keeper")
    op.create_table(
        "anomaly",
        sa.Column("chain", sa.Text(), nullable=False),
        sa.Column("height", sa.BigInteger(), nullable=False),
        sa.Column("block_hash", sa.LargeBinary(), nullable=False),
        sa.Column("tx_index", sa.BigInteger(), nullable=False),
        sa.Column("event_index", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("contract", sa.Text(), nullable=True),
        sa.Column("topic", sa.Text(), nullable=True),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("chain", "height", "block_hash", "tx_index", "event_index", "kind"),
        schema="clarion",
    )
    op.create_table(
        "block",
        sa.Column("chain", sa.Text(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("height", sa.BigInteger(), nullable=False),
        sa.Column("parent_hash", sa.LargeBinary(), nullable=False),
        sa.Column("time", sa.BigInteger(), nullable=True),
        sa.Column("burn_height", sa.BigInteger(), nullable=True),
        sa.Column("burn_hash", sa.LargeBinary(), nullable=True),
        sa.Column("transaction_count", sa.BigInteger(), nullable=False),
        sa.Column("event_count", sa.BigInteger(), nullable=False),
        sa.Column("extra", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.PrimaryKeyConstraint("chain", "hash"),
        schema="clarion",
    )
    op.create_index("block_by_height", "block", ["chain", "height"], unique=False, schema="clarion")
    op.create_index("block_by_parent", "block", ["chain", "parent_hash"], unique=False, schema="clarion")
    op.create_table(
        "burn_block",
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("height", sa.BigInteger(), nullable=False),
        sa.Column("parent_hash", sa.LargeBinary(), nullable=True),
        sa.Column("time", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("hash"),
        schema="clarion",
    )
    op.create_index("burn_block_by_height", "burn_block", ["height"], unique=False, schema="clarion")
    op.create_table(
        "canonical_block",
        sa.Column("chain", sa.Text(), nullable=False),
        sa.Column("height", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("chain", "height"),
        schema="clarion",
    )
    op.create_index("canonical_block_by_hash", "canonical_block", ["chain", "hash"], unique=True, schema="clarion")
    op.create_index(
        "canonical_block_by_sequence", "canonical_block", ["chain", "sequence"], unique=False, schema="clarion"
    )
    op.create_table(
        "canonical_burn_block",
        sa.Column("height", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("height"),
        schema="clarion",
    )
    op.create_table(
        "change",
        sa.Column("chain", sa.Text(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("height", sa.BigInteger(), nullable=False),
        sa.Column("block_hash", sa.LargeBinary(), nullable=False),
        sa.Column("table", sa.Text(), nullable=False),
        sa.Column("key", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("op", sa.Text(), nullable=False),
        sa.Column("before", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("after", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("retraction", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("chain", "sequence"),
        schema="clarion",
    )
    op.create_index("change_by_key", "change", ["chain", "table", "key", "sequence"], unique=False, schema="clarion")
    op.create_table(
        "cursor",
        sa.Column("chain", sa.Text(), nullable=False),
        sa.Column("height", sa.BigInteger(), nullable=True),
        sa.Column("hash", sa.LargeBinary(), nullable=True),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("chain"),
        schema="clarion",
    )
    op.create_table(
        "event",
        sa.Column("chain", sa.Text(), nullable=False),
        sa.Column("height", sa.BigInteger(), nullable=False),
        sa.Column("block_hash", sa.LargeBinary(), nullable=False),
        sa.Column("tx_index", sa.BigInteger(), nullable=False),
        sa.Column("event_index", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("contract", sa.Text(), nullable=True),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("value", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("raw", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("chain", "height", "block_hash", "tx_index", "event_index"),
        schema="clarion",
    )
    op.create_index("event_by_contract", "event", ["contract", "topic", "height"], unique=False, schema="clarion")
    op.create_table(
        "inbox",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        schema="clarion",
    )
    # Posts are short-lived: compressing them would cost more time than the space is worth.
    op.execute("ALTER TABLE clarion.inbox ALTER COLUMN body SET STORAGE EXTERNAL")
    op.create_index(
        "inbox_pending", "inbox", ["id"], unique=False, schema="clarion", postgresql_where=sa.text("error IS NULL")
    )
    op.create_table(
        "mempool_transaction",
        sa.Column("tx_id", sa.LargeBinary(), nullable=False),
        sa.Column("raw", sa.LargeBinary(), nullable=False),
        sa.Column("sender", sa.Text(), nullable=True),
        sa.Column("nonce", sa.Numeric(precision=20, scale=0), nullable=True),
        sa.Column("fee", sa.Numeric(precision=20, scale=0), nullable=True),
        sa.Column("received_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("dropped_reason", sa.Text(), nullable=True),
        sa.Column("replaced_by", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("tx_id"),
        schema="clarion",
    )
    op.create_index("mempool_transaction_by_sender", "mempool_transaction", ["sender"], unique=False, schema="clarion")
    op.create_table(
        "step",
        sa.Column("chain", sa.Text(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("op", sa.Text(), nullable=False),
        sa.Column("height", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("chain", "sequence"),
        schema="clarion",
    )
    op.create_table(
        "transaction",
        sa.Column("chain", sa.Text(), nullable=False),
        sa.Column("height", sa.BigInteger(), nullable=False),
        sa.Column("block_hash", sa.LargeBinary(), nullable=False),
        sa.Column("tx_index", sa.BigInteger(), nullable=False),
        sa.Column("tx_id", sa.LargeBinary(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("sender", sa.Text(), nullable=True),
        sa.Column("sponsor", sa.Text(), nullable=True),
        sa.Column("nonce", sa.Numeric(precision=20, scale=0), nullable=True),
        sa.Column("fee", sa.Numeric(precision=20, scale=0), nullable=True),
        sa.Column("contract", sa.Text(), nullable=True),
        sa.Column("function", sa.Text(), nullable=True),
        sa.Column("payload", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("result", sa.LargeBinary(), nullable=True),
        sa.Column("raw", sa.LargeBinary(), nullable=False),
        sa.Column("vm_error", sa.Text(), nullable=True),
        sa.Column("decode_error", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("chain", "height", "block_hash", "tx_index"),
        schema="clarion",
    )
    op.create_index(
        "transaction_by_contract", "transaction", ["contract", "function", "height"], unique=False, schema="clarion"
    )
    op.create_index("transaction_by_id", "transaction", ["tx_id"], unique=False, schema="clarion")
    op.create_index("transaction_by_sender", "transaction", ["sender", "height"], unique=False, schema="clarion")
    op.create_table(
        "intent",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("job", sa.Text(), nullable=False),
        sa.Column("item", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("decided_height", sa.BigInteger(), nullable=False),
        sa.Column("decided_hash", sa.Text(), nullable=False),
        sa.Column("tx_id", sa.LargeBinary(), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        schema="keeper",
    )
    op.create_index("intent_by_transaction", "intent", ["tx_id"], unique=False, schema="keeper")
    op.create_index(
        "intent_open_key",
        "intent",
        ["key"],
        unique=True,
        schema="keeper",
        postgresql_where=sa.text("state IN ('planned', 'sent')"),
    )
    op.create_table(
        "outgoing",
        sa.Column("tx_id", sa.LargeBinary(), nullable=False),
        sa.Column("job", sa.Text(), nullable=False),
        sa.Column("sender", sa.Text(), nullable=False),
        sa.Column("nonce", sa.Numeric(precision=20, scale=0), nullable=False),
        sa.Column("fee", sa.Numeric(precision=20, scale=0), nullable=False),
        sa.Column("contract", sa.Text(), nullable=False),
        sa.Column("function", sa.Text(), nullable=False),
        sa.Column("raw", sa.LargeBinary(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("block_hash", sa.LargeBinary(), nullable=True),
        sa.Column("block_height", sa.BigInteger(), nullable=True),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("tx_id"),
        schema="keeper",
    )
    op.create_index(
        "outgoing_nonce",
        "outgoing",
        ["sender", "nonce"],
        unique=True,
        schema="keeper",
        postgresql_where=sa.text("state <> 'rejected'"),
    )


def downgrade() -> None:
    op.drop_index(
        "outgoing_nonce", table_name="outgoing", schema="keeper", postgresql_where=sa.text("state <> 'rejected'")
    )
    op.drop_table("outgoing", schema="keeper")
    op.drop_index(
        "intent_open_key",
        table_name="intent",
        schema="keeper",
        postgresql_where=sa.text("state IN ('planned', 'sent')"),
    )
    op.drop_index("intent_by_transaction", table_name="intent", schema="keeper")
    op.drop_table("intent", schema="keeper")
    op.drop_index("transaction_by_sender", table_name="transaction", schema="clarion")
    op.drop_index("transaction_by_id", table_name="transaction", schema="clarion")
    op.drop_index("transaction_by_contract", table_name="transaction", schema="clarion")
    op.drop_table("transaction", schema="clarion")
    op.drop_table("step", schema="clarion")
    op.drop_index("mempool_transaction_by_sender", table_name="mempool_transaction", schema="clarion")
    op.drop_table("mempool_transaction", schema="clarion")
    op.drop_index("inbox_pending", table_name="inbox", schema="clarion", postgresql_where=sa.text("error IS NULL"))
    op.drop_table("inbox", schema="clarion")
    op.drop_index("event_by_contract", table_name="event", schema="clarion")
    op.drop_table("event", schema="clarion")
    op.drop_table("cursor", schema="clarion")
    op.drop_index("change_by_key", table_name="change", schema="clarion")
    op.drop_table("change", schema="clarion")
    op.drop_table("canonical_burn_block", schema="clarion")
    op.drop_index("canonical_block_by_sequence", table_name="canonical_block", schema="clarion")
    op.drop_index("canonical_block_by_hash", table_name="canonical_block", schema="clarion")
    op.drop_table("canonical_block", schema="clarion")
    op.drop_index("burn_block_by_height", table_name="burn_block", schema="clarion")
    op.drop_table("burn_block", schema="clarion")
    op.drop_index("block_by_parent", table_name="block", schema="clarion")
    op.drop_index("block_by_height", table_name="block", schema="clarion")
    op.drop_table("block", schema="clarion")
    op.drop_table("anomaly", schema="clarion")
    op.execute("DROP SCHEMA keeper")
    op.execute("DROP SCHEMA clarion")
