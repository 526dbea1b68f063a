import { expect } from 'vitest';
import type { Chain, PrintedEvent, Row } from '../chain.ts';
import { join, ModuleFold, pick, sum } from './module.ts';

export class OracleFold extends ModuleFold {
  readonly contract = 'bh-oracle';
  readonly maps = ['providers', 'assets', 'rounds', 'submissions', 'expiry-prices', 'fallbacks'];
  readonly variables = ['bootstrapped', 'seq', 'provider-count', 'total-weight'];
  readonly weights = new Map<string, bigint>();
  readonly assets = new Map<string, Row>();
  readonly rounds = new Map<string, Row>();
  readonly submissions = new Map<string, Row[]>();
  readonly expiryPrices = new Map<string, Row>();
  readonly fallbacks = new Map<string, Row>();

  readonly rules = {
    'asset.set': (e: PrintedEvent) => {
      const before = this.assets.get(join(e, 'asset')) ?? {
        'next-round': 1n,
        'last-round': 0n,
        'price-usd8': 0n,
        'opened-burn': 0n,
        'var-e12': 0n,
        'candidate-usd8': null,
      };
      this.assets.set(join(e, 'asset'), { ...before, ...pick(e, 'insurable', 'reference-usd8', 'active') });
    },
    'provider.set': (e: PrintedEvent) => {
      expect(e['weight-before']).toBe(this.weights.get(join(e, 'provider')) ?? 0n);
      this.weights.set(join(e, 'provider'), e['weight'] as bigint);
      expect(e['total-weight']).toBe(sum(this.weights.values()));
    },
    'price.submitted': (e: PrintedEvent) => {
      const key = join(e, 'asset', 'round');
      const items = this.submissions.get(key) ?? [];
      const at = items.findIndex((item) => (item['price-usd8'] as bigint) > (e['price-usd8'] as bigint));
      items.splice(at < 0 ? items.length : at, 0, pick(e, 'provider', 'price-usd8', 'weight'));
      this.submissions.set(key, items);
      this.rounds.set(key, {
        state: 'open',
        'opened-burn': e['opened-burn']!,
        'closed-burn': 0n,
        'price-usd8': 0n,
        count: e['count-after']!,
        weight: e['weight-after']!,
        mode: 'open',
        'prev-round': 0n,
        'prev-opened-burn': 0n,
      });
    },
    'round.closed': (e: PrintedEvent) => {
      const asset = this.assets.get(join(e, 'asset'))!;
      expect(e['var-e12-before']).toBe(asset['var-e12']);
      expect(e['prev-round']).toBe(asset['last-round']);
      this.rounds.set(join(e, 'asset', 'round'), {
        state: 'closed',
        ...pick(e, 'opened-burn', 'closed-burn', 'price-usd8', 'count', 'weight', 'mode', 'prev-round', 'prev-opened-burn'),
      });
      this.assets.set(join(e, 'asset'), {
        ...asset,
        'next-round': (e['round'] as bigint) + 1n,
        'last-round': e['round']!,
        ...pick(e, 'price-usd8', 'opened-burn', 'var-e12'),
        'candidate-usd8': null,
      });
      if (e['mode'] === 'fallback') this.fallbacks.delete(join(e, 'asset'));
    },
    'round.rejected': (e: PrintedEvent) => {
      const key = join(e, 'asset', 'round');
      this.rounds.set(key, {
        ...this.rounds.get(key)!,
        state: 'rejected',
        ...pick(e, 'closed-burn', 'price-usd8'),
        mode: e['reason']!,
      });
      this.assets.set(join(e, 'asset'), {
        ...this.assets.get(join(e, 'asset'))!,
        'next-round': (e['round'] as bigint) + 1n,
        'candidate-usd8': e['candidate-usd8']!,
      });
    },
    'expiry-price.fixed': (e: PrintedEvent) =>
      this.expiryPrices.set(join(e, 'asset', 'expiry-burn'), pick(e, 'round', 'price-usd8')),
    'fallback.set': (e: PrintedEvent) => this.fallbacks.set(join(e, 'asset'), pick(e, 'price-usd8', 'from-burn')),
    'fallback.cancelled': (e: PrintedEvent) => this.fallbacks.delete(join(e, 'asset')),
  };

  protected compare(chain: Chain): void {
    for (const [provider, weight] of this.weights) this.same(chain, 'providers', provider, weight);
    this.sameVariable(chain, 'total-weight', sum(this.weights.values()));
    for (const [asset, row] of this.assets) {
      this.same(chain, 'assets', asset, row);
      this.same(chain, 'fallbacks', asset, this.fallbacks.get(asset) ?? null);
    }
    for (const [key, row] of this.rounds) {
      const [asset, round] = key.split(' ') as [string, string];
      this.same(chain, 'rounds', { asset, round: BigInt(round) }, row);
      this.same(chain, 'submissions', { asset, round: BigInt(round) }, this.submissions.get(key) ?? null);
    }
    for (const [key, row] of this.expiryPrices) {
      const [asset, expiry] = key.split(' ') as [string, string];
      this.same(chain, 'expiry-prices', { asset, 'expiry-burn': BigInt(expiry) }, row);
    }
  }
}
