"""Tables of zkUSD.

Revision b642ed2e5979, after 14619507e808.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "b642ed2e5979"
down_revision = "14619507e808"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("CREATE SCHEMA zkusd")
    op.create_table(
        "app_set",
        sa.Column("updated_height", sa.BigInteger(), nullable=False),
        sa.Column("app_set", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("mcr_percent", sa.BigInteger(), nullable=False),
        sa.Column("ccr_percent", sa.BigInteger(), nullable=False),
        sa.Column("recommended_percent", sa.BigInteger(), nullable=False),
        sa.Column("min_debt", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("max_debt", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("debt_ceiling", sa.Numeric(precision=39, scale=0), nullable=True),
        sa.Column("liquidation_reserve", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("min_collateral", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("borrow_fee_floor_bps", sa.BigInteger(), nullable=False),
        sa.Column("borrow_fee_cap_bps", sa.BigInteger(), nullable=False),
        sa.Column("redemption_fee_bps", sa.BigInteger(), nullable=False),
        sa.Column("liquidator_bonus_bps", sa.BigInteger(), nullable=False),
        sa.Column("pool_min_deposit", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("recovery_below_total", sa.Boolean(), nullable=False),
        sa.Column("max_price_age_blocks", sa.BigInteger(), nullable=False),
        sa.Column("max_price_age_seconds", sa.BigInteger(), nullable=False),
        sa.Column("max_price_step_bps", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("app_set"),
        schema="zkusd",
    )
    op.create_table(
        "contract",
        sa.Column("updated_height", sa.BigInteger(), nullable=False),
        sa.Column("app_set", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("identity", sa.Text(), nullable=False),
        sa.Column("vk", sa.Text(), nullable=False),
        sa.Column("tag", sa.Text(), nullable=False),
        sa.Column("genesis", sa.Text(), nullable=False),
        sa.Column("outpoint", sa.Text(), nullable=False),
        sa.Column("live", sa.Boolean(), nullable=False),
        sa.Column("ended", sa.Text(), nullable=True),
        sa.Column("spent_by", sa.Text(), nullable=True),
        sa.Column("utxo_sats", sa.BigInteger(), nullable=False),
        sa.Column("script", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=True),
        sa.Column("state", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("forks", sa.BigInteger(), nullable=False),
        sa.Column("impostors", sa.BigInteger(), nullable=False),
        sa.Column("deployed_height", sa.BigInteger(), nullable=False),
        sa.Column("height", sa.BigInteger(), nullable=False),
        sa.Column("time", sa.BigInteger(), nullable=False),
        sa.Column("tx_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("app_set", "role"),
        schema="zkusd",
    )
    op.create_table(
        "contract_state",
        sa.Column("updated_height", sa.BigInteger(), nullable=False),
        sa.Column("app_set", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("outpoint", sa.Text(), nullable=False),
        sa.Column("utxo_sats", sa.BigInteger(), nullable=False),
        sa.Column("script", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=True),
        sa.Column("state", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("height", sa.BigInteger(), nullable=False),
        sa.Column("time", sa.BigInteger(), nullable=False),
        sa.Column("tx_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("app_set", "role", "version"),
        schema="zkusd",
    )
    op.create_index("contract_state_by_height", "contract_state", ["app_set", "height"], unique=False, schema="zkusd")
    op.create_table(
        "day",
        sa.Column("updated_height", sa.BigInteger(), nullable=False),
        sa.Column("app_set", sa.Text(), nullable=False),
        sa.Column("day", sa.BigInteger(), nullable=False),
        sa.Column("supply", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("debt", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("collateral", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("active_vaults", sa.BigInteger(), nullable=False),
        sa.Column("price8", sa.Numeric(precision=39, scale=0), nullable=True),
        sa.Column("tcr_bps", sa.Numeric(precision=39, scale=0), nullable=True),
        sa.Column("pool_total", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("minted", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("burned", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("transferred", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("opened", sa.BigInteger(), nullable=False),
        sa.Column("closed", sa.BigInteger(), nullable=False),
        sa.Column("liquidated", sa.BigInteger(), nullable=False),
        sa.Column("liquidated_debt", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("redeemed", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("nominal_fees", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("anomalies", sa.BigInteger(), nullable=False),
        sa.Column("transactions", sa.BigInteger(), nullable=False),
        sa.Column("active_scripts", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("app_set", "day"),
        schema="zkusd",
    )
    op.create_table(
        "day_script",
        sa.Column("updated_height", sa.BigInteger(), nullable=False),
        sa.Column("app_set", sa.Text(), nullable=False),
        sa.Column("day", sa.BigInteger(), nullable=False),
        sa.Column("script", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("app_set", "day", "script"),
        schema="zkusd",
    )
    op.create_table(
        "event",
        sa.Column("updated_height", sa.BigInteger(), nullable=False),
        sa.Column("tx_id", sa.Text(), nullable=False),
        sa.Column("ordinal", sa.BigInteger(), nullable=False),
        sa.Column("app_set", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("severity", sa.Text(), nullable=False),
        sa.Column("anomaly", sa.Boolean(), nullable=False),
        sa.Column("vault", sa.Text(), nullable=True),
        sa.Column("vault_id", sa.Text(), nullable=True),
        sa.Column("account", sa.Text(), nullable=True),
        sa.Column("counterparty", sa.Text(), nullable=True),
        sa.Column("data", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("height", sa.BigInteger(), nullable=False),
        sa.Column("time", sa.BigInteger(), nullable=False),
        sa.Column("tx_index", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tx_id", "ordinal"),
        schema="zkusd",
    )
    op.create_index("event_by_account", "event", ["account", "height"], unique=False, schema="zkusd")
    op.create_index("event_by_counterparty", "event", ["counterparty", "height"], unique=False, schema="zkusd")
    op.create_index("event_by_height", "event", ["height", "tx_index", "ordinal"], unique=False, schema="zkusd")
    op.create_index("event_by_kind", "event", ["app_set", "kind", "height"], unique=False, schema="zkusd")
    op.create_index("event_by_vault", "event", ["vault", "height"], unique=False, schema="zkusd")
    op.create_table(
        "impostor_state",
        sa.Column("updated_height", sa.BigInteger(), nullable=False),
        sa.Column("app_set", sa.Text(), nullable=False),
        sa.Column("outpoint", sa.Text(), nullable=False),
        sa.Column("app", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("state", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("script", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=True),
        sa.Column("height", sa.BigInteger(), nullable=False),
        sa.Column("tx_id", sa.Text(), nullable=False),
        sa.Column("spent_by", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("app_set", "outpoint", "app"),
        schema="zkusd",
    )
    op.create_index("impostor_state_by_role", "impostor_state", ["app_set", "role"], unique=False, schema="zkusd")
    op.create_table(
        "liquidation",
        sa.Column("updated_height", sa.BigInteger(), nullable=False),
        sa.Column("app_set", sa.Text(), nullable=False),
        sa.Column("genesis", sa.Text(), nullable=False),
        sa.Column("tx_id", sa.Text(), nullable=False),
        sa.Column("vault_id", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("script", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=True),
        sa.Column("debt", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("collateral", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("returned", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("pool_debt", sa.Numeric(precision=39, scale=0), nullable=True),
        sa.Column("pool_collateral", sa.Numeric(precision=39, scale=0), nullable=True),
        sa.Column("used_price8", sa.Numeric(precision=39, scale=0), nullable=True),
        sa.Column("price8", sa.Numeric(precision=39, scale=0), nullable=True),
        sa.Column("icr_bps", sa.Numeric(precision=39, scale=0), nullable=True),
        sa.Column("recovery_mode", sa.Boolean(), nullable=True),
        sa.Column("healthy", sa.Boolean(), nullable=True),
        sa.Column("height", sa.BigInteger(), nullable=False),
        sa.Column("time", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("app_set", "genesis", "tx_id"),
        schema="zkusd",
    )
    op.create_index("liquidation_by_height", "liquidation", ["app_set", "height"], unique=False, schema="zkusd")
    op.create_table(
        "oracle_price",
        sa.Column("updated_height", sa.BigInteger(), nullable=False),
        sa.Column("app_set", sa.Text(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("price8", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("claimed_height", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("confidence", sa.BigInteger(), nullable=False),
        sa.Column("operator", sa.Text(), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("last_valid_price8", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("change_bps", sa.Numeric(precision=39, scale=0), nullable=True),
        sa.Column("height", sa.BigInteger(), nullable=False),
        sa.Column("time", sa.BigInteger(), nullable=False),
        sa.Column("tx_id", sa.Text(), nullable=False),
        sa.Column("outpoint", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("app_set", "number"),
        schema="zkusd",
    )
    op.create_index("oracle_price_by_height", "oracle_price", ["app_set", "height"], unique=False, schema="zkusd")
    op.create_table(
        "outpoint",
        sa.Column("updated_height", sa.BigInteger(), nullable=False),
        sa.Column("outpoint", sa.Text(), nullable=False),
        sa.Column("script", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=True),
        sa.Column("sats", sa.BigInteger(), nullable=False),
        sa.Column("charms", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("beamed", sa.Boolean(), nullable=False),
        sa.Column("height", sa.BigInteger(), nullable=False),
        sa.Column("spent_by", sa.Text(), nullable=True),
        sa.Column("spent_height", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("outpoint"),
        schema="zkusd",
    )
    op.create_index("outpoint_by_script", "outpoint", ["script"], unique=False, schema="zkusd")
    op.create_table(
        "pool_sum",
        sa.Column("updated_height", sa.BigInteger(), nullable=False),
        sa.Column("app_set", sa.Text(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("scale", sa.BigInteger(), nullable=False),
        sa.Column("total", sa.Numeric(precision=78, scale=0), nullable=False),
        sa.PrimaryKeyConstraint("app_set", "epoch", "scale"),
        schema="zkusd",
    )
    op.create_table(
        "price_input",
        sa.Column("updated_height", sa.BigInteger(), nullable=False),
        sa.Column("app_set", sa.Text(), nullable=False),
        sa.Column("tx_id", sa.Text(), nullable=False),
        sa.Column("app", sa.Text(), nullable=False),
        sa.Column("price8", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("claimed_height", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("confidence", sa.BigInteger(), nullable=False),
        sa.Column("oracle_price8", sa.Numeric(precision=39, scale=0), nullable=True),
        sa.Column("matches", sa.Boolean(), nullable=True),
        sa.Column("height", sa.BigInteger(), nullable=False),
        sa.Column("time", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("app_set", "tx_id", "app"),
        schema="zkusd",
    )
    op.create_index("price_input_by_height", "price_input", ["app_set", "height"], unique=False, schema="zkusd")
    op.create_table(
        "protocol",
        sa.Column("updated_height", sa.BigInteger(), nullable=False),
        sa.Column("app_set", sa.Text(), nullable=False),
        sa.Column("reported_collateral", sa.Numeric(precision=39, scale=0), nullable=True),
        sa.Column("reported_debt", sa.Numeric(precision=39, scale=0), nullable=True),
        sa.Column("reported_vaults", sa.Numeric(precision=39, scale=0), nullable=True),
        sa.Column("computed_collateral", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("computed_debt", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("entire_collateral", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("entire_debt", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("active_vaults", sa.BigInteger(), nullable=False),
        sa.Column("closed_vaults", sa.BigInteger(), nullable=False),
        sa.Column("liquidated_vaults", sa.BigInteger(), nullable=False),
        sa.Column("lost_vaults", sa.BigInteger(), nullable=False),
        sa.Column("backing_sats", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("drift_collateral", sa.Numeric(precision=39, scale=0), nullable=True),
        sa.Column("drift_debt", sa.Numeric(precision=39, scale=0), nullable=True),
        sa.Column("drift_vaults", sa.Numeric(precision=39, scale=0), nullable=True),
        sa.Column("reported_supply", sa.Numeric(precision=39, scale=0), nullable=True),
        sa.Column("token_supply", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("beamed_out", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("burned_without_spell", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("drift_supply", sa.Numeric(precision=39, scale=0), nullable=True),
        sa.Column("holders", sa.BigInteger(), nullable=False),
        sa.Column("reserves", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("price8", sa.Numeric(precision=39, scale=0), nullable=True),
        sa.Column("claimed_price_height", sa.Numeric(precision=39, scale=0), nullable=True),
        sa.Column("price_height", sa.BigInteger(), nullable=True),
        sa.Column("price_time", sa.BigInteger(), nullable=True),
        sa.Column("tcr_percent", sa.Numeric(precision=39, scale=0), nullable=True),
        sa.Column("computed_tcr_bps", sa.Numeric(precision=39, scale=0), nullable=True),
        sa.Column("recovery_mode", sa.Boolean(), nullable=True),
        sa.Column("computed_recovery_mode", sa.Boolean(), nullable=True),
        sa.Column("recovery_since_height", sa.BigInteger(), nullable=True),
        sa.Column("base_rate_bps", sa.Numeric(precision=39, scale=0), nullable=True),
        sa.Column("paused", sa.Boolean(), nullable=True),
        sa.Column("admin", sa.Text(), nullable=True),
        sa.Column("risk_price8", sa.Numeric(precision=39, scale=0), nullable=True),
        sa.Column("risk_percent", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("app_set"),
        schema="zkusd",
    )
    op.create_table(
        "redeemed_vault",
        sa.Column("updated_height", sa.BigInteger(), nullable=False),
        sa.Column("app_set", sa.Text(), nullable=False),
        sa.Column("tx_id", sa.Text(), nullable=False),
        sa.Column("genesis", sa.Text(), nullable=False),
        sa.Column("debt", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("collateral", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("height", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("app_set", "tx_id", "genesis"),
        schema="zkusd",
    )
    op.create_index("redeemed_vault_by_vault", "redeemed_vault", ["app_set", "genesis"], unique=False, schema="zkusd")
    op.create_table(
        "redemption",
        sa.Column("updated_height", sa.BigInteger(), nullable=False),
        sa.Column("app_set", sa.Text(), nullable=False),
        sa.Column("tx_id", sa.Text(), nullable=False),
        sa.Column("redeemer", sa.Text(), nullable=True),
        sa.Column("redeemed", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("debt", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("collateral", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("nominal_fee_bps", sa.BigInteger(), nullable=False),
        sa.Column("effective_price8", sa.Numeric(precision=39, scale=0), nullable=True),
        sa.Column("price8", sa.Numeric(precision=39, scale=0), nullable=True),
        sa.Column("vaults", sa.BigInteger(), nullable=False),
        sa.Column("height", sa.BigInteger(), nullable=False),
        sa.Column("time", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("app_set", "tx_id"),
        schema="zkusd",
    )
    op.create_index("redemption_by_height", "redemption", ["app_set", "height"], unique=False, schema="zkusd")
    op.create_table(
        "risk_band",
        sa.Column("updated_height", sa.BigInteger(), nullable=False),
        sa.Column("app_set", sa.Text(), nullable=False),
        sa.Column("band", sa.BigInteger(), nullable=False),
        sa.Column("vaults", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.PrimaryKeyConstraint("app_set", "band"),
        schema="zkusd",
    )
    op.create_table(
        "sp_deposit",
        sa.Column("updated_height", sa.BigInteger(), nullable=False),
        sa.Column("app_set", sa.Text(), nullable=False),
        sa.Column("genesis", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("script", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=True),
        sa.Column("outpoint", sa.Text(), nullable=False),
        sa.Column("live", sa.Boolean(), nullable=False),
        sa.Column("ended", sa.Text(), nullable=True),
        sa.Column("genuine", sa.Boolean(), nullable=False),
        sa.Column("initial", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("snapshot_p", sa.Numeric(precision=39, scale=0), nullable=True),
        sa.Column("snapshot_s", sa.Numeric(precision=39, scale=0), nullable=True),
        sa.Column("snapshot_epoch", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("snapshot_scale", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("replayed_initial", sa.Numeric(precision=39, scale=0), nullable=True),
        sa.Column("replayed_p", sa.Numeric(precision=39, scale=0), nullable=True),
        sa.Column("replayed_s", sa.Numeric(precision=78, scale=0), nullable=True),
        sa.Column("replayed_epoch", sa.Numeric(precision=39, scale=0), nullable=True),
        sa.Column("replayed_scale", sa.Numeric(precision=39, scale=0), nullable=True),
        sa.Column("replayed_paid", sa.Numeric(precision=39, scale=0), nullable=True),
        sa.Column("claimed_updated_height", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("opened_height", sa.BigInteger(), nullable=False),
        sa.Column("changed_height", sa.BigInteger(), nullable=False),
        sa.Column("changed_tx", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("app_set", "genesis"),
        schema="zkusd",
    )
    op.create_index("sp_deposit_by_address", "sp_deposit", ["address"], unique=False, schema="zkusd")
    op.create_index("sp_deposit_by_owner", "sp_deposit", ["app_set", "owner"], unique=False, schema="zkusd")
    op.create_table(
        "sp_offset",
        sa.Column("updated_height", sa.BigInteger(), nullable=False),
        sa.Column("app_set", sa.Text(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("tx_id", sa.Text(), nullable=False),
        sa.Column("debt", sa.Numeric(precision=39, scale=0), nullable=True),
        sa.Column("collateral", sa.Numeric(precision=39, scale=0), nullable=True),
        sa.Column("total", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("product_p", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("sum_s", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("epoch", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("scale", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("replayed_p", sa.Numeric(precision=39, scale=0), nullable=True),
        sa.Column("replayed_s", sa.Numeric(precision=78, scale=0), nullable=True),
        sa.Column("replayed_epoch", sa.Numeric(precision=39, scale=0), nullable=True),
        sa.Column("replayed_scale", sa.Numeric(precision=39, scale=0), nullable=True),
        sa.Column("height", sa.BigInteger(), nullable=False),
        sa.Column("time", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("app_set", "number"),
        schema="zkusd",
    )
    op.create_index("sp_offset_by_height", "sp_offset", ["app_set", "height"], unique=False, schema="zkusd")
    op.create_table(
        "stability_pool",
        sa.Column("updated_height", sa.BigInteger(), nullable=False),
        sa.Column("app_set", sa.Text(), nullable=False),
        sa.Column("total", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("collateral", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("product_p", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("sum_s", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("epoch", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("scale", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("depositor_count", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("deposits", sa.BigInteger(), nullable=False),
        sa.Column("backing_sats", sa.BigInteger(), nullable=False),
        sa.Column("replayed", sa.Boolean(), nullable=False),
        sa.Column("replayed_total", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("replayed_collateral", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("replayed_p", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("replayed_epoch", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("replayed_scale", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("diverged", sa.Boolean(), nullable=True),
        sa.Column("offsets", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("app_set"),
        schema="zkusd",
    )
    op.create_table(
        "token_balance",
        sa.Column("updated_height", sa.BigInteger(), nullable=False),
        sa.Column("app_set", sa.Text(), nullable=False),
        sa.Column("script", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=True),
        sa.Column("amount", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("utxos", sa.BigInteger(), nullable=False),
        sa.Column("first_height", sa.BigInteger(), nullable=False),
        sa.Column("last_height", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("app_set", "script"),
        schema="zkusd",
    )
    op.create_index("token_balance_by_address", "token_balance", ["address"], unique=False, schema="zkusd")
    op.create_index("token_balance_by_amount", "token_balance", ["app_set", "amount"], unique=False, schema="zkusd")
    op.create_table(
        "token_utxo",
        sa.Column("updated_height", sa.BigInteger(), nullable=False),
        sa.Column("app_set", sa.Text(), nullable=False),
        sa.Column("outpoint", sa.Text(), nullable=False),
        sa.Column("amount", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("script", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=True),
        sa.Column("sats", sa.BigInteger(), nullable=False),
        sa.Column("live", sa.Boolean(), nullable=False),
        sa.Column("beamed", sa.Boolean(), nullable=False),
        sa.Column("height", sa.BigInteger(), nullable=False),
        sa.Column("tx_id", sa.Text(), nullable=False),
        sa.Column("spent_by", sa.Text(), nullable=True),
        sa.Column("spent_height", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("app_set", "outpoint"),
        schema="zkusd",
    )
    op.create_index("token_utxo_by_height", "token_utxo", ["app_set", "height"], unique=False, schema="zkusd")
    op.create_index("token_utxo_by_script", "token_utxo", ["app_set", "script"], unique=False, schema="zkusd")
    op.create_table(
        "vault",
        sa.Column("updated_height", sa.BigInteger(), nullable=False),
        sa.Column("app_set", sa.Text(), nullable=False),
        sa.Column("genesis", sa.Text(), nullable=False),
        sa.Column("vault_id", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("script", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=True),
        sa.Column("outpoint", sa.Text(), nullable=False),
        sa.Column("utxo_sats", sa.BigInteger(), nullable=False),
        sa.Column("collateral", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("debt", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("accrued_interest", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("redistributed_debt", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("redistributed_collateral", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("insurance_balance", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("interest_rate_bps", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("entire_debt", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("entire_collateral", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("liquidation_price8", sa.Numeric(precision=39, scale=0), nullable=True),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("live", sa.Boolean(), nullable=False),
        sa.Column("ended", sa.Text(), nullable=True),
        sa.Column("genuine", sa.Boolean(), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("backed", sa.Boolean(), nullable=False),
        sa.Column("at_risk_since_height", sa.BigInteger(), nullable=True),
        sa.Column("claimed_created_height", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("claimed_updated_height", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("opened_height", sa.BigInteger(), nullable=False),
        sa.Column("opened_time", sa.BigInteger(), nullable=False),
        sa.Column("opened_tx", sa.Text(), nullable=False),
        sa.Column("changed_height", sa.BigInteger(), nullable=False),
        sa.Column("changed_time", sa.BigInteger(), nullable=False),
        sa.Column("changed_tx", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("app_set", "genesis"),
        schema="zkusd",
    )
    op.create_index("vault_by_address", "vault", ["address"], unique=False, schema="zkusd")
    op.create_index("vault_by_id", "vault", ["app_set", "vault_id"], unique=False, schema="zkusd")
    op.create_index("vault_by_owner", "vault", ["app_set", "owner"], unique=False, schema="zkusd")
    op.create_index("vault_by_risk", "vault", ["app_set", "liquidation_price8"], unique=False, schema="zkusd")
    op.create_table(
        "vault_name",
        sa.Column("updated_height", sa.BigInteger(), nullable=False),
        sa.Column("app_set", sa.Text(), nullable=False),
        sa.Column("vault_id", sa.Text(), nullable=False),
        sa.Column("opened", sa.BigInteger(), nullable=False),
        sa.Column("live", sa.BigInteger(), nullable=False),
        sa.Column("latest", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("app_set", "vault_id"),
        schema="zkusd",
    )
    op.create_table(
        "vault_version",
        sa.Column("updated_height", sa.BigInteger(), nullable=False),
        sa.Column("app_set", sa.Text(), nullable=False),
        sa.Column("genesis", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("vault_id", sa.Text(), nullable=False),
        sa.Column("events", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("outpoint", sa.Text(), nullable=True),
        sa.Column("script", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=True),
        sa.Column("utxo_sats", sa.BigInteger(), nullable=False),
        sa.Column("collateral", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("debt", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("entire_debt", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("entire_collateral", sa.Numeric(precision=39, scale=0), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("price8", sa.Numeric(precision=39, scale=0), nullable=True),
        sa.Column("icr_bps", sa.Numeric(precision=39, scale=0), nullable=True),
        sa.Column("height", sa.BigInteger(), nullable=False),
        sa.Column("time", sa.BigInteger(), nullable=False),
        sa.Column("tx_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("app_set", "genesis", "version"),
        schema="zkusd",
    )
    op.create_index("vault_version_by_height", "vault_version", ["app_set", "height"], unique=False, schema="zkusd")


def downgrade() -> None:
    op.drop_index("vault_version_by_height", table_name="vault_version", schema="zkusd")
    op.drop_table("vault_version", schema="zkusd")
    op.drop_table("vault_name", schema="zkusd")
    op.drop_index("vault_by_risk", table_name="vault", schema="zkusd")
    op.drop_index("vault_by_owner", table_name="vault", schema="zkusd")
    op.drop_index("vault_by_id", table_name="vault", schema="zkusd")
    op.drop_index("vault_by_address", table_name="vault", schema="zkusd")
    op.drop_table("vault", schema="zkusd")
    op.drop_index("token_utxo_by_script", table_name="token_utxo", schema="zkusd")
    op.drop_index("token_utxo_by_height", table_name="token_utxo", schema="zkusd")
    op.drop_table("token_utxo", schema="zkusd")
    op.drop_index("token_balance_by_amount", table_name="token_balance", schema="zkusd")
    op.drop_index("token_balance_by_address", table_name="token_balance", schema="zkusd")
    op.drop_table("token_balance", schema="zkusd")
    op.drop_table("stability_pool", schema="zkusd")
    op.drop_index("sp_offset_by_height", table_name="sp_offset", schema="zkusd")
    op.drop_table("sp_offset", schema="zkusd")
    op.drop_index("sp_deposit_by_owner", table_name="sp_deposit", schema="zkusd")
    op.drop_index("sp_deposit_by_address", table_name="sp_deposit", schema="zkusd")
    op.drop_table("sp_deposit", schema="zkusd")
    op.drop_table("risk_band", schema="zkusd")
    op.drop_index("redemption_by_height", table_name="redemption", schema="zkusd")
    op.drop_table("redemption", schema="zkusd")
    op.drop_index("redeemed_vault_by_vault", table_name="redeemed_vault", schema="zkusd")
    op.drop_table("redeemed_vault", schema="zkusd")
    op.drop_table("protocol", schema="zkusd")
    op.drop_index("price_input_by_height", table_name="price_input", schema="zkusd")
    op.drop_table("price_input", schema="zkusd")
    op.drop_table("pool_sum", schema="zkusd")
    op.drop_index("outpoint_by_script", table_name="outpoint", schema="zkusd")
    op.drop_table("outpoint", schema="zkusd")
    op.drop_index("oracle_price_by_height", table_name="oracle_price", schema="zkusd")
    op.drop_table("oracle_price", schema="zkusd")
    op.drop_index("liquidation_by_height", table_name="liquidation", schema="zkusd")
    op.drop_table("liquidation", schema="zkusd")
    op.drop_index("impostor_state_by_role", table_name="impostor_state", schema="zkusd")
    op.drop_table("impostor_state", schema="zkusd")
    op.drop_index("event_by_vault", table_name="event", schema="zkusd")
    op.drop_index("event_by_kind", table_name="event", schema="zkusd")
    op.drop_index("event_by_height", table_name="event", schema="zkusd")
    op.drop_index("event_by_counterparty", table_name="event", schema="zkusd")
    op.drop_index("event_by_account", table_name="event", schema="zkusd")
    op.drop_table("event", schema="zkusd")
    op.drop_table("day_script", schema="zkusd")
    op.drop_table("day", schema="zkusd")
    op.drop_index("contract_state_by_height", table_name="contract_state", schema="zkusd")
    op.drop_table("contract_state", schema="zkusd")
    op.drop_table("contract", schema="zkusd")
    op.drop_table("app_set", schema="zkusd")
    op.execute("DROP SCHEMA zkusd")
