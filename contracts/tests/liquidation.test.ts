import { beforeEach, describe, expect, test } from 'vitest';
import { type Chain, type Row } from './support/chain.ts';
import { checkFold } from './support/fold.ts';
import { closeRound, createPolicy, fixExpiry, setParams, BTC_USD8 } from './support/flow.ts';
import { callOf, endow, LIABILITY, liquidate, margin, overdue, positionOf, pressed, refresh, stxAt, TIER } from './support/margin.ts';

let chain: Chain;
let provider: string;
let taker: string;
let bot: string;
beforeEach(async () => {
  chain = await pressed();
  [provider, taker] = chain.providers as [string, string];
  bot = chain.stranger;
});

const healthOf = (who = provider) => chain.read('bh-liquidation', 'get-health', [who, TIER, chain.stx]) as Row;
const yieldOf = (who: string) => chain.read('bh-vault', 'get-yield', [who, chain.stx]) as bigint;
const fund = () => chain.id('bh-fund');
const issue = (who = provider) => margin(chain, 'issue-margin-call', who);
const escalate = () => margin(chain, 'escalate', provider);
const resolve = (who = provider) => margin(chain, 'resolve-margin-call', who);
const deposit = (amt: bigint, who = provider) => chain.must('bh-vault', 'deposit', [chain.stx, TIER, amt], who);

/** Every amount that exists: what each account and contract owns. */
function owned(): bigint {
  const who = [provider, taker, chain.providers[2]!, bot, chain.buyer, chain.deployer, fund(), chain.id('bh-vault'), chain.id('bh-treasury')];
  return who.reduce((total, account) => total + chain.balance(chain.stx, account), 0n);
}

describe('margin calls', () => {
  test('a healthy position, an empty one and one without liability get none, at any price', () => {
    // 36,000 USD after haircut over 25,920 USD.
    expect(healthOf()).toMatchObject({ 'health-bp': 13_888n, 'is-healthy': true, 'liability-usd8': 2n * LIABILITY });
    expect(issue().code).toBe(9003);
    refresh(chain, { STX: stxAt(50n) });
    expect(issue(taker).code).toBe(9003);
    expect(issue(chain.buyer).code).toBe(9003);
    // A position that backs nothing needs no price at all.
    chain.mineBurn(7);
    expect(issue(taker).code).toBe(9003);
    expect(healthOf(taker)).toMatchObject({ 'health-bp': null, 'is-healthy': true });
    expect(issue().code).toBe(3016);
  });

  test('below the warning ratio the call is soft and says what is missing', () => {
    refresh(chain, { STX: stxAt(97n) });
    const { events } = chain.must('bh-liquidation', 'issue-margin-call', [provider, TIER, chain.stx], bot);
    // 25,920 USD at 135% is 34,992 USD: 20,041.237114 STX at 1.94 USD less a haircut of 10%; there are 20,000.
    expect(events).toEqual([
      expect.objectContaining({
        topic: 'margin-call.issued',
        level: 'soft',
        'health-bp': 13_472n,
        'issued-burn': chain.burn,
        'deadline-burn': chain.burn + 432n,
        capital: 20_000_000_000n,
        deficit: 41_237_114n,
      }),
    ]);
    expect(issue().code).toBe(9005);
    // What was missing, to the unit, ends it.
    deposit(41_237_113n);
    expect(resolve().code).toBe(9004);
    deposit(1n);
    expect(resolve().ok).toBe(true);
    expect(callOf(chain, provider)).toBeNull();
    expect(resolve().code).toBe(9006);
    checkFold(chain);
  });

  test('below the minimum ratio the call is hard at once', () => {
    refresh(chain, { STX: stxAt(93n) });
    issue();
    expect(callOf(chain, provider)).toMatchObject({ level: 'hard', 'deadline-burn': chain.burn + 144n });
    expect(escalate().code).toBe(9007);
  });

  test('a soft call turns hard by a lower price, or when its time is over, and not before', () => {
    refresh(chain, { STX: stxAt(97n) });
    expect(escalate().code).toBe(9006);
    issue();
    expect(escalate().code).toBe(9008);
    refresh(chain, { STX: stxAt(93n) });
    expect(escalate().ok).toBe(true);
    expect(callOf(chain, provider)).toMatchObject({ level: 'hard', call: 1n });
    checkFold(chain);
  });

  test('a soft call that nobody answers turns hard although the minimum ratio holds, and leaves another window', () => {
    refresh(chain, { STX: stxAt(97n) });
    issue();
    const { 'deadline-burn': deadline } = callOf(chain, provider) as { 'deadline-burn': bigint };
    chain.mineTo(deadline - 1n);
    refresh(chain, { STX: stxAt(97n) });
    expect(escalate().code).toBe(9008);
    chain.mineBurn(2);
    expect(escalate().ok).toBe(true);
    refresh(chain, { STX: stxAt(97n) });
    expect(liquidate(chain, 1n, provider, taker).code).toBe(9009);
    chain.mineBurn(145);
    refresh(chain, { STX: stxAt(97n) });
    expect(liquidate(chain, 1n, provider, taker).ok).toBe(true);
    checkFold(chain);
  });

  test('the price alone can end a call, and a later fall makes another one with all its time', () => {
    refresh(chain, { STX: stxAt(93n) });
    issue();
    refresh(chain, { STX: stxAt(99n) });
    expect(issue().code).toBe(9003);
    expect(escalate().code).toBe(9003);
    expect(liquidate(chain, 1n, provider, taker).code).toBe(9003);
    expect(resolve().ok).toBe(true);
    refresh(chain, { STX: stxAt(93n) });
    expect(issue().value).toBe(2n);
    expect(callOf(chain, provider)).toMatchObject({ 'issued-burn': chain.burn });
  });

  test('nothing of it happens at a stale price or at the guardian’s', () => {
    refresh(chain, { STX: stxAt(93n) });
    issue();
    chain.mineBurn(7);
    for (const run of [escalate, resolve, () => liquidate(chain, 1n, provider, taker)]) expect(run().code).toBe(3016);
    chain.must('bh-params', 'trip-breaker', ['oracle', 'test'], chain.guardian);
    chain.must('bh-oracle', 'set-fallback', ['STX', stxAt(10n), 'test'], chain.guardian);
    chain.mineBurn(150);
    chain.must('bh-oracle', 'apply-fallback', ['STX'], bot);
    const blocked = [escalate, resolve, () => liquidate(chain, 1n, provider, taker), () => chain.call('bh-liquidation', 'self-liquidate', [1n], provider)];
    for (const run of blocked) expect(run().code).toBe(3024);
    expect(callOf(chain, provider)).toMatchObject({ level: 'hard' });
  });

  test('capital that is asked back counts, and does not leave during a call', () => {
    const { available } = positionOf(chain, provider) as { available: bigint };
    const request = chain.must('bh-vault', 'request-withdraw', [chain.stx, TIER, available], provider).value as bigint;
    expect(healthOf()).toMatchObject({ 'health-bp': 13_888n });
    refresh(chain, { STX: stxAt(97n) });
    issue();
    chain.mineBurn(1);
    expect(chain.call('bh-vault', 'withdraw', [request, chain.stx], provider).code).toBe(5011);
  });
});

describe('liquidation', () => {
  test('moves one allocation at its fair value, rewards the caller, fines the provider, and ends the call', () => {
    endow(chain, { balance: 1_000_000_000n });
    overdue(chain, 93n);
    const total = owned();
    const [before, takerBefore] = [positionOf(chain, provider), positionOf(chain, taker)] as [Row, Row];
    const { 'fair-usd8': fair } = chain.read('bh-liquidation', 'get-fair-value', [1n, provider]) as { 'fair-usd8': bigint };
    const lock = chain.read('bh-vault', 'get-lock', [1n]) as { allocations: { collateral: bigint }[] };
    const collateral = lock.allocations[0]!.collateral;
    const done = liquidate(chain, 1n, provider, taker);
    expect(done).toMatchObject({ ok: true, value: 1n, transfers: [] });

    const price = (fair * 1_000_000n + stxAt(93n) - 1n) / stxAt(93n);
    const bounty = collateral / 100n;
    const penalty = (collateral * 5n) / 100n;
    const event = done.events.find(({ topic }) => topic === 'position.liquidated')!;
    expect(event).toMatchObject({
      'is-forced': true,
      call: 1n,
      policy: 1n,
      taker,
      'fair-usd8': fair,
      'price-usd8': fair,
      price,
      paid: price,
      bounty,
      'bounty-to': taker,
      penalty,
      'penalty-to': fund(),
      'health-bp-before': 12_916n,
      'collateral-from': collateral,
    });
    expect(positionOf(chain, provider)).toEqual({
      available: (before['available'] as bigint) + collateral - price - bounty - penalty,
      locked: (before['locked'] as bigint) - collateral,
      requested: 0n,
      'liability-usd8': (before['liability-usd8'] as bigint) - (event['liability-usd8'] as bigint),
    });
    const { available, locked } = positionOf(chain, taker) as { available: bigint; locked: bigint };
    expect(available + locked).toBe((takerBefore['available'] as bigint) + price);
    expect(locked).toBe(event['collateral-to']);
    expect([yieldOf(taker), yieldOf(fund())]).toEqual([bounty, penalty]);
    // One of two allocations was enough.
    expect(done.events.at(-1)).toMatchObject({ topic: 'margin-call.resolved', call: 1n });
    expect(callOf(chain, provider)).toBeNull();
    expect(liquidate(chain, 2n, provider, taker).code).toBe(9006);

    expect(chain.must('bh-fund', 'claim-yield', [chain.stx], bot).value).toBe(penalty);
    expect(chain.read('bh-fund', 'get-holding', [chain.stx])).toMatchObject({ balance: 1_000_000_000n + penalty });
    expect(owned()).toBe(total);
    checkFold(chain);
  });

  test('waits for a hard call, for its deadline, and for a later round', () => {
    refresh(chain, { STX: stxAt(93n) });
    expect(liquidate(chain, 1n, provider, taker).code).toBe(9006);
    issue();
    const { 'deadline-burn': deadline } = callOf(chain, provider) as { 'deadline-burn': bigint };
    expect(liquidate(chain, 1n, provider, taker).code).toBe(9009);
    chain.mineTo(deadline - 1n);
    refresh(chain, { STX: stxAt(93n) });
    chain.mineTo(deadline);
    expect(liquidate(chain, 1n, provider, taker).code).toBe(9009);
    chain.mineBurn(1);
    expect(liquidate(chain, 1n, provider, taker).ok).toBe(true);
  });

  test('does not wait for a position that no longer covers its liability, but for a second round', () => {
    refresh(chain, { STX: stxAt(70n) });
    expect(healthOf()).toMatchObject({ 'is-insolvent': true });
    issue();
    expect(liquidate(chain, 1n, provider, taker).code).toBe(9010);
    closeRound(chain, 'STX', stxAt(70n));
    expect(liquidate(chain, 1n, provider, taker).ok).toBe(true);
    checkFold(chain);
  });

  test('a soft call cannot be skipped when the price falls at once', () => {
    refresh(chain, { STX: stxAt(97n) });
    issue();
    refresh(chain, { STX: stxAt(70n) });
    expect(liquidate(chain, 1n, provider, taker).code).toBe(9009);
    escalate();
    expect(liquidate(chain, 1n, provider, taker).code).toBe(9010);
    closeRound(chain, 'STX', stxAt(70n));
    expect(liquidate(chain, 1n, provider, taker).ok).toBe(true);
  });

  test('leaves nobody a policy that they did not ask for', () => {
    overdue(chain);
    expect(liquidate(chain, 1n, provider, taker, { caller: bot }).code).toBe(9011);
    expect(liquidate(chain, 1n, provider, provider).code).toBe(5029);
    expect(liquidate(chain, 1n, taker, bot).code).toBe(9013);
    expect(liquidate(chain, 99n, provider, taker).code).toBe(9012);
    // Nobody else's allocation either.
    expect(liquidate(chain, 1n, provider, chain.buyer).code).toBe(5007);
  });

  test('the taker must stand at its warning ratio afterwards', () => {
    overdue(chain);
    // 12,960 USD at 130% is 10,064.51613 STX at 1.86 USD less the haircut: enough to lock, and not to be healthy.
    deposit(10_064_516_130n, chain.buyer);
    expect(liquidate(chain, 1n, provider, chain.buyer).code).toBe(9015);
    deposit(400_000_000n, chain.buyer);
    expect(liquidate(chain, 1n, provider, chain.buyer).ok).toBe(true);
  });

  test('the taker can refuse to be paid too little', () => {
    overdue(chain);
    const price = 10n ** 15n;
    expect(liquidate(chain, 1n, provider, taker, { minPaid: price }).code).toBe(9014);
  });

  test('switches stop it: its own, and that of deposits, after which a hard window passes', () => {
    overdue(chain);
    for (const name of ['liquidate', 'deposit']) {
      chain.must('bh-params', 'trip-breaker', [name, 'test'], chain.guardian);
      expect(liquidate(chain, 1n, provider, taker).code).toBe(9001);
      chain.must('bh-params', 'reset-breaker', [name, null], chain.deployer);
    }
    expect(liquidate(chain, 1n, provider, taker).code).toBe(9009);
    chain.mineBurn(145);
    refresh(chain, { STX: stxAt(93n) });
    expect(liquidate(chain, 1n, provider, taker).ok).toBe(true);
  });

  test('an expired policy is settled and not sold', () => {
    overdue(chain);
    const { 'expiry-burn': expiry } = chain.read('bh-policy', 'get-policy', [1n]) as { 'expiry-burn': bigint };
    fixExpiry(chain, expiry, { BTC: (BTC_USD8 * 8n) / 10n, STX: stxAt(93n) });
    expect(liquidate(chain, 1n, provider, taker).code).toBe(9012);
    expect(chain.call('bh-policy', 'settle', [1n, chain.stx], bot).ok).toBe(true);
    expect(liquidate(chain, 1n, provider, taker).code).toBe(9012);
    checkFold(chain);
  });

  test('the price is what the option is worth: dear when it pays, never above the liability', () => {
    // BTC at 72,000 USD: 18,000 USD of intrinsic value per BTC, 2,592 USD for the share, a fifth of the liability.
    refresh(chain, { BTC: (BTC_USD8 * 72n) / 100n, STX: stxAt(93n) });
    issue();
    chain.mineBurn(145);
    refresh(chain, { BTC: (BTC_USD8 * 72n) / 100n, STX: stxAt(93n) });
    const done = liquidate(chain, 1n, provider, taker);
    const event = done.events.find(({ topic }) => topic === 'position.liquidated') as Row & { [key: string]: bigint };
    expect(event['fair-usd8']).toBeGreaterThan(2_600_00000000n);
    expect(event['fair-usd8']).toBeLessThan(3_900_00000000n);
    // The owner is paid by the taker now.
    const before = chain.balance(chain.stx, chain.buyer);
    const { 'expiry-burn': expiry } = chain.read('bh-policy', 'get-policy', [1n]) as { 'expiry-burn': bigint };
    fixExpiry(chain, expiry, { BTC: (BTC_USD8 * 72n) / 100n, STX: stxAt(93n) });
    const settled = chain.must('bh-policy', 'settle', [1n, chain.stx], bot);
    expect(settled.events.filter(({ topic }) => topic === 'payout.debited').map((e) => e['provider'])).toEqual([taker]);
    expect(chain.balance(chain.stx, chain.buyer)).toBeGreaterThan(before);
    checkFold(chain);
  });

  test('what an allocation’s collateral cannot pay is not paid: nothing comes out of what is free or behind other policies', () => {
    // Both worth little: STX at 20%, and the policies deep in the money.
    refresh(chain, { BTC: (BTC_USD8 * 40n) / 100n, STX: stxAt(20n) });
    issue();
    closeRound(chain, 'STX', stxAt(20n));
    deposit(60_000_000_000n, taker);
    const total = owned();
    const before = positionOf(chain, provider);
    const done = liquidate(chain, 1n, provider, taker);
    expect(done.code).toBe(0);
    const event = done.events.find(({ topic }) => topic === 'position.liquidated') as Row & { [key: string]: bigint };
    expect(event['paid']).toBeLessThan(event['price'] as bigint);
    expect([event['bounty'], event['penalty']]).toEqual([0n, 0n]);
    const other = chain.read('bh-vault', 'get-lock', [2n]) as { collateral: bigint };
    expect(positionOf(chain, provider)).toMatchObject({ available: before['available'], locked: other.collateral });
    // It is still below, and the other allocation can go as well.
    expect(callOf(chain, provider)).not.toBeNull();
    expect(owned()).toBe(total);
    checkFold(chain);
  });

  test('a provider under a hard call passes an allocation to the fund without penalty or bounty, dearer than to others', () => {
    endow(chain, { maxLiability: 100_000_00000000n, capital: 100_000_000_000n });
    expect(chain.call('bh-liquidation', 'self-liquidate', [1n], provider).code).toBe(9006);
    refresh(chain, { STX: stxAt(97n) });
    issue();
    expect(chain.call('bh-liquidation', 'self-liquidate', [1n], provider).code).toBe(9009);
    refresh(chain, { STX: stxAt(93n) });
    escalate();
    const { 'fair-usd8': fair } = chain.read('bh-liquidation', 'get-fair-value', [1n, provider]) as { 'fair-usd8': bigint };
    const done = chain.must('bh-liquidation', 'self-liquidate', [1n], provider);
    expect(done.events.find(({ topic }) => topic === 'position.liquidated')).toMatchObject({
      'is-forced': false,
      taker: fund(),
      'price-usd8': (fair * 11_000n + 9_999n) / 10_000n,
      bounty: 0n,
      penalty: 0n,
    });
    expect(done.events.find(({ topic }) => topic === 'takeover.recorded')).toMatchObject({ policy: 1n, provider });
    expect(callOf(chain, provider)).toBeNull();
    checkFold(chain);
  });

  test('a liquidation by the fund needs its capital, and pays the bounty to whoever called', () => {
    overdue(chain);
    expect(liquidate(chain, 1n, provider, fund(), { caller: bot }).code).toBe(5007);
    endow(chain, { maxLiability: 100_000_00000000n, capital: 100_000_000_000n });
    expect(liquidate(chain, 1n, provider, fund(), { caller: bot }).ok).toBe(true);
    expect(yieldOf(bot)).toBeGreaterThan(0n);
    expect(chain.must('bh-vault', 'claim-yield', [chain.stx], bot).ok).toBe(true);
    expect(positionOf(chain, fund())).toMatchObject({ 'liability-usd8': LIABILITY });
    checkFold(chain);
  });

  test('bounties pay nothing to a provider who calls on itself through another account', () => {
    overdue(chain);
    setParams(chain, [['liquidation-penalty-bp', 0n]]);
    const wealth = (who: string) => {
      const { available, locked } = positionOf(chain, who) as { available: bigint; locked: bigint };
      return available + locked + yieldOf(who);
    };
    const before = wealth(provider) + wealth(taker);
    liquidate(chain, 1n, provider, taker);
    expect(wealth(provider) + wealth(taker)).toBe(before);
  });

  test('an allocation that the taker already has in the policy grows, and the others stay', () => {
    const backers = [provider, taker, chain.providers[2]!].map((who) => ({ provider: who, share: 1n }));
    const policy = createPolicy(chain, { expiry: chain.burn + 2_002n, backers }).value as bigint;
    overdue(chain);
    expect(liquidate(chain, policy, provider, taker).ok).toBe(true);
    const lock = chain.read('bh-vault', 'get-lock', [policy]) as { allocations: Row[] };
    expect(new Map(lock.allocations.map((row) => [row['provider'], row['liability-usd8']]))).toEqual(
      new Map([
        [taker, 600_00000000n],
        [chain.providers[2]!, 300_00000000n],
      ]),
    );
    // A small allocation does not heal the position, whose call stays open.
    expect(callOf(chain, provider)).toMatchObject({ level: 'hard' });
    expect(liquidate(chain, policy, provider, taker).code).toBe(9013);
    checkFold(chain);
  });
});
