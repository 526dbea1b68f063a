import { expect } from 'vitest';
import type { Chain, PrintedEvent, Row } from '../chain.ts';
import { join, ModuleFold, pick, sum } from './module.ts';

export class FundFold extends ModuleFold {
  readonly contract = 'bh-fund';
  readonly maps = ['holdings', 'states', 'covers', 'payments', 'takeovers', 'plans', 'open-plans'];
  readonly variables = ['seq', 'last-plan'];
  /** By token. */
  readonly holdings = new Map<string, { balance: bigint; cover: bigint }>();
  readonly states = new Map<string, string>();
  /** By tier and token. */
  readonly covers = new Map<string, Row>();
  /** By policy and token. */
  readonly payments = new Map<string, bigint>();
  readonly takeovers = new Map<string, Row>();
  readonly plans = new Map<string, Row>();
  readonly openPlans = new Map<string, bigint>();

  readonly rules = {
    'fund.capitalized': (e: PrintedEvent) => this.balance(e, e['amt'] as bigint),
    'fund.allocated': (e: PrintedEvent) => this.balance(e, -(e['amt'] as bigint)),
    'fund.status-changed': (e: PrintedEvent) => {
      const token = join(e, 'token');
      expect(e['before']).toBe(this.states.get(token) ?? 'normal');
      this.states.set(token, String(e['state']));
    },
    'coverage.set': (e: PrintedEvent) => {
      const before = this.covers.get(join(e, 'tier', 'token'));
      expect(e['max-liability-usd8-before']).toBe(before?.['max-liability-usd8'] ?? 0n);
      this.cover(e, e['max-liability-usd8-after'] as bigint);
    },
    'shortfall.covered': (e: PrintedEvent) => {
      const key = join(e, 'policy', 'token');
      expect(e['payment-before']).toBe(this.payments.get(key) ?? 0n);
      expect(e['payment-after']).toBe((e['payment-before'] as bigint) + (e['amt'] as bigint));
      this.payments.set(key, e['payment-after'] as bigint);
      this.balance(e, -(e['amt'] as bigint));
      this.cover(e, this.covers.get(join(e, 'tier', 'token'))!['max-liability-usd8'] as bigint);
    },
    'capital.passed-on': (e: PrintedEvent) => this.balance(e, -(e['amt'] as bigint)),
    'takeover.recorded': (e: PrintedEvent) => {
      const before = this.takeovers.get(join(e, 'policy')) ?? { 'liability-usd8': 0n, collateral: 0n };
      expect([e['taken-usd8-before'], e['collateral-before']]).toEqual([before['liability-usd8'], before['collateral']]);
      const after = { 'liability-usd8': e['taken-usd8-after']!, collateral: e['collateral-after']! };
      expect(after).toEqual({
        'liability-usd8': (before['liability-usd8'] as bigint) + (e['liability-usd8'] as bigint),
        collateral: (before['collateral'] as bigint) + (e['collateral'] as bigint),
      });
      this.takeovers.set(join(e, 'policy'), after);
    },
    'recovery.started': (e: PrintedEvent) => {
      this.plans.set(join(e, 'plan'), pick(e, 'token', 'target', 'raised', 'ends-burn', 'state'));
      this.openPlans.set(join(e, 'token'), e['plan'] as bigint);
    },
    'recovery.contributed': (e: PrintedEvent) => {
      const row = this.plans.get(join(e, 'plan'))!;
      expect(e['raised-before']).toBe(row['raised']);
      row['raised'] = e['raised-after']!;
    },
    'recovery.ended': (e: PrintedEvent) => {
      const row = this.plans.get(join(e, 'plan'))!;
      expect([e['raised'], e['target']]).toEqual([row['raised'], row['target']]);
      row['state'] = e['state']!;
      this.openPlans.delete(join(e, 'token'));
    },
  };

  private holding(token: string): { balance: bigint; cover: bigint } {
    if (!this.holdings.has(token)) this.holdings.set(token, { balance: 0n, cover: 0n });
    return this.holdings.get(token)!;
  }

  private balance(event: PrintedEvent, change: bigint): void {
    const row = this.holding(join(event, 'token'));
    expect(event['balance-before'], event.topic).toBe(row.balance);
    row.balance += change;
    expect(event['balance-after'], event.topic).toBe(row.balance);
  }

  private cover(event: PrintedEvent, maxLiability: bigint): void {
    const row = this.holding(join(event, 'token'));
    const key = join(event, 'tier', 'token');
    expect(event['left-before']).toBe(this.covers.get(key)?.['left'] ?? 0n);
    expect(event['cover-before']).toBe(row.cover);
    row.cover += (event['left-after'] as bigint) - (event['left-before'] as bigint);
    expect(event['cover-after']).toBe(row.cover);
    this.covers.set(key, { left: event['left-after']!, 'max-liability-usd8': maxLiability });
  }

  protected compare(chain: Chain): void {
    this.sameVariable(chain, 'last-plan', BigInt(this.plans.size));
    for (const [token, row] of this.holdings) {
      this.same(chain, 'holdings', token, row);
      this.same(chain, 'states', token, this.states.get(token) ?? null);
      this.same(chain, 'open-plans', token, this.openPlans.get(token) ?? null);
      const covers = [...this.covers].filter(([key]) => key.endsWith(` ${token}`));
      expect(sum(covers.map(([, cover]) => cover['left'] as bigint)), `cover in ${token}`).toBe(row.cover);
      expect(chain.balance(token, chain.id(this.contract)), `balance in ${token}`).toBeGreaterThanOrEqual(row.balance);
    }
    for (const [key, row] of this.covers) {
      const [tier, token] = key.split(' ') as [string, string];
      this.same(chain, 'covers', { tier, token }, row);
    }
    for (const [key, amount] of this.payments) {
      const [policy, token] = key.split(' ') as [string, string];
      this.same(chain, 'payments', { policy: BigInt(policy), token }, amount);
    }
    for (const [policy, row] of this.takeovers) this.same(chain, 'takeovers', BigInt(policy), row);
    for (const [plan, row] of this.plans) this.same(chain, 'plans', BigInt(plan), row);
  }
}
