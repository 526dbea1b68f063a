import { isWallet, type Step } from './walk.ts';

/** What providers do with their capital. */
export const CAPITAL: Step[] = [
  (walk) => walk.call('bh-vault', 'deposit', [walk.token(), walk.tier(), walk.amount()], walk.provider()),
  (walk) => walk.call('bh-vault', 'request-withdraw', [walk.token(), walk.tier(), walk.amount(2n * 10n ** 9n)], walk.provider()),
  (walk) => {
    const found = walk.one(walk.state.vault.requests, (row) => isWallet(String(row['provider'])));
    if (!found) return;
    walk.refresh();
    const [request, row] = found;
    walk.call('bh-vault', 'withdraw', [BigInt(request), String(row['token'])], String(row['provider']));
  },
  (walk) => {
    walk.refresh();
    walk.call('bh-vault', 'change-tier', [walk.token(), walk.tier(), walk.tier(), walk.amount()], walk.provider());
  },
  (walk) => walk.call('bh-vault', 'set-auto-match', [walk.random.between(0n, 4n) > 0n], walk.provider()),
  (walk) => walk.call('bh-vault', 'claim-yield', [walk.token()], walk.provider()),
];
