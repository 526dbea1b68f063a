"""Time travel finds the changes of a key by the index on keys, whatever the planner knows of the change log.

Revision e3b80c5f1a96, after 0bc216c06460.
"""

import sqlalchemy as sa
from alembic import op

revision = "e3b80c5f1a96"
down_revision = "0bc216c06460"
branch_labels = None
depends_on = None


# Two indexes fit the condition: on the hash of the key, which finds few changes, and the primary key on (chain,
# sequence), which finds all of them. Without statistics (after a first fill) Postgres took the second. An expression in
# the place of the column leaves only the first.
BY_ANY_INDEX = """WHERE c.chain = %1$L AND c."table" = %2$L AND c.key = {} '"""
BY_KEY = """WHERE c.chain || '''' = %1$L AND c."table" = %2$L AND c.key = {} '"""


def upgrade() -> None:
    replace_in_as_of_query(BY_ANY_INDEX, BY_KEY)


def downgrade() -> None:
    replace_in_as_of_query(BY_KEY, BY_ANY_INDEX)


def replace_in_as_of_query(old: str, new: str) -> None:
    connection = op.get_bind()
    text = connection.execute(sa.text("SELECT pg_get_functiondef('clarion.as_of_query'\\:\\:regproc)")).scalar_one()
    if old not in text:
        raise RuntimeError("clarion.as_of_query is not the function that this migration changes")
    connection.exec_driver_sql(text.replace(old, new).replace("%", "%%"))
