"""What each event does to the rows: one module per contract. Importing this registers all of them.

Projections take balances from the events' after-images and move totals by the differences between before and after,
so that a position is right even where indexing began late; totals then count from there (see the table
``contract_sequence``).
"""

from clarion.protocols.bithedge.projections import fund as fund
from clarion.protocols.bithedge.projections import gov as gov
from clarion.protocols.bithedge.projections import incentives as incentives
from clarion.protocols.bithedge.projections import liquidation as liquidation
from clarion.protocols.bithedge.projections import oracle as oracle
from clarion.protocols.bithedge.projections import params as params
from clarion.protocols.bithedge.projections import policy as policy
from clarion.protocols.bithedge.projections import registry as registry
from clarion.protocols.bithedge.projections import treasury as treasury
from clarion.protocols.bithedge.projections import vault as vault
