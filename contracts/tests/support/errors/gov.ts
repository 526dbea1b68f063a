import type { Case } from '../cases.ts';
import type { Chain, ClarityArgument, Outcome } from '../chain.ts';
import { action, execute, finalize, propose, proposed, queued, row, setsParam, stakes, vote, MILLION } from '../govern.ts';

function call(chain: Chain, fn: string, args: ClarityArgument[], who = chain.stranger): Outcome {
  return chain.call('bh-gov', fn, args, who);
}

/** The stakes of three providers, once per market. */
function staked(chain: Chain): Chain {
  if (chain.read('bh-gov', 'get-power', [null]) === 0n) stakes(chain);
  return chain;
}

export const GOV_ERRORS: Record<string, Case> = {
  // Before anybody has staked.
  'ERR-LOW-STAKE': (c) => {
    c.must('bh-gov', 'stake', [c.stx, MILLION - 1n], c.stranger);
    c.mineBurn(1);
    const outcome = propose(c, [setsParam()], c.stranger);
    c.must('bh-gov', 'unstake', [c.stx, MILLION - 1n], c.stranger);
    return outcome;
  },
  'ERR-GOV-NOT-GOVERNANCE': (c) => call(c, 'bootstrap', [c.stx, 'stx']),
  'ERR-GOV-BOOTSTRAPPED': (c) => call(c, 'bootstrap', [c.stx, 'stx'], c.deployer),
  'ERR-GOV-TOKEN': (c) => call(c, 'stake', [c.sbtc, 1n]),
  'ERR-GOV-AMOUNT': (c) => call(c, 'stake', [c.stx, 0n]),
  'ERR-GOV-TRANSFER': (c) => call(c, 'stake', [c.stx, 10n ** 20n]),
  'ERR-STAKE-SHORT': (c) => call(staked(c), 'unstake', [c.stx, 1n]),
  'ERR-SAME-DELEGATE': (c) => call(c, 'delegate-to', [c.stranger]),
  'ERR-STAKE-LOCKED': (c) => {
    const proposal = proposed(staked(c));
    c.must('bh-gov', 'vote', [proposal, 'against'], c.providers[0]!);
    return call(c, 'unstake', [c.stx, 1n], c.providers[0]);
  },
  'ERR-LOW-POWER': (c) => propose(staked(c), [setsParam()], c.stranger),
  'ERR-NO-ACTIONS': (c) => propose(staked(c), []),
  'ERR-BAD-ACTION': (c) => propose(staked(c), [setsParam(), action('mint', { amt: 1n })]),
  'ERR-UNKNOWN-PROPOSAL': (c) => call(c, 'vote', [99n, 'for']),
  'ERR-PROPOSAL-STATE': (c) => {
    const proposal = proposed(staked(c));
    return execute(c, proposal);
  },
  'ERR-VOTING-OPEN': (c) => call(c, 'finalize', [proposed(staked(c))]),
  'ERR-VOTING-OVER': (c) => {
    const proposal = proposed(staked(c));
    c.mineTo((row(c, proposal)['voting-ends-burn'] as bigint) + 1n);
    return vote(c, proposal, 'for', c.providers[0]!);
  },
  'ERR-BAD-CHOICE': (c) => vote(c, proposed(staked(c)), 'maybe', c.providers[0]!),
  'ERR-VOTED': (c) => {
    const proposal = proposed(staked(c));
    c.must('bh-gov', 'vote', [proposal, 'for'], c.providers[0]!);
    return vote(c, proposal, 'abstain', c.providers[0]!);
  },
  'ERR-NO-POWER': (c) => vote(c, proposed(staked(c)), 'for', c.stranger),
  'ERR-TIMELOCK': (c) => execute(c, queued(staked(c))),
  'ERR-GRACE-OVER': (c) => {
    const proposal = queued(staked(c));
    c.mineTo((row(c, proposal)['grace-ends-burn'] as bigint) + 1n);
    return execute(c, proposal);
  },
  'ERR-GRACE-OPEN': (c) => call(c, 'expire', [queued(staked(c))]),
  'ERR-NOT-CANCELLER': (c) => call(c, 'cancel', [proposed(staked(c))]),
  'ERR-ACTION-COUNT': (c) => {
    const proposal = queued(staked(c));
    c.mineTo(row(c, proposal)['eta-burn'] as bigint);
    return execute(c, proposal, []);
  },
  'ERR-GUARDIAN-BOUND': (c) => {
    const proposal = proposed(staked(c), [action('revoke-role', { role: 'guardian', who: c.guardian })]);
    for (const voter of c.providers.slice(0, 2)) c.must('bh-gov', 'vote', [proposal, 'for'], voter);
    finalize(c, proposal);
    return call(c, 'cancel', [proposal], c.guardian);
  },
};
