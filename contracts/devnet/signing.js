import {
  AnchorMode,
  Cl,
  PostConditionMode,
  StacksTransactionWire,
  TransactionSigner,
  createSingleSigSpendingCondition,
  createStandardAuth,
  createTokenTransferPayload,
  getAddressFromPrivateKey,
  privateKeyToPublic,
} from '@stacks/transactions';
import { derive } from './hashes.js';
import { decodeTransaction } from './transaction.js';

/**
 * The devnet's own keys and the transactions that it signs with them.
 *
 * @typedef {{seed: string, chainId: number, mainnet: boolean}} Network
 * @typedef {object} Key
 * @property {string} privateKey 66 hex digits, ending in 01
 * @property {string} address
 */

/**
 * A key that is the same for the same seed.
 * @param {string} purpose
 * @param {Network} network
 * @returns {Key}
 */
export function deriveKey(purpose, { seed, mainnet }) {
  const privateKey = `${derive('key', purpose, seed)}01`;
  return { privateKey, address: getAddressFromPrivateKey(privateKey, mainnet ? 'mainnet' : 'testnet') };
}

/**
 * A signed transaction without post-conditions.
 * @param {import('@stacks/transactions').PayloadInput} payload
 * @param {{key: Key, nonce: bigint, feePerByte: number, network: Network}} options fee in microSTX a byte
 * @returns {import('./transaction.js').Transaction}
 */
export function signTransaction(payload, { key, nonce, feePerByte, network: { chainId, mainnet } }) {
  const transaction = new StacksTransactionWire({
    payload,
    auth: createStandardAuth(createSingleSigSpendingCondition(0, privateKeyToPublic(key.privateKey), nonce, 0)),
    postConditionMode: PostConditionMode.Allow,
    network: mainnet ? 'mainnet' : 'testnet',
    chainId,
  });
  transaction.anchorMode = AnchorMode.OnChainOnly;
  transaction.setFee(feePerByte * transaction.serializeBytes().length);
  new TransactionSigner(transaction).signOrigin(key.privateKey);
  return decodeTransaction(transaction.serializeBytes(), mainnet);
}

/**
 * A signed transfer of STX.
 * @param {string} recipient
 * @param {bigint} amount microSTX
 * @param {{key: Key, nonce: bigint, feePerByte: number, network: Network, memo: string}} options
 * @returns {import('./transaction.js').Transaction}
 */
export function transferStx(recipient, amount, { memo, ...options }) {
  return signTransaction(createTokenTransferPayload(Cl.address(recipient), amount, memo), options);
}
