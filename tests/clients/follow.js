// Reads and follows a server with a client and writes what it got, one JSON value a line: node follow.js CLIENT HTTP_URL
// The first line is the answer to a query, the second is "following", the others are messages of a subscription: two,
// after which it ends. CLIENT: urql, graphql-ws, graphql-sse.
import { Client, fetchExchange, subscriptionExchange } from '@urql/core';
import { createClient as createSseClient } from 'graphql-sse';
import { createClient as createWsClient } from 'graphql-ws';
import WebSocket from 'ws';

const QUERY = 'query Read($first: Int) { toyAccounts(first: $first) { nodes { owner balance } totalCount } }';
const SUBSCRIPTION = 'subscription Follow { toyAccountChanged { op sequence after { owner balance } } }';
const MESSAGES = 3; // START and two changes

/** @param {unknown} value */
function write(value) {
  process.stdout.write(`${JSON.stringify(value)}\n`);
}

/**
 * @param {{ iterate: (request: any) => AsyncIterable<any> }} client
 */
async function readAndFollow(client) {
  for await (const answer of client.iterate({ query: QUERY, variables: { first: 1 } })) write(answer.data);
  let left = MESSAGES;
  for await (const message of client.iterate({ query: SUBSCRIPTION })) {
    write(message.data.toyAccountChanged);
    if (--left === 0) return;
  }
}

/** @param {string} url */
async function withUrql(url) {
  const socket = createWsClient({ url: url.replace('http', 'ws'), webSocketImpl: WebSocket });
  const client = new Client({
    url,
    preferGetMethod: false,
    exchanges: [
      fetchExchange,
      subscriptionExchange({
        forwardSubscription: (request) => ({
          subscribe: (sink) => ({
            unsubscribe: socket.subscribe({ ...request, query: request.query ?? '' }, sink),
          }),
        }),
      }),
    ],
  });
  const answer = await client.query(QUERY, { first: 1 }).toPromise();
  if (answer.error) throw answer.error;
  write(answer.data);
  await new Promise((resolve, reject) => {
    let left = MESSAGES;
    const { unsubscribe } = client.subscription(SUBSCRIPTION, {}).subscribe((message) => {
      if (message.error) return reject(message.error);
      write(message.data.toyAccountChanged);
      if (--left === 0) resolve(undefined);
    });
    void unsubscribe;
  });
  await socket.dispose();
}

const [name, url] = process.argv.slice(2);
if (name === 'urql') {
  await withUrql(url);
} else if (name === 'graphql-ws') {
  const client = createWsClient({ url: url.replace('http', 'ws'), webSocketImpl: WebSocket });
  await readAndFollow(client);
  await client.dispose();
} else if (name === 'graphql-sse') {
  const client = createSseClient({ url });
  await readAndFollow(client);
  client.dispose();
} else {
  throw new Error(`there is no client ${name}`);
}
