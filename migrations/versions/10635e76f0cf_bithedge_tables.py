"""bithedge tables.

Revision 10635e76f0cf, after c77735d7a759.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "10635e76f0cf"
down_revision = "c77735d7a759"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("CREATE SCHEMA bithedge")
    op.create_table(
        "account_entry",
        sa.Column("updated_height", sa.BigInteger(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("token", sa.Text(), nullable=False),
        sa.Column("amount", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("tier", sa.Text(), nullable=True),
        sa.Column("policy", sa.BigInteger(), nullable=True),
        sa.Column("height", sa.BigInteger(), nullable=False),
        sa.Column("burn_height", sa.BigInteger(), nullable=False),
        sa.Column("time", sa.BigInteger(), nullable=False),
        sa.Column("tx_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("seq"),
        schema="bithedge",
    )
    op.create_index("account_entry_by_account", "account_entry", ["account", "seq"], unique=False, schema="bithedge")
    op.create_index(
        "account_entry_by_kind", "account_entry", ["kind", "token", "height"], unique=False, schema="bithedge"
    )
    op.create_index("account_entry_by_policy", "account_entry", ["policy"], unique=False, schema="bithedge")
    op.create_table(
        "allocation",
        sa.Column("updated_height", sa.BigInteger(), nullable=False),
        sa.Column("policy", sa.BigInteger(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("place", sa.BigInteger(), nullable=False),
        sa.Column("tier", sa.Text(), nullable=False),
        sa.Column("token", sa.Text(), nullable=False),
        sa.Column("expiry_burn", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("liability_usd8", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("collateral", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("premium", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("paid", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("released", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("premium_earned", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.PrimaryKeyConstraint("policy", "provider"),
        schema="bithedge",
    )
    op.create_index("allocation_by_pool", "allocation", ["tier", "token", "state"], unique=False, schema="bithedge")
    op.create_index(
        "allocation_by_provider", "allocation", ["provider", "state", "expiry_burn"], unique=False, schema="bithedge"
    )
    op.create_table(
        "asset",
        sa.Column("updated_height", sa.BigInteger(), nullable=False),
        sa.Column("asset", sa.Text(), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=True),
        sa.Column("insurable", sa.Boolean(), nullable=True),
        sa.Column("reference_usd8", sa.Numeric(precision=39, scale=0), nullable=True),
        sa.Column("next_round", sa.BigInteger(), nullable=False),
        sa.Column("last_round", sa.BigInteger(), nullable=False),
        sa.Column("price_usd8", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("opened_burn", sa.BigInteger(), nullable=False),
        sa.Column("var_e12", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("candidate_usd8", sa.Numeric(precision=39, scale=0), nullable=True),
        sa.Column("fallback_usd8", sa.Numeric(precision=39, scale=0), nullable=True),
        sa.Column("fallback_from_burn", sa.BigInteger(), nullable=True),
        sa.Column("fallback_reason", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("asset"),
        schema="bithedge",
    )
    op.create_table(
        "contract_sequence",
        sa.Column("updated_height", sa.BigInteger(), nullable=False),
        sa.Column("contract", sa.Text(), nullable=False),
        sa.Column("first_seq", sa.BigInteger(), nullable=False),
        sa.Column("last_seq", sa.BigInteger(), nullable=False),
        sa.Column("missing", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("contract"),
        schema="bithedge",
    )
    op.create_table(
        "expiry_price",
        sa.Column("updated_height", sa.BigInteger(), nullable=False),
        sa.Column("asset", sa.Text(), nullable=False),
        sa.Column("expiry_burn", sa.BigInteger(), nullable=False),
        sa.Column("round", sa.BigInteger(), nullable=False),
        sa.Column("price_usd8", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("fixed_height", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("asset", "expiry_burn"),
        schema="bithedge",
    )
    op.create_table(
        "exposure",
        sa.Column("updated_height", sa.BigInteger(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("tier", sa.Text(), nullable=False),
        sa.Column("token", sa.Text(), nullable=False),
        sa.Column("expiry_burn", sa.BigInteger(), nullable=False),
        sa.Column("amount", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.PrimaryKeyConstraint("provider", "tier", "token", "expiry_burn"),
        schema="bithedge",
    )
    op.create_index("exposure_by_pool", "exposure", ["tier", "token", "expiry_burn"], unique=False, schema="bithedge")
    op.create_table(
        "fee_shares",
        sa.Column("updated_height", sa.BigInteger(), nullable=False),
        sa.Column("contract", sa.Text(), nullable=False),
        sa.Column("provider_bp", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("platform_bp", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("reserve_bp", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.PrimaryKeyConstraint("contract"),
        schema="bithedge",
    )
    op.create_table(
        "module",
        sa.Column("updated_height", sa.BigInteger(), nullable=False),
        sa.Column("module", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("contract", sa.Text(), nullable=False),
        sa.Column("code_hash", sa.Text(), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("active_from_burn", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("module", "version"),
        schema="bithedge",
    )
    op.create_index("module_by_contract", "module", ["contract"], unique=False, schema="bithedge")
    op.create_table(
        "oracle_provider",
        sa.Column("updated_height", sa.BigInteger(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("weight", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("submissions", sa.BigInteger(), nullable=False),
        sa.Column("last_observed_burn", sa.BigInteger(), nullable=True),
        sa.Column("last_submitted_height", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("provider"),
        schema="bithedge",
    )
    op.create_table(
        "parameter",
        sa.Column("updated_height", sa.BigInteger(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("value", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("min", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("max", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.PrimaryKeyConstraint("key"),
        schema="bithedge",
    )
    op.create_table(
        "parameter_change",
        sa.Column("updated_height", sa.BigInteger(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("before", sa.Numeric(precision=39, scale=0), nullable=True),
        sa.Column("value", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("proposal", sa.Numeric(precision=39, scale=0), nullable=True),
        sa.Column("height", sa.BigInteger(), nullable=False),
        sa.Column("burn_height", sa.BigInteger(), nullable=False),
        sa.Column("time", sa.BigInteger(), nullable=False),
        sa.Column("tx_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("seq"),
        schema="bithedge",
    )
    op.create_index("parameter_change_by_key", "parameter_change", ["key", "seq"], unique=False, schema="bithedge")
    op.create_table(
        "policy",
        sa.Column("updated_height", sa.BigInteger(), nullable=False),
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("style", sa.Text(), nullable=False),
        sa.Column("tier", sa.Text(), nullable=False),
        sa.Column("asset", sa.Text(), nullable=False),
        sa.Column("token", sa.Text(), nullable=False),
        sa.Column("strike_usd8", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("notional_sat", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("max_payout_usd8", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("collateral", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("spot_usd8", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("round", sa.BigInteger(), nullable=False),
        sa.Column("token_price_usd8", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("token_round", sa.BigInteger(), nullable=False),
        sa.Column("vol_bp", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("util_bp", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("premium_usd8", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("premium", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("fee_platform", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("fee_reserve", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("premium_provider", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("created_burn", sa.BigInteger(), nullable=False),
        sa.Column("expiry_burn", sa.BigInteger(), nullable=False),
        sa.Column("cancel_until_burn", sa.BigInteger(), nullable=False),
        sa.Column("created_height", sa.BigInteger(), nullable=False),
        sa.Column("created_time", sa.BigInteger(), nullable=False),
        sa.Column("created_tx", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("settlement_usd8", sa.Numeric(precision=39, scale=0), nullable=True),
        sa.Column("settlement_round", sa.BigInteger(), nullable=True),
        sa.Column("settlement_token_usd8", sa.Numeric(precision=39, scale=0), nullable=True),
        sa.Column("settlement_token_round", sa.BigInteger(), nullable=True),
        sa.Column("payoff_usd8", sa.Numeric(precision=39, scale=0), nullable=True),
        sa.Column("paid", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("unpaid_usd8", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("refund", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("cancel_fee", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("settled_burn", sa.BigInteger(), nullable=True),
        sa.Column("settled_height", sa.BigInteger(), nullable=True),
        sa.Column("settled_time", sa.BigInteger(), nullable=True),
        sa.Column("settled_tx", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        schema="bithedge",
    )
    op.create_index("policy_by_asset", "policy", ["asset", "state", "expiry_burn"], unique=False, schema="bithedge")
    op.create_index("policy_by_creation", "policy", ["created_height"], unique=False, schema="bithedge")
    op.create_index("policy_by_expiry", "policy", ["state", "expiry_burn"], unique=False, schema="bithedge")
    op.create_index("policy_by_owner", "policy", ["owner", "state"], unique=False, schema="bithedge")
    op.create_index("policy_by_tier", "policy", ["tier", "token", "state"], unique=False, schema="bithedge")
    op.create_table(
        "policy_lock",
        sa.Column("updated_height", sa.BigInteger(), nullable=False),
        sa.Column("policy", sa.BigInteger(), nullable=False),
        sa.Column("module", sa.Text(), nullable=True),
        sa.Column("owner", sa.Text(), nullable=True),
        sa.Column("tier", sa.Text(), nullable=False),
        sa.Column("token", sa.Text(), nullable=False),
        sa.Column("expiry_burn", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("max_payout_usd8", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("collateral", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("premium", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("premium_provider", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("providers", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("paid", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("refunded", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("earned", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.PrimaryKeyConstraint("policy"),
        schema="bithedge",
    )
    op.create_index("policy_lock_by_owner", "policy_lock", ["owner"], unique=False, schema="bithedge")
    op.create_table(
        "policy_totals",
        sa.Column("updated_height", sa.BigInteger(), nullable=False),
        sa.Column("asset", sa.Text(), nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("active", sa.BigInteger(), nullable=False),
        sa.Column("exercised", sa.BigInteger(), nullable=False),
        sa.Column("settled_itm", sa.BigInteger(), nullable=False),
        sa.Column("expired_otm", sa.BigInteger(), nullable=False),
        sa.Column("cancelled", sa.BigInteger(), nullable=False),
        sa.Column("notional_sat", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("max_payout_usd8", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("premium_usd8", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("payoff_usd8", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("unpaid_usd8", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.PrimaryKeyConstraint("asset"),
        schema="bithedge",
    )
    op.create_table(
        "position",
        sa.Column("updated_height", sa.BigInteger(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("tier", sa.Text(), nullable=False),
        sa.Column("token", sa.Text(), nullable=False),
        sa.Column("available", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("locked", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("requested", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("liability_usd8", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("deposited", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("withdrawn", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("paid_out", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("premium_unearned", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("premium_earned", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("active_policies", sa.BigInteger(), nullable=False),
        sa.Column("first_deposit_height", sa.BigInteger(), nullable=True),
        sa.Column("first_deposit_burn", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("provider", "tier", "token"),
        schema="bithedge",
    )
    op.create_index("position_by_pool", "position", ["tier", "token"], unique=False, schema="bithedge")
    op.create_index("position_by_token", "position", ["token"], unique=False, schema="bithedge")
    op.create_table(
        "price_round",
        sa.Column("updated_height", sa.BigInteger(), nullable=False),
        sa.Column("asset", sa.Text(), nullable=False),
        sa.Column("round", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("mode", sa.Text(), nullable=False),
        sa.Column("opened_burn", sa.BigInteger(), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("weight", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("price_usd8", sa.Numeric(precision=39, scale=0), nullable=True),
        sa.Column("before_usd8", sa.Numeric(precision=39, scale=0), nullable=True),
        sa.Column("deviation_bp", sa.Numeric(precision=39, scale=0), nullable=True),
        sa.Column("spread_bp", sa.Numeric(precision=39, scale=0), nullable=True),
        sa.Column("var_e12", sa.Numeric(precision=39, scale=0), nullable=True),
        sa.Column("prev_round", sa.BigInteger(), nullable=True),
        sa.Column("prev_opened_burn", sa.BigInteger(), nullable=True),
        sa.Column("closed_burn", sa.BigInteger(), nullable=True),
        sa.Column("closed_height", sa.BigInteger(), nullable=True),
        sa.Column("closed_time", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("asset", "round"),
        schema="bithedge",
    )
    op.create_index(
        "price_round_by_opened", "price_round", ["asset", "state", "opened_burn"], unique=False, schema="bithedge"
    )
    op.create_index("price_round_by_time", "price_round", ["asset", "closed_time"], unique=False, schema="bithedge")
    op.create_table(
        "price_submission",
        sa.Column("updated_height", sa.BigInteger(), nullable=False),
        sa.Column("asset", sa.Text(), nullable=False),
        sa.Column("round", sa.BigInteger(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("place", sa.BigInteger(), nullable=False),
        sa.Column("price_usd8", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("weight", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("observed_burn", sa.BigInteger(), nullable=False),
        sa.Column("height", sa.BigInteger(), nullable=False),
        sa.Column("tx_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("asset", "round", "provider"),
        schema="bithedge",
    )
    op.create_index(
        "price_submission_by_provider", "price_submission", ["provider", "height"], unique=False, schema="bithedge"
    )
    op.create_table(
        "provider",
        sa.Column("updated_height", sa.BigInteger(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("auto_match", sa.Boolean(), nullable=False),
        sa.Column("first_seen_height", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("provider"),
        schema="bithedge",
    )
    op.create_table(
        "remainder_cover",
        sa.Column("updated_height", sa.BigInteger(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("policy", sa.BigInteger(), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("amount_usd8", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("unpaid_usd8", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("height", sa.BigInteger(), nullable=False),
        sa.Column("tx_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("seq"),
        schema="bithedge",
    )
    op.create_index("remainder_cover_by_policy", "remainder_cover", ["policy"], unique=False, schema="bithedge")
    op.create_table(
        "role",
        sa.Column("updated_height", sa.BigInteger(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("until_burn", sa.Numeric(precision=39, scale=0), nullable=True),
        sa.Column("granted_height", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("role", "who"),
        schema="bithedge",
    )
    op.create_index("role_by_holder", "role", ["who"], unique=False, schema="bithedge")
    op.create_table(
        "sequence_gap",
        sa.Column("updated_height", sa.BigInteger(), nullable=False),
        sa.Column("contract", sa.Text(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("expected", sa.BigInteger(), nullable=False),
        sa.Column("height", sa.BigInteger(), nullable=False),
        sa.Column("tx_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("contract", "seq"),
        schema="bithedge",
    )
    op.create_table(
        "switch",
        sa.Column("updated_height", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("flag", sa.Boolean(), nullable=True),
        sa.Column("tripped", sa.Boolean(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("since_burn", sa.BigInteger(), nullable=True),
        sa.Column("is_open", sa.Boolean(), nullable=True),
        sa.PrimaryKeyConstraint("name"),
        schema="bithedge",
    )
    op.create_table(
        "tier",
        sa.Column("updated_height", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("rank", sa.BigInteger(), nullable=False),
        sa.Column("strike_min_bp", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("strike_max_bp", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("max_duration_burn", sa.BigInteger(), nullable=False),
        sa.Column("premium_mult_bp", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("ratio_min_bp", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("ratio_warn_bp", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("max_policy_bp", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("max_expiry_bp", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
        schema="bithedge",
    )
    op.create_table(
        "tier_pool",
        sa.Column("updated_height", sa.BigInteger(), nullable=False),
        sa.Column("tier", sa.Text(), nullable=False),
        sa.Column("token", sa.Text(), nullable=False),
        sa.Column("available", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("locked", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("requested", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("liability_usd8", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("deposited", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("withdrawn", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("paid_out", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("premium_unearned", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("premium_earned", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("positions", sa.BigInteger(), nullable=False),
        sa.Column("active_policies", sa.BigInteger(), nullable=False),
        sa.Column("policies", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tier", "token"),
        schema="bithedge",
    )
    op.create_table(
        "token",
        sa.Column("updated_height", sa.BigInteger(), nullable=False),
        sa.Column("token", sa.Text(), nullable=False),
        sa.Column("asset", sa.Text(), nullable=False),
        sa.Column("asset_name", sa.Text(), nullable=False),
        sa.Column("native", sa.Boolean(), nullable=False),
        sa.Column("decimals", sa.BigInteger(), nullable=False),
        sa.Column("haircut_bp", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("cap", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("token"),
        schema="bithedge",
    )
    op.create_table(
        "token_pool",
        sa.Column("updated_height", sa.BigInteger(), nullable=False),
        sa.Column("token", sa.Text(), nullable=False),
        sa.Column("available", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("locked", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("unearned", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("yield_payable", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("platform_fees", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("reserve_fees", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("requested", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("liability_usd8", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("deposited", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("withdrawn", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("paid_out", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("premiums", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("premiums_earned", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("premiums_refunded", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("yield_claimed", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("fees_collected", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("positions", sa.BigInteger(), nullable=False),
        sa.Column("active_policies", sa.BigInteger(), nullable=False),
        sa.Column("policies", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("token"),
        schema="bithedge",
    )
    op.create_table(
        "withdraw_request",
        sa.Column("updated_height", sa.BigInteger(), nullable=False),
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("tier", sa.Text(), nullable=False),
        sa.Column("token", sa.Text(), nullable=False),
        sa.Column("amount", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("unlock_burn", sa.BigInteger(), nullable=True),
        sa.Column("requested_height", sa.BigInteger(), nullable=True),
        sa.Column("withdrawn_height", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        schema="bithedge",
    )
    op.create_index(
        "withdraw_request_by_provider", "withdraw_request", ["provider", "state"], unique=False, schema="bithedge"
    )
    op.create_index(
        "withdraw_request_by_unlock", "withdraw_request", ["state", "unlock_burn"], unique=False, schema="bithedge"
    )
    op.create_table(
        "yield_balance",
        sa.Column("updated_height", sa.BigInteger(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("token", sa.Text(), nullable=False),
        sa.Column("claimable", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("earned", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("claimed", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.PrimaryKeyConstraint("provider", "token"),
        schema="bithedge",
    )


def downgrade() -> None:
    op.drop_table("yield_balance", schema="bithedge")
    op.drop_index("withdraw_request_by_unlock", table_name="withdraw_request", schema="bithedge")
    op.drop_index("withdraw_request_by_provider", table_name="withdraw_request", schema="bithedge")
    op.drop_table("withdraw_request", schema="bithedge")
    op.drop_table("token_pool", schema="bithedge")
    op.drop_table("token", schema="bithedge")
    op.drop_table("tier_pool", schema="bithedge")
    op.drop_table("tier", schema="bithedge")
    op.drop_table("switch", schema="bithedge")
    op.drop_table("sequence_gap", schema="bithedge")
    op.drop_index("role_by_holder", table_name="role", schema="bithedge")
    op.drop_table("role", schema="bithedge")
    op.drop_index("remainder_cover_by_policy", table_name="remainder_cover", schema="bithedge")
    op.drop_table("remainder_cover", schema="bithedge")
    op.drop_table("provider", schema="bithedge")
    op.drop_index("price_submission_by_provider", table_name="price_submission", schema="bithedge")
    op.drop_table("price_submission", schema="bithedge")
    op.drop_index("price_round_by_time", table_name="price_round", schema="bithedge")
    op.drop_index("price_round_by_opened", table_name="price_round", schema="bithedge")
    op.drop_table("price_round", schema="bithedge")
    op.drop_index("position_by_token", table_name="position", schema="bithedge")
    op.drop_index("position_by_pool", table_name="position", schema="bithedge")
    op.drop_table("position", schema="bithedge")
    op.drop_table("policy_totals", schema="bithedge")
    op.drop_index("policy_lock_by_owner", table_name="policy_lock", schema="bithedge")
    op.drop_table("policy_lock", schema="bithedge")
    op.drop_index("policy_by_tier", table_name="policy", schema="bithedge")
    op.drop_index("policy_by_owner", table_name="policy", schema="bithedge")
    op.drop_index("policy_by_expiry", table_name="policy", schema="bithedge")
    op.drop_index("policy_by_creation", table_name="policy", schema="bithedge")
    op.drop_index("policy_by_asset", table_name="policy", schema="bithedge")
    op.drop_table("policy", schema="bithedge")
    op.drop_index("parameter_change_by_key", table_name="parameter_change", schema="bithedge")
    op.drop_table("parameter_change", schema="bithedge")
    op.drop_table("parameter", schema="bithedge")
    op.drop_table("oracle_provider", schema="bithedge")
    op.drop_index("module_by_contract", table_name="module", schema="bithedge")
    op.drop_table("module", schema="bithedge")
    op.drop_table("fee_shares", schema="bithedge")
    op.drop_index("exposure_by_pool", table_name="exposure", schema="bithedge")
    op.drop_table("exposure", schema="bithedge")
    op.drop_table("expiry_price", schema="bithedge")
    op.drop_table("contract_sequence", schema="bithedge")
    op.drop_table("asset", schema="bithedge")
    op.drop_index("allocation_by_provider", table_name="allocation", schema="bithedge")
    op.drop_index("allocation_by_pool", table_name="allocation", schema="bithedge")
    op.drop_table("allocation", schema="bithedge")
    op.drop_index("account_entry_by_policy", table_name="account_entry", schema="bithedge")
    op.drop_index("account_entry_by_kind", table_name="account_entry", schema="bithedge")
    op.drop_index("account_entry_by_account", table_name="account_entry", schema="bithedge")
    op.drop_table("account_entry", schema="bithedge")
    op.execute("DROP SCHEMA bithedge")
