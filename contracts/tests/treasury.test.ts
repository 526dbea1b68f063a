import { beforeEach, describe, expect, test } from 'vitest';
import { fixture, type Chain, type ClarityArgument, type Row } from './support/chain.ts';
import { checkFold } from './support/fold.ts';
import { createPolicy, market } from './support/flow.ts';
import { activateModule } from './support/modules.ts';

type Allocation = { name: string; receiver: string; 'share-bp': bigint };

let chain: Chain;
beforeEach(async () => {
  chain = await market();
});

/** The platform's part of the premium of a policy, left in the vault. */
function earnFee(): bigint {
  const created = createPolicy(chain);
  expect(created.ok).toBe(true);
  return created.events.find(({ topic }) => topic === 'policy.created')!['fee-platform'] as bigint;
}

function collect(): bigint {
  return chain.must('bh-treasury', 'collect', [chain.stx], chain.stranger).value as bigint;
}

function setAllocations(rows: Allocation[], who = chain.deployer) {
  return chain.call('bh-treasury', 'set-allocations', [rows, null], who);
}

/** A test contract as the active version of a module. */
function activate(module: string): string {
  const payee = chain.deploy('payee', fixture('payee'));
  activateModule(chain, module, 9n, payee);
  return payee;
}

const share = (receiver: string, token = chain.stx) => chain.read('bh-treasury', 'get-share', [receiver, token]) as bigint;
const holdings = (token = chain.stx) => chain.read('bh-treasury', 'get-holdings', [token]) as Row;
const own = () => chain.id('bh-treasury');

/** Gives the treasury an own share. */
function contribute(amt: bigint): void {
  chain.must('bh-treasury', 'contribute', [chain.stx, amt], chain.stranger);
}

describe('collecting', () => {
  test('takes the platform fees of the vault, and nothing else of it', () => {
    const fee = earnFee();
    const before = chain.read('bh-vault', 'get-buckets', [chain.stx]) as Row;
    const outcome = chain.call('bh-treasury', 'collect', [chain.stx], chain.stranger);
    expect(outcome.value).toBe(fee);
    expect(outcome.transfers).toEqual([
      { asset: 'STX', amount: fee, sender: chain.id('bh-vault'), recipient: own() },
    ]);
    expect(holdings()).toEqual({ collected: fee, shared: 0n, programs: 0n });
    expect(chain.read('bh-vault', 'get-buckets', [chain.stx])).toEqual({ ...before, 'platform-fees': 0n });
    checkFold(chain);
  });

  test('fails while the vault has none, and collects every token for itself', () => {
    expect(chain.call('bh-treasury', 'collect', [chain.sbtc], chain.stranger).code).toBe(5003);
    expect(createPolicy(chain, { token: chain.sbtc }).ok).toBe(true);
    chain.must('bh-treasury', 'collect', [chain.sbtc], chain.stranger);
    expect(holdings()).toEqual({ collected: 0n, shared: 0n, programs: 0n });
    expect(holdings(chain.sbtc)['collected']).toBe(chain.balance(chain.sbtc, own()));
    checkFold(chain);
  });
});

describe('allocations', () => {
  const rows = (...shares: bigint[]): Allocation[] =>
    shares.map((bp, i) => ({ name: `part-${i}`, receiver: chain.providers[i % 3]!, 'share-bp': bp }));

  test.each([
    ['too little', [9_999n]],
    ['too much', [10_000n, 1n]],
    ['a part of nothing', [10_000n, 0n]],
    ['a part that would overflow', [2n ** 128n - 1n, 10_001n]],
    ['nobody', []],
  ])('refuse %s', (_, shares) => {
    const outcome = setAllocations(rows(...shares));
    expect(outcome.code).toBe(7005);
    expect(outcome.events).toEqual([]);
    expect(chain.read('bh-treasury', 'get-allocations')).toEqual([]);
  });

  test('refuse a name twice, but not a receiver', () => {
    const twice = [
      { name: 'a', receiver: chain.buyer, 'share-bp': 5_000n },
      { name: 'a', receiver: chain.stranger, 'share-bp': 5_000n },
    ];
    expect(setAllocations(twice).code).toBe(7006);
    twice[1]!.name = 'b';
    twice[1]!.receiver = chain.buyer;
    expect(setAllocations(twice).code).toBe(0);
  });

  test('are replaced all at once, with one event each that names the proposal', () => {
    expect(setAllocations(rows(1_000n, 2_000n, 7_000n)).ok).toBe(true);
    const next = rows(6_000n, 4_000n);
    const { events } = chain.must('bh-treasury', 'set-allocations', [next, { some: 7n }], chain.deployer);
    expect(events.map(({ rank, count, name, proposal }) => [rank, count, name, proposal])).toEqual([
      [0n, 2n, 'part-0', 7n],
      [1n, 2n, 'part-1', 7n],
    ]);
    expect(chain.read('bh-treasury', 'get-allocations')).toEqual(next);
    checkFold(chain);
  });

  test('of ten parts fit', () => {
    expect(setAllocations(rows(...Array.from({ length: 10 }, () => 1_000n))).ok).toBe(true);
    checkFold(chain);
  });
});

describe('distribution', () => {
  test('gives each part its floor and keeps what division leaves', () => {
    earnFee();
    collect();
    const amt = holdings()['collected'] as bigint;
    setAllocations([
      { name: 'development', receiver: chain.buyer, 'share-bp': 3_333n },
      { name: 'community', receiver: chain.stranger, 'share-bp': 3_334n },
      { name: 'treasury', receiver: own(), 'share-bp': 3_333n },
    ]);
    const outcome = chain.must('bh-treasury', 'distribute', [chain.stx], chain.stranger);
    const parts = [3_333n, 3_334n, 3_333n].map((bp) => (amt * bp) / 10_000n);
    const sum = parts.reduce((a, b) => a + b, 0n);
    expect(outcome.value).toBe(sum);
    expect(outcome.transfers).toEqual([]);
    expect(outcome.events.map((event) => [event['name'], event['amt'], event['batch']])).toEqual([
      ['development', parts[0], 1n],
      ['community', parts[1], 1n],
      ['treasury', parts[2], 1n],
    ]);
    expect([share(chain.buyer), share(chain.stranger), share(own())]).toEqual(parts);
    expect(holdings()).toEqual({ collected: amt - sum, shared: sum, programs: 0n });
    checkFold(chain);
  });

  test('of a remainder that gives nobody anything fails, however often', () => {
    earnFee();
    collect();
    setAllocations([
      { name: 'a', receiver: chain.buyer, 'share-bp': 3_333n },
      { name: 'b', receiver: chain.stranger, 'share-bp': 6_667n },
    ]);
    let distributions = 0;
    while (chain.call('bh-treasury', 'distribute', [chain.stx], chain.stranger).ok) distributions += 1;
    expect(distributions).toBeGreaterThan(0);
    expect(distributions).toBeLessThan(20);
    expect(chain.call('bh-treasury', 'distribute', [chain.stx], chain.stranger).code).toBe(7007);
    expect(holdings()['collected']).toBeLessThan(2n);
    checkFold(chain);
  });

  test('needs allocations and fees', () => {
    expect(chain.call('bh-treasury', 'distribute', [chain.stx], chain.stranger).code).toBe(7007);
    earnFee();
    collect();
    expect(chain.call('bh-treasury', 'distribute', [chain.stx], chain.stranger).code).toBe(7007);
    expect(chain.call('bh-treasury', 'distribute', [chain.id('bh-math')], chain.stranger).code).toBe(7007);
  });

  test('pays a receiver what was shared out to them, once', () => {
    earnFee();
    const amt = collect();
    setAllocations([{ name: 'all', receiver: chain.buyer, 'share-bp': 10_000n }]);
    chain.must('bh-treasury', 'distribute', [chain.stx], chain.stranger);
    expect(chain.call('bh-treasury', 'claim-share', [chain.stx], chain.stranger).code).toBe(7008);
    const claimed = chain.call('bh-treasury', 'claim-share', [chain.stx], chain.buyer);
    expect(claimed.value).toBe(amt);
    expect(claimed.transfers).toEqual([{ asset: 'STX', amount: amt, sender: own(), recipient: chain.buyer }]);
    expect(chain.call('bh-treasury', 'claim-share', [chain.stx], chain.buyer).code).toBe(7008);
    expect(chain.balance(chain.stx, own())).toBe(0n);
    checkFold(chain);
  });

  test('adds to a share that waits, also through two parts of one receiver', () => {
    setAllocations([
      { name: 'a', receiver: chain.buyer, 'share-bp': 5_000n },
      { name: 'b', receiver: chain.buyer, 'share-bp': 5_000n },
    ]);
    let owed = 0n;
    for (let i = 0; i < 2; i += 1) {
      earnFee();
      collect();
      owed += chain.must('bh-treasury', 'distribute', [chain.stx], chain.stranger).value as bigint;
    }
    expect(share(chain.buyer)).toBe(owed);
    checkFold(chain);
  });
});

describe('the own share', () => {
  test('is spent by governance alone, up to what it is', () => {
    contribute(1_000n);
    expect(chain.call('bh-treasury', 'spend', [chain.stx, chain.buyer, 1n, null], chain.guardian).code).toBe(7001);
    expect(chain.call('bh-treasury', 'spend', [chain.stx, chain.buyer, 1_001n, null], chain.deployer).code).toBe(7009);
    expect(chain.call('bh-treasury', 'spend', [chain.stx, chain.buyer, 0n, null], chain.deployer).code).toBe(7004);
    const spent = chain.must('bh-treasury', 'spend', [chain.stx, chain.buyer, 400n, { some: 3n }], chain.deployer);
    expect(spent.transfers).toEqual([{ asset: 'STX', amount: 400n, sender: own(), recipient: chain.buyer }]);
    expect(spent.events[0]!['proposal']).toBe(3n);
    expect(share(own())).toBe(600n);
    checkFold(chain);
  });

  test('does not reach what is collected, shared out to others or set aside', () => {
    earnFee();
    collect();
    setAllocations([{ name: 'all', receiver: chain.buyer, 'share-bp': 10_000n }]);
    chain.must('bh-treasury', 'distribute', [chain.stx], chain.stranger);
    earnFee();
    collect();
    contribute(10n);
    chain.must('bh-treasury', 'fund-program', [1n, chain.stx, 10n, null], chain.deployer);
    expect(chain.call('bh-treasury', 'spend', [chain.stx, chain.deployer, 1n, null], chain.deployer).code).toBe(7009);
    expect(chain.call('bh-treasury', 'fund-program', [1n, chain.stx, 1n, null], chain.deployer).code).toBe(7009);
    checkFold(chain);
  });

  test('comes back from a programme that did not draw it', () => {
    contribute(100n);
    chain.must('bh-treasury', 'fund-program', [9n, chain.stx, 60n, null], chain.deployer);
    const { events } = chain.must('bh-treasury', 'unfund-program', [9n, chain.stx, { some: 4n }], chain.deployer);
    expect(events).toMatchObject([{ topic: 'program.unfunded', program: 9n, amt: 60n, 'share-after': 100n, proposal: 4n }]);
    expect(chain.call('bh-treasury', 'unfund-program', [9n, chain.stx, null], chain.deployer).code).toBe(7011);
    expect(holdings()).toEqual({ collected: 0n, shared: 100n, programs: 0n });
    checkFold(chain);
  });

  test('grows by what somebody just sent, of tokens of the table', () => {
    contribute(100n);
    earnFee();
    collect();
    expect(chain.call('bh-treasury', 'absorb', [chain.stx], chain.stranger).code).toBe(7015);
    chain.must('bh-stx', 'transfer', [7n, chain.stranger, own(), null], chain.stranger);
    const { value, events } = chain.must('bh-treasury', 'absorb', [chain.stx], chain.buyer);
    expect([value, share(own())]).toEqual([7n, 107n]);
    expect(events).toMatchObject([{ topic: 'treasury.contributed', from: chain.stx, amt: 7n }]);
    const greedy = chain.deploy('greedy', fixture('greedy-token'));
    expect(chain.call('bh-treasury', 'absorb', [greedy], chain.stranger).code).toBe(7012);
    checkFold(chain);
  });

  test('takes contributions of known tokens only', () => {
    const most = 2n ** 128n - 1n;
    expect(chain.call('bh-treasury', 'contribute', [chain.stx, 0n], chain.stranger).code).toBe(7004);
    expect(chain.call('bh-treasury', 'contribute', [chain.stx, most], chain.stranger).code).toBe(7004);
    expect(chain.call('bh-treasury', 'contribute', [chain.stx, 10n ** 29n], chain.stranger).code).toBe(7013);
    const greedy = chain.deploy('greedy', fixture('greedy-token'));
    expect(chain.call('bh-treasury', 'contribute', [greedy, 1n], chain.stranger).code).toBe(7012);
    checkFold(chain);
  });

  test('loses no more to a token than the call says', () => {
    const greedy = chain.deploy('greedy', fixture('greedy-token'));
    const row = { asset: 'BTC', 'asset-name': 'greedy', native: false, decimals: 8n, 'haircut-bp': 0n, cap: 10n ** 12n, active: true };
    chain.must('bh-params', 'set-token', [greedy, row, null], chain.deployer);
    chain.must(greedy, 'mint', [1_000n, chain.stranger], chain.stranger);
    chain.must('bh-treasury', 'contribute', [greedy, 500n], chain.stranger);
    chain.must(greedy, 'set-greed', [2n], chain.stranger);
    expect(chain.call('bh-treasury', 'contribute', [greedy, 100n], chain.stranger).code).toBe(7013);
    expect(chain.call('bh-treasury', 'spend', [greedy, chain.buyer, 100n, null], chain.deployer).code).toBe(7013);
    chain.must(greedy, 'set-greed', [1n], chain.stranger);
    chain.must('bh-treasury', 'spend', [greedy, chain.buyer, 500n, null], chain.deployer);
  });

  test('set aside for a programme is drawn by the active incentives module only', () => {
    contribute(100n);
    chain.must('bh-treasury', 'fund-program', [9n, chain.stx, 60n, null], chain.deployer);
    chain.must('bh-treasury', 'fund-program', [9n, chain.stx, 10n, null], chain.deployer);
    expect(chain.read('bh-treasury', 'get-program-funds', [9n, chain.stx])).toBe(70n);
    for (const who of [chain.deployer, chain.guardian, chain.stranger]) {
      expect(chain.call('bh-treasury', 'draw-program', [9n, chain.stx], who).code).toBe(7003);
    }
    const module = activate('incentives');
    expect(chain.call(module, 'draw-program', [8n, chain.stx], chain.stranger).code).toBe(7011);
    const drawn = chain.must(module, 'draw-program', [9n, chain.stx], chain.stranger);
    expect(drawn.transfers).toEqual([{ asset: 'STX', amount: 70n, sender: own(), recipient: module }]);
    expect(chain.call(module, 'draw-program', [9n, chain.stx], chain.stranger).code).toBe(7011);
    expect(holdings()).toEqual({ collected: 0n, shared: 30n, programs: 0n });
    checkFold(chain);
  });
});

describe('discounts', () => {
  const fee = (user: string, amt: bigint) => chain.read('bh-treasury', 'discounted-fee', [user, amt]) as bigint;
  const set = (user: string, bp: bigint, until: bigint) =>
    chain.call('bh-treasury', 'set-discount', [user, bp, until, null], chain.deployer);

  test('lower a fee, rounded up, until their last block', () => {
    const until = chain.burn + 3n;
    expect(set(chain.buyer, 2_500n, until).ok).toBe(true);
    expect([fee(chain.buyer, 1_000n), fee(chain.buyer, 1n), fee(chain.buyer, 0n)]).toEqual([750n, 1n, 0n]);
    expect(fee(chain.stranger, 1_000n)).toBe(1_000n);
    chain.mineTo(until);
    expect(fee(chain.buyer, 1_000n)).toBe(750n);
    chain.mineBurn(1);
    expect(fee(chain.buyer, 1_000n)).toBe(1_000n);
    checkFold(chain);
  });

  test('reach from nothing to everything, and no further', () => {
    const until = chain.burn + 3n;
    expect(set(chain.buyer, 10_001n, until).code).toBe(7010);
    expect(set(chain.buyer, 1n, chain.burn).code).toBe(7010);
    expect(set(chain.buyer, 10_000n, until).ok).toBe(true);
    expect(fee(chain.buyer, 1_000n)).toBe(0n);
    expect(set(chain.buyer, 0n, until).ok).toBe(true);
    expect(fee(chain.buyer, 1_000n)).toBe(1_000n);
  });

  test('are used, and printed, by the policy module only', () => {
    set(chain.buyer, 1_000n, chain.burn + 10_000n);
    for (const who of [chain.deployer, chain.buyer, chain.stranger]) {
      expect(chain.call('bh-treasury', 'use-discount', [chain.buyer, 100n], who).code).toBe(7002);
    }
    const module = activate('policy');
    const used = chain.must(module, 'use-discount', [chain.buyer, 1_001n], chain.stranger);
    expect(used.value).toBe(901n);
    expect(used.events).toMatchObject([{ topic: 'discount.used', user: chain.buyer, 'fee-before': 1_001n, 'fee-after': 901n }]);
    const without = chain.must(module, 'use-discount', [chain.stranger, 1_001n], chain.stranger);
    expect([without.value, without.events]).toEqual([1_001n, []]);
    checkFold(chain);
  });
});

test('a discount lowers the platform fee of a policy, and nothing else of its premium', () => {
  const before = createPolicy(chain).events.find(({ topic }) => topic === 'policy.created')!;
  chain.must('bh-treasury', 'set-discount', [chain.buyer, 4_000n, chain.burn + 100n, null], chain.deployer);
  const { events } = createPolicy(chain);
  const after = events.find(({ topic }) => topic === 'policy.created')!;
  const used = events.find(({ topic }) => topic === 'discount.used')!;
  expect(used).toMatchObject({ user: chain.buyer, 'discount-bp': 4_000n, 'fee-after': after['fee-platform'] });
  const full = used['fee-before'] as bigint;
  expect(after['fee-platform']).toBe((full * 6_000n + 9_999n) / 10_000n);
  expect(full - (after['fee-platform'] as bigint)).toBeGreaterThan(0n);
  expect(before['fee-platform']).toBeGreaterThan(after['fee-platform'] as bigint);
  checkFold(chain);
});

test.each<[string, () => ClarityArgument[]]>([
  ['set-allocations', () => [[{ name: 'all', receiver: chain.stranger, 'share-bp': 10_000n }], null]],
  ['spend', () => [chain.stx, chain.stranger, 1n, null]],
  ['fund-program', () => [1n, chain.stx, 1n, null]],
  ['unfund-program', () => [1n, chain.stx, null]],
  ['pass-on-fees', () => [chain.stx, null]],
  ['set-discount', () => [chain.stranger, 1n, chain.burn + 1n, null]],
])('%s is for governance', (fn, args) => {
  for (const who of [chain.guardian, chain.buyer, chain.providers[0]!, chain.stranger]) {
    expect(chain.call('bh-treasury', fn, args(), who).code).toBe(7001);
  }
});
