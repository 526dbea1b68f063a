import { cvToString } from '@stacks/transactions';
import { expect } from 'vitest';
import { clarity, type Chain, type ClarityArgument, type Plain, type PrintedEvent, type Row } from '../chain.ts';

/** State of one contract as its events tell it: a map per kind of row, keys joined by spaces. */
export abstract class ModuleFold {
  /** The contract that prints the events. */
  abstract readonly contract: string;
  /** Its maps, all of which `check` compares. */
  abstract readonly maps: readonly string[];
  /** Its data variables, which `check` compares unless they only count what events tell. */
  abstract readonly variables: readonly string[];
  /** What each topic changes. */
  abstract readonly rules: Readonly<Record<string, (event: PrintedEvent) => unknown>>;
  /** Number of the last event. */
  seq = 0n;

  /** Compares every row with the contract's maps and variables. */
  protected abstract compare(chain: Chain): void;

  apply(event: PrintedEvent): void {
    expect(event['seq'], `${this.contract} ${event.topic}`).toBe(this.seq + 1n);
    expect(event['v']).toBe(1n);
    this.seq += 1n;
    const rule = this.rules[event.topic];
    if (!rule) throw new Error(`the fold of ${this.contract} has no rule for ${event.topic}`);
    rule(event);
  }

  check(chain: Chain): void {
    const abi = chain.simnet.getContractsInterfaces().get(chain.id(this.contract))!;
    expect(abi.maps.map(({ name }) => name).sort(), `maps of ${this.contract}`).toEqual([...this.maps].sort());
    expect(
      abi.variables.filter(({ access }) => access === 'variable').map(({ name }) => name).sort(),
      `variables of ${this.contract}`,
    ).toEqual([...this.variables].sort());
    expect(chain.read(this.contract, 'get-seq')).toBe(this.seq);
    this.compare(chain);
  }

  /** Compares a row of a map. */
  protected same(chain: Chain, map: string, key: ClarityArgument, expected: Plain): void {
    const label = `${this.contract} ${map} ${cvToString(clarity(key))}`;
    expect(chain.mapEntry(this.contract, map, key), label).toEqual(expected);
  }

  /** Compares a data variable. */
  protected sameVariable(chain: Chain, name: string, expected: Plain): void {
    expect(chain.variable(this.contract, name), `${this.contract} ${name}`).toEqual(expected);
  }
}

/** The key of a row: some fields of an event. */
export function join(event: Row, ...keys: string[]): string {
  return keys.map((key) => String(event[key])).join(' ');
}

/** Some fields of an event. */
export function pick(event: Row, ...keys: string[]): Row {
  return Object.fromEntries(keys.map((key) => [key, event[key]!]));
}

export function sum(values: Iterable<bigint>): bigint {
  return [...values].reduce((total, value) => total + value, 0n);
}
