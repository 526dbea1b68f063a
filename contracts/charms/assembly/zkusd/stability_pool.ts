// The stability pool: zkUSD that pays the debt of liquidated vaults and receives their collateral.
// Shares are counted with a product and sums as Liquity does (R. Pardoe, "Scalable Reward Distribution with Compounding
// Stakes", 2020), always rounded against the depositor: so what is owed is never more than what is there.
import { isNull } from "../lib/cbor";
import { refuse, require } from "../lib/host";
import { App, Call, Found, increase, NFT, readCall, SCROLL, Transaction } from "../lib/transaction";
import { minus, plus, U256 } from "../lib/u256";
import { POOL_BASE, POOL_MINIMUM, PRODUCT_UNIT, SCALE_FACTOR } from "./parameters";
import { Deposit, PoolState } from "./pool_state";

export function _start(): void {
  const call = readCall();
  const tx = call.tx;
  const tag = call.app.tag;
  require(tag == SCROLL || tag == NFT, "the pool's state has the tag s, its deposits have the tag n");
  require(tag == SCROLL || isNull(call.input), "a deposit takes no public input");

  const app = call.app.tagged(SCROLL);
  tx.requireScrolls(app);
  const out = tx.only(tx.outs, app, "there must be one state of the pool in the outputs");
  const after = PoolState.read(out.data);
  checkHoldings(tx, out, after);
  if (tx.operates(app, "deploy")) return deploy(call, app, after);

  const before = PoolState.read(
    tx.only(tx.ins, app, "there must be one state of the pool in the inputs").data,
  );
  require(after.sameInstance(before), "the pool's sister apps never change");
  if (tx.operates(app, "position")) {
    position(tx, app.tagged(NFT), before, after);
  } else if (tx.operates(app, "offset")) {
    offset(tx, app.tagged(NFT), before, after);
  } else {
    refuse("the public input names no operation of the pool");
  }
}

/** The output of the state holds all that the state says, and nothing else. */
function checkHoldings(tx: Transaction, out: Found, state: PoolState): void {
  const charms = tx.outs[out.place];
  const tokens = charms.of(state.token);
  require(charms.list.length == (tokens === null ? 1 : 2), "the pool's output holds its state and its zkUSD alone");
  const held = tokens === null ? 0 : tx.sum([charms], state.token);
  require(held == state.totalTokens, "the pool's output does not hold the pool's zkUSD");
  require(
    tx.outCoins[out.place].amount == plus(POOL_BASE, state.totalCoins),
    "the pool's output does not hold the pool's bitcoin",
  );
}

function deploy(call: Call, app: App, after: PoolState): void {
  const tx = call.tx;
  require(tx.find(tx.ins, app).length == 0, "the pool is deployed already");
  require(tx.spends(app.identity), "the identity is not that of an outpoint that is spent");
  require(tx.find(tx.outs, app.tagged(NFT)).length == 0, "the pool begins without deposits");
  require(
    after.totalTokens == 0 && after.totalCoins == 0 && after.depositorCount == 0 && after.scale == 0,
    "the pool begins empty",
  );
  require(after.product.equals(U256.from(PRODUCT_UNIT)) && after.sum.isZero(), "the pool's product begins with one");
}

/** One deposit is made, changed or taken out. What it gained so far goes to who spends it. */
function position(tx: Transaction, app: App, before: PoolState, after: PoolState): void {
  const ins = tx.find(tx.ins, app);
  const outs = tx.find(tx.outs, app);
  require(ins.length <= 1 && outs.length <= 1 && ins.length + outs.length > 0, "one deposit at a time");
  let left: u64 = 0;
  let gained: u64 = 0;
  if (ins.length == 1) {
    const deposit = Deposit.read(ins[0].data);
    left = compounded(deposit, before);
    gained = gain(deposit, before);
  }
  let value: u64 = 0;
  if (outs.length == 1) {
    const deposit = Deposit.read(outs[0].data);
    value = deposit.value;
    require(value >= POOL_MINIMUM, "a deposit is one zkUSD at least");
    require(deposit.owner.equals(tx.outCoins[outs[0].place].holder), "a deposit's owner is the script it is paid to");
    require(
      deposit.product.equals(before.product) && deposit.sum.equals(before.sum) && deposit.scale == before.scale,
      "a deposit's snapshots are those of the pool",
    );
  }
  require(after.sameShares(before), "a deposit does not change the shares of others");
  require(
    after.totalTokens == plus(minus(before.totalTokens, left, "the pool holds less than the deposit"), value),
    "the pool's zkUSD changes by what the deposit changes",
  );
  require(
    after.totalCoins == minus(before.totalCoins, gained, "the pool holds less than the gain"),
    "the pool's bitcoin changes by what the deposit gained",
  );
  require(
    plus(after.depositorCount, <u64>ins.length) == plus(before.depositorCount, <u64>outs.length),
    "the pool counts its deposits",
  );
}

/** The pool pays debt of a vault and receives its collateral. The vault manager says how much, and must do so. */
function offset(tx: Transaction, deposits: App, before: PoolState, after: PoolState): void {
  require(
    tx.involves(before.vaultManager) && tx.operates(before.vaultManager, "liquidate"),
    "only a liquidation takes from the pool",
  );
  require(
    tx.find(tx.ins, deposits).length == 0 && tx.find(tx.outs, deposits).length == 0,
    "a liquidation changes no deposit",
  );
  require(after.depositorCount == before.depositorCount, "a liquidation changes no deposit");
  require(after.totalTokens < before.totalTokens, "a liquidation takes zkUSD from the pool");
  require(after.totalTokens >= POOL_MINIMUM, "a liquidation leaves one zkUSD in the pool");
  const coins = increase(before.totalCoins, after.totalCoins, "a liquidation brings bitcoin to the pool");

  const total = U256.from(before.totalTokens);
  const sum = before.sum.plus(
    U256.from(coins).times(U256.from(PRODUCT_UNIT)).times(before.product).over(total),
  );
  // rounded down: every deposit keeps a little less than its share
  const product = before.product.times(U256.from(after.totalTokens));
  const least = U256.from(SCALE_FACTOR);
  let scaled = product.over(total);
  let factor = U256.from(1);
  let scales = 0;
  while (scaled.compare(least) < 0) {
    factor = factor.times(least);
    scaled = product.times(factor).over(total);
    scales++;
  }
  require(after.product.equals(scaled), "the pool's product is not the one that follows");
  require(after.scale == plus(before.scale, scales), "the pool's scale is not the one that follows");
  for (let i = 0; i < before.pastSums.length; i++) {
    require(after.pastSums[i].equals(before.pastSums[i]), "the sums of past scales never change");
  }
  require(after.sumOf(before.scale).equals(sum), "the pool's sum is not the one that follows");
  for (let scale = before.scale + 1; scale <= after.scale; scale++) {
    require(after.sumOf(scale).isZero(), "a scale begins without a sum");
  }
}

/** zkUSD that is left of a deposit. */
function compounded(deposit: Deposit, pool: PoolState): u64 {
  const scales = minus(pool.scale, deposit.scale, "a deposit is of a scale that has not begun");
  if (scales > 1) return 0;
  let left = U256.from(deposit.value).times(pool.product).over(deposit.product);
  if (scales == 1) left = left.over(U256.from(SCALE_FACTOR));
  const value = left.toU64();
  // so small a rest is mostly rounding
  return value < deposit.value / SCALE_FACTOR ? 0 : value;
}

/** Satoshis that a deposit has gained: in the scale it was made in, and in the one after. */
function gain(deposit: Deposit, pool: PoolState): u64 {
  const first = pool.sumOf(deposit.scale).minus(deposit.sum);
  const second = pool.sumOf(deposit.scale + 1).over(U256.from(SCALE_FACTOR));
  return U256.from(deposit.value)
    .times(first.plus(second))
    .over(deposit.product)
    .over(U256.from(PRODUCT_UNIT))
    .toU64();
}
