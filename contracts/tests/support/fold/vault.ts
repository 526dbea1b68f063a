import { expect } from 'vitest';
import type { Chain, Plain, PrintedEvent, Row } from '../chain.ts';
import { join, ModuleFold, pick, sum } from './module.ts';

export class VaultFold extends ModuleFold {
  readonly contract = 'bh-vault';
  readonly maps = [
    'positions',
    'pools',
    'buckets',
    'yields',
    'requests',
    'locks',
    'exposures',
    'auto-match',
    'arrivals',
  ];
  readonly variables = ['seq', 'last-request'];
  readonly positions = new Map<string, Row>();
  readonly pools = new Map<string, { available: bigint; locked: bigint }>();
  readonly buckets = new Map<string, Record<string, bigint>>();
  readonly yields = new Map<string, bigint>();
  readonly requests = new Map<string, Row>();
  readonly locks = new Map<string, Row>();
  readonly exposures = new Map<string, bigint>();
  readonly autoMatch = new Map<string, Plain>();
  readonly arrivals = new Map<string, Plain>();
  /** Allocations of a lock that is being written; complete when its premium is escrowed. */
  private readonly pending = new Map<string, Row[]>();

  readonly rules = {
    'capital.deposited': (e: PrintedEvent) => this.arrive(e),
    'capital.moved-out': (e: PrintedEvent) => this.position(e),
    'capital.moved-in': (e: PrintedEvent) => this.arrive(e),
    'capital.withdrawn': (e: PrintedEvent) => {
      this.position(e);
      this.requests.delete(join(e, 'request'));
    },
    'withdraw.requested': (e: PrintedEvent) => {
      this.position(e);
      this.requests.set(join(e, 'request'), pick(e, 'provider', 'tier', 'token', 'amt', 'unlock-burn'));
    },
    'automatch.set': (e: PrintedEvent) => {
      expect(e['before']).toBe(this.autoMatch.get(join(e, 'provider')) ?? true);
      this.autoMatch.set(join(e, 'provider'), e['on']!);
    },
    'collateral.locked': (e: PrintedEvent) => {
      this.position(e);
      this.exposure(e);
      this.beginLock(e);
    },
    'premium.escrowed': (e: PrintedEvent) => {
      this.setBucket(e, 'unearned', 'unearned');
      this.setBucket(e, 'platform-fees', 'platform-fees');
      this.setBucket(e, 'reserve-fees', 'reserve-fees');
      this.endLock(e);
    },
    'payout.debited': (e: PrintedEvent) => this.position(e),
    'collateral.released': (e: PrintedEvent) => {
      this.position(e);
      this.exposure(e);
    },
    'premium.earned': (e: PrintedEvent) => this.earn(e),
    'yield.credited': (e: PrintedEvent) => this.earn(e),
    'allocation.moved-out': (e: PrintedEvent) => {
      this.position(e);
      this.exposure(e);
      const lock = this.locks.get(join(e, 'policy'))!;
      const parts = lock['allocations'] as Row[];
      const gone = parts.find((part) => part['provider'] === e['provider'])!;
      expect(gone).toMatchObject({ collateral: e['amt'], 'liability-usd8': e['liability-usd8'] });
      lock['allocations'] = parts.filter((part) => part !== gone);
    },
    'allocation.moved-in': (e: PrintedEvent) => {
      this.position(e);
      this.exposure(e);
      const lock = this.locks.get(join(e, 'policy'))!;
      const parts = lock['allocations'] as Row[];
      const held = parts.find((part) => part['provider'] === e['provider']);
      const grown = {
        provider: e['provider']!,
        collateral: ((held?.['collateral'] ?? 0n) as bigint) + (e['amt'] as bigint),
        'liability-usd8': ((held?.['liability-usd8'] ?? 0n) as bigint) + (e['liability-usd8'] as bigint),
      };
      lock['allocations'] = [...parts.filter((part) => part !== held), grown];
    },
    'allocation.moved': (e: PrintedEvent) => {
      this.setBucket(e, 'yield', 'yield');
      const lock = this.locks.get(join(e, 'policy'))!;
      expect(e['collateral-before']).toBe(lock['collateral']);
      lock['collateral'] = e['collateral-after']!;
    },
    'premium.refunded': () => {},
    'lock.closed': (e: PrintedEvent) => {
      this.setBucket(e, 'unearned', 'unearned');
      this.setBucket(e, 'yield', 'yield');
      this.locks.delete(join(e, 'policy'));
    },
    'yield.claimed': (e: PrintedEvent) => {
      const key = join(e, 'provider', 'token');
      expect(e['yield-before']).toBe(this.yields.get(key));
      this.yields.set(key, e['yield-after'] as bigint);
      this.bucket(e['token']!)['yield']! -= e['amt'] as bigint;
    },
    'fees.collected': (e: PrintedEvent) => this.setBucket(e, `${String(e['kind'])}-fees`, 'fees'),
  };

  private bucket(token: Plain): Record<string, bigint> {
    const key = String(token);
    const row = this.buckets.get(key) ?? {
      available: 0n,
      locked: 0n,
      unearned: 0n,
      yield: 0n,
      'platform-fees': 0n,
      'reserve-fees': 0n,
    };
    this.buckets.set(key, row);
    return row;
  }

  /** Writes a position's image, and moves its pool and its token's buckets by the same differences. */
  private position(event: Row): void {
    const key = join(event, 'provider', 'tier', 'token');
    const before = this.positions.get(key) ?? { available: 0n, locked: 0n, requested: 0n, 'liability-usd8': 0n };
    const after: Row = {};
    for (const field of ['available', 'locked', 'requested', 'liability-usd8']) {
      expect(event[`${field}-before`], `${String(event['topic'])} ${field}-before of ${key}`).toBe(before[field]);
      after[field] = event[`${field}-after`]!;
    }
    this.positions.set(key, after);
    const pool = this.pools.get(join(event, 'tier', 'token')) ?? { available: 0n, locked: 0n };
    const bucket = this.bucket(event['token']!);
    for (const field of ['available', 'locked'] as const) {
      const difference = (after[field] as bigint) - (before[field] as bigint);
      pool[field] += difference;
      bucket[field]! += difference;
    }
    this.pools.set(join(event, 'tier', 'token'), pool);
  }

  /** Writes a position that capital came to from outside it. */
  private arrive(event: Row): void {
    this.position(event);
    this.arrivals.set(join(event, 'provider', 'tier', 'token'), event['arrived-stacks']!);
  }

  /** Writes what a principal can claim. */
  private earn(event: Row): void {
    const key = join(event, 'provider', 'token');
    expect(event['yield-before']).toBe(this.yields.get(key) ?? 0n);
    this.yields.set(key, event['yield-after'] as bigint);
  }

  /** Writes the exposure of a position to an expiry. */
  private exposure(event: Row): void {
    const key = join(event, 'provider', 'tier', 'token', 'expiry-burn');
    expect(event['exposure-before']).toBe(this.exposures.get(key) ?? 0n);
    this.exposures.set(key, event['exposure-after'] as bigint);
  }

  /** Writes one of a token's buckets that the event gives around the change. */
  private setBucket(event: Row, bucket: string, field: string): void {
    const row = this.bucket(event['token']!);
    expect(event[`${field}-before`], `${String(event['topic'])} ${field}-before`).toBe(row[bucket]);
    row[bucket] = event[`${field}-after`] as bigint;
  }

  private beginLock(event: Row): void {
    const key = join(event, 'policy');
    const item: Row = {
      provider: event['provider']!,
      collateral: event['amt']!,
      'liability-usd8': event['liability-usd8']!,
    };
    this.pending.set(key, [...(this.pending.get(key) ?? []), item]);
  }

  private endLock(event: Row): void {
    const key = join(event, 'policy');
    this.locks.set(key, {
      ...pick(event, 'module', 'tier', 'token', 'expiry-burn', 'collateral', 'max-payout-usd8'),
      premium: event['premium-provider']!,
      allocations: this.pending.get(key) ?? [],
    });
    this.pending.delete(key);
  }

  protected compare(chain: Chain): void {
    for (const [key, row] of this.positions) {
      const [provider, tier, token] = key.split(' ') as [string, string, string];
      this.same(chain, 'positions', { provider, tier, token }, row);
    }
    for (const [key, height] of this.arrivals) {
      const [provider, tier, token] = key.split(' ') as [string, string, string];
      this.same(chain, 'arrivals', { provider, tier, token }, height);
    }
    for (const [key, row] of this.pools) {
      const [tier, token] = key.split(' ') as [string, string];
      this.same(chain, 'pools', { tier, token }, row);
    }
    for (const [token, row] of this.buckets) this.same(chain, 'buckets', token, row);
    for (const [key, amount] of this.yields) {
      const [provider, token] = key.split(' ') as [string, string];
      this.same(chain, 'yields', { provider, token }, amount);
    }
    const lastRequest = chain.variable('bh-vault', 'last-request') as bigint;
    for (let id = 1n; id <= lastRequest; id += 1n) {
      this.same(chain, 'requests', id, this.requests.get(String(id)) ?? null);
    }
    const lastPolicy = chain.read('bh-policy', 'get-last-policy') as bigint;
    for (let id = 1n; id <= lastPolicy; id += 1n) this.same(chain, 'locks', id, this.locks.get(String(id)) ?? null);
    for (const [key, amount] of this.exposures) {
      const [provider, tier, token, expiry] = key.split(' ') as [string, string, string, string];
      this.same(chain, 'exposures', { provider, tier, token, 'expiry-burn': BigInt(expiry) }, amount);
    }
    for (const [provider, on] of this.autoMatch) this.same(chain, 'auto-match', provider, on);
    this.checkMoney(chain);
  }

  /** Sums that must hold after any sequence of calls. */
  private checkMoney(chain: Chain): void {
    for (const [token, bucket] of this.buckets) {
      expect(sum(Object.values(bucket)), `buckets of ${token}`).toBe(chain.balance(token, chain.id('bh-vault')));
      const rows = [...this.positions].filter(([key]) => key.endsWith(` ${token}`)).map(([, row]) => row);
      for (const field of ['available', 'locked'] as const) {
        expect(sum(rows.map((row) => row[field] as bigint)), `${field} positions of ${token}`).toBe(bucket[field]);
      }
      const locks = [...this.locks.values()].filter((row) => row['token'] === token);
      expect(sum(locks.map((row) => row['collateral'] as bigint))).toBe(bucket['locked']);
      expect(sum(locks.map((row) => row['premium'] as bigint))).toBe(bucket['unearned']);
      const yields = [...this.yields].filter(([key]) => key.endsWith(` ${token}`)).map(([, amount]) => amount);
      expect(sum(yields)).toBe(bucket['yield']);
    }
  }
}
