import { beforeAll, describe, expect, test } from 'vitest';
import { Chain } from './support/chain.ts';
import * as model from './support/model.ts';
import { Random } from './support/random.ts';

const E8 = 100_000_000n;
const BTC = 100_000n * E8;

let chain: Chain;
beforeAll(async () => {
  chain = await Chain.create();
});

const math = (fn: string, ...args: Parameters<Chain['read']>[2] & {}) => chain.read('bh-math', fn, args);

function premium(terms: model.PremiumTerms): bigint {
  return math('premium-usd8', {
    type: terms.type,
    'spot-usd8': terms.spot,
    'strike-usd8': terms.strike,
    'notional-sat': terms.notional,
    'vol-bp': terms.volBp,
    'duration-burn': terms.blocks,
    'type-mult-bp': terms.typeMultBp,
    'tier-mult-bp': terms.tierMultBp,
    'util-mult-bp': terms.utilMultBp,
    'floor-bp': terms.floorBp,
  }) as bigint;
}

const PLAIN = { typeMultBp: 10_000n, tierMultBp: 10_000n, utilMultBp: 10_000n, floorBp: 0n };

describe('premium', () => {
  test('is the documented arithmetic on any terms, and the vectors that other implementations check', async () => {
    const random = new Random(1);
    const rows = Array.from({ length: 120 }, (_, i) => {
      const spot = random.between(1n, 10n ** (2n + BigInt(i % 13)));
      const terms: model.PremiumTerms = {
        type: random.pick(['put', 'call']),
        spot,
        strike: i % 10 === 0 ? spot : random.between(1n, 2n * spot),
        notional: random.between(1n, 10n ** BigInt(1 + (i % 10))),
        volBp: random.between(0n, 50_000n),
        blocks: random.between(1n, 52_560n),
        typeMultBp: random.between(5_000n, 30_000n),
        tierMultBp: random.between(5_000n, 20_000n),
        utilMultBp: random.between(10_000n, 40_000n),
        floorBp: random.pick([0n, 10n, 1_000n]),
      };
      return { terms, result: premium(terms) };
    });
    for (const { terms, result } of rows) expect(result, JSON.stringify(terms, text)).toBe(model.premium(terms));
    const lines = rows.map(({ terms, result }) => JSON.stringify({ ...terms, premiumUsd8: result }, text));
    await expect(`[\n${lines.join(',\n')}\n]\n`).toMatchFileSnapshot('./vectors/premium.json');
  });

  test('at the money is 0.4 x S x sigma x sqrt(T)', () => {
    // One year at 50%: 0.4 x 100,000 x 0.5 = 20,000 USD a BTC.
    const terms = { type: 'put', spot: BTC, strike: BTC, notional: E8, volBp: 5_000n, blocks: 52_560n } as const;
    expect(premium({ ...terms, ...PLAIN })).toBe(20_000n * E8);
    expect(premium({ ...terms, ...PLAIN, tierMultBp: 12_000n, utilMultBp: 15_000n })).toBe(36_000n * E8);
    expect(premium({ ...terms, ...PLAIN, type: 'call', typeMultBp: 12_000n })).toBe(24_000n * E8);
  });

  test('without variance is the intrinsic value, and never under the floor', () => {
    const terms = { type: 'put', spot: BTC, strike: BTC + 500n * E8, notional: E8, volBp: 0n, blocks: 1n } as const;
    expect(premium({ ...terms, ...PLAIN })).toBe(500n * E8);
    expect(premium({ ...terms, ...PLAIN, type: 'call' })).toBe(0n);
    expect(premium({ ...terms, ...PLAIN, type: 'call', floorBp: 10n })).toBe(100n * E8);
  });

  test('rounds every fraction of a unit up', () => {
    const terms = { type: 'put', spot: 3n, strike: 4n, notional: 1n, volBp: 0n, blocks: 1n } as const;
    expect(premium({ ...terms, ...PLAIN })).toBe(1n);
    expect(premium({ ...terms, ...PLAIN, tierMultBp: 10_001n })).toBe(2n);
  });

  test('of a PUT is not below Black-Scholes at 7 to 90 days, strikes of 70 to 100% and 40 to 90% volatility', () => {
    const normal = (x: number): number => {
      const t = 1 / (1 + 0.2316419 * Math.abs(x));
      const tail =
        0.3989422804 * Math.exp((-x * x) / 2) * t * (0.31938153 + t * (-0.356563782 + t * (1.781477937 + t * (-1.821255978 + t * 1.330274429))));
      return x > 0 ? 1 - tail : tail;
    };
    for (const [blocks, ratio, vol] of [7, 30, 90].flatMap((days) =>
      [70, 80, 90, 100].flatMap((strike) => [40, 60, 90].map((v) => [days * 144, strike / 100, v / 100] as const)),
    )) {
      const t = blocks / 52_560;
      const s = vol * Math.sqrt(t);
      const d1 = (-Math.log(ratio) + (s * s) / 2) / s;
      const blackScholes = 100_000 * (ratio * normal(s - d1) - normal(-d1));
      const ours = premium({
        ...PLAIN,
        type: 'put',
        spot: BTC,
        strike: (BTC * BigInt(Math.round(ratio * 100))) / 100n,
        notional: E8,
        volBp: BigInt(Math.round(vol * 10_000)),
        blocks: BigInt(blocks),
      });
      expect(Number(ours) / 1e8, `${blocks} blocks, strike ${ratio}, volatility ${vol}`).toBeGreaterThan(blackScholes - 0.5);
    }
  });
});

describe('a share of a live policy', () => {
  const share = (terms: model.ShareTerms) =>
    math('take-over-usd8', {
      type: terms.type,
      'spot-usd8': terms.spot,
      'strike-usd8': terms.strike,
      'notional-sat': terms.notional,
      'vol-bp': terms.volBp,
      'duration-burn': terms.blocks,
      'max-payout-usd8': terms.maxPayout,
      'liability-usd8': terms.liability,
    }) as bigint;

  test('is worth the documented arithmetic on any terms', async () => {
    const random = new Random(4);
    const rows = Array.from({ length: 80 }, (_, i) => {
      const type = random.pick<model.Type>(['put', 'call']);
      const strike = random.between(10n ** 8n, 10n ** BigInt(9 + (i % 6)));
      const notional = random.between(1n, 10n ** BigInt(1 + (i % 10))) + 10n ** 4n;
      const maxPayout = model.maxPayout(type, strike, notional, 10_000n);
      const terms: model.ShareTerms = {
        type,
        strike,
        notional,
        maxPayout,
        spot: i % 10 === 0 ? strike : random.between(1n, 2n * strike),
        volBp: random.pick([0n, random.between(1_000n, 50_000n)]),
        blocks: random.pick([0n, 1n, random.between(1n, 52_560n)]),
        liability: random.pick([1n, maxPayout, random.between(1n, maxPayout)]),
      };
      return { terms, result: share(terms) };
    });
    for (const { terms, result } of rows) expect(result, JSON.stringify(terms, text)).toBe(model.takeOver(terms));
    const lines = rows.map(({ terms, result }) => JSON.stringify({ ...terms, takeOverUsd8: result }, text));
    await expect(`[\n${lines.join(',\n')}\n]\n`).toMatchFileSnapshot('./vectors/take-over.json');
  });

  test('in the money at no volatility is its payoff, and far out of it next to nothing', () => {
    const terms = { type: 'put', strike: 90_000n * E8, notional: E8, volBp: 0n, blocks: 0n, maxPayout: 90_000n * E8 } as const;
    const half = { ...terms, liability: 45_000n * E8 };
    expect(share({ ...half, spot: 80_000n * E8 })).toBe(5_000n * E8);
    expect(share({ ...half, spot: 90_000n * E8 })).toBe(0n);
    expect(share({ ...half, spot: 1n })).toBe(45_000n * E8);
    // A month at 60%, 20% out of the money: 1.16 standard deviations, far below the liability.
    expect(share({ ...half, spot: 110_000n * E8, volBp: 6_000n, blocks: 4_320n })).toBeLessThan(900n * E8);
  });

  test('costs at least as much in pieces as whole, so that nobody saves by splitting', () => {
    const terms = { type: 'call', spot: BTC, strike: BTC, notional: 1_000_003n, volBp: 4_000n, blocks: 500n, maxPayout: 1_000_00000003n } as const;
    const whole = share({ ...terms, liability: terms.maxPayout });
    const pieces = [1n, 2n, 333_33333333n, 666_66666667n].map((liability) => share({ ...terms, liability }));
    expect(pieces.reduce((sum, piece) => sum + piece, 0n)).toBeGreaterThanOrEqual(whole);
  });

  test('of the largest policy does not overflow', () => {
    const most = 10n ** 23n;
    const terms = { type: 'put', spot: 10n ** 18n, strike: 10n ** 18n, notional: 10n ** 13n, volBp: 50_000n, blocks: 52_560n } as const;
    expect(share({ ...terms, maxPayout: most, liability: most })).toBe(model.takeOver({ ...terms, maxPayout: most, liability: most }));
  });
});

test('density follows its table, falls, and stays at the last point', () => {
  const at = [0n, 1n, 1_250n, 2_499n, 2_500n, 2_501n, 9_999n, 10_000n, 19_999n, 29_999n, 30_000n, 10n ** 20n];
  const values = at.map((m) => math('density-bp', m) as bigint);
  expect(values).toEqual(at.map(model.densityBp));
  expect(values).toEqual([10_000n, 9_999n, 8_589n, 7_180n, 7_178n, 7_178n, 2_089n, 2_088n, 214n, 11n, 10n, 10n]);
});

test('payoff is the worked example, is capped, and is 0 out of the money', () => {
  // K 41,225, S 39,000, 0.1 BTC: 222.50 USD.
  const notional = E8 / 10n;
  const most = math('max-payout-usd8', 'put', 41_225n * E8, notional, 10_000n) as bigint;
  expect(most).toBe(4_122_50000000n);
  expect(math('payoff-usd8', 'put', 41_225n * E8, 39_000n * E8, notional, most)).toBe(222_50000000n);
  expect(math('payoff-usd8', 'put', 41_225n * E8, 41_225n * E8, notional, most)).toBe(0n);
  expect(math('payoff-usd8', 'put', 41_225n * E8, 50_000n * E8, notional, most)).toBe(0n);
  expect(math('payoff-usd8', 'call', 41_225n * E8, 50_000n * E8, notional, most)).toBe(877_50000000n);
  expect(math('payoff-usd8', 'call', 41_225n * E8, 90_000n * E8, notional, most)).toBe(most);
  expect(math('max-payout-usd8', 'call', 41_225n * E8, notional, 5_000n)).toBe(most / 2n);
});

test('the rest is the documented arithmetic on any terms', () => {
  const random = new Random(2);
  for (let i = 0; i < 60; i += 1) {
    const type = random.pick<model.Type>(['put', 'call']);
    const [strike, price] = [random.between(1n, 10n ** 13n), random.between(1n, 10n ** 13n)];
    const notional = random.between(1n, 10n ** 10n);
    const cap = random.between(1_000n, 50_000n);
    const most = model.maxPayout(type, strike, notional, cap);
    expect(math('max-payout-usd8', type, strike, notional, cap)).toBe(most);
    const payoff = model.payoff(type, strike, price, notional, most);
    expect(math('payoff-usd8', type, strike, price, notional, most)).toBe(payoff);
    const [decimals, ratio, haircut] = [random.between(0n, 12n), random.between(10_000n, 50_000n), random.between(0n, 5_000n)];
    const collateral = model.requiredCollateral(most, decimals, price, ratio, haircut);
    expect(math('required-collateral', most, decimals, price, ratio, haircut)).toBe(collateral);
    // What a position locks always satisfies the ratio that it was locked at.
    const health = math('health-bp', collateral, decimals, price, haircut, most) as bigint | null;
    expect(health).toBe(model.healthBp(collateral, decimals, price, haircut, most));
    if (health !== null) expect(health).toBeGreaterThanOrEqual(ratio);
    expect(math('tokens-up', payoff, decimals, price)).toBe(model.ceilDiv(payoff * 10n ** decimals, price));
    expect(math('tokens-down', payoff, decimals, price)).toBe((payoff * 10n ** decimals) / price);
    expect(math('value-usd8', collateral, decimals, price)).toBe((collateral * price) / 10n ** decimals);
  }
});

test('slices of an amount sum to it, and none exceeds its share when the amount does not exceed the whole', () => {
  const random = new Random(3);
  for (let i = 0; i < 20; i += 1) {
    const shares = Array.from({ length: Number(random.between(1n, 10n)) }, () => random.between(1n, 10n ** 9n));
    const total = shares.reduce((sum, share) => sum + share, 0n);
    const amount = random.pick([0n, 1n, total, random.between(0n, total)]);
    let from = 0n;
    const parts = shares.map((share) => {
      const part = math('slice', amount, from, from + share, total) as bigint;
      from += share;
      return part;
    });
    expect(parts).toEqual(model.split(amount, shares));
    expect(parts.reduce((sum, part) => sum + part, 0n)).toBe(amount);
    parts.forEach((part, j) => expect(part).toBeLessThanOrEqual(shares[j]!));
  }
});

function text(_: string, value: unknown): unknown {
  return typeof value === 'bigint' ? value.toString() : value;
}
