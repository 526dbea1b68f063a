/** Numbers that look random and are the same in every run (mulberry32). */
export class Random {
  constructor(private state: number) {}

  /** In [0, 2^32). */
  private next(): number {
    this.state = (this.state + 0x6d2b79f5) | 0;
    let t = Math.imul(this.state ^ (this.state >>> 15), 1 | this.state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return (t ^ (t >>> 14)) >>> 0;
  }

  /** A whole number in [least, most]. */
  between(least: bigint, most: bigint): bigint {
    const wide = (BigInt(this.next()) << 64n) | (BigInt(this.next()) << 32n) | BigInt(this.next());
    return least + (wide % (most - least + 1n));
  }

  pick<T>(items: readonly T[]): T {
    return items[Number(this.between(0n, BigInt(items.length - 1)))]!;
  }
}
