// The two shapes of the stability pool's charms: its one state (tag s), and a deposit each (tag n).
import { Reader } from "../lib/cbor";
import { require, Span } from "../lib/host";
import { B32 } from "../lib/sha256";
import { App, SCROLL, TOKEN } from "../lib/transaction";
import { U256 } from "../lib/u256";

/** The stability pool's state. */
export class PoolState {
  constructor(
    readonly token: App,
    readonly vaultManager: App,
    /** zkUSD of the pool, which lies at the output of its state. */
    readonly totalTokens: u64,
    /** Satoshis that are owed to depositors; the output of its state has them. */
    readonly totalCoins: u64,
    /** What is left of a deposit of one unit that was made with the product at its start. */
    readonly product: U256,
    /** Satoshis per unit deposited since this scale began, times the unit, weighed with the product. */
    readonly sum: U256,
    readonly scale: u64,
    readonly depositorCount: u64,
    /** The sums with which the scales before this one ended. */
    readonly pastSums: U256[],
  ) {}

  static read(data: Span): PoolState {
    const reader = new Reader(data);
    reader.shape(13);
    reader.key("zkusd_token_id");
    const tokenIdentity = reader.b32();
    reader.key("zkusd_token_vk");
    const token = new App(TOKEN, tokenIdentity, reader.b32());
    reader.key("vault_manager_id");
    const managerIdentity = reader.b32();
    reader.key("vault_manager_vk");
    const manager = new App(SCROLL, managerIdentity, reader.b32());
    reader.key("admin");
    require(reader.b32().isZero(), "the pool has no admin");
    reader.key("total_zkusd");
    const totalTokens = reader.u64();
    reader.key("total_btc");
    const totalCoins = reader.u64();
    reader.key("product_p");
    const product = reader.u128();
    reader.key("sum_s");
    const sum = reader.u128();
    reader.key("current_epoch");
    require(reader.u64() == 0, "the pool is never emptied by an offset: there is one epoch");
    reader.key("current_scale");
    const scale = reader.u64();
    reader.key("depositor_count");
    const depositorCount = reader.u64();
    reader.key("past_sums");
    const pastSums: U256[] = [];
    for (let left = reader.array(); left > 0; left--) pastSums.push(reader.u128());
    reader.finish();
    require(<u64>pastSums.length == scale, "the pool keeps a sum of every scale before this one");
    return new PoolState(token, manager, totalTokens, totalCoins, product, sum, scale, depositorCount, pastSums);
  }

  sameInstance(other: PoolState): bool {
    return this.token.equals(other.token) && this.vaultManager.equals(other.vaultManager);
  }

  /** Whether both have the same product, sums and scale. */
  sameShares(other: PoolState): bool {
    if (!this.product.equals(other.product) || !this.sum.equals(other.sum) || this.scale != other.scale) return false;
    for (let i = 0; i < this.pastSums.length; i++) {
      if (!this.pastSums[i].equals(other.pastSums[i])) return false;
    }
    return true;
  }

  /** The sum of a scale, which is zero for one that has not begun. */
  sumOf(scale: u64): U256 {
    if (scale > this.scale) return new U256();
    return scale == this.scale ? this.sum : this.pastSums[<i32>scale];
  }
}

/** A deposit in the pool. */
export class Deposit {
  constructor(
    /** SHA-256 of the script that it was paid to when it was made or changed. Who can spend it owns it. */
    readonly owner: B32,
    /** zkUSD when the snapshots were taken. */
    readonly value: u64,
    readonly product: U256,
    readonly sum: U256,
    readonly scale: u64,
  ) {}

  static read(data: Span): Deposit {
    const reader = new Reader(data);
    reader.shape(7);
    reader.key("owner");
    const owner = reader.b32();
    reader.key("initial_value");
    const value = reader.u64();
    reader.key("snapshot_p");
    const product = reader.u128();
    reader.key("snapshot_s");
    const sum = reader.u128();
    reader.key("snapshot_epoch");
    require(reader.u64() == 0, "there is one epoch");
    reader.key("snapshot_scale");
    const scale = reader.u64();
    reader.key("last_updated");
    require(reader.u64() == 0, "the pool knows no time");
    reader.finish();
    return new Deposit(owner, value, product, sum, scale);
  }
}
