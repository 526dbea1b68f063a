import { existsSync, readFileSync } from 'node:fs';
import { createHash } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Cl, PayloadType, deserializeTransaction } from '@stacks/transactions';
import { Node, TestObserver, VAULT, signer } from './support.js';

const DATA = process.env.CLARION_TEST_DATA ?? fileURLToPath(new URL('../../../../shared/data', import.meta.url));
const RECORDED = `${DATA}/stacks/nakamoto-2025.tsv`;
/** Fields that newer nodes add to what was recorded in October 2025. */
const NEWER_BLOCK_FIELDS = ['pox_v4_unlock_height'];
const NEWER_BURN_FIELDS = ['pox_transactions'];

const sha512_256 = (/** @type {string} */ hex) =>
  createHash('sha512-256')
    .update(Buffer.from(hex.replaceAll('0x', ''), 'hex'))
    .digest('hex');

describe('posted blocks and routes', () => {
  /** @type {Node} */
  let node;
  const observer = new TestObserver();
  const alice = signer(1);
  const bob = signer(2);
  const vault = `${alice.address}.vault`;
  const path = vault.replace('.', '/');
  /** @type {any[]} */
  let blocks;
  /** @type {any[]} */
  let burns;

  beforeAll(async () => {
    node = await Node.start('--observer', await observer.listen());
    await node.ok('/devnet/fund', { address: alice.address, ustx: '1000000000' });
    await node.ok('/devnet/mine', {});
    await node.send(await alice.deploy('vault', VAULT));
    await node.ok('/devnet/mine', {});
    await node.send(await alice.call(vault, 'deposit', [Cl.uint(5)]));
    await node.send(await alice.call(vault, 'touch-and-refuse'));
    await node.send(await alice.call(vault, 'touch-and-divide', [Cl.uint(0)]));
    await node.send(await alice.transfer(bob.address, 10));
    await node.ok('/devnet/mine', {});
    await node.ok('/devnet/burn', { blocks: 2 });
    await node.ok('/devnet/burn', { mine: false });
    await node.ok('/devnet/mine', { blocks: 2 });
    const { tip } = await node.status();
    await observer.untilBlock(tip.index_block_hash);
    blocks = observer.bodies('/new_block');
    burns = observer.bodies('/new_burn_block');
  });
  afterAll(async () => {
    await node?.stop();
    await observer.close();
  });

  test('the first post is a genesis block as every node has it, so that a follower starts from nothing', () => {
    const [first] = observer.accepted;
    expect(first.path).toBe('/new_block');
    expect(first.body).toMatchObject({
      block_height: 0,
      block_hash: `0x${'00'.repeat(32)}`,
      parent_block_hash: `0x${'ff'.repeat(32)}`,
      parent_index_block_hash: `0x${'ff'.repeat(32)}`,
      index_block_hash: '0x55c9861be5cff984a20ce6d99d4aa65941412889bdc665094136429b84f8c2ee',
      transactions: [],
      events: [],
    });
  });

  test('each block names its parent, and its index hash is that of block and consensus hash', () => {
    expect(blocks.map(({ block_height: height }) => height)).toEqual(blocks.map((_, i) => i));
    blocks.forEach((block, i) => {
      expect(block.index_block_hash).toBe(`0x${sha512_256(block.block_hash + block.consensus_hash)}`);
      if (i === 0) return;
      const parent = blocks[i - 1];
      expect(block.parent_index_block_hash).toBe(parent.index_block_hash);
      expect(block.parent_block_hash).toBe(parent.block_hash);
      expect(block.parent_burn_block_hash).toBe(parent.burn_block_hash);
      expect(block.parent_burn_block_height).toBe(parent.burn_block_height);
      expect(block.parent_burn_block_timestamp).toBe(parent.burn_block_time);
      expect(block.block_time).toBeGreaterThan(parent.block_time ?? 0);
    });
  });

  test('burn blocks are linked, come before their Stacks blocks, and share their hashes with them', () => {
    expect(burns.map((burn) => burn.burn_block_height)).toEqual(burns.map((_, i) => i + 1));
    burns.slice(1).forEach((burn, i) => expect(burn.parent_burn_block_hash).toBe(burns[i].burn_block_hash));
    expect(burns[0].parent_burn_block_hash).toBe(blocks[0].burn_block_hash);
    for (const block of blocks.slice(1)) {
      const burn = burns.find(({ burn_block_hash: hash }) => hash === block.burn_block_hash);
      expect(burn).toMatchObject({ burn_block_height: block.burn_block_height, consensus_hash: block.consensus_hash });
      const position = (/** @type {any} */ body) => observer.accepted.findIndex((post) => post.body === body);
      expect(position(burn)).toBeLessThan(position(block));
      expect(burn.consensus_hash).toMatch(/^0x[0-9a-f]{40}$/);
    }
  });

  test('a tenure opens with a tenure change and a coinbase', () => {
    const opening = blocks.filter((block, i) => i > 0 && block.burn_block_hash !== blocks[i - 1].burn_block_hash);
    expect(opening.map((block) => block.tenure_height)).toEqual(burns.map((_, i) => i + 1));
    for (const block of opening) {
      const [change, coinbase] = block.transactions.map(
        (/** @type {any} */ transaction) =>
          /** @type {any} */ (deserializeTransaction(transaction.raw_tx.slice(2)).payload),
      );
      expect([change.payloadType, coinbase.payloadType]).toEqual([
        PayloadType.TenureChange,
        PayloadType.NakamotoCoinbase,
      ]);
      expect(`0x${change.tenureHash}`).toBe(block.consensus_hash);
      expect(`0x${change.previousTenureEnd}`).toBe(block.parent_index_block_hash);
    }
  });

  test('receipts tell what happened, and events are numbered through the block', () => {
    const block = blocks.find(({ transactions }) => transactions.length === 4);
    expect(
      block.transactions.map((/** @type {any} */ t) => [t.tx_index, t.status, t.raw_result, t.contract_interface]),
    ).toEqual([
      [0, 'success', `0x${Cl.serialize(Cl.ok(Cl.uint(5)))}`, null],
      [1, 'abort_by_response', `0x${Cl.serialize(Cl.error(Cl.uint(7)))}`, null],
      [2, 'abort_by_response', '0x0809', null],
      [3, 'success', '0x0703', null],
    ]);
    expect(block.events.map((/** @type {any} */ e) => [e.event_index, e.type, e.committed, e.txid])).toEqual([
      [0, 'stx_transfer_event', true, block.transactions[0].txid],
      [1, 'contract_event', true, block.transactions[0].txid],
      [2, 'stx_transfer_event', true, block.transactions[3].txid],
    ]);
    expect(Object.keys(block.events[1].contract_event).sort()).toEqual(['contract_identifier', 'raw_value', 'topic']);
    for (const { raw_tx: raw, txid } of block.transactions) expect(`0x${sha512_256(raw)}`).toBe(txid);
    const deploy = blocks
      .flatMap(({ transactions }) => transactions)
      .find((transaction) => transaction.contract_interface !== null);
    expect(deploy.contract_interface.functions.map((/** @type {any} */ f) => f.name)).toContain('deposit');
  });

  test.skipIf(!existsSync(RECORDED))('bodies have the fields that a real node posted', () => {
    const recorded = readFileSync(RECORDED, 'utf8')
      .trimEnd()
      .split('\n')
      .map((line) => line.split('\t'));
    const parse = (/** @type {string} */ text) => {
      try {
        return JSON.parse(text);
      } catch {
        return JSON.parse(text.replaceAll('\\\\', '\\'));
      }
    };
    const real = (/** @type {string} */ wanted) =>
      recorded.filter(([, , route]) => route === wanted).map(([, , , body]) => parse(body));
    const keys = (/** @type {object} */ body) => Object.keys(body).sort();
    const [genesis, ...realBlocks] = real('/new_block');
    expect(keys(blocks[0])).toEqual([...keys(genesis), ...NEWER_BLOCK_FIELDS].sort());
    expect(keys(blocks[1])).toEqual([...keys(realBlocks[0]), ...NEWER_BLOCK_FIELDS].sort());
    expect(keys(blocks[1].transactions[0])).toEqual(keys(realBlocks[0].transactions[0]));
    const transfer = blocks.flatMap(({ events }) => events).find(({ type }) => type === 'stx_transfer_event');
    const realTransfer = realBlocks.flatMap(({ events }) => events).find(({ type }) => type === 'stx_transfer_event');
    expect(keys(transfer)).toEqual(keys(realTransfer));
    expect(keys(transfer.stx_transfer_event)).toEqual(keys(realTransfer.stx_transfer_event));
    expect(keys(burns[0])).toEqual([...keys(real('/new_burn_block')[0]), ...NEWER_BURN_FIELDS].sort());
    const types = (/** @type {object} */ body) =>
      Object.fromEntries(
        Object.entries(body).map(([key, value]) => [key, Array.isArray(value) ? 'array' : typeof value]),
      );
    expect(types(blocks[1])).toMatchObject(types(realBlocks[0]));
    expect(types(burns[0])).toMatchObject(types(real('/new_burn_block')[0]));
    for (const [field, shape] of Object.entries({
      miner_signature: /^0x[0-9a-f]{130}$/,
      signer_signature_hash: /^0x[0-9a-f]{64}$/,
    })) {
      expect(realBlocks[0][field]).toMatch(shape);
      expect(blocks[1][field]).toMatch(shape);
    }
    expect(blocks[1].signer_signature[0]).toMatch(/^[0-9a-f]{130}$/);
  });

  test('/v2/info tells the tip, without 0x', async () => {
    const info = await node.ok('/v2/info');
    const tip = blocks[blocks.length - 1];
    expect(info).toMatchObject({
      stacks_tip_height: tip.block_height,
      burn_block_height: burns.length,
      network_id: 0x80000000,
      is_fully_synced: true,
    });
    expect([`0x${info.stacks_tip}`, `0x${info.stacks_tip_consensus_hash}`]).toEqual([
      tip.block_hash,
      tip.consensus_hash,
    ]);
  });

  test('/v2/accounts tells balance and nonce of accounts and contracts, and zeros of the unknown', async () => {
    expect(await node.ok(`/v2/accounts/${vault}?proof=0`)).toEqual({
      balance: `0x${'5'.padStart(32, '0')}`,
      locked: `0x${'0'.repeat(32)}`,
      unlock_height: 0,
      nonce: 0,
    });
    expect(await node.ok(`/v2/accounts/${alice.address}?proof=0`)).toMatchObject({ nonce: Number(alice.nonce) });
    expect(await node.ok(`/v2/accounts/${signer(77).address}`)).toMatchObject({
      balance: `0x${'0'.repeat(32)}`,
      nonce: 0,
      balance_proof: '',
    });
    expect((await node.request('/v2/accounts/nobody')).status).toBe(400);
  });

  test('call-read runs what only reads, and says why it does not run the rest', async () => {
    const read = (/** @type {string} */ fn, /** @type {string[]} */ args = []) =>
      node.ok(`/v2/contracts/call-read/${path}/${fn}`, { sender: bob.address, arguments: args });
    expect(await read('get-total')).toEqual({ okay: true, result: `0x${Cl.serialize(Cl.uint(5))}` });
    expect(await read('get-deposit', [`0x${Cl.serialize(Cl.address(alice.address))}`])).toEqual({
      okay: true,
      result: `0x${Cl.serialize(Cl.some(Cl.uint(5)))}`,
    });
    for (const fn of ['deposit', 'nothing'])
      expect(await read(fn)).toMatchObject({ okay: false, cause: expect.any(String) });
    const missing = await node.ok(`/v2/contracts/call-read/${alice.address}/nowhere/f`, {
      sender: bob.address,
      arguments: [],
    });
    expect(missing).toEqual({ okay: false, cause: `Unchecked(NoSuchContract("${alice.address}.nowhere"))` });
    expect(
      (await node.request(`/v2/contracts/call-read/${path}/get-total`, { sender: bob.address, arguments: ['zz'] }))
        .status,
    ).toBe(400);
    expect((await node.request(`/v2/contracts/call-read/${path}/get-total`, { arguments: [] })).status).toBe(400);
  });

  test('variables and map entries can be read', async () => {
    expect(await node.ok(`/v2/data_var/${path}/total?proof=0`)).toEqual({ data: `0x${Cl.serialize(Cl.uint(5))}` });
    expect((await node.request(`/v2/data_var/${path}/nothing`)).status).toBe(404);
    const key = `0x${Cl.serialize(Cl.address(alice.address))}`;
    const entry = await fetch(`${node.url}/v2/map_entry/${path}/deposits`, {
      method: 'POST',
      body: JSON.stringify(key),
    });
    expect(await entry.json()).toEqual({ data: `0x${Cl.serialize(Cl.some(Cl.uint(5)))}` });
  });

  test('fees are estimated at 1 uSTX a byte and more', async () => {
    expect(await node.ok('/v2/fees/transfer')).toBe(1);
    const { estimations } = await node.ok('/v2/fees/transaction', { transaction_payload: '0x00', estimated_len: 350 });
    expect(estimations).toEqual([
      { fee: 350, fee_rate: 1 },
      { fee: 700, fee_rate: 2 },
      { fee: 1400, fee_rate: 4 },
    ]);
  });

  test('a block is replayed with and without 0x, its events numbered in each transaction', async () => {
    const block = blocks.find(({ transactions }) => transactions.length === 4);
    const replayed = await node.ok(`/v3/blocks/replay/${block.index_block_hash}`);
    expect(await node.ok(`/v3/blocks/replay/${block.index_block_hash.slice(2)}`)).toEqual(replayed);
    expect(replayed).toMatchObject({
      block_id: block.index_block_hash.slice(2),
      block_height: block.block_height,
      parent_block_id: block.parent_index_block_hash.slice(2),
      timestamp: block.block_time,
    });
    expect(replayed.transactions.map((/** @type {any} */ t) => `0x${t.hex}`)).toEqual(
      block.transactions.map((/** @type {any} */ t) => t.raw_tx),
    );
    expect(
      replayed.transactions.flatMap((/** @type {any} */ t) => t.events.map((/** @type {any} */ e) => e.event_index)),
    ).toEqual([0, 1, 0]);
    expect((await node.request(`/v3/blocks/replay/${'00'.repeat(32)}`)).status).toBe(404);
  });

  test('a transaction is found by its id', async () => {
    const block = blocks.find(({ transactions }) => transactions.length === 4);
    const [{ txid, raw_tx: raw, raw_result: result }] = block.transactions;
    expect(await node.ok(`/v3/transaction/${txid.slice(2)}`)).toEqual({
      index_block_hash: block.index_block_hash.slice(2),
      tx: raw.slice(2),
      result,
      block_height: block.block_height,
      is_canonical: true,
    });
    expect((await node.request(`/v3/transaction/${'00'.repeat(32)}`)).status).toBe(404);
  });

  test('a sortition is found by its consensus hash', async () => {
    const [sortition] = await node.ok(`/v3/sortitions/consensus/${burns[1].consensus_hash.slice(2)}`);
    expect(sortition).toMatchObject({ burn_block_hash: burns[1].burn_block_hash, burn_block_height: 2 });
    expect((await node.ok('/v3/sortitions'))[0].burn_block_height).toBe(burns.length);
    expect((await node.request(`/v3/sortitions/burn_height/999`)).status).toBe(404);
  });

  test('browsers may ask', async () => {
    const preflight = await fetch(`${node.url}/v2/transactions`, { method: 'OPTIONS' });
    expect(preflight.status).toBe(204);
    expect(preflight.headers.get('access-control-allow-origin')).toBe('*');
    expect((await fetch(`${node.url}/v2/info`)).headers.get('access-control-allow-origin')).toBe('*');
  });

  test('wrong requests are answered, and the node lives on', async () => {
    expect((await node.request('/nothing/here')).status).toBe(404);
    expect((await node.request('/v2/transactions')).status).toBe(405);
    expect((await node.request('/v2/accounts/%E0%A4%A')).status).toBe(400);
    for (const [route, body] of /** @type {[string, unknown][]} */ ([
      ['/devnet/mine', { blocks: 0 }],
      ['/devnet/mine', { blocks: 'many' }],
      ['/devnet/mine', []],
      ['/devnet/burn', { mine: 1 }],
      ['/devnet/fork', {}],
      ['/devnet/fork', { depth: 100000 }],
      ['/devnet/fork', { depth: 2, blocks: 2 }],
      ['/devnet/fund', { address: alice.address }],
      ['/devnet/fund', { address: 'x', ustx: 1 }],
      ['/devnet/fund', { address: alice.address, ustx: 0.5 }],
      ['/devnet/fund', { address: alice.address, ustx: '-5' }],
      ['/devnet/intervals', { blockMs: -1 }],
    ])) {
      expect([route, body, (await node.request(route, body)).status]).toEqual([route, body, 400]);
    }
    const garbage = await fetch(`${node.url}/devnet/mine`, { method: 'POST', body: '{' });
    expect(garbage.status).toBe(400);
    expect((await node.status()).tip.height).toBe(blocks[blocks.length - 1].block_height);
    expect(node.errors).toEqual([]);
  });

  test('attachments are announced when their hash is printed', async () => {
    const content = Buffer.from('$ORIGIN alice.btc.');
    const hash = createHash('ripemd160').update(createHash('sha256').update(content).digest()).digest();
    const transaction = await alice.call(vault, 'attach', [Cl.uint(3), Cl.buffer(hash)]);
    await node.ok('/v2/transactions', { tx: transaction.serialize(), attachment: content.toString('hex') });
    const {
      blocks: [block],
    } = await node.ok('/devnet/mine', {});
    await observer.until(() => observer.bodies('/attachments/new').length > 0);
    expect(observer.bodies('/attachments/new')[0]).toEqual([
      {
        attachment_index: 3,
        index_block_hash: block.index_block_hash,
        block_height: block.height,
        content_hash: `0x${hash.toString('hex')}`,
        contract_id: vault,
        metadata: `0x${Cl.serialize(Cl.tuple({ name: Cl.stringAscii('x') }))}`,
        tx_id: `0x${transaction.txid()}`,
        content: `0x${content.toString('hex')}`,
      },
    ]);
  });

  test('blocks come by themselves at the set intervals', async () => {
    const before = await node.status();
    await node.ok('/devnet/intervals', { blockMs: 20, burnMs: 70 });
    await observer.until(
      () =>
        observer.bodies('/new_burn_block').length > before.burn_tip.height + 2 &&
        observer.bodies('/new_block').length > before.tip.height + 8,
    );
    expect(await node.ok('/devnet/intervals', { blockMs: 0, burnMs: 0 })).toEqual({ blockMs: 0, burnMs: 0 });
    const { tip, burn_tip: burn } = await node.status();
    expect(await node.read(vault, 'heights')).toMatch(`stacks: u${tip.height}`);
    expect(await node.read(vault, 'heights')).toMatch(`burn: u${burn.height}`);
  });
});
