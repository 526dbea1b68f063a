// The figures of the protocol that are the same in every deployment. What differs stands in the vault manager's state.

/** Units of a zkUSD (8 decimals). A price is in the same units per bitcoin. */
export const ONE: u64 = 100_000_000;
export const SATS_PER_BITCOIN: u64 = 100_000_000;

/** A vault whose collateral is worth less than this percentage of its debt can be liquidated. */
export const MINIMUM_RATIO: u64 = 110;
/** All collateral worth less than this percentage of all debt is recovery mode. */
export const CRITICAL_RATIO: u64 = 150;
/** What stands for the ratio of no debt. */
export const NO_DEBT: u64 = u64.MAX_VALUE;
/** Most debt of one vault. */
export const MAXIMUM_DEBT: u64 = 10_000_000 * ONE;
/** Least satoshis of a vault that its owner may leave. */
export const MINIMUM_COLLATERAL: u64 = 10_000;
/** Outputs of less are not relayed by Bitcoin's nodes. */
export const DUST: u64 = 546;

export const BASIS_POINTS: u64 = 10_000;
/** Of what a borrower takes, added to the debt and minted to the fee's receiver. */
export const BORROWING_FEE: u64 = 50;
/** Of the bitcoin that a redemption is worth; it stays in the vault. */
export const REDEMPTION_FEE: u64 = 75;
/** Of the collateral that a liquidation seizes, to who made it. */
export const LIQUIDATION_BONUS: u64 = 50;

/** Furthest that one update moves the price. */
export const MAXIMUM_DEVIATION: u64 = 500;
/** Furthest that one update moves the block of the price: four weeks. Otherwise one update could be the last. */
export const MAXIMUM_BLOCKS: u64 = 4_032;
export const LOWEST_PRICE: u64 = 1_000 * ONE;
export const HIGHEST_PRICE: u64 = 10_000_000 * ONE;

/** Satoshis of the pool's output that belong to nobody: an output cannot have none. */
export const POOL_BASE: u64 = 1_000;
/** Least deposit in the pool, and what an offset leaves there: so no offset can take the product to zero. */
export const POOL_MINIMUM: u64 = ONE;
/** What the pool's product starts with, and the unit of its sums. */
export const PRODUCT_UNIT: u64 = 1_000_000_000_000_000_000;
/** A product below this is scaled up by as much. */
export const SCALE_FACTOR: u64 = 1_000_000_000;
