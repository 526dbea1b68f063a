from collections.abc import Iterator

import pytest
from support.charms import Prover

from clarion.chains.bitcoin.charms import keys


@pytest.fixture
def prover(monkeypatch: pytest.MonkeyPatch) -> Iterator[Prover]:
    """Makes proofs that hold, under keys that take the place of the protocol's."""
    prover = Prover()
    monkeypatch.setattr(keys, "generation", prover.generation)
    return prover
