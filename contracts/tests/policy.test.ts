import { beforeEach, describe, expect, test } from 'vitest';
import { Chain, fixture, type Row } from './support/chain.ts';
import { checkFold } from './support/fold.ts';
import {
  allocate,
  closeRound,
  createPolicy,
  fixExpiry,
  market,
  setParams,
  setPrice,
  BTC_USD8,
  STX_USD8,
} from './support/flow.ts';
import * as model from './support/model.ts';
import { activateModule } from './support/modules.ts';

const USD = 100_000_000n;

let chain: Chain;
beforeEach(async () => {
  chain = await market();
});

const policyRow = (policy: bigint) => chain.read('bh-policy', 'get-policy', [policy]) as Row;
const settle = (policy: bigint, token = chain.stx) => chain.call('bh-policy', 'settle', [policy, token], chain.stranger);

describe.each([
  ['put', 'stx', 90_000n],
  ['put', 'sbtc', 90_000n],
  ['call', 'stx', 110_000n],
  ['call', 'sbtc', 110_000n],
] as const)('a %s backed by %s', (type, name, strikeUsd) => {
  const strike = strikeUsd * USD;
  const notional = 2_500_001n;

  test('costs what the formula says, and locks what the ratio asks, split without a remainder', () => {
    const token = chain[name];
    const [a, b, c] = chain.providers as [string, string, string];
    const expiry = chain.burn + 30n;
    const before = chain.balance(token, chain.buyer);
    const quote = chain.read('bh-policy', 'quote', [type, 'BTC', strike, notional, expiry, token, chain.buyer]) as Row;
    const created = createPolicy(chain, {
      type,
      strike,
      notional,
      expiry,
      token,
      backers: [
        { provider: a, share: 3n },
        { provider: b, share: 2n },
        { provider: c, share: 1n },
      ],
    });
    expect(created.code).toBe(0);
    const event = created.events.find(({ topic }) => topic === 'policy.created')!;
    expect(event).toMatchObject(quote);

    const price = name === 'stx' ? STX_USD8 : BTC_USD8;
    const decimals = name === 'stx' ? 6n : 8n;
    const premiumUsd8 = model.premium({
      type,
      spot: BTC_USD8,
      strike,
      notional,
      volBp: 4_000n,
      blocks: 30n,
      typeMultBp: type === 'put' ? 10_000n : 12_000n,
      tierMultBp: 12_000n,
      utilMultBp: 10_000n,
      floorBp: 10n,
    });
    const premium = model.ceilDiv(premiumUsd8 * 10n ** decimals, price);
    const [platform, reserve] = [(premium * 600n) / 10_000n, (premium * 400n) / 10_000n];
    const most = model.maxPayout(type, strike, notional, 10_000n);
    expect(event).toMatchObject({
      'premium-usd8': premiumUsd8,
      premium,
      'fee-platform': platform,
      'fee-reserve': reserve,
      'premium-provider': premium - platform - reserve,
      'max-payout-usd8': most,
      'created-burn': chain.burn,
      'cancel-until-burn': chain.burn + 6n,
      tier: 'aggressive',
    });
    expect(before - chain.balance(token, chain.buyer)).toBe(premium);

    const liabilities = allocate(most, [
      { provider: a, share: 3n },
      { provider: b, share: 2n },
      { provider: c, share: 1n },
    ]).map((row) => row['liability-usd8'] as bigint);
    const haircut = name === 'stx' ? 1_000n : 0n;
    const collateral = liabilities.map((share) => model.requiredCollateral(share, decimals, price, 13_000n, haircut));
    const locked = created.events.filter(({ topic }) => topic === 'collateral.locked');
    expect(locked.map((row) => row['amt'])).toEqual(collateral);
    expect(event['collateral']).toBe(collateral.reduce((sum, part) => sum + part, 0n));

    // At expiry 12% in the money.
    const final = type === 'put' ? 80_000n * USD : 120_000n * USD;
    fixExpiry(chain, expiry, { BTC: final, STX: STX_USD8 });
    const owned = chain.balance(token, chain.buyer);
    const settled = chain.must('bh-policy', 'settle', [created.value as bigint, token], chain.stranger);
    const payoff = model.payoff(type, strike, final, notional, most);
    const paid = (payoff * 10n ** decimals) / (name === 'stx' ? STX_USD8 : final);
    expect(chain.balance(token, chain.buyer) - owned).toBe(paid);
    expect(settled.events.at(-1)).toMatchObject({
      topic: 'policy.settled-itm',
      'payoff-usd8': payoff,
      paid,
      'unpaid-usd8': 0n,
      'price-usd8': final,
      'token-price-usd8': name === 'stx' ? STX_USD8 : final,
    });
    const amounts = (topic: string) => settled.events.filter((row) => row.topic === topic).map((row) => row['amt']);
    expect(amounts('payout.debited')).toEqual(model.split(paid, liabilities));
    expect(amounts('premium.earned')).toEqual(model.split(premium - platform - reserve, liabilities));
    expect(settle(created.value as bigint, token).code).toBe(6012);
    checkFold(chain);
  });

  test('that ends out of the money, exactly at the strike, pays nothing and frees everything', () => {
    const token = chain[name];
    const expiry = chain.burn + 3n;
    const policy = createPolicy(chain, { type, strike, notional, expiry, token }).value as bigint;
    fixExpiry(chain, expiry, { BTC: strike, STX: STX_USD8 });
    const { events, transfers } = settle(policy, token);
    expect(transfers).toEqual([]);
    expect(events.map(({ topic }) => topic)).toEqual([
      'collateral.released',
      'premium.earned',
      'lock.closed',
      'policy.expired-otm',
    ]);
    expect(policyRow(policy)).toMatchObject({ state: 'expired-otm', paid: 0n, 'unpaid-usd8': 0n });
    checkFold(chain);
  });
});

test('a CALL never pays more than its cap', () => {
  setParams(chain, [['call-cap-bp', 1_000n]]);
  const [strike, notional, expiry] = [110_000n * USD, 1_000_000n, chain.burn + 3n];
  const cap = model.maxPayout('call', strike, notional, 1_000n);
  const created = chain.call(
    'bh-policy',
    'create-policy',
    ['call', 'european', 'BTC', strike, notional, expiry, 10n ** 15n, chain.stx, [{ provider: chain.providers[0]!, 'liability-usd8': cap }]],
    chain.buyer,
  );
  fixExpiry(chain, expiry, { BTC: 200_000n * USD, STX: STX_USD8 });
  expect(settle(created.value as bigint).events.at(-1)).toMatchObject({ 'payoff-usd8': cap, paid: (cap * 10n ** 6n) / STX_USD8 });
  checkFold(chain);
});

test('the premium rises with use of the pool, and the buyer sets its limit', () => {
  const quote = () =>
    chain.read('bh-policy', 'quote', ['put', 'BTC', 90_000n * USD, 5_000_000n, chain.burn + 30n, chain.stx, chain.buyer]) as Row;
  const first = quote();
  expect(createPolicy(chain, { notional: 5_000_000n, expiry: chain.burn + 30n }).ok).toBe(true);
  const second = quote();
  // 3,250 of 60,000 STX are locked: 541 bp, a surcharge of 270 bp.
  expect([first['util-bp'], second['util-bp']]).toEqual([0n, 541n]);
  const terms = {
    type: 'put',
    spot: BTC_USD8,
    strike: 90_000n * USD,
    notional: 5_000_000n,
    volBp: 4_000n,
    blocks: 30n,
    typeMultBp: 10_000n,
    tierMultBp: 12_000n,
    floorBp: 10n,
  } as const;
  expect(second['premium-usd8']).toBe(model.premium({ ...terms, utilMultBp: 10_270n }));
  const premium = second['premium'] as bigint;
  const again = { notional: 5_000_000n, expiry: chain.burn + 30n, backers: [{ provider: chain.providers[1]!, share: 1n }] };
  expect(createPolicy(chain, { ...again, maxPremium: premium - 1n }).code).toBe(6010);
  expect(createPolicy(chain, { ...again, maxPremium: premium }).ok).toBe(true);
  checkFold(chain);
});

test('settles from its expiry height on, not a block earlier', () => {
  const expiry = chain.burn + 3n;
  const policy = createPolicy(chain, { expiry }).value as bigint;
  chain.mineTo(expiry - 1n);
  expect(settle(policy).code).toBe(6013);
  chain.mineTo(expiry);
  expect(settle(policy).code).toBe(6014);
  closeRound(chain, 'BTC', BTC_USD8);
  const round = (chain.read('bh-oracle', 'get-asset', ['BTC']) as Row)['last-round'] as bigint;
  chain.must('bh-oracle', 'fix-expiry-price', ['BTC', expiry, round], chain.stranger);
  // The token's price is missing still.
  expect(settle(policy).code).toBe(6014);
  fixStx(expiry);
  expect(settle(policy).code).toBe(0);
});

function fixStx(expiry: bigint): void {
  closeRound(chain, 'STX', STX_USD8);
  const round = (chain.read('bh-oracle', 'get-asset', ['STX']) as Row)['last-round'] as bigint;
  chain.must('bh-oracle', 'fix-expiry-price', ['STX', expiry, round], chain.stranger);
}

describe('an american policy', () => {
  test('is exercised early by its owner at a later price, and an exercised one is over', () => {
    const expiry = chain.burn + 20n;
    const policy = createPolicy(chain, { style: 'american', expiry }).value as bigint;
    const exercise = () => chain.call('bh-policy', 'exercise', [policy, chain.stx], chain.buyer);
    setPrice(chain, 'BTC', 80_000n * USD);
    // The new price is observed at the height of the policy's creation.
    expect(exercise().code).toBe(6019);
    chain.mineBurn(1);
    closeRound(chain, 'BTC', 81_000n * USD);
    expect(exercise().code).toBe(6019);
    closeRound(chain, 'STX', STX_USD8);
    const { code, events, transfers } = exercise();
    expect(code).toBe(0);
    expect(events.at(-1)).toMatchObject({ topic: 'policy.exercised', 'price-usd8': 81_000n * USD, paid: 45_000_000n });
    expect(transfers.map(({ amount, recipient }) => [amount, recipient])).toEqual([[45_000_000n, chain.buyer]]);
    expect(exercise().code).toBe(6012);
    fixExpiry(chain, expiry, { BTC: 70_000n * USD, STX: STX_USD8 });
    expect(settle(policy).code).toBe(6012);
    checkFold(chain);
  });

  test('that is not exercised settles like a european one', () => {
    const expiry = chain.burn + 5n;
    const policy = createPolicy(chain, { style: 'american', expiry }).value as bigint;
    fixExpiry(chain, expiry, { BTC: 80_000n * USD, STX: STX_USD8 });
    expect(chain.call('bh-policy', 'exercise', [policy, chain.stx], chain.buyer).code).toBe(6018);
    expect(settle(policy).code).toBe(0);
    expect(policyRow(policy)).toMatchObject({ state: 'settled-itm', paid: 50_000_000n });
  });

  test('needs a fresh price to be exercised', () => {
    const policy = createPolicy(chain, { style: 'american', expiry: chain.burn + 50n }).value as bigint;
    chain.mineBurn(1);
    setPrice(chain, 'BTC', 80_000n * USD);
    closeRound(chain, 'STX', STX_USD8);
    chain.mineBurn(7);
    expect(chain.call('bh-policy', 'exercise', [policy, chain.stx], chain.buyer).code).toBe(3016);
  });
});

describe('cancel', () => {
  test('gives back the unearned premium less the fee, which the providers earn', () => {
    const [first, second] = chain.providers as [string, string];
    const created = createPolicy(chain, {
      backers: [
        { provider: first, share: 2n },
        { provider: second, share: 1n },
      ],
    });
    const premium = created.events.at(-1)!['premium-provider'] as bigint;
    const fee = model.ceilDiv(premium * 500n, 10_000n);
    const before = chain.balance(chain.stx, chain.buyer);
    chain.mineBurn(6);
    closeRound(chain, 'BTC', 99_000n * USD);
    const { events } = chain.must('bh-policy', 'cancel', [created.value as bigint, chain.stx], chain.buyer);
    expect(events.at(-1)).toMatchObject({ topic: 'policy.cancelled', refund: premium - fee, fee });
    expect(chain.balance(chain.stx, chain.buyer) - before).toBe(premium - fee);
    const yields = [first, second].map((who) => chain.read('bh-vault', 'get-yield', [who, chain.stx]) as bigint);
    expect(yields[0]! + yields[1]!).toBe(fee);
    expect(policyRow(created.value as bigint)['state']).toBe('cancelled');
    checkFold(chain);
  });

  test('needs a fresh price', () => {
    const policy = createPolicy(chain, {}).value as bigint;
    setParams(chain, [['price-max-age', 1n]]);
    chain.mineBurn(2);
    expect(chain.call('bh-policy', 'cancel', [policy, chain.stx], chain.buyer).code).toBe(3016);
  });
});

test('what collateral cannot cover stays owed, and the fund pays it down', () => {
  const expiry = chain.burn + 3n;
  const created = createPolicy(chain, { expiry, strike: BTC_USD8 });
  const policy = created.value as bigint;
  const collateral = created.events.at(-1)!['collateral'] as bigint;
  // BTC loses 90% and STX 95%: 900 USD are due, 722.22… STX at 0.10 USD are there.
  fixExpiry(chain, expiry, { BTC: 10_000n * USD, STX: STX_USD8 / 20n });
  const { events } = settle(policy);
  const value = (collateral * (STX_USD8 / 20n)) / 1_000_000n;
  const unpaid = 900n * USD - value;
  expect(events.at(-1)).toMatchObject({ 'payoff-usd8': 900n * USD, paid: collateral, 'unpaid-usd8': unpaid });
  expect(events.filter(({ topic }) => topic === 'collateral.released').map((row) => row['amt'])).toEqual([0n]);

  const fund = chain.deploy('fund', fixture('module'));
  activateModule(chain, 'fund', 9n, fund);
  const cover = (usd8: bigint) => chain.call(fund, 'reduce-unpaid', [policy, usd8], chain.stranger);
  expect(cover(0n).code).toBe(6025);
  expect(cover(unpaid + 1n).code).toBe(6025);
  expect(cover(unpaid - 5n).value).toBe(5n);
  expect(cover(5n).value).toBe(0n);
  expect(cover(1n).code).toBe(6025);
  checkFold(chain);
});

test('a batch settles what it can and says why not the rest, over both tokens', () => {
  const expiry = chain.burn + 4n;
  const item = (policy: bigint, token = chain.stx) => ({ policy, token });
  const [a, b, c, d] = [
    createPolicy(chain, { expiry }),
    createPolicy(chain, { expiry, token: chain.sbtc }),
    createPolicy(chain, { expiry: expiry + 10n }),
    createPolicy(chain, { expiry, strike: 91_000n * USD }),
  ].map(({ value }) => value as bigint) as [bigint, bigint, bigint, bigint];
  fixExpiry(chain, expiry, { BTC: 80_000n * USD, STX: STX_USD8 });
  const items = [item(a), item(99n), item(b), item(c), item(a), item(b, chain.sbtc), item(d)];
  const { value, events } = chain.must('bh-policy', 'settle-many', [items], chain.stranger);
  expect(value).toEqual([
    { policy: a, error: 0n },
    { policy: 99n, error: 6011n },
    { policy: b, error: 5012n },
    { policy: c, error: 6013n },
    { policy: a, error: 6012n },
    { policy: b, error: 0n },
    { policy: d, error: 0n },
  ]);
  expect(events.filter(({ topic }) => topic === 'policy.settled-itm').map((row) => row['policy'])).toEqual([a, b, d]);
  expect(chain.must('bh-policy', 'settle-many', [[]], chain.stranger).value).toEqual([]);
  checkFold(chain);
});

test('a token that refuses to pay blocks its own policy only, until it pays', () => {
  const token = chain.deploy('greedy-token', fixture('greedy-token'));
  const row = {
    asset: 'BTC',
    'asset-name': 'greedy',
    native: false,
    decimals: 8n,
    'haircut-bp': 0n,
    cap: 10n ** 12n,
    active: true,
  };
  chain.must('bh-params', 'set-token', [token, row, null], chain.deployer);
  for (const who of [chain.providers[0]!, chain.buyer]) chain.must(token, 'mint', [10n ** 10n, who], who);
  chain.must('bh-vault', 'deposit', [token, 'aggressive', 10n ** 9n], chain.providers[0]!);
  const expiry = chain.burn + 3n;
  const [bad, good] = [createPolicy(chain, { expiry, token }), createPolicy(chain, { expiry })].map(
    ({ value }) => value as bigint,
  ) as [bigint, bigint];
  fixExpiry(chain, expiry, { BTC: 80_000n * USD, STX: STX_USD8 });
  chain.must(token, 'set-greed', [2n], chain.stranger);
  const items = [
    { policy: bad, token },
    { policy: good, token: chain.stx },
  ];
  const run = () => chain.must('bh-policy', 'settle-many', [items], chain.stranger);
  const first = run();
  expect((first.value as Row[]).map(({ error }) => error)).toEqual([5024n, 0n]);
  expect(first.events.every((event) => event['policy'] === good)).toBe(true);
  expect(policyRow(bad)['state']).toBe('active');
  checkFold(chain);
  chain.must(token, 'set-greed', [1n], chain.stranger);
  expect((run().value as Row[]).map(({ error }) => error)).toEqual([0n, 6012n]);
  checkFold(chain);
});

describe('a claim on an unpaid remainder', () => {
  const HASH = new Uint8Array(32).fill(7);
  const OTHER = new Uint8Array(32).fill(8);
  const open = (policy: bigint, who = chain.buyer) => chain.call('bh-policy', 'open-claim', [policy, HASH], who);
  const resolve = (policy: bigint, usd8: bigint, who = chain.guardian) =>
    chain.call('bh-policy', 'resolve-claim', [policy, usd8, OTHER], who);
  const allowance = (policy: bigint) => chain.read('bh-policy', 'claim-allowance', [policy]);
  let policy: bigint;
  let unpaid: bigint;

  beforeEach(() => {
    chain.must('bh-registry', 'grant-role', ['arbiter', chain.guardian, null], chain.deployer);
    const expiry = chain.burn + 3n;
    policy = createPolicy(chain, { expiry, strike: BTC_USD8 }).value as bigint;
    expect(open(policy).code).toBe(6028);
    fixExpiry(chain, expiry, { BTC: 10_000n * USD, STX: STX_USD8 / 20n });
    settle(policy);
    unpaid = policyRow(policy)['unpaid-usd8'] as bigint;
    expect(unpaid).toBeGreaterThan(0n);
  });

  test('is opened by the owner once, and resolved by an arbiter once', () => {
    expect(open(99n).code).toBe(6011);
    expect(open(policy, chain.stranger).code).toBe(6015);
    expect(resolve(policy, 1n).code).toBe(6030);
    expect(resolve(99n, 1n).code).toBe(6011);
    expect(allowance(policy)).toBe(0n);
    expect(open(policy).events).toMatchObject([{ topic: 'claim.opened', 'unpaid-usd8': unpaid }]);
    expect(open(policy).code).toBe(6029);
    expect(allowance(policy)).toBe(0n);
    expect(resolve(policy, 1n, chain.buyer).code).toBe(6031);
    expect(resolve(policy, unpaid + 1n).code).toBe(6032);
    const { code, events, transfers } = resolve(policy, unpaid - 5n);
    expect(code).toBe(0);
    expect(transfers).toEqual([]);
    expect(events).toMatchObject([{ topic: 'claim.resolved', state: 'approved', 'approved-usd8': unpaid - 5n }]);
    expect(resolve(policy, 1n).code).toBe(6030);
    expect(open(policy).code).toBe(6029);
    expect(policyRow(policy)).toMatchObject({ 'unpaid-usd8': unpaid, state: 'settled-itm' });
    checkFold(chain);
  });

  test('lets the fund pay what was approved, once', () => {
    const fund = chain.deploy('fund', fixture('module'));
    activateModule(chain, 'fund', 9n, fund);
    const cover = (usd8: bigint) => chain.must(fund, 'reduce-unpaid', [policy, usd8], chain.stranger);
    open(policy);
    cover(10n);
    resolve(policy, 30n);
    expect(chain.read('bh-policy', 'get-claim', [policy])).toMatchObject({
      state: 'approved',
      'unpaid-usd8': unpaid - 10n,
      'approved-usd8': 30n,
    });
    expect(allowance(policy)).toBe(30n);
    cover(20n);
    expect(allowance(policy)).toBe(10n);
    cover(15n);
    expect(allowance(policy)).toBe(0n);
    checkFold(chain);
  });

  test('that is rejected lifts nothing', () => {
    open(policy);
    expect(resolve(policy, 0n).events).toMatchObject([{ topic: 'claim.resolved', state: 'rejected' }]);
    expect(allowance(policy)).toBe(0n);
    expect(resolve(policy, 1n).code).toBe(6030);
    checkFold(chain);
  });

  test('an arbiter whose role has ended resolves nothing', () => {
    open(policy);
    chain.must('bh-registry', 'grant-role', ['arbiter', chain.stranger, { some: chain.burn + 1n }], chain.deployer);
    chain.mineBurn(2);
    expect(resolve(policy, 1n, chain.stranger).code).toBe(6031);
  });
});

describe('a discount', () => {
  const args = ['put', 'BTC', 90_000n * USD, 1_000_000n] as const;
  const quote = (user: string) =>
    chain.read('bh-policy', 'quote', [...args, chain.burn + 10n, chain.stx, user]) as Record<string, bigint>;

  test('comes off the platform fee of the buyer who has it, and off nothing else', () => {
    const full = quote(chain.buyer);
    chain.must('bh-treasury', 'set-discount', [chain.buyer, 2_500n, chain.burn + 5n, null], chain.deployer);
    const fee = model.ceilDiv(full['fee-platform']! * 7_500n, 10_000n);
    const saved = full['fee-platform']! - fee;
    expect(saved).toBeGreaterThan(0n);
    expect(quote(chain.stranger)).toEqual(full);
    const mine = quote(chain.buyer);
    expect(mine).toEqual({ ...full, 'fee-platform': fee, discount: saved, premium: full['premium']! - saved });
    const before = chain.balance(chain.stx, chain.buyer);
    const { events, code } = createPolicy(chain, { maxPremium: mine['premium']! });
    expect(code).toBe(0);
    expect(events.at(-1)).toMatchObject(mine);
    expect(events.some(({ topic }) => topic === 'discount.used')).toBe(true);
    expect(before - chain.balance(chain.stx, chain.buyer)).toBe(mine['premium']);
    chain.mineBurn(6);
    expect(quote(chain.buyer)['discount']).toBe(0n);
    checkFold(chain);
  });
});
