import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  Cl,
  Pc,
  PostConditionMode,
  TransactionSigner,
  createTenureChangePayload,
  sponsorTransaction,
} from '@stacks/transactions';
import { Mempool } from '../mempool.js';
import { deriveKey, signTransaction } from '../signing.js';
import { decodeTransaction } from '../transaction.js';
import { Node, TestObserver, VAULT, account, signer } from './support.js';

const NETWORK = { seed: 'tests', chainId: 0x80000000, mainnet: false };

describe('admission to the mempool', () => {
  /** @type {Node} */
  let node;
  const observer = new TestObserver();
  const alice = signer(1);
  const bob = signer(2);
  const poor = signer(3);
  const vault = `${alice.address}.vault`;

  beforeAll(async () => {
    node = await Node.start('--observer', await observer.listen());
    for (const { address } of [alice, bob]) await node.ok('/devnet/fund', { address, ustx: 1_000_000_000 });
    await node.ok('/devnet/fund', { address: poor.address, ustx: 500 });
    await node.mine();
    await node.send(await alice.deploy('vault', VAULT));
    await node.mine();
  });
  afterAll(async () => {
    await node?.stop();
    await observer.close();
  });

  test.each([
    ['not hex at all', 'zz', /not a hex string/],
    ['empty', '', /Failed to decode/],
    ['cut short', '8080000000040060dbb', /not a hex string/],
    ['noise', 'ff'.repeat(100), /Failed to decode/],
  ])('bytes that are no transaction: %s', async (_name, tx, message) => {
    const { status, body } = await node.request('/v2/transactions', { tx });
    expect(status).toBe(400);
    expect(typeof body === 'string' ? body : body.error).toMatch(message);
  });

  test('a decoding failure is answered in plain text, as the node does', async () => {
    const response = await fetch(`${node.url}/v2/transactions`, {
      method: 'POST',
      headers: { 'content-type': 'application/octet-stream' },
      body: Buffer.from('00', 'hex'),
    });
    expect(response.status).toBe(400);
    expect(response.headers.get('content-type')).toBe('text/plain');
  });

  test('bytes after the end are refused', async () => {
    const transaction = await alice.transfer(bob.address, 1, { nonce: 5n });
    const { status, body } = await node.request('/v2/transactions', { tx: `${transaction.serialize()}00` });
    expect([status, body]).toEqual([400, expect.stringMatching(/Failed to decode/)]);
  });

  const next = (/** @type {ReturnType<typeof signer>} */ who) => who.nonce;
  const call = (
    /** @type {string} */ fn,
    /** @type {import('@stacks/transactions').ClarityValue[]} */ args,
    contract = vault,
  ) => alice.call(contract, fn, args, { nonce: next(alice) });
  /** @type {[name: string, make: () => Promise<import('@stacks/transactions').StacksTransactionWire>, expected: object][]} */
  const cases = [
    [
      'a tampered amount',
      async () => {
        const transaction = await alice.transfer(bob.address, 1, { nonce: next(alice) });
        Object.assign(transaction.payload, { amount: 2n });
        return transaction;
      },
      { reason: 'SignatureValidation', reason_data: { message: expect.stringMatching(/Signature error/) } },
    ],
    [
      'a signature with a high S',
      async () => {
        const transaction = await alice.transfer(bob.address, 1, { nonce: next(alice) });
        const condition = /** @type {import('@stacks/transactions').SingleSigSpendingCondition} */ (
          transaction.auth.spendingCondition
        );
        const { data } = condition.signature;
        const order = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141n;
        const highS = (order - BigInt(`0x${data.slice(66)}`)).toString(16).padStart(64, '0');
        condition.signature.data = (data.startsWith('00') ? '01' : '00') + data.slice(2, 66) + highS;
        return transaction;
      },
      { reason: 'SignatureValidation', reason_data: { message: expect.stringMatching(/high S/) } },
    ],
    [
      'another network',
      () => alice.transfer(bob.address, 1, { nonce: next(alice), network: 'mainnet' }),
      { reason: 'SignatureValidation', reason_data: { message: expect.stringMatching(/chain ID 1 /) } },
    ],
    [
      'a fee below 1 uSTX a byte',
      () => alice.transfer(bob.address, 1, { nonce: next(alice), fee: 179 }),
      { reason: 'FeeTooLow', reason_data: { expected: 180, actual: 179 } },
    ],
    [
      'a nonce that is spent',
      () => alice.transfer(bob.address, 1, { nonce: 0n }),
      { reason: 'BadNonce', reason_data: { expected: 1, actual: 0, principal: alice.address, is_origin: true } },
    ],
    [
      'a nonce too far ahead',
      () => alice.transfer(bob.address, 1, { nonce: next(alice) + 27n }),
      {
        reason: 'TooMuchChaining',
        reason_data: {
          message: 'Nonce would exceed chaining limit in mempool',
          expected: 27,
          actual: 28,
          principal: alice.address,
          is_origin: true,
        },
      },
    ],
    [
      'more than its sender has',
      () => poor.transfer(bob.address, 400, { nonce: 0n, fee: 180 }),
      {
        reason: 'NotEnoughFunds',
        reason_data: {
          expected: `0x${(580).toString(16).padStart(32, '0')}`,
          actual: `0x${(500).toString(16).padStart(32, '0')}`,
        },
      },
    ],
    [
      'a fee that its payer does not have',
      () => poor.call(vault, 'get-name', [], { nonce: 0n, fee: 501 }),
      { reason: 'NotEnoughFunds', reason_data: { expected: `0x${(501).toString(16).padStart(32, '0')}` } },
    ],
    [
      'a transfer to oneself',
      () => alice.transfer(alice.address, 1, { nonce: next(alice) }),
      { reason: 'TransferRecipientCannotEqualSender', reason_data: { recipient: alice.address } },
    ],
    [
      'a transfer of nothing',
      () => alice.transfer(bob.address, 0, { nonce: next(alice) }),
      { reason: 'TransferAmountMustBePositive' },
    ],
    [
      'a recipient on the main network',
      () => alice.transfer('SP3FGQ8Z7JY9BWYZ5WM53E0M9NK7WHJF0691NZ159', 1, { nonce: next(alice) }),
      { reason: 'BadAddressVersionByte' },
    ],
    ['an unknown contract', () => call('x', [], `${alice.address}.nowhere`), { reason: 'NoSuchContract' }],
    ['an unknown function', () => call('no-such-function', []), { reason: 'NoSuchPublicFunction' }],
    ['a read-only function', () => call('get-total', []), { reason: 'NoSuchPublicFunction' }],
    [
      'too few arguments',
      () => call('deposit', []),
      { reason: 'BadFunctionArgument', reason_data: { message: expect.stringMatching(/expected 1, got 0/) } },
    ],
    [
      'an argument of another type',
      () => call('deposit', [Cl.int(1)]),
      {
        reason: 'BadFunctionArgument',
        reason_data: { message: expect.stringMatching(/amount expects "uint128", found int/) },
      },
    ],
    [
      'a buffer that is too long',
      () => call('attach', [Cl.uint(1), Cl.bufferFromHex('00'.repeat(21))]),
      { reason: 'BadFunctionArgument' },
    ],
    [
      'a contract that exists',
      () => alice.deploy('vault', '(print 1)', { nonce: next(alice) }),
      { reason: 'ContractAlreadyExists', reason_data: { contract_identifier: vault } },
    ],
  ];
  test.each(cases)('refused: %s', async (_name, make, expected) => {
    const { mempool } = await node.status();
    const transaction = await make();
    const { status, body } = await node.submit(transaction);
    expect(status).toBe(400);
    expect(body).toMatchObject({ error: 'transaction rejected', txid: transaction.txid(), ...expected });
    expect((await node.status()).mempool).toEqual(mempool);
  });

  test('refused: what only a miner may send', async () => {
    const payload = createTenureChangePayload(
      '00'.repeat(20),
      '00'.repeat(20),
      '00'.repeat(20),
      '00'.repeat(32),
      1,
      0,
      '00'.repeat(20),
    );
    const key = deriveKey('somebody', NETWORK);
    await node.ok('/devnet/fund', { address: key.address, ustx: 1_000_000 });
    await node.mine();
    const { hex } = signTransaction(payload, { key, nonce: 0n, feePerByte: 1, network: NETWORK });
    const { status, body } = await node.request('/v2/transactions', { tx: `0x${hex}` });
    expect([status, body.reason]).toEqual([400, 'NoTenureChangeViaMempool']);
  });

  test('refused: a sponsor with a spent nonce, or without money', async () => {
    const signed = await alice.transfer(bob.address, 1, { nonce: next(alice), sponsored: true, fee: 0 });
    const stale = await sponsorTransaction({
      transaction: signed,
      sponsorPrivateKey: alice.key,
      fee: 300,
      sponsorNonce: 0n,
      network: 'testnet',
    });
    expect((await node.submit(stale)).body).toMatchObject({
      reason: 'BadNonce',
      reason_data: { is_origin: false, principal: alice.address },
    });
    const broke = await sponsorTransaction({
      transaction: signed,
      sponsorPrivateKey: poor.key,
      fee: 501,
      sponsorNonce: 0n,
      network: 'testnet',
    });
    expect((await node.submit(broke)).body).toMatchObject({ reason: 'NotEnoughFunds' });
  });

  test('a transaction posted again is accepted again, also when it is mined, and is mined once', async () => {
    const transaction = await bob.transfer(alice.address, 5);
    const txid = transaction.txid();
    expect(await node.submit(transaction)).toEqual({ status: 200, body: txid });
    expect(await node.submit(transaction)).toEqual({ status: 200, body: txid });
    expect((await node.status()).mempool.size).toBe(1);
    const block = await node.mine();
    expect(block.transactions.map((/** @type {any} */ t) => t.txid)).toEqual([txid]);
    expect(await node.submit(transaction)).toEqual({ status: 200, body: txid });
    expect((await node.mine()).transactions).toEqual([]);
  });

  test('all three forms of a body are taken', async () => {
    const transactions = [
      await bob.transfer(alice.address, 1),
      await bob.transfer(alice.address, 2),
      await bob.transfer(alice.address, 3),
    ];
    expect((await node.submit(transactions[0])).status).toBe(200);
    expect(await node.ok('/v2/transactions', { tx: transactions[1].serialize() })).toBe(transactions[1].txid());
    expect(await node.ok('/v2/transactions', { tx: `0x${transactions[2].serialize()}`, attachment: null })).toBe(
      transactions[2].txid(),
    );
    expect((await node.mine()).transactions).toHaveLength(3);
  });

  test('a chain of nonces that comes in any order is mined in one block', async () => {
    const transactions = await Promise.all(Array.from({ length: 25 }, (_, i) => bob.transfer(alice.address, i + 1)));
    for (const transaction of [...transactions].reverse()) await node.send(transaction);
    const block = await node.mine();
    expect(block.transactions.map((/** @type {any} */ t) => t.txid)).toEqual(
      transactions.map((transaction) => transaction.txid()),
    );
  });

  test('many accounts are funded at once', async () => {
    const addresses = Array.from({ length: 40 }, (_, i) => account(200 + i).address);
    for (const address of addresses) await node.ok('/devnet/fund', { address, ustx: 5 });
    expect((await node.mine()).transactions).toHaveLength(40);
    expect(await Promise.all(addresses.map((address) => node.balance(address)))).toEqual(addresses.map(() => 5n));
  });

  test('a higher fee replaces, an equal one does not, and the observer hears of it', async () => {
    const first = await bob.transfer(alice.address, 1, { fee: 1000 });
    const nonce = bob.nonce - 1n;
    const equal = await bob.transfer(alice.address, 2, { fee: 1000, nonce });
    const higher = await bob.transfer(alice.address, 3, { fee: 1001, nonce });
    await node.send(first);
    expect((await node.submit(equal)).body).toMatchObject({ reason: 'ConflictingNonceInMempool' });
    await node.send(higher);
    expect((await node.status()).mempool.txids).toEqual([`0x${higher.txid()}`]);
    const block = await node.mine();
    expect(block.transactions.map((/** @type {any} */ t) => t.txid)).toEqual([higher.txid()]);
    await observer.untilBlock(`0x${block.block_id}`);
    expect(observer.bodies('/drop_mempool_tx')).toContainEqual({
      dropped_txids: [`0x${first.txid()}`],
      reason: 'ReplaceByFee',
      new_txid: `0x${higher.txid()}`,
    });
    expect(observer.bodies('/new_mempool_tx')).toContainEqual([`0x${higher.serialize()}`]);
    expect(observer.bodies('/new_mempool_tx')).not.toContainEqual([`0x${equal.serialize()}`]);
  });

  test('a transaction that its sender can no longer pay for waits until it can', async () => {
    const rich = account(50);
    const sender = signer(50);
    await node.ok('/devnet/fund', { address: rich.address, ustx: 3000 });
    await node.mine();
    const first = await sender.transfer(bob.address, 1000, { fee: 200 });
    const second = await sender.transfer(bob.address, 2000, { fee: 200 });
    await node.send(first);
    await node.send(second);
    expect((await node.mine()).transactions.map((/** @type {any} */ t) => t.txid)).toEqual([first.txid()]);
    expect((await node.status()).mempool.txids).toEqual([`0x${second.txid()}`]);
    expect(await node.balance(rich.address)).toBe(1800n);
    await node.ok('/devnet/fund', { address: rich.address, ustx: 400 });
    const [gift, spent] = (await node.mine()).transactions;
    expect([gift.events[0].stx_transfer_event.recipient, spent.txid]).toEqual([rich.address, second.txid()]);
    expect(await node.balance(rich.address)).toBe(0n);
  });

  test('a gap in the nonces waits, and is dropped once it is older than 256 Bitcoin blocks take', async () => {
    const waiting = await alice.transfer(bob.address, 1, { nonce: next(alice) + 1n });
    await node.send(waiting);
    await node.mine();
    expect((await node.status()).mempool.txids).toEqual([`0x${waiting.txid()}`]);
    await node.ok('/devnet/drop', { fraction: 1 });
    const mempool = new Mempool();
    mempool.add(decodeTransaction(waiting.serializeBytes(), false), 1_000_000);
    expect(mempool.collectStale(1_000_000 + 256 * 600)).toEqual([]);
    expect(mempool.collectStale(1_000_000 + 256 * 600 + 1)).toEqual([waiting.txid()]);
    expect(mempool.size).toBe(0);
  });

  test('post-conditions on a transfer make it invalid', async () => {
    const transaction = await alice.call(vault, 'get-name', [], {
      nonce: next(alice),
      postConditionMode: PostConditionMode.Deny,
      postConditions: [Pc.origin().willSendEq(0).ustx()],
    });
    const { payload } = await alice.transfer(bob.address, 1, { nonce: next(alice) });
    Object.assign(transaction, { payload });
    const condition = /** @type {import('@stacks/transactions').SingleSigSpendingCondition} */ (
      transaction.auth.spendingCondition
    );
    condition.signature.data = '00'.repeat(65);
    new TransactionSigner(transaction).signOrigin(alice.key);
    expect((await node.submit(transaction)).body).toMatchObject({
      reason: 'ServerFailureOther',
      reason_data: { message: expect.stringMatching(/post-conditions/) },
    });
  });
});
