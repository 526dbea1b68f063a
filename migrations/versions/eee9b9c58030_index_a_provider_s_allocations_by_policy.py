"""Policies that a provider backs are found, in order, without reading its allocations.

Revision eee9b9c58030, after bc40f4f26448.
"""

from alembic import op

revision = "eee9b9c58030"
down_revision = "bc40f4f26448"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("allocation_of_provider", "allocation", ["provider", "policy"], unique=False, schema="bithedge")


def downgrade() -> None:
    op.drop_index("allocation_of_provider", table_name="allocation", schema="bithedge")
