import { setsParam } from '../govern.ts';
import type { ClarityArgument } from '../chain.ts';
import type { Step, Walk } from './walk.ts';

const TITLE = new Uint8Array(32).fill(7);

function onProposal(walk: Walk, fn: string, args: (proposal: bigint) => ClarityArgument[], who: string): void {
  const found = walk.one(walk.state.gov.proposals);
  if (found) walk.call('bh-gov', fn, args(BigInt(found[0])), who);
}

/** What those who stake do. */
export const VOTES: Step[] = [
  (walk) => walk.call('bh-gov', 'stake', [walk.chain.stx, walk.amount()], walk.anybody()),
  (walk) => walk.call('bh-gov', 'stake', [walk.chain.stx, walk.amount()], walk.anybody()),
  (walk) => walk.call('bh-gov', 'unstake', [walk.chain.stx, walk.amount()], walk.anybody()),
  (walk) => walk.call('bh-gov', 'delegate-to', [walk.anybody()], walk.anybody()),
  (walk) => {
    const action = setsParam('cancel-fee-bp', walk.random.between(0n, 1_000n));
    walk.chain.mineBurn(1);
    walk.call('bh-gov', 'propose', [TITLE, 'ipfs://why', [action]], walk.anybody());
  },
  (walk) => {
    const choice = walk.random.pick(['for', 'for', 'against', 'abstain']);
    onProposal(walk, 'vote', (proposal) => [proposal, choice], walk.anybody());
  },
  (walk) => {
    const choice = walk.random.pick(['for', 'for', 'against', 'abstain']);
    for (const who of walk.chain.providers) onProposal(walk, 'vote', (proposal) => [proposal, choice], who);
  },
  (walk) => onProposal(walk, 'cancel', (proposal) => [proposal], walk.anybody()),
  (walk) => onProposal(walk, 'finalize', (proposal) => [proposal], walk.anybody()),
  (walk) => onProposal(walk, 'execute', (proposal) => [proposal, [walk.chain.stx]], walk.anybody()),
  (walk) => onProposal(walk, 'expire', (proposal) => [proposal], walk.anybody()),
];

/** Ends every vote and takes all stakes out. */
export function endVotes(walk: Walk): void {
  const { chain } = walk;
  chain.mineBurn(50);
  for (const proposal of walk.state.gov.proposals.keys()) walk.call('bh-gov', 'finalize', [BigInt(proposal)], chain.stranger);
  chain.mineBurn(50);
  for (const [who, amt] of walk.state.gov.stakes) {
    if (amt > 0n) chain.must('bh-gov', 'unstake', [chain.stx, amt], who);
  }
}
