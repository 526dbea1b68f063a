import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Cl } from '@stacks/transactions';
import { Node, TestObserver, VAULT, account, signer } from './support.js';

describe('forks', () => {
  /** @type {Node} */
  let node;
  const observer = new TestObserver();
  const alice = signer(1);
  const bob = signer(2);
  const carol = signer(3);
  const vault = `${alice.address}.vault`;

  /** All state that a contract, an account or a reader could see, but for the height. */
  const state = async () => ({
    total: await node.read(vault, 'get-total'),
    deposits: [
      await node.read(vault, 'get-deposit', Cl.address(alice.address)),
      await node.read(vault, 'get-deposit', Cl.address(bob.address)),
    ],
    gold: await node.read(vault, 'get-gold', Cl.address(alice.address)),
    balances: await Promise.all([alice.address, bob.address, vault].map((address) => node.balance(address))),
    nonces: await Promise.all([alice.address, bob.address].map((address) => node.nonce(address))),
    sbtc: await node.read(
      'SM3VDXK3WZZSA84XXFKAFAF15NNZX32CTSG82JFQ4.sbtc-token',
      'get-balance',
      Cl.address(alice.address),
    ),
  });
  const heights = () => node.read(vault, 'heights');

  /** Changes something in each of `count` blocks, now and then with a deploy, an error, or a new tenure. */
  const live = async (/** @type {number} */ count, /** @type {string} */ name) => {
    for (let i = 0; i < count; i++) {
      await node.send(await alice.call(vault, 'deposit', [Cl.uint(i + 1)]));
      await node.send(
        await bob.call(vault, i % 3 === 0 ? 'touch-and-divide' : 'deposit', [Cl.uint(i % 3 === 0 ? 0 : 7)]),
      );
      if (i % 4 === 1) await node.send(await alice.call(vault, 'mint-gold', [Cl.uint(i)]));
      if (i % 10 === 0) await node.send(await carol.deploy(`${name}-${i}`, `(define-read-only (x) u${i})`));
      if (i % 5 === 4) await node.ok('/devnet/burn', {});
      else await node.mine();
    }
  };

  beforeAll(async () => {
    node = await Node.start('--observer', await observer.listen());
    for (const { address } of [alice, bob, carol]) await node.ok('/devnet/fund', { address, ustx: 1_000_000_000 });
    await node.ok('/devnet/fund', { address: alice.address, sbtc: 1000 });
    await node.mine();
    await node.send(await alice.deploy('vault', VAULT));
    await node.mine();
  });
  afterAll(async () => {
    await node?.stop();
    await observer.close();
  });

  test.each([1, 5, 50])(
    '%i blocks deep, without the transactions: state is as before, and a longer branch stands',
    async (depth) => {
      await live(3, `before${depth}`);
      const before = { state: await state(), heights: await heights(), tip: (await node.status()).tip };
      const nonces = [alice.nonce, bob.nonce, carol.nonce];
      await live(depth, `rolled${depth}`);
      const rolled = (await node.status()).tip;
      expect(rolled.height).toBe(before.tip.height + depth);

      const fork = await node.ok('/devnet/fork', { depth, keep_transactions: false });
      [alice.nonce, bob.nonce, carol.nonce] = nonces;
      expect(fork.fork_point).toEqual(before.tip);
      expect(await state()).toEqual(before.state);
      expect((await node.request(`/v2/contracts/source/${carol.address}/rolled${depth}-0`)).status).toBe(404);
      expect(fork.old.blocks.map((/** @type {any} */ block) => block.height)).toEqual(
        Array.from({ length: depth }, (_, i) => before.tip.height + 1 + i),
      );
      expect(fork.new.blocks.map((/** @type {any} */ block) => block.height)).toEqual(
        Array.from({ length: depth + 1 }, (_, i) => before.tip.height + 1 + i),
      );
      expect(fork.returned).toEqual([]);
      expect(fork.dropped.length).toBeGreaterThan(2 * depth);
      const { tip, burn_tip: burn, mempool } = await node.status();
      expect(tip).toEqual(fork.new.blocks[depth]);
      expect(burn.height).toBe(tip.burn_block_height);
      expect(burn.height).toBeGreaterThan(rolled.burn_block_height);
      expect(mempool.size).toBe(0);
      expect(await heights()).toContain(`stacks: u${tip.height}`);
      expect(await heights()).toContain(`burn: u${burn.height}`);

      await observer.untilBlock(tip.index_block_hash);
      const posts = observer.accepted.slice(
        observer.accepted.findIndex(({ body }) => body.index_block_hash === rolled.index_block_hash) + 1,
      );
      const [dropped] = observer.bodies('/drop_mempool_tx').slice(-1);
      expect(dropped).toEqual({ dropped_txids: fork.dropped, reason: 'ReplaceAcrossFork', new_txid: null });
      const newBurns = posts.filter(({ path }) => path === '/new_burn_block').map(({ body }) => body.burn_block_hash);
      expect(newBurns).toEqual(fork.new.burn_blocks.map((/** @type {any} */ block) => block.burn_block_hash));
      const newBlocks = posts.filter(({ path }) => path === '/new_block').map(({ body }) => body);
      expect(newBlocks.map((block) => block.index_block_hash)).toEqual(
        fork.new.blocks.map((/** @type {any} */ block) => block.index_block_hash),
      );
      expect(posts.findLastIndex(({ path }) => path === '/new_burn_block')).toBeLessThan(
        posts.findIndex(({ path }) => path === '/new_block'),
      );
      expect(newBlocks[0].parent_index_block_hash).toBe(before.tip.index_block_hash);
      expect([...new Set(newBlocks.map((block) => block.burn_block_hash))]).toEqual(newBurns);
      const oldHashes = fork.old.blocks.map((/** @type {any} */ block) => block.block_hash);
      for (const block of newBlocks) expect(oldHashes).not.toContain(block.block_hash);
      // Each burn block that anchored only what was rolled back is replaced by another of its height; all others stand.
      const replaced = fork.old.burn_blocks.map((/** @type {any} */ block) => block.height);
      expect(fork.new.burn_blocks.slice(0, replaced.length).map((/** @type {any} */ block) => block.height)).toEqual(
        replaced,
      );
      expect(fork.new.burn_blocks[0].height).toBe(before.tip.burn_block_height + 1);
      expect(fork.new.burn_blocks[0].parent_burn_block_hash).toBe(before.tip.burn_block_hash);
    },
  );

  test('rolled-back transactions are mined again on the new branch, before those that came later', async () => {
    const before = (await node.status()).tip;
    const sent = [
      await node.send(await alice.call(vault, 'deposit', [Cl.uint(11)])),
      await node.send(await bob.call(vault, 'deposit', [Cl.uint(22)])),
    ];
    await node.mine();
    sent.push(await node.send(await bob.deploy('again', '(define-read-only (x) u1)')));
    await node.mine();
    const then = await state();
    const {
      txids: [gift],
    } = await node.ok('/devnet/fund', { address: account(60).address, ustx: 9 });
    const fork = await node.ok('/devnet/fork', { depth: 2 });
    expect(fork.fork_point).toEqual(before);
    expect([fork.returned, fork.dropped]).toEqual([sent, []]);
    expect(await state()).toEqual(then);
    expect(
      fork.new.blocks.map((/** @type {any} */ block) =>
        block.txids.filter((/** @type {string} */ txid) => [...sent, gift].includes(txid)),
      ),
    ).toEqual([[sent[0], sent[1], gift], [sent[2]], []]);
    expect(await node.read(`${bob.address}.again`, 'x')).toBe('u1');
    expect(await node.balance(account(60).address)).toBe(9n);
    expect((await node.ok(`/v3/transaction/${sent[0].slice(2)}`)).index_block_hash).toBe(
      fork.new.blocks[0].index_block_hash.slice(2),
    );
  });

  test('orphaned blocks can still be replayed, and a fork of a fork works', async () => {
    await live(4, 'orphan');
    const { tip } = await node.status();
    const orphan = await node.ok(`/v3/blocks/replay/${tip.index_block_hash}`);
    for (let i = 0; i < 3; i++) await node.ok('/devnet/fork', { depth: 3 + i, blocks: 9 });
    expect(await node.ok(`/v3/blocks/replay/${tip.index_block_hash}`)).toEqual(orphan);
    expect((await node.status()).tip.height).toBe(tip.height - 3 + 9 - 4 + 9 - 5 + 9);
    expect(await heights()).toContain(`stacks: u${tip.height + 15}`);
  });

  test('a fork may begin in the middle of a tenure, or where a burn block waits for its first block', async () => {
    await node.ok('/devnet/burn', {});
    await node.ok('/devnet/mine', { blocks: 3 });
    const { tip } = await node.status();
    const inside = await node.ok('/devnet/fork', { depth: 2 });
    expect(inside.old.burn_blocks).toEqual([]);
    expect(inside.new.burn_blocks.map((/** @type {any} */ block) => block.parent_burn_block_hash)).toEqual([
      tip.burn_block_hash,
    ]);
    const {
      burn_blocks: [pending],
    } = await node.ok('/devnet/burn', { mine: false });
    const waiting = await node.ok('/devnet/fork', { depth: 1 });
    expect(waiting.old.burn_blocks.slice(-1)).toEqual([pending]);
    expect(waiting.new.burn_blocks.map((/** @type {any} */ block) => block.height).slice(-1)).toEqual([
      pending.height + 1,
    ]);
    expect((await node.status()).tenure_pending).toBe(false);
  });

  test('genesis cannot be rolled back', async () => {
    const { memory, tip } = await node.status();
    const { status, body } = await node.request('/devnet/fork', { depth: tip.height - memory.oldest_height + 1 });
    expect([status, body.error]).toEqual([
      400,
      `depth must be from 1 to ${tip.height - memory.oldest_height}, the blocks that can be rolled back now`,
    ]);
    expect((await node.status()).tip).toEqual(tip);
  });

  test('a hundred forks neither leak nor slow down', async () => {
    const fork = () => node.ok('/devnet/fork', { depth: 2, keep_transactions: false });
    await live(2, 'many');
    await fork();
    const before = (await node.status()).memory;
    for (let i = 0; i < 100; i++) await fork();
    const after = (await node.status()).memory;
    expect(after.machine).toBe(before.machine);
    expect((after.undo - before.undo) / 100).toBeLessThan(300_000);
    expect(node.errors).toEqual([]);
  });
});
