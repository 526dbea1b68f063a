import { checkPrincipal } from './api.js';
import { HttpError, hexBytes, jsonBody } from './http.js';
import { DROP_REASONS, blockSummary, burnSummary } from './payloads.js';

/**
 * Routes under /devnet/, with which tests and people drive the chain.
 *
 * @typedef {import('./http.js').Route} Route
 * @typedef {import('./devnet.js').Devnet} Devnet
 */

/** Blocks that one request may ask for. */
const MAX_BLOCKS = 1000;

/**
 * @param {Devnet} devnet
 * @param {import('./miner.js').Miner} miner
 * @returns {Route[]}
 */
export function controlRoutes(devnet, miner) {
  const { chain, vm, mempool, observers } = devnet;
  return [
    {
      method: 'GET',
      path: /^\/devnet\/status$/,
      handle: () => ({
        json: {
          tip: blockSummary(chain.tip),
          burn_tip: burnSummary(chain.burnTip),
          tenure_pending: chain.tenurePending,
          mempool: { size: mempool.size, txids: [...mempool.entries.keys()].map((txid) => `0x${txid}`) },
          posts: {
            count: observers.count,
            queued: observers.queue.length,
            paused: observers.paused,
            observers: observers.urls,
          },
          forks: devnet.forks,
          intervals: { blockMs: miner.blockMs, burnMs: miner.burnMs },
          faucet: devnet.faucet.address,
          miner: devnet.miner.address,
          congestion: congestionSummary(devnet.congestion),
          memory: vm.memoryUse(),
        },
      }),
    },
    {
      method: 'POST',
      path: /^\/devnet\/mine$/,
      handle: async (call) => {
        const mined = [];
        for (let count = wholeNumber(jsonBody(call).blocks ?? 1, 'blocks', 1, MAX_BLOCKS); count > 0; count--) {
          mined.push(blockSummary(devnet.mine()));
          await others();
        }
        return { json: { blocks: mined } };
      },
    },
    {
      method: 'POST',
      path: /^\/devnet\/burn$/,
      handle: async (call) => {
        const { blocks = 1, mine = true } = jsonBody(call);
        if (typeof mine !== 'boolean') throw new HttpError(400, 'mine must be true or false');
        const burns = [];
        const mined = [];
        for (let count = wholeNumber(blocks, 'blocks', 1, MAX_BLOCKS); count > 0; count--) {
          if (chain.tenurePending) mined.push(blockSummary(devnet.mine()));
          burns.push(burnSummary(devnet.burn()));
          if (mine) mined.push(blockSummary(devnet.mine()));
          await others();
        }
        return { json: { burn_blocks: burns, blocks: mined } };
      },
    },
    {
      method: 'POST',
      path: /^\/devnet\/intervals$/,
      handle: (call) => {
        const { blockMs = miner.blockMs, burnMs = miner.burnMs } = jsonBody(call);
        miner.setIntervals(wholeNumber(blockMs, 'blockMs', 0), wholeNumber(burnMs, 'burnMs', 0));
        return { json: { blockMs: miner.blockMs, burnMs: miner.burnMs } };
      },
    },
    {
      method: 'POST',
      path: /^\/devnet\/fund$/,
      handle: (call) => {
        const { address, ustx, sbtc } = jsonBody(call);
        if (typeof address !== 'string') throw new HttpError(400, 'address is missing');
        checkPrincipal(address);
        if (ustx === undefined && sbtc === undefined) throw new HttpError(400, 'ustx or sbtc is missing');
        const gifts = /** @type {const} */ ([
          ['stx', ustx, 'ustx'],
          ['sbtc', sbtc, 'sbtc'],
        ]);
        const amounts = gifts.flatMap(([asset, amount, name]) =>
          amount === undefined ? [] : [{ asset, amount: positiveAmount(amount, name) }],
        );
        const sent = amounts.map(({ asset, amount }) => devnet.fund({ asset, recipient: address, amount }));
        return { json: { txids: sent.map(({ txid }) => `0x${txid}`) } };
      },
    },
    {
      method: 'POST',
      path: /^\/devnet\/fork$/,
      handle: (call) => {
        const { depth, blocks, keep_transactions: keep = true } = jsonBody(call);
        if (typeof keep !== 'boolean') throw new HttpError(400, 'keep_transactions must be true or false');
        const options = {
          depth: wholeNumber(depth, 'depth', 1),
          keep,
          ...(blocks !== undefined && { blocks: wholeNumber(blocks, 'blocks', 1, MAX_BLOCKS) }),
        };
        try {
          const { forkPoint, oldBlocks, newBlocks, oldBurns, newBurns, returned, dropped } = devnet.fork(options);
          return {
            json: {
              fork_point: blockSummary(forkPoint),
              old: { blocks: oldBlocks.map(blockSummary), burn_blocks: oldBurns.map(burnSummary) },
              new: { blocks: newBlocks.map(blockSummary), burn_blocks: newBurns.map(burnSummary) },
              returned: returned.map(({ txid }) => `0x${txid}`),
              dropped: dropped.map(({ txid }) => `0x${txid}`),
            },
          };
        } catch (error) {
          if (error instanceof RangeError) throw new HttpError(400, error.message);
          throw error;
        }
      },
    },
    {
      method: 'POST',
      path: /^\/devnet\/congestion$/,
      handle: (call) => {
        devnet.setCongestion(readCongestion(jsonBody(call)));
        return { json: { congestion: congestionSummary(devnet.congestion) } };
      },
    },
    {
      method: 'POST',
      path: /^\/devnet\/drop$/,
      handle: (call) => {
        const { txids, fraction, sender, reason = 'TooExpensive' } = jsonBody(call);
        const known = DROP_REASONS.find((name) => name === reason);
        if (!known) throw new HttpError(400, `reason must be one of ${DROP_REASONS.join(', ')}`);
        if ((txids === undefined) === (fraction === undefined)) throw new HttpError(400, 'give txids or fraction');
        if (sender !== undefined && typeof sender !== 'string') throw new HttpError(400, 'sender must be an address');
        const chosen = txids === undefined ? devnet.someWaiting(part(fraction), sender) : readTxids(txids);
        return { json: { dropped: devnet.drop(chosen, known).map((txid) => `0x${txid}`) } };
      },
    },
    {
      method: 'POST',
      path: /^\/devnet\/pause-posts$/,
      handle: () => {
        observers.pause();
        return { json: { paused: true, queued: observers.queue.length } };
      },
    },
    {
      method: 'POST',
      path: /^\/devnet\/resume-posts$/,
      handle: () => {
        observers.resume();
        return { json: { paused: false, queued: observers.queue.length } };
      },
    },
  ];
}

/** microSTX a byte that strangers pay or miners ask for at most: their money lasts for tens of thousands of blocks. */
const MAX_FEE_RATE = 10_000;
/** Strangers that one congestion may have: each needs a transaction of the faucet, all in one block. */
const MAX_STRANGERS = 400;

/**
 * @param {Record<string, unknown>} body
 * @returns {import('./congestion.js').Congestion | null} null for an empty body
 */
function readCongestion({ capacity, min_fee_rate: minFeeRate = 0, strangers = 0, stranger_fees: fees = [1, 1] }) {
  if (capacity === undefined) return null;
  const range = Array.isArray(fees) && fees.length === 2 ? fees : [0, 0];
  const [least, most] = range.map((rate) => wholeNumber(rate, 'stranger_fees', 1, MAX_FEE_RATE));
  if (least > most) throw new HttpError(400, 'stranger_fees must be [least, most]');
  return {
    capacity: wholeNumber(capacity, 'capacity', 1, 500),
    minFeeRate: wholeNumber(minFeeRate, 'min_fee_rate', 0, MAX_FEE_RATE),
    strangers: wholeNumber(strangers, 'strangers', 0, MAX_STRANGERS),
    strangerFees: [least, most],
  };
}

/** @param {import('./congestion.js').Congestion | null} congestion */
function congestionSummary(congestion) {
  if (congestion === null) return null;
  const { capacity, minFeeRate, strangers, strangerFees } = congestion;
  return { capacity, min_fee_rate: minFeeRate, strangers, stranger_fees: strangerFees };
}

/** @param {unknown} txids @returns {string[]} without 0x */
function readTxids(txids) {
  if (!Array.isArray(txids)) throw new HttpError(400, 'txids must be a list');
  return txids.map((txid) => hexBytes(txid, 'a txid').toString('hex'));
}

/** @param {unknown} fraction @returns {number} */
function part(fraction) {
  if (typeof fraction !== 'number' || !(fraction > 0 && fraction <= 1))
    throw new HttpError(400, 'fraction must be above 0 and at most 1');
  return fraction;
}

/** Lets posts and other requests have their turn. */
function others() {
  return new Promise((resolve) => setImmediate(resolve));
}

/**
 * @param {unknown} value @param {string} name @param {number} least @param {number} [most]
 * @returns {number}
 */
function wholeNumber(value, name, least, most = Number.MAX_SAFE_INTEGER) {
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < least || value > most) {
    throw new HttpError(
      400,
      `${name} must be a whole number from ${least}${most === Number.MAX_SAFE_INTEGER ? '' : ` to ${most}`}`,
    );
  }
  return value;
}

/**
 * @param {unknown} value a JSON number or, for large amounts, a decimal string
 * @param {string} name
 * @returns {bigint}
 */
function positiveAmount(value, name) {
  const text = typeof value === 'number' && Number.isSafeInteger(value) ? String(value) : value;
  if (typeof text !== 'string' || !/^[1-9][0-9]{0,19}$/.test(text))
    throw new HttpError(400, `${name} must be a positive whole number (a string when it is large)`);
  return BigInt(text);
}
