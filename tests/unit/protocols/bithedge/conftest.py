from collections.abc import Iterator

import pytest
from support.bithedge_simnet import Simnet


@pytest.fixture
def simnet() -> Iterator[Simnet]:
    """An empty machine of this test's own."""
    with Simnet.start() as machine:
        yield machine
