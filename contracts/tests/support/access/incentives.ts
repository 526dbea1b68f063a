import type { Call } from '../cases.ts';

const ROOT = new Uint8Array(32);
const TERMS = {
  'start-burn': 0n,
  'epoch-burn': 0n,
  epochs: 0n,
  'epoch-cap': 0n,
  'premium-bp': 0n,
  'vesting-burn': 0n,
  'claim-burn': 0n,
};

/** Who may start and end programmes, post and void roots. */
export const INCENTIVES_CALLS: Call[] = [
  {
    contract: 'bh-incentives',
    fn: 'create-program',
    args: (c) => [c.stx, TERMS, null],
    denied: 11001,
    allowed: ['governance'],
    then: 11005,
  },
  { contract: 'bh-incentives', fn: 'end-program', args: () => [1n, null], denied: 11001, allowed: ['governance'], then: 11004 },
  {
    contract: 'bh-incentives',
    fn: 'post-root',
    args: () => [1n, 1n, ROOT, 1n, 1n],
    denied: 11002,
    allowed: [],
    then: 0,
  },
  {
    contract: 'bh-incentives',
    fn: 'void-root',
    args: () => [1n, 1n, null],
    denied: 11003,
    allowed: ['governance', 'guardian'],
    then: 11004,
  },
];

/** Public functions that anyone may call. */
export const INCENTIVES_FOR_EVERYBODY = [
  'bh-incentives.contribute',
  'bh-incentives.draw-funds',
  'bh-incentives.claim',
  'bh-incentives.close-epoch',
  'bh-incentives.return-budget',
];
