import { expect } from 'vitest';
import type { Chain, PrintedEvent, Row } from '../chain.ts';
import { join, ModuleFold, pick } from './module.ts';

export class LiquidationFold extends ModuleFold {
  readonly contract = 'bh-liquidation';
  readonly maps = ['calls'];
  readonly variables = ['seq', 'last-call', 'last-liquidation'];
  /** Open calls by position; null once a call has ended. */
  readonly calls = new Map<string, Row | null>();
  lastCall = 0n;
  lastLiquidation = 0n;

  readonly rules = {
    'margin-call.issued': (e: PrintedEvent) => {
      this.lastCall += 1n;
      expect(e['call']).toBe(this.lastCall);
      this.set(e);
    },
    'margin-call.escalated': (e: PrintedEvent) => {
      expect(this.callOf(e)).toMatchObject(pick(e, 'call', 'issued-burn'));
      this.set(e);
    },
    'margin-call.resolved': (e: PrintedEvent) => {
      expect(this.callOf(e)['call']).toBe(e['call']);
      this.calls.set(join(e, 'provider', 'tier', 'token'), null);
    },
    'position.liquidated': (e: PrintedEvent) => {
      this.lastLiquidation += 1n;
      expect(e['liq']).toBe(this.lastLiquidation);
      expect(this.callOf(e)['call']).toBe(e['call']);
    },
  };

  private callOf(event: PrintedEvent): Row {
    return this.calls.get(join(event, 'provider', 'tier', 'token'))!;
  }

  private set(event: PrintedEvent): void {
    this.calls.set(
      join(event, 'provider', 'tier', 'token'),
      pick(event, 'call', 'level', 'issued-burn', 'deadline-burn', 'round'),
    );
  }

  protected compare(chain: Chain): void {
    this.sameVariable(chain, 'last-call', this.lastCall);
    this.sameVariable(chain, 'last-liquidation', this.lastLiquidation);
    for (const [key, row] of this.calls) {
      const [provider, tier, token] = key.split(' ') as [string, string, string];
      this.same(chain, 'calls', { provider, tier, token }, row);
    }
  }
}
