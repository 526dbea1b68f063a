// SHA-256 (FIPS 180-4).
import { Span } from "./host";

// prettier-ignore
const ROUND: StaticArray<u32> = [
  0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
  0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
  0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
  0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
  0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
  0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
  0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
  0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
];

/** 32 bytes, such as a hash. */
export class B32 {
  constructor(
    readonly a: u64,
    readonly b: u64,
    readonly c: u64,
    readonly d: u64,
  ) {}

  static load(start: usize): B32 {
    return new B32(
      bswap(load<u64>(start)),
      bswap(load<u64>(start, 8)),
      bswap(load<u64>(start, 16)),
      bswap(load<u64>(start, 24)),
    );
  }

  @inline equals(other: B32): bool {
    return this.a == other.a && this.b == other.b && this.c == other.c && this.d == other.d;
  }

  @inline isZero(): bool {
    return (this.a | this.b | this.c | this.d) == 0;
  }
}

/** The SHA-256 of `data`. */
export function sha256(data: Span): B32 {
  const state: StaticArray<u32> = [
    0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
  ];
  const schedule = new StaticArray<u32>(64);
  // the data, the bit 1, zeros, and the length in bits as 64 bits
  const padded = ((data.length + 9 + 63) / 64) * 64;
  const message = heap.alloc(padded);
  memory.fill(message, 0, padded);
  memory.copy(message, data.start, data.length);
  store<u8>(message + data.length, 0x80);
  store<u64>(message + padded - 8, bswap(<u64>data.length * 8));
  for (let block = message; block < message + padded; block += 64) compress(state, schedule, block);
  return new B32(pair(state, 0), pair(state, 2), pair(state, 4), pair(state, 6));
}

function pair(state: StaticArray<u32>, index: i32): u64 {
  return (<u64>unchecked(state[index]) << 32) | <u64>unchecked(state[index + 1]);
}

function compress(state: StaticArray<u32>, w: StaticArray<u32>, block: usize): void {
  for (let t = 0; t < 16; t++) unchecked((w[t] = bswap(load<u32>(block + (<usize>t << 2)))));
  for (let t = 16; t < 64; t++) {
    const x = unchecked(w[t - 15]);
    const y = unchecked(w[t - 2]);
    const small0 = rotr<u32>(x, 7) ^ rotr<u32>(x, 18) ^ (x >> 3);
    const small1 = rotr<u32>(y, 17) ^ rotr<u32>(y, 19) ^ (y >> 10);
    unchecked((w[t] = w[t - 16] + small0 + w[t - 7] + small1));
  }
  let a = unchecked(state[0]);
  let b = unchecked(state[1]);
  let c = unchecked(state[2]);
  let d = unchecked(state[3]);
  let e = unchecked(state[4]);
  let f = unchecked(state[5]);
  let g = unchecked(state[6]);
  let h = unchecked(state[7]);
  for (let t = 0; t < 64; t++) {
    const big1 = rotr<u32>(e, 6) ^ rotr<u32>(e, 11) ^ rotr<u32>(e, 25);
    const t1 = h + big1 + ((e & f) ^ (~e & g)) + unchecked(ROUND[t]) + unchecked(w[t]);
    const big0 = rotr<u32>(a, 2) ^ rotr<u32>(a, 13) ^ rotr<u32>(a, 22);
    const t2 = big0 + ((a & b) ^ (a & c) ^ (b & c));
    h = g;
    g = f;
    f = e;
    e = d + t1;
    d = c;
    c = b;
    b = a;
    a = t1 + t2;
  }
  unchecked((state[0] += a));
  unchecked((state[1] += b));
  unchecked((state[2] += c));
  unchecked((state[3] += d));
  unchecked((state[4] += e));
  unchecked((state[5] += f));
  unchecked((state[6] += g));
  unchecked((state[7] += h));
}
