/**
 * A wallet that knows nothing of BitHedge: it asks GraphQL for a transaction, signs it with the library that wallets use,
 * sends it to a node, and says so.
 *
 *   node wallet.mjs GRAPHQL_URL NODE_URL < {key, mutation, type, input}     writes {prepared, txId, unsigned, tracked}
 *
 * `mutation` is the field's name, `type` that of its input, `key` the sender's private key in hexadecimal.
 */
import { createRequire } from 'node:module';
import { text } from 'node:stream/consumers';

const load = createRequire(new URL('../../contracts/package.json', import.meta.url));
const { TransactionSigner, deserializeTransaction, privateKeyToPublic } = load('@stacks/transactions');

const [graphqlUrl, nodeUrl] = process.argv.slice(2);
const { key, mutation, type, input } = JSON.parse(await text(process.stdin));

/** @param {string} query @param {object} variables */
async function ask(query, variables) {
  const response = await fetch(graphqlUrl, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ query, variables }),
  });
  const { data, errors } = await response.json();
  if (errors) throw new Error(JSON.stringify(errors));
  return data;
}

const prepare = `mutation($input: ${type}!) {
  prepared: ${mutation}(input: $input) {
    id sender contract function transaction nonce fee postConditionMode validUntilBurn
    arguments { name value repr hex } postConditions { principal comparison amount asset text }
    simulation { ok isWhole result refusals { code name } reading { function result problem } } hints { nonce fee problem }
  }
}`;
const publicKey = `0x${privateKeyToPublic(key)}`;
const { prepared } = await ask(prepare, { input: { ...input, publicKey } });

const transaction = deserializeTransaction(prepared.transaction.slice(2));
const { payload, auth, postConditions, postConditionMode } = transaction;
const unsigned = {
  function: payload.functionName.content,
  contract: payload.contractName.content,
  arguments: payload.functionArgs.length,
  postConditions: postConditions.values.length,
  isDeny: postConditionMode === 2,
  nonce: String(auth.spendingCondition.nonce),
  fee: String(auth.spendingCondition.fee),
};
new TransactionSigner(transaction).signOrigin(key);

const sent = await fetch(`${nodeUrl}/v2/transactions`, {
  method: 'POST',
  headers: { 'content-type': 'application/octet-stream' },
  body: transaction.serializeBytes(),
});
const answer = await sent.json();
if (!sent.ok) throw new Error(JSON.stringify(answer));
const txId = `0x${transaction.txid()}`;

const track = `mutation($txId: Bytes!, $id: String) {
  tracked: trackTx(txId: $txId, preparedId: $id) { status preparedId txId matches }
}`;
const { tracked } = await ask(track, { txId, id: prepared.id });
process.stdout.write(JSON.stringify({ prepared, txId, unsigned, tracked }));
