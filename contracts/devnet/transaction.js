import {
  AddressVersion,
  AuthType,
  PayloadType,
  StacksWireType,
  addressFromPublicKeys,
  addressFromVersionHash,
  addressToString,
  deserializeTransaction,
  isNonSequentialMultiSig,
  isSequentialMultiSig,
  isSingleSig,
  nextVerification,
  publicKeyIsCompressed,
} from '@stacks/transactions';
import { Rejection } from './rejection.js';

/**
 * @typedef {import('@stacks/transactions').StacksTransactionWire} StacksTransactionWire
 * @typedef {import('@stacks/transactions').SpendingCondition} SpendingCondition
 * @typedef {import('@stacks/transactions').PublicKeyWire} PublicKeyWire
 * @typedef {object} Transaction A decoded, signed transaction.
 * @property {string} txid 64 hex digits, no 0x
 * @property {string} hex the raw bytes, no 0x
 * @property {number} size bytes
 * @property {StacksTransactionWire} wire
 * @property {string} origin principal that signed it
 * @property {bigint} originNonce
 * @property {string} payer principal that pays the fee: the sponsor, or the origin
 * @property {bigint} payerNonce
 * @property {boolean} sponsored
 * @property {bigint} fee microSTX
 */

/** Half of the order of secp256k1: a signature's s above it is malleable and refused. */
const HALF_ORDER = 0x7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a0n;

/**
 * Decodes a raw transaction. Signatures are not looked at yet.
 * @param {Uint8Array} bytes
 * @param {boolean} mainnet which address versions its signers have
 * @returns {Transaction}
 * @throws {DecodeError}
 */
export function decodeTransaction(bytes, mainnet) {
  const hex = Buffer.from(bytes).toString('hex');
  /** @type {StacksTransactionWire} */
  let wire;
  try {
    wire = deserializeTransaction(hex);
    if (wire.serialize() !== hex) throw new Error('trailing or non-canonical bytes');
  } catch (error) {
    throw new DecodeError(`Failed to decode transaction: ${error instanceof Error ? error.message : error}`);
  }
  const { auth } = wire;
  const sponsored = auth.authType === AuthType.Sponsored;
  const originCondition = auth.spendingCondition;
  const payerCondition = sponsored ? auth.sponsorSpendingCondition : originCondition;
  return {
    txid: wire.txid(),
    hex,
    size: bytes.length,
    wire,
    origin: signerAddress(originCondition, mainnet),
    originNonce: originCondition.nonce,
    payer: signerAddress(payerCondition, mainnet),
    payerNonce: payerCondition.nonce,
    sponsored,
    fee: payerCondition.fee,
  };
}

/** The bytes are not a transaction. */
export class DecodeError extends Error {
  name = 'DecodeError';
}

/**
 * @param {SpendingCondition} condition
 * @param {boolean} mainnet
 */
function signerAddress(condition, mainnet) {
  const single = mainnet ? AddressVersion.MainnetSingleSig : AddressVersion.TestnetSingleSig;
  const multi = mainnet ? AddressVersion.MainnetMultiSig : AddressVersion.TestnetMultiSig;
  return addressToString(addressFromVersionHash(isSingleSig(condition) ? single : multi, condition.signer));
}

/**
 * Checks every signature of a transaction, origin and sponsor.
 * @param {Transaction} transaction
 * @throws {Rejection} SignatureValidation
 */
export function verifySignatures({ wire }) {
  const { auth } = wire;
  try {
    const afterOrigin = verifyCondition(auth.spendingCondition, wire.verifyBegin(), AuthType.Standard);
    if (auth.authType === AuthType.Sponsored)
      verifyCondition(auth.sponsorSpendingCondition, afterOrigin, AuthType.Sponsored);
  } catch (error) {
    throw new Rejection('SignatureValidation', {
      message: `Signature error: ${error instanceof Error ? error.message : error}`,
    });
  }
}

/**
 * @param {SpendingCondition} condition
 * @param {string} sigHash
 * @param {AuthType} authType
 * @returns {string} the hash that the next signer signs over
 */
function verifyCondition(condition, sigHash, authType) {
  /** @type {PublicKeyWire[]} */
  const keys = [];
  let hash = sigHash;
  const recover = (
    /** @type {import('@stacks/transactions').PubKeyEncoding} */ encoding,
    /** @type {string} */ signature,
  ) => {
    if (BigInt(`0x${signature.slice(66)}`) > HALF_ORDER) throw new Error('signature has a high S');
    const { pubKey, nextSigHash } = nextVerification(
      hash,
      authType,
      condition.fee,
      condition.nonce,
      encoding,
      signature,
    );
    keys.push(pubKey);
    return nextSigHash;
  };
  let required = 1;
  if (isSingleSig(condition)) {
    hash = recover(condition.keyEncoding, condition.signature.data);
  } else {
    let signatures = 0;
    for (const { contents, pubKeyEncoding } of condition.fields) {
      if (contents.type === StacksWireType.PublicKey) {
        keys.push(contents);
      } else {
        const next = recover(pubKeyEncoding, contents.data);
        if (isSequentialMultiSig(condition.hashMode)) hash = next;
        signatures += 1;
      }
    }
    required = condition.signaturesRequired;
    const enough = isNonSequentialMultiSig(condition.hashMode) ? signatures >= required : signatures === required;
    if (!enough) throw new Error(`incorrect number of signatures: ${signatures}, ${required} required`);
    if (condition.hashMode !== 1 && condition.hashMode !== 5 && keys.some(({ data }) => !publicKeyIsCompressed(data))) {
      throw new Error('uncompressed keys are not allowed in this hash mode');
    }
  }
  // Only the hash matters here; the version is that of whoever compares.
  const { hash160 } = addressFromPublicKeys(AddressVersion.MainnetSingleSig, condition.hashMode, required, keys);
  if (hash160 !== condition.signer)
    throw new Error(`signer hash does not equal hash of public key(s): ${hash160} != ${condition.signer}`);
  return hash;
}

/**
 * @param {{contractAddress: import('@stacks/transactions').AddressWire, contractName: {content: string}}} payload
 * @returns {string} `ADDRESS.name`
 */
export function contractIdOf({ contractAddress, contractName }) {
  return `${addressToString(contractAddress)}.${contractName.content}`;
}

/** @param {Transaction} transaction */
export function isDeploy({ wire }) {
  const { payloadType } = wire.payload;
  return payloadType === PayloadType.SmartContract || payloadType === PayloadType.VersionedSmartContract;
}

/**
 * The contract that a transaction deploys.
 * @param {Transaction} transaction one for which `isDeploy` holds
 * @returns {{id: string, name: string, source: string, clarityVersion: number | undefined, sender: string}}
 */
export function deployOf({ wire, origin, txid }) {
  const { payload } = wire;
  if (payload.payloadType !== PayloadType.SmartContract && payload.payloadType !== PayloadType.VersionedSmartContract) {
    throw new TypeError(`transaction ${txid} deploys no contract`);
  }
  const name = payload.contractName.content;
  const clarityVersion =
    payload.payloadType === PayloadType.VersionedSmartContract ? payload.clarityVersion : undefined;
  return { id: `${origin}.${name}`, name, source: payload.codeBody.content, clarityVersion, sender: origin };
}
