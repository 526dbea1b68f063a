"""What a sent transaction is said to be made of: more than one may be said.

Revision 8c1f5ad0e2b7, after 3da41071ff93.
"""

import sqlalchemy as sa
from alembic import op

revision = "8c1f5ad0e2b7"
down_revision = "3da41071ff93"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "tracked_link",
        sa.Column("tx_id", sa.LargeBinary(), nullable=False),
        sa.Column("prepared_id", sa.Text(), nullable=False),
        sa.Column("linked_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["tx_id"], ["clarion_account.tracked_transaction.tx_id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["prepared_id"], ["clarion_account.prepared_transaction.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("tx_id", "prepared_id"),
        schema="clarion_account",
    )
    op.create_index(
        "tracked_link_by_prepared",
        "tracked_link",
        ["prepared_id", "linked_at"],
        unique=False,
        schema="clarion_account",
    )
    op.execute(
        "INSERT INTO clarion_account.tracked_link (tx_id, prepared_id, linked_at) "
        "SELECT tx_id, prepared_id, tracked_at FROM clarion_account.tracked_transaction WHERE prepared_id IS NOT NULL"
    )
    op.drop_index("tracked_transaction_by_prepared", table_name="tracked_transaction", schema="clarion_account")
    op.drop_column("tracked_transaction", "prepared_id", schema="clarion_account")


def downgrade() -> None:
    op.add_column("tracked_transaction", sa.Column("prepared_id", sa.Text(), nullable=True), schema="clarion_account")
    op.create_foreign_key(
        "tracked_transaction_prepared_id_fkey",
        "tracked_transaction",
        "prepared_transaction",
        ["prepared_id"],
        ["id"],
        source_schema="clarion_account",
        referent_schema="clarion_account",
        ondelete="SET NULL",
    )
    op.create_index(
        "tracked_transaction_by_prepared",
        "tracked_transaction",
        ["prepared_id"],
        unique=False,
        schema="clarion_account",
    )
    op.execute(
        "UPDATE clarion_account.tracked_transaction t SET prepared_id = (SELECT l.prepared_id "
        "FROM clarion_account.tracked_link l WHERE l.tx_id = t.tx_id ORDER BY l.linked_at, l.prepared_id LIMIT 1)"
    )
    op.drop_table("tracked_link", schema="clarion_account")
