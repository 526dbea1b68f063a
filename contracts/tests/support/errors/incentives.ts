import type { Case } from '../cases.ts';
import type { Chain, ClarityArgument, Outcome, Row } from '../chain.ts';
import { RewardTree } from '../merkle.ts';

const AMT = 1_000n;

function call(chain: Chain, fn: string, args: ClarityArgument[], who = chain.deployer): Outcome {
  return chain.call('bh-incentives', fn, args, who);
}

const terms = (chain: Chain) => ({
  'start-burn': chain.burn + 1n,
  'epoch-burn': 2n,
  epochs: 2n,
  'epoch-cap': AMT,
  'premium-bp': 5_000n,
  'vesting-burn': 200n,
  'claim-burn': 3n,
});

/** A new programme with a budget; gives its id. */
function programOf(chain: Chain): bigint {
  const created = chain.must('bh-incentives', 'create-program', [chain.stx, terms(chain), null], chain.deployer);
  chain.must('bh-incentives', 'contribute', [created.value as bigint, chain.stx, 2n * AMT], chain.stranger);
  return created.value as bigint;
}

function post(chain: Chain, program: bigint, changes: { epoch?: bigint; leaves?: bigint; total?: bigint; due?: bigint } = {}) {
  const { epoch = 1n, leaves = 1n, total = AMT, due = AMT } = changes;
  const tree = new RewardTree(program, epoch, [{ who: chain.buyer, amt: due }]);
  return call(chain, 'post-root', [program, epoch, tree.root, total, leaves], chain.guardian);
}

/** A programme whose first epoch is over. The guardian is the keeper. */
function over(chain: Chain): bigint {
  chain.must('bh-registry', 'grant-role', ['keeper', chain.guardian, null], chain.deployer);
  const program = programOf(chain);
  chain.mineBurn(3);
  return program;
}

/** A programme whose first epoch gives the buyer `due`. */
function posted(chain: Chain, due = AMT): bigint {
  const program = over(chain);
  if (!post(chain, program, { due }).ok) throw new Error('no root');
  return program;
}

function mineTo(chain: Chain, program: bigint, field: string): void {
  chain.mineTo((chain.read('bh-incentives', 'get-epoch', [program, 1n]) as Row)[field] as bigint);
}

function claim(chain: Chain, program: bigint, amt = AMT): Outcome {
  return call(chain, 'claim', [program, 1n, amt, 0n, [], chain.stx], chain.buyer);
}

export const INCENTIVES_ERRORS: Record<string, Case> = {
  'ERR-INCENTIVES-NOT-GOVERNANCE': (c) => call(c, 'end-program', [1n, null], c.guardian),
  'ERR-NOT-KEEPER': (c) => call(c, 'post-root', [1n, 1n, new Uint8Array(32), 1n, 1n]),
  'ERR-NOT-VOIDER': (c) => call(c, 'void-root', [1n, 1n, null], c.stranger),
  'ERR-UNKNOWN-PROGRAM': (c) => call(c, 'end-program', [999n, null]),
  'ERR-PROGRAM-TERMS': (c) => call(c, 'create-program', [c.stx, { ...terms(c), epochs: 0n }, null]),
  'ERR-PROGRAM-ENDED': (c) => {
    const program = programOf(c);
    c.must('bh-incentives', 'end-program', [program, null], c.deployer);
    return call(c, 'end-program', [program, null]);
  },
  'ERR-PROGRAM-LIVE': (c) => call(c, 'return-budget', [programOf(c), c.stx]),
  'ERR-EPOCH-OPEN': (c) => post(c, over(c), { epoch: 2n }),
  'ERR-EPOCH-POSTED': (c) => post(c, posted(c)),
  'ERR-UNKNOWN-EPOCH': (c) => claim(c, over(c)),
  'ERR-EPOCH-LEAVES': (c) => post(c, over(c), { leaves: 0n }),
  'ERR-EPOCH-BUDGET': (c) => post(c, over(c), { total: AMT + 1n }),
  'ERR-CHALLENGE-OVER': (c) => {
    const program = posted(c);
    mineTo(c, program, 'claimable-burn');
    return call(c, 'void-root', [program, 1n, null]);
  },
  'ERR-CHALLENGE-OPEN': (c) => claim(c, posted(c)),
  'ERR-CLAIM-DEADLINE': (c) => {
    const program = posted(c);
    mineTo(c, program, 'deadline-burn');
    c.mineBurn(1);
    return claim(c, program);
  },
  'ERR-CLAIMS-OPEN': (c) => call(c, 'close-epoch', [posted(c), 1n]),
  'ERR-BAD-PROOF': (c) => {
    const program = posted(c);
    mineTo(c, program, 'claimable-burn');
    return claim(c, program, AMT + 1n);
  },
  'ERR-NOTHING-VESTED': (c) => {
    const program = posted(c);
    mineTo(c, program, 'claimable-burn');
    c.must('bh-incentives', 'claim', [program, 1n, AMT, 0n, [], c.stx], c.buyer);
    return claim(c, program);
  },
  'ERR-EPOCH-SPENT': (c) => {
    const program = posted(c, AMT + 1n);
    mineTo(c, program, 'claimable-burn');
    return claim(c, program, AMT + 1n);
  },
  'ERR-NO-BUDGET': (c) => {
    const program = programOf(c);
    c.must('bh-incentives', 'end-program', [program, null], c.deployer);
    c.must('bh-incentives', 'return-budget', [program, c.stx], c.deployer);
    return call(c, 'return-budget', [program, c.stx]);
  },
  'ERR-PROGRAM-TOKEN': (c) => call(c, 'contribute', [programOf(c), c.sbtc, 1n]),
  'ERR-REWARD-TOKEN': (c) => call(c, 'create-program', [c.id('bh-math'), terms(c), null]),
  'ERR-REWARD-TRANSFER': (c) => call(c, 'contribute', [programOf(c), c.stx, 10n ** 30n]),
  'ERR-REWARD-AMOUNT': (c) => call(c, 'contribute', [programOf(c), c.stx, 0n]),
};
