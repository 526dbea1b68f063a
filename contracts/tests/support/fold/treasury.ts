import { expect } from 'vitest';
import type { Chain, Plain, PrintedEvent, Row } from '../chain.ts';
import { join, ModuleFold, pick, sum } from './module.ts';

type Holdings = { collected: bigint; shared: bigint; programs: bigint };

export class TreasuryFold extends ModuleFold {
  readonly contract = 'bh-treasury';
  readonly maps = ['holdings', 'shares', 'program-funds', 'discounts'];
  readonly variables = ['seq', 'last-batch', 'allocations'];
  readonly holdings = new Map<string, Holdings>();
  readonly shares = new Map<string, bigint>();
  readonly programFunds = new Map<string, bigint>();
  readonly discounts = new Map<string, Row>();
  allocations: Row[] = [];
  lastBatch = 0n;

  readonly rules = {
    'fee.collected': (e: PrintedEvent) => this.collected(e),
    'treasury.contributed': (e: PrintedEvent) => {
      this.share(e);
      this.holding(e).shared += e['amt'] as bigint;
    },
    'allocation.set': (e: PrintedEvent) => {
      const rank = Number(e['rank']);
      this.allocations[rank] = pick(e, 'name', 'receiver', 'share-bp');
      this.allocations.length = Number(e['count']);
    },
    'fee.distributed': (e: PrintedEvent) => {
      this.collected(e);
      this.share(e);
      this.holding(e).shared += e['amt'] as bigint;
      this.lastBatch = e['batch'] as bigint;
    },
    'share.claimed': (e: PrintedEvent) => {
      this.share(e);
      this.holding(e).shared -= e['amt'] as bigint;
    },
    'spend.made': (e: PrintedEvent) => {
      this.share(e);
      this.holding(e).shared -= e['amt'] as bigint;
    },
    'program.funded': (e: PrintedEvent) => {
      this.share(e);
      this.funds(e);
      this.holding(e).shared -= e['amt'] as bigint;
      this.holding(e).programs += e['amt'] as bigint;
    },
    'program.unfunded': (e: PrintedEvent) => {
      this.share(e);
      this.funds(e);
      this.holding(e).shared += e['amt'] as bigint;
      this.holding(e).programs -= e['amt'] as bigint;
    },
    'fees.passed-on': (e: PrintedEvent) => {
      this.collected(e);
      this.share(e);
      this.holding(e).shared -= e['share-before'] as bigint;
      expect(e['amt']).toBe((e['collected-before'] as bigint) + (e['share-before'] as bigint));
    },
    'program.drawn': (e: PrintedEvent) => {
      this.funds(e);
      this.holding(e).programs -= e['amt'] as bigint;
    },
    'discount.set': (e: PrintedEvent) => this.discounts.set(join(e, 'user'), pick(e, 'discount-bp', 'until-burn')),
    'discount.used': (e: PrintedEvent) => {
      const bp = this.discounts.get(join(e, 'user'))!['discount-bp'] as bigint;
      const fee = e['fee-before'] as bigint;
      expect(e['discount-bp']).toBe(bp);
      expect(e['fee-after']).toBe((fee * (10_000n - bp) + 9_999n) / 10_000n);
    },
  };

  private holding(event: Row): Holdings {
    const key = join(event, 'token');
    const row = this.holdings.get(key) ?? { collected: 0n, shared: 0n, programs: 0n };
    this.holdings.set(key, row);
    return row;
  }

  private collected(event: Row): void {
    const row = this.holding(event);
    expect(event['collected-before']).toBe(row.collected);
    row.collected = event['collected-after'] as bigint;
  }

  private share(event: Row): void {
    const key = join(event, 'receiver', 'token');
    expect(event['share-before'], `${String(event['topic'])} share-before of ${key}`).toBe(this.shares.get(key) ?? 0n);
    this.shares.set(key, event['share-after'] as bigint);
  }

  private funds(event: Row): void {
    const key = join(event, 'program', 'token');
    expect(event['funds-before']).toBe(this.programFunds.get(key) ?? 0n);
    this.programFunds.set(key, event['funds-after'] as bigint);
  }

  protected compare(chain: Chain): void {
    for (const [token, row] of this.holdings) this.same(chain, 'holdings', token, row);
    for (const [key, amount] of this.shares) {
      const [receiver, token] = key.split(' ') as [string, string];
      this.same(chain, 'shares', { receiver, token }, amount);
    }
    for (const [key, amount] of this.programFunds) {
      const [program, token] = key.split(' ') as [string, string];
      this.same(chain, 'program-funds', { program: BigInt(program), token }, amount);
    }
    for (const [user, row] of this.discounts) this.same(chain, 'discounts', user, row);
    this.sameVariable(chain, 'allocations', this.allocations as Plain);
    this.sameVariable(chain, 'last-batch', this.lastBatch);
    for (const [token, row] of this.holdings) {
      const of = (rows: Map<string, bigint>) =>
        sum([...rows].filter(([key]) => key.endsWith(` ${token}`)).map(([, amount]) => amount));
      expect(sum(Object.values(row)), `holdings of ${token}`).toBe(chain.balance(token, chain.id('bh-treasury')));
      expect(of(this.shares)).toBe(row.shared);
      expect(of(this.programFunds)).toBe(row.programs);
    }
    if (this.allocations.length > 0) {
      expect(sum(this.allocations.map((row) => row['share-bp'] as bigint))).toBe(10_000n);
    }
  }
}
