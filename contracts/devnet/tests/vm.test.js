import { beforeAll, describe, expect, test } from 'vitest';
import { Cl, createContractCallPayload } from '@stacks/transactions';
import { toSource } from '../clarity-source.js';
import { BlockExecution } from '../execute.js';
import { createGenesis } from '../genesis.js';
import { signTransaction } from '../signing.js';
import { Vm, VmError } from '../vm.js';
import { VAULT, account } from './support.js';

const NETWORK = { seed: 'tests', chainId: 0x80000000, mainnet: false };

describe('the virtual machine', () => {
  /** @type {Vm} */
  let vm;
  /** @type {import('../genesis.js').Faucet} */
  let faucet;
  const alice = account(1);
  const vault = `${alice.address}.vault`;
  const evaluate = (/** @type {string} */ source) => Cl.prettyPrint(vm.execute(alice.address, source).result);

  beforeAll(async () => {
    vm = await Vm.start({ genesisTime: 1_800_000_000, keep: 50 });
    ({ faucet } = createGenesis(vm, NETWORK));
    vm.execute(faucet.address, `(stx-transfer? u1000000000 tx-sender '${alice.address})`);
    vm.openBlock([{ name: 'vault', source: VAULT, clarityVersion: 4, sender: alice.address }]);
    vm.checkpoint();
  });

  test('its clock begins where it is told', () => {
    expect(vm.time - 1_800_000_000).toBeGreaterThan(0);
    expect(vm.time - 1_800_000_000).toBeLessThan(3600);
  });

  test('values survive as source text, whatever they hold', () => {
    let seed = 1;
    const random = (/** @type {number} */ below) => {
      seed = (seed * 1103515245 + 12345) % 2147483648;
      return Math.floor((seed / 2147483648) * below);
    };
    const text = (/** @type {string[]} */ alphabet) =>
      Array.from({ length: random(12) }, () => alphabet[random(alphabet.length)]).join('');
    const ascii = Array.from({ length: 95 }, (_, i) => String.fromCharCode(32 + i));
    const wide = [...ascii, 'é', '☃', '\u{1f600}', '\n', '\t', '\u0001', '\u{10ffff}'];
    /** @type {(() => import('@stacks/transactions').ClarityValue)[]} */
    const leaves = [
      () => Cl.int(BigInt(random(2 ** 31)) * BigInt(random(3) - 1) * 2n ** BigInt(random(96))),
      () => Cl.uint(BigInt(random(2 ** 31)) * 2n ** BigInt(random(97))),
      () => Cl.bool(random(2) === 0),
      () =>
        Cl.bufferFromHex(Array.from({ length: random(9) }, () => random(256).toString(16).padStart(2, '0')).join('')),
      () => Cl.stringAscii(text(ascii)),
      () => Cl.stringUtf8(text(wide)),
      () => Cl.address(account(1 + random(99)).address),
      () => Cl.contractPrincipal(account(1 + random(99)).address, 'a-b_c1'),
      () => Cl.none(),
    ];
    /** @type {(depth: number) => import('@stacks/transactions').ClarityValue} */
    const value = (depth) => {
      const kind = depth === 0 ? 0 : random(6);
      if (kind === 1) return Cl.some(value(depth - 1));
      if (kind === 2) return Cl.ok(value(depth - 1));
      if (kind === 3) return Cl.error(value(depth - 1));
      if (kind === 4) return Cl.tuple({ 'a-key': value(depth - 1), b: value(depth - 1) });
      if (kind === 5) {
        const item = value(depth - 1);
        return Cl.list(Array.from({ length: random(4) }, () => item));
      }
      return leaves[random(leaves.length)]();
    };
    for (let i = 0; i < 400; i++) {
      const sent = value(3);
      expect(Cl.serialize(vm.execute(alice.address, toSource(sent)).result)).toBe(Cl.serialize(sent));
    }
  });

  test('it goes back over blocks, tenures, deploys and errors, as if they had not been', () => {
    const look = () => [
      vm.height,
      vm.burnHeight,
      vm.time,
      evaluate(`(list (stx-get-balance tx-sender))`),
      evaluate(`(contract-call? '${vault} get-total)`),
    ];
    const before = { height: vm.height, look: look() };
    for (let round = 0; round < 3; round++) {
      for (let i = 0; i < 10; i++) {
        if (i % 3 === 0) vm.openTenure();
        else
          vm.openBlock(i % 3 === 1 ? [{ name: `c${i}`, source: VAULT, clarityVersion: 4, sender: alice.address }] : []);
        expect(evaluate(`(contract-call? '${vault} deposit u5)`)).toBe('(ok u5)');
        expect(() => evaluate(`(contract-call? '${vault} touch-and-divide u0)`)).toThrow(VmError);
        vm.checkpoint();
      }
      expect(look()).not.toEqual(before.look);
      vm.rewind(before.height);
      expect(look()).toEqual(before.look);
      expect(vm.simnet.getContractSource(`${alice.address}.c1`)).toBeUndefined();
    }
  });

  test('it goes back past a growth of its memory', () => {
    const before = {
      height: vm.height,
      bytes: vm.memoryUse().machine,
      total: evaluate(`(contract-call? '${vault} get-total)`),
    };
    vm.openBlock();
    evaluate(`(contract-call? '${vault} deposit u5)`);
    evaluate(`(len 0x${'ab'.repeat(1_000_000)})`);
    vm.checkpoint();
    expect(vm.memoryUse().machine).toBeGreaterThan(before.bytes);
    vm.rewind(before.height);
    expect(vm.memoryUse().machine).toBe(before.bytes);
    expect(evaluate(`(contract-call? '${vault} get-total)`)).toBe(before.total);
    vm.openBlock();
    expect(evaluate(`(contract-call? '${vault} deposit u5)`)).toBe('(ok u5)');
    vm.rewind(before.height);
  });

  test('only so many checkpoints are kept', () => {
    const first = vm.height;
    for (let i = 0; i < 60; i++) {
      vm.openBlock();
      vm.checkpoint();
    }
    expect(vm.oldest).toBe(first + 10);
    expect(() => vm.rewind(first)).toThrow(RangeError);
    expect(vm.height).toBe(first + 60);
    vm.rewind(first + 10);
    expect([vm.height, vm.memoryUse().checkpoints]).toEqual([first + 10, 0]);
  });

  test('a trap of the machine costs its transaction and nothing else', () => {
    vm.checkpoint();
    const total = evaluate(`(contract-call? '${vault} get-total)`);
    const call = (/** @type {number} */ nonce, /** @type {number} */ amount) =>
      signTransaction(createContractCallPayload(alice.address, 'vault', 'deposit', [Cl.uint(amount)]), {
        key: { privateKey: alice.key, address: alice.address },
        nonce: BigInt(nonce),
        feePerByte: 1,
        network: NETWORK,
      });
    const execution = new BlockExecution(vm, { feeRecipient: faucet.address, opening: [] });
    execution.open([]);
    execution.run(call(0, 1));
    const { simnet } = vm;
    vm.simnet = new Proxy(simnet, {
      get: (target, name) =>
        name === 'execute'
          ? (/** @type {string} */ source) => {
              const result = target.execute(source);
              if (source.includes('deposit u2')) throw new WebAssembly.RuntimeError('unreachable');
              return result;
            }
          : Reflect.get(target, name),
    });
    execution.run(call(1, 2));
    vm.simnet = simnet;
    execution.run(call(2, 4));
    expect(execution.receipts.map(({ status, vmError }) => [status, vmError])).toEqual([
      ['success', null],
      ['abort_by_response', 'RuntimeError: unreachable'],
      ['success', null],
    ]);
    expect(evaluate(`(contract-call? '${vault} get-total)`)).toBe(`u${Number(total.slice(1)) + 5}`);
  });
});
