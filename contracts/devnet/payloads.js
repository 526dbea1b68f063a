import { signWithKey } from '@stacks/transactions';
import { GENESIS_PARENT_HASH, ZERO_HASH, derive } from './hashes.js';
import { nodeEvent } from './events.js';

/**
 * The JSON that a node posts to its observers and answers about its blocks, as in stacks-core's event dispatcher
 * (`stacks-node/src/event_dispatcher/payloads.rs`).
 *
 * @typedef {import('./chain.js').Block} Block
 * @typedef {import('./chain.js').BurnBlock} BurnBlock
 * @typedef {import('./chain.js').Receipt} Receipt
 * @typedef {typeof DROP_REASONS[number]} DropReason
 */

/** The simnet does not meter expressions, so no cost is claimed. */
export const NO_COST = { read_count: 0, read_length: 0, runtime: 0, write_count: 0, write_length: 0 };
/** Why a node drops a transaction from its mempool. */
export const DROP_REASONS = /** @type {const} */ ([
  'ReplaceByFee',
  'ReplaceAcrossFork',
  'TooExpensive',
  'StaleGarbageCollect',
  'Problematic',
]);
/** One signer of one: a vector of one bit, as length, byte count and bits. */
const ONE_SIGNER = '00010000000101';

/** @param {string} hash */
const hex = (hash) => `0x${hash}`;

/**
 * Body of POST /new_block.
 * @param {Block} block
 * @param {string} minerKey private key that signs as miner and as the only signer
 */
export function newBlock(block, minerKey) {
  const { parent, burn } = block;
  const parentBurn = parent?.burn ?? burn;
  let eventIndex = 0;
  return {
    block_hash: hex(block.hash),
    block_height: block.height,
    block_time: parent ? block.time : null,
    burn_block_hash: hex(burn.hash),
    burn_block_height: burn.height,
    miner_txid: hex(parent ? derive('block commit', burn.hash) : ZERO_HASH),
    burn_block_time: burn.time ?? 0,
    index_block_hash: hex(block.indexHash),
    parent_block_hash: hex(parent ? parent.hash : GENESIS_PARENT_HASH),
    parent_index_block_hash: hex(parent ? parent.indexHash : GENESIS_PARENT_HASH),
    parent_microblock: hex(ZERO_HASH),
    parent_microblock_sequence: 0,
    matured_miner_rewards: [],
    events: block.receipts.flatMap(({ transaction, events }) =>
      events.map((event) => nodeEvent(event, transaction.txid, eventIndex++)),
    ),
    transactions: block.receipts.map(transactionReceipt),
    parent_burn_block_hash: hex(parentBurn.hash),
    parent_burn_block_height: parentBurn.height,
    parent_burn_block_timestamp: parentBurn.time ?? 0,
    anchored_cost: NO_COST,
    confirmed_microblocks_cost: NO_COST,
    // Every earlier proof of transfer is over: the chain begins in epoch 4.0.
    pox_v1_unlock_height: 0,
    pox_v2_unlock_height: 0,
    pox_v3_unlock_height: 0,
    pox_v4_unlock_height: 0,
    signer_bitvec: parent ? ONE_SIGNER : null,
    reward_set: null,
    cycle_number: null,
    tenure_height: block.tenureHeight,
    consensus_hash: hex(burn.consensusHash),
    ...(parent && {
      signer_signature_hash: hex(block.hash),
      miner_signature: hex(signWithKey(minerKey, block.hash)),
      signer_signature: [signWithKey(minerKey, block.indexHash)],
    }),
  };
}

/**
 * One entry of `transactions` in POST /new_block.
 * @param {Receipt} receipt
 * @param {number} index
 */
function transactionReceipt({ transaction, status, result, vmError, abi }, index) {
  return {
    txid: hex(transaction.txid),
    tx_index: index,
    status,
    raw_result: hex(result),
    raw_tx: hex(transaction.hex),
    contract_interface: abi,
    burnchain_op: null,
    execution_cost: NO_COST,
    microblock_sequence: null,
    microblock_hash: null,
    microblock_parent_hash: null,
    vm_error: vmError,
  };
}

/**
 * Body of POST /new_burn_block.
 * @param {BurnBlock} burn
 */
export function newBurnBlock(burn) {
  return {
    burn_block_hash: hex(burn.hash),
    burn_block_height: burn.height,
    consensus_hash: hex(burn.consensusHash),
    parent_burn_block_hash: hex(burn.parentHash),
    reward_recipients: [],
    reward_slot_holders: [],
    burn_amount: 0,
    pox_transactions: [],
  };
}

/**
 * Body of POST /drop_mempool_tx.
 * @param {string[]} txids
 * @param {DropReason} reason
 * @param {string | null} [newTxid]
 */
export function dropMempoolTx(txids, reason, newTxid = null) {
  return { dropped_txids: txids.map(hex), reason, new_txid: newTxid === null ? null : hex(newTxid) };
}

/**
 * Answer of GET /v3/blocks/replay. Its hashes have no 0x, and `event_index` starts again with each transaction.
 * @param {Block} block
 */
export function replayedBlock(block) {
  return {
    block_id: block.indexHash,
    block_hash: block.hash,
    block_height: block.height,
    parent_block_id: block.parent?.indexHash ?? GENESIS_PARENT_HASH,
    consensus_hash: block.burn.consensusHash,
    timestamp: block.time,
    fees: Number(block.receipts.reduce((sum, { transaction }) => sum + transaction.fee, 0n)),
    transactions: block.receipts.map(({ transaction, status, result, events, vmError }, index) => ({
      txid: transaction.txid,
      tx_index: index,
      hex: transaction.hex,
      result_hex: hex(result),
      events: events.map((event, eventIndex) => nodeEvent(event, transaction.txid, eventIndex)),
      post_condition_aborted: status === 'abort_by_post_condition',
      vm_error: vmError,
      execution_cost: NO_COST,
    })),
  };
}

/**
 * What the control routes say about a block.
 * @param {Block} block
 */
export function blockSummary(block) {
  return {
    height: block.height,
    block_hash: hex(block.hash),
    index_block_hash: hex(block.indexHash),
    parent_index_block_hash: hex(block.parent?.indexHash ?? GENESIS_PARENT_HASH),
    burn_block_height: block.burn.height,
    burn_block_hash: hex(block.burn.hash),
    tenure_height: block.tenureHeight,
    block_time: block.time,
    txids: block.receipts.map(({ transaction }) => hex(transaction.txid)),
  };
}

/** @param {BurnBlock} burn */
export function burnSummary(burn) {
  return {
    height: burn.height,
    burn_block_hash: hex(burn.hash),
    parent_burn_block_hash: hex(burn.parentHash),
    consensus_hash: hex(burn.consensusHash),
  };
}
