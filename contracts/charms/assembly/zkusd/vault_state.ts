// The two shapes of the vault manager's charms: its one state, and a vault each.
import { firstKey, Reader } from "../lib/cbor";
import { require, Span } from "../lib/host";
import { B32 } from "../lib/sha256";
import { App, SCROLL, TOKEN } from "../lib/transaction";
import { U256 } from "../lib/u256";
import { NO_DEBT, SATS_PER_BITCOIN } from "./parameters";

/** Whether a charm of the vault manager is a vault; otherwise it is the state. */
export function isVault(data: Span): bool {
  return firstKey(data).is("id");
}

/** The vault manager's state. */
export class VaultManagerState {
  /** Satoshis in all vaults. */
  totalCollateral: u64 = 0;
  /** Debt of all vaults, their reserves included. */
  totalDebt: u64 = 0;
  vaultCount: u64 = 0;
  admin: B32 = new B32(0, 0, 0, 0);
  isPaused: bool = false;
  /** Whom borrowing fees are minted to. */
  feeReceiver: B32 = new B32(0, 0, 0, 0);

  constructor(
    readonly token: App,
    readonly pool: App,
    readonly oracle: App,
    /** Least debt of a vault, its reserve included. */
    readonly minimumDebt: u64,
    /** The part of every vault's debt that is not minted until its liquidation, for who makes that. */
    readonly reserve: u64,
  ) {}

  static read(data: Span): VaultManagerState {
    const reader = new Reader(data);
    reader.shape(12);
    reader.key("protocol");
    reader.shape(7);
    reader.key("total_collateral");
    const totalCollateral = reader.u64();
    reader.key("total_debt");
    const totalDebt = reader.u64();
    reader.key("active_vault_count");
    const vaultCount = reader.u64();
    reader.key("base_rate");
    require(reader.u64() == 0, "the fees are fixed: the base rate is zero");
    reader.key("last_fee_update_block");
    require(reader.u64() == 0, "the fees are fixed: they were never updated");
    reader.key("admin");
    const admin = reader.b32();
    reader.key("is_paused");
    const isPaused = reader.bool();
    const token = readApp(reader, TOKEN, "zkusd_token_id", "zkusd_token_vk");
    const pool = readApp(reader, SCROLL, "stability_pool_id", "stability_pool_vk");
    const oracle = readApp(reader, SCROLL, "price_oracle_id", "price_oracle_vk");
    reader.key("active_pool");
    require(reader.b32().isZero(), "there is no active pool: vaults hold their own coins");
    reader.key("default_pool");
    require(reader.b32().isZero(), "there is no default pool: nothing is redistributed");
    reader.key("fee_receiver");
    const feeReceiver = reader.b32();
    reader.key("min_debt");
    const minimumDebt = reader.u64();
    reader.key("liquidation_reserve");
    const state = new VaultManagerState(token, pool, oracle, minimumDebt, reader.u64());
    reader.finish();
    state.totalCollateral = totalCollateral;
    state.totalDebt = totalDebt;
    state.vaultCount = vaultCount;
    state.admin = admin;
    state.isPaused = isPaused;
    state.feeReceiver = feeReceiver;
    return state;
  }

  /** Whether both have the same sister apps and figures, which never change. */
  sameInstance(other: VaultManagerState): bool {
    return (
      this.token.equals(other.token) &&
      this.pool.equals(other.pool) &&
      this.oracle.equals(other.oracle) &&
      this.minimumDebt == other.minimumDebt &&
      this.reserve == other.reserve
    );
  }

  /** Whether both are under the same control. */
  sameControl(other: VaultManagerState): bool {
    return (
      this.admin.equals(other.admin) &&
      this.isPaused == other.isPaused &&
      this.feeReceiver.equals(other.feeReceiver)
    );
  }

  /** Whether both count the same vaults. */
  sameTotals(other: VaultManagerState): bool {
    return (
      this.totalCollateral == other.totalCollateral &&
      this.totalDebt == other.totalDebt &&
      this.vaultCount == other.vaultCount
    );
  }
}

function readApp(reader: Reader, tag: i32, identityKey: string, vkKey: string): App {
  reader.key(identityKey);
  const identity = reader.b32();
  reader.key(vkKey);
  return new App(tag, identity, reader.b32());
}

/** A vault. */
export class Vault {
  constructor(
    readonly id: B32,
    /** SHA-256 of the script that owns it. */
    readonly owner: B32,
    /** Satoshis, which are exactly those of its output. */
    readonly collateral: u64,
    /** With the reserve. */
    readonly debt: u64,
    /** The oracle's block when it was opened. */
    readonly createdAt: u64,
    /** The oracle's block when its price mattered to this vault last. */
    readonly lastUpdated: u64,
  ) {}

  static read(data: Span): Vault {
    const reader = new Reader(data);
    reader.shape(12);
    reader.key("id");
    const id = reader.b32();
    reader.key("owner");
    const owner = reader.b32();
    reader.key("collateral");
    const collateral = reader.u64();
    reader.key("debt");
    const debt = reader.u64();
    reader.key("created_at");
    const createdAt = reader.u64();
    reader.key("last_updated");
    const lastUpdated = reader.u64();
    reader.key("status");
    require(reader.text().is("Active"), "a vault that exists is active");
    readZero(reader, "interest_rate_bps");
    readZero(reader, "accrued_interest");
    readZero(reader, "redistributed_debt");
    readZero(reader, "redistributed_collateral");
    readZero(reader, "insurance_balance");
    reader.finish();
    return new Vault(id, owner, collateral, debt, createdAt, lastUpdated);
  }

  /** Whether both are the same vault of the same owner. */
  sameVault(other: Vault): bool {
    return this.id.equals(other.id) && this.owner.equals(other.owner) && this.createdAt == other.createdAt;
  }
}

function readZero(reader: Reader, name: string): void {
  reader.key(name);
  require(reader.u64() == 0, "a field of a vault that is not in use is not zero");
}

/**
 * What the collateral is worth in percent of the debt, rounded down twice; {@link NO_DEBT} without debt, and where it
 * is longer than 64 bits.
 */
export function ratio(collateral: u64, debt: u64, price: u64): u64 {
  if (debt == 0) return NO_DEBT;
  const worth = U256.from(collateral).times(U256.from(price)).over(U256.from(SATS_PER_BITCOIN));
  const percent = worth.times(U256.from(100)).over(U256.from(debt));
  return percent.compare(U256.from(NO_DEBT)) < 0 ? percent.toU64() : NO_DEBT;
}
