import { expect } from 'vitest';
import type { Chain, PrintedEvent, Row } from './chain.ts';
import { FundFold } from './fold/fund.ts';
import { IncentivesFold } from './fold/incentives.ts';
import { LiquidationFold } from './fold/liquidation.ts';
import { sum } from './fold/module.ts';
import { OracleFold } from './fold/oracle.ts';
import { GovFold } from './fold/gov.ts';
import { ParamsFold } from './fold/params.ts';
import { PolicyFold } from './fold/policy.ts';
import { RegistryFold } from './fold/registry.ts';
import { TreasuryFold } from './fold/treasury.ts';
import { VaultFold } from './fold/vault.ts';

/** State of all contracts as the events tell it. */
export class Folded {
  readonly registry = new RegistryFold();
  readonly params = new ParamsFold();
  readonly oracle = new OracleFold();
  readonly vault = new VaultFold();
  readonly treasury = new TreasuryFold();
  readonly policy = new PolicyFold();
  readonly fund = new FundFold();
  readonly liquidation = new LiquidationFold();
  readonly incentives = new IncentivesFold();
  readonly gov = new GovFold();

  constructor(events: readonly PrintedEvent[]) {
    const modules = new Map(this.modules().map((module) => [module.contract as string, module]));
    for (const event of events) modules.get(event.emitter)!.apply(event);
  }

  modules() {
    return [this.registry, this.params, this.oracle, this.vault, this.treasury, this.policy, this.fund, this.liquidation, this.incentives, this.gov];
  }
}

/** Folds every event so far and compares each row with the contracts' maps and variables. */
export function checkFold(chain: Chain): Folded {
  const state = new Folded(chain.events);
  for (const module of state.modules()) module.check(chain);
  checkPolicies(chain, state);
  return state;
}

/** What the vault's events say about each policy adds up to the policy's row. */
function checkPolicies(chain: Chain, state: Folded): void {
  for (const [policy, row] of state.policy.policies) {
    const of = (topic: string) =>
      chain.events.filter((event) => event.topic === topic && String(event['policy']) === policy);
    const amounts = (topic: string) => sum(of(topic).map((event) => event['amt'] as bigint));
    expect(amounts('collateral.locked')).toBe(row['collateral']);
    if (row['state'] === 'active') {
      const lock = state.vault.locks.get(policy)!;
      const parts = lock['allocations'] as Row[];
      expect(sum(parts.map((part) => part['liability-usd8'] as bigint))).toBe(row['max-payout-usd8']);
    } else {
      expect(amounts('payout.debited') + amounts('collateral.released')).toBe(
        amounts('collateral.locked') + amounts('allocation.moved-in') - amounts('allocation.moved-out'),
      );
      expect(amounts('payout.debited')).toBe(row['paid']);
      const escrowed = of('premium.escrowed')[0]!['premium-provider'] as bigint;
      expect(amounts('premium.earned') + amounts('premium.refunded')).toBe(escrowed);
      expect(state.vault.locks.has(policy)).toBe(false);
    }
  }
}
