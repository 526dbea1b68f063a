/**
 * The Clarity virtual machine: Clarinet's simnet, with checkpoints of its memory.
 *
 * The simnet has no notion of a fork. Its whole state lives in one WebAssembly memory, so a checkpoint keeps the
 * pages that changed since the one before, and going back writes them again.
 */

/** What a checkpoint keeps at a time, in bytes: small, for a block changes little here and there. */
const PAGE = 512;
/** What is compared at a time before looking closer: the unit in which WebAssembly memory grows. */
const CHUNK = 65536;

/**
 * @typedef {import('@stacks/clarinet-sdk').Simnet} Simnet
 * @typedef {import('@stacks/transactions').ClarityValue} ClarityValue
 * @typedef {{event: string, data: Record<string, unknown>}} SimnetEvent
 * @typedef {{result: ClarityValue, events: SimnetEvent[]}} Execution
 * @typedef {{exports: Record<string, unknown>}} InstanceLike
 * @typedef {object} Undo The way from one checkpoint back to the one before it.
 * @property {number} height of the checkpoint before
 * @property {number} memoryBytes memory size before
 * @property {number} tableLength length of the table of JavaScript references before
 * @property {Uint32Array} pages indexes of the changed pages
 * @property {Buffer} bytes former contents of these pages, one after the other
 * @typedef {{memory: Buffer, references: unknown[]}} Snapshot The whole of a machine's state.
 */

/**
 * Runs `load` with WebAssembly.Instance replaced by a switch whose instance can be exchanged later, with the
 * simnet's console output silenced and its clock fixed.
 * @template T
 * @param {number} genesisTime Unix seconds that the simnet reads as "now"
 * @param {() => Promise<T>} load imports the SDK
 * @returns {Promise<{loaded: T, machine: Machine}>}
 */
async function loadSwitchable(genesisTime, load) {
  const { Instance } = WebAssembly;
  const { FinalizationRegistry } = globalThis;
  /** @type {Machine | undefined} */
  let machine;
  // The collector would free pointers that a restored memory no longer knows, or knows as something else.
  globalThis.FinalizationRegistry = /** @type {any} */ (
    class {
      register() {}
      unregister() {}
    }
  );
  WebAssembly.Instance = /** @type {any} */ (
    function switchable(/** @type {WebAssembly.Module} */ module, /** @type {WebAssembly.Imports} */ imports) {
      for (const functions of Object.values(imports)) {
        for (const name of Object.keys(functions)) {
          // The forms with one argument are the console's; the others belong to the panic hook.
          if (/^__wbg_(log|error|warn|info|debug)_/.test(name) && /** @type {Function} */ (functions[name]).length <= 1)
            functions[name] = () => {};
          if (/^__wbg_new_0_/.test(name)) functions[name] = () => new Date(genesisTime * 1000);
        }
      }
      machine = new Machine(() => new Instance(module, imports));
      return { exports: machine.exports };
    }
  );
  try {
    const loaded = await load();
    if (!machine)
      throw new Error(
        'the Clarinet SDK did not instantiate its WebAssembly module on import; this SDK version is not supported',
      );
    return { loaded, machine };
  } finally {
    WebAssembly.Instance = Instance;
    globalThis.FinalizationRegistry = FinalizationRegistry;
  }
}

/** A WebAssembly instance that can be exchanged for a fresh one under the same exports. */
class Machine {
  /** @param {() => WebAssembly.Instance} instantiate */
  constructor(instantiate) {
    this.instantiate = instantiate;
    this.instance = instantiate();
    /** @type {Record<string, unknown>} */
    this.exports = {};
    for (const [name, value] of Object.entries(this.instance.exports)) {
      Object.defineProperty(this.exports, name, {
        enumerable: true,
        ...(typeof value === 'function'
          ? { value: (/** @type {unknown[]} */ ...args) => /** @type {any} */ (this.instance.exports[name])(...args) }
          : { get: () => this.instance.exports[name] }),
      });
    }
  }

  /** @returns {WebAssembly.Memory} */
  get memory() {
    return /** @type {WebAssembly.Memory} */ (this.instance.exports.memory);
  }

  /** @returns {WebAssembly.Table} */
  get references() {
    return /** @type {WebAssembly.Table} */ (this.instance.exports.__wbindgen_externrefs);
  }

  /**
   * Puts a fresh instance in place: linear memory cannot shrink, and a trap leaves the stack as it was.
   * @param {number} memoryBytes
   * @param {number} tableLength
   */
  exchange(memoryBytes, tableLength) {
    const old = this.references;
    const oldMemory = this.memory;
    this.instance = this.instantiate();
    this.memory.grow((memoryBytes - this.memory.buffer.byteLength) / 65536);
    this.references.grow(tableLength - this.references.length);
    for (let i = 0; i < Math.min(tableLength, old.length); i++) this.references.set(i, old.get(i));
    // Growing by nothing detaches the old buffer, so that the SDK's cached views look at the new one.
    oldMemory.grow(0);
  }
}

/** A simnet session with checkpoints. Every method is synchronous, so nothing else ever runs between two of them. */
export class Vm {
  /**
   * @param {Simnet} simnet
   * @param {Machine} machine
   * @param {number} keep how many checkpoints can be undone
   */
  constructor(simnet, machine, keep) {
    this.simnet = simnet;
    this.machine = machine;
    this.keep = keep;
    this.sender = '';
    /** @type {Undo[]} */
    this.undo = [];
    /** Whether the machine trapped, so that its memory can no longer be trusted. */
    this.broken = false;
    /** The memory as it was at the newest checkpoint, and the block height then. */
    this.shadow = Buffer.alloc(0);
    this.shadowTable = 0;
    this.shadowHeight = -1;
  }

  /**
   * Starts an empty chain in epoch 4.0 whose clock begins at `genesisTime`. One per process: the memory is shared.
   * @param {{genesisTime: number, keep?: number}} options `genesisTime` in Unix seconds, `keep` = checkpoints to hold
   * @returns {Promise<Vm>}
   */
  static async start({ genesisTime, keep = 600 }) {
    const { loaded, machine } = await loadSwitchable(genesisTime, async () => {
      const { getSDK } = await import('@stacks/clarinet-sdk');
      const simnet = await getSDK({ trackCosts: false, trackCoverage: false });
      return { simnet };
    });
    await loaded.simnet.initEmptySession({ enabled: false });
    loaded.simnet.setEpoch('4.0');
    return new Vm(loaded.simnet, machine, keep);
  }

  /** Stacks block height that the next expression sees. */
  get height() {
    return this.simnet.stacksBlockHeight;
  }

  /** Burn block height that the next expression sees. */
  get burnHeight() {
    return this.simnet.burnBlockHeight;
  }

  /** Time of the current Stacks block, in Unix seconds. */
  get time() {
    return Number(this.simnet.getBlockTime());
  }

  /**
   * Evaluates an expression in the current block as `sender`. A runtime error changes nothing.
   * @param {string} sender standard principal
   * @param {string} source
   * @returns {Execution}
   * @throws {VmError} on an analysis or runtime error; when the machine is `broken` after it, only `revert` helps
   */
  execute(sender, source) {
    if (sender !== this.sender) {
      this.simnet.executeCommand(`::set_tx_sender ${sender}`);
      this.sender = sender;
    }
    return this.attempt(() => this.simnet.execute(source));
  }

  /**
   * Opens the next Stacks block in the current tenure, deploying the given contracts first.
   * @param {{name: string, source: string, clarityVersion: number | undefined, sender: string}[]} deploys
   * @returns {Execution[]} one a deploy
   * @throws {VmError} when a deploy fails; the state is then unusable until `revert`
   */
  openBlock(deploys = []) {
    if (deploys.length === 0) {
      this.simnet.mineEmptyStacksBlock();
      return [];
    }
    return this.attempt(() =>
      this.simnet.mineBlock(
        deploys.map(({ name, source, clarityVersion, sender }) => ({
          deployContract: { name, content: source, options: clarityVersion ? { clarityVersion } : null, sender },
        })),
      ),
    );
  }

  /** Opens the next burn block and the Stacks block that starts its tenure. */
  openTenure() {
    this.simnet.mineEmptyBurnBlock();
  }

  /**
   * Runs what changes nothing, between blocks.
   * @template T
   * @param {(simnet: Simnet) => T} run
   * @returns {T}
   * @throws {VmError}
   */
  read(run) {
    try {
      return this.attempt(() => run(this.simnet));
    } finally {
      if (this.broken) this.revert();
    }
  }

  /**
   * The SDK throws strings; this turns them into errors, and notices a trap.
   * @template T
   * @param {() => T} run
   * @returns {T}
   */
  attempt(run) {
    try {
      return run();
    } catch (error) {
      this.broken ||= error instanceof Error;
      const text = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
      throw new VmError(
        text
          .replace(/^error: |^Contract deployment runtime error: \S+ -> /, '')
          .replace(/^Runtime Error: Runtime error while interpreting [^:]+: /, ''),
      );
    }
  }

  /** Makes the current state, after the block of the current height, one to go back to. Does nothing when it is already. */
  checkpoint() {
    if (this.shadowHeight === this.height) return;
    const memory = Buffer.from(this.machine.memory.buffer);
    if (this.shadow.length > 0) {
      const pages = changedPages(memory, this.shadow);
      const bytes = Buffer.allocUnsafeSlow(pages.length * PAGE);
      pages.forEach((page, i) => this.shadow.copy(bytes, i * PAGE, page * PAGE, (page + 1) * PAGE));
      this.undo.push({
        height: this.shadowHeight,
        memoryBytes: this.shadow.length,
        tableLength: this.shadowTable,
        pages: Uint32Array.from(pages),
        bytes,
      });
      if (this.undo.length > this.keep) this.undo.shift();
      if (memory.length === this.shadow.length) {
        for (const page of pages) memory.copy(this.shadow, page * PAGE, page * PAGE, (page + 1) * PAGE);
      }
    }
    if (memory.length !== this.shadow.length) {
      this.shadow = Buffer.allocUnsafeSlow(memory.length);
      memory.copy(this.shadow);
    }
    this.shadowTable = this.machine.references.length;
    this.shadowHeight = this.height;
  }

  /** Goes back to the newest checkpoint. */
  revert() {
    this.put(this.shadow, this.shadowTable);
  }

  /**
   * @param {Buffer} memory
   * @param {number} tableLength
   */
  put(memory, tableLength) {
    const { machine } = this;
    if (
      this.broken ||
      machine.memory.buffer.byteLength !== memory.length ||
      machine.references.length !== tableLength
    ) {
      machine.exchange(memory.length, tableLength);
    }
    memory.copy(Buffer.from(machine.memory.buffer));
    this.broken = false;
    this.sender = '';
  }

  /**
   * The whole state, for `restore`. Unlike checkpoints, snapshots need not be of one chain.
   * @returns {Snapshot}
   */
  snapshot() {
    const { buffer } = this.machine.memory;
    const memory = Buffer.allocUnsafeSlow(buffer.byteLength);
    Buffer.from(buffer).copy(memory);
    const { references } = this.machine;
    return { memory, references: Array.from({ length: references.length }, (_, i) => references.get(i)) };
  }

  /**
   * Puts a state in place of the current one. The checkpoints stay those of the chain that they were made of.
   * @param {Snapshot} snapshot
   */
  restore({ memory, references }) {
    this.put(memory, references.length);
    references.forEach((reference, i) => this.machine.references.set(i, reference));
  }

  /** Makes the current state the oldest to go back to. */
  forgetBefore() {
    this.checkpoint();
    this.undo = [];
  }

  /** The lowest block height that `rewind` can go back to. */
  get oldest() {
    return this.undo[0]?.height ?? this.shadowHeight;
  }

  /**
   * Goes back to the checkpoint of a block height and forgets those after it.
   * @param {number} height
   * @throws {RangeError} when there is none; nothing has changed then
   */
  rewind(height) {
    const to = this.undo.findIndex((record) => record.height === height);
    if (to < 0 && height !== this.shadowHeight) throw new RangeError(`no checkpoint of height ${height} is kept`);
    for (const { height: before, memoryBytes, tableLength, pages, bytes } of to < 0
      ? []
      : this.undo.splice(to).reverse()) {
      pages.forEach((page, at) => bytes.copy(this.shadow, page * PAGE, at * PAGE, (at + 1) * PAGE));
      this.shadow = this.shadow.subarray(0, memoryBytes);
      this.shadowTable = tableLength;
      this.shadowHeight = before;
    }
    this.revert();
  }

  /** How much memory the machine and the undo history take, in bytes. */
  memoryUse() {
    const undo = this.undo.reduce((sum, { bytes }) => sum + bytes.length, 0);
    return {
      machine: this.machine.memory.buffer.byteLength,
      undo,
      checkpoints: this.undo.length,
      oldest_height: this.oldest,
    };
  }
}

/**
 * Indexes of the pages in which the two differ.
 * @param {Buffer} memory
 * @param {Buffer} shadow not longer than memory; a whole number of chunks
 * @returns {number[]}
 */
function changedPages(memory, shadow) {
  const pages = [];
  for (let chunk = 0; chunk < shadow.length; chunk += CHUNK) {
    if (memory.compare(shadow, chunk, chunk + CHUNK, chunk, chunk + CHUNK) === 0) continue;
    for (let at = chunk; at < chunk + CHUNK; at += PAGE) {
      if (memory.compare(shadow, at, at + PAGE, at, at + PAGE) !== 0) pages.push(at / PAGE);
    }
  }
  return pages;
}

/** An error from analysis or execution. The message is the machine's own, without the name of the wrapping snippet. */
export class VmError extends Error {
  name = 'VmError';
}
