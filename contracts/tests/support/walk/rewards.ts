import type { ClarityArgument, Row } from '../chain.ts';
import { RewardTree } from '../merkle.ts';
import type { Step, Walk } from './walk.ts';

/** Trees of the roots that were posted, by programme and epoch; a contract cannot give them back. */
const trees = new WeakMap<Walk, Map<string, RewardTree>>();

function treesOf(walk: Walk): Map<string, RewardTree> {
  const found = trees.get(walk) ?? new Map<string, RewardTree>();
  trees.set(walk, found);
  return found;
}

function allocateFees(walk: Walk): void {
  const { chain, random } = walk;
  const cut = random.between(1n, 9_998n);
  const second = random.between(1n, 9_999n - cut);
  const rows = [
    { name: 'fund', receiver: chain.id('bh-fund'), 'share-bp': cut },
    { name: 'treasury', receiver: chain.id('bh-treasury'), 'share-bp': second },
    { name: 'community', receiver: walk.anybody(), 'share-bp': 10_000n - cut - second },
  ];
  walk.call('bh-treasury', 'set-allocations', [rows, null], chain.deployer);
}

function createProgram(walk: Walk): void {
  const { chain, random } = walk;
  const terms = {
    'start-burn': chain.burn + random.between(0n, 3n),
    'epoch-burn': random.between(1n, 5n),
    epochs: random.between(1n, 5n),
    'epoch-cap': walk.amount(),
    'premium-bp': random.between(0n, 10_000n),
    'vesting-burn': random.between(0n, 20n),
    'claim-burn': random.between(1n, 20n),
  };
  const program = walk.call('bh-incentives', 'create-program', [walk.token(), terms, null], chain.deployer);
  if (program !== null) contribute(walk);
}

function contribute(walk: Walk): void {
  const found = walk.one(walk.state.incentives.programs);
  if (!found) return;
  const [program, row] = found;
  walk.call('bh-incentives', 'contribute', [BigInt(program), String(row['token']), walk.amount()], walk.anybody());
}

/** Posts some root; now and then its leaves sum to more than its total. */
function post(walk: Walk): void {
  const { chain, random } = walk;
  const found = walk.one(walk.state.incentives.programs, (row) => row['ended'] === false);
  if (!found) return;
  const [program, row] = found;
  const over = (chain.burn - (row['start-burn'] as bigint)) / (row['epoch-burn'] as bigint);
  const epoch = random.between(1n, over < 1n ? 1n : over);
  const users = [chain.buyer, chain.stranger, ...chain.providers].slice(0, Number(random.between(1n, 5n)));
  const each = random.between(1n, (row['epoch-cap'] as bigint) / BigInt(users.length) + 1n);
  const tree = new RewardTree(BigInt(program), epoch, users.map((who) => ({ who, amt: random.between(1n, each) })));
  const total = random.between(0n, 5n) === 0n ? tree.total - 1n : tree.total;
  const args: ClarityArgument[] = [BigInt(program), epoch, tree.root, total, BigInt(users.length)];
  if (walk.call('bh-incentives', 'post-root', args, chain.feeders[0]) !== null) {
    treesOf(walk).set(`${program} ${epoch}`, tree);
  }
}

function claim(walk: Walk): void {
  for (const [key, tree] of treesOf(walk)) {
    const [program, epoch] = key.split(' ') as [string, string];
    const token = String(walk.state.incentives.programs.get(program)!['token']);
    for (const [index, { who, amt }] of tree.rewards.entries()) {
      const args: ClarityArgument[] = [BigInt(program), BigInt(epoch), amt, BigInt(index), tree.proof(index), token];
      walk.call('bh-incentives', 'claim', args, who);
    }
  }
}

/** Lets an epoch end, posts it, and has users claim, maybe too early. */
function cycle(walk: Walk): void {
  if (walk.state.incentives.programs.size === 0) createProgram(walk);
  walk.chain.mineBurn(walk.random.between(1n, 5n));
  post(walk);
  walk.chain.mineBurn(walk.random.between(1n, 5n));
  claim(walk);
}

function onEpoch(walk: Walk, run: (program: bigint, epoch: bigint) => void, fits?: (row: Row) => boolean): void {
  const found = walk.one(walk.state.incentives.epochs, fits);
  if (!found) return;
  const [program, epoch] = found[0].split(' ').map(BigInt) as [bigint, bigint];
  run(program, epoch);
}

/** What the treasury and the programmes do with fees. */
export const REWARDS: Step[] = [
  (walk) => walk.call('bh-treasury', 'collect', [walk.token()], walk.anybody()),
  (walk) => walk.call('bh-treasury', 'distribute', [walk.token()], walk.anybody()),
  (walk) => walk.call('bh-treasury', 'claim-share', [walk.token()], walk.anybody()),
  (walk) => walk.call('bh-treasury', 'contribute', [walk.token(), walk.amount()], walk.anybody()),
  (walk) => walk.call('bh-treasury', 'spend', [walk.token(), walk.anybody(), walk.amount(), null], walk.chain.deployer),
  allocateFees,
  (walk) => {
    const until = walk.chain.burn + walk.amount(50n);
    const args = [walk.chain.buyer, walk.random.between(0n, 10_000n), until, null];
    walk.call('bh-treasury', 'set-discount', args, walk.chain.deployer);
  },
  (walk) => {
    const { chain } = walk;
    const [token, sender] = [walk.token(), walk.anybody()];
    chain.must(token, 'transfer', [walk.amount(), sender, chain.id('bh-treasury'), null], sender);
    walk.call('bh-treasury', 'absorb', [token], walk.anybody());
  },
  createProgram,
  contribute,
  (walk) => {
    const found = walk.one(walk.state.incentives.programs);
    if (!found) return;
    const [program, row] = found;
    const token = String(row['token']);
    walk.call('bh-treasury', 'fund-program', [BigInt(program), token, walk.amount(10n ** 8n), null], walk.chain.deployer);
    if (walk.random.between(0n, 2n) === 0n) {
      walk.call('bh-treasury', 'unfund-program', [BigInt(program), token, null], walk.chain.deployer);
    }
    walk.call('bh-incentives', 'draw-funds', [BigInt(program), token], walk.anybody());
  },
  cycle,
  cycle,
  cycle,
  cycle,
  claim,
  (walk) =>
    onEpoch(walk, (program, epoch) => {
      if (walk.call('bh-incentives', 'void-root', [program, epoch, null], walk.chain.guardian) === null) return;
      treesOf(walk).delete(`${program} ${epoch}`);
    }),
  (walk) =>
    onEpoch(
      walk,
      (program, epoch) => walk.call('bh-incentives', 'close-epoch', [program, epoch], walk.anybody()),
      (row) => (row['deadline-burn'] as bigint) < walk.chain.burn,
    ),
  (walk) => {
    if (walk.random.between(0n, 4n) > 0n) return;
    const found = walk.one(walk.state.incentives.programs, (row) => row['ended'] === false);
    if (!found) return;
    walk.call('bh-incentives', 'end-program', [BigInt(found[0]), null], walk.chain.deployer);
    walk.call('bh-incentives', 'return-budget', [BigInt(found[0]), String(found[1]['token'])], walk.anybody());
  },
];

/** Ends every programme and gives back what nobody claimed in time. */
export function endPrograms(walk: Walk): void {
  const { chain } = walk;
  claim(walk);
  const deadlines = [...walk.state.incentives.epochs.values()].map((row) => row['deadline-burn'] as bigint);
  for (const deadline of deadlines) chain.mineTo(deadline + 1n);
  for (const [key, row] of walk.state.incentives.epochs) {
    const [program, epoch] = key.split(' ').map(BigInt) as [bigint, bigint];
    if (row['closed'] === false) chain.must('bh-incentives', 'close-epoch', [program, epoch], chain.stranger);
  }
  for (const [program, row] of walk.state.incentives.programs) {
    walk.call('bh-incentives', 'end-program', [BigInt(program), null], chain.deployer);
    walk.call('bh-incentives', 'return-budget', [BigInt(program), String(row['token'])], chain.stranger);
  }
}
