import { describe, expect, test } from 'vitest';
import { Chain } from '../chain.js';

describe('hashes', () => {
  /** @param {string} seed */
  const grow = (seed) => {
    const chain = new Chain({ seed, contracts: new Map() });
    for (let i = 0; i < 3; i++) {
      chain.burns.push(...chain.nextBurnBlocks(1));
      chain.addBlock({ time: i, receipts: [] });
      chain.addBlock({ time: i, receipts: [] });
    }
    return chain;
  };
  const hashes = (/** @type {Chain} */ chain) => [
    ...chain.blocks.map(({ indexHash }) => indexHash),
    ...chain.burns.map(({ hash }) => hash),
  ];

  test('the same seed and history give the same hashes', () => expect(hashes(grow('a'))).toEqual(hashes(grow('a'))));

  test('another seed gives others, but for the genesis block', () => {
    const [a, b] = [grow('a'), grow('b')];
    expect(b.blocks[0].indexHash).toBe(a.blocks[0].indexHash);
    const shared = new Set(hashes(a).slice(1));
    expect(
      hashes(b)
        .slice(1)
        .filter((hash) => shared.has(hash)),
    ).toEqual([]);
  });

  test('another branch gives others from its first block on, and keeps those before', () => {
    const chain = grow('a');
    const before = { blocks: [...chain.blocks], burns: [...chain.burns] };
    const { blocks, burns } = chain.rollBack(3);
    expect([blocks, burns]).toEqual([before.blocks.slice(4), before.burns.slice(3)]);
    chain.burns.push(...chain.nextBurnBlocks(1));
    for (let i = 0; i < 4; i++) chain.addBlock({ time: i, receipts: [] });
    expect(chain.blocks.slice(0, 4)).toEqual(before.blocks.slice(0, 4));
    const shared = new Set([...before.blocks, ...before.burns].map(({ hash }) => hash));
    expect([...chain.blocks.slice(4), ...chain.burns.slice(3)].filter(({ hash }) => shared.has(hash))).toEqual([]);
    expect(blocks.every(({ indexHash }) => chain.known.has(indexHash))).toBe(true);
  });
});
