import { readFileSync, writeFileSync } from 'node:fs';
import type { Costs } from './chain.ts';

/** What one Stacks block may cost, since epoch 2.05. */
const BLOCK: Costs = {
  runtime: 5_000_000_000,
  readCount: 15_000,
  readLength: 100_000_000,
  writeCount: 15_000,
  writeLength: 15_000_000,
};
const DIMENSIONS = Object.keys(BLOCK) as (keyof Costs)[];
const DOCUMENT = new URL('../../../docs/contracts.md', import.meta.url);
const TABLE = /(\n### Costs\n[\s\S]*?\n\|---\|.*\n)((?:\|.*\n)*)/;

/** Shares of a block's limits, in percent, in the order of the table's columns. */
export type Shares = number[];

export function shares(costs: Costs): Shares {
  return DIMENSIONS.map((dimension) => (100 * costs[dimension]) / BLOCK[dimension]);
}

/** The documented shares of each function, by `contract.function`. */
export function documentedCosts(): Map<string, Shares> {
  const rows = TABLE.exec(readFileSync(DOCUMENT, 'utf8'))![2]!.trim().split('\n');
  return new Map(
    rows.map((row) => {
      const [name, , ...numbers] = row.slice(2, -2).split(' | ');
      return [name!.replaceAll('`', ''), numbers.map(Number)];
    }),
  );
}

/** Puts measured shares into the documentation, rounded up to a tenth of a percent. */
export function documentCosts(measured: ReadonlyMap<string, { worst: string; shares: Shares }>): void {
  const rows = [...measured].map(([name, { worst, shares: numbers }]) => {
    const cells = numbers.map((number) => (Math.ceil(number * 10) / 10).toFixed(1));
    return `| \`${name}\` | ${[worst, ...cells].join(' | ')} |\n`;
  });
  const text = readFileSync(DOCUMENT, 'utf8');
  writeFileSync(DOCUMENT, text.replace(TABLE, (_, head: string) => head + rows.join('')));
}
