import { expect } from 'vitest';
import type { Chain, PrintedEvent, Row } from '../chain.ts';
import { join, ModuleFold, pick } from './module.ts';

export class PolicyFold extends ModuleFold {
  readonly contract = 'bh-policy';
  readonly maps = ['policies', 'claims'];
  readonly variables = ['seq', 'last-policy'];
  readonly policies = new Map<string, Row>();
  readonly claims = new Map<string, Row>();

  readonly rules = {
    'policy.created': (e: PrintedEvent) =>
      this.policies.set(join(e, 'policy'), {
        ...pick(
          e,
          'owner',
          'type',
          'style',
          'tier',
          'asset',
          'token',
          'strike-usd8',
          'notional-sat',
          'max-payout-usd8',
          'collateral',
          'created-burn',
          'created-stacks',
          'expiry-burn',
          'cancel-until-burn',
        ),
        state: 'active',
        paid: 0n,
        'unpaid-usd8': 0n,
      }),
    'policy.settled-itm': (e: PrintedEvent) => this.end(e, 'settled-itm'),
    'policy.exercised': (e: PrintedEvent) => this.end(e, 'exercised'),
    'policy.expired-otm': (e: PrintedEvent) => this.end(e, 'expired-otm'),
    'policy.cancelled': (e: PrintedEvent) => this.end(e, 'cancelled'),
    'remainder.covered': (e: PrintedEvent) => {
      const row = this.policies.get(join(e, 'policy'))!;
      expect(e['unpaid-usd8-before']).toBe(row['unpaid-usd8']);
      row['unpaid-usd8'] = e['unpaid-usd8-after']!;
    },
    'claim.opened': (e: PrintedEvent) =>
      this.claims.set(join(e, 'policy'), {
        state: 'open',
        ...pick(e, 'unpaid-usd8', 'opened-burn', 'reason-hash'),
        'approved-usd8': 0n,
        'resolved-burn': 0n,
        'resolution-hash': null,
      }),
    'claim.resolved': (e: PrintedEvent) =>
      this.claims.set(join(e, 'policy'), {
        ...this.claims.get(join(e, 'policy'))!,
        ...pick(e, 'state', 'unpaid-usd8', 'approved-usd8', 'resolved-burn'),
        'resolution-hash': e['reason-hash']!,
      }),
  };

  private end(event: Row, state: string): void {
    const key = join(event, 'policy');
    this.policies.set(key, {
      ...this.policies.get(key)!,
      state,
      paid: event['paid'] ?? 0n,
      'unpaid-usd8': event['unpaid-usd8'] ?? 0n,
    });
  }

  protected compare(chain: Chain): void {
    this.sameVariable(chain, 'last-policy', BigInt(this.policies.size));
    for (const [id, row] of this.policies) this.same(chain, 'policies', BigInt(id), row);
    for (const [id, row] of this.claims) this.same(chain, 'claims', BigInt(id), row);
  }
}
