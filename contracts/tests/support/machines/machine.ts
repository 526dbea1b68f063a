import { readFileSync } from 'node:fs';
import type { Chain, ClarityArgument, Outcome, Row } from '../chain.ts';

/** The state of what there is no row of. */
export const NONE = 'none';
/** Where an arrow begins whose function makes a row of a number that it chooses. */
export const NEW = 'new';

/** A step from one state to another. `of` says on what the function is called if not on the row itself. */
export type Arrow = { from: string; to: string; function: string; event: string; of?: string };

/** Functions that an error keeps from running in some states. */
export type Refusal = { error: string; from: string[]; functions: string[] };

/** A state machine of `machines.json`: the states of the rows of a map. */
export type Machine = {
  /** What has the states. */
  says: string;
  contract: string;
  map: string;
  /** The row's field that holds the state; `names` has its values' names where they are no words. */
  field?: string;
  names?: Record<string, string>;
  /** The state of every row, of a map without such a field. */
  present?: string;
  /** Names of arguments that say which row a function is about. */
  arguments: string[];
  /** Functions with such an argument that leave the state alone, whatever it is. */
  beside?: string[];
  arrows: Arrow[];
  refusals: Refusal[];
};

export const MACHINES = JSON.parse(readFileSync(new URL('../../../machines.json', import.meta.url), 'utf8')) as Record<
  string,
  Machine
>;

/** How the tests drive a machine. */
export type Driver = {
  /** A chain on which everything but the state allows the calls. */
  start: () => Promise<Chain>;
  /** Key of the row that the arrows begin with. */
  key: (chain: Chain) => ClarityArgument;
  /** Key of no row, where `key` has one. */
  unknown?: ClarityArgument;
  /** Calls of the functions by somebody who may, so that they lead to a state. */
  call: Record<string, (chain: Chain, key: ClarityArgument, to: string) => Outcome>;
  /** What must have happened before an arrow, by `from function to`. */
  before?: Record<string, (chain: Chain, key: ClarityArgument) => unknown>;
};

export function stateOf(chain: Chain, machine: Machine, key: ClarityArgument): string {
  const row = chain.mapEntry(machine.contract, machine.map, key) as Row | null;
  if (row === null) return NONE;
  if (machine.present !== undefined) return machine.present;
  const value = String(row[machine.field!]);
  return machine.names?.[value] ?? value;
}

export const nameOf = (arrow: Arrow) => `${arrow.from} ${arrow.function} ${arrow.to}`;

/** Takes an arrow; gives what the call did, and the key of the row. */
export function take(chain: Chain, driver: Driver, arrow: Arrow, key: ClarityArgument): { outcome: Outcome; key: ClarityArgument } {
  driver.before?.[nameOf(arrow)]?.(chain, key);
  const outcome = driver.call[arrow.function]!(chain, key, arrow.to);
  return { outcome, key: arrow.from === NEW && outcome.ok ? (outcome.value as bigint) : key };
}

/** The fewest arrows from one state to another, or null. */
function way(arrows: Arrow[], from: string, to: string): Arrow[] | null {
  const ways = new Map<string, Arrow[]>([[from, []]]);
  for (const [state, taken] of ways) {
    if (state === to) return taken;
    for (const arrow of arrows) {
      const begins = arrow.from === NEW ? NONE : arrow.from;
      if (begins === state && !ways.has(arrow.to)) ways.set(arrow.to, [...taken, arrow]);
    }
  }
  return null;
}

/** A chain with a row in a state, and its key. Calls on something else than the row are the last resort. */
export async function reach(machine: Machine, driver: Driver, state: string): Promise<{ chain: Chain; key: ClarityArgument }> {
  const chain = await driver.start();
  let key = driver.key(chain);
  if (state === NONE && driver.unknown !== undefined) return { chain, key: driver.unknown };
  const from = stateOf(chain, machine, key);
  const arrows = way(machine.arrows.filter(({ of }) => of === undefined), from, state) ?? way(machine.arrows, from, state);
  if (arrows === null) throw new Error(`no arrows of ${machine.map} lead from ${from} to ${state}`);
  for (const arrow of arrows) {
    const taken = take(chain, driver, arrow, key);
    if (!taken.outcome.ok) throw new Error(`'${nameOf(arrow)}' failed with ${taken.outcome.code}`);
    key = taken.key;
  }
  return { chain, key };
}
