/** What a network's plan is made of, and what is checked of it before anything is published. */
import { readFileSync } from 'node:fs';
import { validateStacksAddress } from '@stacks/transactions';

/**
 * Numbers are decimal text. README.md in this folder says what each means.
 * @typedef {{
 *   'network': string,
 *   'stacks-node': string,
 *   'bitcoin-node': string,
 *   'deployer': string,
 *   'guardian': string,
 *   'sbtc': string,
 *   'governance-token': {'contract': string, 'asset-name': string},
 *   'feeds': {'asset': string, 'insurable': boolean, 'reference-usd8': string}[],
 *   'feeders': {'provider': string, 'weight': string}[],
 *   'parameters': {[key: string]: string},
 *   'publish-fee': string,
 *   'call-fee': string,
 * }} Inputs
 */

/** Fields of the inputs, all of which must be there. */
const FIELDS = [
  'network',
  'stacks-node',
  'bitcoin-node',
  'deployer',
  'guardian',
  'sbtc',
  'governance-token',
  'feeds',
  'feeders',
  'parameters',
  'publish-fee',
  'call-fee',
];
/** First letters of a network's addresses: of one key, and of several. */
const PREFIXES = /** @type {const} */ ({ mainnet: ['SP', 'SM'], testnet: ['ST', 'SN'], devnet: ['ST', 'SN'] });
/** µSTX that a node wants per byte of a transaction at least (MINIMUM_TX_FEE_RATE_PER_BYTE of stacks-core). */
const FEE_PER_BYTE = 1n;
/** Bytes of a transaction besides the code that it publishes: header, one signature, name; rounded up. */
const OVERHEAD = 400n;
/** Bytes that a contract may have, so that its transaction stays far below the 2 MiB of a block of stacks-core. */
const MAX_CODE = 200_000;
/** What one call of set-params takes. */
const MAX_PARAMETERS = 24;
const MAX_UINT = 2n ** 128n - 1n;

/** Value and bounds of every parameter of the first deployment, as bh-params.bootstrap has them. */
export function parameters() {
  const code = readFileSync(new URL('../contracts/bh-params.clar', import.meta.url), 'utf8');
  const rows = code.matchAll(/\{key: "([a-z0-9-]+)", kind: "[a-z0-9]+", value: u(\d+), min: u(\d+), max: u(\d+)\}/g);
  return new Map(
    [...rows].map(([, key, value, min, max]) => [
      /** @type {string} */ (key),
      { value: BigInt(value ?? ''), min: BigInt(min ?? ''), max: BigInt(max ?? '') },
    ]),
  );
}

/**
 * A number of the inputs; null if it is none that a contract takes.
 * @param {unknown} text
 */
function uint(text) {
  return typeof text === 'string' && /^\d{1,39}$/.test(text) && BigInt(text) <= MAX_UINT ? BigInt(text) : null;
}

/**
 * Everything that is wrong with inputs, in sentences; empty if a plan can be made of them.
 * @param {string} network
 * @param {Inputs} given
 * @param {{name: string, path: string}[]} contracts the set
 * @returns {string[]}
 */
export function problems(network, given, contracts) {
  const missing = FIELDS.filter((field) => !(field in given)).map((field) => `${field} is missing`);
  const unknown = Object.keys(given).filter((field) => !FIELDS.includes(field)).map((field) => `${field} is no input`);
  if (missing.length > 0 || unknown.length > 0) return [...missing, ...unknown];
  return [
    ...(given.network === network ? [] : [`network is ${given.network}, not ${network}`]),
    ...['stacks-node', 'bitcoin-node'].flatMap((field) => url(field, given[/** @type {'stacks-node'} */ (field)])),
    ...people(given),
    ...tokens(given, contracts),
    ...feeds(given),
    ...feeders(given),
    ...changes(given),
    ...costs(given, contracts),
  ];
}

/**
 * @param {string} field
 * @param {string} text
 */
function url(field, text) {
  return URL.canParse(text) && /^https?:$/.test(new URL(text).protocol) ? [] : [`${field} is no http URL: ${text}`];
}

/**
 * @param {Inputs} given
 * @param {string} path
 * @param {string} text a standard principal, or that of a contract
 * @returns {string[]}
 */
function principal(given, path, text) {
  const [address = '', name, ...rest] = text.split('.');
  const prefixes = PREFIXES[/** @type {keyof typeof PREFIXES} */ (given.network)] ?? [];
  if (!validateStacksAddress(address) || rest.length > 0 || !/^[a-zA-Z][a-zA-Z0-9-]{0,39}$/.test(name ?? 'none')) {
    return [`${path} is no principal: ${text}`];
  }
  return prefixes.some((prefix) => address.startsWith(prefix)) ? [] : [`${path} is no principal of ${given.network}: ${text}`];
}

/** @param {Inputs} given */
function people(given) {
  const { deployer, guardian } = given;
  return [
    ...(deployer.includes('.') ? [`deployer is a contract, which cannot publish: ${deployer}`] : []),
    ...principal(given, 'deployer', deployer),
    ...principal(given, 'guardian', guardian),
    ...(guardian === deployer ? ['guardian is the deployer, who keeps nothing after the handover'] : []),
  ];
}

/**
 * @param {Inputs} given
 * @param {{name: string}[]} contracts
 */
function tokens(given, contracts) {
  const { contract, 'asset-name': assetName } = given['governance-token'];
  const own = contracts.some(({ name }) => name === contract);
  /** @param {string} path @param {string} text */
  const isContract = (path, text) => (text.includes('.') ? [] : [`${path} is no contract: ${text}`]);
  return [
    // A devnet has the sBTC contract of mainnet.
    ...(given.network === 'devnet' ? [] : principal(given, 'sbtc', given.sbtc)),
    ...isContract('sbtc', given.sbtc),
    ...(own ? [] : [...isContract('governance-token.contract', contract), ...principal(given, 'governance-token.contract', contract)]),
    ...(own && contract !== 'bh-stx' ? [`governance-token.contract is no token: ${contract}`] : []),
    ...(contract === 'bh-stx' && assetName !== 'stx' ? [`governance-token.asset-name of bh-stx is stx, not ${assetName}`] : []),
    ...(/^[\x21-\x7e]{1,128}$/.test(assetName) ? [] : [`governance-token.asset-name is no asset's name: ${assetName}`]),
  ];
}

/**
 * Each value that comes more than once.
 * @param {string[]} values
 */
function twice(values) {
  return [...new Set(values.filter((value, i) => values.indexOf(value) !== i))];
}

/** @param {Inputs} given */
function feeds(given) {
  const rows = given.feeds;
  const assets = rows.map(({ asset }) => asset);
  return [
    ...(rows.length > 8 ? [`feeds has ${rows.length} rows, and the oracle takes 8`] : []),
    ...twice(assets).map((asset) => `feeds has ${asset} twice`),
    ...(rows.some(({ asset, insurable }) => asset === 'BTC' && insurable === true) ? [] : ['feeds lacks an insurable BTC']),
    ...(assets.includes('STX') ? [] : ['feeds lacks STX, which prices collateral']),
    ...rows.flatMap(({ asset, insurable, 'reference-usd8': price }, i) => [
      ...(/^[A-Z0-9-]{1,12}$/.test(asset) ? [] : [`feeds.${i}.asset is no asset: ${asset}`]),
      ...(typeof insurable === 'boolean' ? [] : [`feeds.${i}.insurable is neither true nor false: ${insurable}`]),
      ...((uint(price) ?? 0n) > 0n ? [] : [`feeds.${i}.reference-usd8 is no price: ${price}`]),
    ]),
  ];
}

/** @param {Inputs} given */
function feeders(given) {
  const rows = given.feeders;
  const least = value(given, 'oracle-min-providers');
  return [
    ...(rows.length > 10 ? [`feeders has ${rows.length} rows, and the oracle takes 10`] : []),
    ...(BigInt(rows.length) < least ? [`feeders has ${rows.length} rows, and a round needs ${least} (oracle-min-providers)`] : []),
    ...twice(rows.map(({ provider }) => provider)).map((provider) => `feeders has ${provider} twice`),
    ...rows.flatMap(({ provider, weight }, i) => [
      ...principal(given, `feeders.${i}.provider`, provider),
      ...((uint(weight) ?? 0n) > 0n ? [] : [`feeders.${i}.weight is no weight: ${weight}`]),
    ]),
  ];
}

/**
 * A parameter as it will be after the plan.
 * @param {Inputs} given
 * @param {string} key
 */
function value(given, key) {
  return uint(given.parameters[key]) ?? parameters().get(key)?.value ?? 0n;
}

/** @param {Inputs} given */
function changes(given) {
  const known = parameters();
  const entries = Object.entries(given.parameters);
  return [
    ...(entries.length > MAX_PARAMETERS ? [`parameters has ${entries.length} keys, and one call takes ${MAX_PARAMETERS}`] : []),
    ...entries.flatMap(([key, text]) => {
      const bounds = known.get(key);
      const number = uint(text);
      if (bounds === undefined) return [`parameters.${key} is no parameter`];
      if (number !== null && number >= bounds.min && number <= bounds.max) return [];
      return [`parameters.${key} is not from ${bounds.min} to ${bounds.max}: ${text}`];
    }),
  ];
}

/**
 * @param {Inputs} given
 * @param {{name: string, path: string}[]} contracts
 */
function costs(given, contracts) {
  const sizes = contracts.map(({ name, path }) => ({ name, size: readFileSync(new URL(`../${path}`, import.meta.url)).length }));
  const largest = BigInt(Math.max(...sizes.map(({ size }) => size)));
  /** @param {'publish-fee' | 'call-fee'} field @param {bigint} bytes */
  const fee = (field, bytes) => {
    const least = (bytes + OVERHEAD) * FEE_PER_BYTE;
    return (uint(given[field]) ?? 0n) >= least ? [] : [`${field} is ${given[field]} µSTX, and a node wants ${least} at least`];
  };
  return [
    ...sizes.filter(({ size }) => size > MAX_CODE).map(({ name, size }) => `${name} has ${size} bytes of code, above ${MAX_CODE}`),
    ...fee('publish-fee', largest),
    // The largest call is the one that sets parameters: under 100 bytes each.
    ...fee('call-fee', BigInt(100 * MAX_PARAMETERS)),
  ];
}
