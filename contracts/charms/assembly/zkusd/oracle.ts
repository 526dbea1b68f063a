// The price of bitcoin. One state; anybody may spend it and put it back as it was, which is how the vault manager reads it.
import { refuse, require } from "../lib/host";
import { Call, readCall, SCROLL } from "../lib/transaction";
import { mulDiv } from "../lib/u256";
import { OracleState } from "./oracle_state";
import { BASIS_POINTS, MAXIMUM_BLOCKS, MAXIMUM_DEVIATION } from "./parameters";

export function _start(): void {
  const call = readCall();
  require(call.app.tag == SCROLL, "the oracle's state has the tag s");
  call.tx.requireScrolls(call.app);
  const out = call.tx.only(call.tx.outs, call.app, "there must be one state of the oracle in the outputs");
  const after = OracleState.read(out.data);
  if (call.is("deploy")) return deploy(call, after);

  const before = OracleState.read(
    call.tx.only(call.tx.ins, call.app, "there must be one state of the oracle in the inputs").data,
  );
  if (call.is("use")) {
    require(after.samePrice(before) && after.sameControl(before), "using the oracle changes nothing of it");
  } else if (call.is("update")) {
    update(call, before, after);
  } else if (call.is("govern")) {
    require(call.tx.authorised(before.admin), "only the oracle's admin governs it");
    require(after.samePrice(before), "governing the oracle does not change its price");
  } else {
    refuse("the public input names no operation of the oracle");
  }
}

function deploy(call: Call, after: OracleState): void {
  require(call.tx.find(call.tx.ins, call.app).length == 0, "the oracle is deployed already");
  require(call.tx.spends(call.app.identity), "the identity is not that of an outpoint that is spent");
  require(after.lastValidPrice == after.price, "the last valid price begins with the price");
}

function update(call: Call, before: OracleState, after: OracleState): void {
  require(call.tx.authorised(before.operator), "only the oracle's operator updates the price");
  require(after.sameControl(before), "an update does not change who controls the oracle");
  require(after.block > before.block, "a price is of a later block than the one before");
  require(after.block - before.block <= MAXIMUM_BLOCKS, "one update moves the block by four weeks at most");
  require(after.lastValidPrice == before.price, "the last valid price is the one before");
  const furthest = mulDiv(before.price, MAXIMUM_DEVIATION, BASIS_POINTS);
  const moved = after.price > before.price ? after.price - before.price : before.price - after.price;
  require(moved <= furthest, "one update moves the price by 5 % at most");
}
