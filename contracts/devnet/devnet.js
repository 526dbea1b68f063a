import { Attachments } from './attachments.js';
import { Chain } from './chain.js';
import {
  FEE_RATES,
  STRANGER_USTX,
  estimatedFeeRates,
  strangerKey,
  strangersTransactions,
  takeByFee,
  takeInOrderOfArrival,
} from './congestion.js';
import { BlockExecution } from './execute.js';
import { createGenesis } from './genesis.js';
import { Mempool } from './mempool.js';
import { derive } from './hashes.js';
import { dropMempoolTx, newBlock, newBurnBlock } from './payloads.js';
import { deriveKey } from './signing.js';
import { openingTransactions } from './tenure.js';
import { decodeTransaction, isDeploy } from './transaction.js';

/** A block takes no more transactions than this; the rest wait for the next. */
const MAX_BLOCK_TRANSACTIONS = 500;

/**
 * @typedef {import('./chain.js').Block} Block
 * @typedef {import('./chain.js').BurnBlock} BurnBlock
 * @typedef {import('./transaction.js').Transaction} Transaction
 * @typedef {import('./store.js').Operation} Operation
 */

/**
 * The chain in operation. Every method that changes it is synchronous, is written to the log, and gives the same
 * result when the log is run again.
 */
export class Devnet {
  /**
   * @param {object} options
   * @param {import('./vm.js').Vm} options.vm newly started
   * @param {string} options.seed hashes and keys follow from it
   * @param {number} options.chainId
   * @param {import('./observer.js').Observers} options.observers
   * @param {(message: Record<string, unknown>) => void} options.report
   */
  constructor({ vm, seed, chainId, observers, report }) {
    this.vm = vm;
    this.network = { seed, chainId, mainnet: chainId === 1 };
    this.observers = observers;
    this.report = report;
    this.mempool = new Mempool();
    this.attachments = new Attachments();
    this.miner = deriveKey('miner', this.network);
    const { faucet, contracts } = createGenesis(vm, this.network);
    this.faucet = faucet;
    this.chain = new Chain({ seed, contracts });
    this.forks = 0;
    /** @type {import('./congestion.js').Congestion | null} null while blocks have room for everybody */
    this.congestion = null;
    /** @type {(operation: Operation) => void} where operations are written down */
    this.log = () => {};
    /** @type {(block: Block) => boolean} whether a block may have to be gone back to */
    this.worthKeeping = () => true;
    this.postBlock(this.chain.tip);
    this.announceBurnBlock();
    // The simnet is a few blocks old when it is ready; they are empty but for their tenure's opening.
    while (this.chain.tip.height < vm.height) {
      const height = this.chain.tip.height + 1;
      const time =
        height === vm.height ? 'stacks-block-time' : `(unwrap-panic (get-stacks-block-info? time u${height}))`;
      const { result } = vm.execute(this.faucet.address, time);
      const execution = new BlockExecution(vm, {
        feeRecipient: this.miner.address,
        opening: this.openingTransactions(),
      });
      this.chain.addBlock({
        time: Number(/** @type {{value: bigint}} */ (result).value),
        receipts: execution.receipts,
      });
      this.postBlock(this.chain.tip);
    }
  }

  /**
   * Runs a log again.
   * @param {Operation[]} history
   */
  replay(history) {
    this.worthKeeping = blocksWorthKeeping(history, this.chain.tip.serial, this.vm.keep);
    history.forEach((operation, i) => {
      try {
        this.apply(operation);
      } catch (error) {
        throw new Error(`operation ${i + 1} of the log cannot be run again; start a new chain in another directory`, {
          cause: error,
        });
      }
    });
    this.worthKeeping = () => true;
  }

  /**
   * Takes a transaction into the mempool; one that is known already changes nothing.
   * @param {Transaction} transaction
   * @param {Buffer} [attachment] content whose hash the transaction prints
   * @throws {import('./rejection.js').Rejection}
   */
  submit(transaction, attachment) {
    if (this.mempool.has(transaction.txid) || this.chain.transactions.has(transaction.txid)) return;
    this.mempool.check(transaction, this.admissionState());
    this.accept(transaction, attachment);
  }

  /**
   * @param {Transaction} transaction one that was checked
   * @param {Buffer} [attachment]
   */
  accept(transaction, attachment) {
    const replaced = this.mempool.add(transaction, this.chain.tip.time);
    if (attachment) this.attachments.add(attachment);
    this.log({ op: 'tx', hex: transaction.hex, ...(attachment && { attachment: attachment.toString('hex') }) });
    this.observers.post('/new_mempool_tx', () => [`0x${transaction.hex}`]);
    if (replaced.length > 0) {
      this.observers.post('/drop_mempool_tx', () =>
        dropMempoolTx(
          replaced.map(({ txid }) => txid),
          'ReplaceByFee',
          transaction.txid,
        ),
      );
    }
  }

  /**
   * Mines one Stacks block; it opens the tenure of a burn block that was announced before it.
   * @returns {Block}
   */
  mine() {
    if (this.congestion) {
      const { chain, mempool, network, miner } = this;
      const options = {
        network,
        recipient: miner.address,
        nonceOf: (/** @type {string} */ address) => chain.nonceOf(address),
        isWaiting: (/** @type {string} */ address, /** @type {bigint} */ nonce) => mempool.holds(address, nonce),
      };
      for (const transaction of strangersTransactions(this.congestion, options)) {
        // A fork may have taken a stranger's money back.
        if (this.account(transaction.payer).unlocked > transaction.fee) this.submit(transaction);
      }
    }
    return this.mineWaiting();
  }

  /** Mines one Stacks block of what waits already. */
  mineWaiting() {
    const block = this.buildBlock();
    this.log({ op: 'block' });
    return block;
  }

  /**
   * Makes blocks scarce, or (null) as roomy as before. The strangers get their money in a last roomy block first.
   * @param {import('./congestion.js').Congestion | null} congestion
   */
  setCongestion(congestion) {
    const poor = Array.from({ length: congestion?.strangers ?? 0 }, (_, i) => strangerKey(i, this.network).address)
      .filter((address) => this.account(address).unlocked < STRANGER_USTX / 2n);
    if (poor.length > 0) {
      this.congest(null);
      for (const recipient of poor) this.fund({ asset: 'stx', recipient, amount: STRANGER_USTX });
      this.mineWaiting();
    }
    this.congest(congestion);
  }

  /** @param {import('./congestion.js').Congestion | null} congestion */
  congest(congestion) {
    this.congestion = congestion;
    this.log({ op: 'congestion', congestion });
  }

  /**
   * Takes transactions out of the mempool, as a node does that is short of room or finds them not worth it.
   * @param {string[]} txids those that do not wait are left out
   * @param {import('./payloads.js').DropReason} reason
   * @returns {string[]} those that were dropped
   */
  drop(txids, reason) {
    const dropped = txids.filter((txid) => this.mempool.has(txid));
    if (dropped.length === 0) return dropped;
    dropped.forEach((txid) => this.mempool.remove(txid));
    this.log({ op: 'drop', txids: dropped, reason });
    this.observers.post('/drop_mempool_tx', () => dropMempoolTx(dropped, reason));
    return dropped;
  }

  /**
   * A part of the waiting transactions, the same one for the same mempool.
   * @param {number} fraction from 0 to 1; what it gives is rounded up
   * @param {string} [sender] only of this account's
   * @returns {string[]} txids
   */
  someWaiting(fraction, sender) {
    const order = (/** @type {string} */ txid) => derive('drop', this.network.seed, txid);
    const waiting = [...this.mempool.entries.values()]
      .map(({ transaction }) => transaction)
      .filter(({ origin }) => sender === undefined || origin === sender)
      .map(({ txid }) => txid)
      .sort((a, b) => (order(a) < order(b) ? -1 : 1));
    return waiting.slice(0, Math.ceil(waiting.length * fraction));
  }

  /** @returns {number[]} microSTX a byte that the node estimates: low, middle, high */
  feeRates() {
    const { chain, congestion, miner } = this;
    return congestion ? estimatedFeeRates(chain.blocks, congestion.capacity, miner.address) : FEE_RATES;
  }

  /**
   * Announces a burn block. Its tenure opens with the next Stacks block; a burn block whose tenure is still to open
   * gets that block first, for the simnet has no burn block without one.
   * @returns {BurnBlock}
   */
  burn() {
    if (this.chain.tenurePending) this.mine();
    const burn = this.announceBurnBlock();
    this.log({ op: 'burn' });
    return burn;
  }

  /**
   * Rolls back `depth` Stacks blocks and builds a longer branch in their place, as after a Bitcoin reorg: the burn
   * blocks that anchored nothing else are replaced too.
   * @param {{depth: number, blocks?: number, keep: boolean}} options `blocks` of the new branch, `keep` the rolled-back transactions
   * @returns {{forkPoint: Block, oldBlocks: Block[], newBlocks: Block[], oldBurns: BurnBlock[], newBurns: BurnBlock[], returned: Transaction[], dropped: Transaction[]}}
   * @throws {RangeError} when that is not possible; nothing has changed then
   */
  fork({ depth, blocks = depth + 1, keep }) {
    const { chain } = this;
    const deepest = chain.tip.height - this.vm.oldest;
    if (depth < 1 || depth > deepest)
      throw new RangeError(`depth must be from 1 to ${deepest}, the blocks that can be rolled back now`);
    const forkPoint = chain.blocks[chain.tip.height - depth];
    const replacedBurns = chain.burnTip.height - forkPoint.burn.height;
    const least = Math.max(depth, replacedBurns) + 1;
    if (blocks < least) throw new RangeError(`blocks must be at least ${least} for the new branch to become canonical`);
    this.log({ op: 'fork', depth, blocks, keep });

    const { blocks: oldBlocks, burns: oldBurns } = chain.rollBack(depth);
    this.vm.rewind(forkPoint.height);
    this.forks += 1;
    const rolledBack = oldBlocks.flatMap(({ receipts }) =>
      receipts.map(({ transaction }) => transaction).filter(({ origin }) => origin !== this.miner.address),
    );
    const returned = keep ? this.mempool.putBack(rolledBack, chain.tip.time) : [];
    const dropped = rolledBack.filter((transaction) => !returned.includes(transaction));
    if (dropped.length > 0)
      this.observers.post('/drop_mempool_tx', () =>
        dropMempoolTx(
          dropped.map(({ txid }) => txid),
          'ReplaceAcrossFork',
        ),
      );

    const newBurns = chain.nextBurnBlocks(oldBurns.length + 1);
    for (const burn of newBurns) this.observers.post('/new_burn_block', () => newBurnBlock(burn));
    const newBlocks = [];
    for (let i = 0, opened = 0; i < blocks; i++) {
      // The tenures open evenly over the new branch, the first with its first block.
      if (opened * blocks <= i * newBurns.length) chain.burns.push(newBurns[opened++]);
      newBlocks.push(this.buildBlock());
    }
    return { forkPoint, oldBlocks, newBlocks, oldBurns, newBurns, returned, dropped };
  }

  /**
   * Sends STX or sBTC from the faucet, in a transaction that waits in the mempool like any other.
   * @param {{asset: 'stx' | 'sbtc', recipient: string, amount: bigint}} gift amount in microSTX or satoshi
   * @returns {Transaction}
   */
  fund({ asset, recipient, amount }) {
    const nonce = this.mempool.nextNonce(this.faucet.address, this.chain.nonceOf(this.faucet.address));
    const transaction =
      asset === 'stx'
        ? this.faucet.sendStx(recipient, amount, nonce)
        : this.faucet.mintSbtc(recipient, amount, nonce, this.chain.tip.burn.height);
    this.submit(transaction);
    return transaction;
  }

  /** @param {Operation} operation an entry of the log */
  apply(operation) {
    switch (operation.op) {
      case 'tx':
        this.accept(
          decodeTransaction(Buffer.from(operation.hex, 'hex'), this.network.mainnet),
          operation.attachment === undefined ? undefined : Buffer.from(operation.attachment, 'hex'),
        );
        return;
      case 'block':
        this.mineWaiting();
        return;
      case 'burn':
        this.burn();
        return;
      case 'fork':
        this.fork(operation);
        return;
      case 'congestion':
        this.congest(operation.congestion);
        return;
      case 'drop':
        this.drop(operation.txids, operation.reason);
        return;
    }
  }

  /**
   * @param {string} address
   * @returns {{unlocked: bigint, locked: bigint, unlockHeight: number}} microSTX
   */
  account(address) {
    const { result } = this.vm.read((simnet) => simnet.execute(`(stx-account '${address})`));
    const fields = /** @type {{value: Record<string, {value: bigint}>}} */ (/** @type {unknown} */ (result)).value;
    return {
      unlocked: BigInt(fields.unlocked.value),
      locked: BigInt(fields.locked.value),
      unlockHeight: Number(fields['unlock-height'].value),
    };
  }

  /**
   * @param {string} id
   * @returns {string | undefined}
   */
  contractSource(id) {
    return this.chain.contracts.get(id)?.source ?? this.vm.read((simnet) => simnet.getContractSource(id));
  }

  /** @returns {import('./mempool.js').State} */
  admissionState() {
    return {
      network: this.network,
      faucet: this.faucet.address,
      nonceOf: (address) => this.chain.nonceOf(address),
      balanceOf: (address) => this.account(address).unlocked,
      hasContract: (id) => this.contractSource(id) !== undefined,
      abiOf: (id) => this.chain.contracts.get(id)?.abi ?? null,
    };
  }

  /** @returns {BurnBlock} */
  announceBurnBlock() {
    const [burn] = this.chain.nextBurnBlocks(1);
    this.chain.burns.push(burn);
    this.observers.post('/new_burn_block', () => newBurnBlock(burn));
    return burn;
  }

  /** @returns {Transaction[]} what the next block begins with when it opens a tenure */
  openingTransactions() {
    const { chain, miner, network } = this;
    return chain.tenurePending ? openingTransactions({ chain, miner, network }) : [];
  }

  /**
   * Mines a block from the mempool: oldest transactions first, or under congestion those that pay most.
   * @returns {Block}
   */
  buildBlock() {
    const { chain, vm, mempool, congestion } = this;
    const started = performance.now();
    const opening = this.openingTransactions();
    const capacity = congestion?.capacity ?? MAX_BLOCK_TRANSACTIONS;
    // What the block fails to do is undone to the state that it builds on.
    if (mempool.size > 0) vm.checkpoint();
    const execution = new BlockExecution(vm, { feeRecipient: this.miner.address, opening });
    const transactions = [...mempool.entries.values()].map(({ transaction }) => transaction);
    const sequence = new Sequence((address) => chain.nonceOf(address));
    const deploys =
      opening.length > 0
        ? []
        : transactions
            .filter((transaction) => isDeploy(transaction) && sequence.take(transaction))
            .slice(0, capacity);
    execution.open(deploys);

    const taken = new Sequence((address) => chain.nonceOf(address));
    for (const { transaction } of execution.receipts) taken.take(transaction);
    const waiting = transactions.filter((transaction) => !isDeploy(transaction));
    const take = (/** @type {Transaction} */ transaction) => {
      const full = execution.receipts.length >= capacity + opening.length;
      return !full && taken.isNext(transaction) && execution.run(transaction) && taken.take(transaction);
    };
    if (congestion) takeByFee(waiting, take, congestion.minFeeRate);
    else takeInOrderOfArrival(waiting, take);

    const block = chain.addBlock({ time: vm.time, receipts: execution.receipts });
    if (vm.height !== block.height || vm.burnHeight !== block.burn.height) {
      throw new Error(
        `the simnet is at ${vm.height}/${vm.burnHeight}, the chain at ${block.height}/${block.burn.height}`,
      );
    }
    if (this.worthKeeping(block)) vm.checkpoint();
    for (const { transaction } of execution.receipts) mempool.remove(transaction.txid);
    this.postBlock(block);
    const stale = mempool.collectStale(block.time);
    if (stale.length > 0) this.observers.post('/drop_mempool_tx', () => dropMempoolTx(stale, 'StaleGarbageCollect'));
    this.report({
      event: 'block',
      height: block.height,
      index_block_hash: block.indexHash,
      transactions: block.receipts.length,
      ms: Math.round(performance.now() - started),
    });
    return block;
  }

  /** @param {Block} block */
  postBlock(block) {
    this.observers.post('/new_block', () => newBlock(block, this.miner.privateKey));
    if (this.attachments.contents.size === 0) return;
    const attachments = this.attachments.announcedIn(block);
    if (attachments.length > 0) this.observers.post('/attachments/new', () => attachments);
  }
}

/** Which transactions may follow each other in a block: each account's by nonce. */
class Sequence {
  /** @param {(address: string) => bigint} nonceOf the accounts' nonces before the block */
  constructor(nonceOf) {
    this.before = nonceOf;
    /** @type {Map<string, bigint>} */
    this.nonces = new Map();
  }

  /** @param {string} address */
  nonceOf(address) {
    return this.nonces.get(address) ?? this.before(address);
  }

  /** @param {Transaction} transaction */
  isNext({ origin, originNonce, payer, payerNonce, sponsored }) {
    return this.nonceOf(origin) === originNonce && (!sponsored || this.nonceOf(payer) === payerNonce);
  }

  /**
   * @param {Transaction} transaction
   * @returns {boolean} whether it was next
   */
  take(transaction) {
    if (!this.isNext(transaction)) return false;
    const { origin, originNonce, payer, payerNonce, sponsored } = transaction;
    this.nonces.set(origin, originNonce + 1n);
    if (sponsored) this.nonces.set(payer, payerNonce + 1n);
    return true;
  }
}

/**
 * Which blocks of a log need a checkpoint when it is run again: those that a fork starts from, and the last ones. The
 * others would only cost time.
 * @param {Operation[]} history
 * @param {number} first serial number of the tip before the log
 * @param {number} keep how many of the last blocks
 * @returns {(block: Block) => boolean}
 */
function blocksWorthKeeping(history, first, keep) {
  const branch = [first];
  let serial = first;
  /** @type {Set<number>} */
  const wanted = new Set();
  for (const operation of history) {
    if (operation.op === 'fork') {
      branch.length -= operation.depth;
      wanted.add(branch[branch.length - 1]);
    }
    const blocks = operation.op === 'fork' ? operation.blocks : operation.op === 'block' ? 1 : 0;
    for (let i = 0; i < blocks; i++) branch.push(++serial);
  }
  for (const block of branch.slice(-keep)) wanted.add(block);
  return (block) => wanted.has(block.serial);
}
