import { execFileSync } from 'node:child_process';
import { readFileSync, readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { nodeRoutes } from '../api.js';
import { controlRoutes } from '../control.js';

const DEVNET = fileURLToPath(new URL('..', import.meta.url));
const PAGE = readFileSync(fileURLToPath(new URL('../../../docs/devnet.md', import.meta.url)), 'utf8');

test('every option is documented, and no other', () => {
  const usage = execFileSync(process.execPath, [`${DEVNET}main.js`, '--help'], { encoding: 'utf8' });
  const options = [...usage.matchAll(/^ {2}(--[a-z-]+)/gm)].map(([, option]) => option);
  const documented = [...PAGE.matchAll(/^\| `(--[a-z-]+)`/gm)].map(([, option]) => option);
  expect(documented).toEqual(options);
});

test('every route is documented', () => {
  const nothing = /** @type {any} */ (new Proxy({}, { get: () => ({}) }));
  for (const { method, path } of [...nodeRoutes(nothing, null), ...controlRoutes(nothing, nothing)]) {
    const [start] = path.source.replaceAll('\\/', '/').replace('^', '').split(/[$(]/);
    expect(PAGE).toContain(`\`${method} ${start}`);
  }
});

test('every file is documented', () => {
  for (const file of readdirSync(DEVNET).filter((name) => /\.(js|clar)$/.test(name))) {
    expect(PAGE).toContain(`\`${file}\``);
  }
});
