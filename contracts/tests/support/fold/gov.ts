import { expect } from 'vitest';
import type { Chain, Plain, PrintedEvent, Row } from '../chain.ts';
import { join, ModuleFold, pick, sum } from './module.ts';

export class GovFold extends ModuleFold {
  readonly contract = 'bh-gov';
  readonly maps = [
    'stakes',
    'delegates',
    'locks',
    'checkpoints',
    'checkpoint-counts',
    'proposals',
    'actions',
    'votes',
  ];
  readonly variables = ['token-row', 'seq', 'last-proposal'];
  token: Plain = null;
  readonly stakes = new Map<string, bigint>();
  readonly delegates = new Map<string, string>();
  readonly locks = new Map<string, Plain>();
  /** Checkpoints in order, by principal; `null` is all power together. */
  readonly checkpoints = new Map<string | null, Row[]>();
  readonly proposals = new Map<string, Row>();
  readonly actions = new Map<string, Row>();
  readonly votes = new Map<string, Row>();

  readonly rules = {
    'governance.begun': (e: PrintedEvent) => (this.token = pick(e, 'token', 'asset-name')),
    'stake.added': (e: PrintedEvent) => this.setStake(e),
    'stake.removed': (e: PrintedEvent) => this.setStake(e),
    'delegation.set': (e: PrintedEvent) => {
      const staker = join(e, 'staker');
      expect(e['from']).toBe(this.delegates.get(staker) ?? staker);
      expect(e['amt']).toBe(this.stakes.get(staker) ?? 0n);
      this.delegates.set(staker, String(e['to']));
    },
    'power.changed': (e: PrintedEvent) => {
      const who = e['who'] as string | null;
      const rows = this.checkpoints.get(who) ?? [];
      expect(e['power-before']).toBe(rows.at(-1)?.['power'] ?? 0n);
      const at = Number(e['index']) - 1;
      expect(at === rows.length || (at === rows.length - 1 && rows[at]!['from-burn'] === e['from-burn'])).toBe(true);
      rows[at] = { 'from-burn': e['from-burn']!, power: e['power-after']! };
      this.checkpoints.set(who, rows);
    },
    'action.added': (e: PrintedEvent) => this.actions.set(join(e, 'proposal', 'index'), pick(e, 'kind', 'data')),
    'proposal.created': (e: PrintedEvent) =>
      this.proposals.set(
        join(e, 'proposal'),
        pick(
          e,
          'proposer',
          'title-hash',
          'uri',
          'actions',
          'about-guardian',
          'created-burn',
          'snapshot-burn',
          'total-power',
          'voting-ends-burn',
          'eta-burn',
          'grace-ends-burn',
          'quorum-bp',
          'pass-bp',
          'for-power',
          'against-power',
          'abstain-power',
          'state',
        ),
      ),
    'vote.cast': (e: PrintedEvent) => {
      const row = this.proposals.get(join(e, 'proposal'))!;
      const choice = `${String(e['choice'])}-power`;
      expect(e[`${String(e['choice'])}-after`]).toBe((row[choice] as bigint) + (e['power'] as bigint));
      row['for-power'] = e['for-after']!;
      row['against-power'] = e['against-after']!;
      row['abstain-power'] = e['abstain-after']!;
      this.votes.set(join(e, 'proposal', 'voter'), pick(e, 'choice', 'power'));
      this.locks.set(join(e, 'voter'), e['locked-until-burn']!);
    },
    'proposal.finalized': (e: PrintedEvent) => this.setState(e, String(e['state'])),
    'proposal.executed': (e: PrintedEvent) => this.setState(e, 'executed'),
    'proposal.expired': (e: PrintedEvent) => this.setState(e, 'expired'),
    'proposal.cancelled': (e: PrintedEvent) => this.setState(e, 'cancelled'),
  };

  private setStake(event: Row): void {
    const staker = join(event, 'staker');
    expect(event['stake-before']).toBe(this.stakes.get(staker) ?? 0n);
    this.stakes.set(staker, event['stake-after'] as bigint);
  }

  private setState(event: Row, state: string): void {
    this.proposals.get(join(event, 'proposal'))!['state'] = state;
  }

  protected compare(chain: Chain): void {
    this.sameVariable(chain, 'token-row', this.token);
    for (const [staker, amt] of this.stakes) this.same(chain, 'stakes', staker, amt);
    for (const [staker, to] of this.delegates) this.same(chain, 'delegates', staker, to);
    for (const [voter, until] of this.locks) this.same(chain, 'locks', voter, until);
    for (const [who, rows] of this.checkpoints) {
      const key = who === null ? null : { some: who };
      this.same(chain, 'checkpoint-counts', key, BigInt(rows.length));
      rows.forEach((row, i) => this.same(chain, 'checkpoints', { who: key, index: BigInt(i + 1) }, row));
    }
    this.sameVariable(chain, 'last-proposal', BigInt(this.proposals.size));
    for (const [id, row] of this.proposals) this.same(chain, 'proposals', BigInt(id), row);
    for (const [key, row] of this.actions) {
      const [proposal, index] = key.split(' ') as [string, string];
      this.same(chain, 'actions', { proposal: BigInt(proposal), index: BigInt(index) }, row);
    }
    for (const [key, row] of this.votes) {
      const [proposal, voter] = key.split(' ') as [string, string];
      this.same(chain, 'votes', { proposal: BigInt(proposal), voter }, row);
    }
    this.checkPower(chain);
  }

  /** Stakes add up to the tokens held, to all power, and by delegate to each one's power. */
  private checkPower(chain: Chain): void {
    const total = sum(this.stakes.values());
    expect(this.checkpoints.get(null)?.at(-1)?.['power'] ?? 0n).toBe(total);
    const power = new Map<string, bigint>();
    for (const [staker, amt] of this.stakes) {
      const to = this.delegates.get(staker) ?? staker;
      power.set(to, (power.get(to) ?? 0n) + amt);
    }
    for (const [who, rows] of this.checkpoints) {
      if (who !== null) expect(rows.at(-1)!['power'], `power of ${who}`).toBe(power.get(who) ?? 0n);
    }
    if (this.token !== null) {
      expect(chain.balance(String((this.token as Row)['token']), chain.id('bh-gov'))).toBe(total);
    }
  }
}
