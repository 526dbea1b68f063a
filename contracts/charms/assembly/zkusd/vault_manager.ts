// Vaults: bitcoin in, zkUSD out. One operation on one vault per transaction; every one counts in the totals.
import { refuse, require } from "../lib/host";
import { App, Call, Found, readCall, requireChange, SCROLL, Transaction } from "../lib/transaction";
import { minus, mulDiv, mulDivUp, plus } from "../lib/u256";
import { OracleState } from "./oracle_state";
import {
  BASIS_POINTS,
  BORROWING_FEE,
  CRITICAL_RATIO,
  DUST,
  LIQUIDATION_BONUS,
  MAXIMUM_DEBT,
  MINIMUM_COLLATERAL,
  MINIMUM_RATIO,
  ONE,
  POOL_MINIMUM,
  REDEMPTION_FEE,
  SATS_PER_BITCOIN,
} from "./parameters";
import { PoolState } from "./pool_state";
import { isVault, ratio, Vault, VaultManagerState } from "./vault_state";

/** The state and the vault of one side of the transaction, each null where there is none. */
class Side {
  state: VaultManagerState | null = null;
  vault: Vault | null = null;

  static of(tx: Transaction, charms: Found[], isOutput: bool): Side {
    const side = new Side();
    for (let i = 0; i < charms.length; i++) {
      const found = charms[i];
      if (isVault(found.data)) {
        require(side.vault === null, "one vault at a time");
        const vault = Vault.read(found.data);
        const coins = isOutput ? tx.outCoins : tx.inCoins;
        require(coins[found.place].amount == vault.collateral, "the vault's output does not hold its collateral");
        if (isOutput) require(tx.outs[found.place].list.length == 1, "the vault's output holds the vault alone");
        side.vault = vault;
      } else {
        require(side.state === null, "there is one state of the vault manager");
        side.state = VaultManagerState.read(found.data);
      }
    }
    return side;
  }
}

/** An operation on an instance that exists. */
class Operation {
  constructor(
    readonly tx: Transaction,
    readonly before: VaultManagerState,
    readonly after: VaultManagerState,
    readonly spent: Vault | null,
    readonly made: Vault | null,
  ) {}

  /** The vault that is spent, which another one takes the place of or none. */
  vault(): Vault {
    if (this.spent === null) refuse("there must be one vault in the inputs");
    return this.spent!;
  }

  /** The vault that is made. */
  result(): Vault {
    if (this.made === null) refuse("there must be one vault in the outputs");
    return this.made!;
  }

  /** The oracle's state, which is spent in this transaction and put back as it was. There is no other price. */
  oracle(): OracleState {
    require(!this.before.isPaused, "the protocol is paused: only repaying, adding collateral and closing go on");
    const app = this.before.oracle;
    const spent = this.tx.only(this.tx.ins, app, "the price is that of the oracle's state, which must be an input");
    const made = this.tx.only(this.tx.outs, app, "the oracle's state must be an output");
    require(made.data.equals(spent.data), "the oracle changes in the transaction that uses it");
    const state = OracleState.read(spent.data);
    require(state.isActive, "the oracle is not active");
    return state;
  }

  /** Refuses unless `minted - burned` is what the transaction makes of zkUSD. */
  requireSupply(minted: u64, burned: u64): void {
    const tx = this.tx;
    const token = this.before.token;
    requireChange(
      tx.sum(tx.ins, token),
      tx.sum(tx.outs, token),
      minted,
      burned,
      "the zkUSD that is minted or burned is not that of the debt",
    );
  }

  /** Refuses unless the borrowing fee is paid out of `minted` to its receiver. */
  requireFee(minted: u64): void {
    const fee = this.tx.tokensPaidTo(this.before.token, this.before.feeReceiver);
    require(
      fee >= minted || fee >= mulDivUp(minus(minted, fee, ""), BORROWING_FEE, BASIS_POINTS),
      "the borrowing fee is not paid to its receiver",
    );
  }

  requireOwner(vault: Vault): void {
    require(this.tx.authorised(vault.owner), "only the vault's owner may do this: spend a coin of the owner's script");
  }

  /** Ratio of all vaults, before or after. */
  totalRatio(state: VaultManagerState, oracle: OracleState): u64 {
    return ratio(state.totalCollateral, state.totalDebt, oracle.price);
  }
}

export function _start(): void {
  const call = readCall();
  const tx = call.tx;
  require(call.app.tag == SCROLL, "the vault manager's charms have the tag s");
  tx.requireScrolls(call.app);
  const ins = Side.of(tx, tx.find(tx.ins, call.app), false);
  const outs = Side.of(tx, tx.find(tx.outs, call.app), true);
  if (outs.state === null) refuse("there must be one state of the vault manager in the outputs");
  const after = outs.state!;
  if (call.is("deploy")) return deploy(call, ins, outs, after);

  if (ins.state === null) refuse("there must be one state of the vault manager in the inputs");
  const before = ins.state!;
  require(after.sameInstance(before), "the sister apps and figures never change");
  const operation = new Operation(tx, before, after, ins.vault, outs.vault);
  if (call.is("govern")) return govern(operation);

  require(after.sameControl(before), "only governing changes who controls the protocol");
  checkTotals(operation);
  if (call.is("open")) {
    open(operation);
  } else if (call.is("adjust")) {
    adjust(operation);
  } else if (call.is("close")) {
    close(operation);
  } else if (call.is("redeem")) {
    redeem(operation);
  } else if (call.is("liquidate")) {
    liquidate(operation);
  } else {
    refuse("the public input names no operation of the vault manager");
  }
}

function deploy(call: Call, ins: Side, outs: Side, after: VaultManagerState): void {
  require(ins.state === null && ins.vault === null, "the vault manager is deployed already");
  require(outs.vault === null, "the vault manager begins without vaults");
  require(call.tx.spends(call.app.identity), "the identity is not that of an outpoint that is spent");
  require(
    after.totalCollateral == 0 && after.totalDebt == 0 && after.vaultCount == 0,
    "the vault manager begins without vaults",
  );
  require(!after.admin.isZero() && !after.feeReceiver.isZero(), "the vault manager has an admin and a fee receiver");
  require(isSister(after.token) && isSister(after.pool) && isSister(after.oracle), "a sister app is missing");
  require(after.reserve >= ONE && after.minimumDebt >= plus(after.reserve, ONE), "the least debt is too small");
  require(after.minimumDebt <= MAXIMUM_DEBT, "the least debt is above the most");
}

function isSister(app: App): bool {
  return !app.identity.isZero() && !app.vk.isZero();
}

/** The admin pauses or goes on, names its successor, or names who receives the fees. It can do nothing else. */
function govern(operation: Operation): void {
  require(operation.tx.authorised(operation.before.admin), "only the admin governs the protocol");
  require(operation.spent === null && operation.made === null, "governing touches no vault");
  require(operation.after.sameTotals(operation.before), "governing touches no vault");
  require(
    !operation.after.admin.isZero() && !operation.after.feeReceiver.isZero(),
    "the vault manager has an admin and a fee receiver",
  );
}

/** The totals change by what is made and what is spent of vaults. */
function checkTotals(operation: Operation): void {
  const spent = operation.spent;
  const made = operation.made;
  const reason = "the totals are not those of the vaults";
  requireChange(
    operation.before.totalCollateral,
    operation.after.totalCollateral,
    made === null ? 0 : made.collateral,
    spent === null ? 0 : spent.collateral,
    reason,
  );
  requireChange(
    operation.before.totalDebt,
    operation.after.totalDebt,
    made === null ? 0 : made.debt,
    spent === null ? 0 : spent.debt,
    reason,
  );
  requireChange(
    operation.before.vaultCount,
    operation.after.vaultCount,
    made === null ? 0 : 1,
    spent === null ? 0 : 1,
    reason,
  );
}

/** A vault's figures as its owner may leave them. */
function checkBounds(operation: Operation, vault: Vault): void {
  require(vault.debt >= operation.before.minimumDebt, "the debt is below the least");
  require(vault.debt <= MAXIMUM_DEBT, "the debt is above the most");
  require(vault.collateral >= MINIMUM_COLLATERAL, "the collateral is below the least");
}

function open(operation: Operation): void {
  require(operation.spent === null, "a vault that is opened is not an input");
  const vault = operation.result();
  const oracle = operation.oracle();
  operation.requireOwner(vault);
  require(vault.id.equals(operation.tx.outpointHash(0)), "the vault's id is not that of the first input's outpoint");
  require(vault.createdAt == oracle.block && vault.lastUpdated == oracle.block, "the vault's blocks are the oracle's");
  checkBounds(operation, vault);
  const minted = minus(vault.debt, operation.before.reserve, "the debt is below the reserve");
  operation.requireSupply(minted, 0);
  operation.requireFee(minted);
  const own = ratio(vault.collateral, vault.debt, oracle.price);
  if (operation.totalRatio(operation.before, oracle) < CRITICAL_RATIO) {
    require(own >= CRITICAL_RATIO, "in recovery mode a vault is opened with 150 % at least");
  } else {
    require(own >= MINIMUM_RATIO, "the vault is worth less than 110 % of its debt");
    require(operation.totalRatio(operation.after, oracle) >= CRITICAL_RATIO, "this would begin recovery mode");
  }
}

/** Changes a vault's collateral and debt. What makes it safer anybody may do, at any time and without a price. */
function adjust(operation: Operation): void {
  const spent = operation.vault();
  const made = operation.result();
  require(made.sameVault(spent), "the vault becomes another one");
  require(made.collateral != spent.collateral || made.debt != spent.debt, "nothing of the vault changes");
  checkBounds(operation, made);
  operation.requireSupply(made.debt, spent.debt);
  if (made.collateral >= spent.collateral && made.debt <= spent.debt) {
    require(made.lastUpdated == spent.lastUpdated, "the vault's blocks are the oracle's");
    return;
  }
  operation.requireOwner(spent);
  const oracle = operation.oracle();
  require(made.lastUpdated == oracle.block, "the vault's blocks are the oracle's");
  if (made.debt > spent.debt) operation.requireFee(made.debt - spent.debt);
  require(
    operation.totalRatio(operation.before, oracle) >= CRITICAL_RATIO,
    "in recovery mode nothing is withdrawn and nothing minted",
  );
  require(
    ratio(made.collateral, made.debt, oracle.price) >= MINIMUM_RATIO,
    "the vault is worth less than 110 % of its debt",
  );
  require(operation.totalRatio(operation.after, oracle) >= CRITICAL_RATIO, "this would begin recovery mode");
}

/** The owner pays the debt and takes the collateral. */
function close(operation: Operation): void {
  const vault = operation.vault();
  require(operation.made === null, "a vault that is closed is not an output");
  operation.requireOwner(vault);
  operation.requireSupply(0, minus(vault.debt, operation.before.reserve, "the debt is below the reserve"));
}

/** Anybody pays debt of a vault and takes collateral of the same worth, less the fee, which stays in the vault. */
function redeem(operation: Operation): void {
  const spent = operation.vault();
  const oracle = operation.oracle();
  const before = operation.before;
  require(operation.totalRatio(before, oracle) >= MINIMUM_RATIO, "all vaults together are worth less than 110 %");
  require(
    ratio(spent.collateral, spent.debt, oracle.price) >= MINIMUM_RATIO,
    "a vault that can be liquidated is not redeemed from",
  );
  const made = operation.made;
  const burned =
    made === null
      ? minus(spent.debt, before.reserve, "the debt is below the reserve")
      : minus(spent.debt, made.debt, "a redemption pays debt");
  require(burned > 0, "a redemption pays debt");
  operation.requireSupply(0, burned);
  const worth = mulDiv(burned, SATS_PER_BITCOIN, oracle.price);
  const taken = worth - mulDivUp(worth, REDEMPTION_FEE, BASIS_POINTS);
  const left = minus(spent.collateral, taken, "the vault has less collateral than is redeemed");
  if (made === null) return requirePaid(operation, spent, left);
  require(made.sameVault(spent), "the vault becomes another one");
  require(made.lastUpdated == oracle.block, "the vault's blocks are the oracle's");
  checkBounds(operation, made);
  require(made.collateral == left, "the redemption takes another amount than its worth");
}

/**
 * The owner of a vault that ends receives what is left of its collateral at the output after the token's state, unless
 * Bitcoin would not carry so little.
 */
function requirePaid(operation: Operation, vault: Vault, left: u64): void {
  const token = operation.before.token.tagged(SCROLL);
  require(
    left < DUST || operation.tx.paysAfter(token, vault.owner, left),
    "the vault's owner does not receive what is left, at the output after the token's state",
  );
}

/** Anybody has the pool pay debt of a vault that is worth too little, or as much of it as the pool can. */
function liquidate(operation: Operation): void {
  const spent = operation.vault();
  const oracle = operation.oracle();
  const before = operation.before;
  const tx = operation.tx;
  require(tx.operates(before.pool, "offset"), "the pool takes part in a liquidation");
  const poolBefore = PoolState.read(tx.only(tx.ins, before.pool, "the pool's state must be an input").data);
  const poolAfter = PoolState.read(tx.only(tx.outs, before.pool, "the pool's state must be an output").data);
  const available = poolBefore.totalTokens > POOL_MINIMUM ? poolBefore.totalTokens - POOL_MINIMUM : 0;
  const own = ratio(spent.collateral, spent.debt, oracle.price);
  const total = operation.totalRatio(before, oracle);

  let paid = spent.debt;
  let seized = spent.collateral;
  if (own >= MINIMUM_RATIO) {
    require(total < CRITICAL_RATIO && own < total, "the vault cannot be liquidated");
    require(available >= paid, "in recovery mode such a vault is liquidated whole, which the pool cannot pay");
    const most = mulDiv(mulDiv(paid, MINIMUM_RATIO, 100), SATS_PER_BITCOIN, oracle.price);
    if (most < seized) seized = most;
  } else if (available < paid) {
    const payable = minus(paid, before.minimumDebt, "the pool cannot pay the debt");
    paid = available < payable ? available : payable;
    require(paid >= ONE, "the pool cannot pay the debt");
    seized = mulDiv(spent.collateral, paid, spent.debt);
  }
  const toPool = seized - mulDiv(seized, LIQUIDATION_BONUS, BASIS_POINTS);
  require(poolAfter.totalTokens == poolBefore.totalTokens - paid, "the pool does not pay the debt");
  require(poolAfter.totalCoins == plus(poolBefore.totalCoins, toPool), "the pool does not receive the collateral");

  const left = spent.collateral - seized;
  if (paid == spent.debt) {
    require(operation.made === null, "a vault that is liquidated is not an output");
    // the reserve is minted now, for who made the liquidation
    operation.requireSupply(before.reserve, paid);
    return requirePaid(operation, spent, left);
  }
  const made = operation.result();
  require(made.sameVault(spent), "the vault becomes another one");
  require(made.lastUpdated == oracle.block, "the vault's blocks are the oracle's");
  require(made.debt == spent.debt - paid && made.collateral == left, "the vault keeps what the pool did not pay");
  require(left >= DUST, "what is left of the collateral is too little for an output");
  operation.requireSupply(0, paid);
}
