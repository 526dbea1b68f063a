import { ZERO_HASH, derive, indexBlockHash } from './hashes.js';
import { deployOf } from './transaction.js';

/**
 * The chain's records: Stacks blocks, burn blocks, accounts' nonces, contracts. What they mean is decided elsewhere.
 *
 * @typedef {import('./events.js').NodeEvent} NodeEvent
 * @typedef {import('@stacks/transactions').ClarityAbi} Abi
 * @typedef {object} BurnBlock A block of the Bitcoin chain that the devnet imagines.
 * @property {number} height
 * @property {string} hash 64 hex digits
 * @property {string} parentHash
 * @property {string} consensusHash 40 hex digits
 * @property {number | null} time Unix seconds, known once its tenure opens
 * @typedef {object} Receipt What a transaction did in its block.
 * @property {import('./transaction.js').Transaction} transaction
 * @property {'success' | 'abort_by_response' | 'abort_by_post_condition'} status
 * @property {string} result serialized Clarity value, no 0x
 * @property {import('./vm.js').SimnetEvent[]} events
 * @property {string | null} vmError
 * @property {Abi | null} abi interface of the contract that it deployed
 * @typedef {object} Block A Stacks block, canonical or not.
 * @property {number} serial counts all blocks of all branches, in the order in which they were made
 * @property {number} height
 * @property {string} hash 64 hex digits
 * @property {string} indexHash 64 hex digits
 * @property {Block | null} parent
 * @property {BurnBlock} burn its tenure's burn block
 * @property {number} tenureHeight
 * @property {number} time Unix seconds
 * @property {Receipt[]} receipts
 * @property {[address: string, nonce: bigint][]} formerNonces to put back when it is rolled back
 * @property {string[]} deployed contract identifiers
 * @typedef {{source: string, height: number, abi: Abi}} Contract
 */

export class Chain {
  /**
   * @param {{seed: string, contracts: Map<string, Contract>}} genesis
   */
  constructor({ seed, contracts }) {
    this.seed = seed;
    this.contracts = contracts;
    /** Number of forks so far: blocks of different branches never share a hash. */
    this.branch = 0;
    /** @type {Block[]} canonical blocks by height */
    this.blocks = [];
    /** @type {Map<string, Block>} every block ever, by index block hash */
    this.known = new Map();
    /** @type {BurnBlock[]} canonical burn blocks by height */
    this.burns = [];
    /** @type {Map<string, bigint>} next nonce of each account that sent something */
    this.nonces = new Map();
    /** @type {Map<string, {block: Block, index: number}>} canonical transactions by txid */
    this.transactions = new Map();

    const [burn] = this.nextBurnBlocks(1);
    this.burns.push({ ...burn, time: 0 });
    /** @type {Block} */
    const genesis = {
      serial: 0,
      height: 0,
      hash: ZERO_HASH,
      indexHash: indexBlockHash(ZERO_HASH, burn.consensusHash),
      parent: null,
      burn: this.burnTip,
      tenureHeight: 0,
      time: 0,
      receipts: [],
      formerNonces: [],
      deployed: [],
    };
    this.blocks.push(genesis);
    this.known.set(genesis.indexHash, genesis);
  }

  get tip() {
    return this.blocks[this.blocks.length - 1];
  }

  get burnTip() {
    return this.burns[this.burns.length - 1];
  }

  /** Whether the newest burn block still waits for the Stacks block that opens its tenure. */
  get tenurePending() {
    return this.burnTip !== this.tip.burn;
  }

  /**
   * The burn blocks that come next on this branch. They count once they are pushed to `burns`.
   * @param {number} count
   * @returns {BurnBlock[]}
   */
  nextBurnBlocks(count) {
    /** @type {BurnBlock[]} */
    const next = [];
    for (let i = 0; i < count; i++) {
      const height = this.burns.length + i;
      const parentHash = next[i - 1]?.hash ?? this.burns[height - 1]?.hash ?? ZERO_HASH;
      const hash = derive('burn block', this.seed, this.branch, height, parentHash);
      const consensusHash = height === 0 ? '00'.repeat(20) : derive('consensus', hash).slice(0, 40);
      next.push({ height, hash, parentHash, consensusHash, time: null });
    }
    return next;
  }

  /**
   * Appends a Stacks block in the tenure of the newest burn block.
   * @param {{time: number, receipts: Receipt[]}} content
   * @returns {Block}
   */
  addBlock({ time, receipts }) {
    const parent = this.tip;
    const burn = this.burnTip;
    const opensTenure = burn !== parent.burn;
    burn.time ??= time;
    const height = parent.height + 1;
    const hash = derive(
      'block',
      this.seed,
      this.branch,
      height,
      parent.indexHash,
      burn.hash,
      ...receipts.map(({ transaction }) => transaction.txid),
    );
    /** @type {Block} */
    const block = {
      serial: this.known.size,
      height,
      hash,
      indexHash: indexBlockHash(hash, burn.consensusHash),
      parent,
      burn,
      tenureHeight: parent.tenureHeight + (opensTenure ? 1 : 0),
      time,
      receipts,
      formerNonces: [],
      deployed: [],
    };
    receipts.forEach(({ transaction }, index) => this.transactions.set(transaction.txid, { block, index }));
    this.blocks.push(block);
    this.known.set(block.indexHash, block);
    for (const { transaction, abi } of receipts) {
      this.bumpNonce(block, transaction.origin);
      if (transaction.sponsored) this.bumpNonce(block, transaction.payer);
      if (abi) {
        const { id, source } = deployOf(transaction);
        this.contracts.set(id, { source, height, abi });
        block.deployed.push(id);
      }
    }
    return block;
  }

  /** @param {Block} block @param {string} address */
  bumpNonce(block, address) {
    const nonce = this.nonceOf(address);
    block.formerNonces.push([address, nonce]);
    this.nonces.set(address, nonce + 1n);
  }

  /**
   * Takes the newest `depth` blocks off the canonical chain, with the burn blocks that anchored nothing else, and
   * starts a new branch.
   * @param {number} depth
   * @returns {{blocks: Block[], burns: BurnBlock[]}} what was rolled back, lowest first
   */
  rollBack(depth) {
    const blocks = this.blocks.splice(this.blocks.length - depth);
    for (const block of [...blocks].reverse()) {
      for (const [address, nonce] of [...block.formerNonces].reverse()) this.nonces.set(address, nonce);
      for (const id of block.deployed) this.contracts.delete(id);
      for (const { transaction } of block.receipts) this.transactions.delete(transaction.txid);
    }
    const burns = this.burns.splice(this.tip.burn.height + 1);
    this.branch += 1;
    return { blocks, burns };
  }

  /**
   * @param {string} address
   * @returns {bigint} the nonce that the account's next transaction must have
   */
  nonceOf(address) {
    return this.nonces.get(address) ?? 0n;
  }
}
