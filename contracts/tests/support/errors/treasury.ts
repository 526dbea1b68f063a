import type { Case } from '../cases.ts';
import { fixture, type Chain, type ClarityArgument, type Outcome } from '../chain.ts';
import { activateModule } from '../modules.ts';

function gov(chain: Chain, fn: string, args: ClarityArgument[]): Outcome {
  return chain.call('bh-treasury', fn, args, chain.deployer);
}

const rows = (chain: Chain, ...shares: bigint[]) =>
  shares.map((bp) => ({ name: 'part', receiver: chain.buyer, 'share-bp': bp }));

export const TREASURY_ERRORS: Record<string, Case> = {
  'ERR-TREASURY-NOT-GOVERNANCE': (c) => c.call('bh-treasury', 'set-allocations', [[], null], c.guardian),
  'ERR-TREASURY-NOT-POLICY': (c) => gov(c, 'use-discount', [c.buyer, 1n]),
  'ERR-TREASURY-NOT-INCENTIVES': (c) => gov(c, 'draw-program', [1n, c.stx]),
  'ERR-TREASURY-AMOUNT': (c) => gov(c, 'contribute', [c.stx, 0n]),
  'ERR-ALLOCATIONS-SUM': (c) => gov(c, 'set-allocations', [rows(c, 9_999n), null]),
  'ERR-ALLOCATION-NAME': (c) => gov(c, 'set-allocations', [rows(c, 5_000n, 5_000n), null]),
  'ERR-NOTHING-TO-DISTRIBUTE': (c) => gov(c, 'distribute', [c.stx]),
  'ERR-NO-SHARE': (c) => gov(c, 'claim-share', [c.stx]),
  'ERR-TREASURY-SHORT': (c) => gov(c, 'spend', [c.stx, c.buyer, 1n, null]),
  'ERR-DISCOUNT-BOUNDS': (c) => gov(c, 'set-discount', [c.buyer, 1n, c.burn, null]),
  'ERR-NO-PROGRAM-FUNDS': (c) => {
    const payee = c.deploy('payee', fixture('payee'));
    activateModule(c, 'incentives', 9n, payee);
    return c.call(payee, 'draw-program', [1n, c.stx], c.stranger);
  },
  'ERR-TREASURY-TOKEN': (c) => gov(c, 'contribute', [c.deploy('greedy', fixture('greedy-token')), 1n]),
  'ERR-TREASURY-TRANSFER': (c) => gov(c, 'contribute', [c.stx, 10n ** 30n]),
  'ERR-TREASURY-SUCCESSOR': (c) => gov(c, 'pass-on-fees', [c.stx, null]),
  'ERR-TREASURY-SURPLUS': (c) => gov(c, 'absorb', [c.stx]),
};
