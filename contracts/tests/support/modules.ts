import { readFileSync } from 'node:fs';
import { fixture, type Chain } from './chain.ts';
import { closeRound, BTC_USD8, STX_USD8 } from './flow.ts';

/** Bitcoin blocks from registering a module to activating it. */
const MODULE_DELAY = 2_016;
/** Bitcoin blocks from there to the first in which the version before it may pass its money on. */
const SUCCESSION_DELAY = 144;

/** Makes a contract the active version of a module, in place of the one before; prices are fresh afterwards. */
export function activateModule(chain: Chain, module: string, version: bigint, contract: string): void {
  chain.must('bh-registry', 'register-module', [module, version, contract, chain.codeHash(contract)], chain.deployer);
  chain.mineBurn(MODULE_DELAY);
  chain.must('bh-registry', 'activate-module', [module, version], chain.deployer);
  closeRound(chain, 'BTC', BTC_USD8);
  closeRound(chain, 'STX', STX_USD8);
}

/** The same code once more as the module's second version, active for so long that the first may pass its money on; gives its id. */
export function replaceModule(chain: Chain, module: string): string {
  const source = readFileSync(new URL(`../../contracts/bh-${module}.clar`, import.meta.url), 'utf8');
  const successor = chain.deploy(`bh-${module}-2`, source);
  activateModule(chain, module, 2n, successor);
  chain.mineBurn(SUCCESSION_DELAY);
  return successor;
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
};

/** Passes an allocation on through the test contract; whatever is not given costs nothing and goes to the stranger. */
export function moveAllocation(chain: Chain, liquidator: string, policy: bigint, from: string, to: string, terms: MoveTerms = {}) {
  const {
    price = 0n,
    bounty = 0n,
    penalty = 0n,
    bountyTo = chain.stranger,
    penaltyTo = chain.stranger,
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
      },
    ],
    chain.stranger,
  );
}
