"""Tables of Charms.

Revision 14619507e808, after 6b4c9bb2353f.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "14619507e808"
down_revision = "6b4c9bb2353f"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("CREATE SCHEMA charms")
    op.create_table(
        "app",
        sa.Column("updated_height", sa.BigInteger(), nullable=False),
        sa.Column("app", sa.Text(), nullable=False),
        sa.Column("tag", sa.Text(), nullable=False),
        sa.Column("identity", sa.Text(), nullable=False),
        sa.Column("vk", sa.Text(), nullable=False),
        sa.Column("wasm_hash", sa.Text(), nullable=True),
        sa.Column("app_version", sa.BigInteger(), nullable=True),
        sa.Column("first_tx", sa.Text(), nullable=False),
        sa.Column("first_height", sa.BigInteger(), nullable=False),
        sa.Column("last_height", sa.BigInteger(), nullable=False),
        sa.Column("spells", sa.BigInteger(), nullable=False),
        sa.Column("live_charms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("app"),
        schema="charms",
    )
    op.create_index("app_by_identity", "app", ["identity"], unique=False, schema="charms")
    op.create_index("app_by_vk", "app", ["vk"], unique=False, schema="charms")
    op.create_table(
        "balance",
        sa.Column("updated_height", sa.BigInteger(), nullable=False),
        sa.Column("app", sa.Text(), nullable=False),
        sa.Column("script", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=True),
        sa.Column("amount", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("outputs", sa.BigInteger(), nullable=False),
        sa.Column("since_height", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("app", "script"),
        schema="charms",
    )
    op.create_index("balance_by_address", "balance", ["address"], unique=False, schema="charms")
    op.create_index("balance_by_amount", "balance", ["app", "amount"], unique=False, schema="charms")
    op.create_index("balance_by_script", "balance", ["script"], unique=False, schema="charms")
    op.create_table(
        "charm",
        sa.Column("updated_height", sa.BigInteger(), nullable=False),
        sa.Column("outpoint", sa.Text(), nullable=False),
        sa.Column("app", sa.Text(), nullable=False),
        sa.Column("tag", sa.Text(), nullable=False),
        sa.Column("tx_id", sa.Text(), nullable=False),
        sa.Column("vout", sa.BigInteger(), nullable=False),
        sa.Column("amount", sa.Numeric(precision=39, scale=0), nullable=True),
        sa.Column("data", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("origin", sa.Text(), nullable=True),
        sa.Column("sats", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("script", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("beamed_to", sa.Text(), nullable=True),
        sa.Column("height", sa.BigInteger(), nullable=False),
        sa.Column("tx_index", sa.BigInteger(), nullable=False),
        sa.Column("time", sa.BigInteger(), nullable=False),
        sa.Column("spent_tx", sa.Text(), nullable=True),
        sa.Column("spent_height", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("outpoint", "app"),
        schema="charms",
    )
    op.create_index("charm_by_address", "charm", ["address"], unique=False, schema="charms")
    op.create_index("charm_by_app", "charm", ["app", "state", "height"], unique=False, schema="charms")
    op.create_index("charm_by_origin", "charm", ["app", "origin"], unique=False, schema="charms")
    op.create_index("charm_by_script", "charm", ["script"], unique=False, schema="charms")
    op.create_index("charm_by_spender", "charm", ["spent_tx"], unique=False, schema="charms")
    op.create_index("charm_by_tx", "charm", ["tx_id"], unique=False, schema="charms")
    op.create_table(
        "coin",
        sa.Column("updated_height", sa.BigInteger(), nullable=False),
        sa.Column("outpoint", sa.Text(), nullable=False),
        sa.Column("apps", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("spent_tx", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("outpoint"),
        schema="charms",
    )
    op.create_table(
        "nft",
        sa.Column("updated_height", sa.BigInteger(), nullable=False),
        sa.Column("app", sa.Text(), nullable=False),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("tag", sa.Text(), nullable=False),
        sa.Column("outpoint", sa.Text(), nullable=False),
        sa.Column("script", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=True),
        sa.Column("data", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("moves", sa.BigInteger(), nullable=False),
        sa.Column("first_height", sa.BigInteger(), nullable=False),
        sa.Column("last_height", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("app", "origin"),
        schema="charms",
    )
    op.create_index("nft_by_address", "nft", ["address"], unique=False, schema="charms")
    op.create_index("nft_by_place", "nft", ["outpoint"], unique=False, schema="charms")
    op.create_index("nft_by_script", "nft", ["script"], unique=False, schema="charms")
    op.create_table(
        "spell",
        sa.Column("updated_height", sa.BigInteger(), nullable=False),
        sa.Column("tx_id", sa.Text(), nullable=False),
        sa.Column("height", sa.BigInteger(), nullable=False),
        sa.Column("tx_index", sa.BigInteger(), nullable=False),
        sa.Column("time", sa.BigInteger(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("failed_step", sa.Text(), nullable=True),
        sa.Column("version", sa.BigInteger(), nullable=True),
        sa.Column("location", sa.Text(), nullable=False),
        sa.Column("mock", sa.Boolean(), nullable=False),
        sa.Column("apps", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("refs", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("scrolls", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("charms_in", sa.BigInteger(), nullable=False),
        sa.Column("charms_out", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tx_id"),
        schema="charms",
    )
    op.create_index("spell_by_place", "spell", ["height", "tx_index"], unique=False, schema="charms")
    op.create_index("spell_by_status", "spell", ["status"], unique=False, schema="charms")
    op.create_table(
        "token",
        sa.Column("updated_height", sa.BigInteger(), nullable=False),
        sa.Column("app", sa.Text(), nullable=False),
        sa.Column("identity", sa.Text(), nullable=False),
        sa.Column("vk", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=True),
        sa.Column("ticker", sa.Text(), nullable=True),
        sa.Column("decimals", sa.BigInteger(), nullable=True),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("url", sa.Text(), nullable=True),
        sa.Column("image", sa.Text(), nullable=True),
        sa.Column("image_hash", sa.Text(), nullable=True),
        sa.Column("reference", sa.Text(), nullable=True),
        sa.Column("minted", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("beamed_in", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("burned", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("destroyed", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("supply", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("held", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("beamed_out", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("unknown", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("holders", sa.BigInteger(), nullable=False),
        sa.Column("outputs", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("app"),
        schema="charms",
    )
    op.create_index("token_by_ticker", "token", ["ticker"], unique=False, schema="charms")
    op.create_table(
        "transfer",
        sa.Column("updated_height", sa.BigInteger(), nullable=False),
        sa.Column("tx_id", sa.Text(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("app", sa.Text(), nullable=False),
        sa.Column("tag", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("from_script", sa.Text(), nullable=True),
        sa.Column("from_address", sa.Text(), nullable=True),
        sa.Column("to_script", sa.Text(), nullable=True),
        sa.Column("to_address", sa.Text(), nullable=True),
        sa.Column("amount", sa.Numeric(precision=39, scale=0), nullable=True),
        sa.Column("origin", sa.Text(), nullable=True),
        sa.Column("height", sa.BigInteger(), nullable=False),
        sa.Column("tx_index", sa.BigInteger(), nullable=False),
        sa.Column("time", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tx_id", "number"),
        schema="charms",
    )
    op.create_index("transfer_by_app", "transfer", ["app", "height"], unique=False, schema="charms")
    op.create_index("transfer_by_from_address", "transfer", ["from_address", "height"], unique=False, schema="charms")
    op.create_index("transfer_by_place", "transfer", ["height", "tx_index", "number"], unique=False, schema="charms")
    op.create_index("transfer_by_recipient", "transfer", ["to_script", "height"], unique=False, schema="charms")
    op.create_index("transfer_by_sender", "transfer", ["from_script", "height"], unique=False, schema="charms")
    op.create_index("transfer_by_to_address", "transfer", ["to_address", "height"], unique=False, schema="charms")


def downgrade() -> None:
    op.drop_index("transfer_by_to_address", table_name="transfer", schema="charms")
    op.drop_index("transfer_by_sender", table_name="transfer", schema="charms")
    op.drop_index("transfer_by_recipient", table_name="transfer", schema="charms")
    op.drop_index("transfer_by_place", table_name="transfer", schema="charms")
    op.drop_index("transfer_by_from_address", table_name="transfer", schema="charms")
    op.drop_index("transfer_by_app", table_name="transfer", schema="charms")
    op.drop_table("transfer", schema="charms")
    op.drop_index("token_by_ticker", table_name="token", schema="charms")
    op.drop_table("token", schema="charms")
    op.drop_index("spell_by_status", table_name="spell", schema="charms")
    op.drop_index("spell_by_place", table_name="spell", schema="charms")
    op.drop_table("spell", schema="charms")
    op.drop_index("nft_by_script", table_name="nft", schema="charms")
    op.drop_index("nft_by_place", table_name="nft", schema="charms")
    op.drop_index("nft_by_address", table_name="nft", schema="charms")
    op.drop_table("nft", schema="charms")
    op.drop_table("coin", schema="charms")
    op.drop_index("charm_by_tx", table_name="charm", schema="charms")
    op.drop_index("charm_by_spender", table_name="charm", schema="charms")
    op.drop_index("charm_by_script", table_name="charm", schema="charms")
    op.drop_index("charm_by_origin", table_name="charm", schema="charms")
    op.drop_index("charm_by_app", table_name="charm", schema="charms")
    op.drop_index("charm_by_address", table_name="charm", schema="charms")
    op.drop_table("charm", schema="charms")
    op.drop_index("balance_by_script", table_name="balance", schema="charms")
    op.drop_index("balance_by_amount", table_name="balance", schema="charms")
    op.drop_index("balance_by_address", table_name="balance", schema="charms")
    op.drop_table("balance", schema="charms")
    op.drop_index("app_by_vk", table_name="app", schema="charms")
    op.drop_index("app_by_identity", table_name="app", schema="charms")
    op.drop_table("app", schema="charms")
    op.execute("DROP SCHEMA charms")
