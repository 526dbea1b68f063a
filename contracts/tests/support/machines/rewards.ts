import { Chain, type ClarityArgument, type Row } from '../chain.ts';
import { bootstrapped } from '../flow.ts';
import { RewardTree } from '../merkle.ts';
import type { Driver } from './machine.ts';

const AMT = 1_000n;
const EPOCH = { program: 1n, epoch: 1n };
const EPOCH_BURN = 2n;

function create(chain: Chain) {
  const terms = {
    'start-burn': chain.burn + 1n,
    'epoch-burn': EPOCH_BURN,
    epochs: 2n,
    'epoch-cap': AMT,
    'premium-bp': 5_000n,
    'vesting-burn': 200n,
    'claim-burn': 3n,
  };
  return chain.call('bh-incentives', 'create-program', [chain.stx, terms, null], chain.deployer);
}

const contribute = (chain: Chain, program: ClarityArgument) =>
  chain.call('bh-incentives', 'contribute', [program, chain.stx, 2n * AMT], chain.stranger);

const tree = (chain: Chain, program: bigint) => new RewardTree(program, 1n, [{ who: chain.buyer, amt: AMT }]);

const post = (chain: Chain, program: ClarityArgument) =>
  chain.call('bh-incentives', 'post-root', [program, 1n, tree(chain, program as bigint).root, AMT, 1n], chain.guardian);

/** A chain on which the guardian is the keeper. */
const kept = () =>
  Chain.reuse('rewards machines', async () => {
    const chain = await bootstrapped();
    chain.must('bh-registry', 'grant-role', ['keeper', chain.guardian, null], chain.deployer);
    return chain;
  });

export const PROGRAM_DRIVER: Driver = {
  start: kept,
  key: () => 999n,
  call: {
    'create-program': create,
    contribute,
    'post-root': post,
    'end-program': (c, key) => c.call('bh-incentives', 'end-program', [key, null], c.deployer),
    'return-budget': (c, key) => c.call('bh-incentives', 'return-budget', [key, c.stx], c.stranger),
  },
  before: {
    'live post-root live': (c, key) => {
      contribute(c, key);
      c.mineBurn(EPOCH_BURN + 1n);
    },
    'live end-program ended': contribute,
  },
};

const epochField = (chain: Chain, field: string) => (chain.mapEntry('bh-incentives', 'epochs', EPOCH) as Row)[field] as bigint;

export const EPOCH_DRIVER: Driver = {
  // The first epoch of programme 1 is over.
  start: () =>
    Chain.reuse('epoch machine', async () => {
      const chain = await kept();
      create(chain);
      contribute(chain, EPOCH.program);
      chain.mineBurn(EPOCH_BURN + 1n);
      return chain;
    }),
  key: () => EPOCH,
  call: {
    'post-root': (c) => post(c, EPOCH.program),
    'void-root': (c) => c.call('bh-incentives', 'void-root', [EPOCH.program, EPOCH.epoch, null], c.guardian),
    claim: (c) => c.call('bh-incentives', 'claim', [EPOCH.program, EPOCH.epoch, AMT, 0n, [], c.stx], c.buyer),
    'close-epoch': (c) => c.call('bh-incentives', 'close-epoch', [EPOCH.program, EPOCH.epoch], c.stranger),
  },
  before: {
    'posted claim posted': (c) => c.mineTo(epochField(c, 'claimable-burn')),
    'posted close-epoch closed': (c) => c.mineTo(epochField(c, 'deadline-burn') + 1n),
  },
};
