"""Premiums over time are summed from an index, without reading the policies' wide rows.

Revision e19a3c7b5d02, after 5c08d7e3a914.
"""

from alembic import op

revision = "e19a3c7b5d02"
down_revision = "5c08d7e3a914"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index(
        "policy_premiums",
        "policy",
        ["id"],
        unique=False,
        schema="bithedge",
        postgresql_include=["created_time", "premium"],
    )


def downgrade() -> None:
    op.drop_index(
        "policy_premiums", table_name="policy", schema="bithedge", postgresql_include=["created_time", "premium"]
    )
