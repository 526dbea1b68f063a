import { Chain, type ClarityArgument, type Row } from '../chain.ts';
import { bootstrapped } from '../flow.ts';
import { propose, setsParam, stakes, vote } from '../govern.ts';
import type { Driver } from './machine.ts';

const onProposal = (fn: string, rest: (chain: Chain) => ClarityArgument[] = () => []) => (chain: Chain, key: ClarityArgument) =>
  chain.call('bh-gov', fn, [key, ...rest(chain)], chain.stranger);

const rowOf = (chain: Chain, key: ClarityArgument) => chain.read('bh-gov', 'get-proposal', [key]) as Row | null;

/** Mines past a height of a proposal. */
const past = (field: string) => (chain: Chain, key: ClarityArgument) => chain.mineTo((rowOf(chain, key)![field] as bigint) + 1n);

export const PROPOSAL_DRIVER: Driver = {
  start: () =>
    Chain.reuse('proposal machine', async () => {
      const chain = await bootstrapped();
      stakes(chain);
      chain.must('bh-registry', 'handover', [chain.id('bh-gov')], chain.deployer);
      return chain;
    }),
  key: () => 999n,
  call: {
    propose: (c) => propose(c, [setsParam()]),
    vote: (c, key) => vote(c, key as bigint, 'for', c.providers[2]!),
    finalize: onProposal('finalize'),
    execute: onProposal('execute', (c) => [[c.stx]]),
    expire: onProposal('expire'),
    cancel: (c, key) => {
      const isQueued = rowOf(c, key)?.['state'] === 'queued';
      return c.call('bh-gov', 'cancel', [key], isQueued ? c.guardian : c.providers[0]!);
    },
  },
  before: {
    'active finalize queued': (c, key) => {
      for (const voter of c.providers.slice(0, 2)) vote(c, key as bigint, 'for', voter);
      past('voting-ends-burn')(c, key);
    },
    'active finalize defeated': past('voting-ends-burn'),
    'queued execute executed': past('eta-burn'),
    'queued expire expired': past('grace-ends-burn'),
  },
};
