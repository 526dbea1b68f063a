from collections.abc import Iterator

import pytest
from support.bithedge_twin import ForetellingSimnet


@pytest.fixture
def simnet() -> Iterator[ForetellingSimnet]:
    """An empty machine of this test's own; what it does is compared with what the actions foretell."""
    with ForetellingSimnet.start() as machine:
        yield machine
