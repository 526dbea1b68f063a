// Reads CBOR (RFC 8949) the way Charms writes it: definite lengths and shortest integers. Anything else is refused.
import { refuse, require, Span } from "./host";
import { B32 } from "./sha256";
import { U256 } from "./u256";

const UNSIGNED: u8 = 0;
const NEGATIVE: u8 = 1;
const BYTES: u8 = 2;
const TEXT: u8 = 3;
const ARRAY: u8 = 4;
const MAP: u8 = 5;
const TAG: u8 = 6;
const FALSE: u8 = 0xf4;
const TRUE: u8 = 0xf5;
const NULL: u8 = 0xf6;
const POSITIVE_BIGNUM: u8 = 0xc2;
/** How deep values may lie within values. */
const MAXIMUM_DEPTH: i32 = 64;

/** Reads a run of bytes as CBOR values, one after the other. */
export class Reader {
  private position: usize;
  private readonly end: usize;
  /** What the head read last says: an integer's value, or a length. */
  private argument: u64 = 0;

  constructor(data: Span) {
    this.position = data.start;
    this.end = data.start + data.length;
  }

  /** Refuses where anything follows. */
  finish(): void {
    require(this.position == this.end, "something follows the value");
  }

  private byte(): u8 {
    require(this.position < this.end, "the value ends too early");
    return load<u8>(this.position++);
  }

  private take(length: u64): Span {
    require(length <= <u64>(this.end - this.position), "the value ends too early");
    const span = new Span(this.position, <usize>length);
    this.position += <usize>length;
    return span;
  }

  /** Reads a head; returns the major type and leaves the argument. */
  private head(): u8 {
    const first = this.byte();
    const short = first & 0x1f;
    if (short < 24) {
      this.argument = <u64>short;
    } else {
      require(short < 28, "a length that is not definite");
      const size = <usize>1 << (short - 24);
      const span = this.take(size);
      let value: u64 = 0;
      for (let i: usize = 0; i < size; i++) value = (value << 8) | <u64>span.at(i);
      // simple values and floats (major type 7) are not integers
      const least: u64 = short == 24 ? 24 : (<u64>1) << (<u64>size << 2);
      require(first >> 5 == 7 || value >= least, "an integer that is not in its shortest form");
      this.argument = value;
    }
    return first >> 5;
  }

  private expect(major: u8, otherwise: string): u64 {
    require(this.head() == major, otherwise);
    return this.argument;
  }

  /** An unsigned integer of 64 bits. */
  u64(): u64 {
    return this.expect(UNSIGNED, "an unsigned integer is expected");
  }

  /** An unsigned integer of 128 bits: a bignum (tag 2) where it needs more than 64. */
  u128(): U256 {
    if (this.position >= this.end || load<u8>(this.position) != POSITIVE_BIGNUM) return U256.from(this.u64());
    this.position++;
    const bytes = this.take(this.expect(BYTES, "a bignum is made of bytes"));
    require(bytes.length > 8 && bytes.length <= 16 && bytes.at(0) != 0, "a bignum is longer than 64 bits, up to 128");
    return U256.fromBytes(bytes.start, bytes.length);
  }

  bool(): bool {
    const value = this.byte();
    require(value == FALSE || value == TRUE, "a boolean is expected");
    return value == TRUE;
  }

  bytes(): Span {
    return this.take(this.expect(BYTES, "bytes are expected"));
  }

  /** Whether a text follows. */
  isText(): bool {
    return this.position < this.end && load<u8>(this.position) >> 5 == TEXT;
  }

  text(): Span {
    return this.take(this.expect(TEXT, "a text is expected"));
  }

  /** How many values an array holds. They follow; each needs a byte at least. */
  array(): i32 {
    return this.count(this.expect(ARRAY, "an array is expected"));
  }

  /** How many pairs a map holds. They follow. */
  map(): i32 {
    return this.count(this.expect(MAP, "a map is expected"));
  }

  private count(length: u64): i32 {
    require(length <= <u64>(this.end - this.position), "the value ends too early");
    return <i32>length;
  }

  /** The next value as it is encoded. */
  raw(): Span {
    const start = this.position;
    this.skip(0);
    return new Span(start, this.position - start);
  }

  /** 32 bytes, as an array of integers. */
  b32(): B32 {
    const octets = this.octets();
    require(octets.length == 32, "32 bytes are expected");
    return B32.load(octets.start);
  }

  /** Bytes, as an array of integers. */
  octets(): Span {
    const length = <usize>this.array();
    const start = heap.alloc(length);
    for (let i: usize = 0; i < length; i++) {
      const octet = this.u64();
      require(octet < 256, "a byte is expected");
      store<u8>(start + i, <u8>octet);
    }
    return new Span(start, length);
  }

  /** Opens a map of exactly `count` pairs; their keys follow in the order of the shape. */
  shape(count: i32): void {
    require(this.map() == count, "the charm has not the fields of its shape");
  }

  /** Reads the text `name`, the key of the value that follows. */
  key(name: string): void {
    require(this.text().is(name), "the charm has not the fields of its shape");
  }

  private skip(depth: i32): void {
    require(depth < MAXIMUM_DEPTH, "values lie too deep within values");
    const major = this.head();
    const argument = this.argument;
    if (major == BYTES || major == TEXT) {
      this.take(argument);
    } else if (major == ARRAY || major == MAP) {
      const count = this.count(argument) * (major == MAP ? 2 : 1);
      for (let i = 0; i < count; i++) this.skip(depth + 1);
    } else if (major == TAG) {
      this.skip(depth + 1);
    } else if (major != UNSIGNED && major != NEGATIVE && major != 7) {
      refuse("an unknown type");
    }
  }
}

/** Whether the encoded value is null, which is how Charms says "nothing". */
export function isNull(value: Span): bool {
  return value.length == 1 && value.at(0) == NULL;
}

/** The first key of an encoded map, which is a text; empty where there is none. */
export function firstKey(value: Span): Span {
  const reader = new Reader(value);
  return reader.map() > 0 ? reader.text() : new Span(value.start, 0);
}
