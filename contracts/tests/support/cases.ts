import type { Chain, ClarityArgument, Outcome } from './chain.ts';

/** Makes a contract fail with the error that the case is named after, in a market that stays usable. */
export type Case = (chain: Chain) => Outcome;

/** Kinds of callers that `access.test.ts` tries every public function with. */
export type Class = 'governance' | 'guardian' | 'feeder' | 'provider' | 'owner' | 'stranger';

/** A public function that is not for everybody. */
export type Call = {
  contract: string;
  fn: string;
  args: (chain: Chain) => ClarityArgument[];
  /** Error of a caller who may not. */
  denied: number;
  /** Who may, and the later error that stops them here, or 0. */
  allowed: Class[];
  then: number;
  /** What makes the call possible for those who may. */
  before?: (chain: Chain) => void;
};
