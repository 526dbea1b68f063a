import { serializeCVBytes } from '@stacks/transactions';
import { clarity, type Chain, type ClarityArgument, type Outcome, type Row } from './chain.ts';
import { setParams } from './flow.ts';

/** An action of a proposal as the contract takes it. */
export type Action = { kind: string; data: Uint8Array };

/** Governance that takes a few Bitcoin blocks. */
export const QUICK: [string, bigint][] = [
  ['gov-voting-period', 6n],
  ['gov-timelock', 2n],
  ['gov-grace', 6n],
  ['withdrawal-delay', 1n],
];

/** One million STX in µSTX: what must be staked before anybody can propose. */
export const MILLION = 1_000_000_000_000n;

/** An action: the name of a function, and its data. */
export function action(kind: string, data: ClarityArgument): Action {
  return { kind, data: serializeCVBytes(clarity(data)) };
}

/** A call that is within everybody's bounds: one parameter set. */
export function setsParam(key = 'cancel-fee-bp', value = 700n): Action {
  return action('set-params', [{ key, value }]);
}

export function stake(chain: Chain, who: string, amt: bigint): Outcome {
  return chain.must('bh-gov', 'stake', [chain.stx, amt], who);
}

/** Stakes so that three providers hold 50%, 30% and 20% of all power, a Bitcoin block before now. */
export function stakes(chain: Chain): void {
  const [first, second, third] = chain.providers as [string, string, string];
  setParams(chain, QUICK);
  stake(chain, first, 5n * MILLION);
  stake(chain, second, 3n * MILLION);
  stake(chain, third, 2n * MILLION);
  chain.mineBurn(1);
}

export function propose(chain: Chain, items: Action[], who = chain.providers[0]!): Outcome {
  return chain.call('bh-gov', 'propose', [new Uint8Array(32).fill(7), 'ipfs://why', items as ClarityArgument[]], who);
}

/** A proposal that is made; its number. */
export function proposed(chain: Chain, items: Action[] = [setsParam()], who = chain.providers[0]!): bigint {
  const outcome = propose(chain, items, who);
  if (!outcome.ok) throw new Error(`propose failed with ${outcome.code}`);
  return outcome.value as bigint;
}

export function vote(chain: Chain, proposal: bigint, choice: string, who: string): Outcome {
  return chain.call('bh-gov', 'vote', [proposal, choice], who);
}

export function row(chain: Chain, proposal: bigint): Row {
  return chain.read('bh-gov', 'get-proposal', [proposal]) as Row;
}

export function finalize(chain: Chain, proposal: bigint): Outcome {
  chain.mineTo((row(chain, proposal)['voting-ends-burn'] as bigint) + 1n);
  return chain.call('bh-gov', 'finalize', [proposal], chain.stranger);
}

/** A proposal that the first two providers voted for and that is queued; its number. */
export function queued(chain: Chain, items: Action[] = [setsParam()]): bigint {
  const proposal = proposed(chain, items);
  for (const voter of chain.providers.slice(0, 2)) chain.must('bh-gov', 'vote', [proposal, 'for'], voter);
  if (finalize(chain, proposal).value !== true) throw new Error('the proposal did not pass');
  return proposal;
}

/** Executes a queued proposal, by default with as many tokens as it has actions. */
export function execute(chain: Chain, proposal: bigint, tokens?: string[]): Outcome {
  const count = Number(row(chain, proposal)['actions']);
  return chain.call('bh-gov', 'execute', [proposal, tokens ?? Array<string>(count).fill(chain.stx)], chain.stranger);
}

/** Takes actions from their proposal to their execution. */
export function govern(chain: Chain, items: Action[], tokens?: string[]): Outcome {
  const proposal = queued(chain, items);
  chain.mineTo(row(chain, proposal)['eta-burn'] as bigint);
  return execute(chain, proposal, tokens);
}
