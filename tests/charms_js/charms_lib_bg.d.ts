// The package types its module only as its own loader hands it on; this is what that loader gets.
declare module "charms-js/dist/wasm/charms_lib_bg.js" {
  export function __wbg_set_wasm(exports: WebAssembly.Exports): void;
  /** Reads the spell of `{ Bitcoin: hex }`; throws where there is none, or its proof is wrong. */
  export function extractAndVerifySpell(transaction: { Bitcoin: string }, mock: boolean): unknown;
}
