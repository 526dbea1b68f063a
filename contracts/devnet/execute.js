import { Cl, PayloadType, serializeCV } from '@stacks/transactions';
import { toSource } from './clarity-source.js';
import { violation } from './postconditions.js';
import { contractIdOf, deployOf } from './transaction.js';
import { VmError } from './vm.js';

/**
 * @typedef {import('./vm.js').Vm} Vm
 * @typedef {import('./vm.js').Execution} Execution
 * @typedef {import('./transaction.js').Transaction} Transaction
 * @typedef {import('./chain.js').Receipt} Receipt
 * @typedef {{transaction: Transaction, source: string | null}} Effect a transaction's fee, and the expression that took effect
 */

/** `(ok true)`: what a transfer and a deploy return. */
const OK_TRUE = serializeCV(Cl.ok(Cl.bool(true)));
/** `(err none)`: what the chain records for a runtime error. */
const ERR_NONE = serializeCV(Cl.error(Cl.none()));

/**
 * One Stacks block in the making. Every transaction pays its fee and then takes effect alone: an error or a violated
 * post-condition undoes the transaction and nothing else.
 */
export class BlockExecution {
  /**
   * @param {Vm} vm positioned at a checkpoint
   * @param {{feeRecipient: string, opening: Transaction[]}} options `opening`: the tenure change and coinbase of a block that opens a tenure
   */
  constructor(vm, { feeRecipient, opening }) {
    this.vm = vm;
    this.opensTenure = opening.length > 0;
    this.feeRecipient = feeRecipient;
    /** @type {Transaction[]} deploys that take effect when the block opens */
    this.deploys = [];
    /** @type {Transaction[]} deploys that only pay */
    this.failedDeploys = [];
    /** @type {Effect[]} */
    this.effects = [];
    /** @type {Receipt[]} */
    this.receipts = opening.map((transaction) => receipt(transaction, 'success', OK_TRUE, {}));
  }

  /**
   * Opens the block, with the deploys that it begins with: the simnet deploys only while it opens a block.
   * @param {Transaction[]} candidates deploys in their order; those that cannot pay their fee are left out
   */
  open(candidates) {
    if (candidates.length > 0 && this.opensTenure)
      throw new Error('a block that opens a tenure cannot begin with deploys');
    /** @type {Set<Transaction>} */
    const unpaid = new Set();
    /** @type {Map<Transaction, Receipt>} */
    const failed = new Map();
    for (;;) {
      this.deploys = candidates.filter((transaction) => !failed.has(transaction) && !unpaid.has(transaction));
      this.failedDeploys = [...failed.keys()];
      try {
        const executions = this.reopen();
        const succeeded = this.judgeDeploys(executions, failed);
        if (succeeded) {
          for (const transaction of candidates) {
            const result = succeeded.get(transaction) ?? failed.get(transaction);
            if (result) this.receipts.push(result);
          }
          return;
        }
      } catch (error) {
        if (error instanceof UnpaidFee) unpaid.add(error.transaction);
        else if (error instanceof VmError) this.findFailing(failed);
        else throw error;
      }
      this.vm.revert();
    }
  }

  /**
   * Receipts of the deploys that took effect, or null when one of them violated its post-conditions.
   * @param {Execution[]} executions
   * @param {Map<Transaction, Receipt>} failed violations are added to it
   * @returns {Map<Transaction, Receipt> | null}
   */
  judgeDeploys(executions, failed) {
    if (this.deploys.length === 0) return new Map();
    const interfaces = this.vm.simnet.getContractsInterfaces();
    const before = failed.size;
    /** @type {Map<Transaction, Receipt>} */
    const succeeded = new Map();
    this.deploys.forEach((transaction, i) => {
      const { events } = executions[i];
      const reason = violation(transaction, events);
      if (reason !== null) {
        failed.set(transaction, receipt(transaction, 'abort_by_post_condition', OK_TRUE, { vmError: reason }));
        return;
      }
      const abi = /** @type {import('./chain.js').Abi} */ (interfaces.get(deployOf(transaction).id));
      succeeded.set(transaction, receipt(transaction, 'success', OK_TRUE, { events, abi }));
    });
    return failed.size === before ? succeeded : null;
  }

  /**
   * Finds the first deploy that fails after those before it.
   * @param {Map<Transaction, Receipt>} failed added to
   */
  findFailing(failed) {
    const all = this.deploys;
    for (let count = 1; count <= all.length; count++) {
      this.vm.revert();
      this.deploys = all.slice(0, count);
      try {
        this.reopen();
      } catch (error) {
        if (!(error instanceof VmError)) throw error;
        failed.set(all[count - 1], receipt(all[count - 1], 'abort_by_response', ERR_NONE, { vmError: error.message }));
        return;
      }
    }
    throw new Error('the deploys of a block failed together but not one after another');
  }

  /**
   * Opens the block from the checkpoint, with the deploys and fees found so far.
   * @returns {Execution[]}
   */
  reopen() {
    for (const transaction of [...this.deploys, ...this.failedDeploys]) {
      if (!this.payFee(transaction)) throw new UnpaidFee(transaction);
    }
    if (this.opensTenure) {
      this.vm.openTenure();
      return [];
    }
    return this.vm.openBlock(this.deploys.map(deployOf));
  }

  /**
   * Runs a transfer or a contract call in the open block.
   * @param {Transaction} transaction
   * @returns {boolean} false when it cannot be in the block now (its sender cannot pay) and changed nothing
   */
  run(transaction) {
    if (!this.payFee(transaction)) return false;
    const { payload } = transaction.wire;
    if (payload.payloadType === PayloadType.TokenTransfer) {
      // The memo is the last field: its 34 bytes are read raw, for they need not be text.
      const source = `(stx-transfer-memo? u${payload.amount} tx-sender ${toSource(payload.recipient)} 0x${transaction.hex.slice(-68)})`;
      const { result, events } = this.vm.execute(transaction.origin, source);
      if (result.type !== 'ok') {
        this.refundFee(transaction);
        return false;
      }
      this.effects.push({ transaction, source });
      this.receipts.push(receipt(transaction, 'success', OK_TRUE, { events }));
      return true;
    }
    if (payload.payloadType !== PayloadType.ContractCall)
      throw new Error(`transaction ${transaction.txid} has no payload that runs in an open block`);
    const source = `(contract-call? '${contractIdOf(payload)} ${payload.functionName.content}${payload.functionArgs.map((arg) => ` ${toSource(arg)}`).join('')})`;
    /** @type {Execution} */
    let execution;
    try {
      execution = this.vm.execute(transaction.origin, source);
    } catch (error) {
      if (!(error instanceof VmError)) throw error;
      if (this.vm.broken) {
        this.replay();
        this.payFee(transaction);
      }
      this.effects.push({ transaction, source: null });
      this.receipts.push(receipt(transaction, 'abort_by_response', ERR_NONE, { vmError: error.message }));
      return true;
    }
    const { result, events } = execution;
    const committed = result.type === 'ok';
    const reason = violation(transaction, events);
    if (reason !== null) {
      if (committed) this.replay();
      this.effects.push({ transaction, source: null });
      if (committed) this.payFee(transaction);
      this.receipts.push(receipt(transaction, 'abort_by_post_condition', serializeCV(result), { vmError: reason }));
      return true;
    }
    this.effects.push({ transaction, source: committed ? source : null });
    this.receipts.push(
      receipt(transaction, committed ? 'success' : 'abort_by_response', serializeCV(result), { events }),
    );
    return true;
  }

  /** Goes back to the checkpoint and applies again what the block holds so far. */
  replay() {
    this.vm.revert();
    this.reopen();
    for (const { transaction, source } of this.effects) {
      this.payFee(transaction);
      if (source !== null) this.vm.execute(transaction.origin, source);
    }
  }

  /** @param {Transaction} transaction one without a fee is never in the mempool, but may be simulated */
  payFee({ payer, fee }) {
    if (fee === 0n) return true;
    return this.vm.execute(payer, `(stx-transfer? u${fee} tx-sender '${this.feeRecipient})`).result.type === 'ok';
  }

  /** @param {Transaction} transaction */
  refundFee({ payer, fee }) {
    if (fee === 0n) return;
    this.vm.execute(this.feeRecipient, `(stx-transfer? u${fee} tx-sender '${payer})`);
  }
}

/** A deploy's payer cannot pay its fee now. */
class UnpaidFee extends Error {
  /** @param {Transaction} transaction */
  constructor(transaction) {
    super(`${transaction.payer} cannot pay the fee of ${transaction.txid}`);
    this.transaction = transaction;
  }
}

/**
 * @param {Transaction} transaction
 * @param {Receipt['status']} status
 * @param {string} result
 * @param {Partial<Pick<Receipt, 'events' | 'vmError' | 'abi'>>} rest
 * @returns {Receipt}
 */
function receipt(transaction, status, result, { events = [], vmError = null, abi = null }) {
  return { transaction, status, result, events, vmError, abi };
}
