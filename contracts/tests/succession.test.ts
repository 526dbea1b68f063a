import { beforeEach, describe, expect, test } from 'vitest';
import { fixture, type Chain, type ClarityArgument, type Row } from './support/chain.ts';
import { checkFold } from './support/fold.ts';
import { createPolicy, market } from './support/flow.ts';
import { action, govern, stakes, MILLION } from './support/govern.ts';
import { endow, positionOf, refresh, TIER } from './support/margin.ts';
import { activateModule, replaceModule } from './support/modules.ts';

/** Money of a module that another version replaces: all of it finds its owner or the successor, and nobody else. */

let chain: Chain;
beforeEach(async () => {
  chain = await market();
});

const gov = (contract: string, fn: string, args: ClarityArgument[]) => chain.call(contract, fn, args, chain.deployer);
const must = (contract: string, fn: string, args: ClarityArgument[]) => chain.must(contract, fn, args, chain.deployer);
const anyone = (contract: string, fn: string, args: ClarityArgument[]) => chain.must(contract, fn, args, chain.stranger);
const successorOf = (module: string, who: string) => chain.read('bh-registry', 'get-successor', [module, who]);

describe('the successor of a version', () => {
  test('is the active one, a day after it could be activated, and of the same module only', () => {
    const [fund, math] = [chain.id('bh-fund'), chain.id('bh-math')];
    const module = chain.deploy('module', fixture('module'));
    expect(successorOf('fund', fund)).toBeNull();
    activateModule(chain, 'fund', 2n, module);
    const { 'active-from-burn': from } = chain.read('bh-registry', 'get-module', ['fund', 2n]) as { 'active-from-burn': bigint };
    chain.mineTo(from + 143n);
    expect(successorOf('fund', fund)).toBeNull();
    chain.mineBurn(1);
    expect(successorOf('fund', fund)).toBe(module);
    // The active one has none, nor has whoever never was a version, nor a version of another module.
    for (const who of [module, math, chain.id('bh-treasury'), chain.stranger]) expect(successorOf('fund', who)).toBeNull();
    expect(successorOf('treasury', fund)).toBeNull();
    expect(successorOf('unknown', fund)).toBeNull();
    must('bh-registry', 'deprecate-module', ['fund', 1n]);
    expect(successorOf('fund', fund)).toBe(module);
  });

  test('is the latest, with its own delay', () => {
    const fund = chain.id('bh-fund');
    const second = replaceModule(chain, 'fund');
    expect(successorOf('fund', fund)).toBe(second);
    const third = chain.deploy('module', fixture('module'));
    activateModule(chain, 'fund', 3n, third);
    for (const who of [fund, second]) expect(successorOf('fund', who)).toBeNull();
    chain.mineBurn(144);
    for (const who of [fund, second]) expect(successorOf('fund', who)).toBe(third);
  });
});

describe('a replaced treasury', () => {
  const holdings = () => chain.read('bh-treasury', 'get-holdings', [chain.stx]) as Row;

  /** 1,000 units of its own, 300 for a programme, a share of the fund and fees not yet shared out. */
  function fill(): { collected: bigint; shared: bigint } {
    anyone('bh-treasury', 'contribute', [chain.stx, 1_300n]);
    must('bh-treasury', 'fund-program', [1n, chain.stx, 300n, null]);
    const rows = [{ name: 'fund', receiver: chain.id('bh-fund'), 'share-bp': 10_000n }];
    must('bh-treasury', 'set-allocations', [rows, null]);
    expect(createPolicy(chain).ok).toBe(true);
    anyone('bh-treasury', 'collect', [chain.stx]);
    anyone('bh-treasury', 'distribute', [chain.stx]);
    expect(createPolicy(chain).ok).toBe(true);
    anyone('bh-treasury', 'collect', [chain.stx]);
    return holdings() as { collected: bigint; shared: bigint };
  }

  test('sends fees and its own share to its successor; shares and programmes stay with their owners', () => {
    const before = fill();
    expect(before.collected).toBeGreaterThan(0n);
    const successor = replaceModule(chain, 'treasury');
    const passed = must('bh-treasury', 'pass-on-fees', [chain.stx, { some: 5n }]);
    const amt = before.collected + 1_000n;
    expect(passed.transfers).toEqual([{ asset: 'STX', amount: amt, sender: chain.id('bh-treasury'), recipient: successor }]);
    expect(passed.events).toMatchObject([{ topic: 'fees.passed-on', to: successor, amt, proposal: 5n }]);
    expect(holdings()).toEqual({ collected: 0n, shared: before.shared - 1_000n, programs: 300n });
    expect(gov('bh-treasury', 'pass-on-fees', [chain.stx, null]).code).toBe(7004);
    checkFold(chain);

    // The successor books what came; the fund takes its share out of the old one.
    expect(anyone(successor, 'absorb', [chain.stx]).value).toBe(amt);
    expect(chain.read(successor, 'get-own-share', [chain.stx])).toBe(amt);
    expect(anyone('bh-fund', 'claim-share', [chain.stx]).value).toBe(before.shared - 1_000n);
    // What waits for a programme is drawn or passed on, too.
    must('bh-treasury', 'unfund-program', [1n, chain.stx, null]);
    expect(must('bh-treasury', 'pass-on-fees', [chain.stx, null]).transfers).toMatchObject([{ amount: 300n, recipient: successor }]);
    expect(chain.balance(chain.stx, chain.id('bh-treasury'))).toBe(0n);
    checkFold(chain);
  });

  test('sends nothing while it is active, before the delay, or for anybody but governance', () => {
    fill();
    expect(gov('bh-treasury', 'pass-on-fees', [chain.stx, null]).code).toBe(7014);
    const module = chain.deploy('module', fixture('module'));
    activateModule(chain, 'treasury', 2n, module);
    expect(gov('bh-treasury', 'pass-on-fees', [chain.stx, null]).code).toBe(7014);
    chain.mineBurn(144);
    for (const who of [chain.guardian, chain.stranger, chain.providers[0]!]) {
      expect(chain.call('bh-treasury', 'pass-on-fees', [chain.stx, null], who).code).toBe(7001);
    }
    expect(gov('bh-treasury', 'pass-on-fees', [chain.stx, null]).transfers).toMatchObject([{ recipient: module }]);
    checkFold(chain);
  });

  test('loses no more to a token than is booked', () => {
    const greedy = chain.deploy('greedy', fixture('greedy-token'));
    const row = { asset: 'BTC', 'asset-name': 'greedy', native: false, decimals: 8n, 'haircut-bp': 0n, cap: 10n ** 12n, active: true };
    must('bh-params', 'set-token', [greedy, row, null]);
    chain.must(greedy, 'mint', [1_000n, chain.stranger], chain.stranger);
    anyone('bh-treasury', 'contribute', [greedy, 400n]);
    chain.must(greedy, 'transfer', [200n, chain.stranger, chain.id('bh-treasury'), null], chain.stranger);
    replaceModule(chain, 'treasury');
    chain.must(greedy, 'set-greed', [2n], chain.stranger);
    expect(gov('bh-treasury', 'pass-on-fees', [greedy, null]).code).toBe(7013);
    expect(gov('bh-treasury', 'pass-on-fees', [chain.deploy('no-token', fixture('greedy-token')), null]).code).toBe(7004);
  });
});

describe('a replaced fund', () => {
  test('takes its capital out of the vault and its promises back, and sends everything to its successor', () => {
    const fund = chain.id('bh-fund');
    endow(chain, { balance: 1_000n, left: 400n, maxLiability: 10n ** 10n, capital: 5_000n });
    const successor = replaceModule(chain, 'fund');
    // What is promised stays until governance takes the promise back.
    const first = must('bh-fund', 'pass-on-capital', [chain.stx, { some: 6n }]);
    expect(first.transfers).toEqual([{ asset: 'STX', amount: 600n, sender: fund, recipient: successor }]);
    expect(first.events.find(({ topic }) => topic === 'capital.passed-on')).toMatchObject({ to: successor, 'balance-after': 400n, proposal: 6n });
    expect(gov('bh-fund', 'pass-on-capital', [chain.stx, null]).code).toBe(8010);
    checkFold(chain);

    must('bh-fund', 'set-coverage', [TIER, chain.stx, 0n, 0n, null]);
    const request = must('bh-fund', 'request-release', [chain.stx, TIER, 5_000n]).value as bigint;
    chain.mineBurn(1);
    anyone('bh-fund', 'release', [request, chain.stx]);
    const rest = must('bh-fund', 'pass-on-capital', [chain.stx, null]);
    expect(rest.transfers).toEqual([{ asset: 'STX', amount: 5_400n, sender: fund, recipient: successor }]);
    expect([positionOf(chain, fund)['available'], chain.balance(chain.stx, fund)]).toEqual([0n, 0n]);
    expect(gov('bh-fund', 'pass-on-capital', [chain.stx, null]).code).toBe(8010);
    expect(anyone(successor, 'absorb', [chain.stx]).value).toBe(6_000n);
    checkFold(chain);

    // The successor is the fund now: fees come to it alone.
    refresh(chain);
    expect(createPolicy(chain).ok).toBe(true);
    expect(chain.call('bh-fund', 'collect', [chain.stx], chain.stranger).code).toBe(5023);
    expect(anyone(successor, 'collect', [chain.stx]).value).toBeGreaterThan(0n);
  });

  test('sends nothing while it is active, before the delay, or for anybody but governance', () => {
    endow(chain, { balance: 1_000n });
    expect(gov('bh-fund', 'pass-on-capital', [chain.stx, null]).code).toBe(8023);
    activateModule(chain, 'fund', 2n, chain.deploy('module', fixture('module')));
    expect(gov('bh-fund', 'pass-on-capital', [chain.stx, null]).code).toBe(8023);
    must('bh-registry', 'grant-role', ['fund-manager', chain.feeders[0], null]);
    chain.mineBurn(144);
    for (const who of [chain.guardian, chain.feeders[0], chain.stranger]) {
      expect(chain.call('bh-fund', 'pass-on-capital', [chain.stx, null], who).code).toBe(8001);
    }
    expect(gov('bh-fund', 'pass-on-capital', [chain.stx, null]).ok).toBe(true);
    checkFold(chain);
  });
});

test('budgets of replaced incentives reach the new ones through the treasury', () => {
  const terms = {
    'start-burn': chain.burn + 10_000n,
    'epoch-burn': 10n,
    epochs: 1n,
    'epoch-cap': 1_000n,
    'premium-bp': 5_000n,
    'vesting-burn': 0n,
    'claim-burn': 10n,
  };
  must('bh-incentives', 'create-program', [chain.stx, terms, null]);
  anyone('bh-incentives', 'contribute', [1n, chain.stx, 700n]);
  const successor = replaceModule(chain, 'incentives');
  must('bh-incentives', 'end-program', [1n, null]);
  anyone('bh-incentives', 'return-budget', [1n, chain.stx]);
  expect(chain.balance(chain.stx, chain.id('bh-incentives'))).toBe(0n);
  must(successor, 'create-program', [chain.stx, terms, null]);
  must('bh-treasury', 'fund-program', [1n, chain.stx, 700n, null]);
  expect(chain.call('bh-incentives', 'draw-funds', [1n, chain.stx], chain.stranger).code).toBe(7003);
  expect(anyone(successor, 'draw-funds', [1n, chain.stx]).value).toBe(700n);
  checkFold(chain);
});

test('a replaced bh-gov gives stakes back to their stakers, and nobody can send them elsewhere', () => {
  stakes(chain);
  must('bh-registry', 'handover', [chain.id('bh-gov')]);
  anyone('bh-registry', 'stand-for-governance', []);
  expect(govern(chain, [action('handover', { to: chain.stranger })]).ok).toBe(true);
  for (const [who, amt] of [5n, 3n, 2n].map((millions, i) => [chain.providers[i]!, millions * MILLION] as const)) {
    expect(chain.call('bh-gov', 'unstake', [chain.stx, amt], who).transfers).toMatchObject([{ amount: amt, recipient: who }]);
  }
  expect(chain.balance(chain.stx, chain.id('bh-gov'))).toBe(0n);
  checkFold(chain);
});

test('governance by vote passes on the money of both, in the tokens that were voted on', () => {
  anyone('bh-treasury', 'contribute', [chain.stx, 40n]);
  endow(chain, { balance: 50n });
  const heirs = ['treasury', 'fund'].map((module) => replaceModule(chain, module));
  stakes(chain);
  must('bh-registry', 'handover', [chain.id('bh-gov')]);
  const items = [action('pass-on-fees', { token: chain.stx }), action('pass-on-capital', { token: chain.stx })];
  for (const wrong of [0, 1]) {
    const tokens = [chain.stx, chain.stx].map((token, i) => (i === wrong ? chain.sbtc : token));
    expect(govern(chain, items, tokens).code).toBe(10_003);
  }
  const { transfers } = govern(chain, items);
  expect(transfers.map(({ amount, recipient }) => [amount, recipient])).toEqual([
    [40n, heirs[0]],
    [50n, heirs[1]],
  ]);
  checkFold(chain);
});
