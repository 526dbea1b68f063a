import type { Call } from '../cases.ts';

/** Who may set what the treasury does, and take out of it. */
export const TREASURY_CALLS: Call[] = [
  ...(
    [
      ['set-allocations', () => [[], null], 7005],
      ['spend', (c) => [c.stx, c.deployer, 1n, null], 7009],
      ['fund-program', (c) => [1n, c.stx, 1n, null], 7009],
      ['unfund-program', (c) => [1n, c.stx, null], 7011],
      ['pass-on-fees', (c) => [c.stx, null], 7014],
      ['set-discount', (c) => [c.stranger, 10_001n, c.burn + 1n, null], 7010],
    ] as [string, Call['args'], number][]
  ).map(([fn, args, then]): Call => ({ contract: 'bh-treasury', fn, args, denied: 7001, allowed: ['governance'], then })),
  { contract: 'bh-treasury', fn: 'use-discount', args: (c) => [c.buyer, 1n], denied: 7002, allowed: [], then: 0 },
  { contract: 'bh-treasury', fn: 'draw-program', args: (c) => [1n, c.stx], denied: 7003, allowed: [], then: 0 },
  { contract: 'bh-treasury', fn: 'claim-share', args: (c) => [c.stx], denied: 7008, allowed: [], then: 0 },
];

/** Public functions that anyone may call. */
export const TREASURY_FOR_EVERYBODY = [
  'bh-treasury.collect',
  'bh-treasury.contribute',
  'bh-treasury.absorb',
  'bh-treasury.distribute',
];
