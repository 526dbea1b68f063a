import { beforeEach, describe, expect, test } from 'vitest';
import type { Chain, Outcome, Row } from './support/chain.ts';
import { checkFold } from './support/fold.ts';
import { bootstrapped, closeRound, nextRound, setParams, BTC_USD8 } from './support/flow.ts';
import { isqrt } from './support/model.ts';

const USD = 100_000_000n;

let chain: Chain;
beforeEach(async () => {
  chain = await bootstrapped();
});

const asset = () => chain.read('bh-oracle', 'get-asset', ['BTC']) as Row;
const round = (number: bigint) => chain.read('bh-oracle', 'get-round', ['BTC', number]) as Row;

function submit(feeder: number, price: bigint, observed = chain.burn): Outcome {
  return chain.call('bh-oracle', 'submit-price', ['BTC', nextRound(chain, 'BTC'), price, observed], chain.feeders[feeder]!);
}

function close(): Outcome {
  return chain.call('bh-oracle', 'close-round', ['BTC', nextRound(chain, 'BTC')], chain.stranger);
}

function fix(expiry: bigint, number: bigint): number {
  return chain.call('bh-oracle', 'fix-expiry-price', ['BTC', expiry, number], chain.stranger).code;
}

describe('median', () => {
  test('of equal weights is the middle price, in whatever order they come', () => {
    for (const order of [
      [0, 1, 2],
      [2, 0, 1],
      [1, 2, 0],
    ]) {
      const prices = [99_000n, 100_500n, 101_000n].map((usd) => usd * USD);
      for (const feeder of order) submit(feeder, prices[feeder]!);
      const { events } = close();
      expect(events[0]).toMatchObject({
        topic: 'round.closed',
        'price-usd8': 100_500n * USD,
        count: 3n,
        weight: 3n,
        'spread-bp': 149n,
        mode: 'normal',
      });
    }
    expect(chain.read('bh-oracle', 'get-submissions', ['BTC', 1n])).toEqual(
      [99_000n, 100_500n, 101_000n].map((usd, i) => ({
        provider: chain.feeders[i],
        'price-usd8': usd * USD,
        weight: 1n,
      })),
    );
    checkFold(chain);
  });

  test('of unequal weights is the first price that half of the weight reaches', () => {
    chain.must('bh-oracle', 'set-provider', [chain.feeders[2], 2n], chain.deployer);
    submit(0, 99_000n * USD);
    submit(1, 100_000n * USD);
    submit(2, 101_000n * USD);
    expect(close().events[0]!['price-usd8']).toBe(100_000n * USD);
    chain.must('bh-oracle', 'set-provider', [chain.feeders[2], 3n], chain.deployer);
    submit(2, 101_000n * USD);
    submit(1, 100_000n * USD);
    submit(0, 99_000n * USD);
    expect(close().events[0]!['price-usd8']).toBe(101_000n * USD);
    checkFold(chain);
  });

  test('of two is the lower', () => {
    setParams(chain, [['oracle-min-providers', 2n]]);
    submit(0, 101_000n * USD);
    submit(1, 100_000n * USD);
    expect(close().events[0]!['price-usd8']).toBe(100_000n * USD);
  });
});

describe('quorum', () => {
  test('needs enough providers and enough of all the weight', () => {
    setParams(chain, [['oracle-min-providers', 2n]]);
    chain.must('bh-oracle', 'set-provider', [chain.feeders[2], 2n], chain.deployer);
    submit(0, BTC_USD8);
    expect(close().code).toBe(3014);
    submit(1, BTC_USD8);
    // Two of four is below 60%.
    expect(close().code).toBe(3014);
    submit(2, BTC_USD8);
    expect(close().value).toBe(true);
  });

  test('that does not come in time rejects the round, and the next can open', () => {
    submit(0, BTC_USD8);
    chain.mineBurn(6);
    expect(close().code).toBe(3014);
    chain.mineBurn(1);
    const { value, events } = close();
    expect(value).toBe(false);
    expect(events[0]).toMatchObject({ topic: 'round.rejected', reason: 'no-quorum', 'price-usd8': 0n, round: 1n });
    expect(round(1n)).toMatchObject({ state: 'rejected', mode: 'no-quorum' });
    expect(close().code).toBe(3008);
    expect(closeRound(chain, 'BTC', BTC_USD8).value).toBe(true);
    expect(round(2n)).toMatchObject({ state: 'closed', 'prev-round': 0n });
    checkFold(chain);
  });

  test('reached in time can still be closed late', () => {
    for (const feeder of [0, 1, 2]) submit(feeder, BTC_USD8);
    chain.mineBurn(20);
    expect(close().value).toBe(true);
    expect(chain.readError('bh-oracle', 'get-fresh-price', ['BTC'])).toBe(3016);
    expect(chain.readError('bh-oracle', 'get-price', ['BTC'])).toBe(0);
  });
});

describe('deviation', () => {
  test('up to the limit closes, one more is rejected, also for the first round and however old the last price', () => {
    expect(closeRound(chain, 'BTC', 105_010n * USD).value).toBe(false);
    expect(asset()).toMatchObject({ 'last-round': 0n, 'candidate-usd8': 105_010n * USD });
    expect(closeRound(chain, 'BTC', 105_000n * USD).value).toBe(true);
    chain.mineBurn(1_000);
    expect(closeRound(chain, 'BTC', 90_000n * USD).value).toBe(false);
    checkFold(chain);
  });

  test('of a real move is confirmed by a second quorum near the first', () => {
    closeRound(chain, 'BTC', BTC_USD8);
    expect(closeRound(chain, 'BTC', 80_000n * USD).value).toBe(false);
    const { events } = closeRound(chain, 'BTC', 81_000n * USD);
    expect(events[0]).toMatchObject({ mode: 'confirmed', 'price-before': BTC_USD8, 'deviation-bp': 1_900n });
    expect(asset()).toMatchObject({ 'price-usd8': 81_000n * USD, 'candidate-usd8': null });
    checkFold(chain);
  });

  test('is not confirmed by a second quorum elsewhere, and a normal round forgets the candidate', () => {
    closeRound(chain, 'BTC', BTC_USD8);
    expect(closeRound(chain, 'BTC', 80_000n * USD).value).toBe(false);
    expect(closeRound(chain, 'BTC', 130_000n * USD).value).toBe(false);
    expect(asset()['candidate-usd8']).toBe(130_000n * USD);
    expect(closeRound(chain, 'BTC', 101_000n * USD).value).toBe(true);
    expect(closeRound(chain, 'BTC', 130_000n * USD).value).toBe(false);
    checkFold(chain);
  });

  test('candidate survives a round without quorum', () => {
    closeRound(chain, 'BTC', BTC_USD8);
    closeRound(chain, 'BTC', 80_000n * USD);
    submit(0, 80_000n * USD);
    chain.mineBurn(7);
    close();
    expect(closeRound(chain, 'BTC', 80_500n * USD).value).toBe(true);
    checkFold(chain);
  });
});

describe('observation height', () => {
  test('of the first submission opens the round; none after it may be older', () => {
    chain.mineBurn(10);
    submit(0, BTC_USD8, chain.burn - 2n);
    expect(submit(1, BTC_USD8, chain.burn - 3n).code).toBe(3010);
    expect(submit(1, BTC_USD8, chain.burn - 2n).code).toBe(0);
    submit(2, BTC_USD8, chain.burn);
    close();
    expect(round(1n)).toMatchObject({ 'opened-burn': chain.burn - 2n, 'closed-burn': chain.burn });
    // Nor may the next round reach behind this one.
    expect(submit(0, BTC_USD8, chain.burn - 3n).code).toBe(3010);
    expect(submit(0, BTC_USD8, chain.burn - 2n).code).toBe(0);
    checkFold(chain);
  });
});

test('variance follows its formula per Bitcoin block, and volatility its bounds', () => {
  let variance = 0n;
  let before = BTC_USD8;
  let opened = 0n;
  const random = [100_000n, 101_000n, 99_500n, 104_000n, 99_000n, 99_000n, 103_900n];
  random.forEach((usd, i) => {
    chain.mineBurn(i % 3);
    const price = usd * USD;
    closeRound(chain, 'BTC', price);
    if (i > 0) {
      const move = price > before ? price - before : before - price;
      const r = (move * 1_000_000n) / before;
      const gap = chain.burn > opened ? chain.burn - opened : 1n;
      variance = (9_400n * variance + 600n * ((r * r) / gap)) / 10_000n;
    }
    before = price;
    opened = chain.burn;
    expect(asset()['var-e12']).toBe(variance);
  });
  const volatility = isqrt(variance * 52_560n) / 100n;
  expect(volatility).toBeGreaterThan(4_000n);
  const read = () => chain.read('bh-oracle', 'get-volatility-bp', ['BTC']);
  setParams(chain, [['vol-max-bp', 50_000n]]);
  expect(read()).toBe(volatility);
  setParams(chain, [['vol-max-bp', 4_000n]]);
  expect(read()).toBe(4_000n);
  setParams(chain, [
    ['vol-max-bp', 50_000n],
    ['vol-min-bp', 20_000n],
  ]);
  expect(read()).toBe(volatility > 20_000n ? volatility : 20_000n);
  expect(chain.read('bh-oracle', 'get-volatility-bp', ['STX'])).toBe(20_000n);
});

describe('expiry price', () => {
  test('is that of the first round observed at or after the expiry, whoever asks', () => {
    closeRound(chain, 'BTC', BTC_USD8);
    const expiry = chain.burn + 5n;
    chain.mineTo(expiry - 1n);
    closeRound(chain, 'BTC', 99_000n * USD);
    chain.mineTo(expiry);
    closeRound(chain, 'BTC', 98_000n * USD);
    closeRound(chain, 'BTC', 97_000n * USD);
    chain.mineBurn(1);
    closeRound(chain, 'BTC', 96_000n * USD);
    expect([1n, 2n, 4n, 5n, 6n].map((number) => fix(expiry, number))).toEqual(Array(5).fill(3019));
    expect(fix(expiry, 3n)).toBe(0);
    expect(fix(expiry, 3n)).toBe(3018);
    expect(chain.read('bh-oracle', 'get-expiry-price', ['BTC', expiry])).toEqual({ round: 3n, 'price-usd8': 98_000n * USD });
    checkFold(chain);
  });

  test('does not take a price observed before the expiry, even from a round closed after it', () => {
    closeRound(chain, 'BTC', BTC_USD8);
    chain.mineBurn(3);
    const expiry = chain.burn + 1n;
    for (const feeder of [0, 1, 2]) submit(feeder, 99_000n * USD);
    chain.mineTo(expiry);
    close();
    expect(fix(expiry, 2n)).toBe(3019);
    closeRound(chain, 'BTC', 98_000n * USD);
    expect(fix(expiry, 3n)).toBe(0);
  });

  test('skips rejected rounds and waits for the confirming one', () => {
    closeRound(chain, 'BTC', BTC_USD8);
    chain.mineBurn(3);
    const expiry = chain.burn;
    closeRound(chain, 'BTC', 80_000n * USD);
    closeRound(chain, 'BTC', 80_000n * USD);
    expect(fix(expiry, 2n)).toBe(3019);
    expect(fix(expiry, 3n)).toBe(0);
    checkFold(chain);
  });
});

describe('fallback', () => {
  const trip = () => chain.must('bh-params', 'trip-breaker', ['oracle', 'feeders silent'], chain.guardian);
  const announce = (price: bigint) =>
    chain.call('bh-oracle', 'set-fallback', ['BTC', price, 'feeders silent'], chain.guardian);
  const apply = () => chain.call('bh-oracle', 'apply-fallback', ['BTC'], chain.stranger);

  test('becomes a round after its delay, over an open round, and can fix an expiry', () => {
    closeRound(chain, 'BTC', BTC_USD8);
    chain.mineBurn(1);
    const expiry = chain.burn;
    submit(0, BTC_USD8);
    trip();
    expect(close().code).toBe(3007);
    expect(announce(0n).code).toBe(3009);
    expect(announce(50_000n * USD).code).toBe(0);
    chain.mineBurn(143);
    expect(apply().code).toBe(3022);
    chain.mineBurn(1);
    const { value, events } = apply();
    expect(value).toBe(3n);
    expect(events.map(({ topic }) => topic)).toEqual(['round.rejected', 'round.closed']);
    expect(events[0]!['reason']).toBe('fallback');
    expect(events[1]).toMatchObject({ mode: 'fallback', 'price-usd8': 50_000n * USD, count: 0n, 'spread-bp': 0n });
    expect(apply().code).toBe(3021);
    expect(fix(expiry, 3n)).toBe(0);
    checkFold(chain);
  });

  test('can be taken back by governance and by the guardian, and not used once the breaker is reset', () => {
    trip();
    for (const who of [chain.deployer, chain.guardian]) {
      announce(BTC_USD8);
      chain.must('bh-oracle', 'cancel-fallback', ['BTC'], who);
      expect(apply().code).toBe(3021);
    }
    announce(BTC_USD8);
    expect(chain.read('bh-oracle', 'get-fallback', ['BTC'])).toEqual({
      'price-usd8': BTC_USD8,
      'from-burn': chain.burn + 144n,
    });
    chain.must('bh-params', 'reset-breaker', ['oracle', null], chain.deployer);
    chain.mineBurn(144);
    expect(apply().code).toBe(3020);
    checkFold(chain);
  });
});

test('a removed provider cannot submit, and its weight no longer counts towards the quorum', () => {
  chain.must('bh-oracle', 'set-provider', [chain.feeders[2], 0n], chain.deployer);
  expect(chain.read('bh-oracle', 'get-total-weight')).toBe(2n);
  expect(submit(2, BTC_USD8).code).toBe(3005);
  setParams(chain, [['oracle-min-providers', 2n]]);
  submit(0, BTC_USD8);
  submit(1, BTC_USD8);
  expect(close().value).toBe(true);
  checkFold(chain);
});

test('an asset that governance stops takes no prices', () => {
  closeRound(chain, 'BTC', BTC_USD8);
  chain.must('bh-oracle', 'set-asset', ['BTC', true, BTC_USD8, false], chain.deployer);
  expect(submit(0, BTC_USD8).code).toBe(3004);
  expect(chain.readError('bh-oracle', 'get-price', ['BTC'])).toBe(3004);
  chain.must('bh-oracle', 'set-asset', ['BTC', true, BTC_USD8, true], chain.deployer);
  expect(asset()['last-round']).toBe(1n);
  checkFold(chain);
});
