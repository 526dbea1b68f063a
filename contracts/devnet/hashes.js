import { createHash } from 'node:crypto';

/** 32 zero bytes: the block hash of the genesis block and every unused hash field. */
export const ZERO_HASH = '00'.repeat(32);
/** The parent of the genesis block, as a node writes it. */
export const GENESIS_PARENT_HASH = 'ff'.repeat(32);

/**
 * SHA-512/256, the hash Stacks uses for blocks and transactions.
 * @param {string | Uint8Array} data
 * @returns {string} 64 hex digits
 */
export function sha512_256(data) {
  return createHash('sha512-256').update(data).digest('hex');
}

/**
 * A deterministic 32-byte hash of labelled parts; the same parts always give the same hash.
 * @param {...(string | number)} parts
 * @returns {string} 64 hex digits
 */
export function derive(...parts) {
  return sha512_256(JSON.stringify(parts));
}

/**
 * Name of a Stacks block across all forks: sha512/256(block hash || consensus hash).
 * @param {string} blockHash 64 hex digits
 * @param {string} consensusHash 40 hex digits
 * @returns {string} 64 hex digits
 */
export function indexBlockHash(blockHash, consensusHash) {
  return sha512_256(Buffer.from(blockHash + consensusHash, 'hex'));
}
