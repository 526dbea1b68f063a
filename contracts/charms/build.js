// Builds the modules of the app contracts and writes them, with their SHA-256, where Clarion reads them from.
// With `--check` nothing is written: it fails where a module that is there is not the one that the sources make.
import { createHash } from "node:crypto";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import asc from "assemblyscript/asc";

/** Every module, by its name. */
const MODULES = ["oracle", "token", "vault_manager", "stability_pool"];
/** What a module may import; Charms' runner gives no more than a few functions of WASI. */
const IMPORTS = new Set(["wasi_snapshot_preview1.fd_read", "wasi_snapshot_preview1.fd_write"]);

const here = dirname(fileURLToPath(import.meta.url));
const target = join(here, "..", "..", "indexer", "clarion", "charms_apps", "zkusd");

/**
 * Compiles a module; the same sources and lock file always give the same bytes.
 * @param {string} name
 * @returns {Promise<Uint8Array>}
 */
async function compile(name) {
  /** @type {Map<string, string | Uint8Array>} */
  const written = new Map();
  const { error, stderr } = await asc.main(
    [
      `assembly/zkusd/${name}.ts`,
      "--outFile=module.wasm",
      "--textFile=module.wat",
      "--runtime=stub",
      "--optimizeLevel=3",
      "--shrinkLevel=2",
      "--converge",
      "--disable=bulk-memory",
      "--use=abort=assembly/lib/host/abort",
      "--initialMemory=4",
      "--maximumMemory=1024",
    ],
    {
      readFile: (file, base) => readFile(join(base ?? here, file), "utf8").catch(() => null),
      writeFile: (file, contents) => void written.set(file, contents),
    },
  );
  if (error) throw new Error(`${name}: ${error.message}\n${stderr.toString()}`);
  const wasm = written.get("module.wasm");
  const text = written.get("module.wat");
  if (!(wasm instanceof Uint8Array) || typeof text !== "string") throw new Error(`${name}: the compiler wrote nothing`);
  if (/\bf(32|64)\./.test(text)) throw new Error(`${name}: the module computes with floats`);
  for (const { module, name: imported } of WebAssembly.Module.imports(new WebAssembly.Module(Uint8Array.from(wasm)))) {
    if (!IMPORTS.has(`${module}.${imported}`)) throw new Error(`${name}: the module imports ${module}.${imported}`);
  }
  return wasm;
}

const check = process.argv.includes("--check");
process.chdir(here);
await mkdir(target, { recursive: true });
/** @type {Record<string, string>} */
const hashes = {};
for (const name of MODULES) {
  const wasm = await compile(name);
  hashes[name] = createHash("sha256").update(wasm).digest("hex");
  const file = join(target, `${name}.wasm`);
  if (check) {
    if (!(await readFile(file)).equals(wasm)) throw new Error(`${file} is not what the sources make: npm run build`);
  } else {
    await writeFile(file, wasm);
  }
  console.log(`${hashes[name]}  ${name}  ${wasm.length} bytes`);
}
const record = `${JSON.stringify(hashes, null, 2)}\n`;
const recordFile = join(target, "sha256.json");
if (!check) await writeFile(recordFile, record);
else if ((await readFile(recordFile, "utf8")) !== record) throw new Error(`${recordFile} does not name these modules`);
