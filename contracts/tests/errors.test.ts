import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { fixture, Chain, CONTRACTS, type ClarityArgument, type Outcome, type Row } from './support/chain.ts';
import type { Case } from './support/cases.ts';
import { documentedErrors } from './support/doc.ts';
import { FUND_ERRORS } from './support/errors/fund.ts';
import { GOV_ERRORS } from './support/errors/gov.ts';
import { INCENTIVES_ERRORS } from './support/errors/incentives.ts';
import { LIQUIDATION_ERRORS } from './support/errors/liquidation.ts';
import { CLAIM_ERRORS } from './support/errors/policy.ts';
import { TREASURY_ERRORS } from './support/errors/treasury.ts';
import { CAPITAL_ERRORS } from './support/errors/vault.ts';
import { checkFold } from './support/fold.ts';
import {
  allocate,
  closeRound,
  createPolicy,
  fixExpiry,
  market,
  maxPayout,
  nextRound,
  setParams,
  BTC_USD8,
  STX_USD8,
  type PolicyTerms,
} from './support/flow.ts';

const STRIKE = (BTC_USD8 * 9n) / 10n;
const NOTIONAL = 1_000_000n;
const MOST = maxPayout(STRIKE, NOTIONAL);
const MODULE_DELAY = 2_016;

const TIER = {
  'strike-min-bp': 7_000n,
  'strike-max-bp': 8_000n,
  'max-duration-burn': 4_320n,
  'premium-mult-bp': 8_000n,
  'ratio-min-bp': 11_000n,
  'ratio-warn-bp': 11_500n,
  'max-policy-bp': 2_500n,
  'max-expiry-bp': 2_500n,
  active: true,
};
const TOKEN = {
  asset: 'BTC',
  'asset-name': 'greedy',
  native: false,
  decimals: 8n,
  'haircut-bp': 0n,
  cap: 10n ** 12n,
  active: true,
};

function gov(chain: Chain, contract: string, fn: string, args: ClarityArgument[]): Outcome {
  return chain.call(contract, fn, args, chain.deployer);
}

/** Runs a call while a switch is off. */
function whileOff(chain: Chain, name: string, run: () => Outcome): Outcome {
  chain.must('bh-params', 'set-flag', [name, false, null], chain.deployer);
  const outcome = run();
  chain.must('bh-params', 'set-flag', [name, true, null], chain.deployer);
  return outcome;
}

/** Runs a call while parameters have other values. */
function withParams(chain: Chain, changes: [string, bigint][], run: () => Outcome): Outcome {
  const before = changes.map(([key]) => [key, chain.read('bh-params', 'get-param', [key]) as bigint] as [string, bigint]);
  setParams(chain, changes);
  const outcome = run();
  setParams(chain, before);
  return outcome;
}

/** Prices of the height that the chain is at. */
function refresh(chain: Chain): void {
  closeRound(chain, 'BTC', BTC_USD8);
  closeRound(chain, 'STX', STX_USD8);
}

/** A policy created with the given terms; it must succeed. */
function policyOf(chain: Chain, terms: PolicyTerms = {}): bigint {
  refresh(chain);
  const created = createPolicy(chain, terms);
  if (!created.ok) throw new Error(`create-policy failed with ${created.code}`);
  return created.value as bigint;
}

/** create-policy with allocations that are not derived from its terms. */
function createWith(chain: Chain, allocations: ClarityArgument[], token = chain.stx): Outcome {
  refresh(chain);
  return chain.call(
    'bh-policy',
    'create-policy',
    ['put', 'european', 'BTC', STRIKE, NOTIONAL, chain.burn + 10n, 10n ** 15n, token, allocations],
    chain.buyer,
  );
}

function submit(chain: Chain, feeder: number, price: bigint, observed = chain.burn, round = nextRound(chain, 'BTC')) {
  return chain.call('bh-oracle', 'submit-price', ['BTC', round, price, observed], chain.feeders[feeder]!);
}

/** Rejects whatever round is open by letting it time out. */
function dropOpenRound(chain: Chain, asset: string): void {
  chain.mineBurn(7);
  chain.must('bh-oracle', 'close-round', [asset, nextRound(chain, asset)], chain.stranger);
}

/** Runs a call while breaker oracle is tripped. */
function whileTripped(chain: Chain, run: () => Outcome): Outcome {
  chain.must('bh-params', 'trip-breaker', ['oracle', 'test'], chain.guardian);
  const outcome = run();
  chain.must('bh-params', 'reset-breaker', ['oracle', null], chain.deployer);
  return outcome;
}

/** The test contract as the active version of a module. */
function activate(chain: Chain, module: string, version: bigint, contract: string): void {
  chain.must('bh-registry', 'register-module', [module, version, contract, chain.codeHash(contract)], chain.deployer);
  chain.mineBurn(MODULE_DELAY);
  chain.must('bh-registry', 'activate-module', [module, version], chain.deployer);
}

const CASES: Record<string, Record<string, Case>> = {
  'bh-registry': {
    'ERR-NOT-DEPLOYER': (c) => c.call('bh-registry', 'bootstrap', [c.stranger], c.stranger),
    'ERR-REGISTRY-BOOTSTRAPPED': (c) => gov(c, 'bh-registry', 'bootstrap', [c.stranger]),
    'ERR-REGISTRY-NOT-GOVERNANCE': (c) => c.call('bh-registry', 'handover', [c.stranger], c.stranger),
    'ERR-NOT-CANDIDATE': (c) => gov(c, 'bh-registry', 'handover', [c.stranger]),
    'ERR-GOVERNANCE-BY-HANDOVER': (c) => gov(c, 'bh-registry', 'grant-role', ['governance', c.stranger, null]),
    'ERR-ROLE-NOT-FOUND': (c) => gov(c, 'bh-registry', 'revoke-role', ['keeper', c.stranger]),
    'ERR-ROLE-ENDED': (c) => gov(c, 'bh-registry', 'grant-role', ['keeper', c.stranger, { some: c.burn }]),
    'ERR-NO-CONTRACT': (c) => gov(c, 'bh-registry', 'register-module', ['fund', 9n, c.id('bh-nothing'), new Uint8Array(32)]),
    'ERR-VERSION-TAKEN': (c) => gov(c, 'bh-registry', 'register-module', ['vault', 1n, c.id('bh-math'), c.codeHash('bh-math')]),
    'ERR-MODULE-NOT-FOUND': (c) => gov(c, 'bh-registry', 'activate-module', ['vault', 2n]),
    'ERR-MODULE-STATE': (c) => gov(c, 'bh-registry', 'deprecate-module', ['vault', 1n]),
    'ERR-MODULE-DELAY': (c) => {
      c.must('bh-registry', 'register-module', ['fund', 9n, c.id('bh-math'), c.codeHash('bh-math')], c.deployer);
      c.mineBurn(MODULE_DELAY - 1);
      return gov(c, 'bh-registry', 'activate-module', ['fund', 9n]);
    },
    'ERR-CODE-HASH': (c) =>
      gov(c, 'bh-registry', 'register-module', ['fund', 8n, c.id('bh-math'), c.codeHash('bh-stx')]),
    'ERR-ROLE-NOT-ENDED': (c) => c.call('bh-registry', 'expire-role', ['guardian', c.guardian], c.stranger),
    'ERR-MIGRATION-OPEN': (c) => {
      const module = c.deploy('migrator', fixture('module'));
      c.must('bh-registry', 'register-module', ['vault', 9n, module, c.codeHash(module)], c.deployer);
      c.must('bh-registry', 'begin-migration', ['vault', 9n], c.deployer);
      return gov(c, 'bh-registry', 'begin-migration', ['vault', 9n]);
    },
    'ERR-MIGRATION-NOT-FOUND': (c) => gov(c, 'bh-registry', 'finish-migration', [99n, new Uint8Array(32)]),
    'ERR-NOT-MIGRATOR': (c) => gov(c, 'bh-registry', 'step-migration', [1n, 1n, new Uint8Array(32)]),
    'ERR-MIGRATION-CURSOR': (c) =>
      c.call(c.id('migrator'), 'step-migration', [1n, 0n, new Uint8Array(32)], c.stranger),
    'ERR-MIGRATION-HASH': (c) =>
      gov(c, 'bh-registry', 'finish-migration', [1n, new Uint8Array(32).fill(1)]),
  },
  'bh-params': {
    'ERR-PARAMS-NOT-GOVERNANCE': (c) => c.call('bh-params', 'set-fees', [10_000n, 0n, 0n, null], c.guardian),
    'ERR-PARAMS-BOOTSTRAPPED': (c) => gov(c, 'bh-params', 'bootstrap', [c.sbtc]),
    'ERR-NOT-GUARDIAN': (c) => gov(c, 'bh-params', 'trip-breaker', ['create', 'x']),
    'ERR-UNKNOWN-PARAM': (c) => gov(c, 'bh-params', 'set-params', [[{ key: 'no-such', value: 1n }], null]),
    'ERR-PARAM-BOUNDS': (c) =>
      gov(c, 'bh-params', 'set-params', [[{ key: 'min-duration', value: 3n }, { key: 'cancel-fee-bp', value: 5_001n }], null]),
    'ERR-PARAM-EXISTS': (c) => gov(c, 'bh-params', 'add-param', ['min-duration', 'burn', 1n, 1n, 1n, null]),
    'ERR-UNKNOWN-SWITCH': (c) => gov(c, 'bh-params', 'set-flag', ['settle', false, null]),
    'ERR-BREAKER-STATE': (c) => gov(c, 'bh-params', 'reset-breaker', ['create', null]),
    'ERR-TIER-BOUNDS': (c) => gov(c, 'bh-params', 'set-tier', ['balanced', { ...TIER, 'ratio-min-bp': 9_999n }, null]),
    'ERR-TOO-MANY-TIERS': (c) => {
      for (const name of ['a', 'b', 'c', 'd', 'e']) {
        c.must('bh-params', 'set-tier', [name, { ...TIER, active: false }, null], c.deployer);
      }
      return gov(c, 'bh-params', 'set-tier', ['f', TIER, null]);
    },
    'ERR-TOKEN-BOUNDS': (c) => gov(c, 'bh-params', 'set-token', [c.id('bh-math'), { ...TOKEN, 'haircut-bp': 5_001n }, null]),
    'ERR-TOKEN-FIXED': (c) => gov(c, 'bh-params', 'set-token', [c.sbtc, { ...TOKEN, 'asset-name': 'sbtc-token', decimals: 7n }, null]),
    'ERR-FEES-SUM': (c) => gov(c, 'bh-params', 'set-fees', [9_000n, 600n, 401n, null]),
    'ERR-UNKNOWN-METRIC': (c) => gov(c, 'bh-params', 'report-metric', ['no-such', 1n]),
    'ERR-NOT-METRIC-MODULE': (c) => gov(c, 'bh-params', 'report-metric', ['fund-used-bp', 1n]),
    'ERR-PARAM-KIND': (c) => gov(c, 'bh-params', 'add-param', ['new', 'percent', 1n, 1n, 1n, null]),
    'ERR-SWITCH-EXISTS': (c) => gov(c, 'bh-params', 'add-switch', ['create', null]),
  },
  'bh-oracle': {
    'ERR-FALLBACK-PRICE': (c) => {
      c.must('bh-vault', 'deposit', [c.stx, 'aggressive', 20_000_000_000n], c.providers[0]!);
      policyOf(c, { expiry: c.burn + 400n });
      c.must('bh-params', 'trip-breaker', ['oracle', 'test'], c.guardian);
      c.must('bh-oracle', 'set-fallback', ['STX', STX_USD8, 'test'], c.guardian);
      c.mineBurn(144);
      c.must('bh-oracle', 'apply-fallback', ['STX'], c.stranger);
      c.must('bh-params', 'reset-breaker', ['oracle', null], c.deployer);
      return c.call('bh-liquidation', 'issue-margin-call', [c.providers[0]!, 'aggressive', c.stx], c.stranger);
    },
    'ERR-ORACLE-NOT-GOVERNANCE': (c) => c.call('bh-oracle', 'set-provider', [c.stranger, 1n], c.guardian),
    'ERR-ORACLE-BOOTSTRAPPED': (c) => gov(c, 'bh-oracle', 'bootstrap', [[], []]),
    'ERR-ORACLE-NOT-GUARDIAN': (c) => gov(c, 'bh-oracle', 'set-fallback', ['BTC', 1n, 'x']),
    'ERR-UNKNOWN-ASSET': (c) => c.call('bh-oracle', 'submit-price', ['ETH', 1n, 1n, c.burn], c.feeders[0]),
    'ERR-NOT-PROVIDER': (c) => c.call('bh-oracle', 'submit-price', ['BTC', 1n, 1n, c.burn], c.deployer),
    'ERR-TOO-MANY-PROVIDERS': (c) => {
      const others = c.providers;
      for (const provider of others) c.must('bh-oracle', 'set-provider', [provider, 1n], c.deployer);
      const outcome = gov(c, 'bh-oracle', 'set-provider', [c.stranger, 1n]);
      for (const provider of others) c.must('bh-oracle', 'set-provider', [provider, 0n], c.deployer);
      return outcome;
    },
    'ERR-ORACLE-CLOSED': (c) => whileOff(c, 'oracle', () => submit(c, 0, BTC_USD8)),
    'ERR-WRONG-ROUND': (c) => submit(c, 0, BTC_USD8, c.burn, nextRound(c, 'BTC') + 1n),
    'ERR-BAD-PRICE': (c) => submit(c, 0, 10n ** 18n + 1n),
    'ERR-OBSERVED-STALE': (c) => {
      c.mineBurn(7);
      return submit(c, 0, BTC_USD8, c.burn - 7n);
    },
    'ERR-OBSERVED-FUTURE': (c) => submit(c, 0, BTC_USD8, c.burn + 1n),
    'ERR-SUBMITTED': (c) => {
      submit(c, 0, BTC_USD8);
      const outcome = submit(c, 0, BTC_USD8);
      dropOpenRound(c, 'BTC');
      return outcome;
    },
    'ERR-ROUND-TIMED-OUT': (c) => {
      submit(c, 0, BTC_USD8);
      c.mineBurn(7);
      const outcome = submit(c, 1, BTC_USD8);
      dropOpenRound(c, 'BTC');
      return outcome;
    },
    'ERR-NO-QUORUM': (c) => {
      submit(c, 0, BTC_USD8);
      submit(c, 1, BTC_USD8);
      const outcome = c.call('bh-oracle', 'close-round', ['BTC', nextRound(c, 'BTC')], c.stranger);
      dropOpenRound(c, 'BTC');
      return outcome;
    },
    'ERR-NO-PRICE': (c) => {
      c.must('bh-oracle', 'set-asset', ['NEW', true, 1n, true], c.deployer);
      return c.call(
        'bh-policy',
        'create-policy',
        ['put', 'european', 'NEW', 1n, NOTIONAL, c.burn + 10n, 0n, c.stx, []],
        c.buyer,
      );
    },
    'ERR-PRICE-STALE': (c) => {
      c.mineBurn(7);
      return createPolicy(c);
    },
    'ERR-EXPIRY-AHEAD': (c) => c.call('bh-oracle', 'fix-expiry-price', ['BTC', c.burn + 1n, 1n], c.stranger),
    'ERR-EXPIRY-FIXED': (c) => {
      c.mineBurn(1);
      const expiry = c.burn;
      fixExpiry(c, expiry, { BTC: BTC_USD8, STX: STX_USD8 });
      const round = (c.read('bh-oracle', 'get-expiry-price', ['BTC', expiry]) as Row)['round'] as bigint;
      return c.call('bh-oracle', 'fix-expiry-price', ['BTC', expiry, round], c.stranger);
    },
    'ERR-NOT-EXPIRY-ROUND': (c) => c.call('bh-oracle', 'fix-expiry-price', ['BTC', c.burn, 1n], c.stranger),
    'ERR-BREAKER-NOT-TRIPPED': (c) => c.call('bh-oracle', 'set-fallback', ['BTC', BTC_USD8, 'x'], c.guardian),
    'ERR-NO-FALLBACK': (c) => c.call('bh-oracle', 'apply-fallback', ['BTC'], c.stranger),
    'ERR-FALLBACK-DELAY': (c) =>
      whileTripped(c, () => {
        c.must('bh-oracle', 'set-fallback', ['BTC', BTC_USD8, 'x'], c.guardian);
        c.mineBurn(143);
        return c.call('bh-oracle', 'apply-fallback', ['BTC'], c.stranger);
      }),
    'ERR-BAD-WEIGHT': (c) => gov(c, 'bh-oracle', 'set-provider', [c.stranger, 1_000_001n]),
  },
  'bh-vault': {
    'ERR-UNKNOWN-TOKEN': (c) => {
      const token = c.deploy('unlisted', fixture('greedy-token'));
      return c.call('bh-vault', 'deposit', [token, 'balanced', 1n], c.stranger);
    },
    'ERR-UNKNOWN-TIER': (c) => c.call('bh-vault', 'deposit', [c.stx, 'reckless', 1n], c.stranger),
    'ERR-ZERO-AMOUNT': (c) => c.call('bh-vault', 'deposit', [c.stx, 'balanced', 0n], c.stranger),
    'ERR-DEPOSIT-CLOSED': (c) =>
      whileOff(c, 'deposit', () => c.call('bh-vault', 'deposit', [c.stx, 'balanced', 1n], c.stranger)),
    'ERR-WITHDRAW-CLOSED': (c) =>
      whileOff(c, 'withdraw', () => c.call('bh-vault', 'request-withdraw', [c.stx, 'aggressive', 1n], c.providers[0]!)),
    'ERR-TOKEN-CAP': (c) => c.call('bh-vault', 'deposit', [c.stx, 'balanced', 10n ** 13n], c.stranger),
    'ERR-AVAILABLE': (c) =>
      c.call('bh-vault', 'request-withdraw', [c.stx, 'aggressive', 20_000_000_001n], c.providers[0]!),
    'ERR-UNKNOWN-REQUEST': (c) => c.call('bh-vault', 'withdraw', [99n, c.stx], c.providers[0]!),
    'ERR-NOT-REQUESTER': (c) => {
      const [first, second] = c.providers as [string, string];
      const request = c.must('bh-vault', 'request-withdraw', [c.stx, 'aggressive', 1n], first).value as bigint;
      return c.call('bh-vault', 'withdraw', [request, c.stx], second);
    },
    'ERR-WITHDRAW-DELAY': (c) => {
      const first = c.providers[0]!;
      const request = c.must('bh-vault', 'request-withdraw', [c.stx, 'aggressive', 1n], first).value as bigint;
      return c.call('bh-vault', 'withdraw', [request, c.stx], first);
    },
    'ERR-HEALTH': (c) => {
      const third = c.providers[2]!;
      policyOf(c, { backers: [{ provider: third, share: 1n }] });
      const position = c.read('bh-vault', 'get-position', [third, 'aggressive', c.stx]) as Row;
      const request = c.must(
        'bh-vault',
        'request-withdraw',
        [c.stx, 'aggressive', position['available'] as bigint],
        third,
      ).value as bigint;
      c.mineBurn(1);
      // Locked at 130%, so the rest cannot leave while 135% is asked.
      return c.call('bh-vault', 'withdraw', [request, c.stx], third);
    },
    'ERR-WRONG-TOKEN': (c) => {
      const first = c.providers[0]!;
      const request = c.must('bh-vault', 'request-withdraw', [c.stx, 'aggressive', 1n], first).value as bigint;
      return c.call('bh-vault', 'withdraw', [request, c.sbtc], first);
    },
    'ERR-NO-YIELD': (c) => c.call('bh-vault', 'claim-yield', [c.stx], c.stranger),
    'ERR-NOT-POLICY-MODULE': (c) => c.call('bh-vault', 'settle', [1n, c.stx, c.stranger, 1n], c.stranger),
    'ERR-AUTO-MATCH-OFF': (c) => {
      const first = c.providers[0]!;
      c.must('bh-vault', 'set-auto-match', [false], first);
      refresh(c);
      const outcome = createPolicy(c);
      c.must('bh-vault', 'set-auto-match', [true], first);
      return outcome;
    },
    'ERR-DUPLICATE-PROVIDER': (c) =>
      createWith(
        c,
        allocate(MOST, [
          { provider: c.providers[0]!, share: 1n },
          { provider: c.providers[0]!, share: 1n },
        ]) as ClarityArgument[],
      ),
    'ERR-MIN-ALLOCATION': (c) =>
      createWith(c, [{ provider: c.providers[0]!, 'liability-usd8': 99_999_999n }]),
    'ERR-MAX-POLICY': (c) => {
      refresh(c);
      // 9,000 USD at 130% and a 10% haircut: 6,500 STX, of 10,000 of which one policy may take half.
      c.must('bh-vault', 'deposit', [c.stx, 'aggressive', 10_000_000_000n], c.stranger);
      return createPolicy(c, { notional: 10_000_000n, backers: [{ provider: c.stranger, share: 1n }] });
    },
    'ERR-MAX-EXPIRY': (c) => {
      const backers = [{ provider: c.providers[1]!, share: 1n }];
      // 7,200 USD twice: 5,200 STX each, of 20,000 of which one expiry may take half.
      const terms = { notional: 8_000_000n, backers, expiry: c.burn + 20n };
      policyOf(c, terms);
      return createPolicy(c, terms);
    },
    'ERR-ALLOCATION-SUM': (c) =>
      createWith(c, [{ provider: c.providers[0]!, 'liability-usd8': MOST - 1n }]),
    'ERR-NOT-FEE-MODULE': (c) => c.call('bh-vault', 'collect-fees', [c.stx], c.deployer),
    'ERR-TRANSFER': (c) => {
      const token = c.deploy('greedy-token', fixture('greedy-token'));
      c.must('bh-params', 'set-token', [token, TOKEN, null], c.deployer);
      c.must(token, 'mint', [10n, c.stranger], c.stranger);
      c.must(token, 'set-greed', [2n], c.stranger);
      return c.call('bh-vault', 'deposit', [token, 'balanced', 5n], c.stranger);
    },
    ...CAPITAL_ERRORS,
    // The last two change the policy module, after which this market makes no more policies.
    'ERR-LOCKED': (c) => {
      const module = c.deploy('module', fixture('module'));
      activate(c, 'policy', 2n, module);
      const cover = { tier: 'aggressive', 'expiry-burn': c.burn, 'max-payout-usd8': 1_00000000n, 'price-usd8': STX_USD8 };
      const allocations = [{ provider: c.providers[0]!, 'liability-usd8': 1_00000000n }];
      const lock: ClarityArgument[] = [1_000n, c.buyer, c.stx, cover, { platform: 0n, reserve: 0n, provider: 0n }, allocations];
      c.must(module, 'lock', lock, c.stranger);
      return c.call(module, 'lock', lock, c.stranger);
    },
    'ERR-NO-LOCK': (c) => c.call(c.id('module'), 'settle', [2_000n, c.stx, c.stranger, 1n], c.stranger),
  },
  'bh-treasury': TREASURY_ERRORS,
  'bh-policy': {
    'ERR-CREATE-CLOSED': (c) => whileOff(c, 'create', () => createPolicy(c)),
    'ERR-BAD-TYPE': (c) => createPolicy(c, { type: 'swap' as 'put' }),
    'ERR-BAD-STYLE': (c) => createPolicy(c, { style: 'asian' as 'european' }),
    'ERR-NOT-INSURABLE': (c) =>
      c.call(
        'bh-policy',
        'create-policy',
        ['put', 'european', 'STX', STX_USD8, NOTIONAL, c.burn + 10n, 0n, c.stx, []],
        c.buyer,
      ),
    'ERR-BAD-TOKEN': (c) => createPolicy(c, { token: c.deploy('unlisted', fixture('greedy-token')) }),
    'ERR-MIN-NOTIONAL': (c) => createPolicy(c, { notional: 9_999n }),
    'ERR-MIN-DURATION': (c) => createPolicy(c, { expiry: c.burn + 1n }),
    'ERR-EXPIRY-STEP': (c) =>
      withParams(c, [['expiry-step', 144n]], () => createPolicy(c, { expiry: 144n * (c.burn / 144n + 2n) + 1n })),
    'ERR-NO-TIER': (c) => {
      refresh(c);
      return createPolicy(c, { strike: BTC_USD8 / 2n });
    },
    'ERR-MAX-PREMIUM': (c) => {
      refresh(c);
      return createPolicy(c, { maxPremium: 1n });
    },
    'ERR-UNKNOWN-POLICY': (c) => c.call('bh-policy', 'settle', [99n, c.stx], c.stranger),
    'ERR-NOT-ACTIVE': (c) => {
      const policy = policyOf(c);
      c.must('bh-policy', 'cancel', [policy, c.stx], c.buyer);
      return c.call('bh-policy', 'cancel', [policy, c.stx], c.buyer);
    },
    'ERR-NOT-EXPIRED': (c) => c.call('bh-policy', 'settle', [policyOf(c), c.stx], c.stranger),
    'ERR-PRICE-NOT-FIXED': (c) => {
      const policy = policyOf(c, { expiry: c.burn + 3n });
      c.mineBurn(3);
      return c.call('bh-policy', 'settle', [policy, c.stx], c.stranger);
    },
    'ERR-NOT-OWNER': (c) => c.call('bh-policy', 'cancel', [policyOf(c), c.stx], c.stranger),
    'ERR-EXERCISE-CLOSED': (c) => {
      const policy = policyOf(c, { style: 'american' });
      return whileOff(c, 'exercise', () => c.call('bh-policy', 'exercise', [policy, c.stx], c.buyer));
    },
    'ERR-EUROPEAN': (c) => c.call('bh-policy', 'exercise', [policyOf(c), c.stx], c.buyer),
    'ERR-EXPIRED': (c) => {
      const policy = policyOf(c, { style: 'american', expiry: c.burn + 3n });
      c.mineBurn(3);
      return c.call('bh-policy', 'exercise', [policy, c.stx], c.buyer);
    },
    'ERR-ROUND-TOO-OLD': (c) => c.call('bh-policy', 'exercise', [policyOf(c, { style: 'american' }), c.stx], c.buyer),
    'ERR-OUT-OF-MONEY': (c) => {
      const policy = policyOf(c, { style: 'american' });
      c.mineBurn(1);
      refresh(c);
      return c.call('bh-policy', 'exercise', [policy, c.stx], c.buyer);
    },
    'ERR-CANCEL-CLOSED': (c) => {
      const policy = policyOf(c);
      return whileOff(c, 'cancel', () => c.call('bh-policy', 'cancel', [policy, c.stx], c.buyer));
    },
    'ERR-CANCEL-WINDOW': (c) => {
      const policy = policyOf(c);
      c.mineBurn(7);
      return c.call('bh-policy', 'cancel', [policy, c.stx], c.buyer);
    },
    'ERR-IN-MONEY': (c) => {
      const policy = policyOf(c, { strike: BTC_USD8 });
      closeRound(c, 'BTC', BTC_USD8 - 1n);
      return c.call('bh-policy', 'cancel', [policy, c.stx], c.buyer);
    },
    'ERR-NOT-FUND-MODULE': (c) => c.call('bh-policy', 'reduce-unpaid', [policyOf(c), 1n], c.deployer),
    ...CLAIM_ERRORS,
    'ERR-TERMS-TOO-LARGE': (c) => createPolicy(c, { notional: 10n ** 13n + 1n }),
    'ERR-UNPAID': (c) => {
      const policy = policyOf(c);
      activate(c, 'fund', 9n, c.deploy('module', fixture('module')));
      return c.call(c.id('module'), 'reduce-unpaid', [policy, 1n], c.stranger);
    },
  },
  'bh-fund': FUND_ERRORS,
  'bh-liquidation': LIQUIDATION_ERRORS,
  'bh-incentives': INCENTIVES_ERRORS,
  'bh-gov': GOV_ERRORS,
};

test('there is a case for every documented error of every contract', () => {
  const documented = [...documentedErrors().values()].map(({ contract, name }) => `${contract} ${name}`);
  const cases = Object.entries(CASES).flatMap(([contract, names]) => Object.keys(names).map((name) => `${contract} ${name}`));
  expect(cases.sort()).toEqual(documented.sort());
});

describe.each(CONTRACTS.filter((contract) => contract in CASES))('%s', (contract) => {
  let chain: Chain;
  beforeAll(async () => {
    chain = await market(contract === 'bh-oracle' ? { extraProviders: 4, tiers: [] } : {});
  });

  const codes = new Map([...documentedErrors()].map(([code, { name }]) => [name, code]));
  test.each(Object.entries(CASES[contract]!))('%s', (name, run) => {
    const outcome = run(chain);
    expect(outcome.code).toBe(codes.get(name));
    expect(outcome.ok).toBe(false);
    expect(outcome.events).toEqual([]);
    expect(outcome.transfers).toEqual([]);
  });

  afterAll(() => {
    checkFold(chain);
  });
});
