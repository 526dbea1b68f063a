"""Tables of BitHedge's eleven modules.

Revision c45dffd4b858, after c4a1d9e07b35.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "c45dffd4b858"
down_revision = "c4a1d9e07b35"
branch_labels = None
depends_on = None


def _add_amount(table: str, column: str) -> None:
    """An amount that is 0 in the rows there are; new ones say theirs."""
    kind = sa.Numeric(precision=39, scale=0)
    op.add_column(table, sa.Column(column, kind, server_default=sa.text("0"), nullable=False), schema="bithedge")
    op.alter_column(table, column, server_default=None, schema="bithedge")


def upgrade() -> None:
    op.create_table(
        "claim",
        sa.Column("updated_height", sa.BigInteger(), nullable=False),
        sa.Column("policy", sa.BigInteger(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("unpaid_usd8", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("approved_usd8", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("reason_hash", sa.Text(), nullable=True),
        sa.Column("resolution_hash", sa.Text(), nullable=True),
        sa.Column("arbiter", sa.Text(), nullable=True),
        sa.Column("opened_burn", sa.BigInteger(), nullable=True),
        sa.Column("opened_height", sa.BigInteger(), nullable=True),
        sa.Column("opened_time", sa.BigInteger(), nullable=True),
        sa.Column("opened_tx", sa.Text(), nullable=True),
        sa.Column("resolved_burn", sa.BigInteger(), nullable=True),
        sa.Column("resolved_height", sa.BigInteger(), nullable=True),
        sa.Column("resolved_time", sa.BigInteger(), nullable=True),
        sa.Column("resolved_tx", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("policy"),
        schema="bithedge",
    )
    op.create_index("claim_by_owner", "claim", ["owner"], unique=False, schema="bithedge")
    op.create_index("claim_by_state", "claim", ["state"], unique=False, schema="bithedge")
    op.create_table(
        "fee_discount",
        sa.Column("updated_height", sa.BigInteger(), nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("discount_bp", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("until_burn", sa.BigInteger(), nullable=True),
        sa.Column("proposal", sa.BigInteger(), nullable=True),
        sa.Column("uses", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("who"),
        schema="bithedge",
    )
    op.create_table(
        "fund_cover",
        sa.Column("updated_height", sa.BigInteger(), nullable=False),
        sa.Column("tier", sa.Text(), nullable=False),
        sa.Column("token", sa.Text(), nullable=False),
        sa.Column("left", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("max_liability_usd8", sa.Numeric(precision=39, scale=0), nullable=True),
        sa.Column("paid", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("proposal", sa.BigInteger(), nullable=True),
        sa.Column("set_height", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("tier", "token"),
        schema="bithedge",
    )
    op.create_table(
        "fund_entry",
        sa.Column("updated_height", sa.BigInteger(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("token", sa.Text(), nullable=False),
        sa.Column("amount", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("balance", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("account", sa.Text(), nullable=True),
        sa.Column("policy", sa.BigInteger(), nullable=True),
        sa.Column("tier", sa.Text(), nullable=True),
        sa.Column("height", sa.BigInteger(), nullable=False),
        sa.Column("burn_height", sa.BigInteger(), nullable=False),
        sa.Column("time", sa.BigInteger(), nullable=False),
        sa.Column("tx_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("seq"),
        schema="bithedge",
    )
    op.create_index("fund_entry_by_account", "fund_entry", ["account", "seq"], unique=False, schema="bithedge")
    op.create_index("fund_entry_by_kind", "fund_entry", ["kind", "token", "height"], unique=False, schema="bithedge")
    op.create_table(
        "fund_holding",
        sa.Column("updated_height", sa.BigInteger(), nullable=False),
        sa.Column("token", sa.Text(), nullable=False),
        sa.Column("balance", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("cover", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("received", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("paid", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("allocated", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("released", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.PrimaryKeyConstraint("token"),
        schema="bithedge",
    )
    op.create_table(
        "fund_payment",
        sa.Column("updated_height", sa.BigInteger(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("policy", sa.BigInteger(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("tier", sa.Text(), nullable=False),
        sa.Column("token", sa.Text(), nullable=False),
        sa.Column("amount", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("amount_usd8", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("unpaid_usd8", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("round", sa.BigInteger(), nullable=False),
        sa.Column("price_usd8", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("height", sa.BigInteger(), nullable=False),
        sa.Column("burn_height", sa.BigInteger(), nullable=False),
        sa.Column("time", sa.BigInteger(), nullable=False),
        sa.Column("tx_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("seq"),
        schema="bithedge",
    )
    op.create_index("fund_payment_by_owner", "fund_payment", ["owner", "seq"], unique=False, schema="bithedge")
    op.create_index("fund_payment_by_policy", "fund_payment", ["policy"], unique=False, schema="bithedge")
    op.create_table(
        "fund_takeover",
        sa.Column("updated_height", sa.BigInteger(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("policy", sa.BigInteger(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("tier", sa.Text(), nullable=False),
        sa.Column("token", sa.Text(), nullable=False),
        sa.Column("expiry_burn", sa.BigInteger(), nullable=False),
        sa.Column("liability_usd8", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("collateral", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("price", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("paid", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("height", sa.BigInteger(), nullable=False),
        sa.Column("time", sa.BigInteger(), nullable=False),
        sa.Column("tx_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("seq"),
        schema="bithedge",
    )
    op.create_index("fund_takeover_by_policy", "fund_takeover", ["policy"], unique=False, schema="bithedge")
    op.create_table(
        "governance",
        sa.Column("updated_height", sa.BigInteger(), nullable=False),
        sa.Column("contract", sa.Text(), nullable=False),
        sa.Column("token", sa.Text(), nullable=True),
        sa.Column("asset_name", sa.Text(), nullable=True),
        sa.Column("power", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.PrimaryKeyConstraint("contract"),
        schema="bithedge",
    )
    op.create_table(
        "liquidation",
        sa.Column("updated_height", sa.BigInteger(), nullable=False),
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.Column("call", sa.BigInteger(), nullable=False),
        sa.Column("policy", sa.BigInteger(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("tier", sa.Text(), nullable=False),
        sa.Column("token", sa.Text(), nullable=False),
        sa.Column("taker", sa.Text(), nullable=False),
        sa.Column("is_forced", sa.Boolean(), nullable=False),
        sa.Column("liability_usd8", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("collateral_from", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("collateral_to", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("spot_usd8", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("spot_round", sa.BigInteger(), nullable=False),
        sa.Column("token_price_usd8", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("token_round", sa.BigInteger(), nullable=False),
        sa.Column("vol_bp", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("fair_usd8", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("price_usd8", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("price", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("paid", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("bounty", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("bounty_to", sa.Text(), nullable=False),
        sa.Column("penalty", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("health_bp_before", sa.Numeric(precision=39, scale=0), nullable=True),
        sa.Column("health_bp_after", sa.Numeric(precision=39, scale=0), nullable=True),
        sa.Column("taker_health_bp", sa.Numeric(precision=39, scale=0), nullable=True),
        sa.Column("height", sa.BigInteger(), nullable=False),
        sa.Column("burn_height", sa.BigInteger(), nullable=False),
        sa.Column("time", sa.BigInteger(), nullable=False),
        sa.Column("tx_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        schema="bithedge",
    )
    op.create_index("liquidation_by_policy", "liquidation", ["policy"], unique=False, schema="bithedge")
    op.create_index("liquidation_by_provider", "liquidation", ["provider", "id"], unique=False, schema="bithedge")
    op.create_index("liquidation_by_taker", "liquidation", ["taker", "id"], unique=False, schema="bithedge")
    op.create_table(
        "margin_call",
        sa.Column("updated_height", sa.BigInteger(), nullable=False),
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("tier", sa.Text(), nullable=False),
        sa.Column("token", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("level", sa.Text(), nullable=False),
        sa.Column("issued_burn", sa.BigInteger(), nullable=False),
        sa.Column("deadline_burn", sa.BigInteger(), nullable=False),
        sa.Column("round", sa.BigInteger(), nullable=False),
        sa.Column("price_usd8", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("health_bp", sa.Numeric(precision=39, scale=0), nullable=True),
        sa.Column("liability_usd8", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("capital", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("deficit", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("liquidations", sa.BigInteger(), nullable=False),
        sa.Column("issued_height", sa.BigInteger(), nullable=False),
        sa.Column("issued_time", sa.BigInteger(), nullable=False),
        sa.Column("issued_tx", sa.Text(), nullable=False),
        sa.Column("escalated_height", sa.BigInteger(), nullable=True),
        sa.Column("resolved_health_bp", sa.Numeric(precision=39, scale=0), nullable=True),
        sa.Column("resolved_height", sa.BigInteger(), nullable=True),
        sa.Column("resolved_time", sa.BigInteger(), nullable=True),
        sa.Column("resolved_tx", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        schema="bithedge",
    )
    op.create_index(
        "margin_call_by_position", "margin_call", ["provider", "tier", "token"], unique=False, schema="bithedge"
    )
    op.create_index("margin_call_by_state", "margin_call", ["state", "deadline_burn"], unique=False, schema="bithedge")
    op.create_table(
        "metric",
        sa.Column("updated_height", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("module", sa.Text(), nullable=False),
        sa.Column("value", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("limit", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("breaker", sa.Text(), nullable=False),
        sa.Column("reported_height", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("name"),
        schema="bithedge",
    )
    op.create_table(
        "migration",
        sa.Column("updated_height", sa.BigInteger(), nullable=False),
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.Column("module", sa.Text(), nullable=False),
        sa.Column("from_version", sa.BigInteger(), nullable=True),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("cursor", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("steps", sa.BigInteger(), nullable=False),
        sa.Column("done", sa.Boolean(), nullable=False),
        sa.Column("begun_height", sa.BigInteger(), nullable=True),
        sa.Column("finished_height", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        schema="bithedge",
    )
    op.create_index("migration_by_module", "migration", ["module", "version"], unique=False, schema="bithedge")
    op.create_table(
        "power_checkpoint",
        sa.Column("updated_height", sa.BigInteger(), nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("index", sa.BigInteger(), nullable=False),
        sa.Column("from_burn", sa.BigInteger(), nullable=False),
        sa.Column("power", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.PrimaryKeyConstraint("who", "index"),
        schema="bithedge",
    )
    op.create_index(
        "power_checkpoint_by_block", "power_checkpoint", ["who", "from_burn"], unique=False, schema="bithedge"
    )
    op.create_table(
        "program",
        sa.Column("updated_height", sa.BigInteger(), nullable=False),
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.Column("token", sa.Text(), nullable=True),
        sa.Column("start_burn", sa.BigInteger(), nullable=True),
        sa.Column("epoch_burn", sa.BigInteger(), nullable=True),
        sa.Column("epochs", sa.BigInteger(), nullable=True),
        sa.Column("epoch_cap", sa.Numeric(precision=39, scale=0), nullable=True),
        sa.Column("premium_bp", sa.Numeric(precision=39, scale=0), nullable=True),
        sa.Column("vesting_burn", sa.BigInteger(), nullable=True),
        sa.Column("claim_burn", sa.BigInteger(), nullable=True),
        sa.Column("budget", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("funded", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("claimed", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("returned", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("ended", sa.Boolean(), nullable=False),
        sa.Column("proposal", sa.BigInteger(), nullable=True),
        sa.Column("created_height", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        schema="bithedge",
    )
    op.create_table(
        "program_entry",
        sa.Column("updated_height", sa.BigInteger(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("program", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("token", sa.Text(), nullable=False),
        sa.Column("amount", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("account", sa.Text(), nullable=True),
        sa.Column("epoch", sa.BigInteger(), nullable=True),
        sa.Column("height", sa.BigInteger(), nullable=False),
        sa.Column("burn_height", sa.BigInteger(), nullable=False),
        sa.Column("time", sa.BigInteger(), nullable=False),
        sa.Column("tx_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("seq"),
        schema="bithedge",
    )
    op.create_index("program_entry_by_account", "program_entry", ["account", "seq"], unique=False, schema="bithedge")
    op.create_index("program_entry_by_program", "program_entry", ["program", "seq"], unique=False, schema="bithedge")
    op.create_table(
        "program_epoch",
        sa.Column("updated_height", sa.BigInteger(), nullable=False),
        sa.Column("program", sa.BigInteger(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("token", sa.Text(), nullable=False),
        sa.Column("root", sa.Text(), nullable=False),
        sa.Column("total", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("leaves", sa.BigInteger(), nullable=False),
        sa.Column("posted_burn", sa.BigInteger(), nullable=False),
        sa.Column("claimable_burn", sa.BigInteger(), nullable=False),
        sa.Column("vested_burn", sa.BigInteger(), nullable=False),
        sa.Column("deadline_burn", sa.BigInteger(), nullable=False),
        sa.Column("claimed", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("returned", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("posted_height", sa.BigInteger(), nullable=False),
        sa.Column("posted_tx", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("program", "epoch"),
        schema="bithedge",
    )
    op.create_index(
        "program_epoch_by_state", "program_epoch", ["state", "claimable_burn"], unique=False, schema="bithedge"
    )
    op.create_table(
        "program_fund",
        sa.Column("updated_height", sa.BigInteger(), nullable=False),
        sa.Column("program", sa.BigInteger(), nullable=False),
        sa.Column("token", sa.Text(), nullable=False),
        sa.Column("amount", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.PrimaryKeyConstraint("program", "token"),
        schema="bithedge",
    )
    op.create_table(
        "proposal",
        sa.Column("updated_height", sa.BigInteger(), nullable=False),
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("proposer", sa.Text(), nullable=True),
        sa.Column("title_hash", sa.Text(), nullable=True),
        sa.Column("uri", sa.Text(), nullable=True),
        sa.Column("actions", sa.BigInteger(), nullable=True),
        sa.Column("about_guardian", sa.Boolean(), nullable=True),
        sa.Column("created_burn", sa.BigInteger(), nullable=True),
        sa.Column("snapshot_burn", sa.BigInteger(), nullable=True),
        sa.Column("total_power", sa.Numeric(precision=39, scale=0), nullable=True),
        sa.Column("voting_ends_burn", sa.BigInteger(), nullable=True),
        sa.Column("eta_burn", sa.BigInteger(), nullable=True),
        sa.Column("grace_ends_burn", sa.BigInteger(), nullable=True),
        sa.Column("quorum_bp", sa.Numeric(precision=39, scale=0), nullable=True),
        sa.Column("pass_bp", sa.Numeric(precision=39, scale=0), nullable=True),
        sa.Column("for_power", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("against_power", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("abstain_power", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("votes", sa.BigInteger(), nullable=False),
        sa.Column("created_height", sa.BigInteger(), nullable=True),
        sa.Column("created_time", sa.BigInteger(), nullable=True),
        sa.Column("created_tx", sa.Text(), nullable=True),
        sa.Column("finalized_height", sa.BigInteger(), nullable=True),
        sa.Column("ended_height", sa.BigInteger(), nullable=True),
        sa.Column("ended_tx", sa.Text(), nullable=True),
        sa.Column("cancelled_from", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        schema="bithedge",
    )
    op.create_index("proposal_by_state", "proposal", ["state", "voting_ends_burn"], unique=False, schema="bithedge")
    op.create_table(
        "proposal_action",
        sa.Column("updated_height", sa.BigInteger(), nullable=False),
        sa.Column("proposal", sa.BigInteger(), nullable=False),
        sa.Column("index", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("data", sa.Text(), nullable=False),
        sa.Column("arguments", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.PrimaryKeyConstraint("proposal", "index"),
        schema="bithedge",
    )
    op.create_index("proposal_action_by_kind", "proposal_action", ["kind"], unique=False, schema="bithedge")
    op.create_table(
        "proposal_vote",
        sa.Column("updated_height", sa.BigInteger(), nullable=False),
        sa.Column("proposal", sa.BigInteger(), nullable=False),
        sa.Column("voter", sa.Text(), nullable=False),
        sa.Column("choice", sa.Text(), nullable=False),
        sa.Column("power", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("height", sa.BigInteger(), nullable=False),
        sa.Column("burn_height", sa.BigInteger(), nullable=False),
        sa.Column("time", sa.BigInteger(), nullable=False),
        sa.Column("tx_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("proposal", "voter"),
        schema="bithedge",
    )
    op.create_index("proposal_vote_by_voter", "proposal_vote", ["voter"], unique=False, schema="bithedge")
    op.create_table(
        "recovery_plan",
        sa.Column("updated_height", sa.BigInteger(), nullable=False),
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.Column("token", sa.Text(), nullable=False),
        sa.Column("target", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("raised", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("ends_burn", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("contributions", sa.BigInteger(), nullable=False),
        sa.Column("proposal", sa.BigInteger(), nullable=True),
        sa.Column("started_height", sa.BigInteger(), nullable=False),
        sa.Column("ended_height", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        schema="bithedge",
    )
    op.create_table(
        "reward",
        sa.Column("updated_height", sa.BigInteger(), nullable=False),
        sa.Column("program", sa.BigInteger(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("token", sa.Text(), nullable=False),
        sa.Column("index", sa.BigInteger(), nullable=False),
        sa.Column("entitled", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("claimed", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("first_claim_height", sa.BigInteger(), nullable=False),
        sa.Column("last_claim_height", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("program", "epoch", "who"),
        schema="bithedge",
    )
    op.create_index("reward_by_user", "reward", ["who"], unique=False, schema="bithedge")
    op.create_table(
        "staker",
        sa.Column("updated_height", sa.BigInteger(), nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("stake", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("delegate", sa.Text(), nullable=False),
        sa.Column("power", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("locked_until_burn", sa.BigInteger(), nullable=True),
        sa.Column("proposals", sa.BigInteger(), nullable=False),
        sa.Column("votes", sa.BigInteger(), nullable=False),
        sa.Column("first_seen_height", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("who"),
        schema="bithedge",
    )
    op.create_index("staker_by_delegate", "staker", ["delegate"], unique=False, schema="bithedge")
    op.create_index("staker_by_power", "staker", ["power"], unique=False, schema="bithedge")
    op.create_table(
        "treasury_allocation",
        sa.Column("updated_height", sa.BigInteger(), nullable=False),
        sa.Column("rank", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("receiver", sa.Text(), nullable=False),
        sa.Column("share_bp", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("proposal", sa.BigInteger(), nullable=True),
        sa.Column("set_height", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("rank"),
        schema="bithedge",
    )
    op.create_table(
        "treasury_entry",
        sa.Column("updated_height", sa.BigInteger(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("token", sa.Text(), nullable=False),
        sa.Column("amount", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("account", sa.Text(), nullable=True),
        sa.Column("allocation", sa.Text(), nullable=True),
        sa.Column("batch", sa.BigInteger(), nullable=True),
        sa.Column("program", sa.BigInteger(), nullable=True),
        sa.Column("proposal", sa.BigInteger(), nullable=True),
        sa.Column("height", sa.BigInteger(), nullable=False),
        sa.Column("burn_height", sa.BigInteger(), nullable=False),
        sa.Column("time", sa.BigInteger(), nullable=False),
        sa.Column("tx_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("seq"),
        schema="bithedge",
    )
    op.create_index("treasury_entry_by_account", "treasury_entry", ["account", "seq"], unique=False, schema="bithedge")
    op.create_index(
        "treasury_entry_by_token", "treasury_entry", ["token", "kind", "height"], unique=False, schema="bithedge"
    )
    op.create_table(
        "treasury_holding",
        sa.Column("updated_height", sa.BigInteger(), nullable=False),
        sa.Column("token", sa.Text(), nullable=False),
        sa.Column("collected", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("shared", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("programs", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("fees", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("contributed", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("claimed", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("spent", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.PrimaryKeyConstraint("token"),
        schema="bithedge",
    )
    op.create_table(
        "treasury_share",
        sa.Column("updated_height", sa.BigInteger(), nullable=False),
        sa.Column("receiver", sa.Text(), nullable=False),
        sa.Column("token", sa.Text(), nullable=False),
        sa.Column("amount", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("received", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.PrimaryKeyConstraint("receiver", "token"),
        schema="bithedge",
    )
    op.create_index("treasury_share_by_token", "treasury_share", ["token"], unique=False, schema="bithedge")
    _add_amount("policy", "discount")
    _add_amount("position", "moved_in")
    _add_amount("position", "moved_out")
    op.add_column("position", sa.Column("arrived_height", sa.BigInteger(), nullable=True), schema="bithedge")
    _add_amount("tier_pool", "moved_in")
    _add_amount("tier_pool", "moved_out")
    _add_amount("token_pool", "moved_in")
    _add_amount("token_pool", "moved_out")
    _add_amount("withdraw_request", "paid")
    _add_amount("yield_balance", "credited")


def downgrade() -> None:
    op.drop_column("yield_balance", "credited", schema="bithedge")
    op.drop_column("withdraw_request", "paid", schema="bithedge")
    op.drop_column("token_pool", "moved_out", schema="bithedge")
    op.drop_column("token_pool", "moved_in", schema="bithedge")
    op.drop_column("tier_pool", "moved_out", schema="bithedge")
    op.drop_column("tier_pool", "moved_in", schema="bithedge")
    op.drop_column("position", "arrived_height", schema="bithedge")
    op.drop_column("position", "moved_out", schema="bithedge")
    op.drop_column("position", "moved_in", schema="bithedge")
    op.drop_column("policy", "discount", schema="bithedge")
    op.drop_index("treasury_share_by_token", table_name="treasury_share", schema="bithedge")
    op.drop_table("treasury_share", schema="bithedge")
    op.drop_table("treasury_holding", schema="bithedge")
    op.drop_index("treasury_entry_by_token", table_name="treasury_entry", schema="bithedge")
    op.drop_index("treasury_entry_by_account", table_name="treasury_entry", schema="bithedge")
    op.drop_table("treasury_entry", schema="bithedge")
    op.drop_table("treasury_allocation", schema="bithedge")
    op.drop_index("staker_by_power", table_name="staker", schema="bithedge")
    op.drop_index("staker_by_delegate", table_name="staker", schema="bithedge")
    op.drop_table("staker", schema="bithedge")
    op.drop_index("reward_by_user", table_name="reward", schema="bithedge")
    op.drop_table("reward", schema="bithedge")
    op.drop_table("recovery_plan", schema="bithedge")
    op.drop_index("proposal_vote_by_voter", table_name="proposal_vote", schema="bithedge")
    op.drop_table("proposal_vote", schema="bithedge")
    op.drop_index("proposal_action_by_kind", table_name="proposal_action", schema="bithedge")
    op.drop_table("proposal_action", schema="bithedge")
    op.drop_index("proposal_by_state", table_name="proposal", schema="bithedge")
    op.drop_table("proposal", schema="bithedge")
    op.drop_table("program_fund", schema="bithedge")
    op.drop_index("program_epoch_by_state", table_name="program_epoch", schema="bithedge")
    op.drop_table("program_epoch", schema="bithedge")
    op.drop_index("program_entry_by_program", table_name="program_entry", schema="bithedge")
    op.drop_index("program_entry_by_account", table_name="program_entry", schema="bithedge")
    op.drop_table("program_entry", schema="bithedge")
    op.drop_table("program", schema="bithedge")
    op.drop_index("power_checkpoint_by_block", table_name="power_checkpoint", schema="bithedge")
    op.drop_table("power_checkpoint", schema="bithedge")
    op.drop_index("migration_by_module", table_name="migration", schema="bithedge")
    op.drop_table("migration", schema="bithedge")
    op.drop_table("metric", schema="bithedge")
    op.drop_index("margin_call_by_state", table_name="margin_call", schema="bithedge")
    op.drop_index("margin_call_by_position", table_name="margin_call", schema="bithedge")
    op.drop_table("margin_call", schema="bithedge")
    op.drop_index("liquidation_by_taker", table_name="liquidation", schema="bithedge")
    op.drop_index("liquidation_by_provider", table_name="liquidation", schema="bithedge")
    op.drop_index("liquidation_by_policy", table_name="liquidation", schema="bithedge")
    op.drop_table("liquidation", schema="bithedge")
    op.drop_table("governance", schema="bithedge")
    op.drop_index("fund_takeover_by_policy", table_name="fund_takeover", schema="bithedge")
    op.drop_table("fund_takeover", schema="bithedge")
    op.drop_index("fund_payment_by_policy", table_name="fund_payment", schema="bithedge")
    op.drop_index("fund_payment_by_owner", table_name="fund_payment", schema="bithedge")
    op.drop_table("fund_payment", schema="bithedge")
    op.drop_table("fund_holding", schema="bithedge")
    op.drop_index("fund_entry_by_kind", table_name="fund_entry", schema="bithedge")
    op.drop_index("fund_entry_by_account", table_name="fund_entry", schema="bithedge")
    op.drop_table("fund_entry", schema="bithedge")
    op.drop_table("fund_cover", schema="bithedge")
    op.drop_table("fee_discount", schema="bithedge")
    op.drop_index("claim_by_state", table_name="claim", schema="bithedge")
    op.drop_index("claim_by_owner", table_name="claim", schema="bithedge")
    op.drop_table("claim", schema="bithedge")
