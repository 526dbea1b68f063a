import { createHash } from 'node:crypto';
import { beforeEach, expect, test } from 'vitest';
import { Chain, fixture, MODULES, type Row } from './support/chain.ts';
import { checkFold } from './support/fold.ts';
import { bootstrap, closeRound, createPolicy, fixExpiry, market, BTC_USD8, STX_USD8 } from './support/flow.ts';

let chain: Chain;
beforeEach(async () => {
  chain = await Chain.create();
});

const registry = (fn: string, ...args: Parameters<Chain['call']>[2]) => chain.must('bh-registry', fn, args, chain.deployer);
const has = (role: string, who: string) => chain.read('bh-registry', 'has-role', [role, who]);

test('before bootstrap nobody has a role and nothing can be set', () => {
  expect(has('governance', chain.deployer)).toBe(false);
  expect(chain.call('bh-params', 'bootstrap', [chain.sbtc], chain.deployer).code).toBe(2001);
  expect(chain.call('bh-oracle', 'bootstrap', [[], []], chain.deployer).code).toBe(3001);
  expect(chain.call('bh-vault', 'deposit', [chain.stx, 'balanced', 1n], chain.stranger).code).toBe(5001);
  expect(chain.events).toEqual([]);
});

test('bootstrap gives governance, the guardian and every module with the hash of their code', () => {
  const { events } = registry('bootstrap', chain.guardian);
  expect(events.map(({ topic }) => topic)).toEqual([
    'role.granted',
    'role.granted',
    ...MODULES.flatMap(() => ['module.registered', 'module.activated']),
  ]);
  expect([has('governance', chain.deployer), has('guardian', chain.guardian), has('guardian', chain.deployer)]).toEqual([
    true,
    true,
    false,
  ]);
  for (const module of MODULES) {
    expect(chain.read('bh-registry', 'is-active', [module, chain.id(`bh-${module}`)])).toBe(true);
    expect(chain.read('bh-registry', 'get-active-version', [module])).toBe(1n);
    const row = chain.read('bh-registry', 'get-module', [module, 1n]) as Row;
    expect(row['code-hash']).toMatch(/^[0-9a-f]{64}$/);
  }
  expect(chain.read('bh-registry', 'is-active', ['vault', chain.id('bh-policy')])).toBe(false);
  checkFold(chain);
});

test('governance goes only to whoever stood for it, and a candidate has no other power', () => {
  registry('bootstrap', chain.guardian);
  const handover = (to: string, who = chain.deployer) => chain.call('bh-registry', 'handover', [to], who).code;
  // Without its token bh-gov could execute nothing, for ever; nobody can stand in its name.
  expect(handover(chain.id('bh-gov'))).toBe(1019);
  for (const to of [chain.stranger, chain.id('bh-math'), chain.id('bh-nothing')]) expect(handover(to)).toBe(1019);
  const { events } = chain.must('bh-registry', 'stand-for-governance', [], chain.stranger);
  expect(events).toMatchObject([{ topic: 'role.granted', role: 'candidate', who: chain.stranger, 'until-burn': null }]);
  expect(has('candidate', chain.stranger)).toBe(true);
  expect(handover(chain.stranger, chain.stranger)).toBe(1003);
  expect(chain.call('bh-params', 'bootstrap', [chain.sbtc], chain.stranger).code).toBe(2001);
  // Governance makes nobody a candidate, and stops none.
  expect(chain.call('bh-registry', 'grant-role', ['candidate', chain.id('bh-gov'), null], chain.deployer).code).toBe(1004);
  expect(chain.call('bh-registry', 'revoke-role', ['candidate', chain.stranger], chain.deployer).code).toBe(1004);
  expect(handover(chain.id('bh-gov'))).toBe(1019);

  chain.must('bh-params', 'bootstrap', [chain.sbtc], chain.deployer);
  chain.must('bh-gov', 'bootstrap', [chain.stx, 'stx'], chain.deployer);
  expect(has('candidate', chain.id('bh-gov'))).toBe(true);
  expect(handover(chain.id('bh-gov'))).toBe(0);
  expect(has('governance', chain.id('bh-gov'))).toBe(true);
  checkFold(chain);
});

test('the deployer keeps nothing after the handover', () => {
  bootstrap(chain);
  chain.must('bh-registry', 'stand-for-governance', [], chain.stranger);
  registry('handover', chain.stranger);
  expect([has('governance', chain.deployer), has('governance', chain.stranger)]).toEqual([false, true]);
  for (const [contract, fn, args, code] of [
    ['bh-registry', 'bootstrap', [chain.stranger], 1002],
    ['bh-registry', 'handover', [chain.deployer], 1003],
    ['bh-params', 'set-fees', [10_000n, 0n, 0n, null], 2001],
    ['bh-oracle', 'set-provider', [chain.deployer, 1n], 3001],
  ] as const) {
    expect(chain.call(contract, fn, [...args], chain.deployer).code).toBe(code);
  }
  chain.must('bh-params', 'set-fees', [9_500n, 100n, 400n, null], chain.stranger);
  checkFold(chain);
});

test('a role ends at its height, or when it is revoked', () => {
  bootstrap(chain);
  const until = chain.burn + 2n;
  registry('grant-role', 'guardian', chain.stranger, { some: until });
  expect(chain.read('bh-registry', 'get-role', ['guardian', chain.stranger])).toEqual({ 'until-burn': until });
  chain.mineTo(until);
  expect(has('guardian', chain.stranger)).toBe(true);
  chain.mineBurn(1);
  expect(has('guardian', chain.stranger)).toBe(false);
  registry('revoke-role', 'guardian', chain.guardian);
  expect(chain.call('bh-params', 'trip-breaker', ['create', 'x'], chain.guardian).code).toBe(2003);
  expect(chain.read('bh-registry', 'get-role', ['guardian', chain.guardian])).toBe(null);
  checkFold(chain);
});

test('an announced module can be taken back, and is never activated then', () => {
  bootstrap(chain);
  registry('register-module', 'fund', 2n, chain.id('bh-math'), chain.codeHash('bh-math'));
  registry('deprecate-module', 'fund', 2n);
  chain.mineBurn(2_016);
  expect(chain.call('bh-registry', 'activate-module', ['fund', 2n], chain.deployer).code).toBe(1010);
  checkFold(chain);
});

test('a replaced policy module can still end what it began, and begin nothing', async () => {
  chain = await market();
  const expiry = chain.burn + 2_100n;
  const policy = createPolicy(chain, { expiry }).value as bigint;
  const module = chain.deploy('module', fixture('module'));
  registry('register-module', 'policy', 2n, module, chain.codeHash(module));
  chain.mineBurn(2_016);
  registry('activate-module', 'policy', 2n);
  expect((chain.read('bh-registry', 'get-module', ['policy', 1n]) as Row)['state']).toBe('draining');
  registry('deprecate-module', 'policy', 1n);

  closeRound(chain, 'BTC', BTC_USD8);
  closeRound(chain, 'STX', STX_USD8);
  expect(createPolicy(chain).code).toBe(7002);
  expect(chain.call(module, 'settle', [policy, chain.stx, chain.stranger, 1n], chain.deployer).code).toBe(5014);
  fixExpiry(chain, expiry, { BTC: BTC_USD8, STX: STX_USD8 });
  chain.must('bh-policy', 'settle', [policy, chain.stx], chain.stranger);
  checkFold(chain);
});

test('a role that has ended can be cleared away by anybody, one that has not by nobody', () => {
  bootstrap(chain);
  const until = chain.burn + 1n;
  registry('grant-role', 'keeper', chain.stranger, { some: until });
  expect(chain.call('bh-registry', 'expire-role', ['keeper', chain.stranger], chain.buyer).code).toBe(1013);
  chain.mineTo(until + 1n);
  const { events } = chain.must('bh-registry', 'expire-role', ['keeper', chain.stranger], chain.buyer);
  expect(events.map(({ topic, 'until-burn': height }) => [topic, height])).toEqual([['role.expired', until]]);
  expect(chain.call('bh-registry', 'expire-role', ['keeper', chain.stranger], chain.buyer).code).toBe(1005);
  expect(chain.call('bh-registry', 'expire-role', ['governance', chain.deployer], chain.buyer).code).toBe(1013);
  checkFold(chain);
});

test('a module is registered only with the hash of the code that is there', () => {
  bootstrap(chain);
  const args = ['fund', 2n, chain.id('bh-math')] as const;
  const wrong = chain.codeHash('bh-math').map((byte, i) => (i === 31 ? byte ^ 1 : byte));
  expect(chain.call('bh-registry', 'register-module', [...args, wrong], chain.deployer).code).toBe(1012);
  const { events } = registry('register-module', ...args, chain.codeHash('bh-math'));
  expect(events[0]!['code-hash']).toBe(Buffer.from(chain.codeHash('bh-math')).toString('hex'));
  checkFold(chain);
});

test('a migration is stepped by the new contract alone, chains what it copied, and holds the activation back', () => {
  bootstrap(chain);
  const module = chain.deploy('module', fixture('module'));
  registry('register-module', 'vault', 2n, module, chain.codeHash(module));
  const migration = registry('begin-migration', 'vault', 2n).value as bigint;
  expect(chain.call('bh-registry', 'begin-migration', ['vault', 2n], chain.deployer).code).toBe(1014);
  chain.mineBurn(2_016);
  expect(chain.call('bh-registry', 'activate-module', ['vault', 2n], chain.deployer).code).toBe(1014);
  expect(chain.call('bh-registry', 'deprecate-module', ['vault', 2n], chain.deployer).code).toBe(1014);

  const items = [new Uint8Array(32).fill(1), new Uint8Array(32).fill(2)] as const;
  expect(chain.call('bh-registry', 'step-migration', [migration, 1n, items[0]], chain.deployer).code).toBe(1016);
  chain.must(module, 'step-migration', [migration, 5n, items[0]], chain.stranger);
  expect(chain.call(module, 'step-migration', [migration, 5n, items[1]], chain.stranger).code).toBe(1017);
  chain.must(module, 'step-migration', [migration, 6n, items[1]], chain.stranger);
  const hash = items.reduce<Uint8Array>(
    (before, item) => createHash('sha256').update(before).update(item).digest(),
    new Uint8Array(32),
  );
  expect(chain.read('bh-registry', 'get-migration', [migration])).toEqual({
    module: 'vault',
    'from-version': 1n,
    version: 2n,
    cursor: 6n,
    hash: Buffer.from(hash).toString('hex'),
    done: false,
  });
  expect(chain.call('bh-registry', 'finish-migration', [migration, items[0]], chain.deployer).code).toBe(1018);
  registry('finish-migration', migration, hash);
  expect(chain.call(module, 'step-migration', [migration, 7n, items[0]], chain.stranger).code).toBe(1015);
  expect(chain.call('bh-registry', 'finish-migration', [migration, hash], chain.deployer).code).toBe(1015);
  registry('activate-module', 'vault', 2n);
  expect(chain.read('bh-registry', 'is-active', ['vault', module])).toBe(true);
  expect(chain.call('bh-registry', 'begin-migration', ['vault', 2n], chain.deployer).code).toBe(1010);
  checkFold(chain);
});
