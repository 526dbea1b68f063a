// zkUSD itself: amounts (tag t), the state that knows the supply (tag s), and the description for wallets (tag n).
// Transfers that keep the sum need no contract; this one decides on everything else.
import { isNull } from "../lib/cbor";
import { require } from "../lib/host";
import { Call, NFT, readCall, requireChange, SCROLL, TOKEN } from "../lib/transaction";
import { TokenState } from "./token_state";

export function _start(): void {
  const call = readCall();
  const tx = call.tx;
  const tag = call.app.tag;
  require(tag == SCROLL || tag == TOKEN || tag == NFT, "the token's charms have the tags s, t and n");
  require(isNull(call.input), "the token takes no public input");

  const state = call.app.tagged(SCROLL);
  const token = call.app.tagged(TOKEN);
  const spent = tx.sum(tx.ins, token);
  const made = tx.sum(tx.outs, token);
  if (tag == TOKEN && spent == made) return;

  tx.requireScrolls(state);
  const after = TokenState.read(
    tx.only(tx.outs, state, "there must be one state of the token in the outputs").data,
  );
  if (tx.find(tx.ins, state).length == 0) return deploy(call, after, spent, made);

  require(tag != NFT, "the description is made with the token, and stays as it is");
  const before = TokenState.read(tx.only(tx.ins, state, "there must be one state of the token in the inputs").data);
  require(
    after.admin.equals(before.admin) && after.minter.equals(before.minter),
    "the token's minter never changes",
  );
  require(tx.involves(before.minter), "only the vault manager mints and burns");
  requireChange(before.totalSupply, after.totalSupply, made, spent, "the supply is not the sum of all amounts");
}

function deploy(call: Call, after: TokenState, spent: u64, made: u64): void {
  const tx = call.tx;
  require(tx.spends(call.app.identity), "the identity is not that of an outpoint that is spent");
  require(spent == 0 && made == 0 && after.totalSupply == 0, "the token begins without a supply");
  require(after.admin.isZero(), "the token has no admin");
  require(!after.minter.identity.isZero(), "the token has no minter");
  const descriptions = call.app.tagged(NFT);
  require(tx.find(tx.ins, descriptions).length == 0, "a description stands in the inputs");
  require(tx.find(tx.outs, descriptions).length <= 1, "the token has one description at most");
}
