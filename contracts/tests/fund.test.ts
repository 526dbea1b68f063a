import { beforeEach, describe, expect, test } from 'vitest';
import { Chain, fixture, type Outcome, type Row } from './support/chain.ts';
import { checkFold } from './support/fold.ts';
import { createPolicy, fixExpiry, market, setParams, BTC_USD8, STX_USD8 } from './support/flow.ts';
import { endow, LIABILITY, liquidate, overdue, positionOf, pressed, refresh, stxAt, TIER } from './support/margin.ts';

let chain: Chain;
let donor: string;
let fund: string;
const HASH = new Uint8Array(32);

const call = (fn: string, args: Parameters<Chain['call']>[2], who = donor): Outcome => chain.call('bh-fund', fn, args, who);
const holding = (token = chain.stx) => chain.read('bh-fund', 'get-holding', [token]) as { balance: bigint; cover: bigint };
const stateOf = () => chain.read('bh-fund', 'get-state', [chain.stx]);
const unpaidOf = (policy: bigint) => (chain.read('bh-policy', 'get-policy', [policy]) as Row)['unpaid-usd8'] as bigint;
const event = (outcome: Outcome, topic: string) => outcome.events.find((printed) => printed.topic === topic);

/**
 * A market whose policy 1 its collateral could not pay: 400 USD are due, and its 650 STX are worth 0.50 USD each. 75 USD
 * stay unpaid, 150 STX.
 */
function shortfall(): Promise<Chain> {
  return Chain.reuse('shortfall', async () => {
    const built = await market();
    const expiry = built.burn + 3n;
    createPolicy(built, { expiry });
    fixExpiry(built, expiry, { BTC: BTC_USD8 / 2n, STX: STX_USD8 / 4n });
    built.must('bh-policy', 'settle', [1n, built.stx], built.stranger);
    return built;
  });
}
const UNPAID = 150_000_000n;

describe('money in and out', () => {
  beforeEach(async () => {
    chain = await market();
    donor = chain.stranger;
    fund = chain.id('bh-fund');
  });

  test.each(['stx', 'sbtc'] as const)('takes gifts in %s', (name) => {
    const token = chain[name];
    const gift = call('capitalize', [token, 5_000n]);
    expect(gift.transfers).toEqual([
      { asset: name === 'stx' ? 'STX' : token, amount: 5_000n, sender: donor, recipient: fund },
    ]);
    expect(gift.events[0]).toMatchObject({ topic: 'fund.capitalized', kind: 'gift', 'balance-before': 0n, 'balance-after': 5_000n });
    expect(call('capitalize', [token, 1n]).ok).toBe(true);
    expect(holding(token)).toEqual({ balance: 5_001n, cover: 0n });
    checkFold(chain);
  });

  test('takes the reserve’s fees, its share of the treasury, and what somebody just sent', () => {
    createPolicy(chain);
    const { 'reserve-fees': reserve, 'platform-fees': platform } = chain.read('bh-vault', 'get-buckets', [chain.stx]) as {
      [key: string]: bigint;
    };
    expect(call('collect', [chain.stx]).value).toBe(reserve);
    expect(call('collect', [chain.stx]).code).toBe(5003);
    chain.must('bh-treasury', 'collect', [chain.stx], donor);
    chain.must(
      'bh-treasury',
      'set-allocations',
      [[{ name: 'insurance', receiver: fund, 'share-bp': 10_000n }], null],
      chain.deployer,
    );
    chain.must('bh-treasury', 'distribute', [chain.stx], donor);
    expect(call('claim-share', [chain.stx]).value).toBe(platform);
    chain.must('bh-stx', 'transfer', [77n, donor, fund, null], donor);
    expect(call('absorb', [chain.stx]).value).toBe(77n);
    expect(call('absorb', [chain.stx]).code).toBe(8022);
    expect(holding().balance).toBe(reserve! + platform! + 77n);
    expect(chain.balance(chain.stx, fund)).toBe(holding().balance);
    checkFold(chain);
  });

  test('takes no token that the table does not know, and not more than it is given', () => {
    const token = chain.deploy('greedy-token', fixture('greedy-token'));
    expect(call('capitalize', [token, 1n]).code).toBe(8003);
    expect(call('absorb', [token]).code).toBe(8003);
    const row = { asset: 'BTC', 'asset-name': 'greedy', native: false, decimals: 8n, 'haircut-bp': 0n, cap: 1_000n, active: true };
    chain.must('bh-params', 'set-token', [token, row, null], chain.deployer);
    chain.must(token, 'mint', [100n, donor], donor);
    chain.must(token, 'set-greed', [2n], donor);
    expect(call('capitalize', [token, 20n]).code).toBe(8006);
    chain.must(token, 'set-greed', [1n], donor);
    expect(call('capitalize', [token, 100n]).ok).toBe(true);
    // Nor gives more than it pays: the token cannot take twice what goes to the vault.
    chain.must(token, 'set-greed', [2n], donor);
    expect(call('allocate', [token, TIER, 40n], chain.deployer).ok).toBe(false);
    expect(holding(token)).toEqual({ balance: 100n, cover: 0n });
    checkFold(chain);
  });

  test('puts only what is not promised into the vault, takes no policies there, and gets it back', () => {
    endow(chain, { balance: 1_000n, left: 400n });
    expect(call('allocate', [chain.stx, TIER, 601n], chain.deployer).code).toBe(8010);
    chain.must('bh-registry', 'grant-role', ['fund-manager', donor, { some: chain.burn + 1n }], chain.deployer);
    const placed = call('allocate', [chain.stx, TIER, 600n]);
    expect(placed.transfers).toEqual([{ asset: 'STX', amount: 600n, sender: fund, recipient: chain.id('bh-vault') }]);
    expect(positionOf(chain, fund)).toMatchObject({ available: 600n });
    expect(chain.read('bh-vault', 'is-auto-match', [fund])).toBe(false);
    expect(createPolicy(chain, { backers: [{ provider: fund, share: 1n }] }).code).toBe(5017);
    const request = call('request-release', [chain.stx, TIER, 250n]).value as bigint;
    chain.mineBurn(2);
    // The role has ended; what was asked for still comes back, whoever calls.
    expect(call('request-release', [chain.stx, TIER, 1n]).code).toBe(8002);
    expect(call('allocate', [chain.stx, TIER, 1n]).code).toBe(8002);
    const back = call('release', [request, chain.stx]);
    expect(back.value).toBe(250n);
    expect(back.transfers).toEqual([{ asset: 'STX', amount: 250n, sender: chain.id('bh-vault'), recipient: fund }]);
    expect(call('release', [request, chain.stx]).code).toBe(5008);
    expect(holding()).toEqual({ balance: 650n, cover: 400n });
    checkFold(chain);
  });

  test('nobody else’s request can be released into the fund', () => {
    const provider = chain.providers[0]!;
    const request = chain.must('bh-vault', 'request-withdraw', [chain.stx, TIER, 10n], provider).value as bigint;
    chain.mineBurn(1);
    expect(call('release', [request, chain.stx]).code).toBe(5009);
  });
});

describe('state', () => {
  beforeEach(async () => {
    chain = await market();
    donor = chain.stranger;
    fund = chain.id('bh-fund');
  });
  const promise = (left: bigint) => chain.must('bh-fund', 'set-coverage', [TIER, chain.stx, left, 0n, null], chain.deployer);

  test('follows what is promised over what is there, and says when it changes', () => {
    expect(stateOf()).toBe('normal');
    expect(event(promise(1n), 'fund.status-changed')).toMatchObject({ before: 'normal', state: 'critical', 'used-bp': 1_000_000n });
    expect(event(call('capitalize', [chain.stx, 2n]), 'fund.status-changed')).toMatchObject({ state: 'warning', 'used-bp': 5_000n });
    expect(event(call('capitalize', [chain.stx, 1n]), 'fund.status-changed')).toMatchObject({ state: 'normal', 'used-bp': 3_333n });
    expect(event(call('capitalize', [chain.stx, 1n]), 'fund.status-changed')).toBeUndefined();
    promise(4n);
    expect(stateOf()).toBe('critical');
    checkFold(chain);
  });

  test('a fund that promised more than it has stops new policies', () => {
    expect(createPolicy(chain).ok).toBe(true);
    promise(10_000n);
    expect(chain.read('bh-params', 'is-tripped', ['create'])).toBe(true);
    expect(createPolicy(chain).code).toBe(6001);
    call('capitalize', [chain.stx, 20_000n]);
    chain.must('bh-params', 'reset-breaker', ['create', null], chain.deployer);
    expect(createPolicy(chain).ok).toBe(true);
    checkFold(chain);
  });

  test('a recovery plan runs until its target or its end', () => {
    const start = (target: bigint, duration: bigint) =>
      call('start-recovery', [chain.stx, target, duration, { some: 7n }], chain.deployer);
    expect(start(0n, 10n).code).toBe(8019);
    expect(start(1n, 0n).code).toBe(8019);
    expect(start(1n, 52_561n).code).toBe(8019);
    const started = start(100n, 10n);
    expect(started.events.map(({ topic }) => topic)).toEqual(
      expect.arrayContaining(['recovery.started', 'fund.status-changed']),
    );
    expect(event(started, 'recovery.started')).toMatchObject({ proposal: 7n, target: 100n, 'ends-burn': chain.burn + 10n });
    expect(stateOf()).toBe('recovery');
    expect(start(1n, 1n).code).toBe(8017);
    expect(call('contribute', [1n, chain.stx, 40n]).ok).toBe(true);
    expect(call('contribute', [1n, chain.stx, 61n]).code).toBe(8020);
    expect(call('complete-recovery', [1n]).code).toBe(8021);
    expect(call('contribute', [1n, chain.stx, 60n]).ok).toBe(true);
    expect(call('complete-recovery', [1n])).toMatchObject({ ok: true, value: true });
    expect(stateOf()).toBe('normal');
    expect(call('complete-recovery', [1n]).code).toBe(8018);
    expect(call('contribute', [1n, chain.stx, 1n]).code).toBe(8018);
    expect(holding().balance).toBe(100n);

    start(50n, 2n);
    chain.mineBurn(2);
    expect(call('contribute', [2n, chain.stx, 1n]).ok).toBe(true);
    expect(call('complete-recovery', [2n]).code).toBe(8021);
    chain.mineBurn(1);
    expect(call('contribute', [2n, chain.stx, 1n]).code).toBe(8020);
    expect(call('complete-recovery', [2n])).toMatchObject({ ok: true, value: false });
    expect(chain.read('bh-fund', 'get-plan', [2n])).toMatchObject({ state: 'failed', raised: 1n });
    checkFold(chain);
  });
});

describe('shortfalls', () => {
  const policy = 1n;
  beforeEach(async () => {
    chain = await shortfall();
    donor = chain.stranger;
    fund = chain.id('bh-fund');
    expect(unpaidOf(policy)).toBe(75_00000000n);
  });
  const cover = (token = chain.stx) => call('cover-shortfall', [policy, token]);

  test('are paid in full to the owner while every limit allows it, once', () => {
    endow(chain, { balance: 1_000_000_000n, left: 500_000_000n });
    const paid = cover();
    expect(paid.value).toBe(UNPAID);
    expect(paid.transfers).toEqual([{ asset: 'STX', amount: UNPAID, sender: fund, recipient: chain.buyer }]);
    expect(event(paid, 'shortfall.covered')).toMatchObject({
      policy,
      owner: chain.buyer,
      usd8: 75_00000000n,
      'price-usd8': STX_USD8 / 4n,
      'unpaid-usd8-after': 0n,
      'left-after': 350_000_000n,
      'cover-after': 350_000_000n,
      'balance-after': 850_000_000n,
    });
    expect(cover().code).toBe(8008);
    expect(unpaidOf(policy)).toBe(0n);
    checkFold(chain);
  });

  test('stop at the policy’s cap however often one asks, until the fund has more', () => {
    endow(chain, { balance: 400_000_000n, left: 400_000_000n });
    // A quarter of 400 STX, 50 USD.
    expect(cover().value).toBe(100_000_000n);
    expect(unpaidOf(policy)).toBe(25_00000000n);
    expect(cover().code).toBe(8009);
    call('capitalize', [chain.stx, 40_000_000n]);
    expect(cover().value).toBe(10_000_000n);
    expect(cover().code).toBe(8009);
    checkFold(chain);
  });

  test('stop at the tier’s cover and at the fund’s balance', () => {
    endow(chain, { balance: 1_000_000_000n, left: 60_000_001n });
    expect(cover().value).toBe(60_000_001n);
    // A third of a cent counts as a whole unit of usd8, against the owner.
    expect(unpaidOf(policy)).toBe(75_00000000n - 30_00000050n);
    expect(cover().code).toBe(8009);
    setParams(chain, [['fund-event-cap-bp', 10_000n]]);
    endow(chain, { left: 10n ** 12n });
    chain.must('bh-fund', 'capitalize', [chain.sbtc, 10n], donor);
    expect(cover().value).toBe(UNPAID - 60_000_001n);
    checkFold(chain);
  });

  test('need cover of that tier in that token', () => {
    chain.must('bh-fund', 'capitalize', [chain.stx, 10n ** 9n], donor);
    expect(cover().code).toBe(8009);
    chain.must('bh-fund', 'set-coverage', ['balanced', chain.stx, 10n ** 9n, 0n, null], chain.deployer);
    expect(cover().code).toBe(8009);
    // Another token than the policy's can pay as well, at its own price: 75 USD at 50,000 USD.
    chain.must('bh-fund', 'capitalize', [chain.sbtc, 10n ** 8n], donor);
    chain.must('bh-fund', 'set-coverage', [TIER, chain.sbtc, 10n ** 8n, 0n, null], chain.deployer);
    expect(cover(chain.sbtc).value).toBe(150_000n);
    expect(unpaidOf(policy)).toBe(0n);
    checkFold(chain);
  });

  test('an approved claim lifts the policy’s cap up to what was approved, and nothing else', () => {
    endow(chain, { balance: 160_000_000n, left: 140_000_000n });
    // A quarter of 160 STX, 20 USD.
    expect(cover().value).toBe(40_000_000n);
    chain.must('bh-policy', 'open-claim', [policy, HASH], chain.buyer);
    expect(cover().code).toBe(8009);
    chain.must('bh-registry', 'grant-role', ['arbiter', donor, null], chain.deployer);
    chain.must('bh-policy', 'resolve-claim', [policy, 30_00000000n, HASH], donor);
    expect(cover().value).toBe(60_000_000n);
    expect(cover().code).toBe(8009);
    expect(unpaidOf(policy)).toBe(25_00000000n);
    checkFold(chain);
  });

  test('a claim opens neither the tier’s cover nor the balance', () => {
    endow(chain, { balance: 160_000_000n, left: 70_000_000n });
    chain.must('bh-policy', 'open-claim', [policy, HASH], chain.buyer);
    chain.must('bh-registry', 'grant-role', ['arbiter', donor, null], chain.deployer);
    chain.must('bh-policy', 'resolve-claim', [policy, 75_00000000n, HASH], donor);
    expect(cover().value).toBe(70_000_000n);
    expect(cover().code).toBe(8009);
    checkFold(chain);
  });

  test('are not paid at a stale price, at the guardian’s, or while the switch is off', () => {
    endow(chain, { balance: 1_000_000_000n, left: 500_000_000n });
    chain.must('bh-params', 'trip-breaker', ['cover', 'test'], chain.guardian);
    expect(cover().code).toBe(8007);
    chain.must('bh-params', 'reset-breaker', ['cover', null], chain.deployer);
    chain.mineBurn(7);
    expect(cover().code).toBe(3016);
    chain.must('bh-params', 'trip-breaker', ['oracle', 'test'], chain.guardian);
    chain.must('bh-oracle', 'set-fallback', ['STX', 1n, 'test'], chain.guardian);
    chain.mineBurn(144);
    chain.must('bh-oracle', 'apply-fallback', ['STX'], donor);
    expect(cover().code).toBe(3024);
  });

  test('need something unpaid', () => {
    expect(call('cover-shortfall', [99n, chain.stx]).code).toBe(8008);
    refresh(chain);
    const live = createPolicy(chain).value as bigint;
    expect(call('cover-shortfall', [live, chain.stx]).code).toBe(8008);
  });
});

describe('take-overs', () => {
  const CAPITAL = 100_000_000_000n;
  let provider: string;
  beforeEach(async () => {
    chain = await pressed();
    provider = chain.providers[0]!;
    donor = chain.stranger;
    fund = chain.id('bh-fund');
  });
  const take = (policy = 1n) => liquidate(chain, policy, provider, fund, { caller: donor });

  test('bind the fund’s capital in the vault, up to the liability that governance allows', () => {
    endow(chain, { capital: CAPITAL, maxLiability: LIABILITY - 1n });
    overdue(chain);
    expect(take().code).toBe(8013);
    endow(chain, { maxLiability: LIABILITY });
    const taken = take();
    expect(event(taken, 'takeover.recorded')).toMatchObject({
      policy: 1n,
      provider,
      'liability-usd8': LIABILITY,
      'taken-usd8-after': LIABILITY,
    });
    expect(chain.read('bh-fund', 'get-takeover', [1n])).toMatchObject({ 'liability-usd8': LIABILITY });
    checkFold(chain);
  });

  test('are refused shortly before expiry', () => {
    endow(chain, { capital: CAPITAL, maxLiability: 10n ** 15n });
    const { 'expiry-burn': expiry } = chain.read('bh-policy', 'get-policy', [1n]) as { 'expiry-burn': bigint };
    refresh(chain, { STX: stxAt(93n) });
    chain.must('bh-liquidation', 'issue-margin-call', [provider, TIER, chain.stx], donor);
    chain.mineTo(expiry - 143n);
    refresh(chain, { STX: stxAt(93n) });
    expect(take().code).toBe(8014);
    // One block more to go for the other policy.
    expect(take(2n).ok).toBe(true);
    checkFold(chain);
  });

  test('are refused where the position cannot pay the whole price', () => {
    endow(chain, { capital: 10n * CAPITAL, maxLiability: 10n ** 15n });
    refresh(chain, { BTC: (BTC_USD8 * 40n) / 100n, STX: stxAt(20n) });
    chain.must('bh-liquidation', 'issue-margin-call', [provider, TIER, chain.stx], donor);
    refresh(chain, { BTC: (BTC_USD8 * 40n) / 100n, STX: stxAt(20n) });
    expect(take().code).toBe(8015);
    expect(chain.call('bh-liquidation', 'self-liquidate', [1n], provider).code).toBe(8015);
  });

  test('bind at most the event’s share of the capital in one policy', () => {
    // 10,064.51613 STX are to be locked: a quarter of 40,258.06452.
    overdue(chain);
    endow(chain, { capital: 40_000_000_000n, maxLiability: 10n ** 15n });
    expect(take().code).toBe(8016);
    endow(chain, { capital: 300_000_000n, maxLiability: 10n ** 15n });
    expect(take().ok).toBe(true);
    checkFold(chain);
  });

  test('are refused while the fund has promised more than it has', () => {
    endow(chain, { capital: CAPITAL, maxLiability: 10n ** 15n, left: 1n, balance: 2n });
    overdue(chain);
    endow(chain, { maxLiability: 10n ** 15n, left: 2n });
    expect(take().code).toBe(8011);
  });

  test('earn the fund the rest of the premium, and free its capital at the end', () => {
    endow(chain, { capital: CAPITAL, maxLiability: LIABILITY });
    overdue(chain);
    chain.must('bh-liquidation', 'liquidate', [1n, provider, fund, 0n], donor);
    const { 'expiry-burn': expiry } = chain.read('bh-policy', 'get-policy', [1n]) as { 'expiry-burn': bigint };
    fixExpiry(chain, expiry, { BTC: BTC_USD8, STX: stxAt(93n) });
    const settled = chain.must('bh-policy', 'settle', [1n, chain.stx], donor);
    expect(settled.events.find(({ topic }) => topic === 'premium.earned')).toMatchObject({ provider: fund });
    const { available, locked } = positionOf(chain, fund) as { available: bigint; locked: bigint };
    expect(locked).toBe(0n);
    // The price of the take-over stays with the fund.
    expect(available).toBeGreaterThan(CAPITAL);
    expect(call('claim-yield', [chain.stx]).ok).toBe(true);
    const request = call('request-release', [chain.stx, TIER, available], chain.deployer).value as bigint;
    chain.mineBurn(1);
    expect(call('release', [request, chain.stx]).value).toBe(available);
    expect(chain.balance(chain.stx, fund)).toBe(holding().balance);
    checkFold(chain);
  });

  test('only the liquidation module records them', () => {
    const moved = { tier: TIER, token: chain.stx, 'expiry-burn': 10_000n, 'liability-usd8': 1n, collateral: 0n, price: 0n, paid: 0n };
    for (const who of [donor, chain.deployer, chain.guardian, provider]) {
      expect(call('record-takeover', [1n, provider, moved], who).code).toBe(8012);
    }
  });
});
