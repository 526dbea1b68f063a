import { expect, test } from 'vitest';
import { CONTRACTS, type Chain } from './support/chain.ts';
import { checkFold } from './support/fold.ts';
import { closeRound, market, setParams } from './support/flow.ts';
import { Random } from './support/random.ts';
import { CAPITAL } from './support/walk/capital.ts';
import { INSURANCE } from './support/walk/insurance.ts';
import { create, POLICIES, settle } from './support/walk/policies.ts';
import { endPrograms, REWARDS } from './support/walk/rewards.ts';
import { endVotes, VOTES } from './support/walk/votes.ts';
import { TIERS, Walk, type Step } from './support/walk/walk.ts';

/** How many walks, and of how many steps; more of both in BITHEDGE_WALKS and BITHEDGE_STEPS. */
const WALKS = Number(process.env['BITHEDGE_WALKS'] ?? 2);
const STEPS = Number(process.env['BITHEDGE_STEPS'] ?? 15);
const FIRST_SEED = Number(process.env['BITHEDGE_SEED'] ?? 11);
const CHECK_EVERY = 12;

/** One of each of these is tried in a step; of the last ones, which take many calls, only one. */
const OFTEN: Step[][] = [CAPITAL, REWARDS, VOTES];
const SELDOM: Step[][] = [POLICIES, POLICIES, INSURANCE];

/** Windows of a few Bitcoin blocks, so that a walk sees them pass. */
const QUICK: [string, bigint][] = [
  ['soft-call-window', 2n],
  ['hard-call-window', 1n],
  ['takeover-min-duration', 1n],
  ['root-challenge', 2n],
  ['gov-voting-period', 6n],
  ['gov-timelock', 2n],
  ['gov-grace', 6n],
  ['gov-min-stake', 1n],
];

/** All that anybody or any contract of ours owns of a token; no call creates or destroys any. */
function inAll(chain: Chain, token: string): bigint {
  const people = [chain.deployer, chain.guardian, chain.buyer, chain.stranger, ...chain.feeders, ...chain.providers];
  return [...people, ...CONTRACTS.map((contract) => chain.id(contract))]
    .map((who) => chain.balance(token, who))
    .reduce((total, amount) => total + amount, 0n);
}

/** Ends every policy, programme and vote and takes everything out that belongs to somebody. */
function drain(walk: Walk): void {
  const { chain } = walk;
  const fund = chain.id('bh-fund');
  chain.mineBurn(31);
  closeRound(chain, 'BTC', walk.prices.BTC);
  closeRound(chain, 'STX', walk.prices.STX);
  settle(walk);
  checkFold(chain);
  for (const [key, row] of walk.state.vault.positions) {
    const [provider, tier, token] = key.split(' ') as [string, string, string];
    expect([row['locked'], row['liability-usd8']]).toEqual([0n, 0n]);
    const rest = (row['available'] as bigint) - (row['requested'] as bigint);
    if (rest === 0n) continue;
    if (provider === fund) chain.must('bh-fund', 'request-release', [token, tier, rest], chain.deployer);
    else chain.must('bh-vault', 'request-withdraw', [token, tier, rest], provider);
  }
  chain.mineBurn(1);
  for (const [request, row] of walk.state.vault.requests) {
    const args = [BigInt(request), String(row['token'])];
    if (row['provider'] === fund) chain.must('bh-fund', 'release', args, chain.stranger);
    else chain.must('bh-vault', 'withdraw', args, String(row['provider']));
  }
  for (const [key, amount] of walk.state.vault.yields) {
    const [provider, token] = key.split(' ') as [string, string];
    if (amount === 0n) continue;
    if (provider === fund) chain.must('bh-fund', 'claim-yield', [token], chain.stranger);
    else chain.must('bh-vault', 'claim-yield', [token], provider);
  }
  endPrograms(walk);
  endVotes(walk);
  for (const token of [chain.stx, chain.sbtc]) {
    walk.call('bh-treasury', 'collect', [token], chain.stranger);
    walk.call('bh-fund', 'collect', [token], chain.stranger);
    walk.call('bh-treasury', 'distribute', [token], chain.stranger);
  }
  for (const [key, amount] of walk.state.treasury.shares) {
    const [receiver, token] = key.split(' ') as [string, string];
    if (amount === 0n) continue;
    if (receiver === fund) chain.must('bh-fund', 'claim-share', [token], chain.stranger);
    else if (receiver === chain.id('bh-treasury')) {
      chain.must('bh-treasury', 'spend', [token, chain.buyer, amount, null], chain.deployer);
    } else chain.must('bh-treasury', 'claim-share', [token], receiver);
  }
}

const seeds = Array.from({ length: WALKS }, (_, i) => FIRST_SEED + i);
test.each(seeds)('any sequence of calls keeps every sum, and everything can leave (seed %d)', async (seed) => {
  const chain = await market({ tiers: TIERS });
  setParams(chain, QUICK);
  chain.must('bh-registry', 'grant-role', ['arbiter', chain.guardian, null], chain.deployer);
  chain.must('bh-registry', 'grant-role', ['keeper', chain.feeders[0], null], chain.deployer);
  const tokens = [chain.stx, chain.sbtc];
  const before = tokens.map((token) => inAll(chain, token));
  const walk = new Walk(chain, new Random(seed));
  while (!walk.done.has('bh-policy.create-policy')) create(walk);
  for (let i = 1; i <= STEPS; i += 1) {
    for (const module of [...OFTEN, walk.random.pick(SELDOM)]) walk.random.pick(module)(walk);
    if (i % CHECK_EVERY === 0) checkFold(chain);
  }
  drain(walk);
  const state = checkFold(chain);
  expect(tokens.map((token) => inAll(chain, token))).toEqual(before);
  for (const token of tokens) {
    const { collected, programs } = state.treasury.holdings.get(token) ?? { collected: 0n, programs: 0n };
    expect(chain.balance(token, chain.id('bh-treasury'))).toBe(collected + programs);
    for (const contract of ['bh-vault', 'bh-incentives', 'bh-gov']) {
      expect(chain.balance(token, chain.id(contract)), `${contract} keeps ${token}`).toBe(0n);
    }
  }
  const states = [...state.policy.policies.values()].map((row) => row['state']);
  expect(states).not.toEqual([]);
  expect(states).not.toContain('active');
  if (process.env['BITHEDGE_SHOW']) console.log(seed, JSON.stringify(Object.fromEntries([...walk.done].sort())));
}, 300_000 + STEPS * 5_000);

test('policies settle when their expiry has a round of one asset and a rejected one of the other', async () => {
  const chain = await market({ tiers: TIERS });
  const walk = new Walk(chain, new Random(1));
  while (!walk.done.has('bh-policy.create-policy')) create(walk);
  chain.mineBurn(31);
  walk.prices.STX /= 2n;
  closeRound(chain, 'BTC', walk.prices.BTC);
  expect(closeRound(chain, 'STX', walk.prices.STX).value).toBe(false);
  chain.mineBurn(1);
  settle(walk);
  const states = [...checkFold(chain).policy.policies.values()].map((row) => row['state']);
  expect(states).not.toContain('active');
});

test('what the fund asked back, nobody takes out for it', async () => {
  const chain = await market({ tiers: TIERS });
  const walk = new Walk(chain, new Random(1));
  chain.must('bh-fund', 'capitalize', [chain.stx, 10n], chain.stranger);
  chain.must('bh-fund', 'allocate', [chain.stx, TIERS[0]!, 10n], chain.deployer);
  chain.must('bh-fund', 'request-release', [chain.stx, TIERS[0]!, 10n], chain.deployer);
  chain.mineBurn(1);
  for (const step of CAPITAL) step(walk);
  expect(walk.state.vault.requests.get('1')).toMatchObject({ provider: chain.id('bh-fund'), amt: 10n });
  checkFold(chain);
});
