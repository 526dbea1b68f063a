import { PayloadType, addressToString } from '@stacks/transactions';
import { admits } from './clarity-source.js';
import { SBTC_DEPLOYER } from './genesis.js';
import { Rejection } from './rejection.js';
import { contractIdOf, deployOf, verifySignatures } from './transaction.js';

/** Unconfirmed transactions that one account may have beyond its next. */
const MAX_CHAINING = 25n;
/** Seconds after which a transaction that was not mined is dropped: 256 Bitcoin blocks of ten minutes. */
const MAX_AGE = 256 * 10 * 60;
/** microSTX. */
const MIN_FEE_PER_BYTE = 1n;

/**
 * @typedef {import('./transaction.js').Transaction} Transaction
 * @typedef {{transaction: Transaction, time: number}} Entry a waiting transaction and the tip's time when it came
 * @typedef {object} State What admission needs to know about the chain's tip.
 * @property {import('./signing.js').Network} network
 * @property {(address: string) => bigint} nonceOf
 * @property {string} faucet whose transactions may chain without limit, so that many accounts can be funded at once
 * @property {(address: string) => bigint} balanceOf unlocked microSTX
 * @property {(id: string) => boolean} hasContract
 * @property {(id: string) => import('@stacks/transactions').ClarityAbi | null} abiOf null when the contract has no known interface
 */

/** Transactions that wait for a block, under the node's admission rules. */
export class Mempool {
  constructor() {
    /** @type {Map<string, Entry>} by txid, oldest first */
    this.entries = new Map();
    /** @type {Map<string, string>} txid by `address/nonce`, for origins and sponsors */
    this.slots = new Map();
  }

  get size() {
    return this.entries.size;
  }

  /** @param {string} txid */
  has(txid) {
    return this.entries.has(txid);
  }

  /** Whether a transaction of this account and nonce waits. @param {string} address @param {bigint} nonce */
  holds(address, nonce) {
    return this.slots.has(`${address}/${nonce}`);
  }

  /**
   * Says why a transaction is refused, if it is.
   * @param {Transaction} transaction
   * @param {State} state
   * @throws {Rejection}
   */
  check(transaction, state) {
    checkNetwork(transaction, state);
    verifySignatures(transaction);
    const minimum = MIN_FEE_PER_BYTE * BigInt(transaction.size);
    if (transaction.fee < minimum)
      throw new Rejection('FeeTooLow', { expected: Number(minimum), actual: Number(transaction.fee) });
    checkNonces(transaction, state);
    checkPayload(transaction, state);
    if (this.conflicting(transaction).some(({ fee }) => transaction.fee <= fee))
      throw new Rejection('ConflictingNonceInMempool');
  }

  /**
   * Takes a transaction in.
   * @param {Transaction} transaction
   * @param {number} time the tip's
   * @returns {Transaction[]} transactions that it replaces
   */
  add(transaction, time) {
    const replaced = this.conflicting(transaction);
    replaced.forEach(({ txid }) => this.remove(txid));
    this.put(transaction, time);
    return replaced;
  }

  /** @param {Transaction} transaction @param {number} time */
  put(transaction, time) {
    this.entries.set(transaction.txid, { transaction, time });
    for (const slot of slotsOf(transaction)) this.slots.set(slot, transaction.txid);
  }

  /**
   * Puts rolled-back transactions before all others, except where a waiting one has their nonce.
   * @param {Transaction[]} transactions in the order in which they were mined
   * @param {number} time the tip's
   * @returns {Transaction[]} those that were put back
   */
  putBack(transactions, time) {
    const returned = transactions.filter((transaction) => this.conflicting(transaction).length === 0);
    const waiting = [...this.entries];
    this.entries.clear();
    for (const transaction of returned) this.put(transaction, time);
    for (const [txid, entry] of waiting) this.entries.set(txid, entry);
    return returned;
  }

  /** @param {string} txid */
  remove(txid) {
    const entry = this.entries.get(txid);
    if (!entry) return;
    this.entries.delete(txid);
    for (const slot of slotsOf(entry.transaction)) {
      if (this.slots.get(slot) === txid) this.slots.delete(slot);
    }
  }

  /**
   * Drops what has waited too long.
   * @param {number} time the tip's
   * @returns {string[]} txids
   */
  collectStale(time) {
    const stale = [...this.entries].filter(([, entry]) => time - entry.time > MAX_AGE).map(([txid]) => txid);
    stale.forEach((txid) => this.remove(txid));
    return stale;
  }

  /**
   * The nonce after the account's last waiting transaction without a gap.
   * @param {string} address @param {bigint} nonce the account's next
   */
  nextNonce(address, nonce) {
    let next = nonce;
    while (this.slots.has(`${address}/${next}`)) next += 1n;
    return next;
  }

  /** @param {Transaction} transaction */
  conflicting(transaction) {
    const txids = new Set(slotsOf(transaction).map((slot) => this.slots.get(slot)));
    return [...txids].flatMap((txid) =>
      txid === undefined ? [] : [/** @type {Entry} */ (this.entries.get(txid)).transaction],
    );
  }
}

/** @param {Transaction} transaction */
function slotsOf({ origin, originNonce, payer, payerNonce, sponsored }) {
  return [`${origin}/${originNonce}`, ...(sponsored ? [`${payer}/${payerNonce}`] : [])];
}

/** @param {Transaction} transaction @param {State} state */
function checkNetwork({ wire, txid }, { network: { chainId, mainnet } }) {
  if (wire.chainId !== chainId) {
    throw new Rejection('SignatureValidation', {
      message: `Invalid tx ${txid}: invalid chain ID ${wire.chainId} (expected ${chainId})`,
    });
  }
  if ((wire.transactionVersion === 0x00) !== mainnet) {
    throw new Rejection('SignatureValidation', {
      message: `Invalid tx ${txid}: on ${mainnet ? 'mainnet; got testnet' : 'testnet; got mainnet'}`,
    });
  }
}

/** @param {Transaction} transaction @param {State} state */
function checkNonces(transaction, { nonceOf, faucet }) {
  const signers = [{ principal: transaction.origin, actual: transaction.originNonce, is_origin: true }];
  if (transaction.sponsored)
    signers.unshift({ principal: transaction.payer, actual: transaction.payerNonce, is_origin: false });
  for (const { principal, actual, is_origin } of signers) {
    const next = nonceOf(principal);
    if (actual < next)
      throw new Rejection('BadNonce', { expected: Number(next), actual: Number(actual), principal, is_origin });
  }
  for (const { principal, actual, is_origin } of signers.reverse()) {
    const highest = nonceOf(principal) + 1n + MAX_CHAINING;
    if (actual > highest && principal !== faucet) {
      throw new Rejection('TooMuchChaining', {
        message: 'Nonce would exceed chaining limit in mempool',
        expected: Number(highest),
        actual: Number(actual),
        principal,
        is_origin,
      });
    }
  }
}

/** @param {Transaction} transaction @param {State} state */
function checkPayload(transaction, state) {
  const { wire, origin, payer, fee } = transaction;
  const { payload } = wire;
  const afford = (/** @type {string} */ address, /** @type {bigint} */ amount) => {
    const actual = state.balanceOf(address);
    if (actual < amount) throw new Rejection('NotEnoughFunds', { expected: hex128(amount), actual: hex128(actual) });
  };
  afford(payer, fee);
  switch (payload.payloadType) {
    case PayloadType.TokenTransfer: {
      const recipient = payload.recipient.value;
      if (recipient === origin) throw new Rejection('TransferRecipientCannotEqualSender', { recipient });
      if (payload.amount === 0n) throw new Rejection('TransferAmountMustBePositive');
      if (!ofNetwork(recipient, state.network.mainnet)) throw new Rejection('BadAddressVersionByte');
      if (wire.postConditions.values.length > 0) {
        throw new Rejection('ServerFailureOther', {
          message: 'Invalid Stacks transaction: TokenTransfer transactions do not support post-conditions',
        });
      }
      afford(origin, payload.amount + (payer === origin ? fee : 0n));
      return;
    }
    case PayloadType.ContractCall: {
      const address = addressToString(payload.contractAddress);
      if (!ofNetwork(address, state.network.mainnet) && address !== SBTC_DEPLOYER)
        throw new Rejection('BadAddressVersionByte');
      const id = contractIdOf(payload);
      if (!state.hasContract(id)) throw new Rejection('NoSuchContract');
      const abi = state.abiOf(id);
      if (!abi) return;
      const called = abi.functions.find(
        ({ name, access }) => name === payload.functionName.content && access === 'public',
      );
      if (!called) throw new Rejection('NoSuchPublicFunction');
      const { functionArgs } = payload;
      if (functionArgs.length !== called.args.length) {
        throw new Rejection('BadFunctionArgument', {
          message: `Incorrect argument count supplied: expected ${called.args.length}, got ${functionArgs.length}`,
        });
      }
      called.args.forEach(({ name, type }, i) => {
        if (!admits(type, functionArgs[i]))
          throw new Rejection('BadFunctionArgument', {
            message: `Type error: argument ${name} expects ${JSON.stringify(type)}, found ${functionArgs[i].type}`,
          });
      });
      return;
    }
    case PayloadType.SmartContract:
    case PayloadType.VersionedSmartContract: {
      const { id } = deployOf(transaction);
      if (state.hasContract(id)) throw new Rejection('ContractAlreadyExists', { contract_identifier: id });
      return;
    }
    case PayloadType.Coinbase:
    case PayloadType.CoinbaseToAltRecipient:
    case PayloadType.NakamotoCoinbase:
      throw new Rejection('NoCoinbaseViaMempool');
    case PayloadType.TenureChange:
      throw new Rejection('NoTenureChangeViaMempool');
    default:
      throw new Rejection('ServerFailureOther', { message: `payload type ${payload.payloadType} is not supported` });
  }
}

/** @param {string} principal @param {boolean} mainnet */
function ofNetwork(principal, mainnet) {
  return mainnet === /^S[PM]/.test(principal);
}

/** @param {bigint} amount */
function hex128(amount) {
  return `0x${amount.toString(16).padStart(32, '0')}`;
}
