import { fixture, type Chain } from './chain.ts';
import { closeRound, BTC_USD8, STX_USD8 } from './flow.ts';

/** Bitcoin blocks from registering a module to activating it. */
const MODULE_DELAY = 2_016;

/** Makes a contract the active version of a module, in place of the one before; prices are fresh afterwards. */
export function activateModule(chain: Chain, module: string, version: bigint, contract: string): void {
  chain.must('bh-registry', 'register-module', [module, version, contract, chain.codeHash(contract)], chain.deployer);
  chain.mineBurn(MODULE_DELAY);
  chain.must('bh-registry', 'activate-module', [module, version], chain.deployer);
  closeRound(chain, 'BTC', BTC_USD8);
  closeRound(chain, 'STX', STX_USD8);
}

/** A test contract as the active liquidation module; gives its id. */
export function activateLiquidator(chain: Chain): string {
  const liquidator = chain.deploy('liquidator', fixture('liquidator'));
  activateModule(chain, 'liquidation', 9n, liquidator);
  return liquidator;
}

export type MoveTerms = {
  price?: bigint;
  bounty?: bigint;
  penalty?: bigint;
  bountyTo?: string;
  penaltyTo?: string;
  tokenPrice?: bigint;
};

/** Passes an allocation on through the test contract; whatever is not given costs nothing and goes to the stranger. */
export function moveAllocation(chain: Chain, liquidator: string, policy: bigint, from: string, to: string, terms: MoveTerms = {}) {
  const {
    price = 0n,
    bounty = 0n,
    penalty = 0n,
    bountyTo = chain.stranger,
    penaltyTo = chain.stranger,
    tokenPrice = STX_USD8,
  } = terms;
  return chain.call(
    liquidator,
    'move-allocation',
    [
      policy,
      from,
      to,
      {
        price,
        bounty,
        'bounty-to': bountyTo,
        penalty,
        'penalty-to': penaltyTo,
        'token-price-usd8': tokenPrice,
      },
    ],
    chain.stranger,
  );
}
