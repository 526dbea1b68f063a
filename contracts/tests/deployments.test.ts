import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { parameters, problems, type Inputs } from '../deployments/inputs.js';
import { contracts, fees, inputs, plan } from '../deployments/plan.js';
import { Chain, CONTRACTS, MODULES, plain, type Costs } from './support/chain.ts';
import { shares } from './support/costs.ts';

const FOLDER = new URL('../deployments/', import.meta.url);
const source = (path: string) => readFileSync(new URL(`../${path}`, import.meta.url), 'utf8');
const example = (network: string) => new URL(`example.${network}.json`, FOLDER);

test('the plan publishes every contract, and each names only those before it', () => {
  const published = contracts();
  expect(published.map(({ name }) => name)).toEqual([...CONTRACTS]);
  published.forEach(({ name, path, clarityVersion, epoch }, i) => {
    expect([path, clarityVersion, epoch]).toEqual([`contracts/${name}.clar`, 6, '4.0']);
    const known = published.slice(0, i).map((contract) => contract.name);
    // Bootstrap of the registry names the modules that come after it, as principals.
    const code = source(path).replace(/^ *;;.*$/gm, '').replace(/\(genesis-module .*\)/g, '');
    for (const [, named] of code.matchAll(/\.(bh-[a-z]+)/g)) expect(known, `${name} names ${named}`).toContain(named);
  });
});

test('the committed plan is what its inputs give', () => {
  const { file, text } = plan('devnet');
  expect(source(`deployments/${file}`)).toBe(text);
});

test.each(['testnet', 'mainnet'])('the plan of %s is refused until everything is decided', (network) => {
  for (const field of ['deployer', 'guardian', 'feeders', 'feeds.0.reference-usd8', 'governance-token.contract']) {
    expect(() => plan(network)).toThrow(field);
  }
});

describe('inputs', () => {
  const given = (): Inputs => JSON.parse(readFileSync(example('testnet'), 'utf8'));
  const wrong = (change: (value: Inputs) => unknown): string[] => {
    const value = given();
    change(value);
    return problems('testnet', value, contracts());
  };
  const MAINNET = 'SP3MBBW6W4GJ02W5VYNAF491E40JTN9MQZ07Q3WX2';

  test('of the example are right', () => {
    expect(problems('testnet', given(), contracts())).toEqual([]);
    expect(() => inputs('mainnet', example('testnet'))).toThrow('network is testnet, not mainnet');
  });

  test.each<[string, (value: Inputs) => unknown]>([
    ['guardian is missing', (v) => delete (v as Partial<Inputs>).guardian],
    ['gaurdian is no input', (v) => ((v as Inputs & { gaurdian: string }).gaurdian = v.guardian)],
    ['stacks-node is no http URL', (v) => (v['stacks-node'] = 'node.example.org')],
    ['deployer is no principal of testnet', (v) => (v.deployer = MAINNET)],
    ['deployer is no principal', (v) => (v.deployer = v.deployer.replace(/.$/, (c) => (c === 'M' ? 'N' : 'M')))],
    ['deployer is a contract', (v) => (v.deployer = `${v.deployer}.wallet`)],
    ['guardian is the deployer', (v) => (v.guardian = v.deployer)],
    ['guardian is no principal', (v) => (v.guardian = `${v.deployer}.not a name`)],
    ['sbtc is no contract', (v) => (v.sbtc = v.deployer)],
    ['sbtc is no principal of testnet', (v) => (v.sbtc = `${MAINNET}.sbtc-token`)],
    ['governance-token.contract is no contract', (v) => (v['governance-token'].contract = 'no-such')],
    ['governance-token.contract is no token', (v) => (v['governance-token'].contract = 'bh-math')],
    ['governance-token.asset-name of bh-stx is stx', (v) => (v['governance-token']['asset-name'] = 'gov')],
    ["governance-token.asset-name is no asset's name", (v) => (v['governance-token']['asset-name'] = 'ü')],
    ['feeds has STX twice', (v) => v.feeds.push(v.feeds[1]!)],
    ['feeds lacks an insurable BTC', (v) => (v.feeds[0]!.insurable = false)],
    ['feeds lacks STX', (v) => v.feeds.pop()],
    ['feeds has 9 rows', (v) => v.feeds.push(...[1, 2, 3, 4, 5, 6, 7].map((i) => ({ ...v.feeds[0]!, asset: `A${i}` })))],
    ['feeds.0.asset is no asset', (v) => (v.feeds[0]!.asset = 'BITCOIN-PRICE')],
    ['feeds.0.reference-usd8 is no price', (v) => (v.feeds[0]!['reference-usd8'] = '0')],
    ['feeds.1.reference-usd8 is no price', (v) => (v.feeds[1]!['reference-usd8'] = '2.00')],
    ['feeders has 2 rows, and a round needs 3', (v) => v.feeders.splice(2)],
    ['feeders has 4 rows, and a round needs 5', (v) => (v.parameters['oracle-min-providers'] = '5')],
    ['feeders has 11 rows', (v) => (v.feeders = Array(11).fill(v.feeders[0]))],
    [`feeders has ${MAINNET.replace('SP', 'ST').slice(0, 4)}`, (v) => (v.feeders[1]!.provider = v.feeders[0]!.provider = v.deployer)],
    ['feeders.0.provider is no principal', (v) => (v.feeders[0]!.provider = 'nobody')],
    ['feeders.0.weight is no weight', (v) => (v.feeders[0]!.weight = '0')],
    ['parameters.min-durations is no parameter', (v) => (v.parameters['min-durations'] = '2')],
    ['parameters.gov-pass-bp is not from 5001 to 9000: 5000', (v) => (v.parameters['gov-pass-bp'] = '5000')],
    ['parameters.gov-pass-bp is not from 5001 to 9000: -1', (v) => (v.parameters['gov-pass-bp'] = '-1')],
    ['publish-fee is 1000 µSTX', (v) => (v['publish-fee'] = '1000')],
    ['call-fee is 1 µSTX', (v) => (v['call-fee'] = '1')],
  ])('are refused: %s', (problem, change) => {
    expect(wrong(change).join('\n')).toContain(problem);
  });

  test('set at most as many parameters as one call takes, and know each one’s bounds from its contract', () => {
    const known = parameters();
    expect(known.size).toBe([...source('contracts/bh-params.clar').matchAll(/\{key: "/g)].length);
    const all = Object.fromEntries([...known].map(([key, { value }]) => [key, String(value)]));
    expect(wrong((v) => (v.parameters = all))).toEqual([`parameters has ${known.size} keys, and one call takes 24`]);
  });

  test('are all documented', () => {
    const text = source('deployments/README.md');
    for (const field of Object.keys(given())) expect(text, field).toContain(`| \`${field}\` |`);
    expect(readdirSync(FOLDER)).toContain('example.mainnet.json');
  });
});

type Publish = { publish: string; path: string; sender: string; version: number };
type ContractCall = { contract: string; method: string; args: string[]; sender: string };

/** Batches of transactions of a plan's text, as Clarinet reads it. */
function batches(text: string): (Publish | ContractCall)[][] {
  const field = (block: string, name: string) => new RegExp(`^ +${name}: (.+)$`, 'm').exec(block)![1]!;
  return text
    .split(/^    - id: \d+$/m)
    .slice(1)
    .map((batch) =>
      batch
        .split(/^        - contract-/m)
        .slice(1)
        .map((block) =>
          block.startsWith('publish')
            ? {
                publish: field(block, 'contract-name'),
                path: field(block, 'path'),
                sender: field(block, 'expected-sender'),
                version: Number(field(block, 'clarity-version')),
              }
            : {
                contract: field(block, 'contract-id'),
                method: field(block, 'method'),
                args: [...block.matchAll(/^ +- (".+")$/gm)].map(([, value]) => JSON.parse(value!) as string),
                sender: field(block, 'expected-sender'),
              },
        ),
    );
}

describe.each([
  ['devnet', undefined],
  ['testnet', example('testnet')],
  ['mainnet', example('mainnet')],
] as const)('the plan of %s', (network, file) => {
  const { file: name, text } = plan(network, file && { inputs: file });
  const given = inputs(network, file);
  const [published, ...called] = batches(text) as [Publish[], ...ContractCall[][]];

  test('publishes the set in one batch, then calls once per batch what is published before', () => {
    expect(name).toBe(`default.${network}-plan.yaml`);
    expect(published.map(({ publish }) => publish)).toEqual([...CONTRACTS]);
    // A node's mempool keeps 25 transactions of one account in a row.
    expect(published.length).toBeLessThanOrEqual(25);
    expect(called.map((batch) => batch.map(({ contract, method }) => [contract, method]))).toEqual(
      [
        ['bh-registry', 'bootstrap'],
        ['bh-params', 'bootstrap'],
        ['bh-oracle', 'bootstrap'],
        ['bh-gov', 'bootstrap'],
        ['bh-params', 'set-params'],
      ].map(([contract, method]) => [[`${given.deployer}.${contract}`, method]]),
    );
    for (const { sender } of [...published, ...called.flat()]) expect(sender).toBe(given.deployer);
    expect(fees(text)).toBe(13n * BigInt(given['publish-fee']) + 5n * BigInt(given['call-fee']));
  });

  test('brings the set to life on a chain in this order and in no other, and the handover leaves the deployer nothing', async () => {
    const chain = await Chain.create({ deployer: given.deployer, empty: true, trackCosts: true });
    // The machine reads the arguments as Clarity, as Clarinet does.
    const run = ({ contract, method, args, sender }: ContractCall) =>
      chain.simnet.callPublicFn(contract, method, args.map((code) => chain.simnet.execute(code).result), sender);
    const costs: [string, Costs | undefined][] = [];
    for (const { publish, path, sender, version } of published) {
      const code = source(path);
      const { result, costs: spent } = chain.simnet.deployContract(publish, code, { clarityVersion: version as 5 }, sender);
      expect(result.type, publish).not.toBe('err');
      costs.push([publish, spent?.total as Costs | undefined]);
    }
    const calls = called.flat();
    const [handover] = batches(plan(network, { handover: true, ...(file && { inputs: file }) }).text).flat() as [ContractCall];
    // Nothing but the registry's bootstrap can be first, and nobody else can make it.
    for (const call of [...calls.slice(1), handover]) expect(run(call).result.type, `${call.contract} ${call.method}`).toBe('err');
    expect(run({ ...calls[0]!, sender: chain.stranger }).result.type).toBe('err');
    calls.forEach((call, i) => {
      // Parameters cannot be set, nor governance handed over, before what they need.
      if (i < 4) expect(run(handover).result.type).toBe('err');
      const { result, costs: spent } = run(call);
      expect(plain(result), `${call.contract} ${call.method}`).toBe(true);
      costs.push([`${call.contract} ${call.method}`, spent?.total as Costs | undefined]);
    });
    for (const [what, spent] of costs) {
      expect(spent, what).toBeDefined();
      expect(Math.max(...shares(spent!)), `percent of a block for ${what}`).toBeLessThan(20);
    }

    for (const module of MODULES) {
      expect(chain.read('bh-registry', 'is-active', [module, chain.id(`bh-${module}`)]), module).toBe(true);
    }
    expect(chain.read('bh-registry', 'has-role', ['guardian', given.guardian])).toBe(true);
    const { contract, 'asset-name': assetName } = given['governance-token'];
    expect(chain.read('bh-gov', 'get-token')).toEqual({ token: chain.id(contract), 'asset-name': assetName });
    for (const [key, value] of Object.entries(given.parameters)) {
      expect(chain.read('bh-params', 'get-param', [key]), key).toBe(BigInt(value));
    }
    expect(chain.read('bh-params', 'get-token', [given.sbtc])).toMatchObject({ asset: 'BTC', active: true });
    const weights = given.feeders.map(({ weight }) => BigInt(weight));
    expect(chain.read('bh-oracle', 'get-total-weight')).toBe(weights.reduce((sum, weight) => sum + weight, 0n));
    for (const feed of given.feeds) {
      const row = { insurable: feed.insurable, 'reference-usd8': BigInt(feed['reference-usd8']), active: true };
      expect(chain.read('bh-oracle', 'get-asset', [feed.asset])).toMatchObject(row);
    }

    expect(plain(run(handover).result)).toBe(true);
    const holders = [given.deployer, chain.id('bh-gov')];
    expect(holders.map((who) => chain.read('bh-registry', 'has-role', ['governance', who]))).toEqual([false, true]);
    for (const call of [...calls, handover]) expect(run(call).result.type, `${call.contract} ${call.method}`).toBe('err');
  });
});
