import type { Call } from '../cases.ts';

const MOVED = {
  tier: 'aggressive',
  'expiry-burn': 10_000n,
  'liability-usd8': 1n,
  collateral: 0n,
  price: 0n,
  paid: 0n,
};

/** Who may set the fund's limits, place its capital and record what it takes over. */
export const FUND_CALLS: Call[] = [
  {
    contract: 'bh-fund',
    fn: 'set-coverage',
    args: (c) => ['reckless', c.stx, 0n, 0n, null],
    denied: 8001,
    allowed: ['governance'],
    then: 8004,
  },
  {
    contract: 'bh-fund',
    fn: 'start-recovery',
    args: (c) => [c.stx, 0n, 1n, null],
    denied: 8001,
    allowed: ['governance'],
    then: 8019,
  },
  { contract: 'bh-fund', fn: 'pass-on-capital', args: (c) => [c.stx, null], denied: 8001, allowed: ['governance'], then: 8023 },
  { contract: 'bh-fund', fn: 'allocate', args: (c) => [c.stx, 'aggressive', 0n], denied: 8002, allowed: ['governance'], then: 8005 },
  {
    contract: 'bh-fund',
    fn: 'request-release',
    args: (c) => [c.stx, 'aggressive', 0n],
    denied: 8002,
    allowed: ['governance'],
    then: 5003,
  },
  {
    contract: 'bh-fund',
    fn: 'record-takeover',
    args: (c) => [1n, c.providers[0]!, { ...MOVED, token: c.stx }],
    denied: 8012,
    allowed: [],
    then: 0,
  },
];

export const FUND_FOR_EVERYBODY = [
  'bh-fund.capitalize',
  'bh-fund.collect',
  'bh-fund.claim-share',
  'bh-fund.claim-yield',
  'bh-fund.absorb',
  'bh-fund.cover-shortfall',
  'bh-fund.release',
  'bh-fund.contribute',
  'bh-fund.complete-recovery',
];
