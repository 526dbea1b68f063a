import type { Case } from '../cases.ts';
import { fixture, type Chain } from '../chain.ts';
import { closeRound, createPolicy, fixExpiry, setPrice, BTC_USD8, STX_USD8 } from '../flow.ts';

const HASH = new Uint8Array(32).fill(7);

/** A policy that its collateral could not cover; gives its id. */
function unpaid(chain: Chain): bigint {
  closeRound(chain, 'BTC', BTC_USD8);
  closeRound(chain, 'STX', STX_USD8);
  const expiry = chain.burn + 3n;
  const created = createPolicy(chain, { expiry, strike: BTC_USD8, notional: 100_000n });
  const policy = created.value as bigint;
  fixExpiry(chain, expiry, { BTC: BTC_USD8 / 10n, STX: STX_USD8 / 20n });
  chain.must('bh-policy', 'settle', [policy, chain.stx], chain.stranger);
  setPrice(chain, 'BTC', BTC_USD8);
  setPrice(chain, 'STX', STX_USD8);
  return policy;
}

const resolve = (chain: Chain, policy: bigint, usd8: bigint, who = chain.guardian) =>
  chain.call('bh-policy', 'resolve-claim', [policy, usd8, HASH], who);

/** Errors of policies' creation block and of claims. The guardian is the arbiter in them. */
export const CLAIM_ERRORS: Record<string, Case> = {
  'ERR-CREATION-BLOCK': (c) => {
    closeRound(c, 'BTC', BTC_USD8);
    closeRound(c, 'STX', STX_USD8);
    const flash = c.deploy('flash', fixture('flash'));
    c.must('bh-stx', 'transfer', [1_000_000_000n, c.stranger, flash, null], c.stranger);
    const allocation = { provider: c.providers[0]!, 'liability-usd8': 900_00000000n };
    return c.call(flash, 'buy-and-cancel', [c.stx, (BTC_USD8 * 9n) / 10n, c.burn + 10n, [allocation]], c.stranger);
  },
  'ERR-NOTHING-UNPAID': (c) => {
    closeRound(c, 'BTC', BTC_USD8);
    closeRound(c, 'STX', STX_USD8);
    return c.call('bh-policy', 'open-claim', [createPolicy(c).value as bigint, HASH], c.buyer);
  },
  'ERR-CLAIM-EXISTS': (c) => {
    const policy = unpaid(c);
    c.must('bh-policy', 'open-claim', [policy, HASH], c.buyer);
    return c.call('bh-policy', 'open-claim', [policy, HASH], c.buyer);
  },
  'ERR-NO-CLAIM': (c) => {
    c.must('bh-registry', 'grant-role', ['arbiter', c.guardian, null], c.deployer);
    return resolve(c, unpaid(c), 0n);
  },
  'ERR-NOT-ARBITER': (c) => {
    const policy = unpaid(c);
    c.must('bh-policy', 'open-claim', [policy, HASH], c.buyer);
    return resolve(c, policy, 0n, c.deployer);
  },
  'ERR-CLAIM-AMOUNT': (c) => {
    c.must('bh-registry', 'grant-role', ['arbiter', c.guardian, null], c.deployer);
    const policy = unpaid(c);
    c.must('bh-policy', 'open-claim', [policy, HASH], c.buyer);
    const { 'unpaid-usd8': most } = c.read('bh-policy', 'get-policy', [policy]) as { 'unpaid-usd8': bigint };
    return resolve(c, policy, most + 1n);
  },
};
