import { readFileSync } from 'node:fs';
import { beforeAll, describe, expect, test } from 'vitest';
import { Chain, CONTRACTS, STATEFUL, type Row } from './support/chain.ts';
import {
  documentedErrors,
  documentedEvents,
  documentedFunctions,
  documentedParams,
  documentedTiers,
} from './support/doc.ts';
import { bootstrap } from './support/flow.ts';

type AbiType =
  | string
  | { buffer: { length: number } }
  | { 'string-ascii': { length: number } }
  | { optional: AbiType }
  | { response: { ok: AbiType; error: AbiType } }
  | { list: { type: AbiType; length: number } }
  | { tuple: { name: string; type: AbiType }[] };

function render(type: AbiType): string {
  if (type === 'uint128') return 'uint';
  if (type === 'trait_reference') return '<token>';
  if (typeof type === 'string') return type;
  if ('buffer' in type) return `(buff ${type.buffer.length})`;
  if ('string-ascii' in type) return `(string-ascii ${type['string-ascii'].length})`;
  if ('optional' in type) return `(optional ${render(type.optional)})`;
  if ('response' in type) return `(response ${render(type.response.ok)} ${render(type.response.error)})`;
  if ('list' in type) return `(list ${type.list.length} ${render(type.list.type)})`;
  return `{${type.tuple.map(({ name, type: field }) => `${name}: ${render(field)}`).join(', ')}}`;
}

/** Tuple fields have no order in the ABI. */
function sortTuples(signature: string): string {
  let sorted = signature;
  for (let before = ''; before !== sorted; ) {
    before = sorted;
    sorted = sorted.replace(/\{([^{}]*)\}/g, (_, fields: string) => `[${fields.split(', ').sort().join(', ')}]`);
  }
  return sorted;
}

const source = (contract: string) => readFileSync(new URL(`../contracts/${contract}.clar`, import.meta.url), 'utf8');

let chain: Chain;
beforeAll(async () => {
  chain = await Chain.create();
});

describe.each(CONTRACTS.filter((name) => name !== 'bh-traits'))('%s', (contract) => {
  test('documents every public and read-only function with its exact signature', () => {
    const abi = chain.simnet.getContractsInterfaces().get(chain.id(contract))!;
    const actual = (abi.functions as { name: string; access: string; args: { name: string; type: AbiType }[]; outputs: { type: AbiType } }[])
      .filter(({ access }) => access !== 'private')
      .map(({ name, access, args, outputs }) => {
        const parameters = args.map((arg) => `(${arg.name} ${render(arg.type)}) `).join('');
        return `${name} (${access === 'public' ? 'public' : 'read-only'}) ${parameters.trimEnd()}${parameters && ' '}→ ${render(outputs.type)}`;
      });
    expect(documentedFunctions(contract).map(sortTuples).sort()).toEqual(actual.map(sortTuples).sort());
  });

  test('says in a sentence what every definition is', () => {
    const lines = source(contract).split('\n');
    const bare = lines.filter(
      (line, i) =>
        /^\(define-(public|read-only|private|map|data-var|trait)/.test(line) && !/^;; .*[.:]$/.test(lines[i - 1] ?? ''),
    );
    expect(bare).toEqual([]);
  });
});

test('the Clarinet manifest lists the contracts in deploy order, as Clarity 6 in epoch 4.0', () => {
  const manifest = readFileSync(new URL('../Clarinet.toml', import.meta.url), 'utf8');
  const listed = [...manifest.matchAll(/^\[contracts\.(\S+)\]\npath = "contracts\/(\S+)\.clar"\nclarity_version = 6\nepoch = "4\.0"$/gm)];
  expect(listed.map(([, name]) => name)).toEqual(CONTRACTS);
  expect(listed.map(([, , path]) => path)).toEqual(CONTRACTS);
});

test('every error constant is documented under its number, and no number twice', () => {
  const actual = CONTRACTS.flatMap((contract) =>
    [...source(contract).matchAll(/\(define-constant (ERR-[A-Z0-9-]+) \(err u(\d+)\)\)/g)].map(([, name, code]) => [
      Number(code),
      { name: name!, contract },
    ]),
  ) as [number, { name: string; contract: string }][];
  expect(new Set(actual.map(([code]) => code)).size).toBe(actual.length);
  expect(new Set(actual.map(([, { name }]) => name)).size).toBe(actual.length);
  expect(new Map(actual)).toEqual(
    new Map([...documentedErrors()].map(([code, { name, contract }]) => [code, { name, contract }])),
  );
});

test('every error constant carries its documented sentence', () => {
  for (const contract of CONTRACTS) {
    for (const [, comment, code] of source(contract).matchAll(/(.*)\n\(define-constant ERR-[A-Z0-9-]+ \(err u(\d+)\)\)/g)) {
      const { when } = documentedErrors().get(Number(code))!;
      expect(comment).toBe(`;; ${when[0]!.toUpperCase()}${when.slice(1)}.`);
    }
  }
});

test('every error constant is used', () => {
  for (const contract of CONTRACTS) {
    for (const [, name] of source(contract).matchAll(/\(define-constant (ERR-[A-Z0-9-]+) /g)) {
      expect(source(contract).split(new RegExp(`${name}(?![A-Z0-9-])`)).length, name).toBeGreaterThan(2);
    }
  }
});

test.each(STATEFUL)('%s prints the documented topics and no others', (contract) => {
  const printed = new Set(
    [...source(contract).matchAll(/\(envelope (?:\(if \S+ )?"([a-z.-]+)"(?: "([a-z.-]+)")?/g)].flatMap(([, a, b]) =>
      b ? [a!, b] : [a!],
    ),
  );
  expect(printed).toEqual(new Set(documentedEvents(contract).keys()));
});

test('parameters, tiers and tokens of the first deployment are the documented ones', () => {
  bootstrap(chain);
  const set = chain.events.filter(({ topic }) => topic === 'param.set');
  expect(
    new Map(set.map(({ key, kind, value, min, max }) => [key, { kind, value, min, max }])),
  ).toEqual(documentedParams());
  const tiers = documentedTiers().map(([name, numbers]) => {
    const row = chain.read('bh-params', 'get-tier', [name]) as Row;
    expect(
      [
        'strike-min-bp',
        'strike-max-bp',
        'max-duration-burn',
        'premium-mult-bp',
        'ratio-min-bp',
        'ratio-warn-bp',
        'max-policy-bp',
        'max-expiry-bp',
      ].map((field) => row[field]),
    ).toEqual(numbers);
    expect(row['active']).toBe(true);
    return name;
  });
  expect(chain.read('bh-params', 'get-tier-names')).toEqual(tiers);
  expect(chain.read('bh-params', 'get-fees')).toEqual({
    'provider-bp': 9000n,
    'platform-bp': 600n,
    'reserve-bp': 400n,
  });
  expect(chain.read('bh-params', 'get-token', [chain.stx])).toEqual({
    asset: 'STX',
    'asset-name': 'stx',
    native: true,
    decimals: 6n,
    'haircut-bp': 1000n,
    cap: 10_000_000_000_000n,
    active: true,
  });
  expect(chain.read('bh-params', 'get-token', [chain.sbtc])).toEqual({
    asset: 'BTC',
    'asset-name': 'sbtc-token',
    native: false,
    decimals: 8n,
    'haircut-bp': 0n,
    cap: 50_000_000_000n,
    active: true,
  });
});
