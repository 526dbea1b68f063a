"""A displaced transaction of the keeper's is followed until that is final, and leaves its nonce to others meanwhile.

Revision bc40f4f26448, after e19a3c7b5d02.
"""

import sqlalchemy as sa
from alembic import op

revision = "bc40f4f26448"
down_revision = "e19a3c7b5d02"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _nonces_of("state NOT IN ('rejected', 'displaced')")
    op.drop_index("outgoing_live", table_name="outgoing", schema="keeper")
    op.create_index(
        "outgoing_followed",
        "outgoing",
        ["account"],
        unique=False,
        schema="keeper",
        postgresql_where=sa.text("state IN ('signed', 'broadcast', 'mined', 'displaced')"),
    )


def downgrade() -> None:
    op.execute("UPDATE keeper.outgoing SET state = 'rejected', ended_at = clock_timestamp() WHERE state = 'displaced'")
    op.drop_index("outgoing_followed", table_name="outgoing", schema="keeper")
    op.create_index(
        "outgoing_live",
        "outgoing",
        ["account"],
        unique=False,
        schema="keeper",
        postgresql_where=sa.text("state IN ('signed', 'broadcast', 'mined')"),
    )
    _nonces_of("state <> 'rejected'")


def _nonces_of(states: str) -> None:
    """Which transactions have their nonce to themselves."""
    op.drop_index("outgoing_nonce", table_name="outgoing", schema="keeper")
    op.create_index(
        "outgoing_nonce",
        "outgoing",
        ["sender", "nonce"],
        unique=True,
        schema="keeper",
        postgresql_where=sa.text(states),
    )
