import { fixture, Chain, type ClarityArgument, type Row } from '../chain.ts';
import { bootstrapped } from '../flow.ts';
import type { Driver } from './machine.ts';

const HASH = new Uint8Array(32).fill(7);
const MODULE_DELAY = 2_016;
const [MODULE, VERSION] = ['vault', 9n];

/** A chain with a contract next to the others that can be a module and copy rows. */
const start = () =>
  Chain.reuse('registry machines', async () => {
    const chain = await bootstrapped();
    chain.deploy('migrator', fixture('module'));
    return chain;
  });

function register(chain: Chain, version: bigint, contract: string) {
  return chain.call('bh-registry', 'register-module', [MODULE, version, chain.id(contract), chain.codeHash(contract)], chain.deployer);
}

const onModule = (fn: string) => (chain: Chain) => chain.call('bh-registry', fn, [MODULE, VERSION], chain.deployer);

export const MODULE_DRIVER: Driver = {
  start,
  key: () => ({ module: MODULE, version: VERSION }),
  call: {
    'register-module': (c) => register(c, VERSION, 'migrator'),
    'begin-migration': onModule('begin-migration'),
    'activate-module': (c, _, to) =>
      to === 'draining' ? c.call('bh-registry', 'activate-module', [MODULE, VERSION + 1n], c.deployer) : onModule('activate-module')(c),
    'deprecate-module': onModule('deprecate-module'),
  },
  before: {
    'registered activate-module active': (c) => c.mineBurn(MODULE_DELAY),
    'active activate-module draining': (c) => {
      register(c, VERSION + 1n, 'bh-math');
      c.mineBurn(MODULE_DELAY);
    },
  },
};

export const MIGRATION_DRIVER: Driver = {
  start,
  key: () => 999n,
  call: {
    'begin-migration': onModule('begin-migration'),
    'step-migration': (c, key) => c.call('migrator', 'step-migration', [key, 1n, HASH], c.stranger),
    'finish-migration': (c, key) => {
      const row = c.read('bh-registry', 'get-migration', [key]) as Row | null;
      return c.call('bh-registry', 'finish-migration', [key, row === null ? HASH : Buffer.from(row['hash'] as string, 'hex')], c.deployer);
    },
  },
  before: { 'new begin-migration running': (c) => register(c, VERSION, 'migrator') },
};

const onRole = (fn: string, rest: (chain: Chain) => ClarityArgument[] = () => []) => (chain: Chain) =>
  chain.call('bh-registry', fn, ['keeper', chain.stranger, ...rest(chain)], chain.deployer);

export const ROLE_DRIVER: Driver = {
  start,
  key: (c) => ({ role: 'keeper', who: c.stranger }),
  call: {
    'grant-role': onRole('grant-role', () => [null]),
    'revoke-role': onRole('revoke-role'),
    'expire-role': onRole('expire-role'),
  },
  before: {
    'granted expire-role none': (c) => {
      onRole('grant-role', () => [{ some: c.burn + 1n }])(c);
      c.mineBurn(2);
    },
  },
};
