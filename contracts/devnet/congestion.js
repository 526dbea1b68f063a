import { derive } from './hashes.js';
import { deriveKey, transferStx } from './signing.js';

/**
 * A chain that is in demand: blocks with little room, miners who look at fees, and strangers who pay them.
 *
 * @typedef {import('./transaction.js').Transaction} Transaction
 * @typedef {object} Congestion
 * @property {number} capacity transactions that a block takes, not counting those that open its tenure
 * @property {number} minFeeRate microSTX a byte below which miners take nothing; it waits
 * @property {number} strangers how many transactions of strangers wait before each block
 * @property {[least: number, most: number]} strangerFees microSTX a byte that strangers pay
 */

/** microSTX that a stranger has to spend on fees. */
export const STRANGER_USTX = 100_000_000_000n;
/** microSTX a byte, for the low, middle and high estimate, while blocks have room. */
export const FEE_RATES = [1, 2, 4];
/** Percentiles of a block's fee rates that the three estimates come from, and the blocks that they look at. */
const PERCENTILES = [5, 50, 95];
const WINDOW = 5;

/**
 * The order in which miners try transactions while there is no demand: as they came, each account's by nonce.
 * @param {Transaction[]} transactions oldest first
 * @param {(transaction: Transaction) => boolean} take puts one into the block if it can be there now
 */
export function takeInOrderOfArrival(transactions, take) {
  let waiting = transactions;
  for (let before = -1; before !== waiting.length; ) {
    before = waiting.length;
    waiting = waiting.filter((transaction) => !take(transaction));
  }
}

/**
 * The order under demand: always the one that pays most a byte among those whose turn it is.
 * @param {Transaction[]} transactions oldest first
 * @param {(transaction: Transaction) => boolean} take puts one into the block if it can be there now
 * @param {number} minFeeRate
 */
export function takeByFee(transactions, take, minFeeRate) {
  const waiting = transactions
    .filter(({ fee, size }) => fee >= BigInt(minFeeRate) * BigInt(size))
    .sort((a, b) => Number(b.fee * BigInt(a.size) - a.fee * BigInt(b.size)));
  for (let i = 0; i < waiting.length; ) {
    if (take(waiting[i])) {
      waiting.splice(i, 1);
      i = 0;
    } else i += 1;
  }
}

/**
 * The strangers' next transactions: so many that `strangers` of them wait. Each stranger has at most one waiting.
 * @param {Congestion} congestion
 * @param {object} options
 * @param {import('./signing.js').Network} options.network
 * @param {string} options.recipient
 * @param {(address: string) => bigint} options.nonceOf
 * @param {(address: string, nonce: bigint) => boolean} options.isWaiting
 * @returns {Transaction[]}
 */
export function strangersTransactions({ strangers, strangerFees: [least, most] }, options) {
  const { network, recipient, nonceOf, isWaiting } = options;
  const transactions = [];
  for (let number = 0; number < strangers; number++) {
    const key = strangerKey(number, network);
    const nonce = nonceOf(key.address);
    if (isWaiting(key.address, nonce)) continue;
    const random = Number.parseInt(derive('stranger fee', network.seed, number, String(nonce)).slice(0, 8), 16);
    const feePerByte = least + (random % (most - least + 1));
    transactions.push(transferStx(recipient, 1n, { key, nonce, feePerByte, network, memo: 'stranger' }));
  }
  return transactions;
}

/**
 * @param {number} number from 0
 * @param {import('./signing.js').Network} network
 */
export function strangerKey(number, network) {
  return deriveKey(`stranger ${number}`, network);
}

/**
 * Fee rates that the node would estimate, in microSTX a byte: for the last blocks, percentiles of what their transactions
 * paid, an unused part of a block counting as the lowest rate; then the median of the blocks
 * (stacks-core, stackslib/src/cost_estimates/fee_medians.rs).
 * @param {import('./chain.js').Block[]} blocks
 * @param {number} capacity
 * @param {string} miner whose transactions only open tenures
 * @returns {number[]} low, middle, high; never below those of an idle chain
 */
export function estimatedFeeRates(blocks, capacity, miner) {
  const samples = blocks.slice(-WINDOW).map(({ receipts }) => {
    const rates = receipts
      .filter(({ transaction }) => transaction.origin !== miner)
      .map(({ transaction: { fee, size } }) => Math.ceil(Number(fee) / size))
      .sort((a, b) => a - b);
    const unused = Math.max(0, capacity - rates.length);
    const padded = [...new Array(unused).fill(FEE_RATES[0]), ...rates];
    return PERCENTILES.map((percentile) => padded[Math.ceil((padded.length * percentile) / 100) - 1]);
  });
  return FEE_RATES.map((least, i) => {
    const ofBlocks = samples.map((sample) => sample[i]).sort((a, b) => a - b);
    return Math.max(least, ofBlocks[ofBlocks.length >> 1]);
  });
}
