import { beforeEach, describe, expect, test } from 'vitest';
import { Chain, fixture, type Row } from './support/chain.ts';
import { checkFold } from './support/fold.ts';
import { allocate, closeRound, createPolicy, fixExpiry, market, maxPayout, setParams, setPrice, BTC_USD8, STX_USD8 } from './support/flow.ts';
import * as model from './support/model.ts';
import { activateLiquidator, activateModule, moveAllocation } from './support/modules.ts';

let chain: Chain;
let provider: string;
beforeEach(async () => {
  chain = await market();
  provider = chain.providers[0]!;
});

const vault = (fn: string, args: Parameters<Chain['call']>[2], who = provider) => chain.call('bh-vault', fn, args, who);
const position = (token = chain.stx) => chain.read('bh-vault', 'get-position', [provider, 'aggressive', token]) as Row;

describe.each(['stx', 'sbtc'] as const)('capital in %s', (name) => {
  test('goes in, is asked back, waits, and comes out in full', () => {
    const token = chain[name];
    const asset = name === 'stx' ? 'STX' : token;
    const before = chain.balance(token, provider);
    const { available } = position(token) as { available: bigint };
    const deposited = vault('deposit', [token, 'aggressive', 5_000n]);
    expect(deposited.transfers).toEqual([
      { asset, amount: 5_000n, sender: provider, recipient: chain.id('bh-vault') },
    ]);
    expect(deposited.events[0]).toMatchObject({
      topic: 'capital.deposited',
      'available-before': available,
      'available-after': available + 5_000n,
    });
    const request = vault('request-withdraw', [token, 'aggressive', 5_000n]).value as bigint;
    expect(position(token)).toMatchObject({ available: available + 5_000n, requested: 5_000n });
    expect(vault('withdraw', [request, token]).code).toBe(5010);
    chain.mineBurn(1);
    const withdrawn = vault('withdraw', [request, token]);
    expect(withdrawn.transfers).toEqual([
      { asset, amount: 5_000n, sender: chain.id('bh-vault'), recipient: provider },
    ]);
    expect(position(token)).toMatchObject({ available, requested: 0n });
    expect(vault('withdraw', [request, token]).code).toBe(5008);
    expect(chain.balance(token, provider)).toBe(before);
    checkFold(chain);
  });
});

test('native STX moves in a native transfer, through a SIP-010 face', () => {
  const sent = chain.must('bh-stx', 'transfer', [7n, chain.buyer, chain.stranger, null], chain.buyer);
  expect(sent.transfers).toEqual([{ asset: 'STX', amount: 7n, sender: chain.buyer, recipient: chain.stranger }]);
  expect(chain.call('bh-stx', 'transfer', [7n, chain.buyer, chain.stranger, null], chain.stranger).code).toBe(4);
  expect(['get-name', 'get-symbol', 'get-decimals', 'get-token-uri'].map((fn) => chain.read('bh-stx', fn))).toEqual([
    'Stacks',
    'STX',
    6n,
    null,
  ]);
  expect(chain.read('bh-stx', 'get-total-supply')).toBeGreaterThan(0n);
});

test('capital that is asked back backs no new policy', () => {
  const { available } = position() as { available: bigint };
  vault('request-withdraw', [chain.stx, 'aggressive', available - 649_999_999n]);
  // 900 USD at 130% and a 10% haircut is 650 STX, one uSTX more than is left.
  expect(createPolicy(chain).code).toBe(5007);
  expect(vault('request-withdraw', [chain.stx, 'aggressive', 650_000_000n]).code).toBe(5007);
});

test('a provider who switches matching off keeps old policies and gets no new ones', () => {
  expect(createPolicy(chain).ok).toBe(true);
  vault('set-auto-match', [false]);
  expect(createPolicy(chain).code).toBe(5017);
  expect(position()['locked']).toBe(650_000_000n);
  vault('set-auto-match', [true]);
  expect(createPolicy(chain).ok).toBe(true);
  checkFold(chain);
});

test('a position that backs policies can only shrink to its warning ratio, at a fresh price', () => {
  createPolicy(chain);
  const { available, locked } = position() as { available: bigint; locked: bigint };
  // 900 USD at 135% and a 10% haircut.
  const needed = 675_000_000n;
  const most = available + locked - needed;
  const first = vault('request-withdraw', [chain.stx, 'aggressive', most]).value as bigint;
  const second = vault('request-withdraw', [chain.stx, 'aggressive', 1n]).value as bigint;
  chain.mineBurn(7);
  expect(vault('withdraw', [first, chain.stx]).code).toBe(3016);
  closeRound(chain, 'STX', STX_USD8);
  expect(vault('withdraw', [first, chain.stx]).code).toBe(0);
  expect(vault('withdraw', [second, chain.stx]).code).toBe(5011);
  // A better price frees it.
  closeRound(chain, 'STX', (STX_USD8 * 104n) / 100n);
  expect(vault('withdraw', [second, chain.stx]).code).toBe(0);
  checkFold(chain);
});

test('a provider cannot back more after its collateral has lost its worth', () => {
  const terms = { notional: 5_000_000n, expiry: chain.burn + 20n };
  expect(createPolicy(chain, terms).ok).toBe(true);
  const { available } = position() as { available: bigint };
  vault('request-withdraw', [chain.stx, 'aggressive', available - 9_000_000_000n]);
  chain.mineBurn(1);
  vault('withdraw', [1n, chain.stx]);
  setPrice(chain, 'STX', (STX_USD8 * 3n) / 10n);
  // 7,425 USD of capital after haircut is below 130% of 4,500 + 1,800 USD, though enough of it is free.
  expect(createPolicy(chain, { notional: 2_000_000n, expiry: chain.burn + 21n }).code).toBe(5011);
});

test('the cap counts available and locked capital of all providers', () => {
  const row = chain.read('bh-params', 'get-token', [chain.stx]) as { [key: string]: bigint | boolean | string };
  createPolicy(chain);
  chain.must('bh-params', 'set-token', [chain.stx, { ...row, cap: 60_000_000_010n }, null], chain.deployer);
  expect(vault('deposit', [chain.stx, 'balanced', 11n], chain.stranger).code).toBe(5006);
  expect(vault('deposit', [chain.stx, 'balanced', 10n], chain.stranger).code).toBe(0);
  chain.must('bh-params', 'set-token', [chain.stx, { ...row, active: false }, null], chain.deployer);
  expect(vault('deposit', [chain.stx, 'balanced', 1n]).code).toBe(5001);
  expect(createPolicy(chain).code).toBe(6005);
  // What is in can still leave.
  const request = vault('request-withdraw', [chain.stx, 'balanced', 10n], chain.stranger).value as bigint;
  chain.mineBurn(1);
  expect(vault('withdraw', [request, chain.stx], chain.stranger).code).toBe(0);
  checkFold(chain);
});

test('breakers stop deposits and withdrawals, and never yield or settlement', () => {
  const expiry = chain.burn + 3n;
  const policy = createPolicy(chain, { expiry }).value as bigint;
  const request = vault('request-withdraw', [chain.stx, 'aggressive', 1n]).value as bigint;
  for (const name of ['create', 'exercise', 'cancel', 'deposit', 'withdraw']) {
    chain.must('bh-params', 'trip-breaker', [name, 'test'], chain.guardian);
  }
  fixExpiry(chain, expiry, { BTC: BTC_USD8, STX: STX_USD8 });
  expect(vault('deposit', [chain.stx, 'aggressive', 1n]).code).toBe(5004);
  expect(vault('withdraw', [request, chain.stx]).code).toBe(5005);
  chain.must('bh-policy', 'settle', [policy, chain.stx], chain.stranger);
  expect(vault('claim-yield', [chain.stx]).code).toBe(0);
  expect(vault('claim-yield', [chain.stx]).code).toBe(5013);
  checkFold(chain);
});

test('fees wait for the treasury and the fund, each its own part', () => {
  createPolicy(chain);
  const buckets = chain.read('bh-vault', 'get-buckets', [chain.stx]) as Row;
  const premium = chain.events.find(({ topic }) => topic === 'premium.escrowed')!;
  expect(buckets).toMatchObject({
    'platform-fees': premium['fee-platform'],
    'reserve-fees': premium['fee-reserve'],
    unearned: premium['premium-provider'],
  });
  for (const [name, kind, amount] of [
    ['treasury', 'platform', premium['fee-platform']],
    ['fund', 'reserve', premium['fee-reserve']],
  ] as const) {
    const module = chain.deploy(name, fixture('module'));
    activateModule(chain, name, 9n, module);
    const collected = chain.must(module, 'collect-fees', [chain.stx], chain.stranger);
    expect(collected.value).toBe(amount);
    expect(collected.events[0]).toMatchObject({ topic: 'fees.collected', kind, to: module });
    expect(chain.balance(chain.stx, module)).toBe(amount);
    expect(chain.call(module, 'collect-fees', [chain.stx], chain.stranger).code).toBe(5003);
  }
  checkFold(chain);
});

test('a token cannot take more from the vault than it pays out, nor more from a depositor than they deposit', () => {
  const token = chain.deploy('greedy-token', fixture('greedy-token'));
  const row = {
    asset: 'BTC',
    'asset-name': 'greedy',
    native: false,
    decimals: 8n,
    'haircut-bp': 0n,
    cap: 1_000n,
    active: true,
  };
  chain.must('bh-params', 'set-token', [token, row, null], chain.deployer);
  chain.must(token, 'mint', [100n, provider], provider);
  chain.must(token, 'mint', [100n, chain.stranger], provider);
  expect(vault('deposit', [token, 'aggressive', 50n]).code).toBe(0);
  expect(vault('deposit', [token, 'aggressive', 50n], chain.stranger).code).toBe(0);
  const request = vault('request-withdraw', [token, 'aggressive', 50n]).value as bigint;
  chain.mineBurn(1);
  chain.must(token, 'set-greed', [2n], provider);
  expect(vault('withdraw', [request, token]).code).toBe(5024);
  expect(vault('deposit', [token, 'aggressive', 20n]).code).toBe(5024);
  chain.must(token, 'set-greed', [1n], provider);
  expect(vault('withdraw', [request, token]).code).toBe(0);
  checkFold(chain);
});

describe('a change of tier', () => {
  beforeEach(async () => {
    chain = await market({ tiers: ['balanced', 'aggressive'] });
  });

  const change = (amt: bigint, from = 'aggressive', to = 'balanced', who = provider) =>
    vault('change-tier', [chain.stx, from, to, amt], who);
  const at = (tier: string) => chain.read('bh-vault', 'get-position', [provider, tier, chain.stx]) as Row;

  test('moves free capital and the pools with it, and no token', () => {
    const pool = (tier: string) => (chain.read('bh-vault', 'get-pool', [tier, chain.stx]) as Row)['available'] as bigint;
    const before = [pool('aggressive'), pool('balanced')];
    const { code, events, transfers } = change(5_000n);
    expect(code).toBe(0);
    expect(transfers).toEqual([]);
    expect(events.map(({ topic }) => topic)).toEqual(['capital.moved-out', 'capital.moved-in']);
    expect(at('aggressive')['available']).toBe(19_999_995_000n);
    expect(at('balanced')['available']).toBe(20_000_005_000n);
    expect([pool('aggressive'), pool('balanced')]).toEqual([before[0]! - 5_000n, before[1]! + 5_000n]);
    expect(change(5_000n, 'balanced', 'aggressive').code).toBe(0);
    checkFold(chain);
  });

  test('takes neither what is locked nor what is asked back', () => {
    createPolicy(chain);
    const { available, locked } = at('aggressive') as { available: bigint; locked: bigint };
    expect(locked).toBe(650_000_000n);
    vault('request-withdraw', [chain.stx, 'aggressive', 1_000n]);
    expect(change(available - 999n).code).toBe(5007);
    expect(change(0n).code).toBe(5003);
    expect(change(1n, 'aggressive', 'reckless').code).toBe(5002);
    expect(change(1n, 'reckless', 'aggressive').code).toBe(5002);
    expect(change(1n, 'aggressive', 'aggressive').code).toBe(5026);
    expect(vault('change-tier', [chain.id('bh-math'), 'aggressive', 'balanced', 1n]).code).toBe(5001);
    expect(change(1n, 'aggressive', 'balanced', chain.stranger).code).toBe(5007);
    checkFold(chain);
  });

  test('leaves the warning ratio behind, at a fresh price', () => {
    createPolicy(chain);
    const { available, locked } = at('aggressive') as { available: bigint; locked: bigint };
    // 900 USD at 135% and a 10% haircut.
    const most = available + locked - 675_000_000n;
    expect(change(most + 1n).code).toBe(5011);
    chain.mineBurn(7);
    expect(change(most).code).toBe(3016);
    closeRound(chain, 'STX', STX_USD8);
    expect(change(most).code).toBe(0);
    checkFold(chain);
  });

  test('goes into active tiers of active tokens only, and not while deposits or withdrawals are stopped', () => {
    for (const name of ['deposit', 'withdraw']) {
      chain.must('bh-params', 'set-flag', [name, false, null], chain.deployer);
      expect(change(1n).code).toBe(name === 'deposit' ? 5004 : 5005);
      chain.must('bh-params', 'set-flag', [name, true, null], chain.deployer);
    }
    const tier = chain.read('bh-params', 'get-tier', ['balanced']) as { [key: string]: bigint | boolean };
    chain.must('bh-params', 'set-tier', ['balanced', { ...tier, active: false }, null], chain.deployer);
    expect(change(1n).code).toBe(5002);
    // Capital can leave a tier that takes none.
    expect(change(1n, 'balanced', 'aggressive').code).toBe(0);
    const token = chain.read('bh-params', 'get-token', [chain.stx]) as { [key: string]: bigint | boolean | string };
    chain.must('bh-params', 'set-token', [chain.stx, { ...token, active: false }, null], chain.deployer);
    expect(change(1n, 'balanced', 'aggressive').code).toBe(5001);
    checkFold(chain);
  });
});

describe('an allocation that changes hands', () => {
  let liquidator: string;
  let others: [string, string];
  beforeEach(() => {
    liquidator = activateLiquidator(chain);
    others = [chain.providers[1]!, chain.providers[2]!];
  });

  const NOTIONAL = 1_000_000n;
  const MOST = maxPayout((BTC_USD8 * 9n) / 10n, NOTIONAL);
  const create = (backers: { provider: string; share: bigint }[]) =>
    createPolicy(chain, { notional: NOTIONAL, expiry: chain.burn + 30n, backers }).value as bigint;
  const move = (policy: bigint, to: string, terms = {}) => moveAllocation(chain, liquidator, policy, provider, to, terms);
  const lock = (policy: bigint) => chain.read('bh-vault', 'get-lock', [policy]) as Row;
  const of = (who: string) => chain.read('bh-vault', 'get-position', [who, 'aggressive', chain.stx]) as Record<string, bigint>;

  test('takes its liability along, frees the collateral, and pays price, bounty and penalty', () => {
    const policy = create([
      { provider, share: 2n },
      { provider: others[0], share: 1n },
    ]);
    const [liability, kept] = allocate(MOST, [
      { provider, share: 2n },
      { provider: others[0], share: 1n },
    ]).map((row) => row['liability-usd8'] as bigint) as [bigint, bigint];
    const [before, taker] = [of(provider), of(others[1])];
    const collateral = model.requiredCollateral(liability, 6n, STX_USD8, 13_000n, 1_000n);
    expect(before['locked']).toBe(collateral);
    // STX has lost a tenth: the taker locks more than the provider had.
    const tokenPrice = (STX_USD8 * 9n) / 10n;
    const more = model.requiredCollateral(liability, 6n, tokenPrice, 13_000n, 1_000n);
    setPrice(chain, 'STX', tokenPrice);
    const moved = move(policy, others[1], {
      price: 7_000n,
      bounty: 500n,
      penalty: 300n,
      bountyTo: chain.buyer,
      penaltyTo: chain.guardian,
    });
    expect(moved.value).toEqual({
      'collateral-from': collateral,
      'collateral-to': more,
      paid: 7_000n,
      bounty: 500n,
      penalty: 300n,
    });
    expect(moved.transfers).toEqual([]);
    expect(moved.events.map(({ topic }) => topic)).toEqual([
      'allocation.moved-out',
      'allocation.moved-in',
      'yield.credited',
      'yield.credited',
      'allocation.moved',
    ]);
    expect(of(provider)).toEqual({
      available: before['available']! + collateral - 7_800n,
      locked: 0n,
      requested: 0n,
      'liability-usd8': 0n,
    });
    expect(of(others[1])).toEqual({
      available: taker['available']! + 7_000n - more,
      locked: more,
      requested: 0n,
      'liability-usd8': liability,
    });
    const kinds = [chain.buyer, chain.guardian].map((who) => chain.read('bh-vault', 'get-yield', [who, chain.stx]));
    expect(kinds).toEqual([500n, 300n]);
    const second = model.requiredCollateral(kept, 6n, STX_USD8, 13_000n, 1_000n);
    expect(lock(policy)).toMatchObject({
      collateral: second + more,
      'max-payout-usd8': MOST,
      allocations: [
        { provider: others[0], collateral: second, 'liability-usd8': kept },
        { provider: others[1], collateral: more, 'liability-usd8': liability },
      ],
    });
    checkFold(chain);

    // At expiry the two pay by liability, not by collateral, and the premium goes to them by liability.
    const expiry = (chain.read('bh-policy', 'get-policy', [policy]) as Row)['expiry-burn'] as bigint;
    fixExpiry(chain, expiry, { BTC: (BTC_USD8 * 8n) / 10n, STX: STX_USD8 });
    const { events } = chain.must('bh-policy', 'settle', [policy, chain.stx], chain.stranger);
    const paid = events.at(-1)!['paid'] as bigint;
    expect(paid).toBe(50_000_000n);
    const amounts = (topic: string) => events.filter((row) => row.topic === topic).map((row) => row['amt']);
    expect(amounts('payout.debited')).toEqual(model.split(paid, [kept, liability]));
    const premium = chain.events.find(({ topic }) => topic === 'premium.escrowed')!['premium-provider'] as bigint;
    expect(amounts('premium.earned')).toEqual(model.split(premium, [kept, liability]));
    expect(of(provider)['available']).toBe(before['available']! + collateral - 7_800n);
    checkFold(chain);
  });

  test('merges with what the taker already has in the policy', () => {
    const policy = create([
      { provider, share: 1n },
      { provider: others[0], share: 1n },
      { provider: others[1], share: 1n },
    ]);
    expect(move(policy, others[1]).ok).toBe(true);
    const parts = lock(policy)['allocations'] as Row[];
    expect(parts.map((part) => [part['provider'], part['liability-usd8']])).toEqual([
      [others[0], MOST / 3n],
      [others[1], (2n * MOST) / 3n],
    ]);
    expect(move(policy, others[0]).code).toBe(5028);
    checkFold(chain);
  });

  test('of ten passes on, and ten stay', async () => {
    chain = await market({ extraProviders: 8 });
    liquidator = activateLiquidator(chain);
    const policy = create(chain.providers.slice(0, 10).map((who) => ({ provider: who, share: 1n })));
    expect(move(policy, chain.providers[10]!).ok).toBe(true);
    const parts = lock(policy)['allocations'] as Row[];
    expect(parts.map((part) => part['provider'])).toEqual(chain.providers.slice(1, 11));
    checkFold(chain);
  });

  test('costs a provider the collateral behind it at most: the price first, the penalty last', () => {
    const policy = create([{ provider, share: 1n }]);
    const { available, locked } = of(provider) as { available: bigint; locked: bigint };
    const taker = of(others[0])['available']!;
    // At this price the collateral is worth less than the liability, and the price may be all of it and more.
    setPrice(chain, 'STX', STX_USD8 / 4n);
    const all = move(policy, others[0], { price: locked + 1n, bounty: 7n, penalty: 9n });
    expect(all.value).toMatchObject({ paid: locked, bounty: 0n, penalty: 0n });
    expect(of(provider)).toMatchObject({ available, locked: 0n });
    expect(of(others[0])['available']! + of(others[0])['locked']!).toBe(taker + locked);

    setPrice(chain, 'STX', STX_USD8);
    const next = create([{ provider, share: 1n }]);
    setPrice(chain, 'STX', STX_USD8 / 4n);
    const nearly = move(next, others[1], { price: locked - 10n, bounty: 7n, penalty: 9n });
    expect(nearly.value).toMatchObject({ paid: locked - 10n, bounty: 7n, penalty: 3n });
    expect(of(provider)).toMatchObject({ available: available - locked, locked: 0n });
    checkFold(chain);
  });

  test('is no way to take more than its liability, a bounty and a penalty, whatever the module asks', () => {
    const policy = create([{ provider, share: 1n }]);
    const { locked } = of(provider) as { locked: bigint };
    const dearest = (MOST * 1_000_000n) / STX_USD8;
    const [bounty, penalty] = [locked / 100n, (locked * 5n) / 100n];
    const most = 2n ** 128n - 1n;
    for (const price of [dearest + 1n, most]) expect(move(policy, others[0], { price }).code).toBe(5031);
    for (const asked of [bounty + 1n, most]) expect(move(policy, others[0], { bounty: asked }).code).toBe(5032);
    for (const asked of [penalty + 1n, most]) expect(move(policy, others[0], { penalty: asked }).code).toBe(5033);
    // Governance can lower both shares to nothing; the module cannot go around that.
    setParams(chain, [['liquidation-bounty-bp', 0n], ['liquidation-penalty-bp', 0n]]);
    expect(move(policy, others[0], { bounty: 1n }).code).toBe(5032);
    expect(move(policy, others[0], { penalty: 1n }).code).toBe(5033);
    setParams(chain, [['liquidation-bounty-bp', 100n], ['liquidation-penalty-bp', 500n]]);
    const before = of(provider)['available']!;
    expect(move(policy, others[0], { price: dearest, bounty, penalty }).value).toMatchObject({ paid: dearest, bounty, penalty });
    expect(of(provider)).toMatchObject({ available: before + locked - dearest - bounty - penalty, locked: 0n });
    checkFold(chain);
  });

  test('takes nothing that is free or asked back', () => {
    const policy = create([{ provider, share: 1n }]);
    const { available, locked } = of(provider) as { available: bigint; locked: bigint };
    const request = vault('request-withdraw', [chain.stx, 'aggressive', available]).value as bigint;
    setPrice(chain, 'STX', STX_USD8 / 4n);
    expect(move(policy, others[0], { price: locked }).value).toMatchObject({ paid: locked });
    expect(of(provider)).toMatchObject({ available, requested: available });
    chain.mineBurn(1);
    expect(vault('withdraw', [request, chain.stx]).transfers.map(({ amount }) => amount)).toEqual([available]);
    expect(of(provider)).toMatchObject({ available: 0n, requested: 0n });
    checkFold(chain);
  });

  test('needs a fresh market price', () => {
    const policy = create([{ provider, share: 1n }]);
    chain.mineBurn(7);
    expect(move(policy, others[0]).code).toBe(3016);
    setPrice(chain, 'STX', STX_USD8);
    expect(move(policy, others[0]).ok).toBe(true);
    checkFold(chain);
  });

  test('needs a taker who can back it at the price of the day and stays healthy', () => {
    const policy = create([{ provider, share: 1n }]);
    // 900 USD at 130% and a 10% haircut need 20,001 STX at this price; the taker has 20,000.
    const low = 6_499_675n;
    expect(model.requiredCollateral(MOST, 6n, low, 13_000n, 1_000n)).toBe(20_001_000_051n);
    setPrice(chain, 'STX', low);
    expect(move(policy, others[0]).code).toBe(5007);
    expect(move(policy, others[0], { price: 2_000_000n }).ok).toBe(true);

    setPrice(chain, 'STX', STX_USD8);
    const again = create([{ provider, share: 1n }]);
    expect(createPolicy(chain, { notional: 5n * NOTIONAL, expiry: chain.burn + 30n, backers: [{ provider: others[1], share: 1n }] }).ok).toBe(true);
    // Enough is free for this one, but the taker's other policies would be short.
    setPrice(chain, 'STX', (STX_USD8 * 19n) / 100n);
    expect(move(again, others[1]).code).toBe(5011);
    setPrice(chain, 'STX', STX_USD8 / 2n);
    expect(move(again, others[1]).ok).toBe(true);
    checkFold(chain);
  });

  test('is refused to itself, after the expiry, without a lock, and to anybody but the module', () => {
    const policy = create([{ provider, share: 1n }]);
    expect(move(policy, provider).code).toBe(5029);
    expect(move(99n, others[0]).code).toBe(5016);
    const expiry = (chain.read('bh-policy', 'get-policy', [policy]) as Row)['expiry-burn'] as bigint;
    expect(moveAllocation(chain, chain.id('bh-vault'), policy, provider, others[0]).code).toBe(5027);
    chain.mineTo(expiry - 1n);
    setPrice(chain, 'STX', STX_USD8);
    expect(move(policy, others[0]).ok).toBe(true);
    chain.mineTo(expiry);
    expect(moveAllocation(chain, liquidator, policy, others[0], others[1]).code).toBe(5030);
    checkFold(chain);
  });

  test('leaves each provider to pay for its own liability only, as far as its own collateral reaches', () => {
    const policy = create([
      { provider, share: 1n },
      { provider: others[0], share: 1n },
    ]);
    // The taker locks twice as much as the provider who stayed.
    setPrice(chain, 'STX', STX_USD8 / 2n);
    expect(move(policy, others[1]).ok).toBe(true);
    const [stayed, taken] = (lock(policy)['allocations'] as Row[]).map((part) => part['collateral'] as bigint) as [bigint, bigint];
    expect(taken).toBe(2n * stayed);
    const expiry = (chain.read('bh-policy', 'get-policy', [policy]) as Row)['expiry-burn'] as bigint;
    // 800 USD due in STX at 0.80: 1,000 STX, half of it more than the one has and less than the other.
    fixExpiry(chain, expiry, { BTC: BTC_USD8 / 10n, STX: (STX_USD8 * 8n) / 20n });
    const { events } = chain.must('bh-policy', 'settle', [policy, chain.stx], chain.stranger);
    const due = 1_000_000_000n;
    expect(due / 2n).toBeGreaterThan(stayed);
    expect(due - due / 2n).toBeLessThan(taken);
    const debited = events.filter(({ topic }) => topic === 'payout.debited').map((row) => row['amt']);
    expect(debited).toEqual([stayed, due - due / 2n]);
    expect(events.at(-1)).toMatchObject({ paid: stayed + due - due / 2n });
    checkFold(chain);
  });
});
