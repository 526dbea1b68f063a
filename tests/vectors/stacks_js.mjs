/**
 * The @stacks/transactions library, asked from Python tests.
 *
 *   node stacks_js.mjs generate SEED   writes keys, addresses, values, transactions and signatures made from SEED
 *   node stacks_js.mjs check           reads {values, transactions} (hex) on stdin, reads and rewrites each of them
 *   node stacks_js.mjs evaluate        reads Clarity expressions on stdin, evaluates them and writes the values' bytes
 */
import { createRequire } from 'node:module';
import { createHash } from 'node:crypto';
import { text } from 'node:stream/consumers';

const load = createRequire(new URL('../../contracts/package.json', import.meta.url));
const stacks = load('@stacks/transactions');
const { Cl } = stacks;

/** Reproducible bytes: SHA-256 of the seed and a counter. @param {string} seed */
function randomness(seed) {
  let counter = 0;
  /** @type {number[]} */
  let pool = [];
  const byte = () => {
    if (pool.length === 0) pool = [...createHash('sha256').update(`${seed}:${counter++}`).digest()];
    return /** @type {number} */ (pool.shift());
  };
  const bytes = (/** @type {number} */ n) => Uint8Array.from({ length: n }, byte);
  const below = (/** @type {number} */ n) => Number(BigInt('0x' + hex(bytes(6))) % BigInt(n));
  return { bytes, below, pick: (/** @type {any[]} */ items) => items[below(items.length)] };
}

/** @param {Uint8Array} bytes */
function hex(bytes) {
  return Buffer.from(bytes).toString('hex');
}

/** @param {string} seed */
function generate(seed) {
  const { bytes, below, pick } = randomness(seed);
  const sha256 = (/** @type {Uint8Array} */ data) => hex(createHash('sha256').update(data).digest());
  const u64 = () => pick([0n, 1n, 2n ** 64n - 1n, BigInt('0x' + hex(bytes(8)))]);
  const small = () => BigInt(below(2 ** 40));
  const name = () => pick([...'abcdefgh']) + [...bytes(below(12))].map(b => 'abcdefghijklmnopqrstuvwxyz0123456789-'[b % 37]).join('');
  const address = () => stacks.addressToString({ version: pick([22, 20, 26, 21]), hash160: hex(bytes(20)) });
  const contract = () => `${address()}.${name()}`;
  const principal = () => pick([address, contract])();
  const privateKey = (compressed = true) => hex(bytes(32)) + (compressed ? '01' : '');

  /** A value and a description of it. @param {number} depth @returns {[any, any]} */
  const value = depth => {
    const kind = pick(
      depth > 0
        ? ['int', 'uint', 'buffer', 'bool', 'principal', 'ascii', 'utf8', 'none', 'some', 'ok', 'err', 'list', 'tuple']
        : ['int', 'uint', 'buffer', 'bool', 'principal', 'ascii', 'utf8', 'none']
    );
    switch (kind) {
      case 'int': {
        const number = pick([0n, -1n, 2n ** 127n - 1n, -(2n ** 127n), BigInt.asIntN(128, BigInt('0x' + hex(bytes(16))))]);
        return [Cl.int(number), { int: String(number) }];
      }
      case 'uint': {
        const number = pick([0n, 1n, 2n ** 128n - 1n, BigInt('0x' + hex(bytes(16)))]);
        return [Cl.uint(number), { uint: String(number) }];
      }
      case 'buffer': {
        const data = bytes(below(40));
        return [Cl.buffer(data), { buffer: hex(data) }];
      }
      case 'bool': {
        const flag = below(2) === 1;
        return [Cl.bool(flag), { bool: flag }];
      }
      case 'principal': {
        const who = principal();
        return [Cl.principal(who), { principal: who }];
      }
      case 'ascii': {
        const written = [...bytes(below(30))].map(b => String.fromCharCode(32 + (b % 95))).join('') + pick(['', '\n', '\t']);
        return [Cl.stringAscii(written), { ascii: written }];
      }
      case 'utf8': {
        const written = [...bytes(below(20))].map(b => pick(['a', '"', '\\', 'é', '✓', '🧡', '\u0000', String.fromCodePoint(0x400 + b)])).join('');
        return [Cl.stringUtf8(written), { utf8: written }];
      }
      case 'none':
        return [Cl.none(), { none: null }];
      case 'some': {
        const [inner, told] = value(depth - 1);
        return [Cl.some(inner), { some: told }];
      }
      case 'ok': {
        const [inner, told] = value(depth - 1);
        return [Cl.ok(inner), { ok: told }];
      }
      case 'err': {
        const [inner, told] = value(depth - 1);
        return [Cl.error(inner), { err: told }];
      }
      case 'list': {
        const entries = Array.from({ length: below(5) }, () => value(depth - 1));
        return [Cl.list(entries.map(e => e[0])), { list: entries.map(e => e[1]) }];
      }
      default: {
        const entries = Array.from({ length: 1 + below(6) }, () => /** @type {const} */ ([name(), value(depth - 1)]));
        return [
          Cl.tuple(Object.fromEntries(entries.map(([k, v]) => [k, v[0]]))),
          { tuple: Object.fromEntries(entries.map(([k, v]) => [k, v[1]])) },
        ];
      }
    }
  };

  const keys = Array.from({ length: 12 }, (_, index) => {
    const key = privateKey(index % 3 !== 0);
    return {
      private: key,
      public: stacks.privateKeyToPublic(key),
      mainnet: stacks.privateKeyToAddress(key, 'mainnet'),
      testnet: stacks.privateKeyToAddress(key, 'testnet'),
    };
  });

  const addresses = Array.from({ length: 60 }, (_, index) => {
    const zeros = index % 6 === 0 ? below(21) : 0;
    const hash160 = hex(bytes(20)).slice(zeros * 2).padStart(40, '0');
    const version = index < 32 ? index : pick([22, 20, 26, 21]);
    return { version, hash160, address: stacks.addressToString({ version, hash160 }) };
  });

  const values = Array.from({ length: 300 }, () => {
    const [cv, described] = value(4);
    return { described, hex: stacks.serializeCV(cv) };
  });

  const comparators = ['eq', 'gt', 'gte', 'lt', 'lte'];
  const conditions = () => {
    const subject = () => pick([() => 'origin', principal])();
    return pick([
      () => ({ type: 'stx-postcondition', address: subject(), condition: pick(comparators), amount: String(u64()) }),
      () => ({ type: 'ft-postcondition', address: subject(), condition: pick(comparators), amount: String(u64()), asset: `${contract()}::${name()}` }),
      () => ({ type: 'nft-postcondition', address: subject(), condition: pick(['sent', 'not-sent', 'maybe-sent']), asset: `${contract()}::${name()}`, assetId: value(2)[0] }),
      () => ({ type: 'staking-postcondition', address: subject(), condition: pick(comparators), amount: String(u64()) }),
      () => ({ type: 'pox-postcondition', address: subject(), condition: pick(['will-not-perform', 'may-perform', 'will-perform']) }),
    ])();
  };
  const describe = (/** @type {any} */ c) => ({ ...c, assetId: c.assetId && stacks.serializeCV(c.assetId) });

  /** @returns {{told: any, wire: any}} */
  const payload = () =>
    pick([
      () => {
        const told = { kind: 'token_transfer', recipient: principal(), amount: String(u64()), memo: pick(['', 'thanks', 'é✓ 34 bytes at the very most']) };
        return { told, wire: stacks.createTokenTransferPayload(told.recipient, told.amount, told.memo) };
      },
      () => {
        const args = Array.from({ length: below(5) }, () => value(3)[0]);
        const told = { kind: 'contract_call', contract: contract(), function: name(), arguments: args.map(a => stacks.serializeCV(a)) };
        const [who, what] = told.contract.split('.');
        return { told, wire: stacks.createContractCallPayload(who, what, told.function, args) };
      },
      () => {
        const told = { kind: 'smart_contract', name: name(), source: '(define-public (f)\n\t(ok u1)) ;; "x"\n', clarity_version: pick([null, 1, 2, 3, 4, 5, 6]) };
        return { told, wire: stacks.createSmartContractPayload(told.name, told.source, told.clarity_version ?? undefined) };
      },
      () => {
        const told = { kind: 'coinbase', data: hex(bytes(32)) };
        return { told, wire: stacks.createCoinbasePayload(Buffer.from(told.data, 'hex')) };
      },
      () => {
        const told = { kind: 'coinbase_to_alt_recipient', data: hex(bytes(32)), recipient: principal() };
        return { told, wire: stacks.createCoinbasePayload(Buffer.from(told.data, 'hex'), Cl.principal(told.recipient)) };
      },
      () => {
        const told = { kind: 'nakamoto_coinbase', data: hex(bytes(32)), recipient: pick([() => null, principal])(), vrf_proof: hex(bytes(80)) };
        const recipient = told.recipient ? Cl.some(Cl.principal(told.recipient)) : Cl.none();
        return { told, wire: stacks.createNakamotoCoinbasePayload(Buffer.from(told.data, 'hex'), recipient, Buffer.from(told.vrf_proof, 'hex')) };
      },
      () => {
        const told = {
          kind: 'tenure_change',
          tenure_consensus_hash: hex(bytes(20)),
          previous_tenure_consensus_hash: hex(bytes(20)),
          burn_view_consensus_hash: hex(bytes(20)),
          previous_tenure_end: hex(bytes(32)),
          previous_tenure_blocks: below(2 ** 32),
          cause: below(7),
          public_key_hash: hex(bytes(20)),
        };
        return {
          told,
          wire: stacks.createTenureChangePayload(
            told.tenure_consensus_hash, told.previous_tenure_consensus_hash, told.burn_view_consensus_hash,
            told.previous_tenure_end, told.previous_tenure_blocks, told.cause, told.public_key_hash
          ),
        };
      },
    ])();

  /** A single- or multi-signature account that can be a signer. */
  const account = () => {
    const nonce = u64();
    const fee = small();
    const mode = pick([0, 0, 2, 1, 3, 5, 7]);
    if (mode === 0 || mode === 2) {
      const key = privateKey(mode === 2 || below(4) > 0);
      const condition = stacks.createSingleSigSpendingCondition(mode, stacks.privateKeyToPublic(key), nonce, fee);
      return { told: { mode, keys: [key], signing: [0], required: 1, nonce: String(nonce), fee: String(fee) }, condition };
    }
    const keys = Array.from({ length: 1 + below(4) }, () => privateKey());
    const required = 1 + below(keys.length);
    const signing = keys.map((_, index) => index).slice(keys.length - required);
    const condition = stacks.createMultiSigSpendingCondition(mode, required, keys.map(key => stacks.privateKeyToPublic(key)), nonce, fee);
    return { told: { mode, keys, signing, required, nonce: String(nonce), fee: String(fee) }, condition };
  };

  const transactions = Array.from({ length: 160 }, (_, index) => {
    const origin = account();
    const sponsor = index % 3 === 0 ? account() : null;
    const { told, wire } = payload();
    const network = pick(['mainnet', 'testnet']);
    const postConditions = Array.from({ length: below(4) }, conditions);
    const mode = pick(['allow', 'deny', 'originator']);
    const transaction = new stacks.StacksTransactionWire({
      auth: sponsor ? stacks.createSponsoredAuth(origin.condition) : stacks.createStandardAuth(origin.condition),
      payload: wire,
      postConditions: stacks.createLPList(postConditions.map(stacks.postConditionToWire)),
      postConditionMode: stacks.postConditionModeFrom(mode),
      network,
    });
    const signer = new stacks.TransactionSigner(transaction);
    origin.told.keys.forEach((/** @type {string} */ key, /** @type {number} */ at) =>
      origin.told.signing.includes(at) ? signer.signOrigin(key) : signer.appendOrigin(stacks.privateKeyToPublic(key))
    );
    let finished = signer.transaction;
    if (sponsor) {
      finished = stacks.deserializeTransaction(finished.serialize());
      finished.setSponsor(sponsor.condition);
      let hash = finished.verifyOrigin();
      sponsor.told.keys.forEach((/** @type {string} */ key, /** @type {number} */ at) => {
        if (sponsor.told.signing.includes(at)) {
          const next = finished.signNextSponsor(hash, key);
          if (sponsor.told.mode < 5) hash = next;
        } else {
          finished.auth.sponsorSpendingCondition.fields.push(
            stacks.createTransactionAuthField(0, stacks.createStacksPublicKey(stacks.privateKeyToPublic(key)))
          );
        }
      });
    }
    return {
      network, payload: told, origin: origin.told, sponsor: sponsor?.told ?? null,
      post_condition_mode: mode, post_conditions: postConditions.map(describe),
      hex: finished.serialize(), txid: finished.txid(),
    };
  });

  const compactSize = (/** @type {number} */ n) => (n < 0xfd ? [n] : n < 0x10000 ? [0xfd, n & 0xff, n >> 8] : [0xfe, n & 0xff, (n >> 8) & 0xff, n >> 16, 0]);
  const messages = ['', 'hello', 'Signing in 🧡\nwith a line', 'x'.repeat(252), 'x'.repeat(253), 'x'.repeat(70_000)].map(message => {
    const key = privateKey();
    const body = Buffer.from(message, 'utf8');
    const digest = sha256(Buffer.concat([Buffer.from('\x17Stacks Signed Message:\n'), Buffer.from(compactSize(body.length)), body]));
    return {
      message, private: key, address: stacks.privateKeyToAddress(key, 'testnet'),
      signature: stacks.signMessageHashRsv({ messageHash: digest, privateKey: key }),
    };
  });

  const structured = Array.from({ length: 12 }, () => {
    const key = privateKey();
    const [message] = value(3);
    const told = { name: `app ${below(99)}`, version: '1.0.0', chain_id: pick([1, 2147483648]) };
    const domain = Cl.tuple({ name: Cl.stringAscii(told.name), version: Cl.stringAscii(told.version), 'chain-id': Cl.uint(told.chain_id) });
    return {
      domain: told, message: stacks.serializeCV(message), private: key, address: stacks.privateKeyToAddress(key, 'testnet'),
      signature: stacks.signStructuredData({ message, domain, privateKey: key }),
      hash: sha256(stacks.encodeStructuredDataBytes({ message, domain })),
    };
  });

  return { keys, addresses, values, transactions, messages, structured };
}

/** @param {{values: string[], transactions: string[]}} request */
function check({ values, transactions }) {
  return {
    values: values.map(raw => stacks.serializeCV(stacks.deserializeCV(raw))),
    transactions: transactions.map(raw => {
      const transaction = stacks.deserializeTransaction(raw);
      let origin = 'verified';
      try {
        transaction.verifyOrigin();
      } catch (error) {
        origin = String(error);
      }
      return { hex: transaction.serialize(), txid: transaction.txid(), origin };
    }),
  };
}

/** @param {string[]} expressions */
async function evaluate(expressions) {
  const simnet = await load('@stacks/clarinet-sdk').getSDK();
  await simnet.initEmptySession({ enabled: false });
  simnet.setEpoch('4.0');
  return expressions.map(expression => stacks.serializeCV(simnet.execute(expression).result));
}

const [command, seed] = process.argv.slice(2);
const answer =
  command === 'generate' ? generate(seed)
  : command === 'check' ? check(JSON.parse(await text(process.stdin)))
  : await evaluate(JSON.parse(await text(process.stdin)));
process.stdout.write(JSON.stringify(answer));
