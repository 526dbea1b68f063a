/** The arithmetic of `docs/contracts.md` written a second time, to compare with `bh-math`. */

const BP = 10_000n;
const E8 = 100_000_000n;
const E12 = 1_000_000_000_000n;
const BLOCKS_PER_YEAR = 52_560n;
const KNOTS: readonly (readonly [bigint, bigint])[] = [
  [0n, 10_000n],
  [2_500n, 7_178n],
  [5_000n, 4_958n],
  [7_500n, 3_288n],
  [10_000n, 2_088n],
  [12_500n, 1_268n],
  [15_000n, 735n],
  [20_000n, 213n],
  [25_000n, 50n],
  [30_000n, 10n],
];

export type Type = 'put' | 'call';

export function ceilDiv(n: bigint, d: bigint): bigint {
  return n / d + (n % d === 0n ? 0n : 1n);
}

export function isqrt(n: bigint): bigint {
  if (n < 2n) return n;
  let x = n;
  for (let y = (x + 1n) / 2n; y < x; y = (x + n / x) / 2n) x = y;
  return x;
}

export function densityBp(m: bigint): bigint {
  const above = KNOTS.findIndex(([knot]) => m < knot);
  if (above < 0) return KNOTS.at(-1)![1];
  const [m0, d0] = KNOTS[above - 1]!;
  const [m1, d1] = KNOTS[above]!;
  return d0 - ((d0 - d1) * (m - m0)) / (m1 - m0);
}

export function timeValue(spot: bigint, strike: bigint, volBp: bigint, blocks: bigint): bigint {
  const stdev = isqrt((volBp * volBp * blocks * E8) / BLOCKS_PER_YEAR);
  const sd = (spot * stdev) / E8;
  if (sd === 0n) return 0n;
  const distance = strike > spot ? strike - spot : spot - strike;
  return ceilDiv(sd * densityBp((distance * BP) / sd) * 4n, 100_000n);
}

export function intrinsic(type: Type, strike: bigint, price: bigint): bigint {
  const gain = type === 'put' ? strike - price : price - strike;
  return gain > 0n ? gain : 0n;
}

export type PremiumTerms = {
  type: Type;
  spot: bigint;
  strike: bigint;
  notional: bigint;
  volBp: bigint;
  blocks: bigint;
  typeMultBp: bigint;
  tierMultBp: bigint;
  utilMultBp: bigint;
  floorBp: bigint;
};

export function premium(terms: PremiumTerms): bigint {
  const { type, spot, strike, notional, volBp, blocks, typeMultBp, tierMultBp, utilMultBp, floorBp } = terms;
  const unit = intrinsic(type, strike, spot) + timeValue(spot, strike, volBp, blocks);
  const loaded = ceilDiv(ceilDiv(unit * notional, E8) * typeMultBp * tierMultBp * utilMultBp, E12);
  const least = ceilDiv(spot * notional * floorBp, E12);
  return loaded > least ? loaded : least;
}

export type ShareTerms = {
  type: Type;
  spot: bigint;
  strike: bigint;
  notional: bigint;
  volBp: bigint;
  blocks: bigint;
  maxPayout: bigint;
  liability: bigint;
};

export function takeOver({ type, spot, strike, notional, volBp, blocks, maxPayout, liability }: ShareTerms): bigint {
  const unit = intrinsic(type, strike, spot) + timeValue(spot, strike, volBp, blocks);
  const value = ceilDiv(unit * ceilDiv(notional * liability, maxPayout), E8);
  return value < liability ? value : liability;
}

export function maxPayout(type: Type, strike: bigint, notional: bigint, callCapBp: bigint): bigint {
  return type === 'put' ? (strike * notional) / E8 : (strike * notional * callCapBp) / E12;
}

export function payoff(type: Type, strike: bigint, price: bigint, notional: bigint, most: bigint): bigint {
  const amount = (intrinsic(type, strike, price) * notional) / E8;
  return amount > most ? most : amount;
}

export function requiredCollateral(
  liability: bigint,
  decimals: bigint,
  price: bigint,
  ratioBp: bigint,
  haircutBp: bigint,
): bigint {
  return ceilDiv(liability * 10n ** decimals * ratioBp, price * (BP - haircutBp));
}

export function healthBp(
  amount: bigint,
  decimals: bigint,
  price: bigint,
  haircutBp: bigint,
  liability: bigint,
): bigint | null {
  return liability === 0n ? null : (amount * price * (BP - haircutBp)) / (10n ** decimals * liability);
}

/** Splits an amount over shares by cumulative floors; the parts sum to the amount. */
export function split(amount: bigint, shares: bigint[]): bigint[] {
  const total = shares.reduce((sum, share) => sum + share, 0n);
  let from = 0n;
  return shares.map((share) => {
    const part = (amount * (from + share)) / total - (amount * from) / total;
    from += share;
    return part;
  });
}
