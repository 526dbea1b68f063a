/** A transaction that the mempool refuses, with the node's reason code and data. */
export class Rejection extends Error {
  name = 'Rejection';

  /**
   * @param {string} reason the node's code, e.g. `BadNonce`
   * @param {Record<string, unknown>} [data]
   */
  constructor(reason, data) {
    super(data ? `${reason}: ${JSON.stringify(data)}` : reason);
    this.reason = reason;
    this.data = data;
  }

  /**
   * The body of the node's 400 answer.
   * @param {string} txid without 0x
   */
  toBody(txid) {
    return { error: 'transaction rejected', reason: this.reason, ...(this.data && { reason_data: this.data }), txid };
  }
}
