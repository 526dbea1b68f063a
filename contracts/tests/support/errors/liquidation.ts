import type { Case } from '../cases.ts';
import { fixture, type Chain } from '../chain.ts';
import { closeRound } from '../flow.ts';
import { liquidate, margin, press, refresh, stxAt, TIER } from '../margin.ts';
import { activateModule } from '../modules.ts';

function first(chain: Chain): string {
  return chain.providers[0]!;
}

function take(chain: Chain, policy = 1n, taker = chain.providers[1]!, options = {}) {
  return liquidate(chain, policy, first(chain), taker, options);
}

/** Errors of margin calls and liquidation: each case goes on where the one before it stopped. */
export const LIQUIDATION_ERRORS: Record<string, Case> = {
  'ERR-POSITION-HEALTHY': (c) => {
    press(c);
    return margin(c, 'issue-margin-call', first(c));
  },
  'ERR-LIQUIDATE-CLOSED': (c) => {
    c.must('bh-params', 'set-flag', ['liquidate', false, null], c.deployer);
    const refused = margin(c, 'issue-margin-call', first(c));
    c.must('bh-params', 'set-flag', ['liquidate', true, null], c.deployer);
    return refused;
  },
  'ERR-UNKNOWN-POSITION': (c) => c.call('bh-liquidation', 'issue-margin-call', [first(c), 'reckless', c.stx], c.stranger),
  'ERR-NO-CALL': (c) => margin(c, 'escalate', first(c)),
  'ERR-CALL-SOFT': (c) => {
    refresh(c, { STX: stxAt(97n) });
    margin(c, 'issue-margin-call', first(c));
    return margin(c, 'escalate', first(c));
  },
  'ERR-CALL-OPEN': (c) => margin(c, 'issue-margin-call', first(c)),
  'ERR-POSITION-UNHEALTHY': (c) => margin(c, 'resolve-margin-call', first(c)),
  'ERR-NOT-LIQUIDATABLE': (c) => take(c),
  'ERR-CALL-HARD': (c) => {
    refresh(c, { STX: stxAt(70n) });
    margin(c, 'escalate', first(c));
    return margin(c, 'escalate', first(c));
  },
  'ERR-SAME-ROUND': (c) => take(c),
  'ERR-TAKER-CONSENT': (c) => take(c, 1n, c.providers[1]!, { caller: c.stranger }),
  'ERR-NOT-BACKER': (c) => liquidate(c, 1n, c.providers[2]!, c.providers[1]!),
  'ERR-MIN-PAID': (c) => {
    closeRound(c, 'STX', stxAt(70n));
    return take(c, 1n, c.providers[1]!, { minPaid: 10n ** 15n });
  },
  'ERR-TAKER-HEALTH': (c) => {
    // 12,960 USD at 130% and 1.40 USD less the haircut: 13,371.428572 STX are locked and not one more is free.
    c.must('bh-vault', 'deposit', [c.stx, TIER, 13_371_428_572n], c.buyer);
    return take(c, 1n, c.buyer);
  },
  // The last one changes the policy module.
  'ERR-POLICY-NOT-LIVE': (c) => {
    const module = c.deploy('module', fixture('module'));
    activateModule(c, 'policy', 9n, module);
    const cover = { tier: TIER, 'expiry-burn': c.burn + 100n, 'max-payout-usd8': 1_00000000n, 'price-usd8': 2_00000000n };
    const allocation = { provider: c.providers[2]!, 'liability-usd8': 1_00000000n };
    c.must(module, 'lock', [1_000n, c.buyer, c.stx, cover, { platform: 0n, reserve: 0n, provider: 0n }, [allocation]], c.stranger);
    return liquidate(c, 1_000n, c.providers[2]!, c.providers[1]!);
  },
};
