/** Whoever calls acts for themselves or for the fund. */
export const LIQUIDATION_FOR_EVERYBODY = [
  'bh-liquidation.issue-margin-call',
  'bh-liquidation.escalate',
  'bh-liquidation.resolve-margin-call',
  'bh-liquidation.liquidate',
  'bh-liquidation.self-liquidate',
];
