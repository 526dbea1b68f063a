/**
 * The BitHedge contracts on Clarity's own virtual machine, asked from Python tests.
 *
 * Reads one JSON request a line on stdin and answers each with one line on stdout. Clarity values are hex.
 *   {op: 'begin'}                                              {}, on an empty chain
 *   {op: 'publish', contracts: [{name, source}], sender}       {}
 *   {op: 'deploy', name, source, sender}                       {result, events}
 *   {op: 'fund', who, ustx, sats}                              {}
 *   {op: 'call', contract, function, arguments, sender}        {result, events: [{kind, contract, value} or transfers]}
 *   {op: 'read', contract, function, arguments, sender}        {result}
 *   {op: 'evaluate', source}                                   {result}
 *   {op: 'mine', burn}                                         {}
 * Every answer also has the heights {burn, height}. A request that fails is answered {error}.
 */
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';
import { Vm } from '../../contracts/devnet/vm.js';

const require = createRequire(new URL('../../contracts/package.json', import.meta.url));
const { deserializeCV, serializeCV } = require('@stacks/transactions');

const SBTC = 'SM3VDXK3WZZSA84XXFKAFAF15NNZX32CTSG82JFQ4.sbtc-token.sbtc-token';

const vm = await Vm.start({ genesisTime: 1_700_000_000 });
const { simnet } = vm;
const empty = vm.snapshot();
/** The requests since the chain was empty, and the states that some led to: to analyse contracts takes seconds. */
let requests = '';
/** @type {Map<string, import('../../contracts/devnet/vm.js').Snapshot>} */
const published = new Map();

/** @param {any} value @returns {string} */
function hex(value) {
  const bytes = serializeCV(value);
  return typeof bytes === 'string' ? bytes : Buffer.from(bytes).toString('hex');
}

/** @param {{event: string, data: any}} event */
function describe({ event, data }) {
  if (event === 'print_event') return { kind: 'print', contract: data.contract_identifier, value: hex(data.value) };
  return { kind: event.replace(/_event$/, ''), asset: data.asset_identifier, sender: data.sender, recipient: data.recipient, amount: String(data.amount) };
}

/** @param {any} execution */
function outcome({ result, events }) {
  return { result: hex(result), events: events.map(describe) };
}

/** @type {Record<string, (request: any) => object>} */
const operations = {
  begin() {
    vm.restore(empty);
    requests = '';
    return {};
  },
  publish({ contracts, sender }) {
    const known = published.get(requests);
    if (known !== undefined) {
      vm.restore(known);
      return {};
    }
    for (const { name, source } of contracts) operations.deploy({ name, source, sender });
    published.set(requests, vm.snapshot());
    return {};
  },
  deploy({ name, source, sender }) {
    // the typings of the SDK end at an earlier version than its machine
    return outcome(simnet.deployContract(name, source, { clarityVersion: /** @type {any} */ (6) }, sender));
  },
  fund({ who, ustx, sats }) {
    simnet.mintSTX(who, BigInt(ustx));
    simnet.mintFT(SBTC, who, BigInt(sats));
    return {};
  },
  call({ contract, function: name, arguments: values, sender }) {
    return outcome(simnet.callPublicFn(contract, name, values.map(deserializeCV), sender));
  },
  read({ contract, function: name, arguments: values, sender }) {
    return outcome(simnet.callReadOnlyFn(contract, name, values.map(deserializeCV), sender));
  },
  evaluate({ source }) {
    return outcome(simnet.execute(source));
  },
  mine({ burn }) {
    simnet.mineEmptyBurnBlocks(burn);
    return {};
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const request = JSON.parse(line);
  requests += line;
  let answer;
  try {
    answer = operations[request.op](request);
  } catch (error) {
    vm.broken ||= error instanceof Error;
    answer = { error: error instanceof Error ? error.message : String(error) };
  }
  const heights = { burn: simnet.burnBlockHeight, height: simnet.stacksBlockHeight };
  process.stdout.write(`${JSON.stringify({ ...answer, ...heights })}\n`);
}
