import { Chain, type Outcome, type Row } from './chain.ts';
import { createPolicy, market, setPrice, BTC_USD8, STX_USD8 } from './flow.ts';

/** Tier of every position here: 130% at least, 135% to be healthy. */
export const TIER = 'aggressive';
/** Liability of each of the two policies: 12,960 USD, on 0.144 BTC at a strike of 90,000 USD. */
export const LIABILITY = 12_960_00000000n;
const NOTIONAL = 14_400_000n;
/** Length of the two policies, longer than all windows together. */
const DURATION = 2_000n;

/** Fresh rounds of both assets, at the prices of the first day unless others are given. */
export function refresh(chain: Chain, prices: { BTC?: bigint; STX?: bigint } = {}): void {
  setPrice(chain, 'BTC', prices.BTC ?? BTC_USD8);
  setPrice(chain, 'STX', prices.STX ?? STX_USD8);
}

/** A share of the first day's STX price, in percent. */
export function stxAt(percent: bigint): bigint {
  return (STX_USD8 * percent) / 100n;
}

/** Two policies that differ in expiry, both backed by the first provider alone: its position stands at 138%. */
export function press(chain: Chain): [bigint, bigint] {
  refresh(chain);
  const [provider] = chain.providers as [string];
  const make = (expiry: bigint): bigint => {
    const created = createPolicy(chain, { notional: NOTIONAL, expiry, backers: [{ provider, share: 1n }] });
    if (!created.ok) throw new Error(`create-policy failed with ${created.code}`);
    return created.value as bigint;
  };
  return [make(chain.burn + DURATION), make(chain.burn + DURATION + 1n)];
}

/** A market in which policies 1 and 2 press on the first provider's position. */
export function pressed(): Promise<Chain> {
  return Chain.reuse('pressed', async () => {
    const chain = await market();
    press(chain);
    return chain;
  });
}

export type FundTerms = { balance?: bigint; left?: bigint; maxLiability?: bigint; capital?: bigint };

/** Gives the fund STX: a balance of its own, a promise to the tier, and capital in the tier of the vault. */
export function endow(chain: Chain, terms: FundTerms = {}): void {
  const { balance = 0n, left = 0n, maxLiability = 0n, capital = 0n } = terms;
  if (balance + capital > 0n) chain.must('bh-fund', 'capitalize', [chain.stx, balance + capital], chain.stranger);
  chain.must('bh-fund', 'set-coverage', [TIER, chain.stx, left, maxLiability, null], chain.deployer);
  if (capital > 0n) chain.must('bh-fund', 'allocate', [chain.stx, TIER, capital], chain.deployer);
}

export function positionOf(chain: Chain, who: string, token = chain.stx): Row {
  return chain.read('bh-vault', 'get-position', [who, TIER, token]) as Row;
}

/** The open margin call of a position in STX, or null. */
export function callOf(chain: Chain, who: string): Row | null {
  return chain.read('bh-liquidation', 'get-call', [who, TIER, chain.stx]) as Row | null;
}

/** issue-margin-call, escalate or resolve-margin-call on a position in STX, by a stranger. */
export function margin(chain: Chain, fn: string, who: string): Outcome {
  return chain.call('bh-liquidation', fn, [who, TIER, chain.stx], chain.stranger);
}

export function liquidate(
  chain: Chain,
  policy: bigint,
  provider: string,
  taker: string,
  { caller = taker, minPaid = 0n }: { caller?: string; minPaid?: bigint } = {},
): Outcome {
  return chain.call('bh-liquidation', 'liquidate', [policy, provider, taker, minPaid], caller);
}

/** A hard call on the first provider, whose time is over: STX has fallen to a share of its price, in percent. */
export function overdue(chain: Chain, percent = 93n): void {
  refresh(chain, { STX: stxAt(percent) });
  chain.must('bh-liquidation', 'issue-margin-call', [chain.providers[0]!, TIER, chain.stx], chain.stranger);
  chain.mineBurn(145);
  refresh(chain, { STX: stxAt(percent) });
}

