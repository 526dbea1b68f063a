import { Cl, createAddress, serializeCV } from '@stacks/transactions';
import { HttpError, hexBytes, jsonBody } from './http.js';
import { NO_COST, replayedBlock } from './payloads.js';
import { Rejection } from './rejection.js';
import { SimulationError, simulate } from './simulation.js';
import { DecodeError, decodeTransaction } from './transaction.js';
import { VmError } from './vm.js';

/**
 * The node's own routes: https://docs.stacks.co/reference/node-operations/rpc-api
 *
 * @typedef {import('./http.js').Route} Route
 * @typedef {import('./http.js').Call} Call
 * @typedef {import('./devnet.js').Devnet} Devnet
 */

const SERVER_VERSION = 'stacks-node devnet (Clarinet simnet, epoch 4.0)';
/** Bitcoin regtest, to which a Stacks development network belongs. */
const PARENT_NETWORK_ID = 3669344250;

/**
 * @param {Devnet} devnet
 * @param {string | null} authToken what the routes ask for that nodes open only to their owners; null: they are closed
 * @returns {Route[]}
 */
export function nodeRoutes(devnet, authToken) {
  const { chain, vm } = devnet;
  const contract = '([A-Z0-9]+)/([a-zA-Z0-9_-]+)';
  return [
    { method: 'GET', path: /^\/v2\/info$/, handle: () => ({ json: info(devnet) }) },
    { method: 'POST', path: /^\/v2\/transactions$/, handle: (call) => submit(devnet, call) },
    {
      method: 'GET',
      path: /^\/v2\/accounts\/([^/]+)$/,
      handle: ({ params: [principal], query }) => {
        checkPrincipal(principal);
        const { unlocked, locked, unlockHeight } = devnet.account(principal);
        const proofs = query.get('proof') === '0' ? {} : { balance_proof: '', nonce_proof: '' };
        return {
          json: {
            balance: hex128(unlocked),
            locked: hex128(locked),
            unlock_height: unlockHeight,
            nonce: Number(chain.nonceOf(principal)),
            ...proofs,
          },
        };
      },
    },
    {
      method: 'POST',
      path: new RegExp(`^/v2/contracts/call-read/${contract}/([^/]+)$`),
      handle: (call) => callRead(devnet, call),
    },
    {
      method: 'GET',
      path: new RegExp(`^/v2/contracts/interface/${contract}$`),
      handle: ({ params: [address, name] }) => {
        const abi = chain.contracts.get(`${address}.${name}`)?.abi;
        return abi ? { json: abi } : { status: 404, text: 'No contract interface data found' };
      },
    },
    {
      method: 'GET',
      path: new RegExp(`^/v2/contracts/source/${contract}$`),
      handle: ({ params: [address, name], query }) => {
        const id = `${address}.${name}`;
        const source = devnet.contractSource(id);
        if (source === undefined) return { status: 404, text: 'No contract source data found' };
        const proofs = query.get('proof') === '0' ? {} : { marf_proof: '' };
        return { json: { source, publish_height: chain.contracts.get(id)?.height ?? 0, ...proofs } };
      },
    },
    {
      method: 'GET',
      path: new RegExp(`^/v2/data_var/${contract}/([^/]+)$`),
      handle: ({ params: [address, name, variable] }) => {
        return readOr404('Data var not found', () =>
          vm.read((simnet) => simnet.getDataVar(`${address}.${name}`, variable)),
        );
      },
    },
    {
      method: 'POST',
      path: new RegExp(`^/v2/map_entry/${contract}/([^/]+)$`),
      handle: ({ params: [address, name, map], body }) => {
        const key = deserialize(parseJson(body), 'the map key');
        return readOr404('Map not found', () =>
          vm.read((simnet) => simnet.getMapEntry(`${address}.${name}`, map, key)),
        );
      },
    },
    { method: 'GET', path: /^\/v2\/fees\/transfer$/, handle: () => ({ json: devnet.feeRates()[0] }) },
    { method: 'POST', path: /^\/v2\/fees\/transaction$/, handle: (call) => estimateFee(devnet, call) },
    {
      method: 'GET',
      path: /^\/v2\/transactions\/unconfirmed\/([0-9a-f]{64})$/,
      handle: ({ params: [txid] }) => unconfirmed(devnet, txid),
    },
    {
      method: 'POST',
      path: /^\/v3\/transactions\/simulate$/,
      handle: (call) => simulateTransaction(devnet, authToken, call),
    },
    {
      method: 'GET',
      path: /^\/v3\/blocks\/replay\/(?:0x)?([0-9a-f]{64})$/,
      handle: ({ params: [hash] }) => {
        const block = chain.known.get(hash);
        return block ? { json: replayedBlock(block) } : { status: 404, text: `No such block ${hash}` };
      },
    },
    {
      method: 'GET',
      path: /^\/v3\/transaction\/(?:0x)?([0-9a-f]{64})$/,
      handle: ({ params: [txid] }) => {
        const place = chain.transactions.get(txid);
        if (!place) return { status: 404, text: `Transaction ${txid} not found` };
        const { transaction, result } = place.block.receipts[place.index];
        return {
          json: {
            index_block_hash: place.block.indexHash,
            tx: transaction.hex,
            result: `0x${result}`,
            block_height: place.block.height,
            is_canonical: true,
          },
        };
      },
    },
    {
      method: 'GET',
      path: /^\/v3\/sortitions(?:\/(consensus|burn|burn_height)\/(?:0x)?([0-9a-f]+))?$/,
      handle: ({ params: [by, key] }) => {
        const burn =
          by === undefined
            ? chain.burnTip
            : by === 'burn_height'
              ? chain.burns[Number(key)]
              : chain.burns.find(({ hash, consensusHash }) => key === (by === 'burn' ? hash : consensusHash));
        return burn ? { json: [sortition(burn)] } : { status: 404, text: 'No such sortition' };
      },
    },
  ];
}

/** @param {Devnet} devnet */
function info({ chain, network: { chainId } }) {
  const { tip, burnTip } = chain;
  return {
    peer_version: 402653199,
    pox_consensus: burnTip.consensusHash,
    burn_block_height: burnTip.height,
    stable_pox_consensus: burnTip.consensusHash,
    stable_burn_block_height: burnTip.height,
    server_version: SERVER_VERSION,
    network_id: chainId,
    parent_network_id: PARENT_NETWORK_ID,
    stacks_tip_height: tip.height,
    stacks_tip: tip.hash,
    stacks_tip_consensus_hash: tip.burn.consensusHash,
    genesis_chainstate_hash: chain.blocks[0].indexHash,
    unanchored_tip: null,
    unanchored_seq: null,
    tenure_height: tip.tenureHeight,
    exit_at_block_height: null,
    is_fully_synced: true,
    stackerdbs: [],
  };
}

/** @param {import('./chain.js').BurnBlock} burn */
function sortition(burn) {
  return {
    burn_block_hash: `0x${burn.hash}`,
    burn_block_height: burn.height,
    burn_header_timestamp: burn.time ?? 0,
    sortition_id: `0x${burn.hash}`,
    parent_sortition_id: `0x${burn.parentHash}`,
    consensus_hash: `0x${burn.consensusHash}`,
    was_sortition: true,
  };
}

/**
 * @param {Devnet} devnet
 * @param {Call} call
 * @returns {import('./http.js').Answer}
 */
function submit(devnet, call) {
  const json = call.contentType.startsWith('application/json') ? jsonBody(call) : null;
  const bytes = json ? hexBytes(json.tx, 'tx') : call.body;
  const attachment = json?.attachment == null ? undefined : hexBytes(json.attachment, 'attachment');
  try {
    const transaction = decodeTransaction(bytes, devnet.network.mainnet);
    try {
      devnet.submit(transaction, attachment);
      return { json: transaction.txid };
    } catch (error) {
      if (error instanceof Rejection) return { status: 400, json: error.toBody(transaction.txid) };
      throw error;
    }
  } catch (error) {
    if (error instanceof DecodeError) return { status: 400, text: error.message };
    throw error;
  }
}

/**
 * @param {Devnet} devnet
 * @param {Call} call
 * @returns {import('./http.js').Answer}
 */
function callRead(devnet, call) {
  const [address, name, fn] = call.params;
  const { sender, arguments: args } = jsonBody(call);
  if (typeof sender !== 'string') throw new HttpError(400, 'sender is missing');
  checkPrincipal(sender);
  if (!Array.isArray(args)) throw new HttpError(400, 'arguments is not a list');
  const values = args.map((arg, i) => deserialize(arg, `argument ${i}`));
  const id = `${address}.${name}`;
  if (devnet.contractSource(id) === undefined)
    return { json: { okay: false, cause: `Unchecked(NoSuchContract("${id}"))` } };
  try {
    const { result } = devnet.vm.read((simnet) => simnet.callReadOnlyFn(id, fn, values, sender));
    return { json: { okay: true, result: `0x${serializeCV(result)}` } };
  } catch (error) {
    if (!(error instanceof VmError)) throw error;
    return { json: { okay: false, cause: error.message } };
  }
}

/**
 * Where the mempool has a transaction. A node's keeps what was mined, too, until it is old.
 * @param {Devnet} devnet
 * @param {string} txid
 * @returns {import('./http.js').Answer}
 */
function unconfirmed({ mempool, chain }, txid) {
  const mined = chain.transactions.get(txid);
  const transaction =
    mempool.entries.get(txid)?.transaction ?? (mined && mined.block.receipts[mined.index].transaction);
  return transaction
    ? { json: { tx: transaction.hex, status: 'Mempool' } }
    : { status: 404, text: `Transaction ${txid} not found in mempool or unconfirmed microblock stream` };
}

/**
 * @param {Devnet} devnet
 * @param {string | null} authToken
 * @param {Call} call
 * @returns {import('./http.js').Answer}
 */
function simulateTransaction(devnet, authToken, call) {
  if (authToken === null) return { status: 400, text: 'Bad Request.' };
  if (call.authorization !== authToken) return { status: 401, text: 'Unauthorized' };
  const tip = call.query.get('tip') ?? 'latest';
  if (tip !== 'latest' && tip !== devnet.chain.tip.indexHash) return { status: 404, text: 'No such chain tip\n' };
  try {
    const bytes = hexBytes(jsonBody(call).transaction_hex, 'transaction_hex');
    return { json: simulate(devnet, decodeTransaction(bytes, devnet.network.mainnet)) };
  } catch (error) {
    if (error instanceof SimulationError)
      return { status: 400, text: `Failed to simulate transaction: ${error.message}\n` };
    if (error instanceof DecodeError) return { status: 400, text: error.message };
    throw error;
  }
}

/**
 * @param {Devnet} devnet
 * @param {Call} call
 * @returns {import('./http.js').Answer}
 */
function estimateFee(devnet, call) {
  const { transaction_payload: payload, estimated_len: length } = jsonBody(call);
  const size = Math.max(typeof length === 'number' ? length : 0, hexBytes(payload, 'transaction_payload').length);
  return {
    json: {
      cost_scalar_change_by_byte: 0,
      estimated_cost: NO_COST,
      estimated_cost_scalar: 0,
      estimations: devnet.feeRates().map((rate) => ({ fee: rate * size, fee_rate: rate })),
    },
  };
}

/**
 * @param {string} text for what is not there
 * @param {() => import('@stacks/transactions').ClarityValue} read
 * @returns {import('./http.js').Answer}
 */
function readOr404(text, read) {
  try {
    return { json: { data: `0x${serializeCV(read())}` } };
  } catch (error) {
    if (!(error instanceof VmError)) throw error;
    return { status: 404, text };
  }
}

/** @param {string} principal */
export function checkPrincipal(principal) {
  const [address, ...name] = principal.split('.');
  try {
    createAddress(address);
  } catch {
    throw new HttpError(400, `${principal} is not a principal`);
  }
  if (name.length > 1 || (name.length === 1 && !/^[a-zA-Z][a-zA-Z0-9_-]{0,39}$/.test(name[0])))
    throw new HttpError(400, `${principal} is not a principal`);
}

/** @param {unknown} text @param {string} what */
function deserialize(text, what) {
  const bytes = hexBytes(text, what);
  try {
    return Cl.deserialize(bytes.toString('hex'));
  } catch {
    throw new HttpError(400, `${what} is not a serialized Clarity value`);
  }
}

/** @param {Buffer} body */
function parseJson(body) {
  try {
    return JSON.parse(body.toString('utf8'));
  } catch {
    throw new HttpError(400, 'the body is not JSON');
  }
}

/** @param {bigint} amount */
function hex128(amount) {
  return `0x${amount.toString(16).padStart(32, '0')}`;
}
