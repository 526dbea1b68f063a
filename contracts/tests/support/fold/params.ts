import { expect } from 'vitest';
import type { Chain, Plain, PrintedEvent, Row } from '../chain.ts';
import { join, ModuleFold, pick } from './module.ts';

const TIER_FIELDS = [
  'strike-min-bp',
  'strike-max-bp',
  'max-duration-burn',
  'premium-mult-bp',
  'ratio-min-bp',
  'ratio-warn-bp',
  'max-policy-bp',
  'max-expiry-bp',
  'active',
];
const TOKEN_FIELDS = ['asset', 'asset-name', 'native', 'decimals', 'haircut-bp', 'cap', 'active'];

export class ParamsFold extends ModuleFold {
  readonly contract = 'bh-params';
  readonly maps = ['params', 'flags', 'breakers', 'tiers', 'tokens', 'metrics'];
  readonly variables = ['bootstrapped', 'seq', 'fees', 'tier-names'];
  readonly params = new Map<string, Row>();
  readonly flags = new Map<string, Plain>();
  readonly breakers = new Map<string, Row>();
  readonly tiers = new Map<string, Row>();
  readonly tierNames: string[] = [];
  readonly tokens = new Map<string, Row>();
  readonly metrics = new Map<string, Row>();
  fees: Plain = null;

  readonly rules = {
    'param.set': (e: PrintedEvent) => {
      expect(e['before']).toBe(this.params.get(join(e, 'key'))?.['value'] ?? null);
      this.params.set(join(e, 'key'), pick(e, 'kind', 'value', 'min', 'max'));
    },
    'flag.set': (e: PrintedEvent) => {
      expect(e['before']).toBe(this.flags.get(join(e, 'name')) ?? null);
      this.flags.set(join(e, 'name'), e['on']!);
    },
    'breaker.tripped': (e: PrintedEvent) =>
      this.breakers.set(join(e, 'name'), { tripped: true, ...pick(e, 'reason', 'since-burn') }),
    'breaker.reset': (e: PrintedEvent) =>
      this.breakers.set(join(e, 'name'), { tripped: false, reason: '', 'since-burn': e['since-burn']! }),
    'metric.set': (e: PrintedEvent) => {
      expect(e['limit-before']).toBe(this.metrics.get(join(e, 'name'))?.['limit'] ?? null);
      this.metrics.set(join(e, 'name'), pick(e, 'module', 'value', 'limit', 'breaker'));
    },
    'metric.reported': (e: PrintedEvent) => {
      expect(e['value-before']).toBe(this.metrics.get(join(e, 'name'))!['value']);
      this.metrics.set(join(e, 'name'), pick(e, 'module', 'value', 'limit', 'breaker'));
    },
    'tier.set': (e: PrintedEvent) => {
      const name = join(e, 'name');
      if (!this.tierNames.includes(name)) this.tierNames.push(name);
      expect(e['rank']).toBe(BigInt(this.tierNames.indexOf(name)));
      this.tiers.set(name, pick(e, ...TIER_FIELDS));
    },
    'token.set': (e: PrintedEvent) => this.tokens.set(join(e, 'token'), pick(e, ...TOKEN_FIELDS)),
    'fees.set': (e: PrintedEvent) => (this.fees = pick(e, 'provider-bp', 'platform-bp', 'reserve-bp')),
  };

  protected compare(chain: Chain): void {
    for (const [key, row] of this.params) this.same(chain, 'params', key, row);
    for (const [name, on] of this.flags) this.same(chain, 'flags', name, on);
    for (const [name, row] of this.breakers) this.same(chain, 'breakers', name, row);
    for (const [name, row] of this.tiers) this.same(chain, 'tiers', name, row);
    for (const [token, row] of this.tokens) this.same(chain, 'tokens', token, row);
    for (const [name, row] of this.metrics) this.same(chain, 'metrics', name, row);
    this.sameVariable(chain, 'tier-names', this.tierNames);
    if (this.fees !== null) this.sameVariable(chain, 'fees', this.fees);
  }
}
