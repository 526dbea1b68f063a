import type { Case } from '../cases.ts';
import { fixture, type Chain, type Outcome } from '../chain.ts';
import { closeRound, BTC_USD8, STX_USD8 } from '../flow.ts';
import { activateLiquidator, moveAllocation, type MoveTerms } from '../modules.ts';

/** A policy that lasts, backed by the first provider. */
function lasting(chain: Chain): bigint {
  closeRound(chain, 'BTC', BTC_USD8);
  closeRound(chain, 'STX', STX_USD8);
  return chain.must(
    'bh-policy',
    'create-policy',
    [
      'put',
      'european',
      'BTC',
      (BTC_USD8 * 9n) / 10n,
      100_000n,
      chain.burn + 20n,
      10n ** 15n,
      chain.stx,
      [{ provider: chain.providers[0]!, 'liability-usd8': 90_00000000n }],
    ],
    chain.buyer,
  ).value as bigint;
}

/** Errors of what moves capital between positions. The first that needs a liquidation module puts a test contract there. */
export const CAPITAL_ERRORS: Record<string, Case> = {
  'ERR-SAME-BLOCK': (c) => {
    const flash = c.deploy('flash', fixture('flash'));
    c.must('bh-stx', 'transfer', [1_000n, c.stranger, flash, null], c.stranger);
    return c.call(flash, 'deposit-and-ask', [c.stx, 'aggressive', 1_000n], c.stranger);
  },
  'ERR-SAME-TIER': (c) => c.call('bh-vault', 'change-tier', [c.stx, 'aggressive', 'aggressive', 1n], c.providers[0]!),
  'ERR-NOT-LIQUIDATION-MODULE': (c) => moveAllocation(c, c.id('bh-vault'), lasting(c), c.providers[0]!, c.providers[1]!),
  'ERR-NO-ALLOCATION': (c) => {
    activateLiquidator(c);
    return moveAllocation(c, c.id('liquidator'), lasting(c), c.providers[1]!, c.providers[2]!);
  },
  'ERR-SAME-PROVIDER': (c) => moveAllocation(c, c.id('liquidator'), lasting(c), c.providers[0]!, c.providers[0]!),
  'ERR-LOCK-EXPIRED': (c) => {
    const policy = lasting(c);
    c.mineBurn(20);
    return moveAllocation(c, c.id('liquidator'), policy, c.providers[0]!, c.providers[1]!);
  },
  'ERR-MOVE-PRICE': (c) => moveLasting(c, { price: 45_000_001n }),
  'ERR-MOVE-BOUNTY': (c) => moveLasting(c, { bounty: 650_001n }),
  'ERR-MOVE-PENALTY': (c) => moveLasting(c, { penalty: 3_250_001n }),
};

/** Passes on an allocation of 90 USD, which is 45 STX, behind 65 STX of collateral. */
function moveLasting(chain: Chain, terms: MoveTerms): Outcome {
  return moveAllocation(chain, chain.id('liquidator'), lasting(chain), chain.providers[0]!, chain.providers[1]!, terms);
}
