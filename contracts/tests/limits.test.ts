import { beforeEach, expect, test } from 'vitest';
import type { Chain, ClarityArgument } from './support/chain.ts';
import { createPolicy, market, nextRound, BTC_USD8 } from './support/flow.ts';

const MOST = 2n ** 128n - 1n;

let chain: Chain;
beforeEach(async () => {
  chain = await market();
});

/** Numbers as large as a caller can send are refused by name, never by an overflow. */
test.each<[string, string, (c: Chain) => ClarityArgument[], (c: Chain) => string, number]>([
  ['bh-vault', 'deposit', (c) => [c.stx, 'balanced', MOST], (c) => c.stranger, 5006],
  ['bh-vault', 'request-withdraw', (c) => [c.stx, 'aggressive', MOST], (c) => c.providers[0]!, 5007],
  ['bh-vault', 'withdraw', (c) => [MOST, c.stx], (c) => c.stranger, 5008],
  ['bh-oracle', 'submit-price', (c) => ['BTC', MOST, BTC_USD8, c.burn], (c) => c.feeders[0], 3008],
  ['bh-oracle', 'submit-price', (c) => ['BTC', nextRound(c, 'BTC'), MOST, c.burn], (c) => c.feeders[0], 3009],
  ['bh-oracle', 'submit-price', (c) => ['BTC', nextRound(c, 'BTC'), BTC_USD8, MOST], (c) => c.feeders[0], 3011],
  ['bh-oracle', 'fix-expiry-price', () => ['BTC', MOST, 1n], (c) => c.stranger, 3017],
  ['bh-oracle', 'set-provider', (c) => [c.stranger, MOST], (c) => c.deployer, 3023],
  ['bh-oracle', 'set-asset', () => ['BTC', true, MOST, true], (c) => c.deployer, 3009],
  ['bh-params', 'set-params', () => [[{ key: 'min-duration', value: MOST }], null], (c) => c.deployer, 2005],
  ['bh-params', 'set-fees', () => [10_000n, MOST, 1n, null], (c) => c.deployer, 2013],
  ['bh-policy', 'settle', (c) => [MOST, c.stx], (c) => c.stranger, 6011],
])('%s.%s', (contract, fn, args, who, code) => {
  expect(chain.call(contract, fn, args(chain), who(chain)).code).toBe(code);
});

test.each([
  [{ strike: MOST }, 6026],
  [{ notional: MOST }, 6026],
  [{ expiry: MOST }, 6009],
  [{ maxPremium: MOST }, 0],
] as const)('create-policy of %o', (terms, code) => {
  const { strike = (BTC_USD8 * 9n) / 10n, notional = 1_000_000n, expiry = chain.burn + 10n, maxPremium = MOST } = terms as {
    strike?: bigint;
    notional?: bigint;
    expiry?: bigint;
    maxPremium?: bigint;
  };
  const liability = { provider: chain.providers[0]!, 'liability-usd8': 900_00000000n };
  const args: ClarityArgument[] = ['put', 'european', 'BTC', strike, notional, expiry, maxPremium, chain.stx, [liability]];
  expect(chain.call('bh-policy', 'create-policy', args, chain.buyer).code).toBe(code);
});

test('an allocation cannot overflow what it locks', () => {
  const args: ClarityArgument[] = [
    'put',
    'european',
    'BTC',
    (BTC_USD8 * 9n) / 10n,
    1_000_000n,
    chain.burn + 10n,
    MOST,
    chain.stx,
    [{ provider: chain.providers[0]!, 'liability-usd8': MOST }],
  ];
  expect(chain.call('bh-policy', 'create-policy', args, chain.buyer).code).toBe(5022);
  expect(createPolicy(chain).ok).toBe(true);
});

test('the largest policy at the highest price is refused for lack of capital, not for its size', () => {
  const price = 10n ** 18n;
  chain.must('bh-oracle', 'set-asset', ['MAX', true, price, true], chain.deployer);
  for (const feeder of chain.feeders) chain.must('bh-oracle', 'submit-price', ['MAX', 1n, price, chain.burn], feeder);
  chain.must('bh-oracle', 'close-round', ['MAX', 1n], chain.stranger);
  for (const type of ['put', 'call'] as const) {
    const args: ClarityArgument[] = [
      type,
      'european',
      'MAX',
      price,
      10n ** 13n,
      chain.burn + 12_960n,
      MOST,
      chain.sbtc,
      [{ provider: chain.providers[0]!, 'liability-usd8': 10n ** 23n }],
    ];
    expect(chain.call('bh-policy', 'create-policy', args, chain.buyer).code).toBe(5007);
  }
});
