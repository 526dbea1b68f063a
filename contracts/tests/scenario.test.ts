import { expect, test } from 'vitest';
import type { Row } from './support/chain.ts';
import { checkFold } from './support/fold.ts';
import { closeRound, createPolicy, fixExpiry, market, BTC_USD8, STX_USD8 } from './support/flow.ts';

test.each([
  ['Clarinet’s own address', 'ST1PQHQKV0RJXZFY1DGX8MNSNYVE3VGZJSRTPGZGM'],
  ['any other', 'ST2JHG361ZXG51QTKY2NQCVBPPRRE2KZB1HR05NNC'],
])('deployed by %s, a PUT is bought, expires in the money and pays; its providers earn and leave', async (_, deployer) => {
  const chain = await market({ deployer });
  const [first, second] = chain.providers as [string, string];
  const expiry = chain.burn + 10n;
  const created = createPolicy(chain, {
    expiry,
    backers: [
      { provider: first, share: 2n },
      { provider: second, share: 1n },
    ],
  });
  expect(created.ok).toBe(true);
  const policy = created.value as bigint;

  const before = chain.balance(chain.stx, chain.buyer);
  fixExpiry(chain, expiry, { BTC: (BTC_USD8 * 8n) / 10n, STX: STX_USD8 });
  const settled = chain.must('bh-policy', 'settle', [policy, chain.stx], chain.stranger);
  // (90,000 - 80,000) x 0.01 BTC = 100 USD = 50 STX at 2 USD.
  expect(chain.balance(chain.stx, chain.buyer) - before).toBe(50_000_000n);
  expect((chain.read('bh-policy', 'get-policy', [policy]) as Row)['state']).toBe('settled-itm');
  expect(settled.transfers).toEqual([
    { asset: 'STX', amount: 50_000_000n, sender: chain.id('bh-vault'), recipient: chain.buyer },
  ]);

  const earned = chain.read('bh-vault', 'get-yield', [first, chain.stx]) as bigint;
  expect(earned).toBeGreaterThan(0n);
  expect(chain.must('bh-vault', 'claim-yield', [chain.stx], first).value).toBe(earned);

  const position = chain.read('bh-vault', 'get-position', [first, 'aggressive', chain.stx]) as Row;
  expect(position['locked']).toBe(0n);
  const request = chain.must(
    'bh-vault',
    'request-withdraw',
    [chain.stx, 'aggressive', position['available'] as bigint],
    first,
  ).value as bigint;
  chain.mineBurn(1);
  chain.must('bh-vault', 'withdraw', [request, chain.stx], first);
  expect(closeRound(chain, 'BTC', (BTC_USD8 * 8n) / 10n).value).toBe(true);
  checkFold(chain);
});
