import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { takeByFee, takeInOrderOfArrival } from '../congestion.js';
import { Node, TestObserver, VAULT, signer } from './support.js';

describe('the order in which miners try transactions', () => {
  /** @param {string} account @param {number} nonce @param {number} fee */
  const transaction = (account, nonce, fee, size = 100) =>
    /** @type {any} */ ({ account, nonce, fee: BigInt(fee), size, name: `${account}${nonce}` });
  const block = (/** @type {number} */ room) => {
    /** @type {string[]} */
    const taken = [];
    /** @type {Map<string, number>} */
    const next = new Map();
    const take = (/** @type {any} */ { account, nonce, name }) => {
      if (taken.length === room || (next.get(account) ?? 0) !== nonce) return false;
      next.set(account, nonce + 1);
      taken.push(name);
      return true;
    };
    return { taken, take };
  };

  test('as they came, each account by nonce', () => {
    const { taken, take } = block(9);
    takeInOrderOfArrival([transaction('a', 1, 900), transaction('a', 0, 100), transaction('b', 0, 500)], take);
    expect(taken).toEqual(['a0', 'b0', 'a1']);
  });

  test('by fee a byte: a high fee waits for the lower nonce before it, and then comes at once', () => {
    const { taken, take } = block(3);
    const waiting = [
      transaction('a', 0, 200),
      transaction('a', 1, 900),
      transaction('b', 0, 300),
      transaction('c', 0, 150),
      transaction('d', 0, 1000, 1000),
    ];
    takeByFee(waiting, take, 0);
    expect(taken).toEqual(['b0', 'a0', 'a1']);
  });

  test('nothing below the least rate, and nothing behind it', () => {
    const { taken, take } = block(9);
    takeByFee([transaction('a', 0, 199), transaction('a', 1, 900), transaction('b', 0, 200)], take, 2);
    expect(taken).toEqual(['b0']);
  });
});

describe('congestion', () => {
  /** @type {Node} */
  let node;
  const observer = new TestObserver();
  const alice = signer(1);
  const bob = signer(2);

  beforeAll(async () => {
    node = await Node.start('--observer', await observer.listen());
    for (const { address } of [alice, bob]) await node.ok('/devnet/fund', { address, ustx: 1_000_000_000 });
    await node.mine();
    await node.send(await alice.deploy('vault', VAULT));
    await node.mine();
  });
  afterEach(async () => {
    await node.ok('/devnet/congestion', {});
    for (let left = 1; left > 0; left = (await node.status()).mempool.size) await node.mine();
  });
  afterAll(async () => {
    await node?.stop();
    await observer.close();
  });

  const feesOf = (/** @type {any} */ block) =>
    block.transactions.map((/** @type {any} */ { hex }) => Number(BigInt(`0x${hex.slice(70, 86)}`)));
  const estimate = async () =>
    (
      await node.ok('/v2/fees/transaction', { transaction_payload: '00'.repeat(100), estimated_len: 180 })
    ).estimations.map((/** @type {any} */ { fee_rate }) => fee_rate);

  test('strangers fill small blocks, and what pays more is mined before what came first', async () => {
    expect(await estimate()).toEqual([1, 2, 4]);
    const { congestion } = await node.ok('/devnet/congestion', {
      capacity: 4,
      strangers: 10,
      stranger_fees: [20, 40],
    });
    expect((await node.status()).congestion).toEqual(congestion);
    const cheap = await bob.transfer(alice.address, 1, { fee: 180 });
    await node.send(cheap);
    const first = await node.mine();
    expect(first.transactions).toHaveLength(4);
    const fees = feesOf(first);
    expect(fees).toEqual([...fees].sort((a, b) => b - a));
    expect(Math.min(...fees)).toBeGreaterThanOrEqual(20 * 180);
    expect((await node.status()).mempool.txids).toContain(`0x${cheap.txid()}`);

    for (let i = 0; i < 4; i++) expect((await node.mine()).transactions).toHaveLength(4);
    const [low, , high] = await estimate();
    expect(low).toBeGreaterThanOrEqual(20);
    expect(high).toBeGreaterThanOrEqual(low);

    const dear = await bob.transfer(alice.address, 1, { nonce: bob.nonce - 1n, fee: 50 * 180 });
    await node.send(dear);
    const [mined] = (await node.mine()).transactions;
    expect(mined.txid).toBe(dear.txid());
  });

  test('miners take nothing below the least rate, though the mempool does', async () => {
    await node.ok('/devnet/congestion', { capacity: 100, min_fee_rate: 10 });
    const waits = await bob.transfer(alice.address, 1, { fee: 9 * 180 });
    await node.send(waits);
    expect((await node.mine()).transactions).toEqual([]);
    await node.ok('/devnet/congestion', { capacity: 100, min_fee_rate: 9 });
    expect((await node.mine()).transactions.map((/** @type {any} */ t) => t.txid)).toEqual([waits.txid()]);
  });

  test('dropped transactions are gone, their observers hear why, and they may come again', async () => {
    await node.ok('/devnet/congestion', { capacity: 1, min_fee_rate: 1000 });
    const sent = [];
    for (let i = 0; i < 4; i++) {
      const transaction = await bob.transfer(alice.address, 1 + i);
      await node.send(transaction);
      sent.push(`0x${transaction.txid()}`);
    }
    const { body: found } = await node.request(`/v2/transactions/unconfirmed/${sent[0].slice(2)}`);
    expect(found).toMatchObject({ status: 'Mempool', tx: expect.stringMatching(/^[0-9a-f]+$/) });

    const half = await node.ok('/devnet/drop', { fraction: 0.5, sender: bob.address, reason: 'Problematic' });
    expect(half.dropped).toHaveLength(2);
    expect(sent).toEqual(expect.arrayContaining(half.dropped));
    const rest = sent.filter((txid) => !half.dropped.includes(txid));
    expect(await node.ok('/devnet/drop', { txids: sent })).toEqual({ dropped: rest });
    expect((await node.request(`/v2/transactions/unconfirmed/${sent[0].slice(2)}`)).status).toBe(404);
    await observer.until(() => observer.bodies('/drop_mempool_tx').some(({ reason }) => reason === 'TooExpensive'));
    const heard = observer.bodies('/drop_mempool_tx').slice(-2);
    expect(heard).toEqual([
      { dropped_txids: half.dropped, reason: 'Problematic', new_txid: null },
      { dropped_txids: rest, reason: 'TooExpensive', new_txid: null },
    ]);

    const { body } = await node.request('/v2/transactions', { tx: found.tx });
    expect(`0x${body}`).toBe(sent[0]);
    expect((await node.status()).mempool.txids).toEqual([sent[0]]);
  });

  test('one that was mined is still found by its id, as at a node', async () => {
    const transaction = await alice.transfer(bob.address, 1);
    await node.send(transaction);
    await node.mine();
    expect((await node.request(`/v2/transactions/unconfirmed/${transaction.txid()}`)).status).toBe(200);
  });

  test.each([
    ['/devnet/congestion', { capacity: 0 }, /capacity/],
    ['/devnet/congestion', { capacity: 5, strangers: 401 }, /strangers/],
    ['/devnet/congestion', { capacity: 5, stranger_fees: [3, 2] }, /stranger_fees/],
    ['/devnet/congestion', { capacity: 5, min_fee_rate: 0.5 }, /min_fee_rate/],
    ['/devnet/drop', {}, /txids or fraction/],
    ['/devnet/drop', { fraction: 2 }, /fraction/],
    ['/devnet/drop', { txids: ['zz'] }, /txid/],
    ['/devnet/drop', { txids: [], reason: 'Boredom' }, /reason/],
  ])('a wrong request changes nothing: %s %j', async (path, request, message) => {
    const before = await node.status();
    const { status, body } = await node.request(path, request);
    expect([status, body.error]).toEqual([400, expect.stringMatching(message)]);
    const after = await node.status();
    expect([after.tip, after.mempool, after.congestion]).toEqual([before.tip, before.mempool, before.congestion]);
  });
});

test('a congested chain is the same after a restart', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'devnet-'));
  try {
    let node = await Node.start('--state', directory);
    await node.ok('/devnet/congestion', { capacity: 3, strangers: 6, stranger_fees: [5, 9] });
    for (let i = 0; i < 3; i++) await node.mine();
    await node.ok('/devnet/burn', {});
    await node.ok('/devnet/drop', { fraction: 0.5 });
    await node.ok('/devnet/fork', { depth: 2 });
    await node.mine();
    const summary = async () => {
      const { tip, burn_tip, mempool, congestion } = await node.status();
      return { tip, burn_tip, mempool, congestion };
    };
    const before = await summary();
    await node.stop();
    node = await Node.start('--state', directory);
    expect(await summary()).toEqual(before);
    await node.stop();
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
});
