/** Mines on two clocks: one for Stacks blocks, one for burn blocks. */
export class Miner {
  /**
   * @param {import('./devnet.js').Devnet} devnet
   * @param {(error: unknown) => void} report
   */
  constructor(devnet, report) {
    this.devnet = devnet;
    this.report = report;
    this.blockMs = 0;
    this.burnMs = 0;
    /** @type {NodeJS.Timeout[]} */
    this.timers = [];
  }

  /**
   * @param {number} blockMs milliseconds between Stacks blocks, 0 = only on request
   * @param {number} burnMs milliseconds between burn blocks, 0 = only on request
   */
  setIntervals(blockMs, burnMs) {
    this.timers.forEach(clearInterval);
    this.blockMs = blockMs;
    this.burnMs = burnMs;
    this.timers = [
      ...(blockMs > 0 ? [setInterval(() => this.attempt(() => this.devnet.mine()), blockMs)] : []),
      ...(burnMs > 0
        ? [
            setInterval(
              () =>
                this.attempt(() => {
                  this.devnet.burn();
                  this.devnet.mine();
                }),
              burnMs,
            ),
          ]
        : []),
    ];
  }

  /** @param {() => void} work */
  attempt(work) {
    try {
      work();
    } catch (error) {
      this.report(error);
    }
  }

  stop() {
    this.setIntervals(0, 0);
  }
}
