import { checkPrincipal } from './api.js';
import { HttpError, jsonBody } from './http.js';
import { blockSummary, burnSummary } from './payloads.js';

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
