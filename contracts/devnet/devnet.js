import { Chain } from './chain.js';
import { BlockExecution } from './execute.js';
import { createGenesis, deriveKey } from './genesis.js';
import { Mempool } from './mempool.js';
import { dropMempoolTx, newBlock, newBurnBlock } from './payloads.js';
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
   * @param {(operation: Operation) => void} options.log
   * @param {import('./observer.js').Observers} options.observers
   */
  constructor({ vm, seed, chainId, log, observers }) {
    this.vm = vm;
    this.chainId = chainId;
    this.mainnet = chainId === 1;
    this.log = log;
    this.observers = observers;
    this.mempool = new Mempool();
    const { faucet, contracts } = createGenesis(vm, { seed, chainId, mainnet: this.mainnet });
    this.faucet = faucet;
    this.miner = deriveKey('miner', seed, this.mainnet);
    this.chain = new Chain({ seed, contracts });
    this.forks = 0;
    this.postBlock(this.chain.tip);
    this.announceBurnBlock();
    while (this.chain.tip.height < vm.height) {
      const height = this.chain.tip.height + 1;
      const { result } = vm.execute(this.faucet.address, `(unwrap-panic (get-stacks-block-info? time u${height - (height === vm.height ? 1 : 0)}))`);
      this.chain.addBlock({ time: Number(/** @type {{value: bigint}} */ (result).value), receipts: [] });
      this.postBlock(this.chain.tip);
    }
  }

  /**
   * Takes a transaction into the mempool; one that is known already changes nothing.
   * @param {Transaction} transaction
   * @throws {import('./rejection.js').Rejection}
   */
  submit(transaction) {
    const { txid } = transaction;
    if (this.mempool.has(txid) || this.chain.transactions.has(txid)) return;
    const replaced = this.mempool.admit(transaction, this.admissionState(), this.chain.tip.height);
    this.log({ op: 'tx', hex: transaction.hex });
    this.observers.post('/new_mempool_tx', () => [`0x${transaction.hex}`]);
    if (replaced.length > 0) {
      this.observers.post('/drop_mempool_tx', () => dropMempoolTx(replaced.map((old) => old.txid), 'ReplaceByFee', txid));
    }
  }

  /**
   * Mines one Stacks block; it opens the tenure of a burn block that was announced before it.
   * @returns {Block}
   */
  mine() {
    const block = this.buildBlock();
    this.log({ op: 'block' });
    return block;
  }

  /**
   * Announces a burn block. Its tenure opens with the next Stacks block; a burn block whose tenure is still to open
   * gets that block first, for the simnet has no burn block without one.
   * @returns {BurnBlock}
   */
  burn() {
    if (this.chain.tenurePending) this.buildBlock();
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
    const available = this.vm.undo.length;
    if (depth < 1 || depth > available) throw new RangeError(`depth must be between 1 and ${available}, the blocks that can be rolled back`);
    const forkPoint = chain.blocks[chain.tip.height - depth];
    const replacedBurns = chain.burnTip.height - forkPoint.burn.height;
    const least = Math.max(depth, replacedBurns) + 1;
    if (blocks < least) throw new RangeError(`blocks must be at least ${least} for the new branch to become canonical`);
    this.log({ op: 'fork', depth, blocks, keep });

    const { blocks: oldBlocks, burns: oldBurns } = chain.rollBack(depth);
    this.vm.rewind(depth);
    this.forks += 1;
    const rolledBack = oldBlocks.flatMap(({ receipts }) => receipts.map(({ transaction }) => transaction));
    const returned = keep ? this.mempool.putBack(rolledBack, chain.tip.height) : [];
    const dropped = rolledBack.filter((transaction) => !returned.includes(transaction));
    if (dropped.length > 0) this.observers.post('/drop_mempool_tx', () => dropMempoolTx(dropped.map(({ txid }) => txid), 'ReplaceAcrossFork'));

    const tenures = oldBurns.length + 1;
    const newBurns = Array.from({ length: tenures }, () => chain.addBurnBlock());
    for (const burn of newBurns) this.observers.post('/new_burn_block', () => newBurnBlock(burn));
    const newBlocks = [];
    // The tenures open evenly over the new branch, the first with its first block.
    chain.burns.length -= tenures;
    for (let i = 0; i < blocks; i++) {
      if (i === 0 || Math.floor((i * tenures) / blocks) > Math.floor(((i - 1) * tenures) / blocks)) chain.burns.push(newBurns[chain.burns.length - forkPoint.burn.height - 1]);
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
    const bytes =
      asset === 'stx'
        ? this.faucet.sendStx(recipient, amount, nonce)
        : this.faucet.mintSbtc(recipient, amount, nonce, this.chain.tip.burn.height);
    const transaction = decodeTransaction(bytes, this.mainnet);
    this.submit(transaction);
    return transaction;
  }

  /** @param {Operation} operation an entry of the log */
  apply(operation) {
    switch (operation.op) {
      case 'tx':
        this.submit(decodeTransaction(Buffer.from(operation.hex, 'hex'), this.mainnet));
        return;
      case 'block':
        this.mine();
        return;
      case 'burn':
        this.burn();
        return;
      case 'fork':
        this.fork(operation);
        return;
    }
  }

  /**
   * @param {string} address
   * @returns {{unlocked: bigint, locked: bigint, unlockHeight: number}} microSTX
   */
  account(address) {
    const { result } = this.vm.execute(this.faucet.address, `(stx-account '${address})`);
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
    return this.chain.contracts.get(id)?.source ?? this.vm.simnet.getContractSource(id);
  }

  /** @returns {import('./mempool.js').State} */
  admissionState() {
    return {
      mainnet: this.mainnet,
      chainId: this.chainId,
      nonceOf: (address) => this.chain.nonceOf(address),
      balanceOf: (address) => this.account(address).unlocked,
      hasContract: (id) => this.contractSource(id) !== undefined,
      abiOf: (id) => this.chain.contracts.get(id)?.abi ?? null,
    };
  }

  /** @returns {BurnBlock} */
  announceBurnBlock() {
    const burn = this.chain.addBurnBlock();
    this.observers.post('/new_burn_block', () => newBurnBlock(burn));
    return burn;
  }

  /** @returns {Block} */
  buildBlock() {
    const { chain, vm, mempool } = this;
    const opensTenure = chain.tenurePending;
    const execution = new BlockExecution(vm, { opensTenure, feeRecipient: this.miner.address });
    const nonces = new Map();
    const nonceOf = (/** @type {string} */ address) => nonces.get(address) ?? chain.nonceOf(address);
    const isNext = (/** @type {Transaction} */ { origin, originNonce, payer, payerNonce, sponsored }) =>
      nonceOf(origin) === originNonce && (!sponsored || nonceOf(payer) === payerNonce);
    const take = (/** @type {Transaction} */ { origin, originNonce, payer, payerNonce, sponsored }) => {
      nonces.set(origin, originNonce + 1n);
      if (sponsored) nonces.set(payer, payerNonce + 1n);
    };

    /** @type {Transaction[]} */
    const deploys = [];
    const others = [];
    for (const { transaction } of mempool.entries.values()) {
      if (!isDeploy(transaction)) others.push(transaction);
      else if (!opensTenure && isNext(transaction) && deploys.length < MAX_BLOCK_TRANSACTIONS) {
        deploys.push(transaction);
        take(transaction);
      }
    }
    execution.open(deploys);
    nonces.clear();
    for (const { transaction } of execution.receipts) take(transaction);
    for (let waiting = others, progress = true; progress && execution.receipts.length < MAX_BLOCK_TRANSACTIONS; ) {
      progress = false;
      const later = [];
      for (const transaction of waiting) {
        if (execution.receipts.length < MAX_BLOCK_TRANSACTIONS && isNext(transaction) && execution.run(transaction)) {
          take(transaction);
          progress = true;
        } else later.push(transaction);
      }
      waiting = later;
    }

    const block = chain.addBlock({ time: vm.time, receipts: execution.receipts });
    if (vm.height !== block.height || vm.burnHeight !== block.burn.height) {
      throw new Error(`the simnet is at ${vm.height}/${vm.burnHeight}, the chain at ${block.height}/${block.burn.height}`);
    }
    vm.checkpoint();
    for (const { transaction } of execution.receipts) mempool.remove(transaction.txid);
    this.postBlock(block);
    const stale = mempool.collectStale(block.height);
    if (stale.length > 0) this.observers.post('/drop_mempool_tx', () => dropMempoolTx(stale, 'StaleGarbageCollect'));
    return block;
  }

  /** @param {Block} block */
  postBlock(block) {
    this.observers.post('/new_block', () => newBlock(block, this.miner.privateKey));
  }
}
