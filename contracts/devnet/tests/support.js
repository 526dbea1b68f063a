import { spawn } from 'node:child_process';
import { createServer } from 'node:http';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import {
  Cl,
  PostConditionMode,
  getAddressFromPrivateKey,
  makeContractCall,
  makeContractDeploy,
  makeSTXTokenTransfer,
} from '@stacks/transactions';

/**
 * @typedef {import('@stacks/transactions').ClarityValue} ClarityValue
 * @typedef {object} Options what a test may say about a transaction
 * @property {bigint} [nonce]
 * @property {number} [fee]
 * @property {boolean} [sponsored]
 * @property {string} [memo]
 * @property {'testnet' | 'mainnet'} [network]
 * @property {PostConditionMode} [postConditionMode]
 * @property {import('@stacks/transactions').PostCondition[]} [postConditions]
 */

const MAIN = fileURLToPath(new URL('../main.js', import.meta.url));

/** @param {number} number @returns {{key: string, address: string}} */
export function account(number) {
  const key = `${number.toString(16).padStart(64, '0')}01`;
  return { key, address: getAddressFromPrivateKey(key, 'testnet') };
}

/** A devnet in a process of its own, as a user runs it. */
export class Node {
  /** @param {import('node:child_process').ChildProcess} child @param {string} url @param {string[]} errors */
  constructor(child, url, errors) {
    this.child = child;
    this.url = url;
    this.errors = errors;
  }

  /**
   * Starts one that mines only on request.
   * @param {...string} options
   * @returns {Promise<Node>}
   */
  static async start(...options) {
    const manual = [
      '--port',
      '0',
      '--block-interval-ms',
      '0',
      '--burn-interval-ms',
      '0',
      '--genesis-time',
      '1800000000',
    ];
    // Without the optimizing compiler the simnet starts in half the time.
    const child = spawn(process.execPath, ['--liftoff-only', MAIN, ...manual, ...options], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const end = () => child.kill('SIGKILL');
    process.once('exit', end);
    child.once('exit', () => process.removeListener('exit', end));
    /** @type {string[]} */
    const errors = [];
    createInterface({ input: child.stderr }).on('line', (line) => errors.push(line));
    for await (const line of createInterface({ input: child.stdout }))
      return new Node(child, JSON.parse(line).url, errors);
    throw new Error(`the devnet did not start: ${errors.join('\n')}`);
  }

  /** @param {string} path @param {unknown} [body] posted when given */
  async request(path, body) {
    const init =
      body === undefined
        ? {}
        : { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) };
    const response = await fetch(this.url + path, init);
    const text = await response.text();
    const json = response.headers.get('content-type') === 'application/json';
    return { status: response.status, body: json ? JSON.parse(text) : text };
  }

  /** @param {string} path @param {unknown} [body] */
  async ok(path, body) {
    const answer = await this.request(path, body);
    if (answer.status !== 200) throw new Error(`${path}: ${answer.status} ${JSON.stringify(answer.body)}`);
    return answer.body;
  }

  /** @param {import('@stacks/transactions').StacksTransactionWire} transaction */
  async submit(transaction) {
    const response = await fetch(`${this.url}/v2/transactions`, {
      method: 'POST',
      headers: { 'content-type': 'application/octet-stream' },
      body: Buffer.from(transaction.serializeBytes()),
    });
    return { status: response.status, body: await response.json() };
  }

  /** Submits, expects acceptance. @param {import('@stacks/transactions').StacksTransactionWire} transaction @returns {Promise<string>} txid with 0x */
  async send(transaction) {
    const { status, body } = await this.submit(transaction);
    if (status !== 200) throw new Error(`refused: ${JSON.stringify(body)}`);
    return `0x${body}`;
  }

  /** Mines one block. @returns {Promise<any>} the replayed block */
  async mine() {
    const { blocks } = await this.ok('/devnet/mine', {});
    return this.ok(`/v3/blocks/replay/${blocks[0].index_block_hash}`);
  }

  status() {
    return this.ok('/devnet/status');
  }

  /** @param {string} address */
  async nonce(address) {
    return BigInt((await this.ok(`/v2/accounts/${address}?proof=0`)).nonce);
  }

  /** @param {string} address */
  async balance(address) {
    return BigInt((await this.ok(`/v2/accounts/${address}?proof=0`)).balance);
  }

  /** @param {string} contract @param {string} name @param {...ClarityValue} args */
  async read(contract, name, ...args) {
    const body = await this.ok(`/v2/contracts/call-read/${contract.replace('.', '/')}/${name}`, {
      sender: account(1).address,
      arguments: args.map((arg) => `0x${Cl.serialize(arg)}`),
    });
    return body.okay ? Cl.prettyPrint(Cl.deserialize(body.result)) : body;
  }

  /** @param {NodeJS.Signals} [signal] @returns {Promise<number | null>} exit code */
  async stop(signal = 'SIGTERM') {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return this.child.exitCode;
    const exited = new Promise((resolve) => this.child.once('exit', (code) => resolve(code)));
    this.child.kill(signal);
    return exited;
  }
}

const COMMON = { network: /** @type {const} */ ('testnet'), fee: 2000, postConditionMode: PostConditionMode.Allow };

/**
 * Signers of one account that count its nonce.
 * @param {number} number
 */
export function signer(number) {
  const { key, address } = account(number);
  let next = 0n;
  /** The given options, with the next nonce unless they name one. @param {Options} options */
  const complete = (options) => ({ ...COMMON, senderKey: key, ...options, nonce: options.nonce ?? next++ });
  return {
    key,
    address,
    get nonce() {
      return next;
    },
    set nonce(value) {
      next = value;
    },
    /** @param {string} recipient @param {bigint | number} amount @param {Options} [options] */
    transfer: (recipient, amount, options = {}) => makeSTXTokenTransfer({ recipient, amount, ...complete(options) }),
    /** @param {string} contractName @param {string} codeBody @param {Options} [options] */
    deploy: (contractName, codeBody, options = {}) =>
      makeContractDeploy({ contractName, codeBody, clarityVersion: 4, ...complete({ fee: 10_000, ...options }) }),
    /** @param {string} contract @param {string} functionName @param {ClarityValue[]} [functionArgs] @param {Options} [options] */
    call: (contract, functionName, functionArgs = [], options = {}) => {
      const [contractAddress, contractName] = contract.split('.');
      return makeContractCall({ contractAddress, contractName, functionName, functionArgs, ...complete(options) });
    },
  };
}

/** An event observer that answers as told and remembers what it was sent. */
export class TestObserver {
  constructor() {
    /** @type {{path: string, body: any, status: number | 'silence'}[]} every post, also those refused */
    this.posts = [];
    /** @type {(attempt: number) => number | 'silence'} status for the n-th post */
    this.answer = () => 200;
    /** @type {{holds: () => boolean, resolve: (value: unknown) => void}[]} */
    this.waiting = [];
    this.server = createServer(async (request, response) => {
      const chunks = [];
      for await (const chunk of request) chunks.push(chunk);
      const status = this.answer(this.posts.length);
      this.posts.push({ path: request.url ?? '', body: JSON.parse(Buffer.concat(chunks).toString()), status });
      if (status !== 'silence') response.writeHead(status, { 'content-type': 'application/json' }).end('{}');
      this.waiting = this.waiting.filter(({ holds, resolve }) => !holds() || resolve(undefined));
    });
  }

  /** @param {number} [port] @returns {Promise<string>} URL */
  async listen(port = 0) {
    await new Promise((resolve) => this.server.listen(port, '127.0.0.1', () => resolve(undefined)));
    return `http://127.0.0.1:${this.port}`;
  }

  get port() {
    return /** @type {import('node:net').AddressInfo} */ (this.server.address()).port;
  }

  /** Accepted posts in order. */
  get accepted() {
    return this.posts.filter(({ status }) => status === 200);
  }

  /** Bodies of the accepted posts of one path. @param {string} path */
  bodies(path) {
    return this.accepted.filter((post) => post.path === path).map(({ body }) => body);
  }

  /** Waits until a condition on the posts holds. @param {() => boolean} holds */
  async until(holds) {
    if (holds()) return;
    await new Promise((resolve) => this.waiting.push({ holds, resolve }));
  }

  /** Waits for the block with this index hash. @param {string} hash */
  untilBlock(hash) {
    return this.until(() => this.bodies('/new_block').some((block) => block.index_block_hash === hash));
  }

  close() {
    this.server.closeAllConnections();
    return new Promise((resolve) => this.server.close(resolve));
  }
}

/** A contract that touches everything a test wants to see: variables, maps, both token kinds, STX, errors, heights. */
export const VAULT = `
(define-fungible-token gold)
(define-non-fungible-token deed uint)
(define-data-var total uint u0)
(define-map deposits principal uint)
(define-trait named ((get-name () (response (string-ascii 10) uint))))

(define-read-only (get-total) (var-get total))
(define-read-only (get-deposit (who principal)) (map-get? deposits who))
(define-read-only (get-gold (who principal)) (ft-get-balance gold who))
(define-read-only (heights) {stacks: stacks-block-height, burn: burn-block-height, tenure: tenure-height, time: stacks-block-time})
(define-public (get-name) (ok "vault"))
(define-public (name-of (other <named>)) (contract-call? other get-name))

(define-public (deposit (amount uint))
  (begin
    (try! (stx-transfer? amount tx-sender current-contract))
    (map-set deposits tx-sender (+ amount (default-to u0 (map-get? deposits tx-sender))))
    (var-set total (+ amount (var-get total)))
    (print {event: "deposit", who: tx-sender, caller: contract-caller, amount: amount, height: stacks-block-height, burn: burn-block-height})
    (ok amount)))
(define-public (mint-gold (amount uint)) (ft-mint? gold amount tx-sender))
(define-public (send-gold (amount uint) (to principal)) (ft-transfer? gold amount tx-sender to))
(define-public (burn-gold (amount uint)) (ft-burn? gold amount tx-sender))
(define-public (mint-deed (id uint)) (nft-mint? deed id tx-sender))
(define-public (send-deed (id uint) (to principal)) (nft-transfer? deed id tx-sender to))
(define-public (burn-stx (amount uint)) (stx-burn? amount tx-sender))
(define-public (payout (amount uint) (to principal))
  (as-contract? ((with-stx amount)) (try! (stx-transfer? amount tx-sender to))))
(define-public (touch-and-divide (by uint)) (begin (var-set total u999) (ok (/ u1 by))))
(define-public (touch-and-refuse) (begin (var-set total u998) (try! (ft-mint? gold u5 tx-sender)) (err u7)))
(define-public (attach (index uint) (hash (buff 20)))
  (begin (print {attachment: {attachment-index: index, hash: hash, metadata: {name: "x"}}}) (ok true)))
(define-public (echo
    (a int) (b uint) (c bool) (d principal) (e (buff 8)) (f (string-ascii 8)) (g (string-utf8 8))
    (h (optional uint)) (i (response uint bool)) (j (list 3 int)) (k {x: int, y: (optional (buff 2))}))
  (ok {a: a, b: b, c: c, d: d, e: e, f: f, g: g, h: h, i: i, j: j, k: k}))
`;
