import { Reader } from "../lib/cbor";
import { Span } from "../lib/host";
import { B32 } from "../lib/sha256";
import { App, SCROLL } from "../lib/transaction";

/** The token's state. */
export class TokenState {
  constructor(
    /** Nobody: the field is kept for its readers, and gives no power. */
    readonly admin: B32,
    /** The app with which alone zkUSD is minted and burned: the vault manager. */
    readonly minter: App,
    readonly totalSupply: u64,
  ) {}

  static read(data: Span): TokenState {
    const reader = new Reader(data);
    reader.shape(4);
    reader.key("admin");
    const admin = reader.b32();
    reader.key("authorized_minter");
    const minter = reader.b32();
    reader.key("authorized_minter_vk");
    const minterVk = reader.b32();
    reader.key("total_supply");
    const state = new TokenState(admin, new App(SCROLL, minter, minterVk), reader.u64());
    reader.finish();
    return state;
  }
}
