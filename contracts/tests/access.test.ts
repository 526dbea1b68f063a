import { Cl } from '@stacks/transactions';
import { beforeAll, describe, expect, test } from 'vitest';
import { clarity, fixture, STATEFUL, type Chain, type ClarityArgument } from './support/chain.ts';
import type { Call, Class } from './support/cases.ts';
import { FUND_CALLS, FUND_FOR_EVERYBODY } from './support/access/fund.ts';
import { GOV_CALLS, GOV_FOR_EVERYBODY } from './support/access/gov.ts';
import { INCENTIVES_CALLS, INCENTIVES_FOR_EVERYBODY } from './support/access/incentives.ts';
import { LIQUIDATION_FOR_EVERYBODY } from './support/access/liquidation.ts';
import { CLAIM_CALLS } from './support/access/policy.ts';
import { TREASURY_CALLS, TREASURY_FOR_EVERYBODY } from './support/access/treasury.ts';
import { checkFold } from './support/fold.ts';
import { createPolicy, market, nextRound, BTC_USD8 } from './support/flow.ts';

const address: Record<Class, (chain: Chain) => string> = {
  governance: (chain) => chain.deployer,
  guardian: (chain) => chain.guardian,
  feeder: (chain) => chain.feeders[0],
  provider: (chain) => chain.providers[0]!,
  owner: (chain) => chain.buyer,
  stranger: (chain) => chain.stranger,
};

const BAD_TIER = {
  'strike-min-bp': 0n,
  'strike-max-bp': 0n,
  'max-duration-burn': 0n,
  'premium-mult-bp': 0n,
  'ratio-min-bp': 0n,
  'ratio-warn-bp': 0n,
  'max-policy-bp': 0n,
  'max-expiry-bp': 0n,
  active: true,
};
const BAD_TOKEN = {
  asset: '',
  'asset-name': '',
  native: false,
  decimals: 8n,
  'haircut-bp': 0n,
  cap: 1n,
  active: true,
};
const COVER = { tier: 'aggressive', 'expiry-burn': 1_000n, 'max-payout-usd8': 0n, 'price-usd8': 1n };
const PREMIUM = { platform: 0n, reserve: 0n, provider: 0n };

/** Every public function that is not for everybody: who is refused, and with which error. */
const CALLS: Call[] = [
  ...(
    [
      ['bh-registry', 'handover', (c) => [c.deployer], 1003, 1019],
      ['bh-registry', 'grant-role', (c) => ['governance', c.stranger, null], 1003, 1004],
      ['bh-registry', 'revoke-role', (c) => ['governance', c.deployer], 1003, 1004],
      ['bh-registry', 'register-module', (c) => ['vault', 1n, c.id('bh-math'), c.codeHash('bh-math')], 1003, 1008],
      ['bh-registry', 'activate-module', () => ['vault', 1n], 1003, 1010],
      ['bh-registry', 'deprecate-module', () => ['vault', 1n], 1003, 1010],
      ['bh-registry', 'begin-migration', () => ['vault', 1n], 1003, 1010],
      ['bh-registry', 'finish-migration', () => [1n, new Uint8Array(32).fill(1)], 1003, 1018],
      ['bh-registry', 'bootstrap', (c) => [c.stranger], 1001, 1002],
      ['bh-params', 'bootstrap', (c) => [c.sbtc], 2001, 2002],
      ['bh-params', 'set-params', () => [[{ key: 'unknown', value: 3n }], null], 2001, 2004],
      ['bh-params', 'add-param', () => ['min-duration', 'bp', 1n, 0n, 2n, null], 2001, 2006],
      ['bh-params', 'add-switch', () => ['create', null], 2001, 2017],
      ['bh-params', 'set-metric', () => ['fund-used-bp', 'fund', 1n, 'unknown', null], 2001, 2007],
      ['bh-params', 'set-flag', () => ['unknown', false, null], 2001, 2007],
      ['bh-params', 'reset-breaker', () => ['create', null], 2001, 2008],
      ['bh-params', 'set-tier', () => ['balanced', BAD_TIER, null], 2001, 2009],
      ['bh-params', 'set-token', (c) => [c.id('bh-math'), BAD_TOKEN, null], 2001, 2011],
      ['bh-params', 'set-fees', () => [10_000n, 1n, 0n, null], 2001, 2013],
      ['bh-oracle', 'bootstrap', () => [[], []], 3001, 3002],
      ['bh-oracle', 'set-asset', () => ['ETH', true, 0n, true], 3001, 3009],
      ['bh-oracle', 'set-provider', (c) => [c.stranger, 0n], 3001, 0],
    ] as [string, string, Call['args'], number, number][]
  ).map(([contract, fn, args, denied, then]): Call => ({ contract, fn, args, denied, then, allowed: ['governance'] })),
  {
    contract: 'bh-params',
    fn: 'trip-breaker',
    args: () => ['unknown', 'x'],
    denied: 2003,
    allowed: ['guardian'],
    then: 2007,
  },
  {
    contract: 'bh-params',
    fn: 'report-metric',
    args: () => ['fund-used-bp', 1n],
    denied: 2015,
    allowed: [],
    then: 0,
  },
  {
    contract: 'bh-registry',
    fn: 'step-migration',
    args: () => [1n, 1n, new Uint8Array(32)],
    denied: 1016,
    allowed: [],
    then: 0,
  },
  {
    contract: 'bh-oracle',
    fn: 'submit-price',
    args: (c) => ['BTC', nextRound(c, 'BTC'), 0n, c.burn],
    denied: 3005,
    allowed: ['feeder'],
    then: 3009,
  },
  {
    contract: 'bh-oracle',
    fn: 'set-fallback',
    args: () => ['BTC', 1n, 'x'],
    denied: 3003,
    allowed: ['guardian'],
    then: 3020,
  },
  {
    contract: 'bh-oracle',
    fn: 'cancel-fallback',
    args: () => ['BTC'],
    denied: 3001,
    allowed: ['governance', 'guardian'],
    then: 0,
    before: announceFallback,
  },
  {
    contract: 'bh-vault',
    fn: 'withdraw',
    args: (c) => [1n, c.stx],
    denied: 5009,
    allowed: ['provider'],
    then: 5010,
  },
  {
    contract: 'bh-vault',
    fn: 'lock',
    args: (c) => [99n, c.buyer, c.stx, COVER, PREMIUM, []],
    denied: 5014,
    allowed: [],
    then: 0,
  },
  {
    contract: 'bh-vault',
    fn: 'settle',
    args: (c) => [1n, c.stx, c.stranger, 1n],
    denied: 5014,
    allowed: [],
    then: 0,
  },
  {
    contract: 'bh-vault',
    fn: 'refund',
    args: (c) => [1n, c.stx, c.stranger, 0n],
    denied: 5014,
    allowed: [],
    then: 0,
  },
  { contract: 'bh-vault', fn: 'collect-fees', args: (c) => [c.stx], denied: 5023, allowed: [], then: 0 },
  {
    contract: 'bh-policy',
    fn: 'exercise',
    args: (c) => [1n, c.stx],
    denied: 6015,
    allowed: ['owner'],
    then: 6019,
  },
  {
    contract: 'bh-policy',
    fn: 'cancel',
    args: (c) => [1n, c.stx],
    denied: 6015,
    allowed: ['owner'],
    then: 6021,
    before: (c) => c.must('bh-params', 'set-flag', ['cancel', false, null], c.deployer),
  },
  { contract: 'bh-policy', fn: 'reduce-unpaid', args: () => [1n, 1n], denied: 6024, allowed: [], then: 0 },
  ...CLAIM_CALLS,
  ...TREASURY_CALLS,
  ...FUND_CALLS,
  ...INCENTIVES_CALLS,
  ...GOV_CALLS,
];

/** Has the guardian announce a fallback price for BTC. */
function announceFallback(chain: Chain): void {
  chain.must('bh-params', 'trip-breaker', ['oracle', 'test'], chain.guardian);
  chain.must('bh-oracle', 'set-fallback', ['BTC', BTC_USD8, 'test'], chain.guardian);
  chain.must('bh-params', 'reset-breaker', ['oracle', null], chain.deployer);
}

/** Public functions that anyone may call for themselves. */
const FOR_EVERYBODY = [
  'bh-stx.transfer',
  'bh-registry.expire-role',
  'bh-registry.stand-for-governance',
  'bh-oracle.close-round',
  'bh-oracle.fix-expiry-price',
  'bh-oracle.apply-fallback',
  'bh-vault.deposit',
  'bh-vault.request-withdraw',
  'bh-vault.change-tier',
  'bh-vault.set-auto-match',
  'bh-vault.claim-yield',
  'bh-policy.create-policy',
  'bh-policy.settle',
  'bh-policy.settle-many',
  ...TREASURY_FOR_EVERYBODY,
  ...FUND_FOR_EVERYBODY,
  ...LIQUIDATION_FOR_EVERYBODY,
  ...INCENTIVES_FOR_EVERYBODY,
  ...GOV_FOR_EVERYBODY,
];

let chain: Chain;
let proxy: string;
beforeAll(async () => {
  chain = await market();
  proxy = chain.deploy('module', fixture('module'));
  chain.must('bh-registry', 'register-module', ['vault', 9n, proxy, chain.codeHash(proxy)], chain.deployer);
  chain.must('bh-registry', 'begin-migration', ['vault', 9n], chain.deployer);
  createPolicy(chain, { style: 'american' });
  chain.must('bh-vault', 'request-withdraw', [chain.stx, 'aggressive', 1n], chain.providers[0]!);
  announceFallback(chain);
});

test('every public function is in this matrix', () => {
  const interfaces = chain.simnet.getContractsInterfaces();
  const actual = ['bh-stx', ...STATEFUL].flatMap((contract) =>
    interfaces
      .get(chain.id(contract))!
      .functions.filter(({ access }) => access === 'public')
      .map(({ name }) => `${contract}.${name}`),
  );
  expect([...CALLS.map(({ contract, fn }) => `${contract}.${fn}`), ...FOR_EVERYBODY].sort()).toEqual(actual.sort());
});

describe.each(CALLS.map((call) => [`${call.contract} ${call.fn}`, call] as const))('%s', (_, call) => {
  const { contract, fn, args, denied, allowed, then, before } = call;
  const classes = Object.keys(address) as Class[];

  test.each(classes.filter((who) => !allowed.includes(who)))('refuses the %s', (who) => {
    const outcome = chain.call(contract, fn, args(chain), address[who](chain));
    expect(outcome.code).toBe(denied);
    expect(outcome.events).toEqual([]);
  });

  test.each(allowed)('does not refuse the %s', (who) => {
    before?.(chain);
    expect(chain.call(contract, fn, args(chain), address[who](chain)).code).toBe(then);
  });
});

/** What a wallet that may call is refused through a contract that it was talked into calling: each of the calls above. */
describe('a contract between a wallet that may and the function', () => {
  test.each(CALLS.filter(({ allowed }) => allowed.length > 0).map((call, i) => [`${call.contract} ${call.fn}`, call, i] as const))(
    'is refused by %s',
    (_, call, i) => {
      const { contract, fn, args, denied, allowed, before } = call;
      before?.(chain);
      const values = args(chain).map((value) => Cl.stringify(clarity(value)));
      const between = chain.deploy(
        `between-${i}`,
        `(define-public (call) (contract-call? '${chain.id(contract)} ${fn} ${values.join(' ')}))`,
      );
      for (const who of allowed) {
        const outcome = chain.call(between, 'call', [], address[who](chain));
        expect(outcome.code, who).toBe(denied);
        expect(outcome.events).toEqual([]);
      }
    },
  );

  test('is refused by what modules alone may call, and claims only its own yield', () => {
    const refused: [string, ClarityArgument[], number][] = [
      ['lock', [99n, chain.buyer, chain.stx, COVER, PREMIUM, []], 5014],
      ['settle', [1n, chain.stx, chain.stranger, 1n], 5014],
      ['refund', [1n, chain.stx, chain.stranger, 0n], 5014],
      ['collect-fees', [chain.stx], 5023],
      ['reduce-unpaid', [1n, 1n], 6024],
      ['claim-yield', [chain.stx], 5013],
    ];
    for (const [fn, args, code] of refused) expect(chain.call(proxy, fn, args, chain.deployer).code, fn).toBe(code);
  });
});

test('nothing has changed', () => {
  const state = checkFold(chain);
  expect(state.policy.policies.get('1')!['state']).toBe('active');
});
