import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { Simnet } from '@stacks/clarinet-sdk';
import { Cl, ClarityType, cvToString, getAddressFromPrivateKey, type ClarityValue, type TupleCV } from '@stacks/transactions';
import { Vm, type Snapshot } from '../../devnet/vm.js';
import { documentedEvents, ENVELOPE, hasType } from './doc.ts';

export const CONTRACTS = [
  'bh-traits',
  'bh-stx',
  'bh-math',
  'bh-registry',
  'bh-params',
  'bh-oracle',
  'bh-vault',
  'bh-treasury',
  'bh-policy',
  'bh-fund',
  'bh-liquidation',
  'bh-incentives',
  'bh-gov',
] as const;
/** Contracts that keep state and print events. */
export const STATEFUL = [
  'bh-registry',
  'bh-params',
  'bh-oracle',
  'bh-vault',
  'bh-treasury',
  'bh-policy',
  'bh-fund',
  'bh-liquidation',
  'bh-incentives',
  'bh-gov',
] as const;
/** What `bh-registry.bootstrap` registers and activates, in this order: every contract that keeps state but the registry. */
export const MODULES = STATEFUL.slice(1).map((contract) => contract.replace('bh-', ''));
/** The SDK runs Clarity 6 but its type stops at 5. */
const CLARITY_VERSION = 6 as 5;
export const SBTC = 'SM3VDXK3WZZSA84XXFKAFAF15NNZX32CTSG82JFQ4.sbtc-token';

const EVENTS = new Map(STATEFUL.map((contract) => [contract as string, documentedEvents(contract)]));

const ADDRESSES = [
  'ST1PQHQKV0RJXZFY1DGX8MNSNYVE3VGZJSRTPGZGM',
  'ST1SJ3DTE5DN7X54YDH5D64R3BCB6A2AG2ZQ8YPD5',
  'ST2CY5V39NHDPWSXMW9QDT3HC3GD6Q6XX4CFRK9AG',
  'ST2JHG361ZXG51QTKY2NQCVBPPRRE2KZB1HR05NNC',
  'ST2NEB84ASENDXKYGJPQW86YXQCEFEX2ZQPG87ND',
  'ST2REHHS5J3CERCRBEPMGH7921Q6PYKAADT7JP2VB',
  'ST3AM1A56AK2C1XAFJ4115ZSV26EB49BVQ10MGCS0',
  'ST3PF13W7Z0RRM42A8VZRVFQ75SV1K26RXEP8YGKJ',
  'ST3NBRSFKX28FQ2ZJ1MAKX58HKHSDGNV5N7R21XCP',
  'STNHKEPYEPJ8ET55ZZ0M5A34J0R3N5FM2CMMMAZ6',
] as const;

/** A Clarity value as plain data: numbers are bigint, principals and strings are strings, none is null. */
export type Plain = bigint | boolean | string | null | Plain[] | { [key: string]: Plain };
export type Row = { [key: string]: Plain };
/** One printed event, checked against the documentation. */
export type PrintedEvent = Row & { emitter: string; topic: string };
/** One native transfer of a token, STX included. */
export type Transfer = { asset: string; amount: bigint; sender: string; recipient: string };
export type Costs = { runtime: number; readCount: number; readLength: number; writeCount: number; writeLength: number };
export type ChainOptions = { extraProviders?: number; trackCosts?: boolean; deployer?: string; empty?: boolean };
export type Outcome = {
  ok: boolean;
  value: Plain;
  /** The error's number; 0 when ok. */
  code: number;
  events: PrintedEvent[];
  transfers: Transfer[];
  costs: Costs | null;
};

/** Plain data of a Clarity value; a response gives what is inside it. */
export function plain(value: ClarityValue): Plain {
  switch (value.type) {
    case ClarityType.Int:
    case ClarityType.UInt:
      return BigInt(value.value);
    case ClarityType.BoolTrue:
      return true;
    case ClarityType.BoolFalse:
      return false;
    case ClarityType.OptionalNone:
      return null;
    case ClarityType.OptionalSome:
    case ClarityType.ResponseOk:
    case ClarityType.ResponseErr:
      return plain(value.value);
    case ClarityType.List:
      return value.value.map(plain);
    case ClarityType.Tuple:
      return Object.fromEntries(Object.entries(value.value).map(([key, item]) => [key, plain(item)]));
    default:
      return value.value;
  }
}

/** Clarity arguments from plain ones: bigint is uint, a string with an address is a principal, any other is ASCII, bytes a buffer. */
export function clarity(value: ClarityArgument): ClarityValue {
  if (value === null) return Cl.none();
  if (value instanceof Uint8Array) return Cl.buffer(value);
  if (typeof value === 'bigint') return Cl.uint(value);
  if (typeof value === 'boolean') return Cl.bool(value);
  if (typeof value === 'string') return /^S[TMPN][0-9A-Z]{30,}/.test(value) ? Cl.principal(value) : Cl.stringAscii(value);
  if (Array.isArray(value)) return Cl.list(value.map(clarity));
  if ('some' in value) return Cl.some(clarity(value.some as ClarityArgument));
  return Cl.tuple(Object.fromEntries(Object.entries(value).map(([key, item]) => [key, clarity(item)])));
}
export type ClarityArgument =
  | bigint
  | boolean
  | string
  | null
  | Uint8Array
  | ClarityArgument[]
  | { [key: string]: ClarityArgument };

function checkEvent(contract: string, value: TupleCV): PrintedEvent {
  const topicValue = value.value['topic'];
  if (topicValue?.type !== ClarityType.StringASCII) throw new Error(`${contract} printed an event without a topic`);
  const topic = topicValue.value;
  const fields = EVENTS.get(contract)?.get(topic);
  if (!fields) throw new Error(`${contract} printed ${topic}, which docs/contracts.md does not list`);
  const documented = new Map([...ENVELOPE, ...fields]);
  for (const [name, type] of documented) {
    const field = value.value[name];
    if (!field) throw new Error(`${contract} ${topic} lacks the documented field ${name}`);
    if (!hasType(field, type)) throw new Error(`${contract} ${topic}.${name} is ${cvToString(field)}, documented as ${type}`);
  }
  for (const name of Object.keys(value.value)) {
    if (!documented.has(name)) throw new Error(`${contract} ${topic} has the undocumented field ${name}`);
  }
  return { ...(plain(value) as Row), emitter: contract, topic };
}

type SimnetEvent = { event: string; data: Record<string, unknown> };

/** What the process that runs the tests keeps between them, whichever file they are in. */
type Shared = {
  vm: Promise<Vm> | undefined;
  /** Chains that tests begin with, and their states; the one used last is at the end. */
  saved: Map<string, { chain: Chain; state: Snapshot }>;
};
/** How many states are kept: one takes more than 100 MB. */
const MOST_SAVED = 5;
const shared: Shared = ((globalThis as { bithedge?: Shared }).bithedge ??= { vm: undefined, saved: new Map() });

/** A simulated chain with the contracts deployed by `deployer`, and accounts that own STX and sBTC. */
export class Chain {
  readonly guardian: string = ADDRESSES[1];
  readonly buyer: string = ADDRESSES[2];
  readonly stranger: string = ADDRESSES[3];
  readonly feeders: readonly [string, string, string] = [ADDRESSES[4], ADDRESSES[5], ADDRESSES[6]];
  readonly providers: readonly string[];
  readonly stx: string;
  readonly sbtc = SBTC;
  /** Every event printed so far, in order. */
  readonly events: PrintedEvent[] = [];

  private constructor(
    private readonly vm: Vm,
    readonly simnet: Simnet,
    private readonly extraProviders: number,
    readonly deployer: string,
  ) {
    this.stx = `${deployer}.bh-stx`;
    this.providers = [...ADDRESSES.slice(7), ...Array.from({ length: extraProviders }, (_, i) => extraAddress(i))];
  }

  /** An empty chain on which the contracts are deployed in manifest order, or none. */
  static create({
    extraProviders = 0,
    trackCosts = false,
    deployer = ADDRESSES[0] as string,
    empty = false,
  }: ChainOptions = {}): Promise<Chain> {
    const options = { extraProviders, trackCosts, deployer, empty };
    if (trackCosts) return Chain.start(options);
    return Chain.reuse(`deployed ${JSON.stringify(options)}`, () => Chain.start(options));
  }

  private static async start({ extraProviders, trackCosts, deployer, empty }: Required<ChainOptions>): Promise<Chain> {
    const vm = await (shared.vm ??= Vm.start({ genesisTime: 1_700_000_000 }));
    const { getSDK } = await import('@stacks/clarinet-sdk');
    const simnet = trackCosts ? await getSDK({ trackCosts, trackCoverage: false }) : vm.simnet;
    await simnet.initEmptySession({ enabled: false } as Parameters<Simnet['initEmptySession']>[0]);
    const chain = new Chain(vm, simnet, extraProviders, deployer);
    simnet.setEpoch('4.0');
    for (const who of [...ADDRESSES, ...chain.providers.slice(3)]) {
      simnet.mintSTX(who, 100_000_000_000_000n);
      simnet.mintFT(`${SBTC}.sbtc-token`, who, 100_000_000_000n);
    }
    for (const name of empty ? [] : CONTRACTS) {
      chain.deploy(name, readFileSync(new URL(`../../contracts/${name}.clar`, import.meta.url), 'utf8'));
    }
    return chain;
  }

  /** A chain in the state that `build` leaves; a chain of one key is built once while few other keys come between. */
  static async reuse(key: string, build: () => Promise<Chain>): Promise<Chain> {
    let saved = shared.saved.get(key);
    if (saved === undefined) {
      const chain = await build();
      saved = { chain, state: chain.vm.snapshot() };
    }
    shared.saved.delete(key);
    shared.saved.set(key, saved);
    for (const oldest of [...shared.saved.keys()].slice(0, -MOST_SAVED)) shared.saved.delete(oldest);
    const { chain, state } = saved;
    chain.vm.restore(state);
    const copy = new Chain(chain.vm, chain.simnet, chain.extraProviders, chain.deployer);
    copy.events.push(...chain.events);
    return copy;
  }

  get burn(): bigint {
    return BigInt(this.simnet.burnBlockHeight);
  }

  /** Deploys a contract next to the others. */
  deploy(name: string, source: string): string {
    this.simnet.deployContract(name, source, { clarityVersion: CLARITY_VERSION }, this.deployer);
    return `${this.deployer}.${name}`;
  }

  id(contract: string): string {
    return contract.includes('.') ? contract : `${this.deployer}.${contract}`;
  }

  /** Calls a public function as a wallet would. */
  call(contract: string, fn: string, args: ClarityArgument[], sender: string): Outcome {
    const { result, events, costs } = this.simnet.callPublicFn(this.id(contract), fn, args.map(clarity), sender);
    const printed = (events as SimnetEvent[])
      .filter(({ event }) => event === 'print_event')
      .filter(({ data }) => EVENTS.has(String(data['contract_identifier']).replace(`${this.deployer}.`, '')))
      .map(({ data }) =>
        checkEvent(String(data['contract_identifier']).replace(`${this.deployer}.`, ''), data['value'] as TupleCV),
      );
    this.events.push(...printed);
    const ok = result.type === ClarityType.ResponseOk;
    return {
      ok,
      value: plain(result),
      code: ok ? 0 : Number(plain(result)),
      events: printed,
      transfers: (events as SimnetEvent[])
        .filter(({ event }) => event === 'stx_transfer_event' || event === 'ft_transfer_event')
        .map(({ data }) => ({
          asset: data['asset_identifier'] === undefined ? 'STX' : String(data['asset_identifier']).split('::')[0]!,
          amount: BigInt(String(data['amount'])),
          sender: String(data['sender']),
          recipient: String(data['recipient']),
        })),
      costs: (costs?.total as Costs | undefined) ?? null,
    };
  }

  /** Calls a public function that must succeed. */
  must(contract: string, fn: string, args: ClarityArgument[], sender: string): Outcome {
    const outcome = this.call(contract, fn, args, sender);
    if (!outcome.ok) throw new Error(`${contract}.${fn} failed with ${outcome.code}`);
    return outcome;
  }

  /** Result of a read-only function. */
  read(contract: string, fn: string, args: ClarityArgument[] = []): Plain {
    return plain(this.simnet.callReadOnlyFn(this.id(contract), fn, args.map(clarity), this.stranger).result);
  }

  /** Number of the error that a read-only function gives; 0 when it succeeds. */
  readError(contract: string, fn: string, args: ClarityArgument[] = []): number {
    const { result } = this.simnet.callReadOnlyFn(this.id(contract), fn, args.map(clarity), this.stranger);
    return result.type === ClarityType.ResponseErr ? Number(plain(result)) : 0;
  }

  /** Row of a map, or null. */
  mapEntry(contract: string, map: string, key: ClarityArgument): Plain {
    try {
      return plain(this.simnet.getMapEntry(this.id(contract), map, clarity(key)));
    } catch (cause) {
      // What the simulator throws for a map that nothing was ever written to.
      if (cause === 'value not found') return null;
      throw cause;
    }
  }

  /** Hash of a contract's code, as `contract-hash?` gives it. */
  codeHash(contract: string): Uint8Array {
    return createHash('sha512-256').update(this.simnet.getContractSource(this.id(contract))!).digest();
  }

  /** Value of a data variable. */
  variable(contract: string, name: string): Plain {
    return plain(this.simnet.getDataVar(this.id(contract), name));
  }

  /** Units of a token that a principal owns. */
  balance(token: string, who: string): bigint {
    return this.read(token, 'get-balance', [who]) as bigint;
  }

  mineBurn(count: bigint | number): void {
    this.simnet.mineEmptyBurnBlocks(Number(count));
  }

  /** Mines Bitcoin blocks until a height is reached. */
  mineTo(burn: bigint): void {
    if (burn > this.burn) this.mineBurn(burn - this.burn);
  }
}

/** Address of a key made from a number, for policies with more providers than the named accounts. */
function extraAddress(index: number): string {
  return getAddressFromPrivateKey(`${(index + 1).toString(16).padStart(64, '0')}01`, 'testnet');
}

/** Source of a contract that only tests deploy. */
export function fixture(name: string): string {
  return readFileSync(new URL(`../fixtures/${name}.clar`, import.meta.url), 'utf8');
}
