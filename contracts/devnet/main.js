#!/usr/bin/env node
import { parseArgs } from 'node:util';
import { nodeRoutes } from './api.js';
import { controlRoutes } from './control.js';
import { Devnet } from './devnet.js';
import { Miner } from './miner.js';
import { Observers } from './observer.js';
import { serve } from './server.js';
import { Store } from './store.js';
import { Vm } from './vm.js';

const USAGE = `Usage: node contracts/devnet/main.js [options]

  --host ADDRESS            address to listen on (127.0.0.1)
  --port N                  port, 0 = any free one (20443)
  --observer URL            event observer to post to; may be repeated
  --observer-timeout-ms N   how long an observer may take to answer (5000)
  --block-interval-ms N     time between Stacks blocks, 0 = only on request (2000)
  --burn-interval-ms N      time between burn blocks, 0 = only on request (10000)
  --state DIR               keep the chain here and continue it after a restart
  --seed TEXT               hashes and keys follow from it (0)
  --chain-id N              0x80000000 = test network (default), 1 = main network
  --auth-token TEXT         opens the route that simulates transactions to those who send it (none: closed)
  --genesis-time SECONDS    Unix time at which a new chain begins (now)
  --log json|quiet          what goes to standard error (quiet)
  --help                    show this list
`;

/**
 * @param {string} value
 * @param {string} name
 * @param {number} [most]
 */
function number(value, name, most = Number.MAX_SAFE_INTEGER) {
  const parsed = Number(value);
  if (!/^(0x[0-9a-fA-F]+|[0-9]+)$/.test(value) || parsed > most)
    throw new TypeError(`--${name} ${value}: not a whole number from 0 to ${most}`);
  return parsed;
}

function readOptions() {
  const { values } = parseArgs({
    options: {
      host: { type: 'string', default: '127.0.0.1' },
      port: { type: 'string', default: '20443' },
      observer: { type: 'string', multiple: true, default: [] },
      'observer-timeout-ms': { type: 'string', default: '5000' },
      'block-interval-ms': { type: 'string', default: '2000' },
      'burn-interval-ms': { type: 'string', default: '10000' },
      state: { type: 'string' },
      seed: { type: 'string', default: '0' },
      'chain-id': { type: 'string', default: '0x80000000' },
      'auth-token': { type: 'string' },
      'genesis-time': { type: 'string' },
      log: { type: 'string', default: 'quiet' },
      help: { type: 'boolean', default: false },
    },
  });
  const urls = values.observer.map((text) => {
    const url = URL.canParse(text) ? new URL(text) : null;
    if (url?.protocol !== 'http:') throw new TypeError(`--observer ${text}: not an http:// URL`);
    return text;
  });
  if (values.log !== 'json' && values.log !== 'quiet') throw new TypeError(`--log ${values.log}: json or quiet`);
  return {
    help: values.help,
    host: values.host,
    port: number(values.port, 'port', 65535),
    urls,
    timeoutMs: number(values['observer-timeout-ms'], 'observer-timeout-ms'),
    blockMs: number(values['block-interval-ms'], 'block-interval-ms'),
    burnMs: number(values['burn-interval-ms'], 'burn-interval-ms'),
    state: values.state,
    seed: values.seed,
    chainId: number(values['chain-id'], 'chain-id', 0xffffffff),
    authToken: values['auth-token'] ?? null,
    genesisTime: values['genesis-time'] === undefined ? null : number(values['genesis-time'], 'genesis-time'),
    verbose: values.log === 'json',
  };
}

/** @param {ReturnType<typeof readOptions>} options */
async function start(options) {
  const { seed, chainId } = options;
  const report = (/** @type {Record<string, unknown>} */ message) => {
    if (options.verbose) console.error(JSON.stringify({ time: new Date().toISOString(), ...message }));
  };
  const reportError = (/** @type {unknown} */ error) =>
    console.error(
      JSON.stringify({
        time: new Date().toISOString(),
        event: 'error',
        error: error instanceof Error ? error.stack : String(error),
      }),
    );

  const store = options.state === undefined ? null : new Store(options.state);
  const known = store?.genesis() ?? null;
  if (known && (known.seed !== seed || known.chainId !== chainId)) {
    throw new Error(
      `${options.state} holds a chain of seed ${known.seed} and chain id ${known.chainId}; start it with these or choose another directory`,
    );
  }
  const time = known?.time ?? options.genesisTime ?? Math.floor(Date.now() / 1000);
  if (!known) store?.append({ op: 'genesis', version: 1, seed, chainId, time });

  const observers = new Observers({
    urls: options.urls,
    timeoutMs: options.timeoutMs,
    delivered: store?.delivered() ?? {},
    acknowledge: (url, post) => store?.acknowledge(url, post),
    report,
  });
  const vm = await Vm.start({ genesisTime: time });
  const devnet = new Devnet({ vm, seed, chainId, observers, report });
  if (store) {
    devnet.replay(store.history());
    devnet.log = (operation) => store.append(operation);
  }
  observers.start(known === null);

  const miner = new Miner(devnet, reportError);
  const server = serve([...nodeRoutes(devnet, options.authToken), ...controlRoutes(devnet, miner)], reportError);
  await new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(options.port, options.host, () => resolve(undefined));
  });
  miner.setIntervals(options.blockMs, options.burnMs);

  const stop = () => {
    miner.stop();
    observers.stop();
    server.close(() => store?.close());
    server.closeAllConnections();
  };
  process.once('SIGTERM', stop);
  process.once('SIGINT', stop);
  const { port } = /** @type {import('node:net').AddressInfo} */ (server.address());
  console.log(
    JSON.stringify({
      event: 'ready',
      url: `http://${options.host.includes(':') ? `[${options.host}]` : options.host}:${port}`,
      height: devnet.chain.tip.height,
      faucet: devnet.faucet.address,
    }),
  );
}

try {
  const options = readOptions();
  if (options.help) console.log(USAGE);
  else await start(options);
} catch (error) {
  console.error(
    error instanceof Error ? error.message : String(error),
    ...(error instanceof Error && error.cause ? [error.cause] : []),
  );
  process.exitCode = 1;
}
