import { LIABILITY } from '../margin.ts';
import { buy } from './policies.ts';
import { isWallet, type Step, type Walk } from './walk.ts';

/** Tries a margin-call function on positions that back something. */
function margin(walk: Walk, fn: string): void {
  const positions = [...walk.state.vault.positions].filter(([, row]) => (row['liability-usd8'] as bigint) > 0n);
  if (positions.length === 0) return;
  walk.refresh();
  for (const [key] of positions) {
    const [provider, tier, token] = key.split(' ') as [string, string, string];
    walk.call('bh-liquidation', fn, [provider, tier, token], walk.chain.stranger);
  }
}

/** Puts as much behind one provider's STX as its tier allows. */
function press(walk: Walk): void {
  const { chain, random } = walk;
  const provider = walk.provider();
  for (const blocks of [25n, 26n]) {
    const notional = random.between(8_000_000n, 14_000_000n);
    buy(walk, { type: 'put', strikePercent: 95n, notional, blocks, token: chain.stx, backers: [provider] });
  }
}

/** STX loses some of its worth for so long that margin calls become due; then whoever wants to liquidates. */
function squeeze(walk: Walk): void {
  const { chain, prices, random } = walk;
  press(walk);
  const before = prices.STX;
  prices.STX = (before * random.between(55n, 95n)) / 100n;
  chain.mineBurn(1);
  margin(walk, 'issue-margin-call');
  chain.mineBurn(3);
  margin(walk, 'escalate');
  chain.mineBurn(3);
  walk.refresh();
  for (const [policy, lock] of walk.state.vault.locks) {
    for (const { provider } of lock['allocations'] as { provider: string }[]) {
      const taker = random.pick([chain.id('bh-fund'), ...chain.providers]);
      const caller = taker === chain.id('bh-fund') ? chain.stranger : taker;
      const itself = random.between(0n, 3n) === 0n;
      if (itself && isWallet(provider)) walk.call('bh-liquidation', 'self-liquidate', [BigInt(policy)], provider);
      else walk.call('bh-liquidation', 'liquidate', [BigInt(policy), provider, taker, 0n], caller);
    }
  }
  prices.STX = before;
  chain.mineBurn(1);
  margin(walk, 'resolve-margin-call');
}

/** What the fund, its managers and those who watch positions do. */
export const INSURANCE: Step[] = [
  squeeze,
  squeeze,
  (walk) => margin(walk, 'issue-margin-call'),
  (walk) => walk.call('bh-fund', 'capitalize', [walk.token(), walk.amount(10n ** 10n)], walk.anybody()),
  (walk) => walk.call('bh-fund', 'collect', [walk.token()], walk.anybody()),
  (walk) => walk.call('bh-fund', 'claim-share', [walk.token()], walk.anybody()),
  (walk) => walk.call('bh-fund', 'claim-yield', [walk.token()], walk.anybody()),
  (walk) => {
    const { chain } = walk;
    const token = walk.token();
    const sender = walk.anybody();
    chain.must(token, 'transfer', [walk.amount(), sender, chain.id('bh-fund'), null], sender);
    walk.call('bh-fund', 'absorb', [token], chain.stranger);
  },
  (walk) => {
    const most = walk.amount(4n * LIABILITY);
    walk.call('bh-fund', 'set-coverage', [walk.tier(), walk.token(), walk.amount(10n ** 10n), most, null], walk.chain.deployer);
  },
  (walk) => {
    const found = walk.one(walk.state.policy.policies, (row) => (row['unpaid-usd8'] as bigint) > 0n);
    if (!found) return;
    walk.refresh();
    walk.call('bh-fund', 'cover-shortfall', [BigInt(found[0]), String(found[1]['token'])], walk.chain.stranger);
  },
  (walk) => walk.call('bh-fund', 'allocate', [walk.token(), walk.tier(), walk.amount(10n ** 10n)], walk.chain.deployer),
  (walk) => walk.call('bh-fund', 'request-release', [walk.token(), walk.tier(), walk.amount()], walk.chain.deployer),
  (walk) => {
    const found = walk.one(walk.state.vault.requests, (row) => row['provider'] === walk.chain.id('bh-fund'));
    if (!found) return;
    walk.refresh();
    walk.call('bh-fund', 'release', [BigInt(found[0]), String(found[1]['token'])], walk.chain.stranger);
  },
  (walk) => walk.call('bh-fund', 'start-recovery', [walk.token(), walk.amount(), walk.amount(30n), null], walk.chain.deployer),
  (walk) => {
    const found = walk.one(walk.state.fund.plans, (row) => row['state'] === 'open');
    if (!found) return;
    const [plan, row] = found;
    walk.call('bh-fund', 'contribute', [BigInt(plan), String(row['token']), walk.amount()], walk.anybody());
    walk.call('bh-fund', 'complete-recovery', [BigInt(plan)], walk.chain.stranger);
  },
];
