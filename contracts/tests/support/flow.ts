import { Chain, type Outcome, type Row } from './chain.ts';

/** Market that tests begin with. */
export const BTC_USD8 = 100_000_00000000n;
export const STX_USD8 = 2_00000000n;

/** Parameters for policies that last a few Bitcoin blocks. */
export const SHORT: [string, bigint][] = [
  ['min-duration', 2n],
  ['expiry-step', 1n],
  ['withdrawal-delay', 1n],
];

export function setParams(chain: Chain, changes: [string, bigint][]): Outcome {
  return chain.must('bh-params', 'set-params', [changes.map(([key, value]) => ({ key, value })), null], chain.deployer);
}

/** The four bootstrap calls; governance is by stake of STX. */
export function bootstrap(chain: Chain): void {
  chain.must('bh-registry', 'bootstrap', [chain.guardian], chain.deployer);
  chain.must('bh-params', 'bootstrap', [chain.sbtc], chain.deployer);
  chain.must(
    'bh-oracle',
    'bootstrap',
    [
      [
        { asset: 'BTC', insurable: true, 'reference-usd8': BTC_USD8 },
        { asset: 'STX', insurable: false, 'reference-usd8': STX_USD8 },
      ],
      chain.feeders.map((provider) => ({ provider, weight: 1n })),
    ],
    chain.deployer,
  );
  chain.must('bh-gov', 'bootstrap', [chain.stx, 'stx'], chain.deployer);
}

/** The round that the next submission belongs to. */
export function nextRound(chain: Chain, asset: string): bigint {
  return (chain.read('bh-oracle', 'get-asset', [asset]) as Row)['next-round'] as bigint;
}

/** All feeders submit one price and the round is closed. */
export function closeRound(chain: Chain, asset: string, price: bigint): Outcome {
  const round = nextRound(chain, asset);
  const observed = chain.burn;
  for (const feeder of chain.feeders) {
    chain.must('bh-oracle', 'submit-price', [asset, round, price, observed], feeder);
  }
  return chain.must('bh-oracle', 'close-round', [asset, round], chain.stranger);
}

/** Moves a price as far as it takes, in rounds that stay within the largest allowed move or confirm each other. */
export function setPrice(chain: Chain, asset: string, price: bigint): void {
  if (closeRound(chain, asset, price).value === false) closeRound(chain, asset, price);
}

export type PolicyTerms = {
  type?: 'put' | 'call';
  style?: 'european' | 'american';
  strike?: bigint;
  notional?: bigint;
  expiry?: bigint;
  token?: string;
  maxPremium?: bigint;
  owner?: string;
  /** Providers and their shares of the liability; the first one takes what division leaves. */
  backers?: { provider: string; share: bigint }[];
};

/** What a policy can pay at most, in usd8. */
export function maxPayout(strike: bigint, notional: bigint): bigint {
  return (strike * notional) / 100_000_000n;
}

/** Splits a liability over backers by share. */
export function allocate(total: bigint, backers: { provider: string; share: bigint }[]): Row[] {
  const shares = backers.reduce((sum, { share }) => sum + share, 0n);
  const parts = backers.map(({ share }) => (total * share) / shares);
  parts[0]! += total - parts.reduce((sum, part) => sum + part, 0n);
  return backers.map(({ provider }, i) => ({ provider, 'liability-usd8': parts[i]! }));
}

/** Creates a policy; whatever is not given is a 90% PUT on 0.01 BTC backed by the first provider in STX. */
export function createPolicy(chain: Chain, terms: PolicyTerms = {}): Outcome {
  const {
    type = 'put',
    style = 'european',
    strike = (BTC_USD8 * 9n) / 10n,
    notional = 1_000_000n,
    expiry = chain.burn + 10n,
    token = chain.stx,
    maxPremium = 10n ** 15n,
    owner = chain.buyer,
    backers = [{ provider: chain.providers[0]!, share: 1n }],
  } = terms;
  return chain.call(
    'bh-policy',
    'create-policy',
    [
      type,
      style,
      'BTC',
      strike,
      notional,
      expiry,
      maxPremium,
      token,
      allocate(maxPayout(strike, notional), backers) as { [key: string]: string | bigint }[],
    ],
    owner,
  );
}

export type Market = { extraProviders?: number; trackCosts?: boolean; deployer?: string; tiers?: string[] };

/** A chain after the three bootstrap calls. */
export function bootstrapped({ extraProviders = 0 } = {}): Promise<Chain> {
  return Chain.reuse(`bootstrapped ${extraProviders}`, async () => {
    const chain = await Chain.create({ extraProviders });
    bootstrap(chain);
    return chain;
  });
}

/** A bootstrapped chain with short policies and fresh prices, and 20,000 STX and 1 sBTC of each provider in each tier. */
export function market(options: Market = {}): Promise<Chain> {
  return Chain.reuse(`market ${JSON.stringify(options)}`, () => buildMarket(options));
}

async function buildMarket({ tiers = ['aggressive'], ...options }: Market): Promise<Chain> {
  const chain = await Chain.create(options);
  bootstrap(chain);
  setParams(chain, SHORT);
  closeRound(chain, 'BTC', BTC_USD8);
  closeRound(chain, 'STX', STX_USD8);
  for (const provider of chain.providers) {
    for (const tier of tiers) {
      chain.must('bh-vault', 'deposit', [chain.stx, tier, 20_000_000_000n], provider);
      chain.must('bh-vault', 'deposit', [chain.sbtc, tier, 100_000_000n], provider);
    }
  }
  return chain;
}

/** Fixes the prices of an expiry from rounds at the current height. */
export function fixExpiry(chain: Chain, expiry: bigint, prices: { BTC: bigint; STX: bigint }): void {
  chain.mineTo(expiry);
  for (const asset of ['BTC', 'STX'] as const) {
    setPrice(chain, asset, prices[asset]);
    const round = (chain.read('bh-oracle', 'get-asset', [asset]) as Row)['last-round'] as bigint;
    chain.must('bh-oracle', 'fix-expiry-price', [asset, expiry, round], chain.stranger);
  }
}
