import { createHash } from 'node:crypto';
import { Cl, serializeCVBytes } from '@stacks/transactions';

/** What one user gets in an epoch of an incentives programme. */
export type Reward = { who: string; amt: bigint };

const ZERO = new Uint8Array(32);

function sha256(...parts: Uint8Array[]): Uint8Array {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(part);
  return new Uint8Array(hash.digest());
}

export function leafHash(program: bigint, epoch: bigint, { who, amt }: Reward): Uint8Array {
  const value = Cl.tuple({ program: Cl.uint(program), epoch: Cl.uint(epoch), who: Cl.principal(who), amt: Cl.uint(amt) });
  return sha256(Uint8Array.of(0), serializeCVBytes(value));
}

/** The rewards of an epoch as a tree: leaves in the given order, filled up with zeros to a power of two. */
export class RewardTree {
  /** Hashes of each level, leaves first. */
  private readonly levels: Uint8Array[][];

  constructor(
    program: bigint,
    epoch: bigint,
    readonly rewards: readonly Reward[],
  ) {
    const width = 2 ** Math.ceil(Math.log2(rewards.length));
    const leaves = rewards.map((reward) => leafHash(program, epoch, reward));
    this.levels = [[...leaves, ...Array.from({ length: width - leaves.length }, () => ZERO)]];
    while (this.levels[0]!.length >> (this.levels.length - 1) > 1) {
      const below = this.levels.at(-1)!;
      this.levels.push(
        Array.from({ length: below.length / 2 }, (_, i) => sha256(Uint8Array.of(1), below[2 * i]!, below[2 * i + 1]!)),
      );
    }
  }

  get root(): Uint8Array {
    return this.levels.at(-1)![0]!;
  }

  get total(): bigint {
    return this.rewards.reduce((sum, { amt }) => sum + amt, 0n);
  }

  /** Siblings from a leaf up to the root. */
  proof(index: number): Uint8Array[] {
    return this.levels.slice(0, -1).map((level, height) => level[(index >> height) ^ 1]!);
  }
}
