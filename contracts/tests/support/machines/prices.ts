import { Chain, type ClarityArgument, type Row } from '../chain.ts';
import { bootstrapped, BTC_USD8 } from '../flow.ts';
import type { Driver } from './machine.ts';

const ASSET = 'BTC';
const FALLBACK_DELAY = 144;
const ROUND_TIMEOUT = 6;

export const BREAKER_DRIVER: Driver = {
  start: () => bootstrapped(),
  key: () => 'create',
  unknown: 'no-such',
  call: {
    'trip-breaker': (c, key) => c.call('bh-params', 'trip-breaker', [key, 'test'], c.guardian),
    'reset-breaker': (c, key) => c.call('bh-params', 'reset-breaker', [key, null], c.deployer),
  },
};

const rowOf = (chain: Chain, key: ClarityArgument) => chain.mapEntry('bh-oracle', 'rounds', key) as Row | null;
const numberOf = (key: ClarityArgument) => (key as { round: bigint }).round;

/** The price of the provider who is the next to submit to a round. */
function submit(chain: Chain, key: ClarityArgument) {
  const count = Number(rowOf(chain, key)?.['count'] ?? 0n) % chain.feeders.length;
  return chain.call('bh-oracle', 'submit-price', [ASSET, numberOf(key), BTC_USD8, chain.burn], chain.feeders[count]!);
}

/** Announces a fallback price and waits until it can be used. */
function announce(chain: Chain): void {
  chain.must('bh-params', 'trip-breaker', ['oracle', 'test'], chain.guardian);
  chain.must('bh-oracle', 'set-fallback', [ASSET, BTC_USD8, 'test'], chain.guardian);
  chain.mineBurn(FALLBACK_DELAY);
}

const apply = (chain: Chain) => chain.call('bh-oracle', 'apply-fallback', [ASSET], chain.stranger);

export const ROUND_DRIVER: Driver = {
  start: () => bootstrapped(),
  key: () => ({ asset: ASSET, round: 1n }),
  call: {
    'submit-price': submit,
    'close-round': (c, key) => c.call('bh-oracle', 'close-round', [ASSET, numberOf(key)], c.stranger),
    'apply-fallback': apply,
    'fix-expiry-price': (c, key) => {
      const opened = (rowOf(c, key)?.['opened-burn'] ?? c.burn) as bigint;
      return c.call('bh-oracle', 'fix-expiry-price', [ASSET, opened, numberOf(key)], c.stranger);
    },
  },
  before: {
    'open close-round closed': (c, key) => [submit(c, key), submit(c, key)],
    'open close-round rejected': (c) => c.mineBurn(ROUND_TIMEOUT + 1),
    'none apply-fallback closed': announce,
    'open apply-fallback rejected': announce,
  },
};

export const FALLBACK_DRIVER: Driver = {
  start: () =>
    Chain.reuse('fallback machine', async () => {
      const chain = await bootstrapped();
      chain.must('bh-params', 'trip-breaker', ['oracle', 'test'], chain.guardian);
      return chain;
    }),
  key: () => ASSET,
  call: {
    'set-fallback': (c) => c.call('bh-oracle', 'set-fallback', [ASSET, BTC_USD8, 'test'], c.guardian),
    'cancel-fallback': (c) => c.call('bh-oracle', 'cancel-fallback', [ASSET], c.guardian),
    'apply-fallback': apply,
  },
  before: { 'announced apply-fallback none': (c) => c.mineBurn(FALLBACK_DELAY) },
};
