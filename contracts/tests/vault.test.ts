import { beforeEach, describe, expect, test } from 'vitest';
import { Chain, fixture, type Row } from './support/chain.ts';
import { checkFold } from './support/fold.ts';
import { closeRound, createPolicy, fixExpiry, market, setPrice, BTC_USD8, STX_USD8 } from './support/flow.ts';

let chain: Chain;
let provider: string;
beforeEach(async () => {
  chain = await market();
  provider = chain.providers[0]!;
});

const vault = (fn: string, args: Parameters<Chain['call']>[2], who = provider) => chain.call('bh-vault', fn, args, who);
const position = (token = chain.stx) => chain.read('bh-vault', 'get-position', [provider, 'aggressive', token]) as Row;

describe.each(['stx', 'sbtc'] as const)('capital in %s', (name) => {
  test('goes in, is asked back, waits, and comes out in full', () => {
    const token = chain[name];
    const asset = name === 'stx' ? 'STX' : token;
    const before = chain.balance(token, provider);
    const { available } = position(token) as { available: bigint };
    const deposited = vault('deposit', [token, 'aggressive', 5_000n]);
    expect(deposited.transfers).toEqual([
      { asset, amount: 5_000n, sender: provider, recipient: chain.id('bh-vault') },
    ]);
    expect(deposited.events[0]).toMatchObject({
      topic: 'capital.deposited',
      'available-before': available,
      'available-after': available + 5_000n,
    });
    const request = vault('request-withdraw', [token, 'aggressive', 5_000n]).value as bigint;
    expect(position(token)).toMatchObject({ available: available + 5_000n, requested: 5_000n });
    expect(vault('withdraw', [request, token]).code).toBe(5010);
    chain.mineBurn(1);
    const withdrawn = vault('withdraw', [request, token]);
    expect(withdrawn.transfers).toEqual([
      { asset, amount: 5_000n, sender: chain.id('bh-vault'), recipient: provider },
    ]);
    expect(position(token)).toMatchObject({ available, requested: 0n });
    expect(vault('withdraw', [request, token]).code).toBe(5008);
    expect(chain.balance(token, provider)).toBe(before);
    checkFold(chain);
  });
});

test('native STX moves in a native transfer, through a SIP-010 face', () => {
  const sent = chain.must('bh-stx', 'transfer', [7n, chain.buyer, chain.stranger, null], chain.buyer);
  expect(sent.transfers).toEqual([{ asset: 'STX', amount: 7n, sender: chain.buyer, recipient: chain.stranger }]);
  expect(chain.call('bh-stx', 'transfer', [7n, chain.buyer, chain.stranger, null], chain.stranger).code).toBe(4);
  expect(['get-name', 'get-symbol', 'get-decimals', 'get-token-uri'].map((fn) => chain.read('bh-stx', fn))).toEqual([
    'Stacks',
    'STX',
    6n,
    null,
  ]);
  expect(chain.read('bh-stx', 'get-total-supply')).toBeGreaterThan(0n);
});

test('capital that is asked back backs no new policy', () => {
  const { available } = position() as { available: bigint };
  vault('request-withdraw', [chain.stx, 'aggressive', available - 649_999_999n]);
  // 900 USD at 130% and a 10% haircut is 650 STX, one uSTX more than is left.
  expect(createPolicy(chain).code).toBe(5007);
  expect(vault('request-withdraw', [chain.stx, 'aggressive', 650_000_000n]).code).toBe(5007);
});

test('a provider who switches matching off keeps old policies and gets no new ones', () => {
  expect(createPolicy(chain).ok).toBe(true);
  vault('set-auto-match', [false]);
  expect(createPolicy(chain).code).toBe(5017);
  expect(position()['locked']).toBe(650_000_000n);
  vault('set-auto-match', [true]);
  expect(createPolicy(chain).ok).toBe(true);
  checkFold(chain);
});

test('a position that backs policies can only shrink to its warning ratio, at a fresh price', () => {
  createPolicy(chain);
  const { available, locked } = position() as { available: bigint; locked: bigint };
  // 900 USD at 135% and a 10% haircut.
  const needed = 675_000_000n;
  const most = available + locked - needed;
  const first = vault('request-withdraw', [chain.stx, 'aggressive', most]).value as bigint;
  const second = vault('request-withdraw', [chain.stx, 'aggressive', 1n]).value as bigint;
  chain.mineBurn(7);
  expect(vault('withdraw', [first, chain.stx]).code).toBe(3016);
  closeRound(chain, 'STX', STX_USD8);
  expect(vault('withdraw', [first, chain.stx]).code).toBe(0);
  expect(vault('withdraw', [second, chain.stx]).code).toBe(5011);
  // A better price frees it.
  closeRound(chain, 'STX', (STX_USD8 * 104n) / 100n);
  expect(vault('withdraw', [second, chain.stx]).code).toBe(0);
  checkFold(chain);
});

test('a provider cannot back more after its collateral has lost its worth', () => {
  const terms = { notional: 5_000_000n, expiry: chain.burn + 20n };
  expect(createPolicy(chain, terms).ok).toBe(true);
  const { available } = position() as { available: bigint };
  vault('request-withdraw', [chain.stx, 'aggressive', available - 9_000_000_000n]);
  chain.mineBurn(1);
  vault('withdraw', [1n, chain.stx]);
  setPrice(chain, 'STX', (STX_USD8 * 3n) / 10n);
  // 7,425 USD of capital after haircut is below 130% of 4,500 + 1,800 USD, though enough of it is free.
  expect(createPolicy(chain, { notional: 2_000_000n, expiry: chain.burn + 21n }).code).toBe(5011);
});

test('the cap counts available and locked capital of all providers', () => {
  const row = chain.read('bh-params', 'get-token', [chain.stx]) as { [key: string]: bigint | boolean | string };
  createPolicy(chain);
  chain.must('bh-params', 'set-token', [chain.stx, { ...row, cap: 60_000_000_010n }, null], chain.deployer);
  expect(vault('deposit', [chain.stx, 'balanced', 11n], chain.stranger).code).toBe(5006);
  expect(vault('deposit', [chain.stx, 'balanced', 10n], chain.stranger).code).toBe(0);
  chain.must('bh-params', 'set-token', [chain.stx, { ...row, active: false }, null], chain.deployer);
  expect(vault('deposit', [chain.stx, 'balanced', 1n]).code).toBe(5001);
  expect(createPolicy(chain).code).toBe(6005);
  // What is in can still leave.
  const request = vault('request-withdraw', [chain.stx, 'balanced', 10n], chain.stranger).value as bigint;
  chain.mineBurn(1);
  expect(vault('withdraw', [request, chain.stx], chain.stranger).code).toBe(0);
  checkFold(chain);
});

test('breakers stop deposits and withdrawals, and never yield or settlement', () => {
  const expiry = chain.burn + 3n;
  const policy = createPolicy(chain, { expiry }).value as bigint;
  const request = vault('request-withdraw', [chain.stx, 'aggressive', 1n]).value as bigint;
  for (const name of ['create', 'exercise', 'cancel', 'deposit', 'withdraw']) {
    chain.must('bh-params', 'trip-breaker', [name, 'test'], chain.guardian);
  }
  fixExpiry(chain, expiry, { BTC: BTC_USD8, STX: STX_USD8 });
  expect(vault('deposit', [chain.stx, 'aggressive', 1n]).code).toBe(5004);
  expect(vault('withdraw', [request, chain.stx]).code).toBe(5005);
  chain.must('bh-policy', 'settle', [policy, chain.stx], chain.stranger);
  expect(vault('claim-yield', [chain.stx]).code).toBe(0);
  expect(vault('claim-yield', [chain.stx]).code).toBe(5013);
  checkFold(chain);
});

test('fees wait for the treasury and the fund, each its own part', () => {
  createPolicy(chain);
  const buckets = chain.read('bh-vault', 'get-buckets', [chain.stx]) as Row;
  const premium = chain.events.find(({ topic }) => topic === 'premium.escrowed')!;
  expect(buckets).toMatchObject({
    'platform-fees': premium['fee-platform'],
    'reserve-fees': premium['fee-reserve'],
    unearned: premium['premium-provider'],
  });
  for (const [name, kind, amount] of [
    ['treasury', 'platform', premium['fee-platform']],
    ['fund', 'reserve', premium['fee-reserve']],
  ] as const) {
    const module = chain.deploy(name, fixture('module'));
    chain.must('bh-registry', 'register-module', [name, 1n, module], chain.deployer);
    chain.mineBurn(2_016);
    chain.must('bh-registry', 'activate-module', [name, 1n], chain.deployer);
    const collected = chain.must(module, 'collect-fees', [chain.stx], chain.stranger);
    expect(collected.value).toBe(amount);
    expect(collected.events[0]).toMatchObject({ topic: 'fees.collected', kind, to: module });
    expect(chain.balance(chain.stx, module)).toBe(amount);
    expect(chain.call(module, 'collect-fees', [chain.stx], chain.stranger).code).toBe(5003);
  }
  checkFold(chain);
});

test('a token cannot take more from the vault than it pays out, nor more from a depositor than they deposit', () => {
  const token = chain.deploy('greedy-token', fixture('greedy-token'));
  const row = {
    asset: 'BTC',
    'asset-name': 'greedy',
    native: false,
    decimals: 8n,
    'haircut-bp': 0n,
    cap: 1_000n,
    active: true,
  };
  chain.must('bh-params', 'set-token', [token, row, null], chain.deployer);
  chain.must(token, 'mint', [100n, provider], provider);
  chain.must(token, 'mint', [100n, chain.stranger], provider);
  expect(vault('deposit', [token, 'aggressive', 50n]).code).toBe(0);
  expect(vault('deposit', [token, 'aggressive', 50n], chain.stranger).code).toBe(0);
  const request = vault('request-withdraw', [token, 'aggressive', 50n]).value as bigint;
  chain.mineBurn(1);
  chain.must(token, 'set-greed', [2n], provider);
  expect(vault('withdraw', [request, token]).code).toBe(5024);
  expect(vault('deposit', [token, 'aggressive', 20n]).code).toBe(5024);
  chain.must(token, 'set-greed', [1n], provider);
  expect(vault('withdraw', [request, token]).code).toBe(0);
  checkFold(chain);
});
