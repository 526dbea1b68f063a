"""protocols, digests, history and sources.

Revision 48679b3a71bf, after 10635e76f0cf.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "48679b3a71bf"
down_revision = "10635e76f0cf"
branch_labels = None
depends_on = None


# The same as clarion.store.digest.combined_digest, of the canonical block at a height; null where there is none.
DIGEST_AT = """
CREATE FUNCTION clarion.digest_at(chain text, height bigint) RETURNS bytea LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT sha256(k.hash || coalesce((
        SELECT string_agg(
            convert_to(p.name, 'UTF8') || '\\x00'::bytea || coalesce(d.digest, decode(repeat('00', 32), 'hex')),
            ''::bytea ORDER BY p.name COLLATE "C"
        )
        FROM clarion.protocol p LEFT JOIN LATERAL (
            SELECT d.digest FROM clarion.digest d
            WHERE d.chain = p.chain AND d.protocol = p.name AND d.generation = p.generation AND d.height <= k.height
            ORDER BY d.height DESC LIMIT 1
        ) d ON true
        WHERE p.chain = k.chain AND p.generation > 0 AND p.stopped_sequence IS NULL
    ), ''::bytea))
    FROM clarion.canonical_block k WHERE k.chain = digest_at.chain AND k.height = digest_at.height
$$
"""


def upgrade() -> None:
    op.create_table(
        "contract_interface",
        sa.Column("contract", sa.Text(), nullable=False),
        sa.Column("interface", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.PrimaryKeyConstraint("contract"),
        schema="clarion",
    )
    op.create_table(
        "digest",
        sa.Column("chain", sa.Text(), nullable=False),
        sa.Column("protocol", sa.Text(), nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.Column("height", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("chain", "protocol", "generation", "height"),
        schema="clarion",
    )
    op.create_table(
        "history",
        sa.Column("chain", sa.Text(), nullable=False),
        sa.Column("table", sa.Text(), nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.Column("key", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("height", sa.BigInteger(), nullable=False),
        sa.Column("after", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.PrimaryKeyConstraint("chain", "table", "generation", "key", "height"),
        schema="clarion",
    )
    op.create_table(
        "kept",
        sa.Column("chain", sa.Text(), nullable=False),
        sa.Column("table", sa.Text(), nullable=False),
        sa.Column("from_height", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("chain", "table"),
        schema="clarion",
    )
    op.create_table(
        "protocol",
        sa.Column("chain", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("contracts", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("since_sequence", sa.BigInteger(), nullable=False),
        sa.Column("stopped_sequence", sa.BigInteger(), nullable=True),
        sa.Column("next_generation", sa.BigInteger(), nullable=True),
        sa.Column("next_fingerprint", sa.Text(), nullable=True),
        sa.Column("next_height", sa.BigInteger(), nullable=True),
        sa.Column("next_ready", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("chain", "name"),
        schema="clarion",
    )
    op.create_table(
        "source",
        sa.Column("chain", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("height", sa.BigInteger(), nullable=True),
        sa.Column("hash", sa.LargeBinary(), nullable=True),
        sa.Column("burn_height", sa.BigInteger(), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.Column("seen_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("chain", "name"),
        schema="clarion",
    )
    op.drop_column("canonical_block", "digest", schema="clarion")
    op.add_column("cursor", sa.Column("final_height", sa.BigInteger(), nullable=True), schema="clarion")
    op.add_column(
        "cursor", sa.Column("kept_from", sa.BigInteger(), server_default=sa.text("0"), nullable=False), schema="clarion"
    )
    op.add_column("inbox", sa.Column("source", sa.Text(), nullable=True), schema="clarion")
    op.execute(DIGEST_AT)


def downgrade() -> None:
    op.execute("DROP FUNCTION clarion.digest_at")
    op.drop_column("inbox", "source", schema="clarion")
    op.drop_column("cursor", "kept_from", schema="clarion")
    op.drop_column("cursor", "final_height", schema="clarion")
    op.add_column(
        "canonical_block",
        sa.Column("digest", postgresql.BYTEA(), autoincrement=False, nullable=False),
        schema="clarion",
    )
    op.drop_table("source", schema="clarion")
    op.drop_table("protocol", schema="clarion")
    op.drop_table("kept", schema="clarion")
    op.drop_table("history", schema="clarion")
    op.drop_table("digest", schema="clarion")
    op.drop_table("contract_interface", schema="clarion")
