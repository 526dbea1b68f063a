import { createHash } from 'node:crypto';
import { Cl, serializeCV } from '@stacks/transactions';

/**
 * Attachments: content that travels beside a transaction, while the contract prints only its hash (as BNS does with
 * zone files). A print of `{attachment: {attachment-index, hash, metadata}}` whose content is known is announced.
 */
export class Attachments {
  constructor() {
    /** @type {Map<string, Buffer>} content by its RIPEMD-160 of SHA-256 */
    this.contents = new Map();
  }

  /** @param {Buffer} content */
  add(content) {
    const hash = createHash('ripemd160').update(createHash('sha256').update(content).digest()).digest('hex');
    this.contents.set(hash, content);
  }

  /**
   * Body of POST /attachments/new.
   * @param {import('./chain.js').Block} block
   * @returns {Record<string, unknown>[]} empty when the block refers to none
   */
  announcedIn(block) {
    return block.receipts.flatMap(({ transaction, events }) =>
      events.flatMap(({ event, data }) => {
        if (event !== 'print_event') return [];
        const printed = Cl.deserialize(/** @type {string} */ (data.raw_value));
        const attachment = printed.type === 'tuple' ? printed.value.attachment : undefined;
        if (attachment?.type !== 'tuple') return [];
        const { 'attachment-index': index, hash, metadata } = attachment.value;
        if (index?.type !== 'uint' || hash?.type !== 'buffer' || metadata === undefined) return [];
        const content = this.contents.get(hash.value);
        if (content === undefined) return [];
        return [
          {
            attachment_index: Number(index.value),
            index_block_hash: `0x${block.indexHash}`,
            block_height: block.height,
            content_hash: `0x${hash.value}`,
            contract_id: data.contract_identifier,
            metadata: `0x${serializeCV(metadata)}`,
            tx_id: `0x${transaction.txid}`,
            content: `0x${content.toString('hex')}`,
          },
        ];
      }),
    );
  }
}
