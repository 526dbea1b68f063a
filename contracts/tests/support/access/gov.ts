import type { Call } from '../cases.ts';

/** Who may name the governance token. Who may cancel depends on the proposal: gov.test.ts. */
export const GOV_CALLS: Call[] = [
  {
    contract: 'bh-gov',
    fn: 'bootstrap',
    args: (c) => [c.stx, 'stx'],
    denied: 10_001,
    allowed: ['governance'],
    then: 10_002,
  },
];

/** Public functions that anyone may call; what they can do depends on their stake. */
export const GOV_FOR_EVERYBODY = [
  'stake',
  'unstake',
  'delegate-to',
  'propose',
  'vote',
  'finalize',
  'execute',
  'expire',
  'cancel',
].map((fn) => `bh-gov.${fn}`);
