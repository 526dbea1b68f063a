import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { CONTRACTS } from './support/chain.ts';
import { documentedErrors, documentedEvents, documentedMachines } from './support/doc.ts';
import { checkFold } from './support/fold.ts';
import { bootstrapped } from './support/flow.ts';
import { MARGIN_DRIVER, RECOVERY_DRIVER, WITHDRAWAL_DRIVER } from './support/machines/capital.ts';
import { MACHINES, nameOf, NEW, NONE, reach, stateOf, take, type Driver, type Machine } from './support/machines/machine.ts';
import { CLAIM_DRIVER, POLICY_DRIVER } from './support/machines/policies.ts';
import { BREAKER_DRIVER, FALLBACK_DRIVER, ROUND_DRIVER } from './support/machines/prices.ts';
import { PROPOSAL_DRIVER } from './support/machines/proposals.ts';
import { MIGRATION_DRIVER, MODULE_DRIVER, ROLE_DRIVER } from './support/machines/registry.ts';
import { EPOCH_DRIVER, PROGRAM_DRIVER } from './support/machines/rewards.ts';

const DRIVERS: Record<string, Driver> = {
  role: ROLE_DRIVER,
  module: MODULE_DRIVER,
  migration: MIGRATION_DRIVER,
  breaker: BREAKER_DRIVER,
  round: ROUND_DRIVER,
  fallback: FALLBACK_DRIVER,
  withdrawal: WITHDRAWAL_DRIVER,
  policy: POLICY_DRIVER,
  claim: CLAIM_DRIVER,
  'recovery plan': RECOVERY_DRIVER,
  'margin call': MARGIN_DRIVER,
  programme: PROGRAM_DRIVER,
  epoch: EPOCH_DRIVER,
  proposal: PROPOSAL_DRIVER,
};

/** Fields that hold a state. */
const STATE_FIELDS = ['state', 'level', 'done', 'ended', 'closed', 'tripped'];

type Abi = {
  maps: { name: string; value: string | { tuple?: { name: string }[] } }[];
  functions: { name: string; access: string; args: { name: string }[] }[];
};

const ERRORS = documentedErrors();

function statesOf({ arrows, refusals }: Machine): string[] {
  const named = [...arrows.flatMap(({ from, to }) => [from, to]), ...refusals.flatMap(({ from }) => from)];
  return [...new Set(named)].filter((state) => state !== NEW);
}

/** Functions that can be called on a row in whatever state. */
function functionsOf({ arrows, refusals }: Machine): string[] {
  const onRow = arrows.filter(({ from, of }) => from !== NEW && of === undefined).map((arrow) => arrow.function);
  return [...new Set([...onRow, ...refusals.flatMap(({ functions }) => functions)])];
}

test('every machine is driven, and nothing else', () => {
  expect(Object.keys(DRIVERS)).toEqual(Object.keys(MACHINES));
});

test('the contracts have no other states, and no other functions that are about them', async () => {
  const chain = await bootstrapped();
  const machines = Object.values(MACHINES);
  for (const contract of CONTRACTS) {
    const own = machines.filter((machine) => machine.contract === contract);
    const { maps, functions } = chain.simnet.getContractsInterfaces().get(chain.id(contract)) as unknown as Abi;
    for (const { name, value } of maps) {
      const fields = typeof value === 'string' ? [] : (value.tuple ?? []).map((field) => field.name);
      const field = fields.find((each) => STATE_FIELDS.includes(each));
      if (field !== undefined) expect(own.filter((machine) => machine.map === name).map((machine) => machine.field), `${contract} ${name}`).toEqual([field]);
    }
    const named = own.flatMap((machine) => machine.arguments);
    const about = functions
      .filter(({ access, args }) => access === 'public' && args.some(({ name }) => named.includes(name)))
      .map(({ name }) => name);
    const known = own.flatMap((machine) => [...machine.arrows.map((arrow) => arrow.function), ...functionsOf(machine), ...(machine.beside ?? [])]);
    expect(about.filter((name) => !known.includes(name)), `functions of ${contract} in no machine`).toEqual([]);
    if (own.length === 0) continue;
    const source = readFileSync(new URL(`../contracts/${contract}.clar`, import.meta.url), 'utf8');
    const written = [...source.matchAll(/^.*\bstate\b.*$/gm)]
      .filter(([line]) => !/^\s*;/.test(line))
      .flatMap(([line]) => [...line.matchAll(/"([a-z-]+)"/g)].map(([, word]) => word!));
    const states = own.flatMap(statesOf);
    expect(written.filter((word) => !states.includes(word)), `states of ${contract} in no machine`).toEqual([]);
  }
});

test('docs/contracts.md shows these arrows and refusals', () => {
  const code = (names: string[]) => names.map((name) => `\`${name}\``).join(', ');
  const shown = Object.entries(MACHINES).map(([name, { arrows, refusals }]) => [
    name,
    {
      arrows: arrows.map(({ from, to, function: fn, of }) => `${from} -->|${fn}${of === undefined ? '' : ` of ${of}`}| ${to}`),
      refused: `Refused: ${refusals.map(({ error, from, functions }) => `\`${error}\` to ${code(functions)} in ${from.join(', ')}`).join('; ')}.`,
    },
  ]);
  expect(documentedMachines()).toEqual(Object.fromEntries(shown));
});

describe.each(Object.entries(MACHINES))('%s', (name, machine) => {
  const driver = DRIVERS[name]!;

  test('each function in each state either takes an arrow or is refused', () => {
    for (const state of statesOf(machine)) {
      for (const fn of functionsOf(machine)) {
        const arrows = machine.arrows.filter((arrow) => arrow.from === state && arrow.function === fn && arrow.of === undefined);
        const refusals = machine.refusals.filter(({ from, functions }) => from.includes(state) && functions.includes(fn));
        const ways = Number(arrows.length > 0) + refusals.length;
        expect(ways, `${fn} in state ${state}`).toBe(1);
      }
    }
    const topics = documentedEvents(machine.contract);
    expect(machine.arrows.map(({ event }) => event).filter((event) => !topics.has(event))).toEqual([]);
    for (const arrow of Object.keys(driver.before ?? {})) expect(machine.arrows.map(nameOf)).toContain(arrow);
  });

  test.each(machine.arrows.map((arrow) => [nameOf(arrow), arrow] as const))('takes %s', async (_, arrow) => {
    const { chain, key: start } = await reach(machine, driver, arrow.from === NEW ? NONE : arrow.from);
    const { outcome, key } = take(chain, driver, arrow, start);
    expect(outcome.code).toBe(0);
    expect(outcome.events.filter(({ emitter }) => emitter === machine.contract).map(({ topic }) => topic)).toContain(arrow.event);
    expect(stateOf(chain, machine, key)).toBe(arrow.to);
    checkFold(chain);
  });

  test.each(statesOf(machine))('refuses in state %s all that has no arrow', async (state) => {
    const { chain, key } = await reach(machine, driver, state);
    for (const { error, functions } of machine.refusals.filter(({ from }) => from.includes(state))) {
      for (const fn of functions) {
        const outcome = driver.call[fn]!(chain, key, state);
        expect(ERRORS.get(outcome.code)?.name, fn).toBe(error);
        expect(outcome.events, fn).toEqual([]);
        expect(stateOf(chain, machine, key), fn).toBe(state);
      }
    }
  });
});
