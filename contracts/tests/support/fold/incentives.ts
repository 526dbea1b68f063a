import { expect } from 'vitest';
import type { Chain, PrintedEvent, Row } from '../chain.ts';
import { join, ModuleFold, pick, sum } from './module.ts';

export class IncentivesFold extends ModuleFold {
  readonly contract = 'bh-incentives';
  readonly maps = ['programs', 'epochs', 'claims'];
  readonly variables = ['seq', 'last-program'];
  readonly programs = new Map<string, Row>();
  readonly epochs = new Map<string, Row>();
  readonly claims = new Map<string, bigint>();
  /** Epochs whose root was voided and not posted again. */
  private readonly voided = new Set<string>();

  readonly rules = {
    'program.created': (e: PrintedEvent) =>
      this.programs.set(join(e, 'program'), {
        ...pick(e, 'token', 'start-burn', 'epoch-burn', 'epochs', 'epoch-cap', 'premium-bp', 'vesting-burn', 'claim-burn'),
        budget: 0n,
        ended: false,
      }),
    'budget.added': (e: PrintedEvent) => this.budget(e),
    'budget.returned': (e: PrintedEvent) => this.budget(e),
    'program.ended': (e: PrintedEvent) => {
      this.programs.get(join(e, 'program'))!['ended'] = true;
    },
    'epoch.posted': (e: PrintedEvent) => {
      this.budget(e);
      this.voided.delete(join(e, 'program', 'epoch'));
      this.epochs.set(join(e, 'program', 'epoch'), {
        ...pick(e, 'root', 'total', 'leaves', 'posted-burn', 'claimable-burn', 'vested-burn', 'deadline-burn'),
        claimed: 0n,
        closed: false,
      });
    },
    'epoch.voided': (e: PrintedEvent) => {
      this.budget(e);
      expect(e['root']).toBe(this.epochs.get(join(e, 'program', 'epoch'))!['root']);
      this.epochs.delete(join(e, 'program', 'epoch'));
      this.voided.add(join(e, 'program', 'epoch'));
    },
    'epoch.closed': (e: PrintedEvent) => {
      this.budget(e);
      const row = this.epochs.get(join(e, 'program', 'epoch'))!;
      expect(e['amt']).toBe((row['total'] as bigint) - (row['claimed'] as bigint));
      row['closed'] = true;
    },
    'reward.claimed': (e: PrintedEvent) => {
      const key = join(e, 'program', 'epoch', 'who');
      const epoch = this.epochs.get(join(e, 'program', 'epoch'))!;
      expect(e['claimed-before']).toBe(this.claims.get(key) ?? 0n);
      expect(e['epoch-claimed-before']).toBe(epoch['claimed']);
      this.claims.set(key, e['claimed-after'] as bigint);
      epoch['claimed'] = e['epoch-claimed-after']!;
    },
  };

  private budget(event: Row): void {
    const row = this.programs.get(join(event, 'program'))!;
    expect(event['budget-before'], String(event['topic'])).toBe(row['budget']);
    expect(event['token']).toBe(row['token']);
    row['budget'] = event['budget-after']!;
  }

  protected compare(chain: Chain): void {
    this.sameVariable(chain, 'last-program', BigInt(this.programs.size));
    for (const [program, row] of this.programs) this.same(chain, 'programs', BigInt(program), row);
    for (const [key, row] of this.epochs) {
      const [program, epoch] = key.split(' ') as [string, string];
      this.same(chain, 'epochs', { program: BigInt(program), epoch: BigInt(epoch) }, row);
      const claimed = [...this.claims].filter(([claim]) => claim.startsWith(`${key} `)).map(([, amount]) => amount);
      expect(sum(claimed), `claims of epoch ${key}`).toBe(row['claimed']);
      expect(row['claimed']).toBeLessThanOrEqual(row['total'] as bigint);
    }
    for (const key of this.voided) {
      const [program, epoch] = key.split(' ') as [string, string];
      this.same(chain, 'epochs', { program: BigInt(program), epoch: BigInt(epoch) }, null);
    }
    for (const [key, amount] of this.claims) {
      const [program, epoch, who] = key.split(' ') as [string, string, string];
      this.same(chain, 'claims', { program: BigInt(program), epoch: BigInt(epoch), who }, amount);
    }
    for (const token of new Set([...this.programs.values()].map((row) => String(row['token'])))) {
      const programs = [...this.programs].filter(([, row]) => row['token'] === token);
      const open = [...this.epochs]
        .filter(([key, row]) => row['closed'] === false && programs.some(([program]) => key.startsWith(`${program} `)))
        .map(([, row]) => (row['total'] as bigint) - (row['claimed'] as bigint));
      const budgets = programs.map(([, row]) => row['budget'] as bigint);
      expect(sum(budgets) + sum(open), `rewards in ${token}`).toBe(chain.balance(token, chain.id('bh-incentives')));
    }
  }
}
