import { readFileSync } from 'node:fs';
import { ClarityType, type ClarityValue } from '@stacks/transactions';

const TEXT = readFileSync(new URL('../../../docs/contracts.md', import.meta.url), 'utf8');

type EventFields = { [name: string]: string };
type Registry = {
  groups: { [name: string]: { fields: EventFields } };
  contracts: { [contract: string]: { events: { [topic: string]: { group?: string; fields: EventFields } } } };
};
const REGISTRY = JSON.parse(readFileSync(new URL('../../events.json', import.meta.url), 'utf8')) as Registry;

export const ENVELOPE: ReadonlyMap<string, string> = new Map([
  ['topic', '(string-ascii 40)'],
  ['v', 'uint'],
  ['seq', 'uint'],
  ['actor', 'principal'],
  ['caller', 'principal'],
]);

function section(title: string): string[] {
  const lines = TEXT.split('\n');
  const start = lines.indexOf(title);
  if (start < 0) throw new Error(`docs/contracts.md has no section '${title}'`);
  const depth = title.indexOf(' ');
  const end = lines.findIndex((line, i) => i > start && /^#+ /.test(line) && line.indexOf(' ') <= depth);
  return lines.slice(start + 1, end < 0 ? undefined : end);
}

function rows(title: string): string[][] {
  return section(title)
    .filter((line) => line.startsWith('| `') || /^\| \d/.test(line))
    .map((line) => line.slice(2, -2).split(' | '));
}

/** Signature of each function of a contract as documented: `name (access) args → result`. */
export function documentedFunctions(contract: string): string[] {
  return rows(`### ${contract}`)
    .filter(([name]) => / \((public|read-only)\)$/.test(name ?? ''))
    .map(([name, signature]) => `${name} ${signature}`.replaceAll('`', ''));
}

/** Name, contract and meaning of each documented error, by number. */
export function documentedErrors(): Map<number, { name: string; contract: string; when: string }> {
  return new Map(
    rows('## Errors').map(([code, name, contract, when]) => [
      Number(code),
      { name: name!.replaceAll('`', ''), contract: contract!, when: when! },
    ]),
  );
}

/** Fields and Clarity types of each event of a contract, by the registry `events.json`, without the envelope. */
export function documentedEvents(contract: string): Map<string, Map<string, string>> {
  const events = REGISTRY.contracts[contract]?.events;
  if (!events) throw new Error(`events.json has no contract ${contract}`);
  return new Map(
    Object.entries(events).map(([topic, event]) => {
      const shared = event.group ? REGISTRY.groups[event.group]!.fields : {};
      const fields = Object.entries({ ...shared, ...event.fields });
      return [topic, new Map(fields.map(([name, type]) => [name, type.replace(/uint(\)?) .*/, 'uint$1')]))];
    }),
  );
}

/** Parameter rows as documented, by key. */
export function documentedParams(): Map<string, { kind: string; value: bigint; min: bigint; max: bigint }> {
  return new Map(
    rows('### bh-params')
      .filter((row) => row.length === 6)
      .map(([key, kind, value, min, max]) => [
        key!.replaceAll('`', ''),
        { kind: kind!, value: BigInt(value!), min: BigInt(min!), max: BigInt(max!) },
      ]),
  );
}

/** Tier rows as documented, in order. */
export function documentedTiers(): [string, bigint[]][] {
  return rows('### bh-params')
    .filter((row) => row.length === 9)
    .map(([name, ...numbers]) => [name!.replaceAll('`', ''), numbers.map(BigInt)]);
}

/** Whether a value is of a documented type. */
export function hasType(value: ClarityValue, type: string): boolean {
  if (type === 'uint') return value.type === ClarityType.UInt;
  if (type === 'bool') return value.type === ClarityType.BoolTrue || value.type === ClarityType.BoolFalse;
  if (type === 'principal') {
    return value.type === ClarityType.PrincipalStandard || value.type === ClarityType.PrincipalContract;
  }
  const [, form, argument] = /^\((\S+) (.+)\)$/.exec(type) ?? [];
  if (form === 'string-ascii') return value.type === ClarityType.StringASCII && value.value.length <= Number(argument);
  // Hashes have 32 bytes, no fewer; the data of an action has as many as its type.
  if (form === 'buff' && argument === '32') return value.type === ClarityType.Buffer && value.value.length === 64;
  if (form === 'buff') return value.type === ClarityType.Buffer && value.value.length <= 2 * Number(argument);
  if (form === 'optional') {
    return (
      value.type === ClarityType.OptionalNone ||
      (value.type === ClarityType.OptionalSome && hasType(value.value, argument!))
    );
  }
  throw new Error(`docs/contracts.md uses a type that the tests do not know: ${type}`);
}

/** Arrows and refusals of each state machine as documented, by the machine's name. */
export function documentedMachines(): Record<string, { arrows: string[]; refused: string }> {
  const machines: Record<string, { arrows: string[]; refused: string }> = {};
  let name = '';
  for (const line of section('### State machines')) {
    name = /^\*\*(.+?)\*\*/.exec(line)?.[1] ?? name;
    const machine = (machines[name] ??= { arrows: [], refused: '' });
    if (line.includes(' -->|')) machine.arrows.push(line.trim());
    if (line.startsWith('Refused: ')) machine.refused = line;
  }
  delete machines[''];
  return machines;
}
