import { beforeEach, describe, expect, test } from 'vitest';
import { fixture, type Chain, type ClarityArgument, type Row } from './support/chain.ts';
import { checkFold } from './support/fold.ts';
import { action, finalize, proposed, stakes, MILLION } from './support/govern.ts';
import {
  allocate,
  closeRound,
  createPolicy,
  fixExpiry,
  market,
  maxPayout,
  nextRound,
  setParams,
  setPrice,
  BTC_USD8,
  STX_USD8,
} from './support/flow.ts';

const USD = 100_000_000n;
const STRIKE = 90_000n * USD;
const CAPITAL = 10_000_000_000n;

let chain: Chain;
let attacker: string;
let provider: string;
beforeEach(async () => {
  chain = await market();
  attacker = chain.stranger;
  provider = chain.providers[0]!;
});

const lastRound = (asset: string) => (chain.read('bh-oracle', 'get-asset', [asset]) as Row)['last-round'] as bigint;
const fix = (asset: string, expiry: bigint, round: bigint) =>
  chain.call('bh-oracle', 'fix-expiry-price', [asset, expiry, round], attacker);
const submitAll = (asset: string, price: bigint, observed: bigint, round = nextRound(chain, asset)) => {
  for (const feeder of chain.feeders) chain.must('bh-oracle', 'submit-price', [asset, round, price, observed], feeder);
  return round;
};
const close = (asset: string, round: bigint) => chain.must('bh-oracle', 'close-round', [asset, round], attacker);
const quote = (strike = STRIKE, notional = 1_000_000n, token = chain.stx, tierExpiry = chain.burn + 30n) =>
  chain.read('bh-policy', 'quote', ['put', 'BTC', strike, notional, tierExpiry, token, attacker]) as Record<string, bigint>;

/** The error of a call, or that the machine lets no function run inside itself, which ends the whole call. */
function refusal(run: () => { code: number }): number | 'inside itself' {
  try {
    return run().code;
  } catch (cause) {
    if (String(cause).includes('CircularReference')) return 'inside itself';
    throw cause;
  }
}

/** A token listed as collateral that does what it is told, of which the provider and the attacker own some. */
function listThief(): string {
  const token = chain.deploy('thief-token', fixture('thief-token'));
  const row = {
    asset: 'BTC',
    'asset-name': 'thief',
    native: false,
    decimals: 8n,
    'haircut-bp': 0n,
    cap: 10n ** 12n,
    active: true,
  };
  chain.must('bh-params', 'set-token', [token, row, null], chain.deployer);
  for (const who of [provider, attacker, chain.buyer]) chain.must(token, 'mint', [10n ** 10n, who], who);
  return token;
}

describe('the price of an expiry', () => {
  test('is not that of a round that was observed before it, however late the round is closed', () => {
    const expiry = chain.burn + 3n;
    const policy = createPolicy(chain, { expiry }).value as bigint;
    chain.mineTo(expiry - 1n);
    const early = submitAll('BTC', 95_000n * USD, chain.burn);
    chain.mineTo(expiry + 1n);
    close('BTC', early);
    expect(fix('BTC', expiry, early).code).toBe(3019);
    // The first round observed at the expiry or later counts, and no other.
    const first = submitAll('BTC', 93_000n * USD, expiry);
    close('BTC', first);
    chain.mineBurn(1);
    const second = submitAll('BTC', 89_000n * USD, chain.burn);
    close('BTC', second);
    expect(fix('BTC', expiry, second).code).toBe(3019);
    expect(fix('BTC', expiry, first).value).toBe(93_000n * USD);
    expect(fix('BTC', expiry, first).code).toBe(3018);
    closeRound(chain, 'STX', STX_USD8);
    fix('STX', expiry, lastRound('STX'));
    expect(chain.must('bh-policy', 'settle', [policy, chain.stx], attacker).events.at(-1)!.topic).toBe('policy.expired-otm');
    checkFold(chain);
  });

  test('is neither an open nor a rejected round’s', () => {
    const expiry = chain.burn + 3n;
    createPolicy(chain, { expiry });
    chain.mineTo(expiry);
    const crash = submitAll('BTC', 50_000n * USD, chain.burn);
    expect(fix('BTC', expiry, crash).code).toBe(3019);
    expect(close('BTC', crash).value).toBe(false);
    expect(fix('BTC', expiry, crash).code).toBe(3019);
    checkFold(chain);
  });

  test('cannot be asked for before it, nor after it from one provider alone', () => {
    const expiry = chain.burn + 3n;
    expect(fix('BTC', expiry, lastRound('BTC')).code).toBe(3017);
    chain.mineTo(expiry);
    const round = nextRound(chain, 'BTC');
    chain.must('bh-oracle', 'submit-price', ['BTC', round, 1_000n * USD, chain.burn], chain.feeders[0]);
    expect(chain.call('bh-oracle', 'close-round', ['BTC', round], attacker).code).toBe(3014);
    expect(chain.call('bh-oracle', 'submit-price', ['BTC', round, 99_000n * USD, chain.burn], attacker).code).toBe(3005);
  });

  test('bends to one lying provider of three by no more than the honest ones differ', () => {
    for (const [lie, expected] of [
      [1n, 99_000n],
      [10n ** 9n, 100_000n],
    ] as const) {
      const round = nextRound(chain, 'BTC');
      const prices = [99_000n, 100_000n, lie];
      chain.feeders.forEach((feeder, i) =>
        chain.must('bh-oracle', 'submit-price', ['BTC', round, prices[i]! * USD, chain.burn], feeder),
      );
      close('BTC', round);
      expect((chain.read('bh-oracle', 'get-price', ['BTC']) as Row)['price-usd8']).toBe(expected * USD);
    }
    checkFold(chain);
  });
});

describe('knowing the market before the oracle', () => {
  test('a policy bought on an old price cannot be exercised at a price that was observed before it was bought', () => {
    chain.mineBurn(1);
    const round = submitAll('BTC', 96_000n * USD, chain.burn);
    // The fall is submitted; the attacker buys before the round is closed, and closes it.
    const bought = createPolicy(chain, { style: 'american', strike: 100_000n * USD, owner: attacker });
    expect(bought.ok).toBe(true);
    close('BTC', round);
    closeRound(chain, 'STX', STX_USD8);
    const args: ClarityArgument[] = [bought.value as bigint, chain.stx];
    expect(chain.call('bh-policy', 'exercise', args, attacker).code).toBe(6019);
    // Nor can it be cancelled once it is in the money, nor bought on a price that is out of date.
    expect(chain.call('bh-policy', 'cancel', args, attacker).code).toBe(6023);
    chain.mineBurn(7);
    expect(createPolicy(chain, { owner: attacker }).code).toBe(3016);
    checkFold(chain);
  });

  test('waiting out the cancel window on a free option costs more than it gives', () => {
    const before = chain.balance(chain.stx, attacker);
    for (let i = 0; i < 3; i += 1) {
      const policy = createPolicy(chain, { owner: attacker }).value as bigint;
      closeRound(chain, 'BTC', BTC_USD8);
      chain.must('bh-policy', 'cancel', [policy, chain.stx], attacker);
    }
    expect(chain.balance(chain.stx, attacker)).toBeLessThan(before);
    const late = createPolicy(chain, { owner: attacker, expiry: chain.burn + 20n }).value as bigint;
    chain.mineBurn(7);
    closeRound(chain, 'BTC', 99_000n * USD);
    expect(chain.call('bh-policy', 'cancel', [late, chain.stx], attacker).code).toBe(6022);
    checkFold(chain);
  });
});

describe('capital for one block', () => {
  let flash: string;
  const backing = (owner: string): ClarityArgument => [{ provider: owner, 'liability-usd8': 900_00000000n }];
  beforeEach(async () => {
    chain = await market({ tiers: ['balanced', 'aggressive'] });
    attacker = chain.stranger;
    flash = chain.deploy('flash', fixture('flash'));
    chain.must('bh-stx', 'transfer', [3n * CAPITAL, attacker, flash, null], attacker);
  });

  test('cannot be asked back, nor change tier, in the block that brought it', () => {
    expect(chain.call(flash, 'deposit-and-ask', [chain.stx, 'aggressive', CAPITAL], attacker).code).toBe(5025);
    expect(chain.call(flash, 'deposit-and-change', [chain.stx, 'aggressive', 'balanced', CAPITAL], attacker).code).toBe(5025);
    // Also not capital that was there before: the whole position waits.
    chain.must(flash, 'deposit', [chain.stx, 'aggressive', CAPITAL], attacker);
    expect(chain.call(flash, 'deposit-and-ask', [chain.stx, 'aggressive', 1n], attacker).code).toBe(5025);
    expect(chain.call(flash, 'ask', [chain.stx, 'aggressive', CAPITAL], attacker).ok).toBe(true);
    // And others' positions do not.
    expect(chain.call('bh-vault', 'request-withdraw', [chain.stx, 'aggressive', 1n], provider).ok).toBe(true);
    checkFold(chain);
  });

  test('lowers no premium: a tier cannot be entered for one purchase and left again', () => {
    // Half of the tier is in use, which the attacker would hide.
    setParams(chain, [['util-slope-bp', 30_000n]]);
    const backers = chain.providers.map((who) => ({ provider: who, share: 1n }));
    expect(createPolicy(chain, { notional: 20_000_000n, expiry: chain.burn + 25n, backers }).ok).toBe(true);
    chain.must(flash, 'deposit', [chain.stx, 'balanced', 2n * CAPITAL], attacker);
    const args: ClarityArgument[] = [chain.stx, 'balanced', 'aggressive', 2n * CAPITAL, STRIKE, chain.burn + 30n, backing(provider)];
    const outcome = chain.call(flash, 'sandwich', args, attacker);
    expect(outcome.code).toBe(5025);
    expect(outcome.events).toEqual([]);
    expect(chain.call(flash, 'change', [chain.stx, 'balanced', 'aggressive', CAPITAL], attacker).ok).toBe(true);
    expect(chain.call(flash, 'change', [chain.stx, 'aggressive', 'balanced', CAPITAL], attacker).ok).toBe(true);
    checkFold(chain);
  });

  test('raises no premium above what the buyer agreed to', () => {
    // A provider leaves the tier in front of a purchase, which makes the pool look used.
    setParams(chain, [['util-slope-bp', 30_000n]]);
    expect(createPolicy(chain, { notional: 5_000_000n, expiry: chain.burn + 25n }).ok).toBe(true);
    const strike = 99_000n * USD;
    const agreed = quote(strike)['premium']!;
    for (const who of chain.providers.slice(1)) {
      chain.must('bh-vault', 'change-tier', [chain.stx, 'aggressive', 'balanced', 20_000_000_000n], who);
    }
    expect(quote(strike)['premium']).toBeGreaterThan(agreed);
    expect(createPolicy(chain, { strike, expiry: chain.burn + 30n, maxPremium: agreed }).code).toBe(6010);
    checkFold(chain);
  });

  test('backs no policy that ends in the block it began', () => {
    chain.must(flash, 'deposit', [chain.stx, 'aggressive', CAPITAL], attacker);
    const terms: ClarityArgument[] = [chain.stx, STRIKE, chain.burn + 30n, backing(flash)];
    // Nor does the owner of both sides gain the fees of a cancelled policy back.
    expect(chain.call(flash, 'buy-and-cancel', terms, attacker).code).toBe(6027);
    expect(chain.call(flash, 'buy-and-exercise', terms, attacker).code).toBe(6027);
    expect(chain.call(flash, 'buy', terms, attacker).ok).toBe(true);
    checkFold(chain);
  });
});

describe('dust', () => {
  test('cannot fill a policy’s ten places, nor stand for a share', () => {
    const most = maxPayout(STRIKE, 1_000_000n);
    const create = (allocations: Row[]) =>
      chain.call(
        'bh-policy',
        'create-policy',
        ['put', 'european', 'BTC', STRIKE, 1_000_000n, chain.burn + 10n, 10n ** 15n, chain.stx, allocations as ClarityArgument[]],
        attacker,
      ).code;
    const rest = chain.providers[1]!;
    expect(create([{ provider, 'liability-usd8': 1n }, { provider: rest, 'liability-usd8': most - 1n }])).toBe(5019);
    expect(create([{ provider, 'liability-usd8': 0n }, { provider: rest, 'liability-usd8': most }])).toBe(5019);
    expect(create([])).toBe(5022);
    expect(create([{ provider, 'liability-usd8': most + 1n }])).toBe(5022);
  });

  test('a policy that could never pay is refused', () => {
    setParams(chain, [['min-notional-sat', 1n]]);
    chain.must('bh-oracle', 'set-asset', ['DUST', true, 2n, true], chain.deployer);
    chain.must('bh-oracle', 'close-round', ['DUST', submitAll('DUST', 2n, chain.burn)], attacker);
    const args: ClarityArgument[] = ['put', 'european', 'DUST', 2n, 1n, chain.burn + 10n, 10n ** 15n, chain.stx, []];
    expect(chain.call('bh-policy', 'create-policy', args, attacker).code).toBe(5003);
  });

  test('sent to the vault unasked changes nothing that anybody owns', () => {
    const state = checkFold(chain).vault;
    chain.must('bh-stx', 'transfer', [1_234n, attacker, chain.id('bh-vault'), null], attacker);
    expect(chain.read('bh-vault', 'get-buckets', [chain.stx])).toEqual(state.buckets.get(chain.stx));
    expect(chain.read('bh-vault', 'get-pool', ['aggressive', chain.stx])).toEqual(state.pools.get(`aggressive ${chain.stx}`));
  });
});

describe('rounding', () => {
  test('makes nothing cheaper in pieces: premiums and collateral round up, payouts down', () => {
    const pieces = Array.from({ length: 6 }, (_, i) => 10_007n + BigInt(i));
    const whole = pieces.reduce((sum, piece) => sum + piece, 0n);
    const strike = 89_999_99999999n;
    for (const token of [chain.stx, chain.sbtc]) {
      const parts = pieces.map((notional) => quote(strike, notional, token));
      const all = quote(strike, whole, token);
      const total = (field: string) => parts.reduce((sum, part) => sum + part[field]!, 0n);
      expect(total('premium-usd8')).toBeGreaterThanOrEqual(all['premium-usd8']!);
      expect(total('premium')).toBeGreaterThanOrEqual(all['premium']!);
      // What floors take from the fees, the providers get.
      expect(total('premium-provider')).toBeGreaterThanOrEqual(all['premium-provider']!);
      expect(total('max-payout-usd8')).toBeLessThanOrEqual(all['max-payout-usd8']!);
    }
  });

  test('gives a buyer and a provider who are one person nothing: what comes out is at most what went in', () => {
    const both = provider;
    const of = () =>
      chain.balance(chain.stx, both) +
      (chain.read('bh-vault', 'get-yield', [both, chain.stx]) as bigint) +
      ((chain.read('bh-vault', 'get-position', [both, 'aggressive', chain.stx]) as Row)['available'] as bigint);
    const before = of();
    const expiry = chain.burn + 3n;
    const strikes = [90_001n, 90_003n, 95_007n, 99_999n].map((usd) => usd * USD + 33n);
    const policies = strikes.map(
      (strike) =>
        createPolicy(chain, { owner: both, strike, notional: 33_333n, expiry, backers: [{ provider: both, share: 1n }] })
          .value as bigint,
    );
    fixExpiry(chain, expiry, { BTC: 91_111n * USD + 7n, STX: STX_USD8 + 3n });
    const items = policies.map((policy) => ({ policy, token: chain.stx }));
    const settled = chain.must('bh-policy', 'settle-many', [items], attacker);
    expect((settled.value as Row[]).every(({ error }) => error === 0n)).toBe(true);
    const fees = chain.events
      .filter(({ topic }) => topic === 'premium.escrowed')
      .reduce((sum, row) => sum + (row['fee-platform'] as bigint) + (row['fee-reserve'] as bigint), 0n);
    expect(fees).toBeGreaterThan(0n);
    expect(of()).toBe(before - fees);
    checkFold(chain);
  });

  test('leaves no unit behind when ten providers share what does not divide', async () => {
    chain = await market({ extraProviders: 7 });
    const expiry = chain.burn + 3n;
    const backers = chain.providers.map((who, i) => ({ provider: who, share: BigInt(i) + 7n }));
    const policy = createPolicy(chain, { strike: 99_999_99999999n, notional: 3_333_333n, expiry, backers }).value as bigint;
    fixExpiry(chain, expiry, { BTC: 98_765_43210123n, STX: STX_USD8 + 1n });
    const { events } = chain.must('bh-policy', 'settle', [policy, chain.stx], attacker);
    const paid = events.at(-1)!['paid'] as bigint;
    const debited = events.filter(({ topic }) => topic === 'payout.debited').map((row) => row['amt'] as bigint);
    expect(debited.reduce((sum, amt) => sum + amt, 0n)).toBe(paid);
    expect(events.at(-1)).toMatchObject({ 'unpaid-usd8': 0n });
    // The fold compares every bucket with the vault's balance.
    checkFold(chain);
  });
});

describe('a batch of settlements', () => {
  test('is not stopped by policies that ended, tokens that lie, or a token that aborts', () => {
    const bad = chain.deploy('forged', fixture('thief-token'));
    chain.must(bad, 'set-plan', [8n, 0n], attacker);
    const expiry = chain.burn + 3n;
    const policies = Array.from({ length: 3 }, () => createPolicy(chain, { expiry, notional: 100_000n }).value as bigint);
    fixExpiry(chain, expiry, { BTC: 80_000n * USD, STX: STX_USD8 });
    // Somebody settles one first; the keeper's batch has it still.
    chain.must('bh-policy', 'settle', [policies[0]!, chain.stx], attacker);
    const items = [
      { policy: policies[0]!, token: chain.stx },
      { policy: 2n ** 128n - 1n, token: chain.stx },
      { policy: policies[1]!, token: bad },
      { policy: policies[1]!, token: chain.stx },
      { policy: policies[1]!, token: chain.stx },
      { policy: policies[2]!, token: chain.stx },
    ];
    const { value } = chain.must('bh-policy', 'settle-many', [items], chain.buyer);
    expect((value as Row[]).map(({ error }) => error)).toEqual([6012n, 6011n, 5012n, 0n, 6012n, 0n]);
    checkFold(chain);
  });

  test('a payout that is refused stays with its policy, and its owner gets it later', () => {
    const token = listThief();
    chain.must('bh-vault', 'deposit', [token, 'aggressive', 10n ** 9n], provider);
    const expiry = chain.burn + 3n;
    const policy = createPolicy(chain, { expiry, token }).value as bigint;
    fixExpiry(chain, expiry, { BTC: 80_000n * USD, STX: STX_USD8 });
    // The token takes STX of the vault on the way: refused, and nothing has changed.
    chain.must(token, 'set-plan', [1n, 0n], attacker);
    const items = [{ policy, token }];
    const first = chain.must('bh-policy', 'settle-many', [items], attacker);
    expect((first.value as Row[])[0]!['error']).toBe(5024n);
    expect(first.events).toEqual([]);
    expect(first.transfers).toEqual([]);
    chain.must(token, 'set-plan', [0n, 0n], attacker);
    const second = chain.must('bh-policy', 'settle-many', [items], attacker);
    expect((second.value as Row[])[0]!['error']).toBe(0n);
    expect(second.transfers.map(({ asset, recipient }) => [asset, recipient])).toEqual([[token, chain.buyer]]);
    checkFold(chain);
  });
});

describe('a forged token', () => {
  test('is nobody’s: neither deposits, withdrawals, premiums, payouts, yield nor fees take it', () => {
    const forged = chain.deploy('forged', fixture('thief-token'));
    for (const who of [attacker, provider]) chain.must(forged, 'mint', [10n ** 12n, who], who);
    const expiry = chain.burn + 3n;
    const policy = createPolicy(chain, { expiry }).value as bigint;
    const request = chain.must('bh-vault', 'request-withdraw', [chain.stx, 'aggressive', 5n], provider).value as bigint;
    const calls: [string, string, ClarityArgument[], string, number][] = [
      ['bh-vault', 'deposit', [forged, 'aggressive', 5n], attacker, 5001],
      ['bh-vault', 'withdraw', [request, forged], provider, 5012],
      ['bh-vault', 'request-withdraw', [forged, 'aggressive', 1n], attacker, 5007],
      ['bh-vault', 'change-tier', [forged, 'aggressive', 'balanced', 1n], attacker, 5001],
      ['bh-vault', 'claim-yield', [forged], provider, 5013],
      ['bh-vault', 'collect-fees', [forged], attacker, 5023],
      ['bh-policy', 'cancel', [policy, forged], chain.buyer, 5012],
      [
        'bh-policy',
        'create-policy',
        ['put', 'european', 'BTC', STRIKE, 1_000_000n, expiry, 10n ** 15n, forged, allocate(maxPayout(STRIKE, 1_000_000n), [{ provider, share: 1n }]) as ClarityArgument],
        attacker,
        6005,
      ],
    ];
    for (const [contract, fn, args, who, code] of calls) {
      expect(chain.call(contract, fn, args, who).code, `${contract}.${fn}`).toBe(code);
    }
    fixExpiry(chain, expiry, { BTC: 80_000n * USD, STX: STX_USD8 });
    expect(chain.call('bh-policy', 'settle', [policy, forged], attacker).code).toBe(5012);
    checkFold(chain);
  });
});

describe('a token at those who pay fees, shortfalls and rewards', () => {
  const TERMS = {
    'epoch-burn': 10n,
    epochs: 1n,
    'epoch-cap': 1_000n,
    'premium-bp': 5_000n,
    'vesting-burn': 0n,
    'claim-burn': 10n,
  };
  const program = (token: string) =>
    chain.must('bh-incentives', 'create-program', [token, { ...TERMS, 'start-burn': chain.burn + 100n }, null], chain.deployer)
      .value as bigint;

  test('is nobody’s if it is forged', () => {
    const forged = chain.deploy('forged', fixture('thief-token'));
    chain.must(forged, 'mint', [10n ** 12n, attacker], attacker);
    for (const contract of ['bh-treasury', 'bh-fund', 'bh-incentives', 'bh-gov']) {
      chain.must(forged, 'mint', [10n ** 12n, chain.id(contract)], attacker);
    }
    chain.must('bh-treasury', 'contribute', [chain.stx, 100n], attacker);
    chain.must('bh-fund', 'capitalize', [chain.stx, 100n], attacker);
    const plan = chain.must('bh-fund', 'start-recovery', [chain.stx, 100n, 10n, null], chain.deployer).value as bigint;
    const epochs = program(chain.stx);
    const calls: [string, string, ClarityArgument[], string, number][] = [
      ['bh-treasury', 'contribute', [forged, 5n], attacker, 7012],
      ['bh-treasury', 'absorb', [forged], attacker, 7012],
      ['bh-treasury', 'collect', [forged], attacker, 5003],
      ['bh-treasury', 'claim-share', [forged], attacker, 7008],
      ['bh-treasury', 'spend', [forged, attacker, 5n, null], chain.deployer, 7009],
      ['bh-fund', 'capitalize', [forged, 5n], attacker, 8003],
      ['bh-fund', 'absorb', [forged], attacker, 8003],
      ['bh-fund', 'collect', [forged], attacker, 5003],
      ['bh-fund', 'claim-yield', [forged], attacker, 5013],
      ['bh-fund', 'contribute', [plan, forged, 5n], attacker, 8003],
      ['bh-fund', 'allocate', [forged, 'aggressive', 5n], chain.deployer, 8003],
      ['bh-incentives', 'contribute', [epochs, forged, 5n], attacker, 11021],
      ['bh-gov', 'stake', [forged, 5n], attacker, 10003],
      ['bh-gov', 'unstake', [forged, 5n], attacker, 10003],
    ];
    for (const [contract, fn, args, who, code] of calls) {
      expect(chain.call(contract, fn, args, who).code, `${contract}.${fn}`).toBe(code);
    }
    checkFold(chain);
  });

  test.each([
    [1n, 'STX'],
    [2n, 'sBTC'],
  ])('takes none of their %s, nor of those who give', (number) => {
    const token = listThief();
    const listed = program(token);
    for (const other of [token, chain.stx, chain.sbtc]) {
      chain.must('bh-treasury', 'contribute', [other, 1_000n], attacker);
      chain.must('bh-fund', 'capitalize', [other, 1_000n], attacker);
      chain.must('bh-incentives', 'contribute', [program(other), other, 1_000n], attacker);
    }
    chain.must('bh-incentives', 'contribute', [listed, token, 1_000n], attacker);
    chain.must('bh-incentives', 'end-program', [listed, null], chain.deployer);
    chain.must(token, 'set-plan', [number, 0n], attacker);
    const calls: [string, string, ClarityArgument[], string, number][] = [
      ['bh-treasury', 'contribute', [token, 5n], attacker, 7013],
      ['bh-treasury', 'spend', [token, attacker, 5n, null], chain.deployer, 7013],
      ['bh-fund', 'capitalize', [token, 5n], attacker, 8006],
      ['bh-fund', 'allocate', [token, 'aggressive', 5n], chain.deployer, 5024],
      ['bh-incentives', 'return-budget', [listed, token], attacker, 7013],
    ];
    for (const [contract, fn, args, who, code] of calls) {
      const refused = chain.call(contract, fn, args, who);
      expect(refused.code, `${contract}.${fn}`).toBe(code);
      expect(refused.transfers).toEqual([]);
    }
    chain.must(token, 'set-plan', [0n, 0n], attacker);
    for (const [contract, fn, args, who] of calls) chain.must(contract, fn, args, who);
    checkFold(chain);
  });

  test('comes back into a contract that pays it only for what it is owed, once', () => {
    const token = listThief();
    chain.must('bh-treasury', 'contribute', [token, 1_000n], attacker);
    expect(createPolicy(chain).ok).toBe(true);
    chain.must('bh-treasury', 'collect', [chain.stx], attacker);
    const rows = [{ name: 'token', receiver: token, 'share-bp': 10_000n }];
    chain.must('bh-treasury', 'set-allocations', [rows, null], chain.deployer);
    const share = chain.must('bh-treasury', 'distribute', [chain.stx], attacker).value as bigint;
    chain.must(token, 'set-plan', [9n, 0n], attacker);
    // One payment inside another is nothing that the machine does.
    expect(refusal(() => chain.call('bh-treasury', 'spend', [token, attacker, 5n, null], chain.deployer))).toBe('inside itself');
    const first = chain.must('bh-treasury', 'contribute', [token, 5n], attacker);
    expect(first.transfers.map(({ asset, amount, recipient }) => [asset, amount, recipient])).toEqual([
      ['STX', share, token],
      [token, 5n, chain.id('bh-treasury')],
    ]);
    // Nothing is owed any more: the token's own call fails, and the payment with it.
    expect(chain.call('bh-treasury', 'contribute', [token, 5n], attacker).code).toBe(7013);
    checkFold(chain);
  });
});

describe('governance in one block', () => {
  const takeAll = () => [action('spend', { token: chain.stx, to: attacker, amt: 1n })];
  const MOST = 100n * MILLION;

  test('is not captured with stake that is there for one call, however large', () => {
    stakes(chain);
    chain.must('bh-treasury', 'contribute', [chain.stx, 1n], provider);
    chain.must('bh-registry', 'handover', [chain.id('bh-gov')], chain.deployer);
    const capture = chain.deploy('capture', fixture('capture'));
    const rich = chain.providers[1]!;
    chain.must('bh-stx', 'transfer', [MOST / 2n, rich, capture, null], rich);
    expect(chain.read('bh-gov', 'get-power', [null])).toBeLessThan(MOST / 2n);
    const turn = (proposal: bigint, choice: string) =>
      chain.call(capture, 'turn', [chain.stx, MOST / 2n, proposal, choice], attacker).code;
    expect(chain.call(capture, 'capture', [chain.stx, MOST / 2n, takeAll() as ClarityArgument[]], attacker).code).toBe(10_008);
    // Nor is a vote of others turned, in this block or a later one.
    const proposal = proposed(chain);
    expect(turn(proposal, 'against')).toBe(10_018);
    chain.mineBurn(1);
    expect(turn(proposal, 'against')).toBe(10_018);
    // With stake of the block before, it stays until the vote is over.
    chain.must(capture, 'stake', [chain.stx, MOST / 2n], attacker);
    chain.mineBurn(1);
    expect(chain.call(capture, 'capture', [chain.stx, 0n, takeAll() as ClarityArgument[]], attacker).code).not.toBe(0);
    expect(turn(proposal, 'against')).not.toBe(0);
    checkFold(chain);
  });

  test('is not executed by who passed it: votes, queue and timelock are of different blocks', () => {
    stakes(chain);
    chain.must('bh-registry', 'handover', [chain.id('bh-gov')], chain.deployer);
    const proposal = proposed(chain, takeAll());
    for (const who of chain.providers) chain.must('bh-gov', 'vote', [proposal, 'for'], who);
    const tokens: ClarityArgument[] = [chain.stx];
    expect(chain.call('bh-gov', 'execute', [proposal, tokens], provider).code).toBe(10_013);
    expect(chain.call('bh-gov', 'finalize', [proposal], provider).code).toBe(10_014);
    expect(finalize(chain, proposal).value).toBe(true);
    expect(chain.call('bh-gov', 'execute', [proposal, tokens], provider).code).toBe(10_019);
    checkFold(chain);
  });
});

describe('a token that calls back', () => {
  let token: string;
  let request: bigint;
  /** Has the token do something else in the transfers that follow. */
  const plan = (number: bigint, target = 0n) => chain.must(token, 'set-plan', [number, target], attacker);

  beforeEach(() => {
    token = listThief();
    chain.must('bh-vault', 'deposit', [token, 'aggressive', 10n ** 9n], provider);
    // The token itself is a provider with STX, and has asked some back.
    chain.must('bh-stx', 'transfer', [CAPITAL, attacker, token, null], attacker);
    chain.must(token, 'deposit-stx', ['aggressive', CAPITAL], attacker);
    request = chain.must(token, 'ask-stx', ['aggressive', 5n], attacker).value as bigint;
    chain.mineBurn(1);
    closeRound(chain, 'BTC', BTC_USD8);
    closeRound(chain, 'STX', STX_USD8);
  });

  test.each([
    [1n, 'STX'],
    [2n, 'sBTC'],
  ])('cannot take the depositor’s %s, nor the vault’s', (number) => {
    const asked = chain.must('bh-vault', 'request-withdraw', [token, 'aggressive', 100n], provider).value as bigint;
    chain.mineBurn(1);
    plan(number);
    expect(chain.call('bh-vault', 'deposit', [token, 'aggressive', 5n], provider).code).toBe(5024);
    expect(chain.call('bh-vault', 'withdraw', [asked, token], provider).code).toBe(5024);
    expect(createPolicy(chain, { token }).code).toBe(5024);
    plan(0n);
    expect(chain.call('bh-vault', 'withdraw', [asked, token], provider).ok).toBe(true);
    checkFold(chain);
  });

  test('gets its own capital out in the middle of a deposit, once and no more', () => {
    plan(3n, request);
    const { code, transfers } = chain.call('bh-vault', 'deposit', [token, 'aggressive', 5n], provider);
    expect(code).toBe(0);
    expect(transfers.map(({ asset, amount, recipient }) => [asset, amount, recipient])).toEqual([
      ['STX', 5n, token],
      [token, 5n, chain.id('bh-vault')],
    ]);
    // The request is gone, so the token now fails, and the deposit with it.
    expect(chain.call('bh-vault', 'deposit', [token, 'aggressive', 5n], provider).code).toBe(5024);
    checkFold(chain);
  });

  test('cannot get in twice', () => {
    const asked = chain.must('bh-vault', 'request-withdraw', [token, 'aggressive', 100n], provider).value as bigint;
    chain.mineBurn(1);
    plan(3n, asked);
    // A withdrawal inside a withdrawal, of a request that is somebody else's.
    expect(refusal(() => chain.call('bh-vault', 'withdraw', [asked, token], provider))).toBe('inside itself');
    plan(4n);
    expect(refusal(() => chain.call('bh-vault', 'withdraw', [asked, token], provider))).toBe(5024);
    plan(6n);
    expect(refusal(() => chain.call('bh-vault', 'withdraw', [asked, token], provider))).toBe(5024);
    plan(0n);
    expect(chain.call('bh-vault', 'withdraw', [asked, token], provider).ok).toBe(true);
    checkFold(chain);
  });

  test('cannot settle another policy in the middle of a settlement, and costs only its own', () => {
    const expiry = chain.burn + 3n;
    const [mine, other] = [createPolicy(chain, { expiry, token }), createPolicy(chain, { expiry })].map(
      ({ value }) => value as bigint,
    ) as [bigint, bigint];
    fixExpiry(chain, expiry, { BTC: 80_000n * USD, STX: STX_USD8 });
    plan(5n, other);
    expect(refusal(() => chain.call('bh-policy', 'settle', [mine, token], attacker))).toBe('inside itself');
    expect(chain.must('bh-policy', 'settle', [other, chain.stx], attacker).ok).toBe(true);
    plan(0n);
    expect(chain.must('bh-policy', 'settle', [mine, token], attacker).ok).toBe(true);
    checkFold(chain);
  });

  test('cannot settle the policy that is being made, nor make one inside it', () => {
    plan(5n, 1n);
    expect(refusal(() => createPolicy(chain, { token }))).toBe(5024);
    plan(0n);
    expect(createPolicy(chain, { token }).value).toBe(1n);
    checkFold(chain);
  });
});

describe('what roles and markets cannot do', () => {
  test('no role moves a provider’s capital: the last power over a price is announced, and can be taken back', () => {
    chain.must('bh-params', 'trip-breaker', ['oracle', 'test'], chain.guardian);
    chain.must('bh-oracle', 'set-fallback', ['BTC', 1_000n * USD, 'test'], chain.guardian);
    expect(chain.call('bh-oracle', 'apply-fallback', ['BTC'], chain.guardian).code).toBe(3022);
    chain.mineBurn(143);
    expect(chain.call('bh-oracle', 'apply-fallback', ['BTC'], chain.guardian).code).toBe(3022);
    chain.must('bh-oracle', 'cancel-fallback', ['BTC'], chain.deployer);
    chain.mineBurn(1);
    expect(chain.call('bh-oracle', 'apply-fallback', ['BTC'], chain.guardian).code).toBe(3021);
    checkFold(chain);
  });

  test('a token that governance stops pays out what it owes', () => {
    const expiry = chain.burn + 3n;
    const policy = createPolicy(chain, { expiry }).value as bigint;
    const row = chain.read('bh-params', 'get-token', [chain.stx]) as { [key: string]: bigint | boolean | string };
    chain.must('bh-params', 'set-token', [chain.stx, { ...row, active: false }, null], chain.deployer);
    fixExpiry(chain, expiry, { BTC: 80_000n * USD, STX: STX_USD8 });
    expect(chain.must('bh-policy', 'settle', [policy, chain.stx], attacker).events.at(-1)!['paid']).toBe(50_000_000n);
    expect(chain.call('bh-vault', 'claim-yield', [chain.stx], provider).ok).toBe(true);
    checkFold(chain);
  });

  test('an extreme price of the token settles, and never blocks, what it owes', () => {
    const expiry = chain.burn + 3n;
    const policy = createPolicy(chain, { expiry }).value as bigint;
    // STX at 10^-8 USD: 10^17 STX are due.
    fixExpiry(chain, expiry, { BTC: 10_000n * USD, STX: 1n });
    const { events } = chain.must('bh-policy', 'settle', [policy, chain.stx], attacker);
    expect(events.at(-1)).toMatchObject({ 'payoff-usd8': 800n * USD, paid: 650_000_000n, 'unpaid-usd8': 800n * USD - 650n });
    checkFold(chain);
    setPrice(chain, 'STX', STX_USD8);
  });
});
