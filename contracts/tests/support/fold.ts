import { cvToString } from '@stacks/transactions';
import { expect } from 'vitest';
import { STATEFUL, clarity, type Chain, type Plain, type PrintedEvent, type Row } from './chain.ts';

/** State of all contracts as the events tell it: a map per kind of row, keys joined by spaces. */
export class Folded {
  readonly roles = new Map<string, Plain>();
  readonly modules = new Map<string, Row>();
  readonly activeVersions = new Map<string, Plain>();
  readonly params = new Map<string, Row>();
  readonly flags = new Map<string, Plain>();
  readonly breakers = new Map<string, Row>();
  readonly tiers = new Map<string, Row>();
  readonly tierNames: string[] = [];
  readonly tokens = new Map<string, Row>();
  fees: Plain = null;
  readonly weights = new Map<string, bigint>();
  totalWeight = 0n;
  readonly assets = new Map<string, Row>();
  readonly rounds = new Map<string, Row>();
  readonly submissions = new Map<string, Row[]>();
  readonly expiryPrices = new Map<string, Row>();
  readonly fallbacks = new Map<string, Row>();
  readonly positions = new Map<string, Row>();
  readonly pools = new Map<string, { available: bigint; locked: bigint }>();
  readonly buckets = new Map<string, Record<string, bigint>>();
  readonly yields = new Map<string, bigint>();
  readonly requests = new Map<string, Row>();
  readonly locks = new Map<string, Row>();
  readonly exposures = new Map<string, bigint>();
  readonly autoMatch = new Map<string, Plain>();
  readonly policies = new Map<string, Row>();
  readonly seq = new Map<string, bigint>();
  /** Allocations of a lock that is being written; complete when its premium is escrowed. */
  private readonly pending = new Map<string, Row[]>();

  constructor(events: readonly PrintedEvent[]) {
    for (const event of events) this.apply(event);
  }

  private apply(event: PrintedEvent): void {
    const last = this.seq.get(event.emitter) ?? 0n;
    expect(event['seq'], `${event.emitter} ${event.topic}`).toBe(last + 1n);
    expect(event['v']).toBe(1n);
    this.seq.set(event.emitter, last + 1n);
    const handler = HANDLERS[event.topic];
    if (!handler) throw new Error(`the fold has no rule for ${event.topic}`);
    handler(this, event);
  }

  bucket(token: Plain): Record<string, bigint> {
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
  position(event: Row): void {
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

  /** Writes the exposure of a position to an expiry. */
  exposure(event: Row): void {
    const key = join(event, 'provider', 'tier', 'token', 'expiry-burn');
    expect(event['exposure-before']).toBe(this.exposures.get(key) ?? 0n);
    this.exposures.set(key, event['exposure-after'] as bigint);
  }

  /** Writes one of a token's buckets that the event gives around the change. */
  setBucket(event: Row, bucket: string, field: string): void {
    const row = this.bucket(event['token']!);
    expect(event[`${field}-before`], `${String(event['topic'])} ${field}-before`).toBe(row[bucket]);
    row[bucket] = event[`${field}-after`] as bigint;
  }

  beginLock(event: Row): void {
    const key = join(event, 'policy');
    const item: Row = {
      provider: event['provider']!,
      collateral: event['amt']!,
      'liability-usd8': event['liability-usd8']!,
    };
    this.pending.set(key, [...(this.pending.get(key) ?? []), item]);
  }

  endLock(event: Row): void {
    const key = join(event, 'policy');
    this.locks.set(key, {
      ...pick(event, 'module', 'tier', 'token', 'expiry-burn', 'collateral', 'max-payout-usd8'),
      premium: event['premium-provider']!,
      allocations: this.pending.get(key) ?? [],
    });
    this.pending.delete(key);
  }
}

function join(event: Row, ...keys: string[]): string {
  return keys.map((key) => String(event[key])).join(' ');
}

function pick(event: Row, ...keys: string[]): Row {
  return Object.fromEntries(keys.map((key) => [key, event[key]!]));
}

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

function settle(state: Folded, event: PrintedEvent, name: string): void {
  const key = join(event, 'policy');
  state.policies.set(key, {
    ...state.policies.get(key)!,
    state: name,
    paid: event['paid'] ?? 0n,
    'unpaid-usd8': event['unpaid-usd8'] ?? 0n,
  });
}

const HANDLERS: Record<string, (state: Folded, event: PrintedEvent) => void> = {
  'role.granted': (s, e) => s.roles.set(join(e, 'role', 'who'), { 'until-burn': e['until-burn']! }),
  'role.revoked': (s, e) => s.roles.delete(join(e, 'role', 'who')),
  'module.registered': (s, e) =>
    s.modules.set(join(e, 'module', 'version'), {
      ...pick(e, 'contract', 'code-hash', 'active-from-burn'),
      state: 'registered',
    }),
  'module.activated': (s, e) => {
    if (e['from-version'] !== null) s.modules.get(`${e['module']} ${e['from-version']}`)!['state'] = 'draining';
    s.modules.get(join(e, 'module', 'version'))!['state'] = 'active';
    s.activeVersions.set(join(e, 'module'), e['version']!);
  },
  'module.deprecated': (s, e) => {
    s.modules.get(join(e, 'module', 'version'))!['state'] = 'deprecated';
  },
  'param.set': (s, e) => {
    expect(e['before']).toBe(s.params.get(join(e, 'key'))?.['value'] ?? null);
    s.params.set(join(e, 'key'), pick(e, 'kind', 'value', 'min', 'max'));
  },
  'flag.set': (s, e) => {
    expect(e['before']).toBe(s.flags.get(join(e, 'name')) ?? null);
    s.flags.set(join(e, 'name'), e['on']!);
  },
  'breaker.tripped': (s, e) => s.breakers.set(join(e, 'name'), { tripped: true, ...pick(e, 'reason', 'since-burn') }),
  'breaker.reset': (s, e) =>
    s.breakers.set(join(e, 'name'), { tripped: false, reason: '', 'since-burn': e['since-burn']! }),
  'tier.set': (s, e) => {
    const name = join(e, 'name');
    if (!s.tierNames.includes(name)) s.tierNames.push(name);
    expect(e['rank']).toBe(BigInt(s.tierNames.indexOf(name)));
    s.tiers.set(name, pick(e, ...TIER_FIELDS));
  },
  'token.set': (s, e) => s.tokens.set(join(e, 'token'), pick(e, ...TOKEN_FIELDS)),
  'fees.set': (s, e) => (s.fees = pick(e, 'provider-bp', 'platform-bp', 'reserve-bp')),
  'asset.set': (s, e) => {
    const before = s.assets.get(join(e, 'asset')) ?? {
      'next-round': 1n,
      'last-round': 0n,
      'price-usd8': 0n,
      'opened-burn': 0n,
      'var-e12': 0n,
      'candidate-usd8': null,
    };
    s.assets.set(join(e, 'asset'), { ...before, ...pick(e, 'insurable', 'reference-usd8', 'active') });
  },
  'provider.set': (s, e) => {
    expect(e['weight-before']).toBe(s.weights.get(join(e, 'provider')) ?? 0n);
    s.weights.set(join(e, 'provider'), e['weight'] as bigint);
    s.totalWeight = e['total-weight'] as bigint;
    expect(s.totalWeight).toBe([...s.weights.values()].reduce((sum, weight) => sum + weight, 0n));
  },
  'price.submitted': (s, e) => {
    const key = join(e, 'asset', 'round');
    const items = s.submissions.get(key) ?? [];
    const at = items.findIndex((item) => (item['price-usd8'] as bigint) > (e['price-usd8'] as bigint));
    items.splice(at < 0 ? items.length : at, 0, pick(e, 'provider', 'price-usd8', 'weight'));
    s.submissions.set(key, items);
    s.rounds.set(key, {
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
  'round.closed': (s, e) => {
    const asset = s.assets.get(join(e, 'asset'))!;
    expect(e['var-e12-before']).toBe(asset['var-e12']);
    expect(e['prev-round']).toBe(asset['last-round']);
    s.rounds.set(join(e, 'asset', 'round'), {
      state: 'closed',
      ...pick(e, 'opened-burn', 'closed-burn', 'price-usd8', 'count', 'weight', 'mode', 'prev-round', 'prev-opened-burn'),
    });
    s.assets.set(join(e, 'asset'), {
      ...asset,
      'next-round': (e['round'] as bigint) + 1n,
      'last-round': e['round']!,
      ...pick(e, 'price-usd8', 'opened-burn', 'var-e12'),
      'candidate-usd8': null,
    });
    if (e['mode'] === 'fallback') s.fallbacks.delete(join(e, 'asset'));
  },
  'round.rejected': (s, e) => {
    const key = join(e, 'asset', 'round');
    s.rounds.set(key, {
      ...s.rounds.get(key)!,
      state: 'rejected',
      ...pick(e, 'closed-burn', 'price-usd8'),
      mode: e['reason']!,
    });
    s.assets.set(join(e, 'asset'), {
      ...s.assets.get(join(e, 'asset'))!,
      'next-round': (e['round'] as bigint) + 1n,
      'candidate-usd8': e['candidate-usd8']!,
    });
  },
  'expiry-price.fixed': (s, e) => s.expiryPrices.set(join(e, 'asset', 'expiry-burn'), pick(e, 'round', 'price-usd8')),
  'fallback.set': (s, e) => s.fallbacks.set(join(e, 'asset'), pick(e, 'price-usd8', 'from-burn')),
  'fallback.cancelled': (s, e) => s.fallbacks.delete(join(e, 'asset')),
  'capital.deposited': (s, e) => s.position(e),
  'capital.withdrawn': (s, e) => {
    s.position(e);
    s.requests.delete(join(e, 'request'));
  },
  'withdraw.requested': (s, e) => {
    s.position(e);
    s.requests.set(join(e, 'request'), pick(e, 'provider', 'tier', 'token', 'amt', 'unlock-burn'));
  },
  'automatch.set': (s, e) => {
    expect(e['before']).toBe(s.autoMatch.get(join(e, 'provider')) ?? true);
    s.autoMatch.set(join(e, 'provider'), e['on']!);
  },
  'collateral.locked': (s, e) => {
    s.position(e);
    s.exposure(e);
    s.beginLock(e);
  },
  'premium.escrowed': (s, e) => {
    s.setBucket(e, 'unearned', 'unearned');
    s.setBucket(e, 'platform-fees', 'platform-fees');
    s.setBucket(e, 'reserve-fees', 'reserve-fees');
    s.endLock(e);
  },
  'payout.debited': (s, e) => s.position(e),
  'collateral.released': (s, e) => {
    s.position(e);
    s.exposure(e);
  },
  'premium.earned': (s, e) => {
    const key = join(e, 'provider', 'token');
    expect(e['yield-before']).toBe(s.yields.get(key) ?? 0n);
    s.yields.set(key, e['yield-after'] as bigint);
  },
  'premium.refunded': () => {},
  'lock.closed': (s, e) => {
    s.setBucket(e, 'unearned', 'unearned');
    s.setBucket(e, 'yield', 'yield');
    s.locks.delete(join(e, 'policy'));
  },
  'yield.claimed': (s, e) => {
    const key = join(e, 'provider', 'token');
    expect(e['yield-before']).toBe(s.yields.get(key));
    s.yields.set(key, e['yield-after'] as bigint);
    s.bucket(e['token']!)['yield']! -= e['amt'] as bigint;
  },
  'fees.collected': (s, e) => s.setBucket(e, `${String(e['kind'])}-fees`, 'fees'),
  'policy.created': (s, e) =>
    s.policies.set(join(e, 'policy'), {
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
        'expiry-burn',
        'cancel-until-burn',
      ),
      state: 'active',
      paid: 0n,
      'unpaid-usd8': 0n,
    }),
  'policy.settled-itm': (s, e) => settle(s, e, 'settled-itm'),
  'policy.exercised': (s, e) => settle(s, e, 'exercised'),
  'policy.expired-otm': (s, e) => settle(s, e, 'expired-otm'),
  'policy.cancelled': (s, e) => settle(s, e, 'cancelled'),
  'remainder.covered': (s, e) => {
    const row = s.policies.get(join(e, 'policy'))!;
    expect(e['unpaid-usd8-before']).toBe(row['unpaid-usd8']);
    row['unpaid-usd8'] = e['unpaid-usd8-after']!;
  },
};

/** Data variables that are only counters of what events already tell. */
const VARIABLES: Record<(typeof STATEFUL)[number], string[]> = {
  'bh-registry': ['bootstrapped', 'seq'],
  'bh-params': ['bootstrapped', 'seq', 'fees', 'tier-names'],
  'bh-oracle': ['bootstrapped', 'seq', 'provider-count', 'total-weight'],
  'bh-vault': ['seq', 'last-request'],
  'bh-policy': ['seq', 'last-policy'],
};
const MAPS: Record<(typeof STATEFUL)[number], string[]> = {
  'bh-registry': ['roles', 'modules', 'versions', 'active-versions'],
  'bh-params': ['params', 'flags', 'breakers', 'tiers', 'tokens'],
  'bh-oracle': ['providers', 'assets', 'rounds', 'submissions', 'expiry-prices', 'fallbacks'],
  'bh-vault': ['positions', 'pools', 'buckets', 'yields', 'requests', 'locks', 'exposures', 'auto-match'],
  'bh-policy': ['policies'],
};

/** Folds every event so far and compares each row with the contracts' maps and variables. */
export function checkFold(chain: Chain): Folded {
  const state = new Folded(chain.events);
  const interfaces = chain.simnet.getContractsInterfaces();
  for (const contract of STATEFUL) {
    const abi = interfaces.get(chain.id(contract))!;
    expect(abi.maps.map(({ name }) => name).sort(), `maps of ${contract}`).toEqual([...MAPS[contract]].sort());
    expect(
      abi.variables.filter(({ access }) => access === 'variable').map(({ name }) => name).sort(),
      `variables of ${contract}`,
    ).toEqual([...VARIABLES[contract]].sort());
    expect(chain.read(contract, 'get-seq')).toBe(state.seq.get(contract) ?? 0n);
  }
  const same = (contract: string, map: string, key: Parameters<Chain['mapEntry']>[2], expected: Plain) =>
    expect(chain.mapEntry(contract, map, key), `${contract} ${map} ${cvToString(clarity(key))}`).toEqual(expected);

  for (const [key, row] of state.roles) {
    const [role, who] = key.split(' ') as [string, string];
    same('bh-registry', 'roles', { role, who }, row);
  }
  for (const [key, row] of state.modules) {
    const [module, version] = key.split(' ') as [string, string];
    same('bh-registry', 'modules', { module, version: BigInt(version) }, row);
    same('bh-registry', 'versions', { module, contract: String(row['contract']) }, BigInt(version));
  }
  for (const [module, version] of state.activeVersions) same('bh-registry', 'active-versions', module, version);
  for (const [key, row] of state.params) same('bh-params', 'params', key, row);
  for (const [name, on] of state.flags) same('bh-params', 'flags', name, on);
  for (const [name, row] of state.breakers) same('bh-params', 'breakers', name, row);
  for (const [name, row] of state.tiers) same('bh-params', 'tiers', name, row);
  for (const [token, row] of state.tokens) same('bh-params', 'tokens', token, row);
  expect(chain.read('bh-params', 'get-tier-names')).toEqual(state.tierNames);
  if (state.fees !== null) expect(chain.read('bh-params', 'get-fees')).toEqual(state.fees);
  for (const [provider, weight] of state.weights) same('bh-oracle', 'providers', provider, weight);
  expect(chain.read('bh-oracle', 'get-total-weight')).toBe(state.totalWeight);
  for (const [asset, row] of state.assets) {
    same('bh-oracle', 'assets', asset, row);
    same('bh-oracle', 'fallbacks', asset, state.fallbacks.get(asset) ?? null);
  }
  for (const [key, row] of state.rounds) {
    const [asset, round] = key.split(' ') as [string, string];
    same('bh-oracle', 'rounds', { asset, round: BigInt(round) }, row);
    same('bh-oracle', 'submissions', { asset, round: BigInt(round) }, state.submissions.get(key) ?? null);
  }
  for (const [key, row] of state.expiryPrices) {
    const [asset, expiry] = key.split(' ') as [string, string];
    same('bh-oracle', 'expiry-prices', { asset, 'expiry-burn': BigInt(expiry) }, row);
  }
  for (const [key, row] of state.positions) {
    const [provider, tier, token] = key.split(' ') as [string, string, string];
    same('bh-vault', 'positions', { provider, tier, token }, row);
  }
  for (const [key, row] of state.pools) {
    const [tier, token] = key.split(' ') as [string, string];
    same('bh-vault', 'pools', { tier, token }, row);
  }
  for (const [token, row] of state.buckets) same('bh-vault', 'buckets', token, row);
  for (const [key, amount] of state.yields) {
    const [provider, token] = key.split(' ') as [string, string];
    same('bh-vault', 'yields', { provider, token }, amount);
  }
  const lastRequest = chain.simnet.getDataVar(chain.id('bh-vault'), 'last-request');
  for (let id = 1n; lastRequest.type === 'uint' && id <= BigInt(lastRequest.value); id += 1n) {
    same('bh-vault', 'requests', id, state.requests.get(String(id)) ?? null);
  }
  for (const [key, amount] of state.exposures) {
    const [provider, tier, token, expiry] = key.split(' ') as [string, string, string, string];
    same('bh-vault', 'exposures', { provider, tier, token, 'expiry-burn': BigInt(expiry) }, amount);
  }
  for (const [provider, on] of state.autoMatch) same('bh-vault', 'auto-match', provider, on);
  const lastPolicy = chain.read('bh-policy', 'get-last-policy') as bigint;
  for (let id = 1n; id <= lastPolicy; id += 1n) {
    same('bh-policy', 'policies', id, state.policies.get(String(id)) ?? null);
    same('bh-vault', 'locks', id, state.locks.get(String(id)) ?? null);
  }
  checkMoney(chain, state);
  return state;
}

/** Sums that must hold after any sequence of calls. */
function checkMoney(chain: Chain, state: Folded): void {
  const sum = (values: Iterable<bigint>) => [...values].reduce((total, value) => total + value, 0n);
  for (const [token, bucket] of state.buckets) {
    expect(sum(Object.values(bucket)), `buckets of ${token}`).toBe(chain.balance(token, chain.id('bh-vault')));
    const rows = [...state.positions].filter(([key]) => key.endsWith(` ${token}`)).map(([, row]) => row);
    for (const field of ['available', 'locked'] as const) {
      expect(sum(rows.map((row) => row[field] as bigint)), `${field} positions of ${token}`).toBe(bucket[field]);
    }
    const locks = [...state.locks.values()].filter((row) => row['token'] === token);
    expect(sum(locks.map((row) => row['collateral'] as bigint))).toBe(bucket['locked']);
    expect(sum(locks.map((row) => row['premium'] as bigint))).toBe(bucket['unearned']);
    const yields = [...state.yields].filter(([key]) => key.endsWith(` ${token}`)).map(([, amount]) => amount);
    expect(sum(yields)).toBe(bucket['yield']);
  }
  for (const [policy, row] of state.policies) {
    const of = (topic: string) =>
      chain.events.filter((event) => event.topic === topic && String(event['policy']) === policy);
    const amounts = (topic: string) => sum(of(topic).map((event) => event['amt'] as bigint));
    expect(amounts('collateral.locked')).toBe(row['collateral']);
    if (row['state'] === 'active') {
      const lock = state.locks.get(policy)!;
      const parts = lock['allocations'] as Row[];
      expect(sum(parts.map((part) => part['liability-usd8'] as bigint))).toBe(row['max-payout-usd8']);
    } else {
      expect(amounts('payout.debited') + amounts('collateral.released')).toBe(row['collateral']);
      expect(amounts('payout.debited')).toBe(row['paid']);
      const escrowed = of('premium.escrowed')[0]!['premium-provider'] as bigint;
      expect(amounts('premium.earned') + amounts('premium.refunded')).toBe(escrowed);
      expect(state.locks.has(policy)).toBe(false);
    }
  }
}
