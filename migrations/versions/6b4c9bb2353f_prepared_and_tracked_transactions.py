"""Prepared and tracked transactions, and positions by leverage.

Revision 6b4c9bb2353f, after e3b80c5f1a96.
"""

import sqlalchemy as sa
from alembic import op

revision = "6b4c9bb2353f"
down_revision = "e3b80c5f1a96"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "prepared_transaction",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("sender", sa.Text(), nullable=False),
        sa.Column("contract", sa.Text(), nullable=False),
        sa.Column("function", sa.Text(), nullable=False),
        sa.Column("payload", sa.LargeBinary(), nullable=False),
        sa.Column("height", sa.BigInteger(), nullable=False),
        sa.Column("valid_until_burn", sa.BigInteger(), nullable=True),
        sa.Column("prepared_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        schema="clarion_account",
    )
    op.create_index(
        "prepared_transaction_by_age", "prepared_transaction", ["prepared_at"], unique=False, schema="clarion_account"
    )
    op.create_index(
        "prepared_transaction_by_sender",
        "prepared_transaction",
        ["sender", "prepared_at"],
        unique=False,
        schema="clarion_account",
    )
    op.create_table(
        "tracked_transaction",
        sa.Column("tx_id", sa.LargeBinary(), nullable=False),
        sa.Column("prepared_id", sa.Text(), nullable=True),
        sa.Column("tracked_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["prepared_id"], ["clarion_account.prepared_transaction.id"], ondelete="SET NULL"),
        sa.PrimaryKeyConstraint("tx_id"),
        schema="clarion_account",
    )
    op.create_index(
        "tracked_transaction_by_age", "tracked_transaction", ["tracked_at"], unique=False, schema="clarion_account"
    )
    op.create_index(
        "tracked_transaction_by_prepared",
        "tracked_transaction",
        ["prepared_id"],
        unique=False,
        schema="clarion_account",
    )
    op.add_column(
        "fund_holding",
        sa.Column("passed_on", sa.Numeric(precision=39, scale=0), server_default="0", nullable=False),
        schema="bithedge",
    )
    op.alter_column("fund_holding", "passed_on", server_default=None, schema="bithedge")
    op.create_index(
        "position_by_leverage",
        "position",
        ["token", "tier", sa.literal_column("div(liability_usd8 * 1000000000000, greatest(available + locked, 1))")],
        unique=False,
        schema="bithedge",
        postgresql_where=sa.text("liability_usd8 > 0"),
    )
    op.add_column(
        "treasury_holding",
        sa.Column("passed_on", sa.Numeric(precision=39, scale=0), server_default="0", nullable=False),
        schema="bithedge",
    )
    op.alter_column("treasury_holding", "passed_on", server_default=None, schema="bithedge")


def downgrade() -> None:
    op.drop_column("treasury_holding", "passed_on", schema="bithedge")
    op.drop_index(
        "position_by_leverage", table_name="position", schema="bithedge", postgresql_where=sa.text("liability_usd8 > 0")
    )
    op.drop_column("fund_holding", "passed_on", schema="bithedge")
    op.drop_index("tracked_transaction_by_prepared", table_name="tracked_transaction", schema="clarion_account")
    op.drop_index("tracked_transaction_by_age", table_name="tracked_transaction", schema="clarion_account")
    op.drop_table("tracked_transaction", schema="clarion_account")
    op.drop_index("prepared_transaction_by_sender", table_name="prepared_transaction", schema="clarion_account")
    op.drop_index("prepared_transaction_by_age", table_name="prepared_transaction", schema="clarion_account")
    op.drop_table("prepared_transaction", schema="clarion_account")
