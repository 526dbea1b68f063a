"""What the keeper's accounts spent lately is found without looking through all they ever sent.

Revision 5c08d7e3a914, after 9d2f7a5c1e40.
"""

from alembic import op

revision = "5c08d7e3a914"
down_revision = "9d2f7a5c1e40"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("outgoing_by_end", "outgoing", ["ended_at"], unique=False, schema="keeper")


def downgrade() -> None:
    op.drop_index("outgoing_by_end", table_name="outgoing", schema="keeper")
