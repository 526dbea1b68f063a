import {
  Cl,
  TenureChangeCause,
  createAddress,
  createNakamotoCoinbasePayload,
  createTenureChangePayload,
} from '@stacks/transactions';
import { derive } from './hashes.js';
import { signTransaction } from './signing.js';

/**
 * The two transactions with which a miner begins its tenure: the tenure change and the coinbase.
 * @param {object} options
 * @param {import('./chain.js').Chain} options.chain its newest burn block is the one whose tenure opens
 * @param {import('./signing.js').Key} options.miner
 * @param {import('./signing.js').Network} options.network
 * @returns {import('./transaction.js').Transaction[]}
 */
export function openingTransactions({ chain, miner, network }) {
  const { tip, burnTip } = chain;
  const nonce = chain.nonceOf(miner.address);
  let tenureBlocks = 0;
  for (let block = tip; block.burn === tip.burn && block.parent; block = block.parent) tenureBlocks += 1;
  const change = createTenureChangePayload(
    burnTip.consensusHash,
    tip.burn.consensusHash,
    burnTip.consensusHash,
    tip.indexHash,
    tenureBlocks,
    TenureChangeCause.BlockFound,
    createAddress(miner.address).hash160,
  );
  // Nobody draws lots on a devnet: the proof is 80 bytes that look like one.
  const proof = Buffer.from(
    derive('vrf', burnTip.hash, 1) + derive('vrf', burnTip.hash, 2) + derive('vrf', burnTip.hash, 3),
    'hex',
  ).subarray(0, 80);
  const coinbase = createNakamotoCoinbasePayload(new Uint8Array(32), Cl.some(Cl.address(miner.address)), proof);
  return [change, coinbase].map((payload, i) =>
    signTransaction(payload, { key: miner, nonce: nonce + BigInt(i), feePerByte: 0, network }),
  );
}
