import { readFileSync } from 'node:fs';
import { Cl, createContractCallPayload } from '@stacks/transactions';
import { derive } from './hashes.js';
import { deriveKey, signTransaction, transferStx } from './signing.js';

/** sBTC's deployer, the same on every network that the simnet imitates. */
export const SBTC_DEPLOYER = 'SM3VDXK3WZZSA84XXFKAFAF15NNZX32CTSG82JFQ4';
const SBTC_DEPOSIT = 'sbtc-deposit';
/** What the faucet owns at genesis: a billion STX, in microSTX. */
const FAUCET_USTX = 1_000_000_000_000_000n;
const SCRATCH_DEPLOYER = 'ST000000000000000000002AMW42H';

/**
 * @typedef {import('./transaction.js').Transaction} Transaction
 * @typedef {object} Faucet Signs the transactions that give test accounts STX and sBTC.
 * @property {string} address
 * @property {(recipient: string, amount: bigint, nonce: bigint) => Transaction} sendStx amount in microSTX
 * @property {(recipient: string, amount: bigint, nonce: bigint, burnHeight: number) => Transaction} mintSbtc amount in satoshi
 */

/**
 * Prepares the empty chain: a rich faucet, and the contract through which it mints sBTC.
 * @param {import('./vm.js').Vm} vm
 * @param {import('./signing.js').Network} network
 * @returns {{faucet: Faucet, contracts: Map<string, import('./chain.js').Contract>}} contracts that exist from the start
 */
export function createGenesis(vm, network) {
  const key = deriveKey('faucet', network);
  const sources = new Map(
    ['sbtc-registry', 'sbtc-token'].map((name) => {
      const source = vm.simnet.getContractSource(`${SBTC_DEPLOYER}.${name}`);
      if (source === undefined)
        throw new Error(`the Clarinet SDK does not deploy ${name}; this SDK version is not supported`);
      return [name, source];
    }),
  );
  const depositSource = readFileSync(new URL('./sbtc-deposit.clar', import.meta.url), 'utf8').replace(
    '{{signer}}',
    key.address,
  );
  sources.set(SBTC_DEPOSIT, depositSource);
  const contracts = describe(vm, sources);
  vm.simnet.mintSTX(key.address, FAUCET_USTX);
  vm.openBlock([{ name: SBTC_DEPOSIT, source: depositSource, clarityVersion: 3, sender: SBTC_DEPLOYER }]);
  vm.forgetBefore();
  return { contracts, faucet: createFaucet(key, network) };
}

/**
 * The interfaces of sBTC's contracts. The simnet describes only contracts deployed through it, so copies are deployed,
 * read, and taken back.
 * @param {import('./vm.js').Vm} vm
 * @param {Map<string, string>} sources by contract name
 * @returns {Map<string, import('./chain.js').Contract>}
 */
function describe(vm, sources) {
  vm.checkpoint();
  for (const [name, source] of sources) vm.openBlock([{ name, source, clarityVersion: 3, sender: SCRATCH_DEPLOYER }]);
  const interfaces = vm.simnet.getContractsInterfaces();
  vm.revert();
  return new Map(
    [...sources].map(([name, source]) => {
      const abi = /** @type {import('./chain.js').Abi} */ (
        /** @type {unknown} */ (interfaces.get(`${SCRATCH_DEPLOYER}.${name}`))
      );
      return [`${SBTC_DEPLOYER}.${name}`, { source, height: 0, abi }];
    }),
  );
}

/**
 * @param {import('./signing.js').Key} key
 * @param {import('./signing.js').Network} network
 * @returns {Faucet}
 */
function createFaucet(key, network) {
  return {
    address: key.address,
    sendStx: (recipient, amount, nonce) =>
      transferStx(recipient, amount, { key, nonce, feePerByte: 1, network, memo: 'devnet faucet' }),
    mintSbtc: (recipient, amount, nonce, burnHeight) => {
      const hash = (/** @type {string} */ purpose) => Cl.bufferFromHex(derive(purpose, network.seed, String(nonce)));
      const args = [
        hash('deposit'),
        Cl.uint(0),
        Cl.uint(amount),
        Cl.address(recipient),
        hash('sweep burn block'),
        Cl.uint(burnHeight),
        hash('sweep'),
      ];
      const payload = createContractCallPayload(SBTC_DEPLOYER, SBTC_DEPOSIT, 'complete-deposit-wrapper', args);
      return signTransaction(payload, { key, nonce, feePerByte: 1, network });
    },
  };
}
