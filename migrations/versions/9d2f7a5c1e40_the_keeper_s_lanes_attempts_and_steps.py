"""The keeper's lanes, attempts, steps, lease and controls.

What the former keeper remembered is dropped: it holds nothing that the next look at the chain does not give again.
A transaction it had sent and that is not mined yet keeps its nonce at the node, and is mined or not as before.

Revision 9d2f7a5c1e40, after f27c1e90ab53.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "9d2f7a5c1e40"
down_revision = "f27c1e90ab53"
branch_labels = None
depends_on = None

AMOUNT = sa.Numeric(precision=40, scale=0)
MICRO = sa.Numeric(precision=20, scale=0)


def now(name: str) -> sa.Column:
    return sa.Column(name, sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False)


def number() -> sa.Column:
    return sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False)


def upgrade() -> None:
    op.drop_table("intent", schema="keeper")
    op.drop_table("outgoing", schema="keeper")
    op.create_table(
        "intent",
        number(),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("job", sa.Text(), nullable=False),
        sa.Column("lane", sa.Text(), nullable=False),
        sa.Column("chain", sa.Text(), nullable=False),
        sa.Column("item", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("value_usd8", AMOUNT, nullable=False),
        sa.Column("reward_token", sa.Text(), nullable=True),
        sa.Column("reward_amount", AMOUNT, nullable=True),
        sa.Column("deadline_burn", sa.BigInteger(), nullable=True),
        sa.Column("cause", sa.Text(), nullable=False),
        sa.Column("entity", sa.Text(), nullable=False),
        sa.Column("decided_height", sa.BigInteger(), nullable=False),
        sa.Column("decided_hash", sa.Text(), nullable=False),
        sa.Column("decided_burn", sa.BigInteger(), nullable=False),
        sa.Column("decided_sequence", sa.BigInteger(), nullable=False),
        sa.Column("first_burn", sa.BigInteger(), nullable=False),
        sa.Column("outgoing_id", sa.BigInteger(), nullable=True),
        sa.Column("waiting", sa.Text(), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("benign", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("earned_token", sa.Text(), nullable=True),
        sa.Column("earned_amount", AMOUNT, nullable=True),
        now("created_at"),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        schema="keeper",
    )
    open_states = sa.text("state IN ('planned', 'sent')")
    op.create_index("intent_open_key", "intent", ["key"], unique=True, schema="keeper", postgresql_where=open_states)
    op.create_index("intent_by_key", "intent", ["key", "id"], unique=False, schema="keeper")
    op.create_index("intent_by_outgoing", "intent", ["outgoing_id"], unique=False, schema="keeper")
    op.create_index("intent_by_state", "intent", ["state", "id"], unique=False, schema="keeper")
    op.create_index("intent_by_end", "intent", ["ended_at"], unique=False, schema="keeper")
    op.create_table(
        "outgoing",
        number(),
        sa.Column("chain", sa.Text(), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("sender", sa.Text(), nullable=False),
        sa.Column("nonce", MICRO, nullable=True),
        sa.Column("lane", sa.Text(), nullable=False),
        sa.Column("job", sa.Text(), nullable=False),
        sa.Column("contract", sa.Text(), nullable=False),
        sa.Column("function", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("height", sa.BigInteger(), nullable=False),
        sa.Column("burn", sa.BigInteger(), nullable=False),
        sa.Column("first_burn", sa.BigInteger(), nullable=False),
        sa.Column("seen_sequence", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("deadline_burn", sa.BigInteger(), nullable=True),
        sa.Column("tx_id", sa.LargeBinary(), nullable=True),
        sa.Column("block_height", sa.BigInteger(), nullable=True),
        sa.Column("block_hash", sa.LargeBinary(), nullable=True),
        sa.Column("fee_paid", MICRO, nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        now("created_at"),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        schema="keeper",
    )
    op.create_index(
        "outgoing_nonce",
        "outgoing",
        ["sender", "nonce"],
        unique=True,
        schema="keeper",
        postgresql_where=sa.text("state <> 'rejected'"),
    )
    op.create_index(
        "outgoing_live",
        "outgoing",
        ["account"],
        unique=False,
        schema="keeper",
        postgresql_where=sa.text("state IN ('signed', 'broadcast', 'mined')"),
    )
    op.create_table(
        "attempt",
        sa.Column("tx_id", sa.LargeBinary(), nullable=False),
        sa.Column("outgoing_id", sa.BigInteger(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("fee", MICRO, nullable=False),
        sa.Column("raw", sa.LargeBinary(), nullable=False),
        sa.Column("intents", postgresql.ARRAY(sa.BigInteger()), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        now("signed_at"),
        sa.Column("first_sent_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["outgoing_id"], ["keeper.outgoing.id"]),
        sa.PrimaryKeyConstraint("tx_id"),
        schema="keeper",
    )
    op.create_index("attempt_number", "attempt", ["outgoing_id", "number"], unique=True, schema="keeper")
    op.create_table(
        "step",
        number(),
        sa.Column("intent_id", sa.BigInteger(), nullable=False),
        now("at"),
        sa.Column("what", sa.Text(), nullable=False),
        sa.Column("detail", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.ForeignKeyConstraint(["intent_id"], ["keeper.intent.id"]),
        sa.PrimaryKeyConstraint("id"),
        schema="keeper",
    )
    op.create_index("step_by_intent", "step", ["intent_id", "id"], unique=False, schema="keeper")
    op.create_table(
        "account",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("sender", sa.Text(), nullable=False),
        sa.Column("chain", sa.Text(), nullable=False),
        sa.Column("lanes", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("balance", MICRO, nullable=False),
        sa.Column("nonce", MICRO, nullable=True),
        sa.Column("spent_last_hour", MICRO, nullable=False),
        now("checked_at"),
        sa.PrimaryKeyConstraint("name"),
        schema="keeper",
    )
    op.create_table(
        "lease",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("holder", sa.Text(), nullable=False),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name"),
        schema="keeper",
    )
    op.create_table(
        "control",
        sa.Column("job", sa.Text(), nullable=False),
        sa.Column("paused", sa.Boolean(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        now("at"),
        sa.PrimaryKeyConstraint("job"),
        schema="keeper",
    )
    op.create_table(
        "coin",
        sa.Column("outpoint", sa.Text(), nullable=False),
        sa.Column("outgoing_id", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["outgoing_id"], ["keeper.outgoing.id"]),
        sa.PrimaryKeyConstraint("outpoint"),
        schema="keeper",
    )
    op.create_index("coin_by_outgoing", "coin", ["outgoing_id"], unique=False, schema="keeper")
    op.execute(
        """
        CREATE FUNCTION keeper.notify_change() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            PERFORM pg_notify('clarion_keeper', TG_TABLE_NAME || ':' || NEW.id);
            RETURN NULL;
        END $$
        """
    )
    # not of what every look at the chain writes anew
    for table, columns in (
        ("intent", "state, outgoing_id, waiting, outcome, benign"),
        ("outgoing", "state, tx_id, error, height"),
    ):
        op.execute(
            f"CREATE TRIGGER notify_change AFTER INSERT OR UPDATE OF {columns} ON keeper.{table} "
            "FOR EACH ROW EXECUTE FUNCTION keeper.notify_change()"
        )


def downgrade() -> None:
    for table in ("coin", "control", "lease", "account", "step", "attempt", "outgoing", "intent"):
        op.drop_table(table, schema="keeper")
    op.execute("DROP FUNCTION keeper.notify_change()")
    op.create_table(
        "intent",
        number(),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("job", sa.Text(), nullable=False),
        sa.Column("item", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("decided_height", sa.BigInteger(), nullable=False),
        sa.Column("decided_hash", sa.Text(), nullable=False),
        sa.Column("tx_id", sa.LargeBinary(), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=True),
        now("created_at"),
        sa.PrimaryKeyConstraint("id"),
        schema="keeper",
    )
    op.create_index("intent_by_transaction", "intent", ["tx_id"], unique=False, schema="keeper")
    open_states = sa.text("state IN ('planned', 'sent')")
    op.create_index("intent_open_key", "intent", ["key"], unique=True, schema="keeper", postgresql_where=open_states)
    op.create_table(
        "outgoing",
        sa.Column("tx_id", sa.LargeBinary(), nullable=False),
        sa.Column("job", sa.Text(), nullable=False),
        sa.Column("sender", sa.Text(), nullable=False),
        sa.Column("nonce", MICRO, nullable=False),
        sa.Column("fee", MICRO, nullable=False),
        sa.Column("contract", sa.Text(), nullable=False),
        sa.Column("function", sa.Text(), nullable=False),
        sa.Column("raw", sa.LargeBinary(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("block_hash", sa.LargeBinary(), nullable=True),
        sa.Column("block_height", sa.BigInteger(), nullable=True),
        sa.Column("last_error", sa.Text(), nullable=True),
        now("created_at"),
        sa.PrimaryKeyConstraint("tx_id"),
        schema="keeper",
    )
    op.create_index(
        "outgoing_nonce",
        "outgoing",
        ["sender", "nonce"],
        unique=True,
        schema="keeper",
        postgresql_where=sa.text("state <> 'rejected'"),
    )
