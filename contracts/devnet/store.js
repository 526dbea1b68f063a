import { closeSync, existsSync, ftruncateSync, mkdirSync, openSync, readFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';

/**
 * @typedef {{op: 'genesis', version: 1, seed: string, chainId: number, time: number}} Genesis
 * @typedef {{op: 'tx', hex: string, attachment?: string} | {op: 'burn'} | {op: 'block'} | {op: 'fork', depth: number, blocks: number, keep: boolean} | {op: 'congestion', congestion: import('./congestion.js').Congestion | null} | {op: 'drop', txids: string[], reason: import('./payloads.js').DropReason}} Operation
 * @typedef {Record<string, number>} Delivered number of the last post that each observer acknowledged
 */

/**
 * The devnet on disk: a log of everything that changed the chain, which gives the same chain when it is run again, and
 * how far each observer has read. One JSON value a line; a last line that a kill cut short is dropped.
 */
export class Store {
  /** @param {string} directory made when missing */
  constructor(directory) {
    mkdirSync(directory, { recursive: true });
    this.operations = new Log(join(directory, 'operations.jsonl'));
    this.deliveries = new Log(join(directory, 'delivered.jsonl'));
  }

  /** @returns {Operation[]} what happened since genesis */
  history() {
    return /** @type {Operation[]} */ (this.operations.lines.slice(1));
  }

  /** @returns {Genesis | null} null when the directory holds no chain yet */
  genesis() {
    const [first] = this.operations.lines;
    if (first === undefined) return null;
    const genesis = /** @type {Genesis} */ (first);
    if (genesis.op !== 'genesis' || genesis.version !== 1)
      throw new Error(`${this.operations.path} is not a devnet log of version 1`);
    return genesis;
  }

  /** @returns {Delivered} */
  delivered() {
    return Object.assign({}, ...this.deliveries.lines);
  }

  /** @param {Genesis | Operation} operation */
  append(operation) {
    this.operations.append(operation);
  }

  /** @param {string} url @param {number} number of the post */
  acknowledge(url, number) {
    this.deliveries.append({ [url]: number });
  }

  close() {
    this.operations.close();
    this.deliveries.close();
  }
}

/** An append-only file of JSON lines. */
class Log {
  /** @param {string} path */
  constructor(path) {
    this.path = path;
    const text = existsSync(path) ? readFileSync(path, 'utf8') : '';
    const complete = text.slice(0, text.lastIndexOf('\n') + 1);
    /** @type {unknown[]} */
    this.lines = complete
      .split('\n')
      .filter(Boolean)
      .map((line, i) => {
        try {
          return JSON.parse(line);
        } catch {
          throw new Error(`${path}:${i + 1} is damaged; remove the directory to start a new chain`);
        }
      });
    this.file = openSync(path, 'a');
    ftruncateSync(this.file, Buffer.byteLength(complete));
  }

  /** @param {unknown} value */
  append(value) {
    writeSync(this.file, `${JSON.stringify(value)}\n`);
  }

  close() {
    closeSync(this.file);
  }
}
