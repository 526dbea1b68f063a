import { expect } from 'vitest';
import type { Chain, ClarityArgument, Row } from '../chain.ts';
import { Folded } from '../fold.ts';
import { setPrice, BTC_USD8, STX_USD8 } from '../flow.ts';
import type { Random } from '../random.ts';

export const TIERS = ['conservative', 'balanced', 'aggressive'];

/** Something that somebody may try; what the contracts refuse changes nothing. */
export type Step = (walk: Walk) => void;

/** Whether a principal can call by itself: the fund, which has positions as providers do, is called instead. */
export const isWallet = (who: string) => !who.includes('.');

/** A random walk over everything that anybody can do. */
export class Walk {
  readonly prices = { BTC: BTC_USD8, STX: STX_USD8 };
  /** How often each function was called with success. */
  readonly done = new Map<string, number>();
  private readonly folded = new Folded([]);
  private foldedEvents = 0;

  constructor(
    readonly chain: Chain,
    readonly random: Random,
  ) {}

  /** What the events so far tell. */
  get state(): Folded {
    const modules = new Map(this.folded.modules().map((module) => [module.contract as string, module]));
    for (const event of this.chain.events.slice(this.foldedEvents)) modules.get(event.emitter)!.apply(event);
    this.foldedEvents = this.chain.events.length;
    return this.folded;
  }

  /** Tries a call; gives its value, or null when it was refused. A runtime error throws. */
  call(contract: string, fn: string, args: ClarityArgument[], who: string): unknown {
    const outcome = this.chain.call(contract, fn, args, who);
    const name = `${contract}.${fn}`;
    if (outcome.ok) {
      this.done.set(name, (this.done.get(name) ?? 0) + 1);
      return outcome.value;
    }
    expect(outcome.code, `${name} was refused without a number of ours`).toBeGreaterThan(1_000);
    expect(outcome.events).toEqual([]);
    return null;
  }

  token(): string {
    return this.random.pick([this.chain.stx, this.chain.sbtc]);
  }

  tier(): string {
    return this.random.pick(TIERS);
  }

  provider(): string {
    return this.random.pick(this.chain.providers);
  }

  anybody(): string {
    return this.random.pick([this.chain.buyer, this.chain.stranger, ...this.chain.providers]);
  }

  amount(most = 10n ** 9n): bigint {
    return this.random.between(1n, most);
  }

  /** One of some rows with its key, or null when there are none. */
  one<T extends Row | bigint>(rows: Iterable<[string, T]>, fits: (row: T) => boolean = () => true): [string, T] | null {
    const fitting = [...rows].filter(([, row]) => fits(row));
    return fitting.length === 0 ? null : this.random.pick(fitting);
  }

  /** Closes rounds at the current prices. */
  refresh(): void {
    setPrice(this.chain, 'BTC', this.prices.BTC);
    setPrice(this.chain, 'STX', this.prices.STX);
  }

  /** Lets time pass and prices drift. */
  move(): void {
    const { chain, random, prices } = this;
    chain.mineBurn(random.between(1n, 3n));
    prices.BTC = (prices.BTC * random.between(88n, 112n)) / 100n;
    prices.STX = (prices.STX * random.between(85n, 114n)) / 100n;
    this.refresh();
  }
}
