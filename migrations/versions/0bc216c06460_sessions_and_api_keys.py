"""Sessions and API keys.

Revision 0bc216c06460, after c45dffd4b858.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0bc216c06460"
down_revision = "c45dffd4b858"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("CREATE SCHEMA IF NOT EXISTS clarion_account")
    op.create_table(
        "api_key",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("secret_hash", sa.LargeBinary(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("scopes", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        schema="clarion_account",
    )
    op.create_index("api_key_by_address", "api_key", ["address", "created_at"], unique=False, schema="clarion_account")
    op.create_table(
        "secret",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
        schema="clarion_account",
    )
    op.create_table(
        "session",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("secret_hash", sa.LargeBinary(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("nonce", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("nonce"),
        schema="clarion_account",
    )
    op.create_index("session_by_address", "session", ["address", "created_at"], unique=False, schema="clarion_account")
    op.create_index("session_by_expiry", "session", ["expires_at"], unique=False, schema="clarion_account")


def downgrade() -> None:
    op.drop_index("session_by_expiry", table_name="session", schema="clarion_account")
    op.drop_index("session_by_address", table_name="session", schema="clarion_account")
    op.drop_table("session", schema="clarion_account")
    op.drop_table("secret", schema="clarion_account")
    op.drop_index("api_key_by_address", table_name="api_key", schema="clarion_account")
    op.drop_table("api_key", schema="clarion_account")
    op.execute("DROP SCHEMA clarion_account")
