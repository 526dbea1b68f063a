import type { Case } from '../cases.ts';
import { fixture, type Chain, type Outcome } from '../chain.ts';
import { createPolicy, fixExpiry, BTC_USD8, STX_USD8 } from '../flow.ts';
import { endow, liquidate, overdue, press, refresh, stxAt, TIER } from '../margin.ts';

const ENOUGH = 10n ** 15n;

/** A policy of which 75 USD stayed unpaid. */
function unpaid(chain: Chain): bigint {
  refresh(chain);
  const expiry = chain.burn + 3n;
  const policy = createPolicy(chain, { expiry, backers: [{ provider: chain.providers[1]!, share: 1n }] }).value as bigint;
  fixExpiry(chain, expiry, { BTC: BTC_USD8 / 2n, STX: STX_USD8 / 4n });
  chain.must('bh-policy', 'settle', [policy, chain.stx], chain.stranger);
  return policy;
}

function cover(chain: Chain, policy: bigint): Outcome {
  return chain.call('bh-fund', 'cover-shortfall', [policy, chain.stx], chain.stranger);
}

/** Presses on the first provider, lets its call run out, and has the fund take an allocation. */
function takeOver(chain: Chain, endowment: Parameters<typeof endow>[1]): Outcome {
  const [policy] = chain.read('bh-vault', 'get-lock', [1n]) === null ? press(chain) : [1n];
  endow(chain, endowment);
  if (chain.read('bh-liquidation', 'get-call', [chain.providers[0]!, TIER, chain.stx]) === null) overdue(chain);
  refresh(chain, { STX: stxAt(93n) });
  return liquidate(chain, policy, chain.providers[0]!, chain.id('bh-fund'), { caller: chain.stranger });
}

function recovery(chain: Chain, target: bigint): Outcome {
  return chain.call('bh-fund', 'start-recovery', [chain.stx, target, 2n, null], chain.deployer);
}

/** Errors of the fund, in an order in which the market stays usable. */
export const FUND_ERRORS: Record<string, Case> = {
  'ERR-TAKEOVER-LIABILITY': (c) => takeOver(c, { capital: 30_000_000_000n }),
  'ERR-TAKEOVER-SHARE': (c) => takeOver(c, { maxLiability: ENOUGH }),
  'ERR-FUND-CRITICAL': (c) => {
    endow(c, { capital: 70_000_000_000n });
    const refused = takeOver(c, { maxLiability: ENOUGH, left: 1n });
    c.must('bh-params', 'reset-breaker', ['create', null], c.deployer);
    return refused;
  },
  'ERR-TAKEOVER-DURATION': (c) => {
    endow(c, { balance: 1n, maxLiability: ENOUGH });
    c.must('bh-params', 'set-params', [[{ key: 'takeover-min-duration', value: 4_000n }], null], c.deployer);
    return takeOver(c, { maxLiability: ENOUGH });
  },
  'ERR-TAKEOVER-PRICE': (c) => {
    c.must('bh-params', 'set-params', [[{ key: 'takeover-min-duration', value: 144n }], null], c.deployer);
    endow(c, { capital: 900_000_000_000n, maxLiability: ENOUGH });
    refresh(c, { BTC: (BTC_USD8 * 40n) / 100n, STX: stxAt(20n) });
    return liquidate(c, 1n, c.providers[0]!, c.id('bh-fund'), { caller: c.stranger });
  },
  'ERR-FUND-NOT-LIQUIDATION': (c) =>
    c.call(
      'bh-fund',
      'record-takeover',
      [
        1n,
        c.providers[0]!,
        { tier: TIER, token: c.stx, 'expiry-burn': 1n, 'liability-usd8': 1n, collateral: 0n, price: 0n, paid: 0n },
      ],
      c.deployer,
    ),
  'ERR-FUND-NOT-GOVERNANCE': (c) => c.call('bh-fund', 'set-coverage', [TIER, c.stx, 1n, 1n, null], c.guardian),
  'ERR-NOT-FUND-MANAGER': (c) => c.call('bh-fund', 'allocate', [c.stx, TIER, 1n], c.guardian),
  'ERR-FUND-TOKEN': (c) => c.call('bh-fund', 'capitalize', [c.deploy('no-token', fixture('greedy-token')), 1n], c.stranger),
  'ERR-FUND-TIER': (c) => c.call('bh-fund', 'set-coverage', ['reckless', c.stx, 1n, 1n, null], c.deployer),
  'ERR-FUND-ZERO-AMOUNT': (c) => c.call('bh-fund', 'capitalize', [c.stx, 0n], c.stranger),
  'ERR-FUND-TRANSFER': (c) => c.call('bh-fund', 'capitalize', [c.stx, 10n ** 18n], c.stranger),
  'ERR-FUND-PROMISED': (c) => c.call('bh-fund', 'allocate', [c.stx, TIER, 10n ** 18n], c.deployer),
  'ERR-COVER-CLOSED': (c) => {
    c.must('bh-params', 'set-flag', ['cover', false, null], c.deployer);
    const refused = cover(c, 1n);
    c.must('bh-params', 'set-flag', ['cover', true, null], c.deployer);
    return refused;
  },
  'ERR-COVER-NOT-DUE': (c) => cover(c, 10_000n),
  'ERR-COVER-USED-UP': (c) => cover(c, unpaid(c)),
  'ERR-RECOVERY-TERMS': (c) => recovery(c, 0n),
  'ERR-RECOVERY-OPEN': (c) => {
    recovery(c, 10n);
    return recovery(c, 10n);
  },
  'ERR-RECOVERY-RUNNING': (c) => c.call('bh-fund', 'complete-recovery', [1n], c.stranger),
  'ERR-RECOVERY-CLOSED': (c) => c.call('bh-fund', 'contribute', [1n, c.stx, 11n], c.stranger),
  'ERR-NO-RECOVERY': (c) => c.call('bh-fund', 'contribute', [2n, c.stx, 1n], c.stranger),
  'ERR-FUND-SUCCESSOR': (c) => c.call('bh-fund', 'pass-on-capital', [c.stx, null], c.deployer),
  'ERR-NO-SURPLUS': (c) => c.call('bh-fund', 'absorb', [c.stx], c.stranger),
};
