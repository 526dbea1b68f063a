// What Charms gives an app contract on standard input: the CBOR array [app, tx, x, w] of the app that is asked, the
// transaction, the app's public input and its private input.
// Keys of `tx` that are not known are skipped: a later version of Charms may add some, and coins must not be locked by that.
import { isNull, Reader } from "./cbor";
import { readInput, refuse, require, Span } from "./host";
import { B32, sha256 } from "./sha256";
import { minus, plus } from "./u256";

/** Tag of an app whose charms lie at outputs of the Scrolls canister. Its contract runs for every spell that moves one. */
export const SCROLL: i32 = 0x73; // s
/** Tag of amounts. A transfer of them that keeps their sum needs no contract. */
export const TOKEN: i32 = 0x74; // t
/** Tag of single charms. A transfer that keeps their states needs no contract. */
export const NFT: i32 = 0x6e; // n

/** An app: its tag, its identity, and the hash of its contract's module. */
export class App {
  constructor(
    readonly tag: i32,
    readonly identity: B32,
    readonly vk: B32,
  ) {}

  static read(reader: Reader): App {
    require(reader.array() == 3, "an app has a tag, an identity and a key");
    const tag = reader.text();
    require(tag.length == 1, "a tag is one character");
    return new App(<i32>tag.at(0), reader.b32(), reader.b32());
  }

  equals(other: App): bool {
    return this.tag == other.tag && this.identity.equals(other.identity) && this.vk.equals(other.vk);
  }

  /** The app of the same contract and identity with another tag. */
  tagged(tag: i32): App {
    return new App(tag, this.identity, this.vk);
  }
}

/** An encoded value that belongs to an app: a charm, or a public input. */
export class Entry {
  constructor(
    readonly app: App,
    readonly data: Span,
  ) {}
}

/** What belongs to apps in one place, each app once: the charms of an output, or the public inputs. */
export class Entries {
  constructor(readonly list: Entry[]) {}

  static read(reader: Reader): Entries {
    const count = reader.map();
    const list = new Array<Entry>();
    for (let i = 0; i < count; i++) {
      const app = App.read(reader);
      for (let j = 0; j < i; j++) require(!list[j].app.equals(app), "an app stands twice in one place");
      list.push(new Entry(app, reader.raw()));
    }
    return new Entries(list);
  }

  /** What belongs to `app`, or null. */
  of(app: App): Span | null {
    for (let i = 0; i < this.list.length; i++) if (this.list[i].app.equals(app)) return this.list[i].data;
    return null;
  }
}

/** A coin of Bitcoin. */
export class Coin {
  private hash: B32 | null = null;

  constructor(
    /** In satoshis. */
    readonly amount: u64,
    private readonly script: Span,
  ) {}

  static read(reader: Reader): Coin {
    const count = reader.map();
    let amount: u64 = 0;
    let script = new Span(0, 0);
    let seen: u32 = 0;
    for (let i = 0; i < count; i++) {
      const key = reader.text();
      let part: u32 = 0;
      if (key.is("amount")) {
        part = 1;
        amount = reader.u64();
      } else if (key.is("dest")) {
        part = 2;
        script = reader.octets();
      } else {
        reader.raw();
      }
      require((seen & part) == 0, "a part of a coin stands twice");
      seen |= part;
    }
    require(seen == 3, "a coin has an amount and a script");
    return new Coin(amount, script);
  }

  /** SHA-256 of the locking script; what these apps' charms call an owner. */
  get holder(): B32 {
    let hash = this.hash;
    if (hash === null) {
      hash = sha256(this.script);
      this.hash = hash;
    }
    return hash;
  }

  /** Whether the script pays to the hash of one key (P2WPKH), as those of the Scrolls canister do. */
  isScroll(): bool {
    return this.script.length == 22 && this.script.at(0) == 0x00 && this.script.at(1) == 0x14;
  }
}

/** A charm of the app that was looked for, and the place of its input or output. */
export class Found {
  constructor(
    readonly place: i32,
    readonly data: Span,
  ) {}
}

/** A transaction with a spell. Place by place, `inCoins` belongs to `ins` and `outCoins` to `outs`. */
export class Transaction {
  /** The outpoints that are spent, 36 bytes each: the transaction's id in internal order, and the output's place. */
  readonly outpoints: Span[] = [];
  readonly ins: Entries[] = [];
  readonly outs: Entries[] = [];
  readonly inCoins: Coin[] = [];
  readonly outCoins: Coin[] = [];
  publicInputs: Entries = new Entries([]);

  static read(reader: Reader): Transaction {
    const tx = new Transaction();
    const count = reader.map();
    let seen: u32 = 0;
    for (let i = 0; i < count; i++) {
      const key = reader.text();
      let part: u32 = 0;
      if (key.is("ins")) {
        part = 1;
        tx.readInputs(reader);
      } else if (key.is("outs")) {
        part = 2;
        for (let left = reader.array(); left > 0; left--) tx.outs.push(Entries.read(reader));
      } else if (key.is("coin_ins")) {
        part = 4;
        readCoins(reader, tx.inCoins);
      } else if (key.is("coin_outs")) {
        part = 8;
        readCoins(reader, tx.outCoins);
      } else if (key.is("app_public_inputs")) {
        part = 16;
        tx.publicInputs = Entries.read(reader);
      } else {
        // refs too: what a ref shows may have been spent long ago, so nothing may follow from it
        reader.raw();
      }
      require((seen & part) == 0, "a part of the transaction stands twice");
      seen |= part;
    }
    require(seen == 31, "the transaction lacks its inputs, outputs, coins or public inputs");
    require(tx.ins.length == tx.inCoins.length, "not every input has its coin");
    require(tx.outs.length == tx.outCoins.length, "not every output has its coin");
    return tx;
  }

  private readInputs(reader: Reader): void {
    for (let left = reader.array(); left > 0; left--) {
      require(reader.array() == 2, "an input has an outpoint and charms");
      const outpoint = reader.bytes();
      require(outpoint.length == 36, "an outpoint has 36 bytes");
      for (let i = 0; i < this.outpoints.length; i++) {
        require(!this.outpoints[i].equals(outpoint), "an outpoint is spent twice");
      }
      this.outpoints.push(outpoint);
      this.ins.push(Entries.read(reader));
    }
  }

  /** The charms of `app` in `side`, which is `ins` or `outs`. */
  find(side: Entries[], app: App): Found[] {
    const found: Found[] = [];
    for (let i = 0; i < side.length; i++) {
      const data = side[i].of(app);
      if (data !== null) found.push(new Found(i, data));
    }
    return found;
  }

  /** The only charm of `app` in `side`; refuses with `reason` where there is none, or more than one. */
  only(side: Entries[], app: App, reason: string): Found {
    const found = this.find(side, app);
    require(found.length == 1, reason);
    return found[0];
  }

  /**
   * Whether `app`, of tag s, takes part: it has charms in the inputs and in the outputs. Then its contract runs for this
   * transaction too, and decides on its own charms.
   */
  involves(app: App): bool {
    return app.tag == SCROLL && this.find(this.ins, app).length > 0 && this.find(this.outs, app).length > 0;
  }

  /**
   * Refuses where a charm of `app`, of tag s, is made anywhere but at an output that the Scrolls canister can have. That
   * it is the canister's, Charms checks; but on Bitcoin alone, and charms can be sent to other chains, whose outputs
   * look otherwise: there these apps must not go on, with coins that are no bitcoin.
   */
  requireScrolls(app: App): void {
    for (let i = 0; i < this.outs.length; i++) {
      if (this.outs[i].of(app) !== null) {
        require(this.outCoins[i].isScroll(), "a charm of tag s is made at no output of Scrolls on Bitcoin");
      }
    }
  }

  /** Sum of the amounts of the token `app` in `side`. */
  sum(side: Entries[], app: App): u64 {
    const found = this.find(side, app);
    let total: u64 = 0;
    for (let i = 0; i < found.length; i++) total = plus(total, amountOf(found[i].data));
    return total;
  }

  /** Whether an input spends a coin of the script whose SHA-256 is `holder`: then Bitcoin has checked its signature. */
  authorised(holder: B32): bool {
    for (let i = 0; i < this.inCoins.length; i++) if (this.inCoins[i].holder.equals(holder)) return true;
    return false;
  }

  /**
   * Whether the output right after that of the state of `app` pays `amount` satoshis or more to the script whose SHA-256
   * is `holder`, and does nothing else. The state must lie alone: so no two contracts take one output for their payment.
   */
  paysAfter(app: App, holder: B32, amount: u64): bool {
    const state = this.find(this.outs, app);
    if (state.length != 1 || this.outs[state[0].place].list.length != 1) return false;
    const place = state[0].place + 1;
    if (place >= this.outs.length || this.outs[place].list.length != 0) return false;
    return this.outCoins[place].amount >= amount && this.outCoins[place].holder.equals(holder);
  }

  /** Amount of the token `app` that lies at outputs to the script whose SHA-256 is `holder`. */
  tokensPaidTo(app: App, holder: B32): u64 {
    let total: u64 = 0;
    for (let i = 0; i < this.outs.length; i++) {
      const data = this.outs[i].of(app);
      if (data !== null && this.outCoins[i].holder.equals(holder)) total = plus(total, amountOf(data));
    }
    return total;
  }

  /** Whether `app` makes the operation `name` in this transaction, as its public input says. */
  operates(app: App, name: string): bool {
    const input = this.publicInputs.of(app);
    return input !== null && isOperation(input, name);
  }

  /** Whether `hash` is the SHA-256 of the text `txid:place` of an outpoint that is spent here. */
  spends(hash: B32): bool {
    for (let i = 0; i < this.outpoints.length; i++) if (this.outpointHash(i).equals(hash)) return true;
    return false;
  }

  /** SHA-256 of the text `txid:place` of the outpoint that input `index` spends. No other input ever has the same. */
  outpointHash(index: i32): B32 {
    const outpoint = this.outpoints[index];
    // 64 digits, a colon, and up to 10 digits
    const start = heap.alloc(75);
    let end = start;
    for (let i = 31; i >= 0; i--) {
      const byte = outpoint.at(i);
      store<u8>(end++, digit(byte >> 4));
      store<u8>(end++, digit(byte & 15));
    }
    store<u8>(end++, 0x3a);
    let place = load<u32>(outpoint.start + 32);
    let unit: u32 = 1;
    while (place / unit >= 10) unit *= 10;
    for (; unit > 0; unit /= 10) {
      store<u8>(end++, digit(<u8>(place / unit)));
      place %= unit;
    }
    return sha256(new Span(start, end - start));
  }
}

function digit(value: u8): u8 {
  return value < 10 ? 0x30 + value : 0x57 + value;
}

function readCoins(reader: Reader, coins: Coin[]): void {
  for (let left = reader.array(); left > 0; left--) coins.push(Coin.read(reader));
}

/** The amount that a token's charm is. */
export function amountOf(data: Span): u64 {
  const reader = new Reader(data);
  const amount = reader.u64();
  reader.finish();
  require(amount > 0, "an amount of a token is zero");
  return amount;
}

function isOperation(input: Span, name: string): bool {
  const reader = new Reader(input);
  return reader.isText() && reader.text().is(name);
}

/** The app that is asked, the transaction, and the app's public input. */
export class Call {
  constructor(
    readonly app: App,
    readonly tx: Transaction,
    readonly input: Span,
  ) {}

  /** Whether the app's public input says the operation `name`. */
  is(name: string): bool {
    return isOperation(this.input, name);
  }
}

/** Reads the call. A private input is refused: nothing that is not on chain may decide. */
export function readCall(): Call {
  const reader = new Reader(readInput());
  require(reader.array() == 4, "the input has four parts");
  const app = App.read(reader);
  const tx = Transaction.read(reader);
  const input = reader.raw();
  require(isNull(reader.raw()), "these apps take no private input");
  reader.finish();
  const listed = tx.publicInputs.of(app);
  if (listed === null || !listed.equals(input)) refuse("the public input is not the one that the transaction lists");
  return new Call(app, tx, input);
}

/** Refuses unless `after - before` is `minted - burned`. */
export function requireChange(before: u64, after: u64, minted: u64, burned: u64, reason: string): void {
  require(plus(before, minted) == plus(after, burned), reason);
}

/** `after - before`; refuses with `reason` where that is not positive. */
export function increase(before: u64, after: u64, reason: string): u64 {
  require(after > before, reason);
  return minus(after, before, reason);
}
