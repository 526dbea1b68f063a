// What the host gives: one input on standard input, and standard error for the reason of a refusal (WASI preview 1).
// A refusal is a trap. Charms' own runner lets `proc_exit` return, so leaving with an exit code would count as success.

// @ts-ignore: decorator
@external("wasi_snapshot_preview1", "fd_read")
declare function fd_read(descriptor: i32, vectors: usize, count: i32, read: usize): i32;

// @ts-ignore: decorator
@external("wasi_snapshot_preview1", "fd_write")
declare function fd_write(descriptor: i32, vectors: usize, count: i32, written: usize): i32;

const STANDARD_INPUT: i32 = 0;
const STANDARD_ERROR: i32 = 2;
/** Most bytes of input; the transactions that made the inputs are part of it, and are skipped. */
const MAXIMUM_INPUT: usize = 16 << 20;

/** A run of bytes in memory. */
export class Span {
  constructor(
    readonly start: usize,
    readonly length: usize,
  ) {}

  /** The byte at `index`, which the caller has checked. */
  @inline at(index: usize): u8 {
    return load<u8>(this.start + index);
  }

  equals(other: Span): bool {
    return this.length == other.length && memory.compare(this.start, other.start, this.length) == 0;
  }

  /** Whether these are the characters of `text`, which is ASCII. */
  is(text: string): bool {
    if (this.length != <usize>text.length) return false;
    for (let i = 0; i < text.length; i++) {
      if (<i32>this.at(i) != text.charCodeAt(i)) return false;
    }
    return true;
  }
}

/** All of standard input. */
export function readInput(): Span {
  // address, length, and how much was read
  const vector = heap.alloc(12);
  let capacity: usize = 1 << 16;
  let start = heap.alloc(capacity);
  let length: usize = 0;
  while (true) {
    if (length == capacity) {
      require(capacity < MAXIMUM_INPUT, "the input is longer than 16 MiB");
      capacity *= 2;
      // the last that was allocated, it grows where it is
      start = heap.realloc(start, capacity);
    }
    store<u32>(vector, <u32>(start + length));
    store<u32>(vector + 4, <u32>(capacity - length));
    store<u32>(vector + 8, 0);
    require(fd_read(STANDARD_INPUT, vector, 1, vector + 8) == 0, "standard input cannot be read");
    const read = <usize>load<u32>(vector + 8);
    if (read == 0) return new Span(start, length);
    require(read <= capacity - length, "the host read more than there is room for");
    length += read;
  }
}

/** Says why on standard error, and traps. */
export function refuse(reason: string): void {
  const length = <usize>reason.length;
  const start = heap.alloc(length + 1);
  for (let i: usize = 0; i < length; i++) store<u8>(start + i, <u8>reason.charCodeAt(<i32>i));
  store<u8>(start + length, 0x0a);
  const vector = heap.alloc(12);
  store<u32>(vector, <u32>start);
  store<u32>(vector + 4, <u32>(length + 1));
  fd_write(STANDARD_ERROR, vector, 1, vector + 8);
  unreachable();
}

/** Refuses with `reason` unless `condition` holds. */
// @ts-ignore: decorator
@inline
export function require(condition: bool, reason: string): void {
  if (!condition) refuse(reason);
}

/** What the compiler calls where the language itself fails: an index out of bounds, no more memory. */
export function abort(message: string | null, _file: string | null, _line: u32, _column: u32): void {
  refuse(message === null ? "the program failed" : message);
}
