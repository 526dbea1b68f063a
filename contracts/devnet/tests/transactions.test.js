import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  AddressVersion,
  Cl,
  Pc,
  PostConditionMode,
  TransactionSigner,
  addressFromVersionHash,
  addressToString,
  makeUnsignedSTXTokenTransfer,
  privateKeyToPublic,
  sponsorTransaction,
} from '@stacks/transactions';
import { Node, VAULT, account, signer } from './support.js';

/** What a transaction did, found in its replayed block. */
const find = (/** @type {any} */ block, /** @type {string} */ txid) =>
  block.transactions.find((/** @type {any} */ transaction) => `0x${transaction.txid}` === txid);
const RUNTIME_ERROR = `0x${Cl.serialize(Cl.error(Cl.none()))}`;

describe('transactions', () => {
  /** @type {Node} */
  let node;
  const alice = signer(1);
  const bob = signer(2);
  const carol = signer(3);
  const vault = `${alice.address}.vault`;

  /** Mines one transaction and tells what it did. @param {Promise<import('@stacks/transactions').StacksTransactionWire>} transaction */
  const run = async (transaction) => {
    const txid = await node.send(await transaction);
    return find(await node.mine(), txid);
  };

  beforeAll(async () => {
    node = await Node.start();
    for (const { address } of [alice, bob, carol]) await node.ok('/devnet/fund', { address, ustx: 1_000_000_000 });
    await node.ok('/devnet/fund', { address: alice.address, sbtc: '500' });
    await node.mine();
    await node.send(await alice.deploy('vault', VAULT));
    await node.mine();
  });
  afterAll(() => node?.stop());

  test('the faucet gives STX by a transfer and sBTC by a mint, with their events', async () => {
    const { txids } = await node.ok('/devnet/fund', { address: account(9).address, ustx: 77, sbtc: 5 });
    const block = await node.mine();
    expect(find(block, txids[0]).events.map((/** @type {any} */ e) => e.type)).toEqual(['stx_transfer_event']);
    const [mint, print] = find(block, txids[1]).events;
    expect(mint.ft_mint_event).toEqual({
      amount: '5',
      asset_identifier: 'SM3VDXK3WZZSA84XXFKAFAF15NNZX32CTSG82JFQ4.sbtc-token::sbtc-token',
      recipient: account(9).address,
    });
    expect(print.contract_event.contract_identifier).toBe('SM3VDXK3WZZSA84XXFKAFAF15NNZX32CTSG82JFQ4.sbtc-registry');
    expect(await node.balance(account(9).address)).toBe(77n);
    expect(
      await node.read(
        'SM3VDXK3WZZSA84XXFKAFAF15NNZX32CTSG82JFQ4.sbtc-token',
        'get-balance',
        Cl.address(account(9).address),
      ),
    ).toBe('(ok u5)');
  });

  test('a transfer moves the amount, charges the fee and keeps the memo', async () => {
    const before = await node.balance(bob.address);
    const done = await run(bob.transfer(carol.address, 1000, { memo: 'for tea', fee: 300 }));
    expect(done.result_hex).toBe('0x0703');
    expect(done.events).toHaveLength(1);
    expect(done.events[0].stx_transfer_event).toEqual({
      sender: bob.address,
      recipient: carol.address,
      amount: '1000',
      memo: Buffer.from('for tea').toString('hex').padEnd(68, '0'),
    });
    expect(await node.balance(bob.address)).toBe(before - 1300n);
    expect(await node.nonce(bob.address)).toBe(bob.nonce);
  });

  test('a deploy has an interface and a source', async () => {
    const abi = await node.ok(`/v2/contracts/interface/${vault.replace('.', '/')}`);
    expect(abi.functions.map((/** @type {any} */ f) => f.name)).toContain('deposit');
    expect(abi.clarity_version).toBe('Clarity4');
    const { source, publish_height } = await node.ok(`/v2/contracts/source/${vault.replace('.', '/')}?proof=0`);
    expect(source).toBe(VAULT);
    expect(publish_height).toBe(4);
  });

  test('a call sees its sender as caller and the heights that its block is posted with', async () => {
    const txid = await node.send(await bob.call(vault, 'deposit', [Cl.uint(10)]));
    const block = await node.mine();
    const { tip } = await node.status();
    const [, print] = find(block, txid).events;
    const printed = Cl.deserialize(print.contract_event.raw_value);
    expect(Cl.prettyPrint(printed)).toBe(
      Cl.prettyPrint(
        Cl.tuple({
          event: Cl.stringAscii('deposit'),
          who: Cl.address(bob.address),
          caller: Cl.address(bob.address),
          amount: Cl.uint(10),
          height: Cl.uint(tip.height),
          burn: Cl.uint(tip.burn_block_height),
        }),
      ),
    );
    expect(await node.read(vault, 'heights')).toBe(
      Cl.prettyPrint(
        Cl.tuple({
          stacks: Cl.uint(tip.height),
          burn: Cl.uint(tip.burn_block_height),
          tenure: Cl.uint(tip.tenure_height),
          time: Cl.uint(tip.block_time),
        }),
      ),
    );
  });

  test('arguments of every type arrive as they were sent', async () => {
    const text = 'a"\\é\u{1f600}\n';
    const args = [
      Cl.int(-170141183460469231731687303715884105728n),
      Cl.uint(340282366920938463463374607431768211455n),
      Cl.bool(false),
      Cl.contractPrincipal(bob.address, 'some-thing'),
      Cl.bufferFromHex('00ff10'),
      Cl.stringAscii('q"\\t~ x'),
      Cl.stringUtf8(text),
      Cl.some(Cl.uint(1)),
      Cl.error(Cl.bool(true)),
      Cl.list([]),
      Cl.tuple({ x: Cl.int(0), y: Cl.none() }),
    ];
    const done = await run(alice.call(vault, 'echo', args));
    const result = /** @type {any} */ (Cl.deserialize(done.result_hex));
    expect(result.type).toBe('ok');
    args.forEach((arg, i) => expect(Cl.serialize(result.value.value['abcdefghijk'[i]])).toBe(Cl.serialize(arg)));
  });

  test('a contract may be passed as a trait', async () => {
    await run(bob.deploy('person', '(define-public (get-name) (if true (ok "bob") (err u1)))'));
    const done = await run(alice.call(vault, 'name-of', [Cl.address(`${bob.address}.person`)]));
    expect(Cl.prettyPrint(Cl.deserialize(done.result_hex))).toBe('(ok "bob")');
  });

  test('a runtime error aborts its transaction alone: fee charged, nonce spent, nothing else changed', async () => {
    const before = {
      total: await node.read(vault, 'get-total'),
      balance: await node.balance(alice.address),
      bob: await node.read(vault, 'get-deposit', Cl.address(bob.address)),
    };
    const failing = await node.send(await alice.call(vault, 'touch-and-divide', [Cl.uint(0)], { fee: 500 }));
    const refusing = await node.send(await alice.call(vault, 'touch-and-refuse', [], { fee: 600 }));
    const fine = await node.send(await bob.call(vault, 'deposit', [Cl.uint(3)]));
    const block = await node.mine();
    expect(find(block, failing)).toMatchObject({
      result_hex: RUNTIME_ERROR,
      events: [],
      post_condition_aborted: false,
    });
    expect(find(block, failing).vm_error).toMatch(/^Runtime\(DivisionByZero/);
    expect(find(block, refusing)).toMatchObject({
      result_hex: `0x${Cl.serialize(Cl.error(Cl.uint(7)))}`,
      events: [],
      vm_error: null,
    });
    expect(find(block, fine).events).toHaveLength(2);
    expect(await node.balance(alice.address)).toBe(before.balance - 1100n);
    expect(await node.nonce(alice.address)).toBe(alice.nonce);
    expect(before.bob).toBe('(some u10)');
    expect(await node.read(vault, 'get-deposit', Cl.address(bob.address))).toBe('(some u13)');
    expect(await node.read(vault, 'get-total')).toBe('u13');
    expect(await node.read(vault, 'get-gold', Cl.address(alice.address))).toBe('u0');
  });

  test('a failing deploy pays and leaves the others of its block alone', async () => {
    const before = await node.balance(carol.address);
    const bad = await node.send(await carol.deploy('bad', '(define-data-var x uint (/ u1 u0))'));
    const unread = await node.send(await carol.deploy('unread', '(define-public (x) (ok '));
    const good = await node.send(await carol.deploy('good', '(print "hello") (define-read-only (x) u5)'));
    const block = await node.mine();
    expect(find(block, bad)).toMatchObject({ result_hex: RUNTIME_ERROR, events: [] });
    expect(find(block, bad).vm_error).toMatch(/DivisionByZero/);
    expect(find(block, unread)).toMatchObject({ result_hex: RUNTIME_ERROR, events: [] });
    expect(find(block, good)).toMatchObject({ result_hex: '0x0703', vm_error: null });
    expect(find(block, good).events[0].contract_event.contract_identifier).toBe(`${carol.address}.good`);
    expect(await node.read(`${carol.address}.good`, 'x')).toBe('u5');
    expect((await node.request(`/v2/contracts/source/${carol.address}/bad`)).status).toBe(404);
    expect(await node.balance(carol.address)).toBe(before - 30_000n);
  });

  test('a sponsor pays the fee, and both nonces are spent', async () => {
    const before = { alice: await node.balance(alice.address), carol: await node.balance(carol.address) };
    const signed = await alice.transfer(bob.address, 100, { sponsored: true, fee: 0 });
    const sponsored = await sponsorTransaction({
      transaction: signed,
      sponsorPrivateKey: carol.key,
      fee: 700,
      sponsorNonce: carol.nonce++,
      network: 'testnet',
    });
    const done = await run(Promise.resolve(sponsored));
    expect(done.result_hex).toBe('0x0703');
    expect(await node.balance(alice.address)).toBe(before.alice - 100n);
    expect(await node.balance(carol.address)).toBe(before.carol - 700n);
    expect(await node.nonce(alice.address)).toBe(alice.nonce);
    expect(await node.nonce(carol.address)).toBe(carol.nonce);
  });

  test.each([
    ['in sequence', false, 0n],
    ['in any order', true, 1n],
  ])('two of the three owners of a multisig account sign %s', async (_name, useNonSequentialMultiSig, nonce) => {
    const owners = [account(101), account(102), account(103)].map(({ key }) => key);
    const publicKeys = owners.map((key) => privateKeyToPublic(key));
    const sign = async (/** @type {number} */ signers) => {
      const options = {
        network: /** @type {const} */ ('testnet'),
        recipient: bob.address,
        amount: 5,
        fee: 900,
        nonce,
        numSignatures: 2,
        publicKeys,
        useNonSequentialMultiSig,
      };
      const transaction = await makeUnsignedSTXTokenTransfer(options);
      const signing = new TransactionSigner(transaction);
      signing.checkOversign = false;
      owners.forEach((owner, i) => (i < signers ? signing.signOrigin(owner) : signing.appendOrigin(publicKeys[i])));
      return transaction;
    };
    const transaction = await sign(2);
    const address = addressToString(
      addressFromVersionHash(AddressVersion.TestnetMultiSig, transaction.auth.spendingCondition.signer),
    );
    await node.ok('/devnet/fund', { address, ustx: 5000 });
    await node.mine();
    expect((await node.submit(await sign(1))).body).toMatchObject({ reason: 'SignatureValidation' });
    const before = await node.balance(address);
    expect((await run(Promise.resolve(transaction))).result_hex).toBe('0x0703');
    expect(await node.balance(address)).toBe(before - 905n);
    expect(await node.nonce(address)).toBe(nonce + 1n);
  });

  describe('post-conditions', () => {
    /** @type {any} */
    const deny = { postConditionMode: PostConditionMode.Deny };
    const gold = /** @type {`${string}.${string}`} */ (vault);
    beforeAll(async () => {
      await node.send(await alice.call(vault, 'mint-gold', [Cl.uint(1000)]));
      for (const id of [1, 2, 3]) await node.send(await alice.call(vault, 'mint-deed', [Cl.uint(id)]));
      await node.send(await alice.call(vault, 'deposit', [Cl.uint(500)]));
      await node.mine();
    });

    const sendGold = (/** @type {number} */ amount) => ['send-gold', [Cl.uint(amount), Cl.address(bob.address)]];
    const sendDeed = (/** @type {number} */ id) => ['send-deed', [Cl.uint(id), Cl.address(bob.address)]];
    const ownGold = () => Pc.principal(alice.address);
    /** @type {[name: string, call: any[], options: any, violated: RegExp | null][]} */
    const cases = [
      ['Allow lets everything pass', sendGold(1), {}, null],
      [
        'Deny without a condition refuses a token',
        sendGold(1),
        deny,
        /Fungible asset .*::gold was moved by .* but not checked/,
      ],
      ['Deny without a condition refuses STX', ['deposit', [Cl.uint(1)]], deny, /Fungible asset STX was moved/],
      ['Deny without a condition refuses an item', sendDeed(1), deny, /Non-fungible asset .*::deed value .* was moved/],
      ['Deny minds what is burned', ['burn-gold', [Cl.uint(1)]], deny, /::gold was moved/],
      ['Deny minds burned STX', ['burn-stx', [Cl.uint(1)]], deny, /STX burned was moved/],
      ['Deny does not mind a mint', ['mint-gold', [Cl.uint(1)]], deny, null],
      ['STX equal', ['deposit', [Cl.uint(5)]], { ...deny, postConditions: [ownGold().willSendEq(5).ustx()] }, null],
      [
        'STX equal, violated',
        ['deposit', [Cl.uint(6)]],
        { ...deny, postConditions: [ownGold().willSendEq(5).ustx()] },
        /STX owned by .*: 5 Equal 6/,
      ],
      ['STX greater', ['deposit', [Cl.uint(5)]], { ...deny, postConditions: [ownGold().willSendGt(4).ustx()] }, null],
      [
        'STX greater, violated',
        ['deposit', [Cl.uint(5)]],
        { ...deny, postConditions: [ownGold().willSendGt(5).ustx()] },
        /5 Greater 5/,
      ],
      [
        'STX at least, violated',
        ['deposit', [Cl.uint(5)]],
        { ...deny, postConditions: [ownGold().willSendGte(6).ustx()] },
        /6 GreaterEqual 5/,
      ],
      [
        'STX less, violated',
        ['deposit', [Cl.uint(5)]],
        { ...deny, postConditions: [ownGold().willSendLt(5).ustx()] },
        /5 Less 5/,
      ],
      ['STX at most', ['burn-stx', [Cl.uint(5)]], { ...deny, postConditions: [ownGold().willSendLte(5).ustx()] }, null],
      [
        'STX at most, violated also under Allow',
        ['deposit', [Cl.uint(6)]],
        { postConditions: [ownGold().willSendLte(5).ustx()] },
        /5 LessEqual 6/,
      ],
      ['a token', sendGold(7), { ...deny, postConditions: [ownGold().willSendEq(7).ft(gold, 'gold')] }, null],
      [
        'a token, violated',
        sendGold(8),
        { ...deny, postConditions: [ownGold().willSendLte(7).ft(gold, 'gold')] },
        /fungible asset .*::gold .*: 7 LessEqual 8/,
      ],
      [
        'an item that is sent',
        sendDeed(1),
        { ...deny, postConditions: [ownGold().willSendAsset().nft(gold, 'deed', Cl.uint(1))] },
        null,
      ],
      [
        'an item that is not sent, violated',
        sendDeed(2),
        { ...deny, postConditions: [ownGold().willNotSendAsset().nft(gold, 'deed', Cl.uint(2))] },
        /DoesNotSend/,
      ],
      [
        'an item that is to be sent, violated',
        ['get-name', []],
        { ...deny, postConditions: [ownGold().willSendAsset().nft(gold, 'deed', Cl.uint(2))] },
        /Sends/,
      ],
      [
        'another item than the condition names',
        sendDeed(2),
        { ...deny, postConditions: [ownGold().willSendAsset().nft(gold, 'deed', Cl.uint(3))] },
        /non-fungible asset/,
      ],
      [
        'an item that may be sent, and is',
        sendDeed(2),
        { ...deny, postConditions: [ownGold().willMaybeSendAsset().nft(gold, 'deed', Cl.uint(2))] },
        null,
      ],
      [
        'an item that may be sent, and is not',
        ['get-name', []],
        { ...deny, postConditions: [ownGold().willMaybeSendAsset().nft(gold, 'deed', Cl.uint(3))] },
        null,
      ],
      [
        'Deny minds what a contract sends',
        ['payout', [Cl.uint(1), Cl.address(bob.address)]],
        deny,
        /STX was moved by .*\.vault/,
      ],
      [
        "a contract's condition",
        ['payout', [Cl.uint(1), Cl.address(bob.address)]],
        { ...deny, postConditions: [Pc.principal(vault).willSendEq(1).ustx()] },
        null,
      ],
      [
        'Originator minds what the origin sends',
        ['deposit', [Cl.uint(1)]],
        { postConditionMode: PostConditionMode.Originator },
        /STX was moved/,
      ],
      [
        'Originator does not mind what others send',
        ['payout', [Cl.uint(1), Cl.address(bob.address)]],
        { postConditionMode: PostConditionMode.Originator },
        null,
      ],
      [
        'a condition that an error leaves unmet',
        ['touch-and-refuse', []],
        { postConditions: [ownGold().willSendGte(1).ustx()] },
        /1 GreaterEqual 0/,
      ],
    ];
    test.each(cases)('%s', async (_name, [fn, args], options, violated) => {
      const read = async () => [
        await node.read(vault, 'get-total'),
        await node.read(vault, 'get-gold', Cl.address(alice.address)),
        await node.balance(vault),
        await node.balance(bob.address),
      ];
      const before = { state: await read(), balance: await node.balance(alice.address) };
      const done = await run(alice.call(vault, fn, args, { fee: 3000, ...options }));
      expect(await node.nonce(alice.address)).toBe(alice.nonce);
      if (violated === null) {
        expect(done).toMatchObject({ vm_error: null, post_condition_aborted: false });
        expect(done.result_hex).toMatch(/^0x07/);
      } else {
        expect(done.vm_error).toMatch(violated);
        expect(done).toMatchObject({ post_condition_aborted: true, events: [] });
        expect(await read()).toEqual(before.state);
        expect(await node.balance(alice.address)).toBe(before.balance - 3000n);
      }
    });

    test('a violation in the middle of a block leaves the transactions around it as they were', async () => {
      const total = BigInt((await node.read(vault, 'get-total')).slice(1));
      const sent = [
        await node.send(await bob.call(vault, 'deposit', [Cl.uint(100)])),
        await node.send(await alice.call(vault, 'touch-and-divide', [Cl.uint(0)])),
        await node.send(await alice.call(vault, 'deposit', [Cl.uint(1)], deny)),
        await node.send(await carol.call(vault, 'deposit', [Cl.uint(50)])),
        await node.send(await alice.call(vault, 'deposit', [Cl.uint(2)], deny)),
        await node.send(await bob.call(vault, 'deposit', [Cl.uint(7)])),
      ];
      const block = await node.mine();
      expect(
        sent.map((txid) => [find(block, txid).post_condition_aborted, find(block, txid).vm_error === null]),
      ).toEqual([
        [false, true],
        [false, false],
        [true, false],
        [false, true],
        [true, false],
        [false, true],
      ]);
      expect(await node.read(vault, 'get-total')).toBe(`u${total + 157n}`);
    });

    test('a deploy under Deny whose code moves STX is undone', async () => {
      const code = `(stx-transfer? u10 tx-sender '${bob.address})`;
      const aborted = await run(carol.deploy('mover', code, { postConditionMode: PostConditionMode.Deny }));
      expect(aborted).toMatchObject({ post_condition_aborted: true, events: [] });
      expect((await node.request(`/v2/contracts/source/${carol.address}/mover`)).status).toBe(404);
      const done = await run(carol.deploy('mover', code));
      expect(done.events.map((/** @type {any} */ event) => event.type)).toEqual(['stx_transfer_event']);
    });
  });
});
