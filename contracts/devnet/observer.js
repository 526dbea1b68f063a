import { request } from 'node:http';

/** Milliseconds of the first wait before a post is tried again; it doubles up to `MAX_BACKOFF_MS`. */
const FIRST_BACKOFF_MS = 100;
const MAX_BACKOFF_MS = 3000;

/**
 * @typedef {{number: number, url: string, path: string, body: string}} Post
 */

/**
 * Posts to event observers, as a node does: one queue for all of them, in order, each post repeated until it is
 * answered with exactly 200. An observer that does not answer therefore holds up the others.
 */
export class Observers {
  /**
   * @param {{urls: string[], timeoutMs: number, delivered: Record<string, number>, acknowledge: (url: string, number: number) => void, report: (message: Record<string, unknown>) => void}} options
   * `delivered`: the last post that each observer got before a restart; observers not in it start with the next post.
   */
  constructor({ urls, timeoutMs, delivered, acknowledge, report }) {
    this.urls = urls.map((url) => url.replace(/\/+$/, ''));
    this.timeoutMs = timeoutMs;
    this.delivered = delivered;
    this.acknowledge = acknowledge;
    this.report = report;
    /** @type {Post[]} */
    this.queue = [];
    /** Number of posts since genesis, whether or not anybody listens. */
    this.count = 0;
    this.paused = false;
    this.running = false;
    this.stopped = new AbortController();
    this.wake = () => {};
  }

  /**
   * Queues a post for every observer that has not had it yet.
   * @param {string} path
   * @param {() => unknown} body called only when somebody listens
   */
  post(path, body) {
    this.count += 1;
    const waiting = this.urls.filter((url) => this.count > (this.delivered[url] ?? 0));
    if (waiting.length === 0) return;
    const text = JSON.stringify(body());
    for (const url of waiting) this.queue.push({ number: this.count, url, path, body: text });
    if (this.running) this.wake();
  }

  /**
   * From now on, sends what is queued. An observer that is new to this chain starts here.
   * @param {boolean} fresh whether the chain itself is new, so that new observers get it all
   */
  start(fresh) {
    for (const url of this.urls) {
      if (url in this.delivered) continue;
      this.delivered[url] = fresh ? 0 : this.count;
      this.acknowledge(url, this.delivered[url]);
    }
    this.queue = this.queue.filter(({ url, number }) => number > this.delivered[url]);
    this.running = true;
    void this.deliver();
  }

  async deliver() {
    while (!this.stopped.signal.aborted) {
      const post = this.queue[0];
      if (!post || this.paused) {
        await new Promise((resolve) => (this.wake = () => resolve(undefined)));
        continue;
      }
      if (await this.untilAccepted(post)) {
        this.queue.shift();
        this.delivered[post.url] = post.number;
        this.acknowledge(post.url, post.number);
      }
    }
  }

  /**
   * @param {Post} post
   * @returns {Promise<boolean>} false when posting was paused or stopped first
   */
  async untilAccepted(post) {
    for (
      let wait = FIRST_BACKOFF_MS;
      !this.paused && !this.stopped.signal.aborted;
      wait = Math.min(wait * 2, MAX_BACKOFF_MS)
    ) {
      const failure = await send(post, this.timeoutMs, this.stopped.signal);
      if (failure === null) return true;
      if (this.stopped.signal.aborted) return false;
      this.report({
        event: 'post failed',
        observer: post.url,
        path: post.path,
        number: post.number,
        failure,
        retry_ms: wait,
      });
      await new Promise((resolve) => {
        const timer = setTimeout(resolve, wait);
        this.wake = () => {
          if (!this.paused && !this.stopped.signal.aborted) return;
          clearTimeout(timer);
          resolve(undefined);
        };
      });
    }
    return false;
  }

  pause() {
    this.paused = true;
    this.wake();
  }

  resume() {
    this.paused = false;
    this.wake();
  }

  stop() {
    this.stopped.abort();
    this.wake();
  }
}

/**
 * @param {Post} post
 * @param {number} timeoutMs
 * @param {AbortSignal} signal
 * @returns {Promise<string | null>} why the observer did not accept it, or null
 */
function send({ url, path, body }, timeoutMs, signal) {
  return new Promise((resolve) => {
    const bytes = Buffer.from(body);
    const headers = { 'content-type': 'application/json', 'content-length': bytes.length, connection: 'close' };
    const outgoing = request(
      url + path,
      { method: 'POST', headers, signal, timeout: timeoutMs, agent: false },
      (answer) => {
        answer.on('error', (error) => resolve(error.message));
        answer.on('end', () => resolve(answer.statusCode === 200 ? null : `answered ${answer.statusCode}`));
        answer.resume();
      },
    );
    outgoing.on('timeout', () => outgoing.destroy(new Error(`no answer within ${timeoutMs} ms`)));
    outgoing.on('error', (error) => resolve(error.message));
    outgoing.end(bytes);
  });
}
