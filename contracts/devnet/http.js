/**
 * What the routes share: reading a request, writing an answer.
 *
 * @typedef {import('node:http').IncomingMessage} IncomingMessage
 * @typedef {{status?: number, json?: unknown, text?: string}} Answer `json` or `text`
 * @typedef {{params: string[], query: URLSearchParams, body: Buffer, contentType: string, authorization: string | undefined}} Call
 * @typedef {{method: 'GET' | 'POST', path: RegExp, handle: (call: Call) => Answer | Promise<Answer>}} Route `path` captures its parameters
 */

/** The node's own limit of a message, in bytes. */
const MAX_BODY = 16 * 1024 * 1024;

/** A request that cannot be answered as it is. */
export class HttpError extends Error {
  name = 'HttpError';

  /** @param {number} status @param {string} message */
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/**
 * @param {IncomingMessage} request
 * @returns {Promise<Buffer>}
 */
export async function readBody(request) {
  const chunks = [];
  let length = 0;
  for await (const chunk of request) {
    length += chunk.length;
    if (length > MAX_BODY) throw new HttpError(413, `the body is longer than ${MAX_BODY} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

/**
 * The body as a JSON object; an empty one is `{}`.
 * @param {Call} call
 * @returns {Record<string, unknown>}
 */
export function jsonBody({ body }) {
  if (body.length === 0) return {};
  let value;
  try {
    value = JSON.parse(body.toString('utf8'));
  } catch {
    throw new HttpError(400, 'the body is not JSON');
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new HttpError(400, 'the body is not a JSON object');
  return value;
}

/**
 * Bytes of a hex string with or without 0x.
 * @param {unknown} text
 * @param {string} what for the error
 * @returns {Buffer}
 */
export function hexBytes(text, what) {
  if (typeof text !== 'string' || !/^(0x)?([0-9a-fA-F]{2})*$/.test(text))
    throw new HttpError(400, `${what} is not a hex string`);
  return Buffer.from(text.replace(/^0x/, ''), 'hex');
}
