import { Chain, type ClarityArgument } from '../chain.ts';
import { market } from '../flow.ts';
import { endow, margin, pressed, refresh, stxAt, TIER } from '../margin.ts';
import type { Driver } from './machine.ts';

export const WITHDRAWAL_DRIVER: Driver = {
  start: () => market(),
  key: () => 999n,
  call: {
    'request-withdraw': (c) => c.call('bh-vault', 'request-withdraw', [c.stx, TIER, 1n], c.providers[0]!),
    withdraw: (c, key) => c.call('bh-vault', 'withdraw', [key, c.stx], c.providers[0]!),
  },
  before: { 'requested withdraw none': (c) => c.mineBurn(1) },
};

const TARGET = 10n;
const DURATION = 5n;

const contribute = (chain: Chain, key: ClarityArgument, amt: bigint) =>
  chain.call('bh-fund', 'contribute', [key, chain.stx, amt], chain.stranger);

export const RECOVERY_DRIVER: Driver = {
  start: () => market(),
  key: () => 999n,
  call: {
    'start-recovery': (c) => c.call('bh-fund', 'start-recovery', [c.stx, TARGET, DURATION, null], c.deployer),
    contribute: (c, key) => contribute(c, key, 1n),
    'complete-recovery': (c, key) => c.call('bh-fund', 'complete-recovery', [key], c.stranger),
  },
  before: {
    'open complete-recovery completed': (c, key) => contribute(c, key, TARGET),
    'open complete-recovery failed': (c) => c.mineBurn(DURATION + 1n),
  },
};

/** Shares of the first day's STX price, in percent: a position is below its warning ratio, its minimum ratio, its liability. */
const [WARNED, UNDER, INSOLVENT] = [97n, 93n, 40n];

const at = (percent: bigint) => (chain: Chain) => refresh(chain, { STX: stxAt(percent) });
const onCall = (fn: string) => (chain: Chain) => margin(chain, fn, chain.providers[0]!);

export const MARGIN_DRIVER: Driver = {
  // The fund and the second provider can take over what the first one has.
  start: () =>
    Chain.reuse('margin call machine', async () => {
      const chain = await pressed();
      endow(chain, { maxLiability: 100_000_00000000n, capital: 1_000_000_000_000n });
      chain.must('bh-vault', 'deposit', [chain.stx, TIER, 1_000_000_000_000n], chain.providers[1]!);
      return chain;
    }),
  key: (c) => ({ provider: c.providers[0]!, tier: TIER, token: c.stx }),
  call: {
    'issue-margin-call': onCall('issue-margin-call'),
    escalate: onCall('escalate'),
    'resolve-margin-call': onCall('resolve-margin-call'),
    liquidate: (c) => c.call('bh-liquidation', 'liquidate', [1n, c.providers[0]!, c.providers[1]!, 0n], c.providers[1]!),
    'self-liquidate': (c) => c.call('bh-liquidation', 'self-liquidate', [1n], c.providers[0]!),
  },
  before: {
    'none issue-margin-call soft': at(WARNED),
    'none issue-margin-call hard': at(UNDER),
    'soft escalate hard': at(UNDER),
    'soft resolve-margin-call none': at(100n),
    'hard resolve-margin-call none': at(100n),
    'hard liquidate none': (c) => {
      c.mineBurn(145);
      at(UNDER)(c);
    },
    'hard liquidate hard': at(INSOLVENT),
    'hard self-liquidate hard': at(INSOLVENT),
  },
};
