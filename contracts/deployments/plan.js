/**
 * Deployment plans of BitHedge for Clarinet: every contract of `Clarinet.toml` in its order, then the calls that bring the
 * set to life, one per batch, since each needs the one before it.
 *
 *     node deployments/plan.js devnet                  writes default.devnet-plan.yaml from devnet.json
 *     node deployments/plan.js devnet --check          fails if that file is not what would be written
 *     node deployments/plan.js mainnet --inputs FILE   writes default.mainnet-plan.yaml from another file
 *     node deployments/plan.js mainnet --print         prints the plan instead of writing it
 *     node deployments/plan.js mainnet --handover      writes handover.mainnet-plan.yaml: governance to bh-gov
 *
 * README.md in this folder says what the inputs mean. `clarinet deployments apply -p deployments/NAME.yaml` carries a plan
 * out. The format is Clarinet's (https://docs.stacks.co/clarinet/contract-deployment).
 */
import { readFileSync, realpathSync, writeFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { Cl } from '@stacks/transactions';
import { problems } from './inputs.js';

/** @typedef {import('@stacks/transactions').ClarityValue} ClarityValue */
/** @typedef {{name: string, path: string, clarityVersion: number, epoch: string}} Contract */
/** @typedef {{contract: string, function: string, args: ClarityValue[]}} Call */
/** @typedef {import('./inputs.js').Inputs} Inputs */

const FOLDER = new URL('./', import.meta.url);

/** Contracts of `Clarinet.toml`, in the order in which it names them, which is the order of deployment. */
export function contracts(text = readFileSync(new URL('../Clarinet.toml', FOLDER), 'utf8')) {
  return text
    .split(/^\[contracts\./m)
    .slice(1)
    .map((section) => {
      /** @param {RegExp} pattern */
      const field = (pattern) => {
        const found = pattern.exec(section)?.[1];
        if (found === undefined) throw new Error(`Clarinet.toml: [contracts.${section.split(']')[0]} lacks ${pattern.source}`);
        return found;
      };
      /** @type {Contract} */
      const contract = {
        name: field(/^([a-z0-9-]+)\]/),
        path: field(/^path = "(.+)"$/m),
        clarityVersion: Number(field(/^clarity_version = (\d+)$/m)),
        epoch: field(/^epoch = "(.+)"$/m),
      };
      return contract;
    });
}

/**
 * Paths of everything that is still null or empty.
 * @param {unknown} value
 * @param {string} path
 * @returns {string[]}
 */
function open(value, path = '') {
  if (value === null || (Array.isArray(value) && value.length === 0)) return [path];
  if (typeof value !== 'object') return [];
  return Object.entries(/** @type {object} */ (value)).flatMap(([key, item]) => open(item, path ? `${path}.${key}` : key));
}

/**
 * Inputs of a network, checked.
 * @param {string} network
 * @param {URL} [file] where they are; by default the network's own file
 * @returns {Inputs}
 * @throws {Error} something in the file is not decided yet, or is wrong
 */
export function inputs(network, file = new URL(`${network}.json`, FOLDER)) {
  const name = fileURLToPath(file);
  const value = JSON.parse(readFileSync(file, 'utf8'));
  const missing = open(value);
  if (missing.length > 0) throw new Error(`${name} leaves open: ${missing.join(', ')}. Fill them in first.`);
  const wrong = problems(network, value, contracts());
  if (wrong.length > 0) throw new Error([`${name} is wrong:`, ...wrong].join('\n  '));
  return value;
}

/**
 * The calls after the deployment, in order: bootstrap of registry, parameters, oracle and governance, then parameters that
 * are to differ.
 * @param {Inputs} given
 * @returns {Call[]}
 */
export function calls(given) {
  const { contract, 'asset-name': assetName } = given['governance-token'];
  /** @type {Call[]} */
  const bootstrap = [
    { contract: 'bh-registry', function: 'bootstrap', args: [Cl.principal(given.guardian)] },
    { contract: 'bh-params', function: 'bootstrap', args: [Cl.principal(given.sbtc)] },
    {
      contract: 'bh-oracle',
      function: 'bootstrap',
      args: [
        Cl.list(
          given.feeds.map((feed) =>
            Cl.tuple({
              asset: Cl.stringAscii(feed.asset),
              insurable: Cl.bool(feed.insurable),
              'reference-usd8': Cl.uint(feed['reference-usd8']),
            }),
          ),
        ),
        Cl.list(
          given.feeders.map(({ provider, weight }) =>
            Cl.tuple({ provider: Cl.principal(provider), weight: Cl.uint(weight) }),
          ),
        ),
      ],
    },
    {
      contract: 'bh-gov',
      function: 'bootstrap',
      args: [Cl.principal(contract.includes('.') ? contract : `${given.deployer}.${contract}`), Cl.stringAscii(assetName)],
    },
  ];
  const changes = Object.entries(given.parameters).map(([key, value]) =>
    Cl.tuple({ key: Cl.stringAscii(key), value: Cl.uint(value) }),
  );
  if (changes.length === 0) return bootstrap;
  return [...bootstrap, { contract: 'bh-params', function: 'set-params', args: [Cl.list(changes), Cl.none()] }];
}

/**
 * The call that leaves the deployer without power.
 * @param {Inputs} given
 * @returns {Call[]}
 */
export function handover(given) {
  return [{ contract: 'bh-registry', function: 'handover', args: [Cl.principal(`${given.deployer}.bh-gov`)] }];
}

/**
 * A plan as Clarinet reads it.
 * @param {Inputs} given
 * @param {string} title
 * @param {Contract[]} published
 * @param {Call[]} called
 */
export function render(given, title, published, called) {
  const [{ epoch }] = /** @type {[Contract]} */ (contracts());
  if (published.some((contract) => contract.epoch !== epoch)) throw new Error('Clarinet.toml: contracts of several epochs');
  const lines = [
    '---',
    'id: 0',
    `name: ${title}`,
    `network: ${given.network}`,
    `stacks-node: "${given['stacks-node']}"`,
    `bitcoin-node: "${given['bitcoin-node']}"`,
    'plan:',
    '  batches:',
  ];
  let batch = 0;
  if (published.length > 0) {
    lines.push(`    - id: ${batch}`, '      transactions:');
    for (const contract of published) {
      lines.push(
        '        - contract-publish:',
        `            contract-name: ${contract.name}`,
        `            expected-sender: ${given.deployer}`,
        `            cost: ${given['publish-fee']}`,
        `            path: ${contract.path}`,
        '            anchor-block-only: true',
        `            clarity-version: ${contract.clarityVersion}`,
      );
    }
    lines.push(`      epoch: "${epoch}"`);
    batch += 1;
  }
  for (const call of called) {
    lines.push(
      `    - id: ${batch}`,
      '      transactions:',
      '        - contract-call:',
      `            contract-id: ${given.deployer}.${call.contract}`,
      `            expected-sender: ${given.deployer}`,
      `            method: ${call.function}`,
      '            parameters:',
      ...call.args.map((value) => `              - ${JSON.stringify(Cl.stringify(value))}`),
      `            cost: ${given['call-fee']}`,
      `      epoch: "${epoch}"`,
    );
    batch += 1;
  }
  return `${lines.join('\n')}\n`;
}

/**
 * What the deployer must own to carry a plan out, in µSTX.
 * @param {string} text the plan
 */
export function fees(text) {
  return [...text.matchAll(/^ +cost: (\d+)$/gm)].reduce((sum, [, cost]) => sum + BigInt(/** @type {string} */ (cost)), 0n);
}

/**
 * Name and content of a network's plan.
 * @param {string} network
 * @param {{handover?: boolean, inputs?: URL}} [options]
 */
export function plan(network, options = {}) {
  const given = inputs(network, options.inputs);
  if (options.handover) {
    return { file: `handover.${network}-plan.yaml`, text: render(given, `Handover on ${network}`, [], handover(given)) };
  }
  return {
    file: `default.${network}-plan.yaml`,
    text: render(given, `BitHedge on ${network}`, contracts(), calls(given)),
  };
}

/** @param {string[]} args */
function main(args) {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: {
      handover: { type: 'boolean', default: false },
      check: { type: 'boolean', default: false },
      print: { type: 'boolean', default: false },
      inputs: { type: 'string' },
    },
  });
  const [network = ''] = positionals;
  if (positionals.length !== 1 || !['devnet', 'testnet', 'mainnet'].includes(network)) {
    throw new Error('Usage: node deployments/plan.js devnet|testnet|mainnet [--inputs FILE] [--handover] [--print | --check]');
  }
  const given = values.inputs === undefined ? {} : { inputs: pathToFileURL(resolve(values.inputs)) };
  const { file, text } = plan(network, { handover: values.handover, ...given });
  if (values.print) {
    process.stdout.write(text);
  } else if (!values.check) {
    writeFileSync(new URL(file, FOLDER), text);
    console.log(`wrote deployments/${file}: the deployer pays ${fees(text)} µSTX of fees`);
  } else if (readFileSync(new URL(file, FOLDER), 'utf8') !== text) {
    throw new Error(`deployments/${file} is not what Clarinet.toml and ${network}.json give: write it anew`);
  }
}

if (process.argv[1] && realpathSync(process.argv[1]) === fileURLToPath(import.meta.url)) {
  try {
    main(process.argv.slice(2));
  } catch (error) {
    console.error(error instanceof Error ? error.message : error);
    process.exitCode = 1;
  }
}
