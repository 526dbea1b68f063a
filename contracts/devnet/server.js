import { createServer } from 'node:http';
import { HttpError, readBody } from './http.js';

const CORS = {
  'access-control-allow-origin': '*',
  'access-control-allow-headers': '*',
  'access-control-allow-methods': 'GET, POST, OPTIONS',
};

/**
 * An HTTP server over the given routes. An error in one request is answered and reported, and harms no other.
 * @param {import('./http.js').Route[]} routes
 * @param {(error: unknown) => void} report
 */
export function serve(routes, report) {
  return createServer(async (request, response) => {
    const write = (/** @type {import('./http.js').Answer} */ { status = 200, json, text }) => {
      const body = Buffer.from(text ?? JSON.stringify(json));
      const type = text === undefined ? 'application/json' : 'text/plain';
      response.writeHead(status, { ...CORS, 'content-type': type, 'content-length': body.length });
      response.end(body);
    };
    try {
      if (request.method === 'OPTIONS') {
        response.writeHead(204, CORS).end();
        return;
      }
      if (!URL.canParse(request.url ?? '', 'http://devnet')) throw new HttpError(400, `${request.url} is not a path`);
      const url = new URL(request.url ?? '', 'http://devnet');
      const matching = routes.filter(({ path }) => path.test(url.pathname));
      const route = matching.find(({ method }) => method === request.method);
      if (!route) {
        throw matching.length > 0
          ? new HttpError(405, `${url.pathname} does not take ${request.method}`)
          : new HttpError(404, `no route ${url.pathname}`);
      }
      const [, ...params] = /** @type {RegExpExecArray} */ (route.path.exec(url.pathname));
      const body = await readBody(request);
      write(
        await route.handle({
          params: params.map(decode),
          query: url.searchParams,
          body,
          contentType: request.headers['content-type'] ?? '',
          authorization: request.headers.authorization,
        }),
      );
    } catch (error) {
      if (error instanceof HttpError) write({ status: error.status, json: { error: error.message } });
      else {
        report(error);
        if (!response.headersSent)
          write({ status: 500, json: { error: error instanceof Error ? error.message : String(error) } });
      }
    }
  });
}

/** @param {string | undefined} parameter as it stands in the URL */
function decode(parameter) {
  try {
    return /** @type {string} */ (parameter && decodeURIComponent(parameter));
  } catch {
    throw new HttpError(400, `${parameter} is not a URL-encoded text`);
  }
}
