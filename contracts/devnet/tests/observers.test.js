import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Node, TestObserver, account } from './support.js';

/** What identifies a post. @param {{path: string, body: any}} post */
const name = ({ path, body }) => `${path} ${body.index_block_hash ?? body.burn_block_hash ?? JSON.stringify(body)}`;

/** Posts without the repetitions that an observer gets when its answer was late or lost. @param {{path: string, body: any}[]} posts */
const once = (posts) => posts.map(name).filter((post, i, all) => post !== all[i - 1]);

/** @param {Node} node @returns {Promise<string>} the tip's index block hash */
async function workload(node) {
  await node.ok('/devnet/fund', { address: account(1).address, ustx: 5, sbtc: 6 });
  await node.ok('/devnet/mine', { blocks: 2 });
  await node.ok('/devnet/burn', {});
  return (await node.status()).tip.index_block_hash;
}

describe('event observers', () => {
  /** @type {Node} */
  let node;
  const flaky = new TestObserver();
  const steady = new TestObserver();
  /** @type {TestObserver | undefined} */
  let returned;
  beforeAll(async () => {
    node = await Node.start(
      '--observer',
      await flaky.listen(),
      '--observer',
      await steady.listen(),
      '--observer-timeout-ms',
      '1000',
      '--log',
      'json',
    );
  });
  afterAll(async () => {
    await node?.stop();
    await Promise.all([steady.close(), returned?.close()]);
  });

  test('a post is repeated until it is answered 200, before any other is sent', async () => {
    await flaky.until(() => flaky.accepted.length >= 4);
    const first = flaky.posts.length;
    /** @type {Record<number, number | 'silence'>} */
    const failures = { 0: 500, 1: 201, 3: 404, 5: 'silence', 6: 204, 9: 503 };
    flaky.answer = (attempt) => failures[attempt - first] ?? 200;
    const tip = await workload(node);
    await flaky.untilBlock(tip);
    await steady.untilBlock(tip);
    for (const failed of Object.keys(failures).map(Number))
      expect(name(flaky.posts[first + failed + 1])).toBe(name(flaky.posts[first + failed]));
    const { posts } = await node.status();
    expect(once(flaky.accepted)).toHaveLength(posts.count);
    expect(new Set(once(flaky.accepted)).size).toBe(posts.count);
    expect(node.errors.filter((line) => line.includes('post failed')).length).toBeGreaterThanOrEqual(
      Object.keys(failures).length,
    );
  });

  test('all observers get the same posts in the same order', () => {
    expect(once(steady.accepted)).toEqual(once(flaky.accepted));
  });

  test('posts wait while they are paused', async () => {
    const before = { flaky: flaky.posts.length, count: (await node.status()).posts.count };
    await node.ok('/devnet/pause-posts', {});
    const tip = await workload(node);
    const { posts } = await node.status();
    expect(posts).toMatchObject({ queued: 2 * (posts.count - before.count), paused: true });
    expect(flaky.posts).toHaveLength(before.flaky);
    await node.ok('/devnet/resume-posts', {});
    await Promise.all([flaky.untilBlock(tip), steady.untilBlock(tip)]);
    expect(once(flaky.accepted)).toHaveLength(posts.count);
  });

  test('an observer that is down loses nothing, holds up the others, and the node mines on', async () => {
    const before = { posts: steady.accepted.length, height: (await node.status()).tip.height };
    const { port } = flaky;
    await flaky.close();
    const tip = await workload(node);
    expect((await node.status()).posts.queued).toBeGreaterThan(0);
    expect(steady.accepted).toHaveLength(before.posts);
    returned = new TestObserver();
    await returned.listen(port);
    await Promise.all([returned.untilBlock(tip), steady.untilBlock(tip)]);
    expect(returned.bodies('/new_block').map((block) => block.block_height)).toEqual(
      [1, 2, 3].map((i) => before.height + i),
    );
    expect(once(steady.accepted).slice(-once(returned.accepted).length)).toEqual(once(returned.accepted));
  });
});

describe('observers of a killed node', () => {
  const directory = mkdtempSync(join(tmpdir(), 'devnet-'));
  const observer = new TestObserver();
  const late = new TestObserver();
  /** @type {Node} */
  let node;
  afterAll(async () => {
    await node?.stop();
    await Promise.all([observer.close(), late.close()]);
    rmSync(directory, { recursive: true });
  });

  test('it sends again what was not acknowledged and nothing that was; who joins then hears what follows', async () => {
    const url = await observer.listen();
    node = await Node.start('--observer', url, '--state', directory);
    await observer.until(() => observer.accepted.length >= 4);
    await node.ok('/devnet/pause-posts', {});
    const tip = await workload(node);
    await node.stop('SIGKILL');
    expect(once(observer.accepted)).toHaveLength(4);

    node = await Node.start('--observer', url, '--observer', await late.listen(), '--state', directory);
    await observer.untilBlock(tip);
    const { posts } = await node.status();
    expect(once(observer.accepted)).toHaveLength(posts.count);
    expect(new Set(once(observer.accepted)).size).toBe(posts.count);
    expect(observer.bodies('/new_block').map((block) => block.block_height)).toEqual([0, 1, 2, 3, 4, 5]);
    const mined = observer.bodies('/new_block')[3].transactions;
    expect(observer.bodies('/new_mempool_tx')).toEqual(
      mined.map((/** @type {any} */ transaction) => [transaction.raw_tx]),
    );

    expect(late.posts).toEqual([]);
    const next = await workload(node);
    await Promise.all([observer.untilBlock(next), late.untilBlock(next)]);
    expect(late.bodies('/new_block').map((block) => block.block_height)).toEqual([6, 7, 8]);
  });
});
