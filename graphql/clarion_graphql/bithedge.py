"""How the API shows BitHedge: what hangs together, and what is derived from the chain's height."""

from __future__ import annotations

from typing import Final

from clarion_graphql.protocols import ProtocolApi

API: Final = ProtocolApi(
    prefix="", plurals={"policy_totals": "policy_totals_list", "fee_shares": "fee_shares_list"}, relations={}
)
