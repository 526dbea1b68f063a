import { beforeAll, describe, expect, test } from 'vitest';
import { fixture, type Chain, type Row } from './support/chain.ts';
import { checkFold } from './support/fold.ts';
import { bootstrapped } from './support/flow.ts';

const SPOT = 100_000n;

let chain: Chain;
beforeAll(async () => {
  chain = await bootstrapped();
});

const gov = (fn: string, ...args: Parameters<Chain['call']>[2]) => chain.call('bh-params', fn, args, chain.deployer);
const param = (key: string) => chain.read('bh-params', 'get-param', [key]);
const tier = (type: string, strike: bigint, blocks: bigint) =>
  chain.read('bh-params', 'classify', [type, strike, SPOT, blocks]);

test('a change of parameters says what was there before and which proposal made it', () => {
  const { events } = gov(
    'set-params',
    [
      { key: 'min-duration', value: 100n },
      { key: 'min-duration', value: 200n },
    ],
    { some: 7n },
  );
  expect(events.map(({ key, before, value, proposal }) => [key, before, value, proposal])).toEqual([
    ['min-duration', 1_008n, 100n, 7n],
    ['min-duration', 100n, 200n, 7n],
  ]);
  expect(param('min-duration')).toBe(200n);
});

test('one value out of bounds leaves every parameter of the call as it was', () => {
  const changes = [
    { key: 'expiry-step', value: 12n },
    { key: 'vol-min-bp', value: 999n },
    { key: 'call-mult-bp', value: 11_000n },
  ];
  expect(gov('set-params', changes, null).code).toBe(2005);
  expect(param('expiry-step')).toBe(144n);
  expect(gov('set-params', [{ key: 'expiry-step', value: 12n }, { key: 'other', value: 1n }], null).code).toBe(2004);
  expect(param('expiry-step')).toBe(144n);
});

test('a parameter accepts its bounds and nothing beyond', () => {
  for (const [value, code] of [
    [0n, 2005],
    [1n, 0],
    [1_008n, 0],
    [1_009n, 2005],
  ] as const) {
    expect(gov('set-params', [{ key: 'withdrawal-delay', value }], null).code).toBe(code);
  }
});

test('a later module can add a parameter and bound it', () => {
  expect(gov('add-param', 'call-grace', 'burn', 5n, 6n, 9n, null).code).toBe(2005);
  expect(gov('add-param', 'call-grace', 'burn', 7n, 6n, 9n, null).code).toBe(0);
  expect(chain.read('bh-params', 'get-param-row', ['call-grace'])).toEqual({ kind: 'burn', value: 7n, min: 6n, max: 9n });
  expect(gov('set-params', [{ key: 'call-grace', value: 10n }], null).code).toBe(2005);
});

test('a switch is open only while its flag is on and its breaker is not tripped', () => {
  const open = () => chain.read('bh-params', 'is-open', ['deposit']);
  const trip = () => chain.call('bh-params', 'trip-breaker', ['deposit', 'odd'], chain.guardian).code;
  expect(open()).toBe(true);
  expect(trip()).toBe(0);
  expect(open()).toBe(false);
  expect(trip()).toBe(2008);
  const breaker = chain.read('bh-params', 'get-breaker', ['deposit']) as Row;
  expect([breaker['tripped'], breaker['reason'], breaker['since-burn']]).toEqual([true, 'odd', chain.burn]);
  expect(chain.call('bh-params', 'reset-breaker', ['deposit', null], chain.guardian).code).toBe(2001);
  expect(gov('reset-breaker', 'deposit', null).code).toBe(0);
  expect(open()).toBe(true);
  expect(gov('set-flag', 'deposit', false, null).code).toBe(0);
  expect([open(), chain.read('bh-params', 'get-flag', ['deposit'])]).toEqual([false, false]);
  expect(gov('set-flag', 'deposit', true, null).code).toBe(0);
  expect(chain.read('bh-params', 'is-open', ['unknown'])).toBe(false);
});

test('a parameter has one of the units as kind', () => {
  expect(gov('add-param', 'call-odds', 'percent', 7n, 6n, 9n, null).code).toBe(2016);
});

test('a later module can add a switch, which starts on', () => {
  expect(gov('add-switch', 'create', null).code).toBe(2017);
  expect(gov('add-switch', 'lend', { some: 3n }).events.map(({ topic, proposal }) => [topic, proposal])).toEqual([
    ['flag.set', 3n],
    ['breaker.reset', 3n],
  ]);
  expect(chain.read('bh-params', 'is-open', ['lend'])).toBe(true);
});

test('a metric above its limit trips its breaker, until governance resets it and it is above again', () => {
  const module = chain.deploy('reporter', fixture('module'));
  chain.must('bh-registry', 'register-module', ['lending', 1n, module, chain.codeHash(module)], chain.deployer);
  chain.mineBurn(2_016);
  expect(gov('set-metric', 'lent-bp', 'lending', 8_000n, 'unknown', null).code).toBe(2007);
  expect(gov('set-metric', 'lent-bp', 'lending', 8_000n, 'cancel', { some: 4n }).code).toBe(0);
  const report = (value: bigint) => chain.call(module, 'report-metric', ['lent-bp', value], chain.stranger);
  const tripped = () => chain.read('bh-params', 'is-tripped', ['cancel']);

  expect(report(9_000n).code).toBe(2015);
  chain.must('bh-registry', 'activate-module', ['lending', 1n], chain.deployer);
  expect(chain.call('bh-params', 'report-metric', ['lent-bp', 1n], chain.deployer).code).toBe(2015);
  expect(chain.call(module, 'report-metric', ['fund-used-bp', 1n], chain.stranger).code).toBe(2015);
  expect(chain.call(module, 'report-metric', ['no-such', 1n], chain.stranger).code).toBe(2014);

  expect([report(8_000n).value, tripped()]).toEqual([false, false]);
  expect([report(8_001n).value, tripped()]).toEqual([true, true]);
  expect((chain.read('bh-params', 'get-breaker', ['cancel']) as Row)['reason']).toBe('above its limit: lent-bp');
  expect([report(9_000n).value, report(10n).value, tripped()]).toEqual([false, false, true]);
  expect(gov('reset-breaker', 'cancel', null).code).toBe(0);
  expect([report(8_001n).value, tripped()]).toEqual([true, true]);
  expect(gov('set-metric', 'lent-bp', 'lending', 9_000n, 'cancel', null).events[0]).toMatchObject({
    value: 8_001n,
    'limit-before': 8_000n,
  });
  expect(gov('reset-breaker', 'cancel', null).code).toBe(0);
});

describe('classify', () => {
  test.each([
    // Each band holds its lower end and not its upper one, but the last holds 100%.
    ['put', 69_999n, 144n, null],
    ['put', 70_000n, 144n, 'conservative'],
    ['put', 79_999n, 144n, 'conservative'],
    ['put', 80_000n, 144n, 'balanced'],
    ['put', 90_000n, 144n, 'aggressive'],
    ['put', 100_000n, 144n, 'aggressive'],
    ['put', 100_010n, 144n, null],
    // A strike too long for its own tier goes to the next that takes the duration.
    ['put', 75_000n, 4_320n, 'conservative'],
    ['put', 75_000n, 4_321n, 'balanced'],
    ['put', 75_000n, 8_641n, 'aggressive'],
    ['put', 85_000n, 12_960n, 'aggressive'],
    ['put', 85_000n, 12_961n, null],
    // A CALL mirrors: 110% of spot is as far out as 90%.
    ['call', 100_000n, 144n, 'aggressive'],
    ['call', 110_000n, 144n, 'aggressive'],
    ['call', 110_011n, 144n, 'balanced'],
    ['call', 130_000n, 144n, 'conservative'],
    ['call', 130_011n, 144n, null],
    ['call', 99_980n, 144n, null],
    ['call', 250_000n, 144n, null],
  ] as const)('%s at %d for %d blocks is %s', (type, strike, blocks, expected) => {
    expect(tier(type, strike, blocks)).toBe(expected);
  });

  test('leaves an inactive tier out', () => {
    const row = chain.read('bh-params', 'get-tier', ['balanced']) as { [key: string]: bigint | boolean };
    expect(gov('set-tier', 'balanced', { ...row, active: false }, null).code).toBe(0);
    expect(tier('put', 85_000n, 144n)).toBe(null);
    expect(tier('put', 75_000n, 4_321n)).toBe('aggressive');
    expect(gov('set-tier', 'balanced', { ...row, active: true }, null).code).toBe(0);
    expect(chain.read('bh-params', 'get-tier-names')).toEqual(['conservative', 'balanced', 'aggressive']);
  });
});

describe('set-tier', () => {
  const within = {
    'strike-min-bp': 5_000n,
    'strike-max-bp': 12_001n,
    'max-duration-burn': 52_560n,
    'premium-mult-bp': 20_000n,
    'ratio-min-bp': 10_000n,
    'ratio-warn-bp': 50_000n,
    'max-policy-bp': 10_000n,
    'max-expiry-bp': 10_000n,
    active: false,
  };

  test('accepts a tier at its bounds', () => {
    expect(gov('set-tier', 'bounds', within, null).code).toBe(0);
    const low = { 'strike-max-bp': 5_001n, 'max-duration-burn': 1n, 'premium-mult-bp': 5_000n, 'ratio-warn-bp': 10_000n };
    expect(gov('set-tier', 'bounds', { ...within, ...low, 'max-policy-bp': 1n, 'max-expiry-bp': 1n }, null).code).toBe(0);
  });

  test.each([
    ['strike-min-bp', 4_999n],
    ['strike-min-bp', 12_001n],
    ['strike-max-bp', 12_002n],
    ['max-duration-burn', 0n],
    ['max-duration-burn', 52_561n],
    ['premium-mult-bp', 4_999n],
    ['premium-mult-bp', 20_001n],
    ['ratio-min-bp', 9_999n],
    ['ratio-min-bp', 50_001n],
    ['ratio-warn-bp', 9_999n],
    ['ratio-warn-bp', 50_001n],
    ['max-policy-bp', 0n],
    ['max-policy-bp', 10_001n],
    ['max-expiry-bp', 0n],
    ['max-expiry-bp', 10_001n],
  ] as const)('refuses %s of %d', (field, value) => {
    expect(gov('set-tier', 'bounds', { ...within, [field]: value }, null).code).toBe(2009);
  });
});

test.each([
  ['asset', ''],
  ['asset-name', ''],
  ['decimals', 11n],
  ['haircut-bp', 5_001n],
] as const)('set-token refuses %s of %o', (field, value) => {
  const row = { asset: 'BTC', 'asset-name': 'x', native: false, decimals: 10n, 'haircut-bp': 5_000n, cap: 0n, active: true };
  expect(gov('set-token', chain.id('bh-math'), { ...row, [field]: value }, null).code).toBe(2011);
});

test('a token keeps what balances are counted in; its haircut, cap and activity can change', () => {
  const row = chain.read('bh-params', 'get-token', [chain.stx]) as { [key: string]: bigint | boolean | string };
  for (const [field, value] of [['asset', 'BTC'], ['asset-name', 'x'], ['native', false], ['decimals', 7n]] as const) {
    expect(gov('set-token', chain.stx, { ...row, [field]: value }, null).code).toBe(2012);
  }
  expect(gov('set-token', chain.stx, { ...row, 'haircut-bp': 2_000n, cap: 5n, active: false }, null).code).toBe(0);
});

test.each([
  [5_000n, 5_000n, 0n, 0],
  [4_999n, 5_001n, 0n, 2013],
  [10_000n, 0n, 0n, 0],
  [10_000n, 1n, 0n, 2013],
  [9_000n, 600n, 399n, 2013],
] as const)('fees of %d, %d and %d give %d', (provider, platform, reserve, code) => {
  expect(gov('set-fees', provider, platform, reserve, null).code).toBe(code);
});

test('events tell the whole state', () => {
  checkFold(chain);
});
