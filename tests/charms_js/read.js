// Reads transactions (a line of hexadecimal each) and tells what the Charms protocol's own reader makes of them with
// mock spells accepted: a line of JSON each, {"spell": ..} or {"error": ".."}.
// Integers beyond 2^53 are {"$bigint": ".."}, maps are {"$map": [[key, value], ..]}.
import { readFile } from "node:fs/promises";
import { createInterface } from "node:readline";
import * as reader from "charms-js/dist/wasm/charms_lib_bg.js";

const module_ = await readFile(new URL("./node_modules/charms-js/dist/wasm/charms_lib_bg.wasm", import.meta.url));
const { instance } = await WebAssembly.instantiate(module_, { "./charms_lib_bg.js": reader });
reader.__wbg_set_wasm(instance.exports);
/** @type {() => void} */ (instance.exports["__wbindgen_start"])();

/** @param {string} _key @param {unknown} value */
function plain(_key, value) {
  if (typeof value === "bigint") return { $bigint: String(value) };
  if (value instanceof Map) return { $map: [...value] };
  if (value instanceof Uint8Array) return { $bytes: Buffer.from(value).toString("hex") };
  return value === undefined ? null : value;
}

for await (const line of createInterface({ input: process.stdin })) {
  let answer;
  try {
    answer = { spell: reader.extractAndVerifySpell({ Bitcoin: line }, true) };
  } catch (error) {
    answer = { error: String(error) };
  }
  console.log(JSON.stringify(answer, plain));
}
