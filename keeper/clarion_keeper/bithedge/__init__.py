"""The jobs of BitHedge: what anybody may call so that policies, prices, positions and money go on as they should."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from clarion.chains.stacks.node_client import NodeClient
from clarion.protocols.bithedge import protocol
from clarion_keeper.bithedge import (
    fees,
    fund,
    governance,
    incentives,
    liquidation,
    margins,
    prices,
    reminders,
    settlement,
)
from clarion_keeper.bithedge.calls import BitHedgeJob
from clarion_keeper.bithedge.incentives import PostRewardRoot, RewardRootDiffers, Roots
from clarion_keeper.bithedge.reading import Index
from clarion_keeper.bithedge.reconciliation import Reconcile
from clarion_keeper.job import Job, JobContext, JobsError

JOBS: tuple[type[BitHedgeJob], ...] = (
    prices.CloseRound,
    liquidation.Liquidate,
    margins.EscalateMarginCall,
    margins.IssueMarginCall,
    margins.ResolveMarginCall,
    prices.FixExpiryPrice,
    prices.ApplyFallback,
    settlement.Settle,
    fund.CoverShortfall,
    fund.CompleteRecovery,
    governance.FinalizeProposal,
    governance.ExecuteProposal,
    governance.ExpireProposal,
    fees.CollectPlatformFees,
    fees.CollectReserveFees,
    fees.DistributeFees,
    fees.ClaimFundShare,
    fees.ClaimFundYield,
    fees.ClaimBounties,
    incentives.CloseEpoch,
    incentives.DrawProgramFunds,
    incentives.ReturnProgramBudget,
    prices.PriceOverdue,
    reminders.WithdrawalReminder,
)
"""The jobs that need nothing but rows and the account of their lane."""


def jobs(context: JobContext) -> Sequence[Job[Any]]:
    """Every job of BitHedge.

    Raises JobsError where nobody says who deployed the contracts.
    """
    deployer = context.deployers.get(protocol.name)
    if deployer is None:
        raise JobsError("The keeper does not know where BitHedge's contracts are: set deployers.bithedge.")
    index = Index(deployer)
    roots = Roots(index)
    incentives_account = context.addresses.get(PostRewardRoot.lane, "")
    node_urls = [str(url) for url in context.settings.keeper.node_urls] or [str(context.settings.node.url)]
    return [
        *(job(index, context.addresses.get(job.lane, "")) for job in JOBS),
        PostRewardRoot(index, incentives_account, roots),
        RewardRootDiffers(roots),
        Reconcile(index, lambda: NodeClient(node_urls[0])),
    ]
