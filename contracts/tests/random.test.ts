import { expect, test } from 'vitest';
import type { Chain, Row } from './support/chain.ts';
import { checkFold, Folded } from './support/fold.ts';
import { allocate, closeRound, fixExpiry, market, maxPayout, setPrice, BTC_USD8, STX_USD8 } from './support/flow.ts';
import { Random } from './support/random.ts';

const TIERS = ['conservative', 'balanced', 'aggressive'];
const STEPS = 30;

/** A random walk over everything that providers, buyers, feeders and keepers can do. */
class Walk {
  private prices = { BTC: BTC_USD8, STX: STX_USD8 };
  /** How often each kind of call succeeded. */
  readonly done = new Map<string, number>();

  constructor(
    private readonly chain: Chain,
    private readonly random: Random,
  ) {}

  private call(contract: string, fn: string, args: Parameters<Chain['call']>[2], who: string): boolean {
    const outcome = this.chain.call(contract, fn, args, who);
    // A refusal must have a number of ours; a runtime error would have thrown.
    if (!outcome.ok) expect(outcome.code).toBeGreaterThan(1_000);
    else this.done.set(fn, (this.done.get(fn) ?? 0) + 1);
    return outcome.ok;
  }

  private move(): void {
    const { random, prices } = this;
    prices.BTC = (prices.BTC * random.between(88n, 112n)) / 100n;
    prices.STX = (prices.STX * random.between(85n, 114n)) / 100n;
    this.refresh();
  }

  private refresh(): void {
    setPrice(this.chain, 'BTC', this.prices.BTC);
    setPrice(this.chain, 'STX', this.prices.STX);
  }

  private create(): void {
    const { chain, random, prices } = this;
    this.refresh();
    const type = random.pick(['put', 'call']);
    const distance = random.between(0n, 30n);
    const strike = (prices.BTC * (type === 'put' ? 100n - distance : 100n + distance)) / 100n;
    const notional = random.between(10_000n, 4_000_000n);
    const backers = chain.providers
      .slice(0, Number(random.between(1n, 3n)))
      .map((provider) => ({ provider, share: random.between(1n, 9n) }));
    this.call(
      'bh-policy',
      'create-policy',
      [
        type,
        random.pick(['european', 'american']),
        'BTC',
        strike,
        notional,
        chain.burn + random.between(2n, 12n),
        10n ** 15n,
        random.pick([chain.stx, chain.sbtc]),
        allocate(maxPayout(strike, notional), backers) as { [key: string]: string | bigint }[],
      ],
      random.pick([chain.buyer, chain.stranger]),
    );
  }

  private onPolicy(state: Folded, fn: string): void {
    const active = [...state.policy.policies].filter(([, row]) => row['state'] === 'active');
    if (active.length === 0) return;
    const [policy, row] = this.random.pick(active);
    this.refresh();
    this.call('bh-policy', fn, [BigInt(policy), String(row['token'])], String(row['owner']));
  }

  /** Fixes what has expired and settles it in one batch. */
  private settle(state: Folded): void {
    const { chain } = this;
    chain.mineBurn(this.random.between(1n, 6n));
    const due = [...state.policy.policies].filter(
      ([, row]) => row['state'] === 'active' && (row['expiry-burn'] as bigint) <= chain.burn,
    );
    for (const expiry of new Set(due.map(([, row]) => row['expiry-burn'] as bigint))) {
      if (chain.read('bh-oracle', 'get-expiry-price', ['BTC', expiry]) !== null) continue;
      const rounds = ['BTC', 'STX'].map((asset) => chain.read('bh-oracle', 'get-asset', [asset]) as Row);
      const observed = rounds.every((row) => (row['opened-burn'] as bigint) >= expiry);
      if (observed) {
        for (const asset of ['BTC', 'STX']) this.fixFromHistory(asset, expiry);
      } else fixExpiry(chain, expiry, this.prices);
    }
    const items = due.slice(0, 20).map(([policy, row]) => ({ policy: BigInt(policy), token: String(row['token']) }));
    const { value } = chain.must('bh-policy', 'settle-many', [items], chain.stranger);
    expect((value as Row[]).map(({ error }) => error)).toEqual(items.map(() => 0n));
    this.done.set('settle-many', (this.done.get('settle-many') ?? 0) + items.length);
  }

  private fixFromHistory(asset: string, expiry: bigint): void {
    const last = (this.chain.read('bh-oracle', 'get-asset', [asset]) as Row)['last-round'] as bigint;
    for (let round = last; round > 0n; round -= 1n) {
      if (this.chain.call('bh-oracle', 'fix-expiry-price', [asset, expiry, round], this.chain.stranger).ok) return;
    }
    throw new Error(`no round fixes ${asset} at ${expiry}`);
  }

  step(): void {
    const { chain, random } = this;
    const provider = random.pick(chain.providers);
    const token = random.pick([chain.stx, chain.sbtc]);
    const state = () => new Folded(chain.events);
    switch (random.pick(['deposit', 'request', 'withdraw', 'match', 'claim', 'move', 'create', 'create', 'create', 'settle', 'settle', 'exercise', 'cancel'])) {
      case 'deposit':
        this.call('bh-vault', 'deposit', [token, random.pick(TIERS), random.between(1n, 10n ** 9n)], provider);
        break;
      case 'request':
        this.call('bh-vault', 'request-withdraw', [token, random.pick(TIERS), random.between(1n, 2n * 10n ** 9n)], provider);
        break;
      case 'withdraw': {
        const requests = [...state().vault.requests];
        if (requests.length === 0) break;
        this.refresh();
        const [request, row] = random.pick(requests);
        this.call('bh-vault', 'withdraw', [BigInt(request), String(row['token'])], String(row['provider']));
        break;
      }
      case 'match':
        this.call('bh-vault', 'set-auto-match', [random.between(0n, 4n) > 0n], provider);
        break;
      case 'claim':
        this.call('bh-vault', 'claim-yield', [token], provider);
        break;
      case 'move':
        chain.mineBurn(1);
        this.move();
        break;
      case 'create':
        this.create();
        break;
      case 'settle':
        this.settle(state());
        break;
      case 'exercise':
        chain.mineBurn(1);
        this.move();
        this.onPolicy(state(), 'exercise');
        break;
      case 'cancel':
        this.onPolicy(state(), 'cancel');
    }
  }

  /** Ends every policy and takes all capital and yield out. */
  drain(): void {
    const { chain } = this;
    chain.mineBurn(12);
    closeRound(chain, 'BTC', this.prices.BTC);
    closeRound(chain, 'STX', this.prices.STX);
    this.settle(new Folded(chain.events));
    const state = checkFold(chain);
    for (const [key, row] of state.vault.positions) {
      const [provider, tier, token] = key.split(' ') as [string, string, string];
      expect([row['locked'], row['liability-usd8']]).toEqual([0n, 0n]);
      const rest = (row['available'] as bigint) - (row['requested'] as bigint);
      if (rest > 0n) chain.must('bh-vault', 'request-withdraw', [token, tier, rest], provider);
    }
    chain.mineBurn(1);
    for (const [request, row] of new Folded(chain.events).vault.requests) {
      chain.must('bh-vault', 'withdraw', [BigInt(request), String(row['token'])], String(row['provider']));
    }
    for (const [key, amount] of state.vault.yields) {
      const [provider, token] = key.split(' ') as [string, string];
      if (amount > 0n) chain.must('bh-vault', 'claim-yield', [token], provider);
    }
  }
}

test.each([11, 12])('any sequence of calls keeps every sum, and everything can leave (seed %d)', async (seed) => {
  const chain = await market({ tiers: TIERS });
  const walk = new Walk(chain, new Random(seed));
  for (let i = 1; i <= STEPS; i += 1) {
    walk.step();
    if (i % 15 === 0) checkFold(chain);
  }
  walk.drain();
  const state = checkFold(chain);
  for (const token of [chain.stx, chain.sbtc]) {
    const { 'platform-fees': platform, 'reserve-fees': reserve, ...rest } = state.vault.buckets.get(token)!;
    expect(rest).toEqual({ available: 0n, locked: 0n, unearned: 0n, yield: 0n });
    expect(chain.balance(token, chain.id('bh-vault'))).toBe(platform! + reserve!);
  }
  expect([...walk.done.keys()]).toEqual(expect.arrayContaining(['create-policy', 'settle-many']));
  expect(walk.done.get('create-policy')).toBeGreaterThan(2);
});
