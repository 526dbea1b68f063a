"""What an account may spend in an hour, to tell before it is used up.

Revision 3da41071ff93, after eee9b9c58030.
"""

import sqlalchemy as sa
from alembic import op

revision = "3da41071ff93"
down_revision = "eee9b9c58030"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "account", sa.Column("hourly_budget", sa.Numeric(precision=20, scale=0), nullable=True), schema="keeper"
    )


def downgrade() -> None:
    op.drop_column("account", "hourly_budget", schema="keeper")
