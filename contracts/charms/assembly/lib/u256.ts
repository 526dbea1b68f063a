// Unsigned integers of 256 bits. Every operation that has no result in range refuses: nothing wraps around.
import { refuse, require } from "./host";

const LIMBS: i32 = 8;

/** An unsigned integer of 256 bits, in eight limbs of 32 bits, the least significant first. Its value never changes. */
export class U256 {
  readonly limbs: StaticArray<u32> = new StaticArray<u32>(LIMBS);

  static from(value: u64): U256 {
    const result = new U256();
    unchecked((result.limbs[0] = <u32>value));
    unchecked((result.limbs[1] = <u32>(value >> 32)));
    return result;
  }

  /** From bytes, the most significant first. */
  static fromBytes(start: usize, length: usize): U256 {
    require(length <= 32, "an integer is longer than 256 bits");
    const result = new U256();
    for (let i: usize = 0; i < length; i++) {
      const place = <i32>(length - 1 - i);
      const limb = place >> 2;
      unchecked((result.limbs[limb] |= (<u32>load<u8>(start + i)) << (<u32>(place & 3) << 3)));
    }
    return result;
  }

  /** Less than 0, 0 or greater than 0 as this is less than, equal to or greater than `other`. */
  compare(other: U256): i32 {
    for (let i = LIMBS - 1; i >= 0; i--) {
      const left = unchecked(this.limbs[i]);
      const right = unchecked(other.limbs[i]);
      if (left != right) return left < right ? -1 : 1;
    }
    return 0;
  }

  @inline equals(other: U256): bool {
    return this.compare(other) == 0;
  }

  isZero(): bool {
    for (let i = 0; i < LIMBS; i++) if (unchecked(this.limbs[i]) != 0) return false;
    return true;
  }

  plus(other: U256): U256 {
    const result = new U256();
    let carry: u64 = 0;
    for (let i = 0; i < LIMBS; i++) {
      carry += <u64>unchecked(this.limbs[i]) + <u64>unchecked(other.limbs[i]);
      unchecked((result.limbs[i] = <u32>carry));
      carry >>= 32;
    }
    require(carry == 0, "a sum is longer than 256 bits");
    return result;
  }

  minus(other: U256): U256 {
    require(this.compare(other) >= 0, "a difference is negative");
    const result = new U256();
    let borrow: u64 = 0;
    for (let i = 0; i < LIMBS; i++) {
      const difference = <u64>unchecked(this.limbs[i]) - <u64>unchecked(other.limbs[i]) - borrow;
      unchecked((result.limbs[i] = <u32>difference));
      borrow = (difference >> 32) & 1;
    }
    return result;
  }

  times(other: U256): U256 {
    const result = new U256();
    for (let i = 0; i < LIMBS; i++) {
      const factor = <u64>unchecked(this.limbs[i]);
      if (factor == 0) continue;
      let carry: u64 = 0;
      for (let j = 0; j < LIMBS; j++) {
        const place = i + j;
        const product = factor * <u64>unchecked(other.limbs[j]) + carry;
        if (place >= LIMBS) {
          require(product == 0, "a product is longer than 256 bits");
          continue;
        }
        const sum = product + <u64>unchecked(result.limbs[place]);
        unchecked((result.limbs[place] = <u32>sum));
        carry = sum >> 32;
      }
      require(carry == 0, "a product is longer than 256 bits");
    }
    return result;
  }

  /** The quotient, rounded down: long division, bit by bit. */
  over(divisor: U256): U256 {
    if (divisor.isZero()) refuse("a division by zero");
    const quotient = new U256();
    const remainder = new U256();
    let top = LIMBS - 1;
    while (top > 0 && unchecked(this.limbs[top]) == 0) top--;
    for (let bit = top * 32 + 31; bit >= 0; bit--) {
      let carry = (unchecked(this.limbs[bit >> 5]) >> (bit & 31)) & 1;
      // what leaves on the left is lost only where the divisor has all 256 bits: then the remainder is larger than it
      for (let i = 0; i < LIMBS; i++) {
        const limb = unchecked(remainder.limbs[i]);
        unchecked((remainder.limbs[i] = (limb << 1) | carry));
        carry = limb >> 31;
      }
      if (carry != 0 || remainder.compare(divisor) >= 0) {
        let borrow: u64 = 0;
        for (let i = 0; i < LIMBS; i++) {
          const difference = <u64>unchecked(remainder.limbs[i]) - <u64>unchecked(divisor.limbs[i]) - borrow;
          unchecked((remainder.limbs[i] = <u32>difference));
          borrow = (difference >> 32) & 1;
        }
        unchecked((quotient.limbs[bit >> 5] |= (<u32>1) << (bit & 31)));
      }
    }
    return quotient;
  }

  /** The value as 64 bits; refuses where it needs more. */
  toU64(): u64 {
    for (let i = 2; i < LIMBS; i++) require(unchecked(this.limbs[i]) == 0, "an amount is longer than 64 bits");
    return (<u64>unchecked(this.limbs[1]) << 32) | <u64>unchecked(this.limbs[0]);
  }
}

/** `a * b / c`, rounded down. */
export function mulDiv(a: u64, b: u64, c: u64): u64 {
  return U256.from(a).times(U256.from(b)).over(U256.from(c)).toU64();
}

/** `a * b / c`, rounded up. */
export function mulDivUp(a: u64, b: u64, c: u64): u64 {
  return U256.from(a)
    .times(U256.from(b))
    .plus(U256.from(c - 1))
    .over(U256.from(c))
    .toU64();
}

/** `a + b`; refuses where that is longer than 64 bits. */
export function plus(a: u64, b: u64): u64 {
  require(a <= u64.MAX_VALUE - b, "an amount is longer than 64 bits");
  return a + b;
}

/** `a - b`; refuses with `reason` where that is negative. */
export function minus(a: u64, b: u64, reason: string): u64 {
  require(a >= b, reason);
  return a - b;
}
