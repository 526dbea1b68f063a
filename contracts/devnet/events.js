/**
 * Simnet events as the node posts them.
 *
 * @typedef {import('./vm.js').SimnetEvent} SimnetEvent
 * @typedef {Record<string, unknown> & {txid: string, event_index: number, committed: true, type: string}} NodeEvent
 */

/**
 * @param {SimnetEvent} event
 * @param {string} txid without 0x
 * @param {number} index `event_index`
 * @returns {NodeEvent}
 */
export function nodeEvent({ event, data }, txid, index) {
  const type = event === 'print_event' ? 'contract_event' : event;
  const { value: _decoded, ...inner } = data;
  return { txid: `0x${txid}`, event_index: index, committed: true, type, [type]: inner };
}
