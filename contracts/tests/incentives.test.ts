import { beforeEach, describe, expect, test } from 'vitest';
import { fixture, type Chain, type ClarityArgument, type Row } from './support/chain.ts';
import { checkFold } from './support/fold.ts';
import { bootstrapped, setParams } from './support/flow.ts';
import { leafHash, RewardTree, type Reward } from './support/merkle.ts';
import { Random } from './support/random.ts';

const EPOCH = 10n;
const CHALLENGE = 4n;
const VESTING = 100n;
const CLAIM = 20n;
const BUDGET = 10_000n;
const CAP = 6_000n;
const MOST = 2n ** 128n - 1n;

let chain: Chain;
/** Whoever holds the keeper role. */
let keeper: string;
let start: bigint;
beforeEach(async () => {
  chain = await bootstrapped();
  keeper = chain.feeders[0];
  chain.must('bh-registry', 'grant-role', ['keeper', keeper, null], chain.deployer);
  setParams(chain, [['root-challenge', CHALLENGE]]);
  start = chain.burn + 5n;
  chain.must('bh-incentives', 'create-program', [chain.stx, terms(), null], chain.deployer);
  chain.must('bh-incentives', 'contribute', [1n, chain.stx, BUDGET], chain.stranger);
});

function terms(changes: Record<string, bigint> = {}): Record<string, bigint> {
  return {
    'start-burn': start,
    'epoch-burn': EPOCH,
    epochs: 3n,
    'epoch-cap': CAP,
    'premium-bp': 6_000n,
    'vesting-burn': VESTING,
    'claim-burn': CLAIM,
    ...changes,
  };
}

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');
const endOf = (epoch: bigint) => start + epoch * EPOCH;
const program = () => chain.read('bh-incentives', 'get-program', [1n]) as Row;
const epochRow = (epoch = 1n) => chain.read('bh-incentives', 'get-epoch', [1n, epoch]) as Row;
const claimed = (who: string, epoch = 1n) => chain.read('bh-incentives', 'get-claimed', [1n, epoch, who]) as bigint;

function treeOf(...amounts: bigint[]): RewardTree {
  const users = [chain.buyer, ...chain.providers, chain.stranger];
  return new RewardTree(1n, 1n, amounts.map((amt, i) => ({ who: users[i]!, amt })));
}

function post(tree: RewardTree, { total = tree.total, epoch = 1n, leaves = BigInt(tree.rewards.length), who = keeper } = {}) {
  return chain.call('bh-incentives', 'post-root', [1n, epoch, tree.root, total, leaves], who);
}

/** Posts a tree at the end of epoch 1. */
function posted(tree: RewardTree): RewardTree {
  chain.mineTo(endOf(1n));
  expect(post(tree).code).toBe(0);
  return tree;
}

function claim(tree: RewardTree, index: number, changes: { amt?: bigint; at?: bigint; proof?: Uint8Array[]; who?: string; epoch?: bigint } = {}) {
  const { who: owner, amt: due } = tree.rewards[index]!;
  const { amt = due, at = BigInt(index), proof = tree.proof(index), who = owner, epoch = 1n } = changes;
  return chain.call('bh-incentives', 'claim', [1n, epoch, amt, at, proof, chain.stx], who);
}

describe('a programme', () => {
  test('is started by governance, without budget', () => {
    for (const who of [chain.guardian, keeper, chain.stranger]) {
      expect(chain.call('bh-incentives', 'create-program', [chain.stx, terms(), null], who).code).toBe(11001);
    }
    const outcome = chain.must('bh-incentives', 'create-program', [chain.sbtc, terms(), { some: 4n }], chain.deployer);
    expect(outcome.value).toBe(2n);
    expect(outcome.events[0]).toMatchObject({ program: 2n, token: chain.sbtc, proposal: 4n, ...terms() });
    expect(chain.read('bh-incentives', 'get-program', [2n])).toEqual({
      ...terms(),
      token: chain.sbtc,
      budget: 0n,
      ended: false,
    });
    checkFold(chain);
  });

  test.each<[string, Record<string, bigint>]>([
    ['starts in the past', { 'start-burn': 0n }],
    ['starts beyond all time', { 'start-burn': MOST }],
    ['has epochs without length', { 'epoch-burn': 0n }],
    ['has endless epochs', { 'epoch-burn': MOST }],
    ['has no epochs', { epochs: 0n }],
    ['has too many epochs', { epochs: MOST }],
    ['gives nothing', { 'epoch-cap': 0n }],
    ['gives too much', { 'epoch-cap': MOST }],
    ['gives more than all to premiums', { 'premium-bp': 10_001n }],
    ['vests for ever', { 'vesting-burn': MOST }],
    ['has no time to claim', { 'claim-burn': 0n }],
    ['can be claimed for ever', { 'claim-burn': MOST }],
  ])('is refused when it %s', (_, changes) => {
    expect(chain.call('bh-incentives', 'create-program', [chain.stx, terms(changes), null], chain.deployer).code).toBe(11005);
  });

  test('pays in a known token', () => {
    const args: ClarityArgument[] = [chain.id('bh-math'), terms(), null];
    expect(chain.call('bh-incentives', 'create-program', args, chain.deployer).code).toBe(11022);
  });

  test('takes contributions in its token, of what the caller has', () => {
    const give = (id: bigint, token: string, amt: bigint) =>
      chain.call('bh-incentives', 'contribute', [id, token, amt], chain.stranger).code;
    expect(give(9n, chain.stx, 1n)).toBe(11004);
    expect(give(1n, chain.sbtc, 1n)).toBe(11021);
    expect(give(1n, chain.stx, 0n)).toBe(11024);
    expect(give(1n, chain.stx, MOST)).toBe(11024);
    expect(give(1n, chain.stx, 10n ** 29n)).toBe(11023);
    expect(program()['budget']).toBe(BUDGET);
    checkFold(chain);
  });

  test('draws what the treasury set aside for it, whoever asks', () => {
    const draw = (token = chain.stx, id = 1n) =>
      chain.call('bh-incentives', 'draw-funds', [id, token], chain.stranger);
    expect(draw().code).toBe(7011);
    chain.must('bh-treasury', 'contribute', [chain.stx, 500n], chain.stranger);
    chain.must('bh-treasury', 'fund-program', [1n, chain.stx, 300n, null], chain.deployer);
    expect([draw(chain.sbtc).code, draw(chain.stx, 2n).code]).toEqual([11021, 11004]);
    const outcome = draw();
    expect(outcome.value).toBe(300n);
    expect(outcome.events.map(({ topic }) => topic)).toEqual(['program.drawn', 'budget.added']);
    expect(program()['budget']).toBe(BUDGET + 300n);
    checkFold(chain);
  });

  test('ends by governance: no more roots or contributions, and its budget goes to the treasury', () => {
    const tree = posted(treeOf(1_000n, 2_000n));
    const end = (who: string) => chain.call('bh-incentives', 'end-program', [1n, null], who).code;
    const giveBack = (token = chain.stx) =>
      chain.call('bh-incentives', 'return-budget', [1n, token], chain.stranger);
    expect(giveBack().code).toBe(11007);
    expect([end(chain.guardian), end(keeper), end(chain.stranger)]).toEqual([11001, 11001, 11001]);
    expect([end(chain.deployer), end(chain.deployer)]).toEqual([0, 11006]);
    chain.mineTo(endOf(2n));
    expect(post(tree, { epoch: 2n }).code).toBe(11006);
    expect(chain.call('bh-incentives', 'contribute', [1n, chain.stx, 1n], chain.stranger).code).toBe(11006);
    expect(giveBack(chain.sbtc).code).toBe(11021);
    const back = giveBack();
    expect(back.value).toBe(BUDGET - 3_000n);
    expect(back.events.map(({ topic }) => topic)).toEqual(['budget.returned', 'treasury.contributed']);
    expect(chain.read('bh-treasury', 'get-own-share', [chain.stx])).toBe(BUDGET - 3_000n);
    expect(giveBack().code).toBe(11020);
    chain.mineTo((epochRow()['vested-burn'] as bigint));
    expect(claim(tree, 1).value).toBe(2_000n);
    checkFold(chain);
  });

  test('that has ended still passes late funds of the treasury back to it', () => {
    chain.must('bh-incentives', 'end-program', [1n, null], chain.deployer);
    chain.must('bh-treasury', 'contribute', [chain.stx, 300n], chain.stranger);
    chain.must('bh-treasury', 'fund-program', [1n, chain.stx, 300n, null], chain.deployer);
    chain.must('bh-incentives', 'draw-funds', [1n, chain.stx], chain.stranger);
    chain.must('bh-incentives', 'return-budget', [1n, chain.stx], chain.stranger);
    expect(chain.read('bh-treasury', 'get-own-share', [chain.stx])).toBe(BUDGET + 300n);
    expect(chain.balance(chain.stx, chain.id('bh-incentives'))).toBe(0n);
    checkFold(chain);
  });
});

describe('a root', () => {
  test('is posted by a keeper once the epoch is over, and takes its total from the budget', () => {
    const tree = treeOf(1_000n, 2_000n, 500n);
    for (const who of [chain.deployer, chain.guardian, chain.stranger]) expect(post(tree, { who }).code).toBe(11002);
    chain.mineTo(endOf(1n) - 1n);
    expect(post(tree).code).toBe(11008);
    chain.mineBurn(1);
    expect(post(tree).code).toBe(0);
    const now = chain.burn;
    expect(epochRow()).toEqual({
      root: hex(tree.root),
      total: 3_500n,
      leaves: 3n,
      'posted-burn': now,
      'claimable-burn': now + CHALLENGE,
      'vested-burn': now + VESTING,
      'deadline-burn': now + VESTING + CLAIM,
      claimed: 0n,
      closed: false,
    });
    expect(program()['budget']).toBe(BUDGET - 3_500n);
    expect(post(tree).code).toBe(11009);
    checkFold(chain);
  });

  test('of an epoch that is none of the programme is refused', () => {
    const tree = treeOf(1n);
    chain.mineTo(endOf(3n));
    expect(post(tree, { epoch: 0n }).code).toBe(11008);
    expect(post(tree, { epoch: 4n }).code).toBe(11008);
    expect(post(tree, { epoch: MOST }).code).toBe(11008);
    expect(chain.call('bh-incentives', 'post-root', [7n, 1n, tree.root, 1n, 1n], keeper).code).toBe(11004);
    expect(post(tree, { epoch: 3n }).code).toBe(0);
  });

  test('has leaves, and a total within the cap and the budget', () => {
    const tree = treeOf(1n);
    chain.mineTo(endOf(3n));
    expect([post(tree, { leaves: 0n }).code, post(tree, { leaves: 2n ** 20n + 1n }).code]).toEqual([11011, 11011]);
    expect(post(tree, { leaves: MOST }).code).toBe(11011);
    expect([post(tree, { total: 0n }).code, post(tree, { total: CAP + 1n }).code]).toEqual([11012, 11012]);
    expect(post(tree, { total: CAP }).code).toBe(0);
    expect(post(tree, { epoch: 2n, total: BUDGET - CAP + 1n }).code).toBe(11012);
    expect(post(tree, { epoch: 2n, total: BUDGET - CAP, leaves: 2n ** 20n }).code).toBe(0);
    checkFold(chain);
  });

  test('can be voided by governance or guardian until its challenge is over, and posted again', () => {
    const wrong = posted(treeOf(5_000n));
    const cancel = (who: string, epoch = 1n) => chain.call('bh-incentives', 'void-root', [1n, epoch, { some: 2n }], who);
    for (const who of [keeper, chain.buyer, chain.stranger]) expect(cancel(who).code).toBe(11003);
    expect(cancel(chain.guardian, 2n).code).toBe(11010);
    expect(chain.call('bh-incentives', 'void-root', [5n, 1n, null], chain.guardian).code).toBe(11004);
    const outcome = cancel(chain.guardian);
    expect(outcome.events[0]).toMatchObject({ topic: 'epoch.voided', root: hex(wrong.root), proposal: 2n });
    expect([epochRow(), program()['budget']]).toEqual([null, BUDGET]);
    checkFold(chain);
    expect(claim(wrong, 0).code).toBe(11010);
    const right = treeOf(1_000n);
    expect(post(right).code).toBe(0);
    chain.mineBurn(CHALLENGE - 1n);
    expect(claim(right, 0).code).toBe(11014);
    expect(cancel(chain.deployer).code).toBe(0);
    expect(post(right).code).toBe(0);
    chain.mineBurn(CHALLENGE);
    expect(cancel(chain.deployer).code).toBe(11013);
    expect(cancel(chain.guardian).code).toBe(11013);
    expect(claim(right, 0).ok).toBe(true);
    checkFold(chain);
  });
});

describe('a claim', () => {
  test('pays what is vested, block by block, and the whole at the end', () => {
    const tree = posted(treeOf(1_000n, 999n));
    const at = epochRow()['posted-burn'] as bigint;
    chain.mineTo(at + CHALLENGE);
    const first = claim(tree, 1);
    expect(first.value).toBe((999n * CHALLENGE) / VESTING);
    expect(first.transfers).toEqual([
      { asset: 'STX', amount: first.value, sender: chain.id('bh-incentives'), recipient: chain.providers[0] },
    ]);
    expect(claim(tree, 1).code).toBe(11018);
    chain.mineTo(at + 50n);
    expect(claim(tree, 1).value).toBe((999n * 50n) / VESTING - (first.value as bigint));
    checkFold(chain);
    chain.mineTo(at + VESTING - 1n);
    claim(tree, 1);
    expect(claimed(chain.providers[0]!)).toBe((999n * 99n) / VESTING);
    chain.mineBurn(1);
    claim(tree, 1);
    expect(claimed(chain.providers[0]!)).toBe(999n);
    expect(claim(tree, 1).code).toBe(11018);
    expect(claim(tree, 0).value).toBe(1_000n);
    expect(chain.balance(chain.stx, chain.id('bh-incentives'))).toBe(BUDGET - 1_999n);
    checkFold(chain);
  });

  test('comes after the challenge and until the deadline', () => {
    const tree = posted(treeOf(1_000n));
    expect(claim(tree, 0).code).toBe(11014);
    chain.mineTo(epochRow()['deadline-burn'] as bigint);
    expect(claim(tree, 0).value).toBe(1_000n);
    chain.mineBurn(1);
    expect(claim(tree, 0).code).toBe(11015);
  });

  test('is for those whom the root names, for what it names', () => {
    const tree = posted(treeOf(1_000n, 2_000n, 500n, 400n, 300n));
    chain.mineTo(epochRow()['vested-burn'] as bigint);
    expect(claim(tree, 0, { who: chain.deployer }).code).toBe(11017);
    expect(claim(tree, 0, { who: chain.providers[0]! }).code).toBe(11017);
    expect(claim(tree, 0, { amt: 1_001n }).code).toBe(11017);
    expect(claim(tree, 0, { amt: MOST }).code).toBe(11017);
    expect(claim(tree, 0, { at: 1n }).code).toBe(11017);
    expect(claim(tree, 0, { at: MOST }).code).toBe(11017);
    expect(claim(tree, 0, { proof: [] }).code).toBe(11017);
    expect(claim(tree, 0, { proof: tree.proof(0).slice(1) }).code).toBe(11017);
    expect(claim(tree, 0, { proof: tree.proof(0).reverse() }).code).toBe(11017);
    expect(claim(tree, 0, { proof: [...tree.proof(0), new Uint8Array(32)] }).code).toBe(11017);
    expect(claim(tree, 0, { epoch: 2n }).code).toBe(11010);
    expect(chain.call('bh-incentives', 'claim', [3n, 1n, 1_000n, 0n, tree.proof(0), chain.stx], chain.buyer).code).toBe(11004);
    expect(chain.call('bh-incentives', 'claim', [1n, 1n, 1_000n, 0n, tree.proof(0), chain.sbtc], chain.buyer).code).toBe(11021);
    for (const index of [0, 1, 2, 3, 4]) expect(claim(tree, index).value).toBe(tree.rewards[index]!.amt);
    expect(epochRow()['claimed']).toBe(4_200n);
    checkFold(chain);
  });

  test('of one epoch does not count in another', () => {
    const tree = posted(treeOf(1_000n));
    chain.mineTo(endOf(2n));
    expect(post(tree, { epoch: 2n }).code).toBe(0);
    chain.mineTo(epochRow(2n)['vested-burn'] as bigint);
    expect(claim(tree, 0, { epoch: 2n }).code).toBe(11017);
    expect(claim(tree, 0).ok).toBe(true);
  });

  test('never takes more than the epoch has, whatever the root says', () => {
    const lying = treeOf(1_000n, 2_000n, 5_000n);
    chain.mineTo(endOf(1n));
    expect(post(lying, { total: 2_500n }).code).toBe(0);
    chain.mineTo(epochRow()['vested-burn'] as bigint);
    expect(claim(lying, 2).code).toBe(11019);
    expect(claim(lying, 0).ok).toBe(true);
    expect(claim(lying, 1).code).toBe(11019);
    expect(epochRow()['claimed']).toBe(1_000n);
    checkFold(chain);
  });

  test('through a contract is the contract\'s, not the wallet\'s', () => {
    const payee = chain.deploy('payee', fixture('payee'));
    const rewards: Reward[] = [{ who: chain.buyer, amt: 100n }, { who: payee, amt: 50n }];
    const tree = posted(new RewardTree(1n, 1n, rewards));
    chain.mineTo(epochRow()['vested-burn'] as bigint);
    const through = (index: number) =>
      chain.call(payee, 'claim', [1n, 1n, rewards[index]!.amt, BigInt(index), tree.proof(index), chain.stx], chain.buyer);
    expect(through(0).code).toBe(11017);
    expect(through(1).value).toBe(50n);
    expect(chain.balance(chain.stx, payee)).toBe(50n);
  });

  test('of a programme that vests at once is whole from the first block', () => {
    chain.must('bh-incentives', 'create-program', [chain.stx, terms({ 'vesting-burn': 0n }), null], chain.deployer);
    chain.must('bh-incentives', 'contribute', [2n, chain.stx, 100n], chain.stranger);
    const tree = new RewardTree(2n, 1n, [{ who: chain.buyer, amt: 100n }]);
    chain.mineTo(endOf(1n));
    chain.must('bh-incentives', 'post-root', [2n, 1n, tree.root, 100n, 1n], keeper);
    chain.mineBurn(CHALLENGE);
    expect(chain.call('bh-incentives', 'claim', [2n, 1n, 100n, 0n, [], chain.stx], chain.buyer).value).toBe(100n);
    const row = chain.read('bh-incentives', 'get-epoch', [2n, 1n]) as Row;
    expect(row['deadline-burn']).toBe((row['claimable-burn'] as bigint) + CLAIM);
    checkFold(chain);
  });
});

test('what nobody claims returns to the budget, once', () => {
  const tree = posted(treeOf(1_000n, 2_000n));
  chain.mineTo(epochRow()['vested-burn'] as bigint);
  claim(tree, 0);
  const close = () => chain.call('bh-incentives', 'close-epoch', [1n, 1n], chain.stranger);
  chain.mineTo(epochRow()['deadline-burn'] as bigint);
  expect(close().code).toBe(11016);
  chain.mineBurn(1);
  expect(close().value).toBe(2_000n);
  expect(close().code).toBe(11009);
  expect(program()['budget']).toBe(BUDGET - 1_000n);
  expect(chain.call('bh-incentives', 'close-epoch', [1n, 2n], chain.stranger).code).toBe(11010);
  expect(chain.call('bh-incentives', 'close-epoch', [8n, 2n], chain.stranger).code).toBe(11004);
  expect(post(tree).code).toBe(11009);
  checkFold(chain);
});

describe('the tree', () => {
  test('of every size to 33 leaves proves each of them to the contract', () => {
    const random = new Random(7);
    const users = [chain.deployer, chain.buyer, chain.id('bh-vault'), ...chain.providers, ...chain.feeders];
    for (let size = 1; size <= 33; size += 1) {
      const rewards = Array.from({ length: size }, () => ({ who: random.pick(users), amt: random.between(1n, MOST) }));
      const tree = new RewardTree(3n, 9n, rewards);
      const indexes = size < 9 ? rewards.keys() : [0, size - 1, Number(random.between(0n, BigInt(size - 1)))];
      for (const index of indexes) {
        const { who, amt } = rewards[index]!;
        const leaf = chain.read('bh-incentives', 'leaf-hash', [3n, 9n, who, amt]);
        expect(leaf).toBe(hex(leafHash(3n, 9n, rewards[index]!)));
        const args: ClarityArgument[] = [Buffer.from(String(leaf), 'hex'), BigInt(index), tree.proof(index)];
        expect(chain.read('bh-incentives', 'proof-root', args)).toBe(hex(tree.root));
      }
      expect(chain.read('bh-incentives', 'tree-depth', [BigInt(size)])).toBe(BigInt(tree.proof(0).length));
    }
    expect(chain.read('bh-incentives', 'tree-depth', [2n ** 20n])).toBe(20n);
    expect(chain.read('bh-incentives', 'tree-depth', [2n ** 19n + 1n])).toBe(20n);
  });

  test('is the one of the recorded vectors', async () => {
    const random = new Random(21);
    const users = [chain.deployer, chain.id('bh-vault'), chain.sbtc, chain.buyer, chain.guardian, ...chain.providers];
    const vectors = [1, 2, 3, 5, 8].map((size) => {
      const program = random.between(1n, 2n ** 40n);
      const epoch = random.between(1n, 1_000n);
      const rewards = users.slice(0, size).map((who) => ({ who, amt: random.between(1n, 2n ** 100n) }));
      const tree = new RewardTree(program, epoch, rewards);
      for (const [index, { who, amt }] of rewards.entries()) {
        const leaf = Buffer.from(String(chain.read('bh-incentives', 'leaf-hash', [program, epoch, who, amt])), 'hex');
        expect(chain.read('bh-incentives', 'proof-root', [leaf, BigInt(index), tree.proof(index)])).toBe(hex(tree.root));
      }
      return {
        program: String(program),
        epoch: String(epoch),
        rewards: rewards.map(({ who, amt }) => ({ who, amt: String(amt) })),
        root: hex(tree.root),
        proofs: rewards.map((_, index) => tree.proof(index).map(hex)),
      };
    });
    const lines = vectors.map((vector) => JSON.stringify(vector));
    await expect(`[\n${lines.join(',\n')}\n]\n`).toMatchFileSnapshot('./vectors/merkle.json');
  });
});
