import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Cl, Pc, PostConditionMode, serializeCV } from '@stacks/transactions';
import { Node, VAULT, signer } from './support.js';

const TOKEN = 'only for its owner';

describe('simulating a transaction', () => {
  /** @type {Node} */
  let node;
  const alice = signer(1);
  const nobody = signer(9);
  const vault = `${alice.address}.vault`;

  beforeAll(async () => {
    node = await Node.start('--auth-token', TOKEN);
    await node.ok('/devnet/fund', { address: alice.address, ustx: 1_000_000_000 });
    await node.mine();
    await node.send(await alice.deploy('vault', VAULT));
    await node.mine();
  });
  afterAll(() => node?.stop());

  /** @param {import('@stacks/transactions').StacksTransactionWire} transaction @param {Record<string, string>} headers */
  const simulate = async (transaction, headers = { authorization: TOKEN }, query = '') => {
    const response = await fetch(`${node.url}/v3/transactions/simulate${query}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...headers },
      body: JSON.stringify({ transaction_hex: transaction.serialize() }),
    });
    const text = await response.text();
    const json = response.headers.get('content-type') === 'application/json';
    return { status: response.status, body: json ? JSON.parse(text) : text };
  };
  const call = (
    /** @type {string} */ fn,
    /** @type {import('@stacks/transactions').ClarityValue[]} */ args,
    options = {},
  ) => alice.call(vault, fn, args, { nonce: alice.nonce, ...options });

  test('says how it would end at the tip, and changes nothing', async () => {
    const before = [await node.status(), await node.read(vault, 'get-total'), await node.balance(alice.address)];
    const transaction = await call('deposit', [Cl.uint(5)], { postConditionMode: PostConditionMode.Allow });
    const { status, body } = await simulate(transaction);
    expect(status).toBe(200);
    const { tip } = await node.status();
    expect(body).toMatchObject({
      txid: transaction.txid(),
      tip_block_id: tip.index_block_hash.slice(2),
      block_height: tip.height + 1,
      result_hex: `0x${serializeCV(Cl.ok(Cl.uint(5)))}`,
      stx_burned: 0,
      post_condition_aborted: false,
      vm_error: null,
    });
    expect(body.events.map((/** @type {any} */ { type }) => type)).toEqual(['stx_transfer_event', 'contract_event']);
    const after = [await node.status(), await node.read(vault, 'get-total'), await node.balance(alice.address)];
    expect(after.slice(1)).toEqual(before.slice(1));
    expect([after[0].tip, after[0].mempool]).toEqual([before[0].tip, before[0].mempool]);
  });

  test('an abort is foretold as the block would record it', async () => {
    const refused = await simulate(await call('touch-and-refuse', []));
    expect(refused.body.result_hex).toBe(`0x${serializeCV(Cl.error(Cl.uint(7)))}`);
    const runtime = await simulate(await call('touch-and-divide', [Cl.uint(0)]));
    expect(runtime.body.vm_error).toMatch(/DivisionByZero/);
    const condition = await simulate(
      await call('deposit', [Cl.uint(5)], {
        postConditionMode: PostConditionMode.Deny,
        postConditions: [Pc.origin().willSendLte(4).ustx()],
      }),
    );
    expect([condition.body.post_condition_aborted, condition.body.events]).toEqual([true, []]);
    const burned = await simulate(
      await call('burn-stx', [Cl.uint(3)], { postConditionMode: PostConditionMode.Allow }),
    );
    expect(burned.body.stx_burned).toBe(3);
    expect(await node.read(vault, 'get-total')).toBe('u0');
  });

  test('what a block could not hold is refused: another nonce, a bad signature, a payer without money', async () => {
    const early = await simulate(await call('get-name', [], { nonce: alice.nonce + 1n }));
    expect([early.status, early.body]).toEqual([400, expect.stringMatching(/nonce/)]);
    const forged = await call('get-name', []);
    /** @type {any} */ (forged.auth.spendingCondition).signature.data = '00'.repeat(65);
    expect((await simulate(forged)).body).toMatch(/SignatureValidation/);
    const poor = await simulate(await nobody.call(vault, 'get-name', [], { nonce: 0n }));
    expect([poor.status, poor.body]).toEqual([400, expect.stringMatching(/cannot pay/)]);
  });

  test('an account without money may ask what a call would do, for no fee', async () => {
    const { status, body } = await simulate(await nobody.call(vault, 'get-name', [], { nonce: 0n, fee: 0 }));
    expect([status, body.vm_error]).toEqual([200, null]);
  });

  test('deploys too, again and again', async () => {
    for (let i = 0; i < 3; i++) {
      const { body } = await simulate(
        await alice.deploy('other', '(define-read-only (x) u1)', { nonce: alice.nonce }),
      );
      expect(body.result_hex).toBe(`0x${serializeCV(Cl.ok(Cl.bool(true)))}`);
    }
    expect((await node.request(`/v2/contracts/source/${alice.address}/other`)).status).toBe(404);
  });

  test('in a tenure that has not opened, and mining goes on as if nothing had been', async () => {
    await node.ok('/devnet/burn', { mine: false });
    expect((await simulate(await call('get-name', []))).status).toBe(200);
    const { height } = (await node.status()).tip;
    const transaction = await alice.call(vault, 'deposit', [Cl.uint(2)]);
    await simulate(transaction);
    await node.send(transaction);
    await node.mine();
    expect((await node.status()).tip.height).toBe(height + 1);
    expect(await node.read(vault, 'get-total')).toBe('u2');
  });

  test('only its owner may ask', async () => {
    const transaction = await call('get-name', []);
    expect((await simulate(transaction, {})).status).toBe(401);
    expect((await simulate(transaction, { authorization: 'guess' })).status).toBe(401);
    expect((await simulate(transaction, { authorization: TOKEN }, `?tip=${'00'.repeat(32)}`)).status).toBe(404);
  });
});

test('without a token the route is closed', async () => {
  const node = await Node.start();
  try {
    const { status } = await node.request('/v3/transactions/simulate', { transaction_hex: '00' });
    expect(status).toBe(400);
  } finally {
    await node.stop();
  }
});
