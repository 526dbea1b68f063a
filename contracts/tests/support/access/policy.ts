import type { Call } from '../cases.ts';

const HASH = new Uint8Array(32);

/** Who may move allocations and who may open and resolve claims. */
export const CLAIM_CALLS: Call[] = [
  {
    contract: 'bh-vault',
    fn: 'move-allocation',
    args: (c) => [
      1n,
      c.providers[0]!,
      c.providers[1]!,
      {
        price: 0n,
        bounty: 0n,
        'bounty-to': c.stranger,
        penalty: 0n,
        'penalty-to': c.stranger,
      },
    ],
    denied: 5027,
    allowed: [],
    then: 0,
  },
  {
    contract: 'bh-policy',
    fn: 'open-claim',
    args: () => [1n, HASH],
    denied: 6015,
    allowed: ['owner'],
    then: 6028,
  },
  {
    contract: 'bh-policy',
    fn: 'resolve-claim',
    args: () => [1n, 0n, HASH],
    denied: 6031,
    allowed: [],
    then: 0,
  },
];
