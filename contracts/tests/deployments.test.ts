import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { calls, contracts, handover, inputs, plan, type Call } from '../deployments/plan.js';
import { Chain, CONTRACTS, MODULES, plain } from './support/chain.ts';

const source = (path: string) => readFileSync(new URL(`../${path}`, import.meta.url), 'utf8');

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

describe('on a chain', () => {
  const run = (chain: Chain, { contract, function: fn, args }: Call, sender: string) =>
    chain.simnet.callPublicFn(chain.id(contract), fn, args, sender).result;

  test('the plan brings the set to life, and the handover leaves the deployer nothing', async () => {
    const given = inputs('devnet');
    const chain = await Chain.create({ deployer: given.deployer });
    for (const call of calls(given)) {
      expect(plain(run(chain, call, given.deployer)), `${call.contract}.${call.function}`).toBe(true);
    }
    for (const module of MODULES) {
      expect(chain.read('bh-registry', 'is-active', [module, chain.id(`bh-${module}`)]), module).toBe(true);
    }
    expect(chain.read('bh-gov', 'get-token')).toEqual({ token: chain.stx, 'asset-name': 'stx' });
    expect(chain.read('bh-params', 'get-param', ['min-duration'])).toBe(2n);
    expect(chain.read('bh-oracle', 'get-total-weight')).toBe(3n);

    for (const call of handover(given)) expect(plain(run(chain, call, given.deployer))).toBe(true);
    const holders = [given.deployer, chain.id('bh-gov')];
    expect(holders.map((who) => chain.read('bh-registry', 'has-role', ['governance', who]))).toEqual([false, true]);
    for (const call of [...calls(given), ...handover(given)]) {
      expect(run(chain, call, given.deployer).type, `${call.contract}.${call.function}`).toBe('err');
    }
  });
});
