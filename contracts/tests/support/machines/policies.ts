import { Chain, type ClarityArgument, type Outcome, type Row } from '../chain.ts';
import { closeRound, createPolicy, fixExpiry, market, setPrice, BTC_USD8, STX_USD8 } from '../flow.ts';
import type { Driver } from './machine.ts';

const HASH = new Uint8Array(32).fill(7);
const IN_MONEY = (BTC_USD8 * 8n) / 10n;

const onPolicy = (fn: string) => (chain: Chain, key: ClarityArgument) => chain.call('bh-policy', fn, [key, chain.stx], chain.buyer);

/** settle-many of one policy, with what became of it as the outcome. */
function settleMany(chain: Chain, key: ClarityArgument): Outcome {
  const outcome = chain.must('bh-policy', 'settle-many', [[{ policy: key, token: chain.stx }]], chain.stranger);
  const code = Number((outcome.value as Row[])[0]!['error']);
  return { ...outcome, ok: code === 0, code };
}

/** Lets a policy's expiry come, at a price of BTC. */
const expireAt = (price: bigint) => (chain: Chain, key: ClarityArgument) => {
  const { 'expiry-burn': expiry } = chain.read('bh-policy', 'get-policy', [key]) as { 'expiry-burn': bigint };
  fixExpiry(chain, expiry, { BTC: price, STX: STX_USD8 });
};

export const POLICY_DRIVER: Driver = {
  start: () => market(),
  key: () => 999n,
  call: {
    'create-policy': (c) => createPolicy(c, { style: 'american' }),
    settle: onPolicy('settle'),
    'settle-many': settleMany,
    exercise: onPolicy('exercise'),
    cancel: onPolicy('cancel'),
  },
  before: {
    'active settle settled-itm': expireAt(IN_MONEY),
    'active settle expired-otm': expireAt(BTC_USD8),
    'active settle-many settled-itm': expireAt(IN_MONEY),
    'active settle-many expired-otm': expireAt(BTC_USD8),
    'active exercise exercised': (c) => {
      c.mineBurn(1);
      setPrice(c, 'BTC', IN_MONEY);
      closeRound(c, 'STX', STX_USD8);
    },
  },
};

export const CLAIM_DRIVER: Driver = {
  // Policy 1 has ended, and STX was worth too little for its collateral to cover it.
  start: () =>
    Chain.reuse('claim machine', async () => {
      const chain = await market();
      chain.must('bh-registry', 'grant-role', ['arbiter', chain.guardian, null], chain.deployer);
      const expiry = chain.burn + 3n;
      createPolicy(chain, { expiry, strike: BTC_USD8, notional: 100_000n });
      fixExpiry(chain, expiry, { BTC: BTC_USD8 / 10n, STX: STX_USD8 / 20n });
      chain.must('bh-policy', 'settle', [1n, chain.stx], chain.stranger);
      return chain;
    }),
  key: () => 1n,
  call: {
    'open-claim': (c, key) => c.call('bh-policy', 'open-claim', [key, HASH], c.buyer),
    'resolve-claim': (c, key, to) => c.call('bh-policy', 'resolve-claim', [key, to === 'approved' ? 1n : 0n, HASH], c.guardian),
  },
};
