import { expect, test } from 'vitest';
import type { Costs, Outcome, Row } from './support/chain.ts';
import { createPolicy, fixExpiry, market, BTC_USD8, STX_USD8 } from './support/flow.ts';

/** What one Stacks block may cost, since epoch 2.05. */
const BLOCK: Costs = {
  runtime: 5_000_000_000,
  readCount: 15_000,
  readLength: 100_000_000,
  writeCount: 15_000,
  writeLength: 15_000_000,
};

/** The largest share of a block's limits that a call takes, in percent. */
function share({ costs }: Outcome): number {
  if (costs === null) throw new Error('the simulator tracked no costs');
  return Math.max(...Object.entries(BLOCK).map(([key, limit]) => (100 * costs[key as keyof Costs]) / limit));
}

test('settle-many of 20 policies with 10 allocations each fits a block', async () => {
  const chain = await market({ extraProviders: 7, trackCosts: true });
  const expiry = chain.burn + 40n;
  const backers = chain.providers.map((provider) => ({ provider, share: 1n }));
  const created = Array.from({ length: 20 }, () => createPolicy(chain, { expiry, backers }));
  expect(created.map(({ code }) => code)).toEqual(Array(20).fill(0));
  fixExpiry(chain, expiry, { BTC: (BTC_USD8 * 8n) / 10n, STX: STX_USD8 });
  const items = created.map(({ value }) => ({ policy: value as bigint, token: chain.stx }));
  const settled = chain.must('bh-policy', 'settle-many', [items], chain.stranger);
  expect((settled.value as Row[]).every((item) => item['error'] === 0n)).toBe(true);
  expect(settled.events.filter(({ topic }) => topic === 'collateral.released')).toHaveLength(200);
  // The figures that docs/contracts.md gives.
  expect(Math.ceil(share(created[0]!))).toBe(2);
  expect(Math.ceil(share(settled))).toBe(32);
});
