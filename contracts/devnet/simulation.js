import { nodeEvent } from './events.js';
import { BlockExecution } from './execute.js';
import { NO_COST } from './payloads.js';
import { Rejection } from './rejection.js';
import { deployOf, isDeploy, verifySignatures } from './transaction.js';

/**
 * What a tenure may cost in epoch 4.0; the devnet meters nothing, so a simulation never comes near it
 * (stacks-core, stackslib/src/core/mod.rs, BLOCK_LIMIT_MAINNET_21).
 */
const EXECUTION_LIMIT = {
  write_length: 15_000_000,
  write_count: 15_000,
  read_length: 100_000_000,
  read_count: 15_000,
  runtime: 5_000_000_000,
};

/** A transaction that could not be in a block now. */
export class SimulationError extends Error {
  name = 'SimulationError';
}

/**
 * Runs a transaction in a block on top of the tip, in the tip's tenure, and undoes it: the answer of
 * `POST /v3/transactions/simulate` (stacks-core, stackslib/src/net/api/txsimulate.rs). As in a block, its signature must
 * hold, its nonce must be the account's next, and its payer must have the fee; there is no least fee.
 * @param {import('./devnet.js').Devnet} devnet
 * @param {import('./transaction.js').Transaction} transaction
 * @throws {SimulationError}
 */
export function simulate({ vm, chain, miner, network }, transaction) {
  checkAdmissible(transaction, chain, network);
  vm.checkpoint();
  try {
    const execution = new BlockExecution(vm, { feeRecipient: miner.address, opening: [] });
    execution.open(isDeploy(transaction) ? [transaction] : []);
    if (!isDeploy(transaction)) execution.run(transaction);
    const [receipt] = execution.receipts;
    if (receipt === undefined)
      throw new SimulationError(`Error processing transaction: ${transaction.payer} cannot pay it`);
    const aborted = receipt.status === 'abort_by_post_condition';
    const events = aborted ? [] : receipt.events.map((event, i) => nodeEvent(event, transaction.txid, i));
    return {
      txid: transaction.txid,
      tip_block_id: chain.tip.indexHash,
      consensus_hash: chain.tip.burn.consensusHash,
      block_height: chain.tip.height + 1,
      result_hex: `0x${receipt.result}`,
      stx_burned: burned(events),
      execution_cost: NO_COST,
      execution_limit: EXECUTION_LIMIT,
      events,
      post_condition_aborted: aborted,
      vm_error: receipt.vmError,
    };
  } finally {
    vm.revert();
  }
}

/**
 * @param {import('./transaction.js').Transaction} transaction
 * @param {import('./chain.js').Chain} chain
 * @param {import('./signing.js').Network} network
 */
function checkAdmissible(transaction, chain, { chainId, mainnet }) {
  const { wire, origin, originNonce, payer, payerNonce, sponsored } = transaction;
  const refuse = (/** @type {string} */ why) => {
    throw new SimulationError(`Error processing transaction: ${why}`);
  };
  if (wire.chainId !== chainId) refuse(`invalid chain ID ${wire.chainId} (expected ${chainId})`);
  if ((wire.transactionVersion === 0x00) !== mainnet) refuse(`on ${mainnet ? 'mainnet' : 'testnet'}`);
  try {
    verifySignatures(transaction);
  } catch (error) {
    if (!(error instanceof Rejection)) throw error;
    refuse(error.message);
  }
  for (const [account, nonce] of /** @type {const} */ ([
    [origin, originNonce],
    ...(sponsored ? [[payer, payerNonce]] : []),
  ])) {
    const next = chain.nonceOf(String(account));
    if (nonce !== next) refuse(`nonce of ${account} is ${next}, not ${nonce}`);
  }
  if (isDeploy(transaction) && chain.contracts.has(deployOf(transaction).id)) refuse('the contract exists already');
}

/** @param {Record<string, unknown>[]} events */
function burned(events) {
  return events.reduce((sum, event) => {
    const burn = /** @type {{amount: string} | undefined} */ (event.stx_burn_event);
    return sum + (burn ? Number(burn.amount) : 0);
  }, 0);
}
