import { expect } from 'vitest';
import type { Row } from '../chain.ts';
import { allocate, maxPayout, setPrice } from '../flow.ts';
import type { Step, Walk } from './walk.ts';

const HASH = new Uint8Array(32).fill(1);

type Wish = { type: string; strikePercent: bigint; notional: bigint; blocks: bigint; token: string; backers: string[] };

/** Tries to buy a policy at fresh prices, backed by random shares. */
export function buy(walk: Walk, wish: Wish): void {
  const { chain, random, prices } = walk;
  walk.refresh();
  // A fund that promised more than it has stops new policies until governance lets them go on.
  if (chain.read('bh-params', 'is-tripped', ['create']) === true) {
    walk.call('bh-params', 'reset-breaker', ['create', null], chain.deployer);
  }
  const strike = (prices.BTC * wish.strikePercent) / 100n;
  const backers = wish.backers.map((provider) => ({ provider, share: random.between(1n, 9n) }));
  walk.call(
    'bh-policy',
    'create-policy',
    [
      wish.type,
      random.pick(['european', 'american']),
      'BTC',
      strike,
      wish.notional,
      chain.burn + wish.blocks,
      10n ** 15n,
      wish.token,
      allocate(maxPayout(strike, wish.notional), backers) as { [key: string]: string | bigint }[],
    ],
    random.pick([chain.buyer, chain.stranger]),
  );
}

/** Tries to buy some policy. */
export function create(walk: Walk): void {
  const { chain, random } = walk;
  const type = random.pick(['put', 'call']);
  const distance = random.between(0n, 30n);
  buy(walk, {
    type,
    strikePercent: type === 'put' ? 100n - distance : 100n + distance,
    notional: random.between(10_000n, random.pick([4_000_000n, 30_000_000n])),
    blocks: random.between(2n, 30n),
    token: walk.token(),
    backers: chain.providers.slice(0, Number(random.between(1n, 3n))),
  });
}

function onPolicy(walk: Walk, fn: string): void {
  const found = walk.one(walk.state.policy.policies, (row) => row['state'] === 'active');
  if (!found) return;
  walk.refresh();
  walk.call('bh-policy', fn, [BigInt(found[0]), String(found[1]['token'])], String(found[1]['owner']));
}

/** Fixes an expiry's price from the rounds that are closed already. */
function fixFromHistory(walk: Walk, asset: string, expiry: bigint): void {
  const last = (walk.chain.read('bh-oracle', 'get-asset', [asset]) as Row)['last-round'] as bigint;
  for (let round = last; round > 0n; round -= 1n) {
    if (walk.call('bh-oracle', 'fix-expiry-price', [asset, expiry, round], walk.chain.stranger) !== null) return;
  }
  throw new Error(`no round fixes ${asset} at ${expiry}`);
}

/** Fixes what has expired and settles it in batches: nothing can keep an expired policy from being settled. */
export function settle(walk: Walk): void {
  const { chain } = walk;
  const due = [...walk.state.policy.policies].filter(
    ([, row]) => row['state'] === 'active' && (row['expiry-burn'] as bigint) <= chain.burn,
  );
  for (const expiry of new Set(due.map(([, row]) => row['expiry-burn'] as bigint))) {
    for (const asset of ['BTC', 'STX'] as const) {
      if (chain.read('bh-oracle', 'get-expiry-price', [asset, expiry]) !== null) continue;
      // A round that was rejected leaves one asset behind the other.
      const { 'opened-burn': opened } = chain.read('bh-oracle', 'get-asset', [asset]) as { 'opened-burn': bigint };
      if (opened < expiry) setPrice(chain, asset, walk.prices[asset]);
      fixFromHistory(walk, asset, expiry);
    }
  }
  for (let from = 0; from < due.length; from += 20) {
    const items = due
      .slice(from, from + 20)
      .map(([policy, row]) => ({ policy: BigInt(policy), token: String(row['token']) }));
    const value = walk.call('bh-policy', 'settle-many', [items], chain.stranger) as Row[];
    expect(value.map(({ error }) => error)).toEqual(items.map(() => 0n));
  }
}

/** Nobody's stablecoin: STX collateral can become worth less than what it covers, until prices find back. */
function crash(walk: Walk): void {
  const { chain, prices } = walk;
  const before = prices.STX;
  prices.STX = (before * walk.random.between(30n, 70n)) / 100n;
  chain.mineBurn(walk.random.between(1n, 12n));
  walk.refresh();
  settle(walk);
  prices.STX = before;
}

/** What buyers, and those who settle for them, do. */
export const POLICIES: Step[] = [
  create,
  create,
  create,
  (walk) => {
    walk.chain.mineBurn(walk.random.between(1n, 6n));
    settle(walk);
  },
  (walk) => {
    walk.move();
    onPolicy(walk, 'exercise');
  },
  (walk) => onPolicy(walk, 'cancel'),
  crash,
  (walk) => {
    const found = walk.one(walk.state.policy.policies, (row) => (row['unpaid-usd8'] as bigint) > 0n);
    if (found) walk.call('bh-policy', 'open-claim', [BigInt(found[0]), HASH], String(found[1]['owner']));
  },
  (walk) => {
    const found = walk.one(walk.state.policy.claims, (row) => row['state'] === 'open');
    if (!found) return;
    const approved = walk.random.between(0n, found[1]['unpaid-usd8'] as bigint);
    walk.call('bh-policy', 'resolve-claim', [BigInt(found[0]), approved, HASH], walk.chain.guardian);
  },
];
