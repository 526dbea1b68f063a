import { createHash } from 'node:crypto';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { Chain, fixture, STATEFUL, type ClarityArgument, type Outcome, type Row } from './support/chain.ts';
import { documentCosts, documentedCosts, shares, type Shares } from './support/costs.ts';
import { closeRound, createPolicy, fixExpiry, market, nextRound, setPrice, BTC_USD8, STX_USD8 } from './support/flow.ts';
import { action, MILLION, setsParam, QUICK, type Action } from './support/govern.ts';
import { endow, liquidate, margin, refresh, stxAt, TIER } from './support/margin.ts';
import { leafHash } from './support/merkle.ts';
import { replaceModule } from './support/modules.ts';

/** What the worst case of a function is, where it is not just any call. */
const WORST: Record<string, string> = {
  'bh-registry.bootstrap': 'nine modules',
  'bh-params.bootstrap': 'every row',
  'bh-params.set-params': '24 parameters',
  'bh-oracle.bootstrap': '8 assets, 10 providers',
  'bh-oracle.submit-price': 'the tenth of a round',
  'bh-oracle.close-round': '10 submissions',
  'bh-oracle.apply-fallback': 'rejects a round of 10',
  'bh-vault.withdraw': 'of a position that backs policies',
  'bh-vault.change-tier': 'of a position that backs policies',
  'bh-treasury.set-allocations': '10 receivers',
  'bh-treasury.distribute': '10 receivers',
  'bh-policy.create-policy': '10 allocations, a discount',
  'bh-policy.settle': '10 allocations that pay',
  'bh-policy.settle-many': '20 policies of 10 allocations that pay',
  'bh-policy.exercise': '10 allocations',
  'bh-policy.cancel': '10 allocations',
  'bh-liquidation.liquidate': '10 allocations, to the fund',
  'bh-liquidation.self-liquidate': '10 allocations',
  'bh-incentives.claim': 'a proof of 20 hashes',
  'bh-gov.propose': '8 actions of 24 parameters',
  'bh-gov.execute': '8 actions of 24 parameters',
};

/** Public functions that modules call, not wallets; their cost is in their callers'. */
const INSIDE = [
  'bh-registry.step-migration',
  'bh-params.report-metric',
  'bh-vault.lock',
  'bh-vault.settle',
  'bh-vault.refund',
  'bh-vault.move-allocation',
  'bh-vault.collect-fees',
  'bh-treasury.use-discount',
  'bh-treasury.draw-program',
  'bh-policy.reduce-unpaid',
  'bh-fund.record-takeover',
];

/** The dearest call of each function so far. */
const measured = new Map<string, Shares>();
let chain: Chain;

const HASH = new Uint8Array(32).fill(7);
const gov = (contract: string, fn: string, args: ClarityArgument[]) => chain.must(contract, fn, args, chain.deployer);
const anyone = (contract: string, fn: string, args: ClarityArgument[]) => chain.must(contract, fn, args, chain.stranger);
const everybody = () => chain.providers.map((provider) => ({ provider, share: 1n }));

beforeAll(async () => {
  const call = Chain.prototype.call;
  vi.spyOn(Chain.prototype, 'call').mockImplementation(function (this: Chain, contract, fn, args, sender): Outcome {
    const outcome = call.call(this, contract, fn, args, sender);
    if (outcome.ok && outcome.costs) {
      const name = `${contract}.${fn}`;
      const before = measured.get(name);
      measured.set(name, shares(outcome.costs).map((share, i) => Math.max(share, before?.[i] ?? 0)));
    }
    return outcome;
  });
  await bootstrapsOfMost();
  chain = await market({ extraProviders: 7, trackCosts: true, tiers: ['balanced', 'aggressive'] });
  registry();
  params();
  oracle();
  policies();
  claims();
  treasuryAndFund();
  liquidation();
  incentives();
  succession();
  governance();
}, 600_000);

afterAll(() => {
  vi.restoreAllMocks();
});

/** The bootstrap calls with as many rows as they take. */
async function bootstrapsOfMost(): Promise<void> {
  const empty = await Chain.create({ extraProviders: 7, trackCosts: true });
  empty.must('bh-registry', 'bootstrap', [empty.guardian], empty.deployer);
  empty.must('bh-params', 'bootstrap', [empty.sbtc], empty.deployer);
  const assets = Array.from({ length: 8 }, (_, i) => ({ asset: `ASSET-${i}`, insurable: true, 'reference-usd8': 1n }));
  const feeders = empty.providers.map((provider) => ({ provider, weight: 1n }));
  empty.must('bh-oracle', 'bootstrap', [assets, feeders], empty.deployer);
}

function registry(): void {
  const module = chain.deploy('module', fixture('module'));
  const hash = chain.codeHash(module);
  gov('bh-registry', 'grant-role', ['keeper', chain.feeders[0], null]);
  gov('bh-registry', 'grant-role', ['arbiter', chain.guardian, null]);
  gov('bh-registry', 'grant-role', ['helper', chain.guardian, { some: chain.burn + 1n }]);
  gov('bh-registry', 'grant-role', ['helper', chain.stranger, null]);
  gov('bh-registry', 'revoke-role', ['helper', chain.stranger]);
  for (const name of ['one', 'two']) gov('bh-registry', 'register-module', [name, 1n, module, hash]);
  const migration = gov('bh-registry', 'begin-migration', ['one', 1n]).value as bigint;
  gov('bh-registry', 'finish-migration', [migration, new Uint8Array(32)]);
  gov('bh-registry', 'deprecate-module', ['two', 1n]);
  chain.mineBurn(2_016);
  anyone('bh-registry', 'expire-role', ['helper', chain.guardian]);
  gov('bh-registry', 'activate-module', ['one', 1n]);
  gov('bh-registry', 'stand-for-governance', []);
  gov('bh-registry', 'handover', [chain.deployer]);
  refresh(chain);
}

/** As many changes of parameters as one call takes, to the values that they have. */
function changes(): Row[] {
  const keys = chain.events.filter(({ topic }) => topic === 'param.set').map((row) => String(row['key']));
  const values = new Map(keys.map((key) => [key, chain.read('bh-params', 'get-param', [key]) as bigint]));
  return [...values].slice(0, 24).map(([key, value]) => ({ key, value }));
}

function params(): void {
  gov('bh-params', 'set-params', [changes() as ClarityArgument[], null]);
  gov('bh-params', 'add-param', ['another', 'burn', 1n, 1n, 1n, null]);
  gov('bh-params', 'add-switch', ['another', null]);
  gov('bh-params', 'set-flag', ['another', false, null]);
  chain.must('bh-params', 'trip-breaker', ['another', 'x'.repeat(64)], chain.guardian);
  gov('bh-params', 'reset-breaker', ['another', null]);
  gov('bh-params', 'set-metric', ['another', 'fund', 1n, 'another', null]);
  const tier = chain.read('bh-params', 'get-tier', ['aggressive']) as { [key: string]: bigint | boolean };
  gov('bh-params', 'set-tier', ['aggressive', tier, null]);
  const token = chain.read('bh-params', 'get-token', [chain.stx]) as { [key: string]: bigint | boolean | string };
  gov('bh-params', 'set-token', [chain.stx, token, null]);
  gov('bh-params', 'set-fees', [9_000n, 600n, 400n, null]);
}

function oracle(): void {
  gov('bh-oracle', 'set-asset', ['STX', false, STX_USD8, true]);
  const others = chain.providers.slice(0, 7);
  for (const provider of others) gov('bh-oracle', 'set-provider', [provider, 1n]);
  const submit = () => {
    const round = nextRound(chain, 'BTC');
    // Each is dearer than the one before, which moves every submission.
    [...chain.feeders, ...others].forEach((feeder, i) =>
      chain.must('bh-oracle', 'submit-price', ['BTC', round, BTC_USD8 - BigInt(i), chain.burn], feeder),
    );
    return round;
  };
  anyone('bh-oracle', 'close-round', ['BTC', submit()]);
  submit();
  chain.must('bh-params', 'trip-breaker', ['oracle', 'test'], chain.guardian);
  const announce = () => chain.must('bh-oracle', 'set-fallback', ['BTC', BTC_USD8, 'x'.repeat(64)], chain.guardian);
  announce();
  chain.must('bh-oracle', 'cancel-fallback', ['BTC'], chain.guardian);
  announce();
  chain.mineBurn(144);
  anyone('bh-oracle', 'apply-fallback', ['BTC']);
  gov('bh-params', 'reset-breaker', ['oracle', null]);
  for (const provider of others) gov('bh-oracle', 'set-provider', [provider, 0n]);
  refresh(chain);
}

function policies(): void {
  const [provider] = chain.providers as [string];
  gov('bh-treasury', 'set-discount', [chain.buyer, 1_000n, chain.burn + 100n, null]);
  const expiry = chain.burn + 40n;
  const make = (style: 'american' | 'european' = 'european') => createPolicy(chain, { expiry, style, backers: everybody() });
  const created = Array.from({ length: 21 }, () => make());
  const [early, late] = [make('american'), make('american')];
  expect([...created, early, late].map(({ code }) => code)).toEqual(Array(23).fill(0));
  chain.must('bh-policy', 'cancel', [late.value as bigint, chain.stx], chain.buyer);
  chain.must('bh-vault', 'set-auto-match', [true], provider);
  chain.must('bh-vault', 'change-tier', [chain.stx, 'aggressive', 'balanced', 5n], provider);
  const request = chain.must('bh-vault', 'request-withdraw', [chain.stx, 'aggressive', 5n], provider).value as bigint;
  chain.mineBurn(1);
  setPrice(chain, 'BTC', (BTC_USD8 * 8n) / 10n);
  closeRound(chain, 'STX', STX_USD8);
  chain.must('bh-vault', 'withdraw', [request, chain.stx], provider);
  chain.must('bh-policy', 'exercise', [early.value as bigint, chain.stx], chain.buyer);
  fixExpiry(chain, expiry, { BTC: (BTC_USD8 * 8n) / 10n, STX: STX_USD8 });
  const [alone, ...rest] = created.map(({ value }) => value as bigint);
  anyone('bh-policy', 'settle', [alone!, chain.stx]);
  const settled = anyone('bh-policy', 'settle-many', [rest.map((policy) => ({ policy, token: chain.stx }))]);
  expect((settled.value as Row[]).every((item) => item['error'] === 0n)).toBe(true);
  expect(settled.events.filter(({ topic }) => topic === 'payout.debited')).toHaveLength(200);
  chain.must('bh-vault', 'claim-yield', [chain.stx], provider);
  refresh(chain);
}

/** A policy whose collateral did not suffice, and the claim on the rest. */
function claims(): void {
  const expiry = chain.burn + 3n;
  const policy = createPolicy(chain, { expiry, backers: everybody() }).value as bigint;
  fixExpiry(chain, expiry, { BTC: BTC_USD8 / 2n, STX: STX_USD8 / 4n });
  anyone('bh-policy', 'settle', [policy, chain.stx]);
  chain.must('bh-policy', 'open-claim', [policy, HASH], chain.buyer);
  chain.must('bh-policy', 'resolve-claim', [policy, 1n, HASH], chain.guardian);
  endow(chain, { balance: 10n ** 9n, left: 10n ** 9n });
  anyone('bh-fund', 'cover-shortfall', [policy, chain.stx]);
  refresh(chain);
}

function treasuryAndFund(): void {
  const fund = chain.id('bh-fund');
  anyone('bh-treasury', 'collect', [chain.stx]);
  anyone('bh-treasury', 'contribute', [chain.stx, 10n ** 9n]);
  const receivers = [fund, chain.id('bh-treasury'), ...chain.providers.slice(0, 8)];
  const rows = receivers.map((receiver, i) => ({ name: `receiver-${i}`, receiver, 'share-bp': 1_000n }));
  gov('bh-treasury', 'set-allocations', [rows, null]);
  anyone('bh-treasury', 'distribute', [chain.stx]);
  chain.must('bh-treasury', 'claim-share', [chain.stx], chain.providers[0]!);
  gov('bh-treasury', 'spend', [chain.stx, chain.stranger, 5n, null]);
  gov('bh-treasury', 'fund-program', [1n, chain.stx, 5n, null]);
  gov('bh-treasury', 'unfund-program', [1n, chain.stx, null]);
  gov('bh-treasury', 'fund-program', [1n, chain.stx, 5n, null]);
  anyone('bh-stx', 'transfer', [5n, chain.stranger, chain.id('bh-treasury'), null]);
  anyone('bh-treasury', 'absorb', [chain.stx]);

  anyone('bh-fund', 'collect', [chain.stx]);
  anyone('bh-fund', 'claim-share', [chain.stx]);
  anyone('bh-stx', 'transfer', [5n, chain.stranger, fund, null]);
  anyone('bh-fund', 'absorb', [chain.stx]);
  gov('bh-fund', 'allocate', [chain.stx, 'balanced', 5n]);
  const request = gov('bh-fund', 'request-release', [chain.stx, 'balanced', 5n]).value as bigint;
  chain.mineBurn(1);
  anyone('bh-fund', 'release', [request, chain.stx]);
  const plan = gov('bh-fund', 'start-recovery', [chain.stx, 5n, 1_000n, null]).value as bigint;
  anyone('bh-fund', 'contribute', [plan, chain.stx, 5n]);
  anyone('bh-fund', 'complete-recovery', [plan]);
}

/** The first provider's position fails, in policies of ten allocations. */
function liquidation(): void {
  const [provider, ...others] = chain.providers as [string, ...string[]];
  const { available } = chain.read('bh-vault', 'get-position', [provider, TIER, chain.stx]) as { available: bigint };
  chain.must('bh-vault', 'deposit', [chain.stx, TIER, 20_000_000_000n - available], provider);
  const duration = 2_000n;
  const backers = [{ provider, share: 91n }, ...others.map((who) => ({ provider: who, share: 1n }))];
  refresh(chain);
  const [first, second] = [0n, 1n].map(
    (more) => createPolicy(chain, { notional: 14_400_000n, expiry: chain.burn + duration + more, backers }).value as bigint,
  ) as [bigint, bigint];
  endow(chain, { balance: 10n ** 9n, left: 10n ** 6n, maxLiability: 10n ** 14n, capital: 200_000_000_000n });
  refresh(chain, { STX: stxAt(87n) });
  margin(chain, 'issue-margin-call', provider);
  refresh(chain);
  margin(chain, 'resolve-margin-call', provider);
  refresh(chain, { STX: stxAt(87n) });
  margin(chain, 'issue-margin-call', provider);
  refresh(chain, { STX: stxAt(84n) });
  margin(chain, 'escalate', provider);
  chain.mineBurn(145);
  refresh(chain, { STX: stxAt(84n) });
  expect(liquidate(chain, first, provider, chain.id('bh-fund'), { caller: chain.stranger }).code).toBe(0);
  refresh(chain, { STX: stxAt(42n) });
  margin(chain, 'issue-margin-call', provider);
  expect(chain.call('bh-liquidation', 'self-liquidate', [second], provider).code).toBe(0);
  anyone('bh-fund', 'claim-yield', [chain.stx]);
  refresh(chain);
}

function incentives(): void {
  const sha256 = (...parts: Uint8Array[]) => new Uint8Array(createHash('sha256').update(Buffer.concat(parts)).digest());
  const start = chain.burn + 2n;
  const terms = {
    'start-burn': start,
    'epoch-burn': 10n,
    epochs: 3n,
    'epoch-cap': 1_000n,
    'premium-bp': 5_000n,
    'vesting-burn': 10n,
    'claim-burn': 100n,
  };
  const program = gov('bh-incentives', 'create-program', [chain.stx, terms, null]).value as bigint;
  anyone('bh-incentives', 'contribute', [program, chain.stx, 2_000n]);
  if (program === 1n) anyone('bh-incentives', 'draw-funds', [program, chain.stx]);
  const proof = Array.from({ length: 20 }, (_, i) => sha256(Uint8Array.of(i)));
  const leaf = leafHash(program, 1n, { who: chain.buyer, amt: 100n });
  const root = proof.reduce((node, sibling) => sha256(Uint8Array.of(1), node, sibling), leaf);
  const [keeper] = chain.feeders;
  const post = () => chain.must('bh-incentives', 'post-root', [program, 1n, root, 1_000n, 2n ** 20n], keeper);
  chain.mineTo(start + 10n);
  post();
  gov('bh-incentives', 'void-root', [program, 1n, null]);
  post();
  chain.mineBurn(chain.read('bh-params', 'get-param', ['root-challenge']) as bigint);
  chain.mineBurn(1);
  chain.must('bh-incentives', 'claim', [program, 1n, 100n, 0n, proof, chain.stx], chain.buyer);
  chain.mineBurn(200);
  anyone('bh-incentives', 'close-epoch', [program, 1n]);
  gov('bh-incentives', 'end-program', [program, null]);
  anyone('bh-incentives', 'return-budget', [program, chain.stx]);
}

/** Treasury and fund are replaced, and what they own goes to their successors. */
function succession(): void {
  for (const module of ['treasury', 'fund']) replaceModule(chain, module);
  gov('bh-treasury', 'pass-on-fees', [chain.stx, null]);
  gov('bh-fund', 'pass-on-capital', [chain.stx, null]);
}

function governance(): void {
  const [first, second] = chain.providers as [string, string];
  gov('bh-params', 'set-params', [QUICK.map(([key, value]) => ({ key, value })), null]);
  for (const who of [first, second]) chain.must('bh-gov', 'stake', [chain.stx, 5n * MILLION], who);
  chain.must('bh-gov', 'delegate-to', [first], second);
  chain.mineBurn(1);
  chain.must('bh-gov', 'unstake', [chain.stx, 1n], first);
  const proposal = (items: Action[]) =>
    chain.must('bh-gov', 'propose', [HASH, 'x'.repeat(128), items as ClarityArgument[]], first).value as bigint;
  const pass = (id: bigint) => {
    chain.must('bh-gov', 'vote', [id, 'for'], first);
    chain.mineBurn(7);
    anyone('bh-gov', 'finalize', [id]);
  };
  const items = Array<Action>(8).fill(action('set-params', changes() as ClarityArgument[]));
  chain.must('bh-gov', 'cancel', [proposal(items)], first);
  const unused = proposal([setsParam()]);
  pass(unused);
  chain.mineBurn(20);
  anyone('bh-gov', 'expire', [unused]);
  gov('bh-registry', 'handover', [chain.id('bh-gov')]);
  const most = proposal(items);
  pass(most);
  chain.mineBurn(2);
  anyone('bh-gov', 'execute', [most, Array<string>(8).fill(chain.stx)]);
}

/** With WRITE_COSTS in the environment this writes what is measured into the documentation. */
test('every public function that wallets call is measured', () => {
  const interfaces = chain.simnet.getContractsInterfaces();
  const actual = ['bh-stx', ...STATEFUL].flatMap((contract) =>
    interfaces
      .get(chain.id(contract))!
      .functions.filter(({ access }) => access === 'public')
      .map(({ name }) => `${contract}.${name}`),
  );
  if (process.env['WRITE_COSTS']) {
    const names = actual.filter((name) => measured.has(name));
    documentCosts(new Map(names.map((name) => [name, { worst: WORST[name] ?? '', shares: measured.get(name)! }])));
  }
  expect(actual.filter((name) => !measured.has(name)).sort()).toEqual([...INSIDE].sort());
});

test('documented costs cover what is measured, and no more than a quarter more', () => {
  const documented = documentedCosts();
  expect([...documented.keys()].sort()).toEqual([...measured.keys()].sort());
  for (const [name, numbers] of measured) {
    numbers.forEach((share, i) => {
      expect(documented.get(name)![i], name).toBeGreaterThanOrEqual(share);
      expect(documented.get(name)![i], name).toBeLessThanOrEqual(share * 1.25 + 0.1);
    });
  }
});

test('no call takes half of a block, so that each is mined with others', () => {
  expect([...measured].filter(([, numbers]) => Math.max(...numbers) > 50).map(([name]) => name)).toEqual([]);
});
