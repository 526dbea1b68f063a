import { readFileSync } from 'node:fs';
import {
  Cl,
  PostConditionMode,
  TransactionSigner,
  StacksTransactionWire,
  createContractCallPayload,
  createSingleSigSpendingCondition,
  createStandardAuth,
  createTokenTransferPayload,
  getAddressFromPrivateKey,
  privateKeyToPublic,
} from '@stacks/transactions';
import { derive } from './hashes.js';

/** sBTC's deployer, the same on every network that the simnet imitates. */
export const SBTC_DEPLOYER = 'SM3VDXK3WZZSA84XXFKAFAF15NNZX32CTSG82JFQ4';
const SBTC_DEPOSIT = 'sbtc-deposit';
/** What the faucet owns at genesis: a billion STX, in microSTX. */
const FAUCET_USTX = 1_000_000_000_000_000n;
const SCRATCH_DEPLOYER = 'ST000000000000000000002AMW42H';

/**
 * @typedef {import('./vm.js').Vm} Vm
 * @typedef {object} Key
 * @property {string} privateKey 66 hex digits, ending in 01
 * @property {string} address
 * @typedef {object} Faucet Signs the transactions that give test accounts STX and sBTC.
 * @property {string} address
 * @property {(recipient: string, amount: bigint, nonce: bigint) => Uint8Array} sendStx raw transaction
 * @property {(recipient: string, amount: bigint, nonce: bigint, burnHeight: number) => Uint8Array} mintSbtc raw transaction
 */

/**
 * A key that is the same for the same seed.
 * @param {string} purpose @param {string} seed @param {boolean} mainnet
 * @returns {Key}
 */
export function deriveKey(purpose, seed, mainnet) {
  const privateKey = `${derive('key', purpose, seed)}01`;
  return { privateKey, address: getAddressFromPrivateKey(privateKey, mainnet ? 'mainnet' : 'testnet') };
}

/**
 * Prepares the empty chain: a rich faucet, and the contract through which it mints sBTC.
 * @param {Vm} vm
 * @param {{seed: string, chainId: number, mainnet: boolean}} network
 * @returns {{faucet: Faucet, contracts: Map<string, import('./chain.js').Contract>}} contracts that exist from the start
 */
export function createGenesis(vm, { seed, chainId, mainnet }) {
  const key = deriveKey('faucet', seed, mainnet);
  const depositSource = readFileSync(new URL('./sbtc-deposit.clar', import.meta.url), 'utf8').replace('{{signer}}', key.address);
  const sources = new Map(
    ['sbtc-registry', 'sbtc-token'].map((name) => {
      const source = vm.simnet.getContractSource(`${SBTC_DEPLOYER}.${name}`);
      if (source === undefined) throw new Error(`the Clarinet SDK does not deploy ${name}; this SDK version is not supported`);
      return [name, source];
    }),
  );
  sources.set(SBTC_DEPOSIT, depositSource);

  // The simnet describes only contracts deployed through it, so copies are deployed, read, and taken back.
  vm.checkpoint();
  for (const [name, source] of sources) vm.openBlock([{ name, source, clarityVersion: 3, sender: SCRATCH_DEPLOYER }]);
  const interfaces = vm.simnet.getContractsInterfaces();
  const contracts = new Map(
    [...sources].map(([name, source]) => [
      `${SBTC_DEPLOYER}.${name}`,
      { source, height: 0, abi: /** @type {import('./chain.js').Abi} */ (interfaces.get(`${SCRATCH_DEPLOYER}.${name}`)) },
    ]),
  );
  vm.revert();

  vm.simnet.mintSTX(key.address, FAUCET_USTX);
  vm.openBlock([{ name: SBTC_DEPOSIT, source: depositSource, clarityVersion: 3, sender: SBTC_DEPLOYER }]);
  vm.checkpoint();

  const sign = (/** @type {import('@stacks/transactions').PayloadInput} */ payload, /** @type {bigint} */ nonce) => {
    const condition = createSingleSigSpendingCondition(0, privateKeyToPublic(key.privateKey), nonce, 0);
    const transaction = new StacksTransactionWire({
      payload,
      auth: createStandardAuth(condition),
      postConditionMode: PostConditionMode.Allow,
      transactionVersion: mainnet ? 0x00 : 0x80,
      chainId,
      network: mainnet ? 'mainnet' : 'testnet',
    });
    transaction.setFee(transaction.serializeBytes().length);
    new TransactionSigner(transaction).signOrigin(key.privateKey);
    return transaction.serializeBytes();
  };
  return {
    contracts,
    faucet: {
      address: key.address,
      sendStx: (recipient, amount, nonce) => sign(createTokenTransferPayload(Cl.address(recipient), amount, 'devnet faucet'), nonce),
      mintSbtc: (recipient, amount, nonce, burnHeight) => {
        const deposit = Cl.bufferFromHex(derive('deposit', seed, key.address, String(nonce)));
        const hash = (/** @type {string} */ purpose) => Cl.bufferFromHex(derive(purpose, seed, String(nonce)));
        const args = [deposit, Cl.uint(0), Cl.uint(amount), Cl.address(recipient), hash('sweep burn'), Cl.uint(burnHeight), hash('sweep')];
        return sign(createContractCallPayload(SBTC_DEPLOYER, SBTC_DEPOSIT, 'complete-deposit-wrapper', args), nonce);
      },
    },
  };
}
