import { appendFileSync, mkdtempSync, readFileSync, rmSync, truncateSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Cl } from '@stacks/transactions';
import { Node, VAULT, account, signer } from './support.js';

describe('restart', () => {
  const directory = mkdtempSync(join(tmpdir(), 'devnet-'));
  const log = join(directory, 'operations.jsonl');
  /** @type {Node} */
  let node;
  afterAll(async () => {
    await node?.stop();
    rmSync(directory, { recursive: true });
  });
  const start = async (/** @type {string[]} */ ...options) =>
    (node = await Node.start('--state', directory, ...options));

  /** A bit of everything that changes a chain. */
  const history = async (/** @type {Node} */ running) => {
    const alice = signer(1);
    const vault = `${alice.address}.vault`;
    await running.ok('/devnet/fund', { address: alice.address, ustx: 1_000_000_000, sbtc: 5 });
    await running.mine();
    await running.send(await alice.deploy('vault', VAULT));
    await running.mine();
    await running.send(await alice.call(vault, 'deposit', [Cl.uint(10)]));
    await running.send(await alice.call(vault, 'touch-and-divide', [Cl.uint(0)]));
    await running.send(await alice.transfer(account(5).address, 3, { fee: 500 }));
    await running.send(await alice.transfer(account(5).address, 4, { fee: 900, nonce: alice.nonce - 1n }));
    await running.ok('/devnet/burn', { blocks: 2 });
    await running.ok('/devnet/fork', { depth: 2, blocks: 4 });
    await running.ok('/devnet/mine', { blocks: 3 });
    await running.ok('/devnet/fork', { depth: 1, keep_transactions: false });
    await running.send(await alice.call(vault, 'deposit', [Cl.uint(1)]));
    await running.mine();
    await running.ok('/devnet/burn', { mine: false });
    await running.send(await alice.call(vault, 'deposit', [Cl.uint(2)]));
    return vault;
  };
  const picture = async (/** @type {Node} */ running, /** @type {string} */ vault) => {
    const { tip, burn_tip: burn, tenure_pending: pending, mempool, forks, posts } = await running.status();
    return {
      ...{ tip, burn, pending, mempool, forks, posts: posts.count },
      heights: await running.read(vault, 'heights'),
      total: await running.read(vault, 'get-total'),
      account: await running.ok(`/v2/accounts/${account(1).address}`),
      info: await running.ok('/v2/info'),
      block: await running.ok(`/v3/blocks/replay/${tip.index_block_hash}`),
    };
  };

  /** @type {string} */
  let vault;
  beforeAll(async () => {
    await start();
    vault = await history(node);
  });

  test('a killed node continues the same chain, also when the kill cut a line short', async () => {
    const before = await picture(node, vault);
    expect(before).toMatchObject({ total: 'u11', pending: true, forks: 2, mempool: { size: 1 } });
    await node.stop('SIGKILL');
    appendFileSync(log, '{"op":"bl');
    appendFileSync(join(directory, 'delivered.jsonl'), '{"http');
    await start();
    expect(await picture(node, vault)).toEqual(before);
    await node.mine();
    expect(await node.read(vault, 'get-total')).toBe('u13');
  });

  test.each(/** @type {const} */ (['SIGTERM', 'SIGINT']))('a node ended by %s does too', async (signal) => {
    const before = await picture(node, vault);
    expect(await node.stop(signal)).toBe(0);
    await start();
    expect(await picture(node, vault)).toEqual(before);
    await node.ok('/devnet/fork', { depth: 3 });
    expect(await node.read(vault, 'get-total')).toBe('u13');
    expect(node.errors).toEqual([]);
  });

  test('a kill in the middle of the last line loses that operation and no other', async () => {
    const { tip } = await node.status();
    await node.mine();
    await node.stop('SIGKILL');
    truncateSync(log, readFileSync(log).length - 3);
    await start();
    expect((await node.status()).tip).toEqual(tip);
    await node.stop();
  });

  test('a damaged log and another network are refused with a clear message', async () => {
    await expect(start('--seed', 'other')).rejects.toThrow(/holds a chain of seed 0 and chain id 2147483648/);
    appendFileSync(log, 'nonsense\n{"op":"block"}\n');
    await expect(start()).rejects.toThrow(/operations.jsonl:[0-9]+ is damaged/);
  });

  test('wrong options are refused', async () => {
    await expect(start('--observer', 'ftp://x')).rejects.toThrow(/--observer ftp:\/\/x: not an http/);
    await expect(start('--chain-id', '0x1ffffffff')).rejects.toThrow(/--chain-id 0x1ffffffff: not a whole number/);
  });
});
